//! Bytes in any charset that mail carries, to text. Never fails: what is mislabelled is guessed, what cannot be
//! read becomes U+FFFD.

mod declared;
mod legacy;

pub use declared::{decode_html, decode_xml};

use encoding_rs::{Encoding, ISO_2022_JP, ISO_8859_15, UTF_8, WINDOWS_1252};
use memchr::memmem;

/// Decodes `bytes`. With no label, or one that says ASCII or is unknown: UTF-8 if it is that, else ISO-2022-JP if
/// its escapes are there, else Windows-1252.
#[must_use]
pub fn decode(bytes: &[u8], label: Option<&str>) -> String {
    let label = plain(label);
    if let Some(text) = legacy::decode(bytes, &label) {
        return text;
    }
    let Some(encoding) = named(&label) else {
        return guess(bytes);
    };
    if encoding == UTF_8 || encoding.is_single_byte() {
        return relabelled(bytes, encoding);
    }
    if let Some(text) = utf8(bytes).filter(|text| is_surely_utf8(text)) {
        return text.to_owned();
    }
    encoding.decode(bytes).0.into_owned()
}

/// The text in the 8-bit charset of this name; `None` if that is another kind of charset, or has not all of its letters.
#[must_use]
pub fn encode(text: &str, label: Option<&str>) -> Option<Vec<u8>> {
    let encoding = named(&plain(label)).filter(|encoding| encoding.is_single_byte())?;
    let (bytes, _, lacking) = encoding.encode(text);
    (!lacking).then(|| bytes.into_owned())
}

/// Whether so much of a text is of three octets for a letter that it is no other East Asian encoding by chance: few letters may
/// be one ("模式" in GBK is well-formed UTF-8, of two octets each).
fn is_surely_utf8(text: &str) -> bool {
    const ENOUGH: usize = 4;
    text.chars()
        .filter(|c| *c >= '\u{800}')
        .nth(ENOUGH - 1)
        .is_some()
}

fn plain(label: Option<&str>) -> String {
    label
        .unwrap_or_default()
        .trim()
        .trim_matches(['"', '\''])
        .to_ascii_lowercase()
}

/// The encoding of a name, with names that the WHATWG list lacks. Who says ASCII or "unknown" says nothing.
fn named(label: &str) -> Option<&'static Encoding> {
    let alias = match label {
        "" | "us-ascii" | "ascii" | "ansi_x3.4-1968" | "unknown-8bit" | "x-unknown" | "default" => {
            return None;
        }
        "cp1252" | "windows1252" | "cp-1252" => "windows-1252",
        "cp1250" => "windows-1250",
        "cp1251" => "windows-1251",
        "cp932" | "ms932" | "cswindows31j" => "shift_jis",
        "cp936" | "gb_2312-80" => "gbk",
        "cp949" | "ks_c_5601" => "euc-kr",
        "cp950" => "big5",
        "utf8" | "utf-8mb4" | "unicode" | "unicode-1-1" => "utf-8",
        "iso-8859-8-i" => "iso-8859-8-i",
        "latin-1" | "iso8859" | "8859-1" => "iso-8859-1",
        "iso-2022-jp-1" | "iso-2022-jp-2" | "iso-2022-jp-3" | "iso-2022-jp-ms" => "iso-2022-jp",
        other => other,
    };
    Encoding::for_label(alias.as_bytes())
}

/// Text that says UTF-8 or an 8-bit charset and may be another: what its bytes show to be more likely.
fn relabelled(bytes: &[u8], encoding: &'static Encoding) -> String {
    if let Some(text) = escaped(bytes) {
        return text;
    }
    if encoding == WINDOWS_1252 || encoding == ISO_8859_15 {
        // No Western text is UTF-8 by chance, but much UTF-8 is called Latin-1.
        if let Some(text) = utf8(bytes) {
            return text.to_owned();
        }
    }
    if encoding != UTF_8 {
        return encoding.decode_without_bom_handling(bytes).0.into_owned();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => {
            let lossy = UTF_8.decode_without_bom_handling(bytes).0.into_owned();
            let high = bytes.iter().filter(|byte| **byte >= 0x80).count();
            let lost = lossy.chars().filter(|c| *c == '\u{fffd}').count();
            if lost * 2 > high {
                WINDOWS_1252.decode(bytes).0.into_owned()
            } else {
                lossy
            }
        }
    }
}

/// Bytes that are UTF-8, a last character that was cut off aside.
fn utf8(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let whole = std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?;
            (!whole.is_ascii()).then_some(whole)?
        }
        Err(_) => return None,
    };
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Text of seven bits with the escape sequences of ISO-2022.
fn escaped(bytes: &[u8]) -> Option<String> {
    memchr::memchr(0x1b, bytes)?;
    memmem::find(bytes, b"\x1b$").filter(|_| bytes.is_ascii())?;
    if memmem::find(bytes, b"\x1b$)C").is_some() {
        return Some(legacy::iso_2022_kr(bytes));
    }
    Some(ISO_2022_JP.decode(bytes).0.into_owned())
}

fn guess(bytes: &[u8]) -> String {
    if let [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] = bytes {
        return legacy::decode(bytes, "utf-32").unwrap_or_default();
    }
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return UTF_8.decode(bytes).0.into_owned();
    }
    if let Some(text) = escaped(bytes) {
        return text;
    }
    match utf8(bytes) {
        Some(text) => text.to_owned(),
        None => WINDOWS_1252
            .decode_without_bom_handling(bytes)
            .0
            .into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn charsets_of_all_kinds() {
        assert_eq!(decode(b"+AOQ-", Some("UTF-7")), "ä");
        assert_eq!(decode(b"\xe4", Some("iso-8859-1")), "ä");
        assert_eq!(decode("ä".as_bytes(), Some("us-ascii")), "ä");
        assert_eq!(decode(b"\xe4 x", Some("utf-8")), "ä x");
        assert_eq!(decode(b"\xc4\xe3", Some("gb18030")), "你");
        assert_eq!(decode(b"\x1b$B$\"\x1b(B", None), "あ");
    }

    #[test]
    fn utf8_under_an_east_asian_label_is_read_as_what_it_is() {
        for label in ["gb2312", "gb18030", "big5", "shift_jis", "euc-kr"] {
            assert_eq!(
                decode("邮件的正文在这里".as_bytes(), Some(label)),
                "邮件的正文在这里",
                "{label}"
            );
        }
        let short = encoding_rs::GBK.encode("模式").0.into_owned();
        assert!(std::str::from_utf8(&short).is_ok());
        assert_eq!(decode(&short, Some("gbk")), "模式");
    }

    #[test]
    fn wrong_labels_do_not_count() {
        for label in ["iso-8859-1", "windows-1252", "us-ascii", "iso-8859-15"] {
            assert_eq!(decode("Müll".as_bytes(), Some(label)), "Müll", "{label}");
            assert_eq!(
                decode(b"M\xfcll caf\xe9", Some(label)),
                "Müll café",
                "{label}"
            );
            // Cut within a character.
            assert_eq!(decode(b"\xc3\xbcb\xc3", Some(label)), "üb", "{label}");
        }
        for label in [None, Some("utf-8"), Some("iso-8859-1")] {
            assert_eq!(decode(b"\x1b$B$\"\x1b(B", label), "あ");
            assert_eq!(decode(b"\x1b$)C\x0eGQ1[", label), "한글");
        }
        assert_eq!(decode(b"\xff\xfe\0\0x\0\0\0", None), "x");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), label in ".{0,12}") {
            let _ = decode(&bytes, Some(&label));
            let _ = (decode_html(&bytes, Some(&label)), decode_xml(&bytes, None));
        }
    }
}
