//! Charsets of old mail that the WHATWG list lacks or refuses.

use encoding_rs::{EUC_KR, GBK};

/// The upper half of DOS code page 437.
const CP437: &str = "\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
/// The upper half of DOS code page 850.
const CP850: &str = "\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
    └┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";

/// Decodes `bytes` if `label` (lower case) is one of these charsets.
pub fn decode(bytes: &[u8], label: &str) -> Option<String> {
    Some(match label {
        "utf-7" | "unicode-1-1-utf-7" | "csutf7" => utf7(bytes),
        "utf-32" | "utf-32be" | "utf-32le" | "ucs-4" | "iso-10646-ucs-4" => {
            utf32(bytes, label.ends_with("le"))
        }
        "iso-2022-kr" | "csiso2022kr" => iso_2022_kr(bytes),
        "hz-gb-2312" | "hz" => hz(bytes),
        "cp437" | "ibm437" | "437" | "cspc8codepage437" => code_page(bytes, CP437),
        "cp850" | "ibm850" | "850" | "cspc850multilingual" => code_page(bytes, CP850),
        _ => return None,
    })
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
    let bytes = crate::mail::transfer::base64(base64);
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    out.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')));
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

/// ISO-2022-KR (RFC 1557): between SO and SI the bytes of EUC-KR without their highest bit.
pub fn iso_2022_kr(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut shifted = false;
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            0x1b if tail.starts_with(b"$)C") => rest = &tail[3..],
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
    EUC_KR.decode_without_bom_handling(&out).0.into_owned()
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
        assert_eq!((CP437.chars().count(), CP850.chars().count()), (128, 128));
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
