//! Files in a tar archive: the old format, POSIX's and GNU's.

const BLOCK: usize = 512;
/// Longest name that is kept.
const LONGEST_NAME: usize = 4096;

/// A file in an archive.
#[derive(Debug)]
pub struct File<'a> {
    /// Its name, with its folders.
    pub name: String,
    /// What is in it.
    pub content: &'a [u8],
}

/// Whether a file that begins so is a tar archive: the first header's checksum fits.
#[must_use]
pub fn is_tar(start: &[u8]) -> bool {
    let header = start.first_chunk::<BLOCK>();
    header.is_some_and(|header| header[0] != 0 && fits(header))
}

/// The files in an archive, as far as it can be read.
#[must_use]
pub fn files(archive: &[u8]) -> Files<'_> {
    Files {
        rest: archive,
        long_name: None,
    }
}

/// The files in an archive, in its order.
#[derive(Debug)]
pub struct Files<'a> {
    rest: &'a [u8],
    /// What an entry before the file says its name is.
    long_name: Option<String>,
}

impl<'a> Iterator for Files<'a> {
    type Item = File<'a>;

    fn next(&mut self) -> Option<File<'a>> {
        loop {
            let (header, rest) = self.rest.split_first_chunk::<BLOCK>()?;
            if !fits(header) {
                return None;
            }
            let length = number(&header[124..136])?;
            let content = rest.get(..length)?;
            let padded = length.div_ceil(BLOCK) * BLOCK;
            self.rest = rest.get(padded..).unwrap_or_default();
            match header[156] {
                0 | b'0' | b'7' => {
                    let name = self.long_name.take().unwrap_or_else(|| name(header));
                    return Some(File { name, content });
                }
                b'L' => self.long_name = Some(text(&content[..length.min(LONGEST_NAME)])),
                b'x' => self.long_name = path_of(content).or(self.long_name.take()),
                // A folder or link has the long name for itself; what is meant for all files has none.
                b'g' => {}
                _ => self.long_name = None,
            }
        }
    }
}

/// The sum of the header's octets, with blanks for its own field. Hardly anything else has a number there.
fn fits(header: &[u8; BLOCK]) -> bool {
    let (before, rest) = header.split_at(148);
    let (field, behind) = rest.split_at(8);
    number(field).is_some_and(|stated| {
        let octets = before.iter().chain(b"        ").chain(behind);
        octets.map(|octet| usize::from(*octet)).sum::<usize>() == stated
    })
}

/// An octal number; lengths of 8 GiB and more, which are written otherwise, are none.
fn number(field: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(until_zero(field)).ok()?.trim();
    usize::from_str_radix(digits, 8).ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(until_zero(field)).into_owned()
}

fn until_zero(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|octet| *octet == 0);
    &field[..end.unwrap_or(field.len())]
}

fn name(header: &[u8; BLOCK]) -> String {
    let name = text(&header[..100]);
    let prefix = text(&header[345..500]);
    if header[257..].starts_with(b"ustar\0") && !prefix.is_empty() {
        format!("{prefix}/{name}")
    } else {
        name
    }
}

/// The path in the records of a POSIX extended header, `LENGTH path=VALUE`.
fn path_of(records: &[u8]) -> Option<String> {
    let mut rest = records;
    loop {
        let blank = rest.iter().position(|octet| *octet == b' ')?;
        let length: usize = std::str::from_utf8(&rest[..blank]).ok()?.parse().ok()?;
        let record = rest.get(blank + 1..length)?;
        if let Some(path) = record.strip_prefix(b"path=") {
            let path = path.strip_suffix(b"\n").unwrap_or(path);
            return Some(text(&path[..path.len().min(LONGEST_NAME)]));
        }
        rest = &rest[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One entry, with a checksum that fits.
    fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = [0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = kind;
        header[148..156].fill(b' ');
        let sum: usize = header.iter().map(|octet| usize::from(*octet)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut out = [header.as_slice(), content].concat();
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        out
    }

    fn listed(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let files = files(archive);
        files.map(|f| (f.name, f.content.to_vec())).collect()
    }

    #[test]
    fn files_have_their_names_and_contents() {
        let archive = [
            entry("folder", b'5', b""),
            entry("folder/a", b'0', b"words"),
            entry("x", b'L', b"long/name\0"),
            entry("long/na", 0, b""),
            entry("x", b'x', "12 mtime=12\n14 path=über\n".as_bytes()),
            entry("ber", b'0', &[7; 600]),
            vec![0; 2 * BLOCK],
        ]
        .concat();
        assert!(is_tar(&archive));
        let expected = [
            ("folder/a".to_owned(), b"words".to_vec()),
            ("long/name".to_owned(), Vec::new()),
            ("über".to_owned(), vec![7; 600]),
        ];
        assert_eq!(listed(&archive), expected);
        assert_eq!(listed(&archive[..archive.len() - 1600]), expected[..2]);
        assert!(!is_tar(&[0; BLOCK]) && !is_tar(b"From: a@b") && listed(b"").is_empty());
    }

    proptest! {
        #[test]
        fn any_content_is_survived(
            kind in proptest::sample::select(b"0Lxg5".to_vec()),
            content in proptest::collection::vec(any::<u8>(), 0..100),
            records in "([0-9]{1,3} (path=)?[a-z]{0,5}\n?){0,4}",
        ) {
            for content in [&content, records.as_bytes()] {
                let archive = [entry("x", kind, content), entry("y", b'0', b"z")].concat();
                prop_assert!(listed(&archive).len() <= 2);
            }
        }
    }
}
