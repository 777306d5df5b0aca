//! Documents that say themselves how they are encoded.

use super::{decode, legacy, named, plain, utf8};
use memchr::memmem;

/// Bytes at the beginning of a document in which it may say its charset.
const WINDOW: usize = 1 << 10;

/// Decodes HTML: by a byte order mark, by the part's label if it says anything, by the document's `<meta charset>`.
#[must_use]
pub fn decode_html(bytes: &[u8], label: Option<&str>) -> String {
    by_itself(bytes, label, meta_charset)
}

/// Decodes XML: by a byte order mark, by the part's label if it says anything, by the XML declaration.
#[must_use]
pub fn decode_xml(bytes: &[u8], label: Option<&str>) -> String {
    match bytes {
        [b'<', 0, b'?', 0, ..] => decode(bytes, Some("utf-16le")),
        [0, b'<', 0, b'?', ..] => decode(bytes, Some("utf-16be")),
        _ => by_itself(bytes, label, xml_encoding),
    }
}

fn by_itself(bytes: &[u8], label: Option<&str>, say: fn(&str) -> Option<String>) -> String {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0xef, 0xbb, 0xbf, ..] = bytes {
        return decode(bytes, None);
    }
    if is_telling(label) {
        return decode(bytes, label);
    }
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(WINDOW)]).to_ascii_lowercase();
    // Gateways convert text and leave in it what it says.
    let converted = utf8(bytes).filter(|text| !text.is_ascii());
    match say(&start).filter(|said| !said.starts_with("utf-16") && converted.is_none()) {
        Some(said) => decode(bytes, Some(&said)),
        None => decode(bytes, label),
    }
}

fn is_telling(label: Option<&str>) -> bool {
    let label = plain(label);
    named(&label).is_some() || legacy::decode(b"", &label).is_some()
}

/// The charset in `<meta charset="…">` or `<meta http-equiv=… content="text/html; charset=…">`.
fn meta_charset(start: &str) -> Option<String> {
    start.split("<meta").skip(1).find_map(|tag| {
        let tag = tag.split('>').next()?;
        value(tag, "charset")
    })
}

/// The encoding in `<?xml version="1.0" encoding="…"?>`.
fn xml_encoding(start: &str) -> Option<String> {
    let declaration = start
        .trim_start()
        .strip_prefix("<?xml")?
        .split('>')
        .next()?;
    value(declaration, "encoding")
}

fn value(tag: &str, name: &str) -> Option<String> {
    let at = memmem::find(tag.as_bytes(), name.as_bytes())? + name.len();
    let value = tag[at..].trim_start().strip_prefix('=')?;
    let value = value.trim_start().trim_start_matches(['"', '\'']);
    let end = value.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c));
    let value = &value[..end.unwrap_or(value.len())];
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_says_its_charset() {
        let meta = b"<html><head><meta name=x><META charset = 'windows-1251'>\xcf\xf0";
        assert!(decode_html(meta, None).ends_with("Пр"));
        assert!(decode_html(meta, Some("us-ascii")).ends_with("Пр"));
        assert!(decode_html(meta, Some("iso-8859-1")).ends_with("Ïð"));
        let http = b"<meta http-equiv=content-type content=\"text/html; charset=koi8-r\">\xf0";
        assert!(decode_html(http, None).ends_with('П'));
        let converted = "<meta charset=windows-1251>Пр";
        assert_eq!(decode_html(converted.as_bytes(), None), converted);
        assert_eq!(decode_html(b"\xff\xfe<\0p\0>\0", Some("utf-8")), "<p>");
        assert_eq!(
            decode_html(b"<meta charset=utf-16>\xe4", None),
            "<meta charset=utf-16>ä"
        );
    }

    #[test]
    fn xml_says_its_encoding() {
        let latin2 = b"<?xml version='1.0' encoding='ISO-8859-2'?><a>\xbelu\xbb</a>";
        assert!(decode_xml(latin2, None).ends_with("<a>žluť</a>"));
        assert_eq!(decode_xml(b"<\0?\0x\0", None), "<?x");
        assert_eq!(decode_xml(b"\0<\0?\0x", Some("utf-8")), "<?x");
        assert_eq!(decode_xml(b"<a>\xe4</a>", None), "<a>ä</a>");
    }
}
