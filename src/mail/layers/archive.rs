//! ZIP and gzip files with encrypted files or mails in them: people and gateways pack what a mail server would not let
//! through. Archives without any stay as they are.

use super::{Spot, Walk};
use crate::mail::context::Failure;
use crate::mail::inflate::Limit;
use crate::mail::rendition::{Edits, as_file, as_mixed};
use crate::mail::{sniff, transfer};
use flate2::read::GzDecoder;
use memchr::memmem;
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// Most entries of an archive that is looked into.
const MAX_ENTRIES: usize = 200;
/// Most bytes that one is unpacked to: all of it is in memory, several times.
const MOST_UNPACKED: u64 = 64 << 20;
/// Bytes of an entry in which it says what it is.
const WINDOW: u64 = 8 << 10;

/// A file in an archive.
struct Entry {
    name: String,
    content: Vec<u8>,
}

impl Walk<'_> {
    /// Opens what lies encrypted in an archive. If something was, the part becomes a multipart of all that is in it. False
    /// if nothing in it is encrypted, or the part is no archive.
    pub(super) fn archive_part(&mut self, spot: Spot<'_>, edits: &mut Edits) -> bool {
        let start = transfer::beginning(spot.body(), spot.encoding(), 4);
        if !start.starts_with(b"PK\x03\x04") && !start.starts_with(b"\x1f\x8b\x08") {
            return false;
        }
        let file = spot.decoded();
        let limit = Limit::of(file.len(), self.budget, &self.policy.bounds);
        let limit = limit.at_most("archive_bytes", MOST_UNPACKED);
        let entries = if file.starts_with(b"PK") {
            in_zip(&file, limit)
        } else {
            in_gzip(&file, spot.part.file_name(), limit)
        };
        let entries = entries.and_then(|entries| {
            let unpacked = entries.iter().map(|entry| entry.content.len() as u64).sum();
            self.budget.expand(unpacked, &self.policy.bounds)?;
            Ok(entries)
        });
        match entries {
            Ok(entries) if entries.is_empty() => return false,
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

/// What is in a ZIP file, if something in it is encrypted.
fn in_zip(file: &[u8], limit: Limit) -> Result<Vec<Entry>, Failure> {
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(damaged)?;
    if archive.len() > MAX_ENTRIES || !has_sealed(&mut archive) {
        return Ok(Vec::new());
    }
    let mut limit = limit;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        if entry.is_dir() {
            continue;
        }
        let content = limit.read(&mut entry)?;
        limit = limit.without(content.len());
        let name = String::from_utf8_lossy(entry.name_raw());
        let name = name
            .rsplit(['/', '\\'])
            .next()
            .unwrap_or_default()
            .to_owned();
        entries.push(Entry { name, content });
    }
    Ok(entries)
}

fn has_sealed(archive: &mut ZipArchive<Cursor<&[u8]>>) -> bool {
    (0..archive.len()).any(|index| {
        let Ok(entry) = archive.by_index(index) else {
            return false;
        };
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        is_sealed(&name, &start_of(entry))
    })
}

/// The file in a gzip file called `name`, if it is encrypted.
fn in_gzip(file: &[u8], name: &str, limit: Limit) -> Result<Vec<Entry>, Failure> {
    let lower = name.to_ascii_lowercase();
    let ending = [".gz", ".gzip"]
        .into_iter()
        .find(|ending| lower.ends_with(ending));
    let name = ending.map_or(name, |ending| &name[..name.len() - ending.len()]);
    if !is_sealed(name, &start_of(GzDecoder::new(file))) {
        return Ok(Vec::new());
    }
    let content = limit.read(&mut GzDecoder::new(file))?;
    let name = name.to_owned();
    Ok(vec![Entry { name, content }])
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
