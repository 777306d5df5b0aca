//! Mail files that are compressed whole, as Dovecot keeps them in its Maildir folders and archives of mailing lists offer
//! them.

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::io::{self, Read};

/// Most bytes that one file may unpack to: more than any mail system lets through, and an end for a bomb.
const MOST: u64 = 4 << 30;
/// Most memory for unpacking xz, in KiB: `xz -9` asks for a window of 64 MiB.
const XZ_MEMORY: u32 = 80 << 10;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952.
    Gzip,
    /// Of bzip2.
    Bzip2,
    /// RFC 8878.
    Zstd,
    /// Of xz.
    Xz,
}

impl Packing {
    /// By the first bytes of a file.
    #[must_use]
    pub fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }

    /// What is in the file. It is an error where that is cut off, or more than any mail has.
    pub fn unpack(self, packed: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        let unpacked: Box<dyn Read + Send> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(packed)?),
            Self::Xz => Box::new(XzReader::new_mem_limit(packed, true, XZ_MEMORY)),
        };
        Ok(Box::new(Bounded {
            unpacked,
            left: MOST,
        }))
    }
}

struct Bounded {
    unpacked: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.unpacked.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let text = format!("unpacks to more than {MOST} bytes");
            io::Error::new(io::ErrorKind::FileTooLarge, text)
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
        match packing {
            Packing::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            Packing::Bzip2 => {
                let mut out = bzip2::write::BzEncoder::new(Vec::new(), Default::default());
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(bytes, 3).unwrap(),
            Packing::Xz => xz(bytes),
        }
    }

    /// As the system's `xz` writes it.
    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut xz = std::process::Command::new("xz");
        xz.arg("--stdout").arg(file.path()).output().unwrap().stdout
    }

    fn unpacked(packed: Vec<u8>) -> io::Result<Vec<u8>> {
        let packing = Packing::of(&packed).expect("packed");
        let mut out = Vec::new();
        packing
            .unpack(io::Cursor::new(packed))?
            .read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn what_is_too_long_is_an_error_and_not_cut_off() {
        let bounded = |left| Bounded {
            unpacked: Box::new(&b"0123456789"[..]),
            left,
        };
        assert_eq!(io::read_to_string(bounded(10)).unwrap(), "0123456789");
        assert!(io::read_to_string(bounded(9)).is_err());
    }

    #[test]
    fn what_xz_packed_comes_back_whole_or_not_at_all() {
        let text = b"the same words again and again, ".repeat(40);
        let packed = packed(Packing::Xz, &text);
        assert_eq!(Packing::of(&packed), Some(Packing::Xz));
        assert_eq!(unpacked(packed.clone()).unwrap(), text);
        // Two after one another are one.
        let twice = unpacked([&packed[..], &packed].concat());
        assert_eq!(twice.unwrap(), text.repeat(2));
        for length in 6..packed.len() {
            assert!(unpacked(packed[..length].to_vec()).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back_and_what_was_cut_off_is_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 20..300),
            cut in 1..8_usize,
        ) {
            for packing in [Packing::Gzip, Packing::Bzip2, Packing::Zstd] {
                let packed = packed(packing, &bytes);
                prop_assert_eq!(Packing::of(&packed), Some(packing));
                prop_assert_eq!(&unpacked(packed.clone()).unwrap(), &bytes);
                let cut = packed[..packed.len() - cut].to_vec();
                prop_assert!(unpacked(cut).is_err());
            }
        }

        #[test]
        fn anything_is_survived(start in 0..4_usize, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let magic: [&[u8]; 4] = [&[0x1f, 0x8b, 8], b"BZh9", &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ\0"];
            let _ = unpacked([magic[start], &bytes].concat());
        }
    }
}
