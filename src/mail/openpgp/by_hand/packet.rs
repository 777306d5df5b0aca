//! Signature packets of versions 2 to 6 (RFC 9580 §5.2, RFC 1991 §6.2, draft-koch-librepgp §5.2). Versions 2 and 5 differ
//! from 3 and 4 in what is hashed, not in how they are written, so Sequoia reads them as such.

use crate::mail::digest;

use crate::mail::openpgp::signature::hash_name;
use openpgp::packet::Signature;
use openpgp::parse::Parse;
use openpgp::types::{HashAlgorithm, SignatureType};
use sequoia_openpgp as openpgp;
use std::ops::Range;

/// The subpacket that holds another signature, and one that Sequoia leaves alone.
const EMBEDDED: u8 = 32;
const PRIVATE: u8 = 100;
/// The top bit of a subpacket's type says that it is critical.
const CRITICAL: u8 = 0x80;

/// A signature packet as it came.
#[derive(Debug, Clone)]
pub struct SignaturePacket {
    body: Vec<u8>,
    /// What it says of itself; of version 3 for version 2, of version 4 for version 5.
    pub fields: Signature,
}

impl SignaturePacket {
    /// Reads a packet's body; `None` for other versions and malformed ones.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let fields = match body.first()? {
            2 => parsed(&[&[3], &body[1..]].concat()),
            5 => parsed(&as_version_4(body)?),
            _ => parsed(body),
        };
        Some(Self {
            fields: fields?,
            body: body.to_vec(),
        })
    }

    /// The version it really is of.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.body[0]
    }

    /// The digest over `content` and this signature's own fields, versions 2 to 5. `header` is hashed by version 5 over
    /// documents: the literal data packet's format, file name and date.
    #[must_use]
    pub fn digest(&self, content: &[&[u8]], header: &[u8]) -> Option<Vec<u8>> {
        let trailer = self.trailer(header)?;
        let algorithm = self.fields.hash_algo();
        if algorithm != HashAlgorithm::SHA1 {
            let pieces = content.iter().copied().chain([&*trailer]);
            let digest = digest::of_public(hash_name(algorithm)?, pieces.map(Ok::<_, ()>));
            return digest.ok()?;
        }
        // Sequoia notices collisions.
        let mut hash = algorithm.context().ok()?.for_digest();
        content.iter().for_each(|part| hash.update(part));
        hash.update(&trailer);
        hash.into_digest().ok()
    }

    fn trailer(&self, header: &[u8]) -> Option<Vec<u8>> {
        let version = self.version();
        if version < 4 {
            // Kind and time.
            return self.body.get(2..7).map(<[u8]>::to_vec);
        }
        let [hashed, _] = areas(&self.body)?;
        let mut trailer = self.body[..hashed.end].to_vec();
        let size = u32::try_from(hashed.end).ok()?;
        let document = matches!(
            self.fields.typ(),
            SignatureType::Binary | SignatureType::Text
        );
        if version == 5 && document {
            trailer.extend_from_slice(header);
        }
        trailer.extend_from_slice(&[version, 0xff]);
        if version == 5 {
            trailer.extend_from_slice(&u64::from(size).to_be_bytes());
        } else {
            trailer.extend_from_slice(&size.to_be_bytes());
        }
        Some(trailer)
    }

    /// The signatures in its subpackets: with one of them a signing subkey says whose it is.
    #[must_use]
    pub fn embedded(&self) -> Vec<Self> {
        let areas = areas(&self.body).into_iter().flatten();
        areas
            .filter_map(|area| subpackets(&self.body, area))
            .flatten()
            .filter(|subpacket| self.body[subpacket.start] & !CRITICAL == EMBEDDED)
            .filter_map(|subpacket| Self::read(&self.body[subpacket.start + 1..subpacket.end]))
            .collect()
    }
}

fn parsed(body: &[u8]) -> Option<Signature> {
    Signature::from_bytes(body).ok()
}

/// With the version's octet changed, and embedded signatures, which are of version 5 too, out of Sequoia's sight.
fn as_version_4(body: &[u8]) -> Option<Vec<u8>> {
    let mut changed = body.to_vec();
    changed[0] = 4;
    for area in areas(body)? {
        for subpacket in subpackets(body, area)? {
            let kind = &mut changed[subpacket.start];
            if *kind & !CRITICAL == EMBEDDED {
                *kind = PRIVATE;
            }
        }
    }
    Some(changed)
}

/// Where the hashed and the unhashed subpackets are, versions 4 and 5.
fn areas(body: &[u8]) -> Option<[Range<usize>; 2]> {
    if !matches!(body.first(), Some(4 | 5)) {
        return None;
    }
    let area = |at: usize| {
        let size = body.get(at..at + 2)?;
        let end = at + 2 + usize::from(u16::from_be_bytes([size[0], size[1]]));
        (end <= body.len()).then_some(at + 2..end)
    };
    let hashed = area(4)?;
    let unhashed = area(hashed.end)?;
    Some([hashed, unhashed])
}

/// Type and content of each subpacket in an area (RFC 9580 §5.2.3.7); `None` if one is cut off or empty.
fn subpackets(body: &[u8], area: Range<usize>) -> Option<Vec<Range<usize>>> {
    let octet = |at: usize| body.get(at).map(|b| usize::from(*b));
    let mut found = Vec::new();
    let mut at = area.start;
    while at < area.end {
        let (size, start) = match octet(at)? {
            short @ 0..=191 => (short, at + 1),
            255 => {
                let size = body.get(at + 1..at + 5)?.try_into().ok()?;
                (usize::try_from(u32::from_be_bytes(size)).ok()?, at + 5)
            }
            high => (((high - 192) << 8) + octet(at + 1)? + 192, at + 2),
        };
        let end = start.checked_add(size)?;
        (size > 0 && end <= area.end).then_some(())?;
        found.push(start..end);
        at = end;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_survived(version in 2u8..6, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let body = [&[version], &rest[..]].concat();
            if let Some(packet) = SignaturePacket::read(&body) {
                let _ = packet.digest(&[b"content"], &[0; 6]);
                let _ = packet.embedded();
            }
        }

        #[test]
        fn subpackets_stay_in_their_area(area in proptest::collection::vec(any::<u8>(), 0..60)) {
            let found = subpackets(&area, 0..area.len()).unwrap_or_default();
            prop_assert!(found.iter().all(|s| s.start < s.end && s.end <= area.len()));
        }
    }
}
