//! Packet framing (RFC 9580 §4.2): tag and body, nothing more. What is inside a body is for others to say.

use std::borrow::Cow;
use std::ops::Range;

/// Packet types by their numbers (RFC 9580 §5).
pub mod tag {
    /// Public-key encrypted session key.
    pub const PKESK: u8 = 1;
    /// Signature.
    pub const SIGNATURE: u8 = 2;
    /// Symmetric-key encrypted session key.
    pub const SKESK: u8 = 3;
    /// One-pass signature.
    pub const ONE_PASS: u8 = 4;
    /// Secret key.
    pub const SECRET_KEY: u8 = 5;
    /// Public key.
    pub const PUBLIC_KEY: u8 = 6;
    /// Secret subkey.
    pub const SECRET_SUBKEY: u8 = 7;
    /// Compressed data.
    pub const COMPRESSED: u8 = 8;
    /// Symmetrically encrypted data without integrity protection.
    pub const SED: u8 = 9;
    /// Marker, and in PGP 2 the comment.
    pub const MARKER: u8 = 10;
    /// Literal data.
    pub const LITERAL: u8 = 11;
    /// Trust.
    pub const TRUST: u8 = 12;
    /// User id.
    pub const USER_ID: u8 = 13;
    /// Public subkey.
    pub const PUBLIC_SUBKEY: u8 = 14;
    /// User attribute: a picture.
    pub const USER_ATTRIBUTE: u8 = 17;
    /// Symmetrically encrypted and integrity protected data.
    pub const SEIPD: u8 = 18;
    /// Modification detection code, only at the end of a SEIPDv1 plaintext.
    pub const MDC: u8 = 19;
    /// GnuPG's OCB encrypted data.
    pub const GNUPG_AEAD: u8 = 20;
    /// Padding.
    pub const PADDING: u8 = 21;
}

/// Most parts that one packet may come in. Writers make them of kilobytes; parts of a byte would cost many times their
/// length to keep.
const MOST_PARTS: usize = 1 << 20;

/// One packet of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// See [`tag`].
    pub tag: u8,
    /// Where the body lies in the data; in several pieces if it came in partial lengths.
    pub pieces: Vec<Range<usize>>,
    data: &'a [u8],
    /// Whether the body went on to the end of the data, its length being nowhere stated.
    pub indeterminate: bool,
}

impl<'a> Packet<'a> {
    /// The body; borrowed unless it came in partial lengths.
    #[must_use]
    pub fn body(&self) -> Cow<'a, [u8]> {
        match self.pieces.as_slice() {
            [whole] => Cow::Borrowed(&self.data[whole.clone()]),
            pieces => {
                let pieces = pieces.iter().map(|piece| &self.data[piece.clone()]);
                Cow::Owned(pieces.collect::<Vec<_>>().concat())
            }
        }
    }
}

/// The body of a packet in `data`, in the memory of that: there may be no room for a second copy.
#[must_use]
pub fn only(mut data: Vec<u8>, pieces: &[Range<usize>]) -> Vec<u8> {
    let mut end = 0;
    for piece in pieces {
        data.copy_within(piece.clone(), end);
        end += piece.len();
    }
    data.truncate(end);
    data
}

/// Why a packet sequence cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Framing {
    /// The first octet of a packet lacks its top bit.
    #[error("no OpenPGP packet at offset {0}")]
    NotAPacket(usize),
    /// A packet is longer than the data.
    #[error("the packet at offset {0} is cut off")]
    Truncated(usize),
    /// Partial lengths on a packet that may not have them, a first part under 512 bytes, or far too many parts.
    #[error("the packet at offset {0} has forbidden partial lengths")]
    Partial(usize),
}

/// Reads packet after packet; ends after the last one or the first error.
#[derive(Debug)]
pub struct Packets<'a> {
    data: &'a [u8],
    at: usize,
}

/// The packets of `data`.
#[must_use]
pub fn packets(data: &[u8]) -> Packets<'_> {
    Packets { data, at: 0 }
}

/// Tag and body of the packet that `data` begins with, as far as they are there.
#[must_use]
pub fn cut_off(data: &[u8]) -> Option<(u8, &[u8])> {
    let head = *data.first()?;
    let mut reader = Packets { data, at: 1 };
    let packet_tag = if head & 0x40 != 0 {
        reader.new_length()?;
        head & 0x3f
    } else {
        reader.old_length(head & 3)?;
        (head >> 2) & 0x0f
    };
    Some((packet_tag, reader.rest()))
}

enum Length {
    Fixed(usize),
    Partial(usize),
    ToTheEnd,
}

impl<'a> Packets<'a> {
    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.data[self.at.min(self.data.len())..]
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let taken = self.data.get(self.at..self.at.checked_add(bytes)?)?;
        self.at += bytes;
        Some(taken)
    }

    fn number(&mut self, octets: usize) -> Option<usize> {
        Some(
            self.take(octets)?
                .iter()
                .fold(0, |n, b| (n << 8) | usize::from(*b)),
        )
    }

    fn new_length(&mut self) -> Option<Length> {
        Some(match self.number(1)? {
            short @ 0..=191 => Length::Fixed(short),
            high @ 192..=223 => Length::Fixed(((high - 192) << 8) + self.number(1)? + 192),
            255 => Length::Fixed(self.number(4)?),
            power => Length::Partial(1 << (power & 0x1f)),
        })
    }

    fn old_length(&mut self, kind: u8) -> Option<Length> {
        Some(match kind {
            0 => Length::Fixed(self.number(1)?),
            1 => Length::Fixed(self.number(2)?),
            2 => Length::Fixed(self.number(4)?),
            _ => Length::ToTheEnd,
        })
    }

    fn packet(&mut self) -> Result<Packet<'a>, Framing> {
        let start = self.at;
        let cut = Framing::Truncated(start);
        let head = self.take(1).ok_or(cut)?[0];
        if head & 0x80 == 0 {
            return Err(Framing::NotAPacket(start));
        }
        let new = head & 0x40 != 0;
        let tag = if new { head & 0x3f } else { (head >> 2) & 0x0f };
        let length = if new {
            self.new_length()
        } else {
            self.old_length(head & 3)
        };
        let mut indeterminate = false;
        let pieces = match length.ok_or(cut)? {
            Length::Fixed(length) => vec![self.piece(length).ok_or(cut)?],
            Length::ToTheEnd => {
                indeterminate = true;
                vec![self.piece(self.data.len() - self.at).ok_or(cut)?]
            }
            Length::Partial(first) => self.parts(start, tag, first)?,
        };
        Ok(Packet {
            tag,
            pieces,
            data: self.data,
            indeterminate,
        })
    }

    fn piece(&mut self, bytes: usize) -> Option<Range<usize>> {
        let start = self.at;
        self.take(bytes).map(|_| start..self.at)
    }

    fn parts(&mut self, start: usize, tag: u8, first: usize) -> Result<Vec<Range<usize>>, Framing> {
        let data_packet = matches!(
            tag,
            tag::COMPRESSED | tag::SED | tag::LITERAL | tag::SEIPD | tag::GNUPG_AEAD
        );
        if !data_packet || first < 512 {
            return Err(Framing::Partial(start));
        }
        let cut = Framing::Truncated(start);
        let mut pieces = vec![self.piece(first).ok_or(cut)?];
        loop {
            if pieces.len() > MOST_PARTS {
                return Err(Framing::Partial(start));
            }
            match self.new_length().ok_or(cut)? {
                Length::Partial(more) => pieces.push(self.piece(more).ok_or(cut)?),
                Length::Fixed(last) => {
                    pieces.push(self.piece(last).ok_or(cut)?);
                    return Ok(pieces);
                }
                Length::ToTheEnd => return Err(cut),
            }
        }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Framing>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.data.len() {
            return None;
        }
        let packet = self.packet();
        if packet.is_err() {
            self.at = self.data.len();
        }
        Some(packet)
    }
}

/// A packet in the new format with a definite length, as the libraries want to read it.
#[must_use]
pub fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(body.len() + 6);
    packet.push(0xc0 | (tag & 0x3f));
    packet.push(0xff);
    packet.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_partial_lengths_as_one_body() {
        let mut data = vec![0xcb, 0xe9];
        data.extend([7; 512]);
        data.extend([0xe0, 8, 1, 9, 0xd4, 0]);
        let all: Vec<_> = packets(&data)
            .collect::<Result<_, _>>()
            .expect("well formed");
        assert_eq!(
            (all[0].tag, all[0].body().len(), all[1].tag),
            (tag::LITERAL, 514, 20)
        );
        let body = all[0].body().into_owned();
        let pieces = all[0].pieces.clone();
        assert_eq!(body[511..], [7, 8, 9]);
        assert_eq!(only(data, &pieces), body);
    }

    #[test]
    fn a_packet_in_too_many_parts_is_refused() {
        let mut data = vec![0xc0 | tag::LITERAL, 0xe9];
        data.resize(2 + 512, 0);
        data.extend_from_slice(&[0xe0, 0].repeat(MOST_PARTS + 1));
        data.push(0);
        let read: Vec<_> = packets(&data).collect();
        assert_eq!(read, [Err(Framing::Partial(0))]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: usize = packets(&data).flatten().map(|p| p.body().len()).sum();
            prop_assert!(read <= data.len());
        }

        #[test]
        fn a_framed_packet_comes_back(tag in 1u8..64, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let data = framed(tag, &body);
            let packet = packets(&data).next().unwrap().unwrap();
            prop_assert_eq!((packet.tag, packet.body().into_owned()), (tag, body));
        }
    }
}
