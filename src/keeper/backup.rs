//! A consistent moment of the data folder under load: what a backup copies. Everything in it is sealed, so that
//! whoever copies needs no trust.

use super::core::{Core, CoreError, lock};
use super::protocol::BackupFile;
use crate::boxfiles::{BACKUP_LIST, SPOOL_FOLDERS};
use crate::durable::{self, at};
use crate::id::{Digest, TenantId};
use crate::ledger::{Event, Head};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files replaced as a whole travel inside the answer, up to this size.
const INLINE: u64 = 8 << 20;
/// Never part of a backup: derived, running, on its way into the archive, or, as the key of the listeners, secret.
const LEFT_OUT: [&str; 8] = [
    "catalog",
    "search",
    "run",
    "spool",
    "spool2",
    SPOOL_FOLDERS,
    "tls",
    BACKUP_LIST,
];

impl Core {
    /// Lists the files of this moment, and the ledger's head in it. Commits wait while it is taken; copying goes on beside
    /// them.
    pub fn backup(&self) -> Result<(Head, Vec<BackupFile>), CoreError> {
        super::heartbeat::checkpoint(self)?;
        let secret = self.data.config()?.tls.key;
        let tenants: BTreeSet<TenantId> = self.tenants().cloned().collect();
        let _order = lock(&self.order);
        let _stores = self.lock_stores(&tenants)?;
        let _people = lock(&self.people);
        let ledger = lock(&self.ledger);
        let head = ledger.tree().head()?;
        let mut files = Vec::new();
        collect(self.data.path(), Path::new(""), &secret, &mut files)?;
        drop(ledger);
        Ok((head, files))
    }

    /// Records that a backup of this ledger up to `head` was written and verified.
    pub fn note_backup(&self, head: Head, manifest: Digest, place: &str) -> Result<(), CoreError> {
        if lock(&self.ledger).tree().head_at(head.size)? != head {
            return Err(CoreError::OtherHead);
        }
        let sealed = self.sealed_detail("backup", &place);
        self.record(&[Event::Backup {
            head,
            manifest,
            sealed,
        }])?;
        Ok(())
    }
}

fn collect(
    root: &Path,
    below: &Path,
    secret: &Path,
    files: &mut Vec<BackupFile>,
) -> Result<(), CoreError> {
    let folder = root.join(below);
    let mut names: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(at("read", &folder))?
        .flatten()
        .map(|entry| below.join(entry.file_name()))
        .collect();
    names.sort();
    for path in names {
        let full = root.join(&path);
        let top = below.as_os_str().is_empty();
        if top && LEFT_OUT.iter().any(|name| path == Path::new(name))
            || path == secret
            || path.extension().is_some_and(|end| end == "new")
        {
            continue;
        }
        // A whole folder may lie on another disk.
        let kind = if top {
            fs::metadata(&full)
        } else {
            fs::symlink_metadata(&full)
        };
        let kind = kind.map_err(at("read", &full))?;
        if kind.is_dir() {
            collect(root, &path, secret, files)?;
        } else if kind.is_file() {
            files.push(describe(&full, path, kind.len())?);
        }
    }
    Ok(())
}

fn describe(full: &Path, path: PathBuf, length: u64) -> Result<BackupFile, CoreError> {
    let grows = path
        .extension()
        .is_some_and(|end| end == "seg" || end == "slots");
    let partial = path
        .components()
        .any(|part| Path::new(part.as_os_str()).extension() == Some("p".as_ref()));
    let immutable = path.starts_with("ledger/tile") && !partial;
    let content = if grows || immutable || length > INLINE {
        None
    } else {
        Some(durable::read(full, INLINE)?)
    };
    Ok(BackupFile {
        path,
        length,
        content,
        keeps: grows || immutable,
    })
}
