//! What is compressed in mail, inflated within bounds: a bomb ends at the bound, not in memory.

use super::bounds::Bounds;
use super::context::{Budget, Failure};
use flate2::bufread::DeflateDecoder;
use std::io::{self, BufRead, ErrorKind, Read};

/// Bytes that are inflated at once.
const PIECE: usize = 64 << 10;

/// Inflates a zlib stream (RFC 1950). Some senders write a bare deflate stream, others cut the checksum off; where it is
/// there, it must fit.
pub fn zlib(mut data: impl BufRead, limit: Limit) -> Result<Vec<u8>, Failure> {
    let mut header = [0; 2];
    data.read_exact(&mut header).map_err(damaged)?;
    if !is_header(header) {
        return limit.read(&mut DeflateDecoder::new(header.chain(data)));
    }
    let mut inflating = DeflateDecoder::new(data);
    let plain = limit.read(&mut inflating)?;
    let mut stated = Vec::new();
    let behind = inflating.into_inner().take(4).read_to_end(&mut stated);
    behind.map_err(damaged)?;
    if stated.len() == 4 && stated != adler32(&plain).to_be_bytes() {
        return Err(damaged("wrong checksum"));
    }
    Ok(plain)
}

fn damaged(error: impl std::fmt::Display) -> Failure {
    Failure::Damaged(format!("compressed data: {error}"))
}

/// RFC 1950 §2.2: deflate as the method, and a check value.
fn is_header(header: [u8; 2]) -> bool {
    header[0] & 15 == 8 && u16::from_be_bytes(header).is_multiple_of(31)
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

/// The tighter one of two bounds: on the ratio, and on all that a mail expands to.
#[derive(Clone, Copy)]
pub struct Limit {
    bytes: u64,
    over: (&'static str, u64),
}

impl Limit {
    /// Of what `compressed` bytes may become.
    pub fn of(compressed: usize, budget: &Budget, bounds: &Bounds) -> Self {
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

    /// No more than `bytes`, by the bound of this name.
    #[must_use]
    pub const fn at_most(self, bound: &'static str, bytes: u64) -> Self {
        if bytes < self.bytes {
            let over = (bound, bytes);
            return Self { bytes, over };
        }
        self
    }

    /// So many bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// What is left of it when `read` bytes came.
    #[must_use]
    pub const fn without(self, read: usize) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(read as u64),
            over: self.over,
        }
    }

    /// Reads all, in pieces: `read_to_end` would write over all the memory that it has in reserve.
    pub fn read(self, from: &mut impl Read) -> Result<Vec<u8>, Failure> {
        let mut plain = Vec::new();
        let mut from = from.take(self.bytes.saturating_add(1));
        let mut piece = vec![0; PIECE];
        loop {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => plain.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(damaged(error)),
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

/// A reader of bytes that lie in several places.
pub struct Pieces<'a, I> {
    later: I,
    piece: &'a [u8],
}

impl<I> Pieces<'_, I> {
    /// Reads what `pieces` yields, in its order.
    pub const fn new(pieces: I) -> Self {
        Self {
            later: pieces,
            piece: &[],
        }
    }
}

impl<'a, E, I> BufRead for Pieces<'a, I>
where
    E: std::error::Error + Send + Sync + 'static,
    I: Iterator<Item = Result<&'a [u8], E>>,
{
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.later.next() {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => break,
            }
        }
        Ok(self.piece)
    }

    fn consume(&mut self, bytes: usize) {
        self.piece = self.piece.get(bytes..).unwrap_or_default();
    }
}

impl<'a, E, I> Read for Pieces<'a, I>
where
    E: std::error::Error + Send + Sync + 'static,
    I: Iterator<Item = Result<&'a [u8], E>>,
{
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(place)?;
        self.consume(read);
        Ok(read)
    }
}
