//! The tail: entries behind the last full bundle, a batch at a time. One sync of this file is the commit
//! of every mail in the batch.
//!
//! A cut file and an altered one are told apart. A commit that the power failed in leaves a last batch that
//! ends too early or has no end mark; it was never acknowledged and is dropped. Anything else that does
//! not fit its checksums was committed, and is damage.

use super::LedgerError;
use super::tiles::{Line, decode_bundle, encode_bundle};
use crate::durable::{self, FileError, at};
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SRTAIL\0\x01";
const BATCH: &[u8; 4] = b"BATC";
const DONE: &[u8; 4] = b"DONE";
const HEADER: usize = 20;
const BATCH_HEADER: usize = 24;
const BATCH_TRAILER: usize = 8;
const MAX_FILE: u64 = 1 << 30;

fn with_sum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&bytes);
    bytes.extend(sum.to_be_bytes());
    bytes
}

fn sum_fits(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(body, sum)| crc32fast::hash(body).to_be_bytes() == *sum)
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// `magic[8] ‖ first entry u64 ‖ crc32`.
fn header(first: u64) -> Vec<u8> {
    with_sum([MAGIC.as_slice(), &first.to_be_bytes()].concat())
}

/// `"BATC" ‖ first entry u64 ‖ count u32 ‖ length u32 ‖ crc32 ‖ bundle ‖ crc32 of the bundle ‖ "DONE"`.
fn batch<E: AsRef<[u8]>>(first: u64, entries: &[E]) -> Vec<u8> {
    let bundle = encode_bundle(entries);
    let (count, length) = (entries.len() as u32, bundle.len() as u32);
    let head = [
        BATCH.as_slice(),
        &first.to_be_bytes(),
        &count.to_be_bytes(),
        &length.to_be_bytes(),
    ]
    .concat();
    [with_sum(head), with_sum(bundle), DONE.to_vec()].concat()
}

/// What a tail file holds.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    /// The number of the first entry.
    first: u64,
    entries: Vec<Line>,
    /// Where the last whole batch ends.
    length: usize,
}

/// Damage at the entry of this number, or in the batch that begins with it.
type Altered = (u64, &'static str);

fn parse(bytes: &[u8]) -> Result<Content, Altered> {
    let whole = bytes
        .get(..HEADER)
        .filter(|header| header.starts_with(MAGIC) && sum_fits(header));
    let first = number(&whole.ok_or((0, "the tail's header was cut or altered"))?[8..16]);
    let mut content = Content {
        first,
        entries: Vec::new(),
        length: HEADER,
    };
    while let Some(length) = parse_batch(&bytes[content.length..], &mut content)? {
        content.length += length;
    }
    Ok(content)
}

/// Takes in the batch that `bytes` begins with; `None` at the end and at a torn batch.
fn parse_batch(bytes: &[u8], content: &mut Content) -> Result<Option<usize>, Altered> {
    let next = content.first + content.entries.len() as u64;
    let Some(header) = bytes.get(..BATCH_HEADER) else {
        return Ok(None);
    };
    if !header.starts_with(BATCH) || !sum_fits(header) {
        let never_written = bytes[BATCH_HEADER..].iter().all(|byte| *byte == 0);
        return if never_written {
            Ok(None)
        } else {
            Err((next, "the header of a batch was altered"))
        };
    }
    let (first, count) = (number(&header[4..12]), number(&header[12..16]));
    let end = BATCH_HEADER + number(&header[16..20]) as usize + BATCH_TRAILER;
    let Some(whole) = bytes.get(..end) else {
        return Ok(None);
    };
    let (body, mark) = whole[BATCH_HEADER..].split_at(end - BATCH_HEADER - DONE.len());
    if bytes.len() == end && whole[end - BATCH_TRAILER..].iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if mark != DONE || !sum_fits(body) {
        return Err((next, "a batch of entries was altered"));
    }
    let entries =
        decode_bundle(&body[..body.len() - 4]).filter(|entries| entries.len() as u64 == count);
    match entries {
        Some(entries) if first == next => {
            content.entries.extend(entries);
            Ok(Some(end))
        }
        _ => Err((next, "a batch does not follow the one before it")),
    }
}

/// The tail file, open for appending.
pub(super) struct Tail {
    path: PathBuf,
    file: File,
    length: u64,
    broken: bool,
}

impl Tail {
    /// Makes the tail of an empty ledger, or replaces a tail by one that begins at entry `first`.
    pub(super) fn replace<E: AsRef<[u8]>>(
        path: &Path,
        first: u64,
        entries: &[E],
    ) -> Result<Self, FileError> {
        let mut content = header(first);
        if !entries.is_empty() {
            content.extend(batch(first, entries));
        }
        durable::replace(path, &content)?;
        Self::at_end(path)
    }

    /// Opens a tail, without the torn batch that a power cut may have left: the first entry's number, and
    /// the entries.
    pub(super) fn open(path: &Path) -> Result<(Self, u64, Vec<Line>), LedgerError> {
        let bytes = durable::read(path, MAX_FILE)?;
        let damaged = |(entry, what)| LedgerError::Damaged {
            file: path.to_owned(),
            entry,
            what,
        };
        let content = parse(&bytes).map_err(damaged)?;
        let mut tail = Self::at_end(path)?;
        if content.length < bytes.len() {
            tail.length = content.length as u64;
            tail.cut()?;
        }
        Ok((tail, content.first, content.entries))
    }

    /// Whether the file holds these entries and nothing else, the first having this number.
    pub(super) fn verify(&self, first: u64, entries: &[Line]) -> Result<(), LedgerError> {
        let damaged = |(entry, what)| LedgerError::Damaged {
            file: self.path.clone(),
            entry,
            what,
        };
        let bytes = durable::read(&self.path, MAX_FILE)?;
        let content = parse(&bytes).map_err(damaged)?;
        let whole = content.length == bytes.len();
        if whole && content.first == first && content.entries == entries {
            Ok(())
        } else {
            Err(damaged((
                first,
                "the tail does not hold the entries that were written",
            )))
        }
    }

    fn at_end(path: &Path) -> Result<Self, FileError> {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(at("open", path))?;
        let length = file.metadata().map_err(at("read", path))?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            broken: false,
        })
    }

    /// True where the file may hold other than what was committed: it takes no more, and has to be replaced.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Adds a batch, durably, or leaves the tail as it was, or broken.
    pub(super) fn append<E: AsRef<[u8]>>(
        &mut self,
        first: u64,
        entries: &[E],
    ) -> Result<(), LedgerError> {
        let bytes = batch(first, entries);
        let write = self
            .file
            .write_all_at(&bytes, self.length)
            .map_err(at("write", &self.path));
        if let Err(error) = write.and_then(|()| durable::sync_data(&self.file, &self.path)) {
            self.broken = self.cut().is_err();
            return Err(error.into());
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Broken if the file was replaced by another one: batches would be lost with it.
    pub(super) fn check_in_place(&mut self) {
        let identity =
            |meta: std::io::Result<Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
        let ours = identity(self.file.metadata());
        self.broken |= ours.is_none() || ours != identity(std::fs::metadata(&self.path));
    }

    /// Writes elsewhere from here on, to see what a failing disk does.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, path: &Path) {
        self.file = OpenOptions::new().write(true).open(path).expect("open");
    }

    fn cut(&self) -> Result<(), FileError> {
        self.file
            .set_len(self.length)
            .map_err(at("cut", &self.path))?;
        durable::sync_data(&self.file, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = header(512);
        let mut ends = vec![bytes.len()];
        let mut next = 512;
        for sizes in [[3usize, 200].as_slice(), &[40], &[7, 7, 7]] {
            let entries: Vec<Vec<u8>> = sizes.iter().map(|size| vec![next as u8; *size]).collect();
            bytes.extend(batch(next, &entries));
            next += entries.len() as u64;
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn a_cut_anywhere_leaves_the_whole_batches_before_it() {
        let (bytes, ends) = sample();
        for cut in 0..=bytes.len() {
            match parse(&bytes[..cut]) {
                Err(_) => assert!(cut < HEADER),
                Ok(content) => {
                    let last = ends
                        .iter()
                        .rfind(|end| **end <= cut)
                        .expect("the header's end");
                    assert_eq!(content.length, *last);
                }
            }
        }
    }

    #[test]
    fn a_last_batch_that_was_allocated_but_not_written_is_torn() {
        let (bytes, ends) = sample();
        for kept in ends[2]..ends[3] - BATCH_TRAILER {
            let mut torn = bytes.clone();
            torn[kept..].fill(0);
            assert_eq!(parse(&torn).expect("torn").length, ends[2], "kept {kept}");
        }
    }

    #[test]
    fn every_flipped_bit_is_named() {
        let (bytes, ends) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let (entry, _) = parse(&altered).expect_err("noticed");
            let batch = ends.iter().filter(|end| **end <= bit / 8).count();
            assert_eq!(entry, [0, 512, 514, 515][batch], "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_tails_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&[header(3), bytes].concat());
        }
    }
}
