//! The ledger: an append-only list of entries under an RFC 6962 Merkle tree, in files laid out as C2SP's
//! tlog-tiles. What [`Ledger::commit`] has returned for is archived; whoever holds a [`Checkpoint`] can
//! tell later whether anything before it was changed.

mod checkpoint;
mod entry;
mod tail;
#[cfg(test)]
mod tests;
mod tiles;
mod tree;
mod verify;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use entry::{CaseStep, Entry, EntryError, Event, Head, MAX_ENTRY, Place, Sealed, Slot};
pub use tree::{Entries, Recorded, Tree};

use crate::durable::{self, FileError, at};
use crate::time::Timestamp;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tail::Tail;
use tiles::TileStore;

/// With this many entries in the tail, full bundles are written out. Each costs two syncs, so they are
/// better written many at a time, beside the few syncs of a commit.
const MOST_IN_TAIL: usize = 4096;
const MAX_CHECKPOINT: u64 = crate::crypto::note::MAX_NOTE as u64;

/// Why the ledger could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The tail is not there.
    #[error("{} is missing: mount the disk that it lies on, or restore the ledger from a backup; this is tried again", .0.display())]
    Missing(PathBuf),
    /// Stored bytes are not what was written.
    #[error("damage in the ledger: {what}, at entry {entry}, file {}; restore this file from a backup", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The entry, or the first of those that the damaged bytes hold.
        entry: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Something that was signed or sealed covers more entries than are left.
    #[error(
        "{what} covers {expected} entries, but the ledger has only {found}: its end was cut off, \
         or an old copy was put back; put the newest copy back"
    )]
    Behind {
        /// What covers them: "a signed checkpoint", "the keyring".
        what: &'static str,
        /// How many entries it covers.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// The entries are not those that were signed.
    #[error(
        "the root over the first {size} entries is not that of {what}: the ledger was altered or is another one"
    )]
    OtherRoot {
        /// How many entries.
        size: u64,
        /// What the root should be that of.
        what: &'static str,
    },
    /// The checkpoint is of another ledger.
    #[error("this is a checkpoint of {found:?}, the ledger is {expected:?}")]
    OtherOrigin {
        /// The checkpoint's origin.
        found: String,
        /// The ledger's.
        expected: String,
    },
    /// The stored checkpoint cannot be read.
    #[error("{}: {source}; put back a copy that was sent out", file.display())]
    BadCheckpoint {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// An entry that cannot be recorded.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// No such entry, or no tree of that size yet.
    #[error("{asked} entries asked for, there are {size}")]
    OutOfRange {
        /// What was asked for.
        asked: u64,
        /// How many there are.
        size: u64,
    },
}

impl LedgerError {
    /// True where the disk or the quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::File(error) if error.is_full())
    }

    /// True where the disk did not do its work, which says nothing of what lies on it: trying again may help.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::File(_) | Self::Missing(_))
    }
}

/// The writer of the ledger.
pub struct Ledger {
    origin: String,
    tree: Tree,
    tail: Tail,
    tail_path: PathBuf,
    /// Device and inode of the ledger's folder.
    folder: (u64, u64),
    last_time: Timestamp,
    pending: Vec<Arc<[u8]>>,
    pending_time: Timestamp,
    checkpoint: Option<Checkpoint>,
}

impl Ledger {
    /// Makes an empty ledger in `dir`, known by `origin` (`strongroom.box/BOX`), unless one is there
    /// already, and opens it. For founding alone: everything else needs a ledger that exists.
    pub fn create(dir: &Path, origin: &str) -> Result<Self, LedgerError> {
        durable::create_folder(dir)?;
        let tail = dir.join("tail");
        if !tail.exists() && !dir.join("checkpoint").exists() && !dir.join("tile").exists() {
            Tail::replace::<&[u8]>(&tail, 0, &[])?;
        }
        Self::open(dir, origin)
    }

    /// Opens the ledger in `dir`. A batch that the power failed in is dropped; anything else that does
    /// not fit, a missing ledger and the newest published checkpoint included, is an error.
    pub fn open(dir: &Path, origin: &str) -> Result<Self, LedgerError> {
        let tail_path = dir.join("tail");
        if !tail_path.try_exists().map_err(at("read", &tail_path))? {
            return Err(LedgerError::Missing(tail_path));
        }
        let folder = identity(dir).map_err(at("read", dir))?;
        let checkpoint = read_checkpoint(&dir.join("checkpoint"), origin)?;
        let (tail, first, recent) = Tail::open(&tail_path)?;
        let tree = Tree::load(TileStore::new(dir), first, recent)?;
        if let Some(checkpoint) = &checkpoint {
            tree.verify_prefix(checkpoint)?;
        }
        let last_time = match tree.size().checked_sub(1) {
            Some(last) => tree.entry(last)?.entry.time,
            None => Timestamp(0),
        };
        let (pending, pending_time) = (Vec::new(), last_time);
        let origin = origin.to_owned();
        Ok(Self {
            origin,
            tree,
            tail,
            tail_path,
            folder,
            last_time,
            pending,
            pending_time,
            checkpoint,
        })
    }

    /// The ledger's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The committed entries, for reading and proofs. A clone of it stays as it is while this ledger grows.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The newest published checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// When the newest committed entry was recorded; 0 for an empty ledger.
    #[must_use]
    pub const fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// Takes `events` into the present batch, at time `now` or the newest entry's where that is later,
    /// and says which numbers they will have. Nothing is written before [`Ledger::commit`].
    pub fn append(
        &mut self,
        now: Timestamp,
        events: Vec<Event>,
    ) -> Result<Range<u64>, LedgerError> {
        let time = now.max(self.pending_time);
        let lines = events
            .into_iter()
            .map(|event| Entry { time, event }.encode().map(Arc::from));
        let lines = lines.collect::<Result<Vec<Arc<[u8]>>, _>>()?;
        let first = self.tree.size() + self.pending.len() as u64;
        self.pending.extend(lines);
        self.pending_time = time;
        Ok(first..self.tree.size() + self.pending.len() as u64)
    }

    /// Makes the batch durable, with one sync: from here on its entries count. After an error none of
    /// them does, and the batch is empty.
    pub fn commit(&mut self) -> Result<(), LedgerError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (batch, time) = (std::mem::take(&mut self.pending), self.pending_time);
        self.pending_time = self.last_time;
        if self.tree.recent.len() >= MOST_IN_TAIL {
            self.flush()?;
        }
        self.mend_tail()?;
        self.tail.append(self.tree.size(), &batch)?;
        self.tree.push(batch);
        self.last_time = time;
        self.pending_time = time;
        Ok(())
    }

    /// Compares the tail's file with the entries in memory, which came from it and went into it.
    pub fn verify_tail(&self) -> Result<(), LedgerError> {
        let (first, entries) = self.tree.in_tail();
        self.tail.verify(first, entries)
    }

    /// Drops the batch.
    pub fn rollback(&mut self) {
        self.pending.clear();
        self.pending_time = self.last_time;
    }

    /// Stores a checkpoint of this ledger that [`Checkpoint::sign`] made, with the partial tiles that go
    /// with it. It may be older than the newest entry, never older than the last one published.
    pub fn publish(&mut self, checkpoint: Checkpoint) -> Result<(), LedgerError> {
        check_origin(&checkpoint, &self.origin)?;
        self.tree.verify_prefix(&checkpoint)?;
        let size = checkpoint.head().size;
        let last = self.checkpoint.as_ref().map_or(0, |last| last.head().size);
        if size < last {
            return Err(LedgerError::Behind {
                what: "a signed checkpoint",
                expected: last,
                found: size,
            });
        }
        self.check_in_place()?;
        self.flush()?;
        self.tree.write_partial(size)?;
        durable::replace(
            &self.tree.store.folder().join("checkpoint"),
            checkpoint.to_string().as_bytes(),
        )?;
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    /// Nothing new is written where another folder has come to lie, such as the mount point of a disk that is gone: it would
    /// be hidden once the disk is back.
    fn check_in_place(&self) -> Result<(), LedgerError> {
        let dir = self.tree.store.folder();
        if identity(dir).is_ok_and(|now| now == self.folder) {
            return Ok(());
        }
        Err(LedgerError::Missing(self.tail_path.clone()))
    }

    /// Writes the tail anew from memory where its file could not be brought back to what is committed.
    fn mend_tail(&mut self) -> Result<(), LedgerError> {
        if self.tail.is_broken() {
            self.check_in_place()?;
            let (first, entries) = self.tree.in_tail();
            self.tail = Tail::replace(&self.tail_path, first, entries)?;
        }
        Ok(())
    }

    /// Moves full bundles from the tail to their files. The tail is shortened last, so that entries are
    /// in one of the two at any moment.
    fn flush(&mut self) -> Result<(), LedgerError> {
        let (first, rest) = self.tree.rest();
        if first == self.tree.flushed {
            return Ok(());
        }
        self.check_in_place()?;
        self.tree.write_full()?;
        match Tail::replace(&self.tail_path, first, rest) {
            Ok(tail) => self.tail = tail,
            Err(error) => {
                self.tail.check_in_place();
                return Err(error.into());
            }
        }
        self.tree.forget_flushed();
        Ok(())
    }
}

fn identity(dir: &Path) -> std::io::Result<(u64, u64)> {
    let about = std::fs::metadata(dir)?;
    Ok((about.dev(), about.ino()))
}

fn check_origin(checkpoint: &Checkpoint, origin: &str) -> Result<(), LedgerError> {
    if checkpoint.origin() == origin {
        return Ok(());
    }
    Err(LedgerError::OtherOrigin {
        found: checkpoint.origin().to_owned(),
        expected: origin.to_owned(),
    })
}

fn read_checkpoint(file: &Path, origin: &str) -> Result<Option<Checkpoint>, LedgerError> {
    let Some(bytes) = durable::read_if_present(file, MAX_CHECKPOINT)? else {
        return Ok(None);
    };
    let bad = |source| LedgerError::BadCheckpoint {
        file: file.to_owned(),
        source,
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| bad(CheckpointError::NotACheckpoint))?;
    let checkpoint: Checkpoint = text.parse().map_err(bad)?;
    check_origin(&checkpoint, origin)?;
    Ok(Some(checkpoint))
}
