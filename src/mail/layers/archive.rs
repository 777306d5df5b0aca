//! ZIP, tar, gzip, bzip2 and xz files with encrypted files or mails in them, also in archives in them: people and gateways pack
//! what a mail server would not let through. Archives without any stay as they are.

mod members;

use super::{Spot, Walk};
use crate::mail::context::Failure;
use crate::mail::inflate::Limit;
use crate::mail::rendition::{Edits, as_file, as_mixed};
use crate::mail::{sniff, tar, transfer};
use lzma_rust2::XzReader;
use members::Members;
use memchr::memmem;
use std::cell::Cell;
use std::io::{self, Cursor, Read};
use zip::ZipArchive;

/// Most entries of an archive that is looked into.
const MAX_ENTRIES: usize = 200;
/// Most bytes that one is unpacked to: all of it is in memory, several times.
const MOST_UNPACKED: u64 = 64 << 20;
/// Most memory for unpacking xz, in KiB: `xz -9` asks for a window of 64 MiB.
const XZ_MEMORY: u32 = 80 << 10;
/// Most bytes that all archives of a mail are unpacked to for a look. Hostile ones are many, and each entry of them may be the
/// same bomb.
const MOST_LOOKED_AT: u64 = 512 << 20;
/// Bytes of an entry in which it says what it is.
const WINDOW: u64 = 8 << 10;
/// What the beginning of a file costs that bzip2 compressed: all of its first block; xz needs room for as much and more.
const BLOCK: u64 = 900 << 10;
/// Deepest archive in archives that is looked into; `a.tar.gz` are two.
const DEEPEST: u32 = 4;

/// What an archive is, by its first bytes.
#[derive(Clone, Copy)]
enum Kind {
    Zip,
    Tar,
    Gzip,
    Bzip2,
    Xz,
}

impl Kind {
    fn of(start: &[u8]) -> Option<Self> {
        match start {
            [b'P', b'K', 3, 4, ..] => Some(Self::Zip),
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ if tar::is_tar(start) => Some(Self::Tar),
            _ => None,
        }
    }
}

/// A file in an archive.
struct Entry {
    name: String,
    content: Vec<u8>,
}

impl Walk<'_> {
    /// Opens what lies encrypted in an archive. If something was, the part becomes a multipart of all that is in it. False
    /// if nothing in it is encrypted, or the part is no archive.
    pub(super) fn archive_part(&mut self, spot: Spot<'_>, edits: &mut Edits) -> bool {
        let start = transfer::beginning(spot.body(), spot.encoding(), WINDOW as usize);
        let Some(kind) = Kind::of(&start) else {
            return false;
        };
        let file = spot.decoded();
        let limit = Limit::of(file.len(), self.budget, &self.policy.bounds);
        let limit = limit.at_most("archive_bytes", MOST_UNPACKED);
        let mut look = Look {
            left: limit,
            depth: 0,
            spent: &self.looked_at,
        };
        if !look.finds_sealed(kind, &file, spot.part.file_name()) {
            return false;
        }
        let entries = match kind {
            Kind::Zip => in_zip(&file, limit),
            Kind::Tar => in_tar(&file, limit),
            Kind::Gzip => in_packed(Members::gzip(&file), spot.part.file_name(), limit),
            Kind::Bzip2 => in_packed(Members::bzip2(&file), spot.part.file_name(), limit),
            Kind::Xz => in_packed(unpacking_xz(&file), spot.part.file_name(), limit),
        };
        // What failed may have unpacked all that it was allowed to.
        let unpacked = entries.as_ref().map_or(limit.bytes(), |entries| {
            entries.iter().map(|entry| entry.content.len() as u64).sum()
        });
        let afforded = self.budget.expand(unpacked, &self.policy.bounds);
        let entries = entries.and_then(|entries| afforded.map(|()| entries));
        match entries {
            Ok(entries) => self.entries(spot, &entries, edits),
            Err(Failure::Damaged(_)) => return false,
            Err(failure) => self.failures.push(failure),
        }
        true
    }

    fn entries(&mut self, spot: Spot<'_>, entries: &[Entry], edits: &mut Edits) {
        let parts = entries.iter();
        let parts = parts.map(|entry| as_file(&entry.content, &entry.name));
        let entity = as_mixed(&parts.collect::<Vec<_>>());
        let mut inside = spot.place.part();
        inside.nesting += 1;
        if let Some(changed) = self.entity(&entity, &inside) {
            spot.replace(changed, edits);
        }
    }
}

/// A look for something encrypted in an archive, and in archives in it.
struct Look<'a> {
    /// What the archives in it may still unpack to. One that is beyond is not looked into.
    left: Limit,
    depth: u32,
    /// Bytes that were unpacked for looks at archives of the mail.
    spent: &'a Cell<u64>,
}

impl Look<'_> {
    fn finds_sealed(&mut self, kind: Kind, file: &[u8], name: &str) -> bool {
        match kind {
            Kind::Zip => self.finds_in_zip(file),
            Kind::Tar => {
                let mut files = tar::files(file).take(MAX_ENTRIES);
                files
                    .any(|file| self.is_sealed(&file.name, file.content.len() as u64, file.content))
            }
            Kind::Gzip => self.is_sealed(unpacked_name(name), 0, Members::gzip(file)),
            Kind::Bzip2 => {
                self.pay(BLOCK);
                self.is_sealed(unpacked_name(name), 0, Members::bzip2(file))
            }
            Kind::Xz => {
                self.pay(BLOCK);
                self.is_sealed(unpacked_name(name), 0, unpacking_xz(file))
            }
        }
    }

    fn finds_in_zip(&mut self, file: &[u8]) -> bool {
        let Ok(mut archive) = ZipArchive::new(Cursor::new(file)) else {
            return false;
        };
        archive.len() <= MAX_ENTRIES
            && (0..archive.len()).any(|index| {
                let Ok(entry) = archive.by_index(index) else {
                    return false;
                };
                let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
                self.is_sealed(&name, entry.size(), entry)
            })
    }

    /// Whether an entry, which says that it has so many bytes, is encrypted, or an archive with something encrypted in it.
    fn is_sealed(&mut self, name: &str, length: u64, mut entry: impl Read) -> bool {
        if self.room() == 0 {
            return false;
        }
        self.pay(WINDOW);
        let start = start_of(&mut entry);
        if is_sealed(name, &start) {
            return true;
        }
        let Some(kind) = Kind::of(&start).filter(|_| self.depth < DEEPEST) else {
            return false;
        };
        let limit = self.left.at_most("archive_bytes", self.room());
        if length > limit.bytes() {
            return false;
        }
        // What does not unpack whole has cost its part all the same.
        let mut counted = Counted {
            from: start.as_slice().chain(entry),
            read: 0,
        };
        let inner = limit.read(&mut counted);
        self.left = self.left.without(counted.read);
        self.pay(counted.read as u64);
        let Ok(inner) = inner else {
            return false;
        };
        self.depth += 1;
        let finds = self.finds_sealed(kind, &inner, name);
        self.depth -= 1;
        finds
    }

    /// Bytes that looks may still unpack.
    const fn room(&self) -> u64 {
        MOST_LOOKED_AT.saturating_sub(self.spent.get())
    }

    fn pay(&self, bytes: u64) {
        self.spent.set(self.spent.get().saturating_add(bytes));
    }
}

/// Counts what is read.
struct Counted<R> {
    from: R,
    read: usize,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(place)?;
        self.read += read;
        Ok(read)
    }
}

/// What is in a ZIP file.
fn in_zip(file: &[u8], mut limit: Limit) -> Result<Vec<Entry>, Failure> {
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(damaged)?;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        if entry.is_dir() {
            continue;
        }
        let content = limit.read(&mut entry)?;
        limit = limit.without(content.len());
        let name = String::from_utf8_lossy(entry.name_raw());
        let name = last_of(&name).to_owned();
        entries.push(Entry { name, content });
    }
    Ok(entries)
}

/// What is in a tar file.
fn in_tar(file: &[u8], mut limit: Limit) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    for file in tar::files(file) {
        if entries.len() == MAX_ENTRIES {
            return Err(damaged(format!("more than {MAX_ENTRIES} files")));
        }
        let content = limit.read(&mut &*file.content)?;
        limit = limit.without(content.len());
        let name = last_of(&file.name).to_owned();
        entries.push(Entry { name, content });
    }
    Ok(entries)
}

fn unpacking_xz(file: &[u8]) -> impl Read {
    XzReader::new_mem_limit(file, true, XZ_MEMORY)
}

/// The one file in a compressed file called `name`.
fn in_packed(mut file: impl Read, name: &str, limit: Limit) -> Result<Vec<Entry>, Failure> {
    let content = limit.read(&mut file)?;
    let name = unpacked_name(name).to_owned();
    Ok(vec![Entry { name, content }])
}

fn last_of(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// The name of the file in a compressed one called `name`.
fn unpacked_name(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let mut endings = [".gz", ".gzip", ".bz2", ".xz"].iter();
    let ending = endings.find(|ending| lower.ends_with(*ending));
    &name[..name.len() - ending.map_or(0, |ending| ending.len())]
}

fn start_of(entry: impl Read) -> Vec<u8> {
    let mut start = Vec::new();
    // What cannot be read ends it.
    let _ = entry.take(WINDOW).read_to_end(&mut start);
    start
}

/// Whether a file called `name` that begins so is encrypted, an opaque signature, or a mail that says that it is encrypted.
fn is_sealed(name: &str, start: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let ends_with = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
    let says = |words: &str| memmem::find(start, words.as_bytes()).is_some();
    let is_sealed_mail =
        || sniff::is_mail(start) && (says("pkcs7-mime") || says("multipart/encrypted"));
    ends_with(&[".p7m", ".p7z"]) && sniff::is_cms_text(start, "")
        || ends_with(&[".gpg", ".pgp"]) && sniff::is_openpgp(start)
        || sniff::is_surely_openpgp(start)
        || sniff::mentions_armor(start)
        || is_sealed_mail()
}

fn damaged(error: impl std::fmt::Display) -> Failure {
    Failure::Damaged(format!("archive: {error}"))
}
