//! Compressed data packets (RFC 9580 §5.6).

use super::consumed::Consumed;
use crate::mail::bounds::Bounds;
use crate::mail::context::{Budget, Failure};
use crate::mail::inflate::{Limit, zlib};
use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::DeflateDecoder;
use std::io::Read;

/// Inflates the body of a compressed data packet and counts what comes out. The name of the algorithm comes with it.
pub fn inflate(
    body: Vec<u8>,
    budget: &Budget,
    bounds: &Bounds,
) -> Result<(Vec<u8>, &'static str), Failure> {
    let limit = Limit::of(body.len().saturating_sub(1), budget, bounds);
    let mut data = Consumed::new(body);
    let mut algorithm = [0];
    data.read_exact(&mut algorithm)
        .map_err(|_| Failure::Damaged("empty compressed data packet".to_owned()))?;
    let (plain, name) = match algorithm[0] {
        0 => (limit.read(&mut data), "uncompressed"),
        1 => (limit.read(&mut DeflateDecoder::new(data)), "ZIP"),
        2 => (zlib(data, limit), "ZLIB"),
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
