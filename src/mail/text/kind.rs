//! How the text of a part is taken, by its type, its name, and what it begins with.

use super::{lines, office, pdf};
use crate::mail::header::ContentType;
use crate::mail::sniff;
use memchr::memmem;

/// Bytes at the beginning in which a document says what it is.
const WINDOW: usize = 1 << 10;

/// See [`of`].
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text as it stands.
    Plain,
    /// Calendar entries or visiting cards.
    Card,
    /// Rich text.
    Rtf,
    /// HTML.
    Html,
    /// XML whose elements are fields.
    Xml,
    /// OpenDocument in one XML file.
    FlatOffice,
    /// OOXML or OpenDocument, if it is no other archive.
    Office,
    /// PDF.
    Pdf,
    /// Nothing that has text.
    Unread,
}

/// The kind of a part with this type, the lower-case name `name` and the beginning `start`.
pub fn of(content_type: &ContentType, name: &str, start: &[u8]) -> Kind {
    let ends_with = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let is_text = content_type.kind == "text";
    let subtype = content_type.subtype.as_str();
    let is_plain = is_text && subtype == "plain";
    if !is_plain && start.starts_with(b"{\\rtf") {
        return Kind::Rtf;
    }
    if lines::is_card(start) {
        return Kind::Card;
    }
    if is_text && subtype == "html" || subtype == "xhtml+xml" {
        return Kind::Html;
    }
    if !is_text && office::is_archive(start) {
        return Kind::Office;
    }
    if !is_text && pdf::is_pdf(start) {
        return Kind::Pdf;
    }
    if subtype.ends_with("xml") || ends_with(&[".xml", ".fodt", ".fods", ".fodp", ".fodg"]) {
        return xml(start);
    }
    // What is said about a message (delivery reports, receipts) is text, and so is a piece of one.
    if is_text || content_type.kind == "message" {
        return Kind::Plain;
    }
    if ends_with(&[".html", ".htm"]) {
        return Kind::Html;
    }
    let is_json = content_type.kind == "application" && subtype.ends_with("json");
    if is_json || ends_with(&[".txt", ".csv", ".md", ".log", ".json"]) {
        return Kind::Plain;
    }
    if content_type.is("application/octet-stream") && !is_sealed(name, start) {
        return by_content(start);
    }
    Kind::Unread
}

/// Keys, signatures and encrypted objects: text at most in form. Files in which all such objects were opened are text.
fn is_sealed(name: &str, start: &[u8]) -> bool {
    let ends_with = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    ends_with(&[".p7m", ".p7s", ".p7c", ".p7z", ".key"])
        || ends_with(&[".asc", ".pgp", ".gpg", ".pem"]) && sniff::PEM.find(start).is_some()
}

fn xml(start: &[u8]) -> Kind {
    let start = &start[..start.len().min(WINDOW)];
    if memmem::find(start, b"<office:document").is_some() {
        Kind::FlatOffice
    } else {
        Kind::Xml
    }
}

fn by_content(start: &[u8]) -> Kind {
    let is_marked = matches!(start, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
    if start.trim_ascii().is_empty() || !(is_marked || sniff::is_text(start)) {
        return Kind::Unread;
    }
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let text = text.trim_ascii_start();
    let begins = |with: &str| {
        text.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    if begins("<?xml") {
        xml(start)
    } else if begins("<!doctype html") || begins("<html") {
        Kind::Html
    } else {
        Kind::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(content_type: &str, name: &str, start: &[u8]) -> Kind {
        of(&ContentType::parse(content_type.as_bytes()), name, start)
    }

    #[test]
    fn types_names_and_beginnings() {
        let octets = "application/octet-stream";
        for (content_type, name, start, expected) in [
            ("text/html", "", &b"x"[..], Kind::Html),
            ("text/plain", "x.html", b"x", Kind::Plain),
            ("text/calendar", "", b"x", Kind::Plain),
            ("text/calendar", "", b"BEGIN:VCALENDAR", Kind::Card),
            (octets, "x.vcf", b"begin:vcard", Kind::Card),
            ("text/rtf", "", b"{\\rtf1", Kind::Rtf),
            ("application/msword", "x.doc", b"{\\rtf1", Kind::Rtf),
            ("text/plain", "", b"{\\rtf1", Kind::Plain),
            ("message/delivery-status", "", b"x", Kind::Plain),
            ("application/pdf", "", b"%PDF-1.7", Kind::Pdf),
            ("image/png", "x.docx", b"PK\x03\x04", Kind::Office),
            ("application/xml", "", b"<a/>", Kind::Xml),
            (
                octets,
                "x.fodt",
                b"<?xml?><office:document x>",
                Kind::FlatOffice,
            ),
            (octets, "readme.md", b"x", Kind::Plain),
            ("application/x-thing", "server.log", b"x", Kind::Plain),
            ("application/json", "", b"{}", Kind::Plain),
            ("application/ld+json", "", b"{}", Kind::Plain),
            (octets, "noname", b"words", Kind::Plain),
            (octets, "noname", b"\xff\xfew\0", Kind::Plain),
            (octets, "noname", b" <!DOCTYPE HTML>", Kind::Html),
            (octets, "noname", b"<?xml?><a/>", Kind::Xml),
            (octets, "noname", b"\x7fELF\0\0\0", Kind::Unread),
            (octets, "noname", b"", Kind::Unread),
            (
                octets,
                "k.asc",
                b"-----BEGIN PGP MESSAGE-----",
                Kind::Unread,
            ),
            (octets, "notes.asc", b"words", Kind::Plain),
            ("application/x-thing", "noname", b"words", Kind::Unread),
            ("image/svg", "x.svg", b"<svg", Kind::Unread),
        ] {
            assert_eq!(
                kind(content_type, name, start),
                expected,
                "{content_type} {name}"
            );
        }
    }
}
