//! Finds the mails under the paths that are to be imported: single files, mailbox files, Maildir
//! folders, and folders of all these.

use crate::durable::{FileError, at};
use crate::id::Digest;
use crate::mail::mbox::{Mbox, Place, begins_mbox, is_header};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        Ok(Kind::Mbox(mbox, file)) => {
            let path = path.to_owned();
            let found = move |place: io::Result<Place>| {
                let mail = place.and_then(|place| from_mbox(&path, &file, place));
                Ok(mail.map_err(at("read", &path))?)
            };
            Box::new(mbox.map(found))
        }
        Ok(Kind::Single(found)) => Box::new(std::iter::once(Ok(found))),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

enum Kind {
    /// The mails, and the file to read them from.
    Mbox(Mbox<BufReader<File>>, Arc<File>),
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
        let again = File::open(path).map_err(at("open", path))?;
        return Ok(Kind::Mbox(Mbox::new(reader), Arc::new(again)));
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

/// A mail in a mailbox file. It too is read twice.
fn from_mbox(path: &Path, file: &Arc<File>, place: Place) -> io::Result<Found> {
    let mail = Stretch {
        file: Arc::clone(file),
        at: place.start,
        end: place.end,
    };
    let mut hash = Sha256::new();
    let length = io::copy(&mut mail.clone(), &mut HashWriter(&mut hash))?;
    let origin = origin(path, place.separator);
    Ok(Found {
        place: format!("{} at offset {}", path.display(), place.separator),
        origin,
        identity: identity(origin, Digest(hash.finalize().into())),
        span: place.next - place.separator,
        length,
        bytes: Box::new(mail),
    })
}

/// A stretch of a file, read in order.
#[derive(Clone)]
struct Stretch {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
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
