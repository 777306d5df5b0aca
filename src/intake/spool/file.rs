//! One spool file being written: the same bytes in every folder, in all or in none.

use super::format::{self, Kind, Preamble, Ratchet};
use super::{SpoolError, path_of, unpublished_path_of};
use crate::crypto::hpke::SealingKey;
use crate::durable::{self, FileError, at};
use crate::id::SpoolFileId;
use crate::time::Timestamp;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file under its unpublished name (readers do not see it) or, after [`SpoolFile::publish`], under
/// its own. The lock on each copy tells readers that the writer is alive.
pub struct SpoolFile {
    id: SpoolFileId,
    copies: Vec<Copy>,
    ratchet: Ratchet,
    published: bool,
    /// Bytes that are synced in every folder and stay.
    good: u64,
    /// Mails that are synced in every folder.
    mails: u32,
}

struct Copy {
    folder: PathBuf,
    path: PathBuf,
    file: File,
}

impl SpoolFile {
    /// Begins a file in every folder. Nothing is left where that fails.
    pub fn create(
        folders: &[PathBuf],
        key: &SealingKey,
        now: Timestamp,
    ) -> Result<Self, SpoolError> {
        let id = SpoolFileId::random();
        let preamble = Preamble {
            file: id,
            key: key.fingerprint(),
            created: now,
        };
        let (header, ratchet) = format::begin(&preamble, key);
        let mut new = Self {
            id,
            copies: Vec::new(),
            ratchet,
            published: false,
            good: 0,
            mails: 0,
        };
        for folder in folders {
            let path = unpublished_path_of(folder, id);
            let file = durable::create_file(&path)?;
            file.lock().map_err(at("lock", &path))?;
            new.copies.push(Copy {
                folder: folder.clone(),
                path,
                file,
            });
        }
        new.append(&header)?;
        Ok(new)
    }

    /// Shows the file to readers, durably. What was written before is synced.
    pub fn publish(&mut self) -> Result<(), SpoolError> {
        self.sync()?;
        for copy in &mut self.copies {
            let path = path_of(&copy.folder, self.id);
            fs::rename(&copy.path, &path).map_err(at("rename", &copy.path))?;
            copy.path = path;
        }
        // Only now, so that a reader finds all copies at nearly the same time.
        for copy in &self.copies {
            durable::sync_folder_of(&copy.path)?;
        }
        self.published = true;
        Ok(())
    }

    /// The file's id.
    pub const fn id(&self) -> SpoolFileId {
        self.id
    }

    /// Mails that are in the file for good.
    pub const fn mails(&self) -> u32 {
        self.mails
    }

    /// Bytes that are in the file for good.
    pub const fn length(&self) -> u64 {
        self.good
    }

    /// Encrypts a frame of mail `mail` onto `out`. What was sealed must be appended in the same order.
    pub fn seal(&mut self, kind: Kind, mail: u32, pieces: &[&[u8]], out: &mut Vec<u8>) {
        self.ratchet.seal(kind, mail, pieces, out);
    }

    /// Writes `frames` to every folder without waiting for the disks. After an error the file is
    /// back at its old length.
    pub fn append(&mut self, frames: &[u8]) -> Result<(), SpoolError> {
        let offset = self.good;
        let written = self.copies.iter().try_for_each(|copy| {
            copy.file
                .write_all_at(frames, offset)
                .map_err(at("write", &copy.path))
        });
        self.settle(written)?;
        self.good += frames.len() as u64;
        Ok(())
    }

    /// As [`SpoolFile::append`], and waits until every disk has the frames, with `mails` more mails.
    pub fn commit(&mut self, frames: &[u8], mails: u32) -> Result<(), SpoolError> {
        let before = self.good;
        self.append(frames)?;
        let synced = self.sync();
        if let Err(error) = synced {
            self.good = before;
            self.settle(Err(error))?;
        }
        self.mails += mails;
        Ok(())
    }

    /// Syncs all copies, at the same time where there are two disks.
    fn sync(&self) -> Result<(), FileError> {
        let sync = |copy: &Copy| copy.file.sync_data().map_err(at("sync", &copy.path));
        let Some((first, others)) = self.copies.split_first() else {
            return Ok(());
        };
        if others.is_empty() {
            return sync(first);
        }
        std::thread::scope(|scope| {
            let beside = |copy| std::thread::Builder::new().spawn_scoped(scope, move || sync(copy));
            let others: Vec<_> = others.iter().map(|copy| (copy, beside(copy))).collect();
            let first = sync(first);
            others.into_iter().fold(first, |result, (copy, other)| {
                let other = match other {
                    Ok(other) => other
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    // No thread can be started: one after the other.
                    Err(_) => sync(copy),
                };
                result.and(other)
            })
        })
    }

    /// Cuts every copy back to the good length where `result` is an error.
    fn settle(&self, result: Result<(), FileError>) -> Result<(), SpoolError> {
        if result.is_err() {
            for copy in &self.copies {
                if let Err(error) = copy.file.set_len(self.good) {
                    // Whole mails behind the good length are read as mail whose 250 was lost.
                    tracing::error!(path = %copy.path.display(), %error, "cannot cut the spool file back");
                }
            }
        }
        result.map_err(SpoolError::from)
    }

    /// Writes the end frame and lets go of the file. An end frame that is lost costs nothing: a file
    /// without one and without a living writer is whole up to its last mail.
    pub fn finish(mut self) {
        let mut end = Vec::new();
        self.seal(Kind::End, self.mails, &[], &mut end);
        if let Err(error) = self.append(&end) {
            tracing::warn!(file = %self.id, %error, "no end frame written");
        }
    }

    fn remove(&self) {
        for copy in &self.copies {
            if let Err(error) = durable::remove(&copy.path) {
                tracing::warn!(%error, "an empty spool file stays");
            }
        }
    }
}

impl Drop for SpoolFile {
    /// A file that no reader was shown, or that holds nothing, goes.
    fn drop(&mut self) {
        if !self.published || self.mails == 0 {
            self.remove();
        }
    }
}

/// Removes what a dead writer left unpublished: nothing in it was acknowledged.
pub fn remove_unpublished(folder: &Path) -> Result<(), SpoolError> {
    for entry in fs::read_dir(folder).map_err(at("list", folder))? {
        let path = entry.map_err(at("list", folder))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(&format!(".{}", super::UNPUBLISHED)) {
            continue;
        }
        let file = File::open(&path).map_err(at("open", &path))?;
        if file.try_lock().is_ok() {
            durable::remove(&path)?;
        }
    }
    Ok(())
}
