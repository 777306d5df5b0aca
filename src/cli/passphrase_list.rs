//! The list of passphrases that `escrow add --passphrases` reads: comma-separated values (RFC 4180) as spreadsheets write
//! them, a file name and its passphrase in each row.

use super::failure::Failure;
use crate::durable;
use crate::secret::SecretBytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Passphrases by file name.
#[derive(Default)]
pub struct PassphraseList(BTreeMap<String, (usize, SecretBytes)>);

impl PassphraseList {
    /// Reads a list of at most `limit` bytes.
    pub fn read(path: &Path, limit: u64) -> Result<Self, Failure> {
        let text = SecretBytes::new(durable::read(path, limit)?);
        Self::parse(text.expose()).map_err(|(line, problem)| {
            Failure::Input(format!(
                "{}, line {line}: {problem}; rows are FILE,PASSPHRASE",
                path.display()
            ))
        })
    }

    /// The passphrase of the file called so.
    pub fn of(&self, name: &str) -> Option<SecretBytes> {
        let (_, passphrase) = self.0.get(name)?;
        Some(passphrase.duplicate())
    }

    /// Lines and file names of the rows for none of these files.
    pub fn without_file(&self, files: &BTreeSet<String>) -> Vec<(usize, &str)> {
        let others = self.0.iter().filter(|(name, _)| !files.contains(*name));
        let mut others: Vec<_> = others
            .map(|(name, (line, _))| (*line, name.as_str()))
            .collect();
        others.sort_unstable();
        others
    }

    /// An error comes with its line. A passphrase that does not begin with a quotation mark is the rest of its line,
    /// further commas too.
    fn parse(text: &[u8]) -> Result<Self, (usize, &'static str)> {
        let mut rest = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut found = BTreeMap::new();
        let (mut line, mut counted) = (1, rest.len());
        while !rest.is_empty() {
            line += lines_in(&text[text.len() - counted..text.len() - rest.len()]);
            counted = rest.len();
            let (file, after) = field(rest, b",\n").ok_or((line, UNCLOSED))?;
            let Some(after) = after.strip_prefix(b",") else {
                if !trimmed(file.expose()).is_empty() {
                    return Err((line, "there is no comma"));
                }
                rest = after.strip_prefix(b"\n").unwrap_or(after);
                continue;
            };
            let quoted = after.first() == Some(&b'"');
            let (passphrase, after) = field(after, b"\n").ok_or((line, UNCLOSED))?;
            let passphrase = if quoted {
                passphrase
            } else {
                SecretBytes::new(trimmed(passphrase.expose()).to_vec())
            };
            rest = match after.strip_prefix(b"\r").unwrap_or(after) {
                [] => &[],
                [b'\n', next @ ..] => next,
                _ => return Err((line, "there is more behind the closing quotation mark")),
            };
            let name = String::from_utf8_lossy(file.expose()).into_owned();
            found.insert(name, (line, passphrase));
        }
        Ok(Self(found))
    }
}

const UNCLOSED: &str = "a quotation mark is not closed (a field that begins with one ends with one, and has those within doubled)";

fn lines_in(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// Bytes up to the quotation mark that closes a field, those within counted doubled as they stand.
fn quoted_length(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some(quote) = rest.iter().position(|byte| *byte == b'"') {
        rest = &rest[quote + 1..];
        match rest.strip_prefix(b"\"") {
            Some(next) => rest = next,
            None => return text.len() - rest.len() - 1,
        }
    }
    0
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A field and what is behind it: up to one of `ends`, or up to its closing quotation mark.
fn field<'t>(text: &'t [u8], ends: &[u8]) -> Option<(SecretBytes, &'t [u8])> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| ends.contains(byte));
        let (field, rest) = text.split_at(end.unwrap_or(text.len()));
        return Some((SecretBytes::new(field.to_vec()), rest));
    };
    // As long as it can become, so that no copy is left behind, and no longer: there may be a hundred thousand of them.
    let mut field = Vec::with_capacity(quoted_length(rest));
    loop {
        let quote = rest.iter().position(|byte| *byte == b'"')?;
        field.extend_from_slice(&rest[..quote]);
        rest = &rest[quote + 1..];
        let Some(next) = rest.strip_prefix(b"\"") else {
            return Some((SecretBytes::new(field), rest));
        };
        field.push(b'"');
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> PassphraseList {
        PassphraseList::parse(text.as_bytes()).expect("a list")
    }

    #[test]
    fn rows_are_read_as_spreadsheets_write_them() {
        let list = parsed(
            "\u{feff}a.p12,plain\r\n\r\n\"b, c.p12\",\"say \"\"please\"\", twice\"\r\nd.p12,with, commas\ne.p12,\"two\nlines\"\nf.p12,",
        );
        for (file, passphrase) in [
            ("a.p12", "plain"),
            ("b, c.p12", "say \"please\", twice"),
            ("d.p12", "with, commas"),
            ("e.p12", "two\nlines"),
            ("f.p12", ""),
        ] {
            let read = list.of(file).unwrap_or_else(|| panic!("{file} is there"));
            assert_eq!(read.expose(), passphrase.as_bytes(), "{file}");
        }
        let there = BTreeSet::from(["a.p12".to_owned(), "e.p12".to_owned()]);
        let missing = [(3, "b, c.p12"), (4, "d.p12"), (7, "f.p12")];
        assert_eq!(list.without_file(&there), missing);
    }

    #[test]
    fn a_field_takes_no_more_than_its_length() {
        let text = format!("\"a \"\"b\"\"\",x\n{}", "\"n\",\"p\"\n".repeat(1000));
        assert_eq!(quoted_length(&text.as_bytes()[1..]), 7);
        assert_eq!(parsed(&text).of("a \"b\"").unwrap().expose(), b"x");
        assert_eq!(quoted_length(b"never \"\" closed"), 0);
    }

    #[test]
    fn a_list_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list.csv");
        std::fs::write(&path, "a.p12,plain\n").expect("written");
        assert!(PassphraseList::read(&path, 12).is_ok());
        assert!(PassphraseList::read(&path, 11).is_err());
    }

    #[test]
    fn a_wrong_row_is_named_by_its_line() {
        for (text, line) in [
            ("a.p12,x\nb.p12\n", 2),
            ("a.p12,\"x", 1),
            ("a.p12,x\nb.p12,\"x\"y\n", 2),
        ] {
            let error = PassphraseList::parse(text.as_bytes()).err();
            assert_eq!(error.map(|(line, _)| line), Some(line), "{text}");
        }
    }
}
