//! Compressed data packets (RFC 9580 §5.6), inflated within bounds: a bomb ends at the bound, not in memory.

use crate::mail::bounds::Bounds;
use crate::mail::context::{Budget, Failure};
use std::io::{BufReader, ErrorKind, Read};

/// Bytes that are inflated at once.
const PIECE: usize = 64 << 10;

/// Inflates the body of a compressed data packet and counts what comes out. The name of the algorithm comes with it.
pub fn inflate(
    body: &[u8],
    budget: &Budget,
    bounds: &Bounds,
) -> Result<(Vec<u8>, &'static str), Failure> {
    let (&algorithm, data) = body
        .split_first()
        .ok_or_else(|| Failure::Damaged("empty compressed data packet".to_owned()))?;
    let limit = Limit::of(data.len(), budget, bounds);
    let (plain, name) = match algorithm {
        0 => (limit.read(data), "uncompressed"),
        1 => (
            limit.read(flate2::bufread::DeflateDecoder::new(data)),
            "ZIP",
        ),
        2 => match limit.read(flate2::bufread::ZlibDecoder::new(data)) {
            // Some senders cut the checksum or write a bare deflate stream.
            Err(Failure::Damaged(_)) => (
                limit.read(flate2::bufread::DeflateDecoder::new(data)),
                "ZLIB",
            ),
            read => (read, "ZLIB"),
        },
        3 => (
            limit.read(bzip2::bufread::MultiBzDecoder::new(BufReader::new(data))),
            "BZIP2",
        ),
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
    fn read(self, from: impl Read) -> Result<Vec<u8>, Failure> {
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

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![2], Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_named_by_the_bound_it_passes() {
        let bomb = zlib(&vec![0; 8 << 20]);
        let bounds = Bounds {
            ratio: 10,
            ..Bounds::default()
        };
        let failed = inflate(&bomb, &Budget::default(), &bounds);
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
        let failed = inflate(&bomb, &Budget::default(), &bounds);
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
            inflate(&zlib(b"hello"), &Budget::default(), &Bounds::default()).unwrap();
        assert_eq!((plain.as_slice(), name), (&b"hello"[..], "ZLIB"));
    }
}
