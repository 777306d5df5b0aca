//! Finds the mails under the paths that are to be imported: single files, mailbox files, Maildir
//! folders, and folders of all these.

use super::mbox::{Mbox, Message, begins_mbox, is_header};
use crate::durable::{FileError, at};
use crate::id::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a file or a mail in it is left out.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not begin as a mail does.
    #[error("{} is no mail: it begins with neither a header field nor a mailbox file's \"From \" line", .0.display())]
    NoMail(PathBuf),
}

/// A mail to be imported.
pub struct Found {
    /// Where it is, for people.
    pub place: String,
    /// SHA-256 of file path and offset.
    pub origin: Digest,
    /// SHA-256 of origin and content: tells whether this very mail was imported from here before.
    pub identity: Digest,
    /// Bytes of the source that this mail takes up.
    pub span: u64,
    /// Its length.
    pub length: u64,
    /// Its bytes.
    pub bytes: Box<dyn Read + Send>,
}

/// All files under `paths` in order, with their sizes. Of a Maildir folder those in `cur` and `new`.
pub fn files(paths: &[PathBuf]) -> Result<Vec<(PathBuf, u64)>, FileError> {
    let mut found = Vec::new();
    for path in paths {
        let path = fs::canonicalize(path).map_err(at("find", path))?;
        collect(&path, &mut found)?;
    }
    Ok(found)
}

fn collect(path: &Path, found: &mut Vec<(PathBuf, u64)>) -> Result<(), FileError> {
    let status = fs::symlink_metadata(path).map_err(at("read", path))?;
    if status.is_file() {
        found.push((path.to_owned(), status.len()));
    }
    if !status.is_dir() {
        return Ok(());
    }
    let is_maildir = path.join("cur").is_dir() && path.join("new").is_dir();
    let mut inside = Vec::new();
    for entry in fs::read_dir(path).map_err(at("list", path))? {
        inside.push(entry.map_err(at("list", path))?.path());
    }
    inside.sort_unstable();
    for child in inside {
        let name = child.file_name().unwrap_or_default().as_bytes();
        let left_out = is_maildir && (!child.is_dir() || name == b"tmp") || is_ours(&child);
        if !left_out {
            collect(&child, found)?;
        }
    }
    Ok(())
}

/// The suffix of the file that remembers what has been imported.
pub const STATE_SUFFIX: &str = "strongroom-import";

fn is_ours(path: &Path) -> bool {
    path.extension()
        .is_some_and(|suffix| suffix == STATE_SUFFIX)
}

/// The mails in one file.
pub fn mails_of(path: &Path) -> Box<dyn Iterator<Item = Result<Found, SourceError>> + Send> {
    match open(path) {
        Ok(Kind::Mbox(mbox)) => {
            let path = path.to_owned();
            Box::new(
                mbox.map(move |message| Ok(from_mbox(&path, message.map_err(at("read", &path))?))),
            )
        }
        Ok(Kind::Single(found)) => Box::new(std::iter::once(Ok(found))),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

enum Kind {
    Mbox(Mbox<BufReader<File>>),
    Single(Found),
}

fn open(path: &Path) -> Result<Kind, SourceError> {
    let file = File::open(path).map_err(at("open", path))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut line = Vec::new();
    (&mut reader)
        .take(4096)
        .read_until(b'\n', &mut line)
        .map_err(at("read", path))?;
    reader.rewind().map_err(at("read", path))?;
    if begins_mbox(&line) {
        return Ok(Kind::Mbox(Mbox::new(reader)));
    }
    if !is_header(&line) {
        return Err(SourceError::NoMail(path.to_owned()));
    }
    single(path, reader)
        .map(Kind::Single)
        .map_err(|error| at("read", path)(error).into())
}

/// A file that is one mail. It is read twice, so that a long one need not be in memory.
fn single(path: &Path, mut reader: BufReader<File>) -> io::Result<Found> {
    let mut hash = Sha256::new();
    let length = io::copy(&mut reader, &mut HashWriter(&mut hash))?;
    reader.rewind()?;
    let origin = origin(path, 0);
    Ok(Found {
        place: path.display().to_string(),
        origin,
        identity: identity(origin, Digest(hash.finalize().into())),
        span: length,
        length,
        bytes: Box::new(reader.take(length)),
    })
}

fn from_mbox(path: &Path, message: Message) -> Found {
    let origin = origin(path, message.offset);
    Found {
        place: format!("{} at offset {}", path.display(), message.offset),
        origin,
        identity: identity(origin, Digest::of(&message.bytes)),
        span: message.span,
        length: message.bytes.len() as u64,
        bytes: Box::new(io::Cursor::new(message.bytes)),
    }
}

fn origin(path: &Path, offset: u64) -> Digest {
    let mut hash = Sha256::new_with_prefix(offset.to_be_bytes());
    hash.update(path.as_os_str().as_bytes());
    Digest(hash.finalize().into())
}

fn identity(origin: Digest, content: Digest) -> Digest {
    Digest::of(&[origin.0, content.0].concat())
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
