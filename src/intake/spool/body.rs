//! The bytes of a spooled mail: in memory where they are one frame, else read again from the file.

use super::copies::{Copies, Found};
use super::format::Ratchet;
use crate::id::Digest;
use crate::secret::SecretBytes;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};

/// A mail's bytes. [`Body::open`] may be called more than once.
pub struct Body(Inner);

enum Inner {
    Memory(SecretBytes),
    File {
        copies: Copies,
        start: (u64, Ratchet),
        length: u64,
    },
}

impl Body {
    /// A short mail that lies in no file.
    #[cfg(test)]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Inner::Memory(SecretBytes::new(bytes.to_vec())))
    }

    /// All bytes, where the mail is short (up to 1 MiB).
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Memory(bytes) => Some(bytes.expose()),
            Inner::File { .. } => None,
        }
    }

    /// Reads the mail from its beginning, in constant memory. An error means that the file was
    /// altered after the mail was given out.
    #[must_use]
    pub fn open(&self) -> Box<dyn Read + Send + '_> {
        match &self.0 {
            Inner::Memory(bytes) => Box::new(bytes.expose()),
            Inner::File {
                copies,
                start,
                length,
            } => Box::new(FrameStream {
                copies: copies.clone(),
                offset: start.0,
                ratchet: start.1.duplicate(),
                frame: SecretBytes::new(Vec::new()),
                taken: 0,
                left: *length,
            }),
        }
    }
}

/// A mail whose closing frame has not been reached.
pub(super) struct Gathered {
    mail: u32,
    start: (u64, Ratchet),
    only_frame: Option<SecretBytes>,
    hash: Sha256,
    length: u64,
}

impl Gathered {
    pub fn new(mail: u32, start: (u64, Ratchet), plain: SecretBytes) -> Self {
        let hash = Sha256::new_with_prefix(plain.expose());
        let length = plain.expose().len() as u64;
        Self {
            mail,
            start,
            only_frame: Some(plain),
            hash,
            length,
        }
    }

    pub fn push(&mut self, plain: SecretBytes) {
        self.hash.update(plain.expose());
        self.length += plain.expose().len() as u64;
        self.only_frame = None;
    }

    pub const fn mail(&self) -> u32 {
        self.mail
    }

    pub const fn length(&self) -> u64 {
        self.length
    }

    pub fn sha256(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    pub fn into_body(self, copies: &Copies, length: u64) -> Body {
        Body(match self.only_frame {
            Some(bytes) => Inner::Memory(bytes),
            None => Inner::File {
                copies: copies.clone(),
                start: self.start,
                length,
            },
        })
    }
}

struct FrameStream {
    copies: Copies,
    offset: u64,
    ratchet: Ratchet,
    frame: SecretBytes,
    taken: usize,
    left: u64,
}

impl FrameStream {
    fn next_frame(&mut self) -> io::Result<()> {
        let key = self.ratchet.next_key();
        match self
            .copies
            .frame(self.offset, &key)
            .map_err(io::Error::other)?
        {
            Found::Frame { head, plain, .. } => {
                self.offset += head.span();
                self.left = self.left.saturating_sub(plain.expose().len() as u64);
                self.frame = plain;
                self.taken = 0;
                Ok(())
            }
            Found::Damaged { damage, .. } => {
                Err(io::Error::new(io::ErrorKind::InvalidData, damage))
            }
            Found::NotYet | Found::Over => {
                let damage = self
                    .copies
                    .damage(self.offset, "the file has become shorter", false);
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, damage))
            }
        }
    }
}

impl Read for FrameStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.frame.expose().len() {
            if self.left == 0 {
                return Ok(0);
            }
            self.next_frame()?;
        }
        let rest = &self.frame.expose()[self.taken..];
        let given = rest.len().min(out.len());
        out[..given].copy_from_slice(&rest[..given]);
        self.taken += given;
        Ok(given)
    }
}
