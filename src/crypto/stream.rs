//! Chunked authenticated encryption of one part of any length, in constant memory.
//!
//! STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015; the `aead-stream` crate's BE32 flavour) over
//! AES-256-GCM, 64 KiB of plaintext a chunk. Each part has a fresh 32-byte salt; chunk key, 7-byte
//! nonce prefix and a 32-byte key commitment are HKDF outputs of (key, associated data, salt). The
//! commitment is compared before anything is decrypted, so one ciphertext opens under one key only.
//!
//! Layout: `salt[32] ‖ commitment[32] ‖ (chunk ‖ tag[16])…`; the last chunk may be shorter or empty,
//! and is marked last in its nonce, so a cut stream is noticed.

use super::kdf::{Label, Source};
use crate::secret::Key;
use aead_stream::aead::KeyInit;
use aead_stream::{DecryptorBE32, EncryptorBE32};
use aes_gcm::Aes256Gcm;
use std::io::{self, Read, Write};
use subtle::ConstantTimeEq;

/// Plaintext bytes in a full chunk.
pub const CHUNK: usize = 64 * 1024;
/// Bytes of salt and commitment in front.
pub const HEADER: usize = 64;
const TAG: usize = 16;

/// Length of the ciphertext of `plaintext` bytes.
#[must_use]
pub const fn sealed_len(plaintext: u64) -> u64 {
    let chunks = if plaintext == 0 {
        1
    } else {
        plaintext.div_ceil(CHUNK as u64)
    };
    HEADER as u64 + plaintext + chunks * TAG as u64
}

/// Why a stream does not open.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Sealed under another key or for another place.
    #[error("sealed under another key, or for another record or part")]
    WrongKey,
    /// The chunk that starts at this plaintext offset is altered or missing.
    #[error("altered or cut at plaintext offset {offset}")]
    Altered {
        /// Where the damaged chunk's plaintext would start.
        offset: u64,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

struct Derived {
    cipher: Aes256Gcm,
    prefix: [u8; 7],
    commitment: [u8; 32],
}

fn derived(key: &Key, associated: &[u8], salt: &[u8; 32]) -> Derived {
    let source = Source::new(key);
    let chunk_key = source.derive(Label::PartKey, &[associated, salt]);
    let public: [u8; 39] = source.derive_bytes(Label::PartCommitment, &[associated, salt]);
    let mut prefix = [0; 7];
    let mut commitment = [0; 32];
    prefix.copy_from_slice(&public[..7]);
    commitment.copy_from_slice(&public[7..]);
    Derived {
        cipher: Aes256Gcm::new(chunk_key.expose().into()),
        prefix,
        commitment,
    }
}

/// Encrypts what is written to it into `to`. [`Sealer::finish`] must be called: without the last
/// chunk the stream does not open.
pub struct Sealer<W: Write> {
    to: W,
    encryptor: EncryptorBE32<Aes256Gcm>,
    chunk: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Starts a part; `associated` names its place (tenant, record, part).
    pub fn new(mut to: W, key: &Key, associated: &[u8]) -> io::Result<Self> {
        let salt: [u8; 32] = super::random::bytes();
        let derived = derived(key, associated, &salt);
        to.write_all(&salt)?;
        to.write_all(&derived.commitment)?;
        let encryptor = EncryptorBE32::from_aead(derived.cipher, &derived.prefix.into());
        Ok(Self {
            to,
            encryptor,
            chunk: Vec::new(),
        })
    }

    /// Writes the last chunk and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.encryptor
            .encrypt_last_in_place(b"", &mut self.chunk)
            .map_err(|_| too_long())?;
        self.to.write_all(&self.chunk)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.encryptor
                .encrypt_next_in_place(b"", &mut self.chunk)
                .map_err(|_| too_long())?;
            self.to.write_all(&self.chunk)?;
            self.chunk.clear();
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        "a part has at most 2^32 chunks of 64 KiB",
    )
}

/// Decrypts a stream that [`Sealer`] made, giving out only authenticated plaintext.
pub struct Opener<R: Read> {
    from: R,
    decryptor: Option<DecryptorBE32<Aes256Gcm>>,
    sealed: Vec<u8>,
    plain: Vec<u8>,
    taken: usize,
    offset: u64,
}

impl<R: Read> Opener<R> {
    /// Reads the header and checks the key commitment.
    pub fn new(mut from: R, key: &Key, associated: &[u8]) -> Result<Self, StreamError> {
        let mut header = [0u8; HEADER];
        from.read_exact(&mut header)
            .map_err(|_| StreamError::Altered { offset: 0 })?;
        let mut salt = [0; 32];
        salt.copy_from_slice(&header[..32]);
        let derived = derived(key, associated, &salt);
        if !bool::from(derived.commitment.ct_eq(&header[32..])) {
            return Err(StreamError::WrongKey);
        }
        let decryptor = DecryptorBE32::from_aead(derived.cipher, &derived.prefix.into());
        let mut opener = Self {
            from,
            decryptor: Some(decryptor),
            sealed: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            offset: 0,
        };
        opener.fill_sealed()?;
        Ok(opener)
    }

    /// Reads on until one byte more than a full chunk is there, which tells whether it is the last.
    fn fill_sealed(&mut self) -> io::Result<()> {
        let wanted = CHUNK + TAG + 1 - self.sealed.len();
        (&mut self.from)
            .take(wanted as u64)
            .read_to_end(&mut self.sealed)?;
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<bool, StreamError> {
        let Some(mut decryptor) = self.decryptor.take() else {
            return Ok(false);
        };
        let altered = StreamError::Altered {
            offset: self.offset,
        };
        self.taken = 0;
        if self.sealed.len() > CHUNK + TAG {
            let following = self.sealed.split_off(CHUNK + TAG);
            self.plain = std::mem::replace(&mut self.sealed, following);
            decryptor
                .decrypt_next_in_place(b"", &mut self.plain)
                .map_err(|_| altered)?;
            self.decryptor = Some(decryptor);
            self.fill_sealed()?;
        } else {
            self.plain = std::mem::take(&mut self.sealed);
            decryptor
                .decrypt_last_in_place(b"", &mut self.plain)
                .map_err(|_| altered)?;
        }
        self.offset += self.plain.len() as u64;
        Ok(!self.plain.is_empty())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.plain.len() {
            match self.next_chunk() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(StreamError::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        let given = out.len().min(self.plain.len() - self.taken);
        out[..given].copy_from_slice(&self.plain[self.taken..self.taken + given]);
        self.taken += given;
        Ok(given)
    }
}

impl<R: Read> Drop for Opener<R> {
    fn drop(&mut self) {
        crate::secret::wipe(&mut self.plain);
    }
}

/// Encrypts a part that is in memory.
pub fn seal(key: &Key, associated: &[u8], plaintext: &[u8]) -> io::Result<Vec<u8>> {
    let capacity = usize::try_from(sealed_len(plaintext.len() as u64)).unwrap_or(0);
    let mut sealer = Sealer::new(Vec::with_capacity(capacity), key, associated)?;
    sealer.chunk.reserve(plaintext.len().min(CHUNK) + TAG);
    sealer.write_all(plaintext)?;
    sealer.finish()
}

/// Decrypts a part of at most `limit` plaintext bytes into memory.
pub fn open(
    key: &Key,
    associated: &[u8],
    sealed: &[u8],
    limit: u64,
) -> Result<Vec<u8>, StreamError> {
    let opener = Opener::new(sealed, key, associated)?;
    let mut out = Vec::new();
    opener
        .take(limit + 1)
        .read_to_end(&mut out)
        .map_err(from_io)?;
    if out.len() as u64 > limit {
        let message = format!("the part is longer than the {limit} bytes expected");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message).into());
    }
    Ok(out)
}

/// Finds a [`StreamError`] again that travelled through `Read`.
pub fn from_io(error: io::Error) -> StreamError {
    match error.downcast::<StreamError>() {
        Ok(inner) => inner,
        Err(error) => StreamError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_length_around_the_chunk_borders_comes_back() {
        let key = crate::crypto::random::key();
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5] {
            let plain: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let sealed = seal(&key, b"a", &plain).expect("seal");
            assert_eq!(sealed.len() as u64, sealed_len(length as u64));
            assert_eq!(
                open(&key, b"a", &sealed, length as u64).expect("open"),
                plain
            );
            assert!(matches!(
                open(&key, b"b", &sealed, u64::MAX - 1),
                Err(StreamError::WrongKey)
            ));
        }
    }

    #[test]
    fn cut_swapped_and_longer_streams_do_not_open() {
        let key = crate::crypto::random::key();
        let sealed = seal(&key, b"a", &vec![1; 3 * CHUNK]).expect("seal");
        for cut in [0, 10, HEADER, HEADER + CHUNK + TAG, sealed.len() - 1] {
            assert!(
                open(&key, b"a", &sealed[..cut], 1 << 20).is_err(),
                "cut at {cut}"
            );
        }
        let mut swapped = sealed.clone();
        let size = CHUNK + TAG;
        let (first, second) = swapped[HEADER..].split_at_mut(size);
        first.swap_with_slice(&mut second[..size]);
        assert!(open(&key, b"a", &swapped, 1 << 20).is_err());
        assert!(open(&key, b"a", &sealed, 10).is_err(), "the limit holds");
    }

    proptest! {
        #[test]
        fn an_altered_byte_is_noticed(length in 0usize..200_000, at in any::<prop::sample::Index>(), flip in 1u8..) {
            let key = crate::crypto::random::key();
            let mut sealed = seal(&key, b"a", &vec![9; length]).expect("seal");
            let place = at.index(sealed.len());
            sealed[place] ^= flip;
            prop_assert!(open(&key, b"a", &sealed, 1 << 20).is_err());
        }
    }
}
