//! Finds the mails under the paths that are to be imported: single files, mailbox files, Maildir
//! folders, and folders of all these.

use super::beside::{is_expected, is_never_mail};
use super::packed::Packing;
use crate::durable::{FileError, at};
use crate::id::Digest;
use crate::mail::mbox::{Mbox, Place, before_mail, begins_mbox, is_header, line_end};
use crate::mail::{emlx, foreign};
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
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
    /// It is of a kind that is known and not read.
    #[error("{} {}", .0.display(), .1)]
    Foreign(PathBuf, String),
    /// A compressed file with many mails: those are found by their places in a file.
    #[error("{} is a compressed mailbox file: unpack it first", .0.display())]
    PackedMailbox(PathBuf),
    /// Apple Mail keeps what is missing in files of their own, or has not fetched it. The mail itself is not left out.
    #[error("the attachments of {}, which Apple Mail does not keep in that file", .0.display())]
    Attachments(PathBuf),
    /// What was added may be half a mail.
    #[error("the rest of {}, which another program writes to; run the same command again", .0.display())]
    Written(PathBuf),
}

/// A mail to be imported.
pub struct Found {
    /// Where it is, for people.
    pub place: String,
    /// SHA-256 of file path and offset.
    pub origin: Digest,
    /// SHA-256 of origin and content: tells whether this very mail was imported from here before.
    pub identity: Digest,
    /// The same as earlier versions made it, with a Maildir's folder and flags in the origin.
    pub former: Digest,
    /// Bytes of the source that this mail takes up.
    pub span: u64,
    /// Its length.
    pub length: u64,
    /// Its bytes.
    pub bytes: Box<dyn Read + Send>,
}

/// What lies under the paths to import.
#[derive(Debug, Default)]
pub struct Sources {
    /// All files in order, with their sizes.
    pub files: Vec<(PathBuf, u64)>,
    /// Symbolic links and what else is no file and no folder. They may lead anywhere, also in circles.
    pub skipped: Vec<PathBuf>,
    /// What could not be listed, or went away while it was.
    pub unreadable: Vec<FileError>,
}

/// All files under `paths`. Of a Maildir folder those in `cur` and `new`.
pub fn files(paths: &[PathBuf]) -> Result<Sources, FileError> {
    let mut found = Sources::default();
    for path in paths {
        let path = fs::canonicalize(path).map_err(at("find", path))?;
        collect(&path, &mut found);
    }
    Ok(found)
}

/// What cannot be read is noted, and keeps nothing else from being found.
fn collect(path: &Path, found: &mut Sources) {
    if let Err(error) = look_at(path, found) {
        found.unreadable.push(error);
    }
}

fn look_at(path: &Path, found: &mut Sources) -> Result<(), FileError> {
    let status = fs::symlink_metadata(path).map_err(at("read", path))?;
    if status.is_file() {
        found.files.push((path.to_owned(), status.len()));
        return Ok(());
    }
    if !status.is_dir() {
        found.skipped.push(path.to_owned());
        return Ok(());
    }
    let is_maildir = is_maildir(path);
    let mut inside = Vec::new();
    for entry in fs::read_dir(path).map_err(at("list", path))? {
        match entry {
            Ok(entry) => inside.push(entry.path()),
            Err(error) => found.unreadable.push(at("list", path)(error)),
        }
    }
    inside.sort_unstable();
    for child in inside {
        let name = child.file_name().unwrap_or_default().as_bytes();
        let left_out = is_maildir && (!child.is_dir() || name == b"tmp")
            || is_ours(&child)
            || is_never_mail(name);
        if !left_out {
            collect(&child, found);
        }
    }
    Ok(())
}

/// `new` or `tmp` may be missing: copying tools leave out empty folders.
fn is_maildir(folder: &Path) -> bool {
    let has = |name| folder.join(name).is_dir();
    has("cur") && (has("new") || has("tmp"))
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
        Ok(Kind::Mbox(mbox, file, size)) => {
            let (path, mut is_over) = (path.to_owned(), false);
            let found = move |place: io::Result<Place>| {
                let mail = still_whole(&path, &file, size, place);
                let before = std::mem::replace(&mut is_over, mail.is_err());
                (!before).then_some(mail)
            };
            Box::new(mbox.map_while(found))
        }
        Ok(Kind::Single(found)) => {
            let name = path.file_name().unwrap_or_default().as_bytes();
            let partial = name.ends_with(b".partial.emlx");
            let missing = partial.then(|| Err(SourceError::Attachments(path.to_owned())));
            Box::new(std::iter::once(Ok(found)).chain(missing))
        }
        Err(SourceError::NoMail(_)) if is_expected(path) => Box::new(std::iter::empty()),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

/// The mail that lies there, if the mailbox file had it when it was opened and has not become shorter.
fn still_whole(
    path: &Path,
    file: &Arc<File>,
    size: u64,
    place: io::Result<Place>,
) -> Result<Found, SourceError> {
    let place = place.map_err(at("read", path))?;
    let now = file.metadata().map_err(at("read", path))?.len();
    if place.next > size || now < size {
        return Err(SourceError::Written(path.to_owned()));
    }
    Ok(from_mbox(path, file, place).map_err(at("read", path))?)
}

enum Kind {
    /// The mails, the file to read them from, and its length.
    Mbox(Mbox<BufReader<File>>, Arc<File>, u64),
    Single(Found),
}

fn open(path: &Path) -> Result<Kind, SourceError> {
    let file = File::open(path).map_err(at("open", path))?;
    let size = file.metadata().map_err(at("read", path))?.len();
    let file = Arc::new(file);
    let whole = Stretch {
        file: Arc::clone(&file),
        at: 0,
        end: size,
    };
    let start = beginning(whole.clone()).map_err(at("read", path))?;
    if let Some(packing) = Packing::of(&start) {
        return packed(path, &whole, packing);
    }
    if let Some(place) = emlx::message(&start, size) {
        let message = Stretch {
            at: place.start,
            end: place.end,
            ..whole
        };
        let found = single(path, size, || Ok(Box::new(message.clone())));
        return Ok(Kind::Single(found.map_err(at("read", path))?));
    }
    let skipped = before_mail(&start);
    let (start, skipped) = (&start[skipped..], skipped as u64);
    if begins_mbox(start) {
        let mut reader = File::open(path).map_err(at("open", path))?;
        reader
            .seek(SeekFrom::Start(skipped))
            .map_err(at("read", path))?;
        let reader = BufReader::with_capacity(256 << 10, reader);
        let again = Arc::clone(&file);
        let look = move |place| beginning_at(&again, place);
        return Ok(Kind::Mbox(
            Mbox::at(reader, skipped, line_end(start), look),
            file,
            size,
        ));
    }
    if !is_header(start) {
        return Err(no_mail(path, start));
    }
    let message = Stretch {
        at: skipped,
        ..whole
    };
    let found = single(path, size, || Ok(Box::new(message.clone())));
    Ok(Kind::Single(found.map_err(at("read", path))?))
}

fn no_mail(path: &Path, start: &[u8]) -> SourceError {
    match foreign::told(start) {
        Some(told) => SourceError::Foreign(path.to_owned(), told),
        None => SourceError::NoMail(path.to_owned()),
    }
}

/// The mail in a compressed file.
fn packed(path: &Path, file: &Stretch, packing: Packing) -> Result<Kind, SourceError> {
    let unpack = || packing.unpack(BufReader::new(file.clone()));
    let start = unpack().and_then(beginning).map_err(at("unpack", path))?;
    if begins_mbox(&start[before_mail(&start)..]) {
        return Err(SourceError::PackedMailbox(path.to_owned()));
    }
    if !is_header(&start) {
        return Err(no_mail(path, &start));
    }
    let found = single(path, file.end, unpack).map_err(at("unpack", path))?;
    Ok(Kind::Single(found))
}

/// Bytes of a file that are looked at to see what it is.
const BEGINNING: u64 = 8192;

/// What a file has at a place, as far as a separator may reach.
fn beginning_at(file: &File, place: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; BEGINNING as usize];
    let read = file.read_at(&mut bytes, place)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The first bytes of a content.
fn beginning(content: impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    content.take(BEGINNING).read_to_end(&mut start)?;
    Ok(start)
}

/// A file of `size` bytes that is one mail. What opens it is called twice, so that a long mail need not be in memory.
fn single(
    path: &Path,
    size: u64,
    open: impl Fn() -> io::Result<Box<dyn Read + Send>>,
) -> io::Result<Found> {
    let mut hash = Sha256::new();
    let length = io::copy(&mut open()?, &mut HashWriter(&mut hash))?;
    let content = Digest(hash.finalize().into());
    let origin = origin(&lasting(path), 0);
    Ok(Found {
        place: path.display().to_string(),
        origin,
        identity: identity(origin, content),
        former: identity(self::origin(path, 0), content),
        span: size,
        length,
        bytes: Box::new(open()?.take(length)),
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
    let identity = identity(origin, Digest(hash.finalize().into()));
    Ok(Found {
        place: format!("{} at offset {}", path.display(), place.separator),
        origin,
        identity,
        former: identity,
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

/// A mail's path without what changes in a Maildir when the mail is read or marked: `cur` or `new`, and the flags.
fn lasting(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let folder = path.parent();
    let maildir = folder
        .filter(|folder| folder.ends_with("cur") || folder.ends_with("new"))
        .and_then(Path::parent)
        .filter(|maildir| is_maildir(maildir));
    let Some(maildir) = maildir else {
        return path.to_owned();
    };
    // File systems without colons in names have one of the others in its place.
    let flags = name
        .windows(3)
        .position(|three| matches!(three, b":2," | b";2," | b"!2,"));
    maildir.join(OsStr::from_bytes(&name[..flags.unwrap_or(name.len())]))
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
