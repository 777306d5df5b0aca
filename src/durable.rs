//! Durable means fsynced, the folder too. Whole files are replaced by write, fsync, rename, fsync of
//! the folder; a reader sees the old bytes or the new, whatever moment the power fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file operation that failed, with the place.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried ("write", "sync").
    pub doing: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// True where the disk or the quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// True where the file is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Names the place in an `io::Error`: `file.sync_all().map_err(at("sync", path))`.
pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError {
        doing,
        path,
        source,
    }
}

/// Replaces `path` by `content` atomically and durably, readable by the owner alone.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let scratch = scratch_of(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&scratch)
        .map_err(at("create", &scratch))?;
    file.write_all(content).map_err(at("write", &scratch))?;
    file.sync_all().map_err(at("sync", &scratch))?;
    fs::rename(&scratch, path).map_err(at("rename", &scratch))?;
    sync_folder_of(path)
}

/// Writes a file that must not exist yet, durably; none is left where that fails. After a power cut there may be a part of it.
pub fn create_new(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut file = create_file(path)?;
    let written = file
        .write_all(content)
        .map_err(at("write", path))
        .and_then(|()| file.sync_all().map_err(at("sync", path)))
        .and_then(|()| sync_folder_of(path));
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Opens a new file for writing and reading, readable by the owner alone. Durable only after
/// `sync_all` and [`sync_folder_of`].
pub fn create_file(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(at("create", path))
}

/// Makes a folder and its parents, open to the owner alone. Nothing happens where it exists.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(at("create", path))?;
    sync_folder_of(path)
}

/// Lets every user go through a folder to what they know by name, and see no names.
pub fn let_through(folder: &Path) -> Result<(), FileError> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711))
        .map_err(at("set the mode of", folder))
}

/// Removes a file durably; a file that is not there is no error.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at("remove", path)(error)),
    }
}

/// Makes the file's content and length durable (fdatasync). A new file's name needs
/// [`sync_folder_of`] too.
pub fn sync_data(file: &File, path: &Path) -> Result<(), FileError> {
    #[cfg(test)]
    DATA_SYNCS.set(DATA_SYNCS.get() + 1);
    file.sync_data().map_err(at("sync", path))
}

#[cfg(test)]
std::thread_local! {
    /// How often this thread called [`sync_data`]: group commit is proved by counting.
    pub static DATA_SYNCS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Reads a whole file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let size = fs::metadata(path).map_err(at("read", path))?.len();
    if size > limit {
        let source = io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes, at most {limit} are expected"),
        );
        return Err(at("read", path)(source));
    }
    fs::read(path).map_err(at("read", path))
}

/// As [`read`], but `None` where the file is not there.
pub fn read_if_present(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes all that lies in a folder, which may be a disk of its own; an absent folder is empty already.
pub fn clear_folder(folder: &Path) -> Result<(), FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("read", folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(at("read", folder))?.path();
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(at("remove", &path))?;
    }
    sync_folder_of(&folder.join("."))
}

/// Makes a new, renamed or removed name in `path`'s folder durable.
pub fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let handle = File::open(folder).map_err(at("open", folder))?;
    handle.sync_all().map_err(at("sync", folder))
}

fn scratch_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_no_scratch_and_reads_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("head");
        replace(&path, b"one").expect("first");
        replace(&path, b"two").expect("second");
        assert_eq!(read(&path, 10).expect("read"), b"two");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
        assert!(read(&path, 2).is_err(), "the limit holds");
        assert!(
            create_new(&path, b"three").is_err(),
            "create_new never overwrites"
        );
    }
}
