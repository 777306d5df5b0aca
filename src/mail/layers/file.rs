//! Files that were encrypted or signed by themselves and attached: `report.pdf.gpg`, `invoice.xml.p7m`.

use super::splice::is_typed;
use super::{Place, Spot, Walk};
use crate::mail::header::ContentType;
use crate::mail::rendition::{as_message, as_same_file};
use crate::mail::{mime, sniff};

/// Endings that encryption and signatures add to a file's name.
const ENDINGS: [&str; 8] = [
    ".gpg", ".pgp", ".asc", ".p7m", ".p7s", ".p7z", ".p7c", ".p7e",
];
/// Longest ending that tells what a file is.
const LONGEST_ENDING: usize = 5;

impl Spot<'_> {
    /// The place of an object called `name` in this part: the name of a file is there to be read, and nobody signed it.
    pub(super) fn place_of_object(&self, name: &str) -> Place {
        if file_in(name).is_some() || !self.is_message && tells(name) || self.says_more() {
            self.place.part()
        } else {
            self.place.clone()
        }
    }

    /// The place of what is in the text of this part, which keeps its name.
    pub(super) fn place_in_text(&self) -> Place {
        if tells(self.part.file_name()) || self.says_more() {
            self.place.part()
        } else {
            self.place.clone()
        }
    }

    /// Whether a reader may be shown a telling name, whichever of several a client takes, or a description.
    fn says_more(&self) -> bool {
        let names_more = |parsed: &ContentType| {
            let mut names = parsed.parameters.iter();
            names.any(|(name, value)| matches!(name.as_str(), "name" | "filename") && tells(value))
        };
        let first = [
            Some(&self.part.content_type),
            self.part.disposition.as_ref(),
        ];
        let further = ["content-type", "content-disposition"];
        let further = further.map(|name| self.part.all(self.bytes, name).skip(1));
        let mut further = further.into_iter().flatten().map(ContentType::parse);
        !self.is_message
            && (first.into_iter().flatten().any(names_more)
                || further.any(|parsed| names_more(&parsed))
                || self.is_described())
    }

    fn is_described(&self) -> bool {
        let description = self.part.first(self.bytes, "content-description");
        description.is_some_and(|words| !words.trim_ascii().is_empty())
    }
}

/// Names that programs give to what has none, without endings and numbers.
const USUAL: [&str; 13] = [
    "",
    "att",
    "attachment",
    "encrypted",
    "mail",
    "message",
    "mime",
    "msg",
    "noname",
    "part",
    "pgp",
    "signed",
    "smime",
];

/// Whether a name may tell a reader something.
fn tells(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let stem = stripped(&name);
    let stem = [".txt", ".htm", ".html", ".eml", ".bin", ".dat"]
        .iter()
        .find_map(|ending| stem.strip_suffix(ending))
        .unwrap_or(stem);
    let stem = stem.trim_end_matches(|c: char| c.is_ascii_digit() || "-_.".contains(c));
    !USUAL.contains(&stem)
}

impl Walk<'_> {
    /// What was opened in a part, opened further, as a file called `name`. What is a MIME entity is taken as such, of a
    /// file that is named only where its header says nothing to a reader: it may be a mail that somebody saved.
    pub(super) fn inside_file(
        &mut self,
        spot: Spot<'_>,
        plaintext: Vec<u8>,
        name: &str,
        place: &Place,
    ) -> Vec<u8> {
        let is_entity = match name.rsplit_once('.') {
            Some(_) => is_bare_entity(&plaintext),
            None => is_typed(&plaintext),
        };
        if is_entity && !name.to_lowercase().ends_with(".eml") {
            if is_mail(&plaintext) {
                let message = as_message(plaintext, name);
                return self.entity(&message, place).unwrap_or(message);
            }
            return self.inside_entity(plaintext, place);
        }
        let file = as_same_file(spot.bytes, spot.part, &plaintext, name);
        self.entity(&file, place).unwrap_or(file)
    }
}

/// Whether `bytes` are a MIME entity whose header says nothing to a reader.
fn is_bare_entity(bytes: &[u8]) -> bool {
    let header = mime::header_of(bytes);
    let is_technical = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        name.starts_with(b"content-") || name == b"mime-version"
    };
    let mut fields = header.fields.iter();
    sniff::is_entity(bytes) && fields.all(|field| is_technical(&bytes[field.name.clone()]))
}

/// Whether `bytes` are a whole mail, whose From and Subject are there to be read, not an entity with the protected fields of
/// the mail around it.
fn is_mail(bytes: &[u8]) -> bool {
    let header = mime::header_of(bytes);
    let has = |name: &str| header.first(bytes, name).is_some();
    let is_protected = ["hp", "protected-headers"]
        .iter()
        .any(|name| header.content_type.parameter(name).is_some());
    (has("from") || has("subject")) && !is_protected
}

/// The name without the ending that encryption or a signature added.
pub(super) fn stripped(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let ending = ENDINGS.iter().find(|ending| lower.ends_with(*ending));
    ending.map_or(name, |ending| &name[..name.len() - ending.len()])
}

/// The name of the file that an object is named after; `None` for names like `smime.p7m` and `encrypted.asc`.
pub(super) fn file_in(name: &str) -> Option<&str> {
    let file = stripped(name);
    let (_, ending) = file.rsplit_once('.').filter(|_| file.len() < name.len())?;
    let tells = (1..=LONGEST_ENDING).contains(&ending.len())
        && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tells.then_some(file)
}

/// As [`file_in`], of so many CMS objects in each other: each may have added its ending.
pub(super) fn file_in_cms(name: &str, layers: u32) -> Option<&str> {
    let has_ending = |name: &str| {
        let (_, ending) = name.rsplit_once('.').unwrap_or_default();
        ending.to_ascii_lowercase().starts_with("p7")
    };
    let mut name = file_in(name)?;
    for _ in 1..layers {
        if has_ending(name) {
            name = stripped(name);
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_mail() {
        for mail in [
            "",
            "smime.p7m",
            "encrypted.asc",
            "a.b c d e f.p7m",
            "report.pdf",
        ] {
            assert_eq!(file_in(mail), None, "{mail}");
        }
        assert_eq!(
            file_in("Rechnung Müller.xml.P7M"),
            Some("Rechnung Müller.xml")
        );
        assert_eq!(file_in("t.tar.gz.gpg"), Some("t.tar.gz"));
        for (name, layers, file) in [
            ("a.pdf.p7m", 2, "a.pdf"),
            ("a.pdf.p7m.p7m", 1, "a.pdf.p7m"),
            ("a.pdf.P7M.p7m", 2, "a.pdf"),
            ("a.p7m.p7m", 3, "a"),
            ("a.txt.gpg.p7m", 2, "a.txt.gpg"),
        ] {
            assert_eq!(file_in_cms(name, layers), Some(file), "{name}");
        }
        assert_eq!(stripped("secret.pgp"), "secret");
        for usual in [
            "",
            "smime.p7m",
            "Message.pgp",
            "ATT00001.bin",
            "encrypted.asc",
            "part-1.2.txt",
        ] {
            assert!(!tells(usual), "{usual}");
        }
        assert!(tells("You are fired.pgp") && tells("fired.txt") && tells("att you are fired 1"));
    }
}
