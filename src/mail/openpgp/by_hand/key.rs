//! Public keys of versions 2, 3 (RFC 9580 §5.5.2.1) and 5 (draft-koch-librepgp §5.5.2).

use crate::mail::openpgp::verify;
use crate::time::Timestamp;
use openpgp::crypto::mpi;
use openpgp::packet::key::{Key, Key4, PublicParts, UnspecifiedRole};
use openpgp::types::PublicKeyAlgorithm;
use openssl::hash::{MessageDigest, hash};
use sequoia_openpgp as openpgp;
use std::time::{Duration, UNIX_EPOCH};

const DAY: u64 = 24 * 3600;

/// A primary key or subkey.
#[derive(Debug, Clone)]
pub struct PublicKey {
    /// 2, 3 or 5.
    pub version: u8,
    /// MD5 over the numbers, or for version 5 SHA-256 over the packet.
    pub fingerprint: Vec<u8>,
    /// The modulus' low 64 bits, or the fingerprint's first.
    pub key_id: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// When it runs out, where the key itself says so (versions 2 and 3).
    pub expiry: Option<Timestamp>,
    /// The numbers, for Sequoia's arithmetic.
    pub key: Key<PublicParts, UnspecifiedRole>,
    /// The packet's public part.
    pub body: Vec<u8>,
}

impl PublicKey {
    /// Reads the public part at the front of a public or secret key packet's body; `None` for other versions and
    /// algorithms.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let version = *body.first()?;
        let seconds = u32::from_be_bytes(body.get(1..5)?.try_into().ok()?);
        let created = Timestamp::from_seconds(u64::from(seconds));
        let (body, algorithm, material, days) = match version {
            2 | 3 => {
                let days = u16::from_be_bytes([*body.get(5)?, *body.get(6)?]);
                let (_, end) = two_numbers(body, 8)?;
                (&body[..end], body[7], &body[8..end], days)
            }
            5 => {
                let size = u32::from_be_bytes(body.get(6..10)?.try_into().ok()?);
                let end = usize::try_from(size).ok()?.checked_add(10)?;
                (body.get(..end)?, body[5], body.get(10..end)?, 0)
            }
            _ => return None,
        };
        let (fingerprint, key_id) = names(version, body)?;
        let algorithm = PublicKeyAlgorithm::from(algorithm);
        let numbers = mpi::PublicKey::parse(algorithm, material).ok()?;
        verify::is_affordable(&numbers).then_some(())?;
        let made = UNIX_EPOCH + Duration::from_secs(u64::from(seconds));
        let runs_out = created.seconds() + u64::from(days) * DAY;
        Some(Self {
            version,
            fingerprint,
            key_id,
            created,
            expiry: (days > 0).then(|| Timestamp::from_seconds(runs_out)),
            key: Key::V4(Key4::new(made, algorithm, numbers).ok()?),
            body: body.to_vec(),
        })
    }

    /// What is hashed of it in signatures over keys.
    #[must_use]
    pub fn hashed(&self) -> Vec<u8> {
        hashed(self.version, &self.body)
    }

    /// Whether an issuer's fingerprint or key id means this key.
    #[must_use]
    pub fn is_named(&self, issuer: &[u8]) -> bool {
        issuer == self.fingerprint || issuer == self.key_id
    }
}

fn hashed(version: u8, body: &[u8]) -> Vec<u8> {
    let [a, b, c, d] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head: &[u8] = if version == 5 {
        &[0x9a, a, b, c, d]
    } else {
        &[0x99, c, d]
    };
    [head, body].concat()
}

/// Fingerprint and key id.
fn names(version: u8, body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if version == 5 {
        let fingerprint = hash(MessageDigest::sha256(), &hashed(5, body)).ok()?;
        return Some((fingerprint.to_vec(), fingerprint[..8].to_vec()));
    }
    let (modulus_end, end) = two_numbers(body, 8)?;
    let modulus = &body[10..modulus_end];
    let numbers = [modulus, &body[modulus_end + 2..end]].concat();
    let fingerprint = hash(MessageDigest::md5(), &numbers).ok()?;
    let key_id = &modulus[modulus.len().checked_sub(8)?..];
    Some((fingerprint.to_vec(), key_id.to_vec()))
}

/// Where the two multiprecision integers from `at` on end.
fn two_numbers(body: &[u8], at: usize) -> Option<(usize, usize)> {
    let end = |at: usize| {
        let bits = u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]);
        let end = at + 2 + usize::from(bits).div_ceil(8);
        (end <= body.len()).then_some(end)
    };
    let first = end(at)?;
    Some((first, end(first)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_survived(version in 2u8..6, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(key) = PublicKey::read(&[&[version], &rest[..]].concat()) {
                prop_assert!(key.body.len() <= rest.len() + 1);
                prop_assert_eq!(key.key_id.len(), 8);
            }
        }
    }
}
