//! Bytes that give their memory back while they are read: what comes out of a large compressed message needs it.

use std::io::{self, BufRead, Read};

/// Bytes that are given back at once.
const PIECE: usize = 4 << 20;

/// A reader of owned bytes.
pub struct Consumed {
    /// The last piece comes first.
    later: Vec<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Consumed {
    /// Takes the bytes over. Pieces are cut off from behind, so that no more than one is there twice.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let mut later = Vec::new();
        while bytes.len() > PIECE {
            later.push(bytes.split_off(bytes.len() - PIECE));
            bytes.shrink_to_fit();
        }
        Self {
            later,
            piece: bytes,
            at: 0,
        }
    }
}

impl BufRead for Consumed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.piece.len() {
            self.piece = self.later.pop().unwrap_or_default();
            self.at = 0;
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at = self.piece.len().min(self.at + bytes);
    }
}

impl Read for Consumed {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(place)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_come_in_their_order() {
        for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE - 1] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut read = Vec::new();
            Consumed::new(bytes.clone()).read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{length} bytes");
        }
    }
}
