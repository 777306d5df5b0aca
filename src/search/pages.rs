//! A file of the search index, sealed in pages, so that any of them can be read alone.
//!
//! File: `magic[8] ‖ salt[32] ‖ page… ‖ end[16]`. A page is up to 16 KiB of plaintext and a tag; all but
//! the last are full. Each file has a key of its own, HKDF(index key, partition, name, salt), so the
//! page's number serves as nonce. `end` is the tag over the plaintext's length: a cut file does not open.

use crate::crypto::random;
use aes_gcm::aead::{Aead, AeadInOut, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Mutex, PoisonError};
use tantivy::HasLen;
use tantivy::directory::{AntiCallToken, FileHandle, OwnedBytes, TerminatingWrite};

/// Plaintext bytes of a full page.
pub(super) const PAGE: usize = 16 * 1024;
pub(super) const TAG: usize = 16;
pub(super) const SEALED_PAGE: usize = PAGE + TAG;
pub(super) const MAGIC: &[u8; 8] = b"SRINDEX1";
pub(super) const HEADER: usize = MAGIC.len() + 32;
/// Number of the page that is no page: the tag over the length.
const END: u64 = u64::MAX;
/// The pages of one file, by number.
pub(super) struct Pages(pub(super) Aes256Gcm);

impl Pages {
    pub(super) fn seal(&self, number: u64, page: &[u8]) -> io::Result<Vec<u8>> {
        self.0
            .encrypt(&nonce(number), page)
            .map_err(|_| damaged("does not seal"))
    }

    /// Decrypts in place and leaves the plaintext.
    fn open(&self, number: u64, sealed: &mut [u8]) -> io::Result<usize> {
        let length = sealed
            .len()
            .checked_sub(TAG)
            .ok_or_else(|| damaged("cut"))?;
        let (page, tag) = sealed.split_at_mut(length);
        let tag: [u8; TAG] = (&*tag).try_into().map_err(|_| damaged("cut"))?;
        self.0
            .decrypt_inout_detached(&nonce(number), b"", page.into(), &tag.into())
            .map_err(|_| damaged("altered"))?;
        Ok(length)
    }

    pub(super) fn end(&self, length: u64) -> io::Result<Vec<u8>> {
        let payload = Payload {
            msg: b"",
            aad: &length.to_be_bytes(),
        };
        self.0
            .encrypt(&nonce(END), payload)
            .map_err(|_| damaged("does not seal"))
    }

    pub(super) fn check_end(&self, length: u64, end: &[u8]) -> io::Result<()> {
        let payload = Payload {
            msg: end,
            aad: &length.to_be_bytes(),
        };
        self.0
            .decrypt(&nonce(END), payload)
            .map(|_| ())
            .map_err(|_| damaged("cut or altered"))
    }
}

/// A file that is open for reading; it stays readable after its name is removed.
pub(super) struct SealedFile {
    pub(super) file: File,
    pub(super) pages: Pages,
    pub(super) length: usize,
    /// The page that was read last and its number, empty at first. Merging and phrases read a page in many
    /// small pieces, one after the other.
    pub(super) last_read: Mutex<(usize, Vec<u8>)>,
}

impl SealedFile {
    pub(super) fn read(&self, range: Range<usize>) -> io::Result<Vec<u8>> {
        if range.start > range.end || range.end > self.length {
            return Err(damaged("a read beyond its end"));
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let (first, last) = (range.start / PAGE, (range.end - 1) / PAGE);
        let within = range.start - first * PAGE..range.end - first * PAGE;
        if first == last {
            let mut last_read = self
                .last_read
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if last_read.0 != first || last_read.1.is_empty() {
                *last_read = (first, self.read_pages(first, last)?);
            }
            return Ok(last_read.1[within].to_vec());
        }
        let mut bytes = self.read_pages(first, last)?;
        bytes.truncate(within.end);
        bytes.drain(..within.start);
        Ok(bytes)
    }

    /// The plaintext of the pages from `first` to `last`.
    fn read_pages(&self, first: usize, last: usize) -> io::Result<Vec<u8>> {
        let from = HEADER + first * SEALED_PAGE;
        let upto = HEADER + last * SEALED_PAGE + TAG + (self.length - last * PAGE).min(PAGE);
        let mut bytes = vec![0; upto - from];
        self.file.read_exact_at(&mut bytes, from as u64)?;
        // Decrypt each page in place, then close the gaps that the tags leave.
        let mut filled = 0;
        for (index, start) in (0..bytes.len()).step_by(SEALED_PAGE).enumerate() {
            let end = bytes.len().min(start + SEALED_PAGE);
            let length = self
                .pages
                .open((first + index) as u64, &mut bytes[start..end])?;
            bytes.copy_within(start..start + length, filled);
            filled += length;
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

impl FileHandle for SealedFile {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        self.read(range).map(OwnedBytes::new)
    }
}

impl HasLen for SealedFile {
    fn len(&self) -> usize {
        self.length
    }
}

impl std::fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedFile({} bytes)", self.length)
    }
}

/// A file that is being written. Without `terminate` it has no end and does not open.
pub(super) struct PageWriter {
    pub(super) file: File,
    pub(super) pages: Pages,
    pub(super) page: Vec<u8>,
    pub(super) full: u64,
}

impl PageWriter {
    fn write_page(&mut self) -> io::Result<()> {
        let sealed = self.pages.seal(self.full, &self.page)?;
        self.file.write_all(&sealed)?;
        self.page.clear();
        self.full += 1;
        Ok(())
    }
}

impl Write for PageWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PAGE - self.page.len());
        self.page.extend_from_slice(&bytes[..taken]);
        if self.page.len() == PAGE {
            self.write_page()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for PageWriter {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        let length = self.full * PAGE as u64 + self.page.len() as u64;
        if !self.page.is_empty() {
            self.write_page()?;
        }
        self.file.write_all(&self.pages.end(length)?)?;
        self.file.sync_data()
    }
}

pub(super) fn new_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

pub(super) fn write_header(to: &mut impl Write) -> io::Result<[u8; 32]> {
    let salt = random::bytes();
    to.write_all(MAGIC)?;
    to.write_all(&salt)?;
    Ok(salt)
}

fn nonce(number: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

pub(super) fn sealed_len(plaintext: u64) -> u64 {
    let tags = plaintext.div_ceil(PAGE as u64) + 1;
    HEADER as u64 + plaintext + tags * TAG as u64
}

/// `None` if no plaintext gives a file of this length.
pub(super) fn plaintext_len(sealed: u64) -> Option<u64> {
    let body = sealed.checked_sub((HEADER + TAG) as u64)?;
    let length = body.checked_sub(body.div_ceil(SEALED_PAGE as u64) * TAG as u64)?;
    (sealed_len(length) == sealed).then_some(length)
}

pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
