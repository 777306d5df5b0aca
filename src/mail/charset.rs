//! Bytes in any charset that mail carries, to text. Never fails: what is mislabelled is guessed, what cannot be
//! read becomes U+FFFD.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Decodes `bytes`. With no label, or one that says ASCII or is unknown: UTF-8 if it is that, else ISO-2022-JP if
/// its escapes are there, else Windows-1252.
#[must_use]
pub fn decode(bytes: &[u8], label: Option<&str>) -> String {
    let label = label
        .unwrap_or_default()
        .trim()
        .trim_matches(['"', '\''])
        .to_ascii_lowercase();
    match label.as_str() {
        "utf-7" | "unicode-1-1-utf-7" | "csutf7" => return utf7(bytes),
        "" | "us-ascii" | "ascii" | "ansi_x3.4-1968" | "unknown-8bit" | "x-unknown" | "default" => {
            return guess(bytes);
        }
        _ => {}
    }
    let Some(encoding) = named(&label) else {
        return guess(bytes);
    };
    if encoding == UTF_8 || encoding.is_single_byte() {
        return relabelled(bytes, encoding);
    }
    encoding.decode(bytes).0.into_owned()
}

/// Names that the WHATWG list lacks.
fn named(label: &str) -> Option<&'static Encoding> {
    let alias = match label {
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

/// Text that says UTF-8 or an 8-bit charset and is not: the other of the two is tried.
fn relabelled(bytes: &[u8], encoding: &'static Encoding) -> String {
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

fn guess(bytes: &[u8]) -> String {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return UTF_8.decode(bytes).0.into_owned();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("\u{1b}$") => {
            encoding_rs::ISO_2022_JP.decode(bytes).0.into_owned()
        }
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) => WINDOWS_1252
            .decode_without_bom_handling(bytes)
            .0
            .into_owned(),
    }
}

/// UTF-7 (RFC 2152). Wrong sequences become U+FFFD.
fn utf7(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        if byte != b'+' {
            out.push(if byte.is_ascii() {
                char::from(byte)
            } else {
                '\u{fffd}'
            });
            continue;
        }
        let length = bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
            .count();
        let shifted = &bytes[at..at + length];
        at += length;
        let ended = bytes.get(at) == Some(&b'-');
        if shifted.is_empty() {
            out.push('+');
        } else {
            push_utf16(shifted, &mut out);
        }
        at += usize::from(ended);
    }
    out
}

fn push_utf16(base64: &[u8], out: &mut String) {
    let bytes = super::transfer::base64(base64);
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    out.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn charsets_of_all_kinds() {
        assert_eq!(
            decode(b"Hi Mom +Jjo--+AOQ-! 1 +- 1", Some("UTF-7")),
            "Hi Mom \u{263a}-ä! 1 + 1"
        );
        assert_eq!(decode(b"\xe4", Some("iso-8859-1")), "ä");
        assert_eq!(decode("ä".as_bytes(), Some("us-ascii")), "ä");
        assert_eq!(decode(b"\xe4 x", Some("utf-8")), "ä x");
        assert_eq!(decode(b"\xc4\xe3", Some("gb18030")), "你");
        assert_eq!(decode(b"\x1b$B$\"\x1b(B", None), "あ");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), label in ".{0,12}") {
            let _ = decode(&bytes, Some(&label));
            let _ = utf7(&bytes);
        }
    }
}
