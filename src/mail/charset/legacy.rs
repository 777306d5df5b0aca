//! Charsets of old mail that the WHATWG list lacks or refuses.

use super::code_pages;
use encoding_rs::{EUC_KR, Encoding, GBK, UTF_16BE, UTF_16LE};

/// Decodes `bytes` if `label` (lower case) is one of these charsets.
pub fn decode(bytes: &[u8], label: &str) -> Option<String> {
    Some(match label {
        "utf-7" | "unicode-1-1-utf-7" | "unicode-2-0-utf-7" | "x-unicode-2-0-utf-7" | "csutf7" => {
            utf7(bytes)
        }
        "utf-16" | "ucs-2" | "iso-10646-ucs-2" | "csunicode" => utf16(bytes),
        "utf-32" | "utf-32be" | "utf-32le" | "ucs-4" | "iso-10646-ucs-4" => {
            utf32(bytes, label.ends_with("le"))
        }
        "iso-2022-kr" | "csiso2022kr" if bytes.is_ascii() => iso_2022_kr(bytes),
        "iso-2022-cn" | "iso-2022-cn-ext" if bytes.is_ascii() => {
            iso_2022_shifted(bytes, b"$)A", GBK)
        }
        "hz-gb-2312" | "hz" => hz(bytes),
        other => code_page(bytes, code_pages::upper_half(other)?),
    })
}

/// How often a run of digits is tried, from its beginning and from the plus signs in it: a hostile one has nothing else in it.
const MOST_TRIES: u32 = 8;

/// UTF-7 (RFC 2152). What is no sequence of it stays as it is: text in which a plus sign is one is called UTF-7 too.
fn utf7(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    // Where the run of digits ends that was tried last, and how often it was.
    let (mut end, mut tries) = (0, 0);
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
        if at >= end {
            let run = bytes[at..].iter();
            let digits = run.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
            (end, tries) = (at + digits.count(), 0);
        }
        tries += 1;
        let text = (tries <= MOST_TRIES).then(|| shifted_text(&bytes[at..end]));
        match text.flatten() {
            Some(text) => {
                out.push_str(&text);
                at = end + usize::from(bytes.get(end) == Some(&b'-'));
            }
            None => out.push('+'),
        }
    }
    out
}

/// What stands between a plus sign and the end of its sequence; `None` if it is not UTF-16 in base64.
fn shifted_text(sequence: &[u8]) -> Option<String> {
    if sequence.is_empty() {
        return Some("+".to_owned());
    }
    let bytes = data_encoding::BASE64_NOPAD.decode(sequence).ok()?;
    let units = bytes
        .chunks(2)
        .map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
    let units: Vec<u16> = units.collect::<Option<_>>()?;
    String::from_utf16(&units).ok()
}

/// UTF-16 by its byte order mark, else by where its zero bytes are: senders without a mark write it in either order.
fn utf16(bytes: &[u8]) -> String {
    let zeros = |from: usize| {
        let bytes = bytes.iter().skip(from).step_by(2);
        bytes.filter(|byte| **byte == 0).count()
    };
    let encoding = if zeros(0) > zeros(1) {
        UTF_16BE
    } else {
        UTF_16LE
    };
    encoding.decode(bytes).0.into_owned()
}

/// UTF-32 by its byte order mark, else by `little`, unless its first character says otherwise.
fn utf32(bytes: &[u8], little: bool) -> String {
    let little = match bytes {
        [0xff, 0xfe, 0, 0, ..] => true,
        [0, 0, 0xfe, 0xff, ..] | [0, 0, _, _, ..] => false,
        [_, _, 0, 0, ..] => true,
        _ => little,
    };
    let characters = bytes.chunks_exact(4).map(|unit| {
        let unit = [unit[0], unit[1], unit[2], unit[3]];
        let code = if little {
            u32::from_le_bytes(unit)
        } else {
            u32::from_be_bytes(unit)
        };
        char::from_u32(code).unwrap_or('\u{fffd}')
    });
    characters.filter(|c| *c != '\u{feff}').collect()
}

/// ISO-2022-KR (RFC 1557).
pub fn iso_2022_kr(bytes: &[u8]) -> String {
    iso_2022_shifted(bytes, b"$)C", EUC_KR)
}

/// ISO-2022-KR and -CN (RFC 1922): between SO and SI the bytes of `encoding` without their highest bit. `announced` is what the
/// escape sequence says of it.
fn iso_2022_shifted(bytes: &[u8], announced: &[u8], encoding: &'static Encoding) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut shifted = false;
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            0x1b if tail.starts_with(announced) => rest = &tail[announced.len()..],
            0x0e => shifted = true,
            0x0f => shifted = false,
            b'\n' => {
                shifted = false;
                out.push(byte);
            }
            0x21..=0x7e if shifted => out.push(byte | 0x80),
            _ => out.push(byte),
        }
    }
    encoding.decode_without_bom_handling(&out).0.into_owned()
}

/// HZ (RFC 1843): between `~{` and `~}` the bytes of GB 2312 without their highest bit.
fn hz(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut shifted = false;
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail.first()) {
            (b'~', Some(b'{')) => shifted = true,
            (b'~', Some(b'}')) => shifted = false,
            (b'~', Some(b'~')) if !shifted => out.push(b'~'),
            (b'~', Some(b'\n')) if !shifted => {}
            (b'\n', _) => {
                shifted = false;
                out.push(byte);
                continue;
            }
            (0x21..=0x7e, _) if shifted => {
                out.push(byte | 0x80);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        }
        rest = &tail[1..];
    }
    GBK.decode_without_bom_handling(&out).0.into_owned()
}

/// ASCII with `upper` above it.
fn code_page(bytes: &[u8], upper: &str) -> String {
    let upper: Vec<char> = upper.chars().collect();
    let character = |&byte: &u8| match usize::from(byte).checked_sub(0x80) {
        Some(at) => upper.get(at).copied().unwrap_or('\u{fffd}'),
        None => char::from(byte),
    };
    bytes.iter().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn charsets_of_old_mail() {
        for (label, bytes, text) in [
            (
                "utf-7",
                &b"Hi Mom +Jjo--+AOQ-! 1 +- 1"[..],
                "Hi Mom \u{263a}-ä! 1 + 1",
            ),
            (
                "utf-7",
                b"Tel. +49 89, +XY+ or +AD4 quoted",
                "Tel. +49 89, +XY+ or > quoted",
            ),
            ("utf-7", b"+2D0", "+2D0"),
            ("utf-16", b"\0x\0\xe4", "xä"),
            ("utf-16", b"x\0\xe4\0", "xä"),
            ("ucs-2", b"\xfe\xff\x65\xe5", "日"),
            ("iso-2022-cn", b"\x1b$)A\x0e<:Ky\x0f ok", "己所 ok"),
            ("ibm852", b"\x88\xa2d\xab", "łódź"),
            ("utf-32", b"\xff\xfe\0\0x\0\0\0\xe4\0\0\0", "xä"),
            ("utf-32", b"\0\0\0x\0\0\0\xe4", "xä"),
            ("utf-32le", b"x\0\0\0\x0a\xf6\x01\0", "x\u{1f60a}"),
            ("iso-2022-kr", b"\x1b$)C\x0eGQ1[\x0f ok", "한글 ok"),
            ("hz-gb-2312", b"a ~{<:Ky2;~} ~~ b", "a 己所不 ~ b"),
            ("ibm437", b"Geb\x81hr \xe1\xff", "Gebühr ß\u{a0}"),
            ("cp850", b"Geb\x81hr \xe1\xb5", "Gebühr ßÁ"),
        ] {
            assert_eq!(decode(bytes, label).as_deref(), Some(text), "{label}");
        }
        assert_eq!(decode(b"x", "utf-8"), None);
    }

    #[test]
    fn a_run_of_plus_signs_costs_no_more_than_its_length() {
        assert_eq!(decode(b"+a+b+AOQ-", "utf-7").as_deref(), Some("+a+b\u{e4}"));
        let run = b"+2AA".repeat(1 << 18);
        let started = std::time::Instant::now();
        assert_eq!(decode(&run, "utf-7").unwrap().len(), run.len());
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for label in ["utf-7", "utf-32", "iso-2022-kr", "hz", "cp437", "cp850"] {
                let _ = decode(&bytes, label);
            }
        }
    }
}
