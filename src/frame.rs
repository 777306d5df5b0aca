//! How our own processes talk over pipes and Unix sockets: frames of a head (postcard, whose two sides are of one build)
//! and raw bytes.
//!
//! `head length[4, big-endian] ‖ raw length[8, big-endian] ‖ head ‖ raw`. Lengths are checked against the
//! reader's bounds before anything is allocated, for the other side may have been taken over.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};

/// What a reader accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest head, in bytes.
    pub head: u32,
    /// Largest raw part, in bytes.
    pub raw: u64,
}

/// A reader's buffer: most mails come in one piece.
pub const BUFFER: usize = 64 << 10;
/// Room that is made for a frame before any of it is there.
const PIECE: u64 = 1 << 20;
/// Raw bytes that are written together with the head.
const TOGETHER: u64 = 32 << 10;

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the connection between frames.
    #[error("the other side closed the connection")]
    Closed,
    /// Reading or writing failed.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// A length is over the limit.
    #[error("the other side announced a frame of {0} bytes, more than is allowed")]
    TooLong(u64),
    /// The head is not what this side expects.
    #[error("the other side sent a frame that is not understood: {0}")]
    NotUnderstood(String),
}

/// Writes one frame and flushes.
pub fn write<T: Serialize>(to: &mut impl Write, head: &T, raw: &[u8]) -> Result<(), FrameError> {
    write_from(to, head, &mut &*raw, raw.len() as u64)
}

/// Writes one frame whose raw part of `length` bytes is read from `raw`, in constant memory.
pub fn write_from<T: Serialize>(
    to: &mut impl Write,
    head: &T,
    raw: &mut dyn Read,
    length: u64,
) -> Result<(), FrameError> {
    let mut start = encode_head(head, length)?;
    let mut raw = raw.take(length);
    // A short frame goes out in one piece, which wakes the reader once.
    start.reserve(usize::try_from(length.min(TOGETHER)).unwrap_or(0));
    let together = (&mut raw).take(TOGETHER).read_to_end(&mut start);
    let written = together.and_then(|_| to.write_all(&start));
    crate::secret::wipe(&mut start);
    written?;
    io::copy(&mut raw, to)?;
    if raw.limit() > 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(to.flush()?)
}

/// Lengths and head.
fn encode_head<T: Serialize>(head: &T, raw: u64) -> Result<Vec<u8>, FrameError> {
    let mut encoded = postcard::to_extend(head, vec![0; 12])
        .map_err(|error| io::Error::other(error.to_string()))?;
    let length =
        u32::try_from(encoded.len() - 12).map_err(|_| FrameError::TooLong(encoded.len() as u64))?;
    encoded[..4].copy_from_slice(&length.to_be_bytes());
    encoded[4..12].copy_from_slice(&raw.to_be_bytes());
    Ok(encoded)
}

/// Reads one frame.
pub fn read<T: DeserializeOwned>(
    from: &mut impl Read,
    limits: Limits,
) -> Result<(T, Vec<u8>), FrameError> {
    let mut lengths = [0; 12];
    match from.read(&mut lengths[..1])? {
        0 => return Err(FrameError::Closed),
        _ => from.read_exact(&mut lengths[1..])?,
    }
    let (head, raw) = lengths.split_at(4);
    let head_length = u32::from_be_bytes(head.try_into().unwrap_or_default());
    let raw_length = u64::from_be_bytes(raw.try_into().unwrap_or_default());
    if head_length > limits.head {
        return Err(FrameError::TooLong(head_length.into()));
    }
    if raw_length > limits.raw {
        return Err(FrameError::TooLong(raw_length));
    }
    let mut head = exactly(from, head_length.into())?;
    let value = decode_head(&head);
    crate::secret::wipe(&mut head);
    Ok((value?, exactly(from, raw_length)?))
}

fn decode_head<T: DeserializeOwned>(head: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(head) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(FrameError::NotUnderstood("bytes behind its end".to_owned())),
        Err(error) => Err(FrameError::NotUnderstood(error.to_string())),
    }
}

fn exactly(from: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        // Room for what is to come, but for no more than has come: a length alone costs the other side nothing.
        let left = length - bytes.len() as u64;
        let room = left.min(PIECE.max(bytes.len() as u64));
        if room == 0 {
            return Ok(bytes);
        }
        bytes.reserve_exact(usize::try_from(room).unwrap_or(usize::MAX));
        if (&mut *from).take(room).read_to_end(&mut bytes)? as u64 != room {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        head: 1000,
        raw: 1000,
    };

    #[test]
    fn a_frame_comes_back() {
        let mut pipe = Vec::new();
        write(&mut pipe, &("hello", 7_u32), b"raw").expect("write");
        let (head, raw): ((String, u32), _) = read(&mut pipe.as_slice(), LIMITS).expect("read");
        assert_eq!(
            (head.0.as_str(), head.1, raw.as_slice()),
            ("hello", 7, b"raw".as_slice())
        );
        assert!(matches!(
            read::<u8>(&mut [].as_slice(), LIMITS),
            Err(FrameError::Closed)
        ));
    }

    #[test]
    fn bytes_behind_the_head_are_not_understood() {
        let mut pipe = Vec::new();
        write(&mut pipe, &(7_u8, 8_u8), b"").expect("write");
        assert!(matches!(
            read::<u8>(&mut pipe.as_slice(), LIMITS),
            Err(FrameError::NotUnderstood(_))
        ));
    }

    #[test]
    fn lengths_are_bounded_before_allocation() {
        let huge = [0xff; 12];
        assert!(matches!(
            read::<u8>(&mut huge.as_slice(), LIMITS),
            Err(FrameError::TooLong(_))
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read::<(String, u32)>(&mut bytes.as_slice(), LIMITS);
        }
    }
}
