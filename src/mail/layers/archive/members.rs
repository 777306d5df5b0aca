//! Files that gzip or bzip2 compressed, in one member or in several one behind the other, as parallel compressors and
//! appended logs are. What follows the last member, padding mostly, is none of the file.

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use std::io::{self, Read};

/// Reads what is in all members.
pub(super) enum Members<'a> {
    Gzip(Box<GzDecoder<&'a [u8]>>),
    Bzip2(BzDecoder<&'a [u8]>),
}

impl<'a> Members<'a> {
    pub(super) fn gzip(file: &'a [u8]) -> Self {
        Self::Gzip(Box::new(GzDecoder::new(file)))
    }

    pub(super) fn bzip2(file: &'a [u8]) -> Self {
        Self::Bzip2(BzDecoder::new(file))
    }

    /// Goes to the next member; false if there is none.
    fn goes_on(&mut self) -> bool {
        let rest = match self {
            Self::Gzip(member) => *member.get_ref(),
            Self::Bzip2(member) => *member.get_ref(),
        };
        match (&*self, rest) {
            (Self::Gzip(_), [0x1f, 0x8b, 8, ..]) => *self = Self::gzip(rest),
            (Self::Bzip2(_), [b'B', b'Z', b'h', b'1'..=b'9', ..]) => *self = Self::bzip2(rest),
            _ => return false,
        }
        true
    }
}

impl Read for Members<'_> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Gzip(member) => member.read(place)?,
                Self::Bzip2(member) => member.read(place)?,
            };
            if read > 0 || place.is_empty() || !self.goes_on() {
                return Ok(read);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn packed(bytes: &[u8], gzip: bool) -> Vec<u8> {
        if gzip {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        } else {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
    }

    fn unpacked(file: &[u8], gzip: bool) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut members = if gzip {
            Members::gzip(file)
        } else {
            Members::bzip2(file)
        };
        members.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_long_run_of_empty_members_costs_its_length() {
        for gzip in [true, false] {
            let file = [packed(b"", gzip).repeat(20_000), packed(b"end", gzip)].concat();
            assert_eq!(unpacked(&file, gzip).unwrap(), b"end");
        }
    }

    proptest! {
        #[test]
        fn all_members_are_read_and_nothing_behind_them(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..4),
            behind in 0..600_usize,
        ) {
            for gzip in [true, false] {
                let mut file: Vec<u8> = pieces.iter().flat_map(|piece| packed(piece, gzip)).collect();
                file.resize(file.len() + behind, 0);
                prop_assert_eq!(unpacked(&file, gzip).unwrap(), pieces.concat());
            }
        }

        #[test]
        fn anything_is_survived(gzip in any::<bool>(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let magic: &[u8] = if gzip { &[0x1f, 0x8b, 8] } else { b"BZh9" };
            let _ = unpacked(&[magic, &bytes].concat(), gzip);
        }
    }
}
