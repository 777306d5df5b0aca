//! Compressed data packets (RFC 9580 §5.6), inflated within bounds: a bomb ends at the bound, not in memory.

use super::consumed::Consumed;
use crate::mail::bounds::Bounds;
use crate::mail::context::{Budget, Failure};
use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::DeflateDecoder;
use std::io::{ErrorKind, Read};

/// Bytes that are inflated at once.
const PIECE: usize = 64 << 10;

/// Inflates the body of a compressed data packet and counts what comes out. The name of the algorithm comes with it.
pub fn inflate(
    body: Vec<u8>,
    budget: &Budget,
    bounds: &Bounds,
) -> Result<(Vec<u8>, &'static str), Failure> {
    let limit = Limit::of(body.len().saturating_sub(1), budget, bounds);
    let is_zlib = body.get(1..3).is_some_and(is_zlib_header);
    let mut data = Consumed::new(body);
    let mut algorithm = [0];
    data.read_exact(&mut algorithm)
        .map_err(|_| Failure::Damaged("empty compressed data packet".to_owned()))?;
    let (plain, name) = match algorithm[0] {
        0 => (limit.read(&mut data), "uncompressed"),
        1 => (limit.read(&mut DeflateDecoder::new(data)), "ZIP"),
        2 if is_zlib => (zlib(data, limit), "ZLIB"),
        // Some senders write a bare deflate stream.
        2 => (limit.read(&mut DeflateDecoder::new(data)), "ZLIB"),
        3 => (limit.read(&mut MultiBzDecoder::new(data)), "BZIP2"),
        other => {
            return Err(Failure::Refused(format!(
                "unknown compression algorithm {other}"
            )));
        }
    };
    let plain = plain?;
    budget.expand(plain.len() as u64, bounds)?;
    Ok((plain, name))
}

/// RFC 1950 §2.2: deflate as the method, and a check value.
fn is_zlib_header(header: &[u8]) -> bool {
    matches!(header, [method, flags] if method & 15 == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31))
}

/// The stream behind a zlib header. Its checksum must fit where it is there: some senders cut it.
fn zlib(mut data: Consumed, limit: Limit) -> Result<Vec<u8>, Failure> {
    let damaged = |error: std::io::Error| Failure::Damaged(format!("compressed data: {error}"));
    data.read_exact(&mut [0; 2]).map_err(damaged)?;
    let mut inflating = DeflateDecoder::new(data);
    let plain = limit.read(&mut inflating)?;
    let mut stated = Vec::new();
    let behind = inflating.into_inner().take(4).read_to_end(&mut stated);
    behind.map_err(damaged)?;
    if stated.len() == 4 && stated != adler32(&plain).to_be_bytes() {
        return Err(Failure::Damaged(
            "compressed data: wrong checksum".to_owned(),
        ));
    }
    Ok(plain)
}

/// RFC 1950 §9.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut low, mut high) = (1, 0);
    // As many as 32 bits take without a division in between.
    for piece in bytes.chunks(5552) {
        for &byte in piece {
            low += u32::from(byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    high << 16 | low
}

/// The tighter one of two bounds.
#[derive(Clone, Copy)]
struct Limit {
    bytes: u64,
    over: (&'static str, u64),
}

impl Limit {
    fn of(compressed: usize, budget: &Budget, bounds: &Bounds) -> Self {
        // Small inputs may expand a little more: the ratio counts from 4 KiB on.
        let by_ratio = (compressed as u64)
            .max(4096)
            .saturating_mul(u64::from(bounds.ratio));
        let by_size = budget.expandable(bounds);
        if by_ratio < by_size {
            Self {
                bytes: by_ratio,
                over: ("ratio", u64::from(bounds.ratio)),
            }
        } else {
            Self {
                bytes: by_size,
                over: ("expanded_bytes", bounds.expanded_bytes),
            }
        }
    }

    /// In pieces: `read_to_end` would write over all the memory that it has in reserve.
    fn read(self, from: &mut impl Read) -> Result<Vec<u8>, Failure> {
        let mut plain = Vec::new();
        let mut from = from.take(self.bytes.saturating_add(1));
        let mut piece = vec![0; PIECE];
        loop {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => plain.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Damaged(format!("compressed data: {error}"))),
            }
        }
        if plain.len() as u64 > self.bytes {
            return Err(Failure::OverBound {
                bound: self.over.0,
                limit: self.over.1,
            });
        }
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write;

    fn deflated(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![2], Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_named_by_the_bound_it_passes() {
        let bomb = deflated(&vec![0; 8 << 20]);
        let bounds = Bounds {
            ratio: 10,
            ..Bounds::default()
        };
        let failed = inflate(bomb.clone(), &Budget::default(), &bounds);
        assert_eq!(
            failed,
            Err(Failure::OverBound {
                bound: "ratio",
                limit: 10
            })
        );
        let bounds = Bounds {
            expanded_bytes: 1 << 20,
            ..Bounds::default()
        };
        let failed = inflate(bomb.clone(), &Budget::default(), &bounds);
        assert_eq!(
            failed,
            Err(Failure::OverBound {
                bound: "expanded_bytes",
                limit: 1 << 20
            })
        );
    }

    #[test]
    fn inflates_what_was_deflated() {
        let (plain, name) =
            inflate(deflated(b"hello"), &Budget::default(), &Bounds::default()).unwrap();
        assert_eq!((plain.as_slice(), name), (&b"hello"[..], "ZLIB"));
    }

    #[test]
    fn a_checksum_may_be_cut_but_not_wrong() {
        let long: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
        let whole = deflated(&long);
        let opened = |packet: &[u8]| {
            let inflated = inflate(packet.to_vec(), &Budget::default(), &Bounds::default());
            inflated.map(|(plain, _)| plain)
        };
        assert_eq!(opened(&whole).as_ref(), Ok(&long));
        let cut = &whole[..whole.len() - 4];
        assert_eq!(opened(cut).as_ref(), Ok(&long));
        let wrong = [cut, &[1, 2, 3, 4]].concat();
        assert!(matches!(opened(&wrong), Err(Failure::Damaged(_))));
        let bare = [&whole[..1], &cut[3..]].concat();
        assert_eq!(opened(&bare).as_ref(), Ok(&long), "without a header");
    }
}
