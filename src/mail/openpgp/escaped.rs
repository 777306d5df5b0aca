//! Armor in the strings of JSON and in calendar entries, whose line ends are written as `\n` (RFC 8259 §7, RFC 5545
//! §3.3.11), and which calendars fold anywhere.

use super::armor::find;

const BEGIN: &[u8] = b"-----BEGIN PGP MESSAGE-----";
const END: &[u8] = b"-----END PGP MESSAGE-----";

/// The text with the armor of every message that is written so as it was; `None` if there is none.
#[must_use]
pub(super) fn restored(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(found) = find(&text[at..], BEGIN) {
        let begin = at + found;
        at = begin + BEGIN.len();
        // Each is looked through up to the next: else many beginnings without an end cost the square of their number.
        let next = find(&text[at..], BEGIN).map_or(text.len(), |next| at + next);
        if let Some((armor, length)) = unescaped(&text[begin..next]) {
            out.extend_from_slice(&text[kept..begin]);
            out.extend_from_slice(&armor);
            (kept, at) = (begin + length, begin + length);
        }
    }
    (kept > 0).then(|| [&out, &text[kept..]].concat())
}

/// The armor that `text` begins with, and how long it is as it is written. Where a quotation mark, the next armor or the
/// end of a line that is not folded comes first, it is none.
fn unescaped(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut armor = BEGIN.to_vec();
    let mut rest = without_fold(&text[BEGIN.len()..]);
    if !rest.starts_with(b"\\") {
        return None;
    }
    let mut line = 0;
    while let Some((&octet, behind)) = rest.split_first() {
        match octet {
            b'\\' => rest = escape(behind, &mut armor)?,
            b'"' | b'\r' | b'\n' => return None,
            _ => {
                armor.push(octet);
                rest = behind;
            }
        }
        if armor.ends_with(b"\n") {
            line = armor.len();
        }
        if armor[line..].ends_with(END) {
            return Some((armor, text.len() - rest.len()));
        }
        if line > 0 && armor[line..].starts_with(BEGIN) {
            return None;
        }
        rest = without_fold(rest);
    }
    None
}

/// Adds what the escape means that begins with a backslash before `text`; what follows it. JSON in JSON has several
/// backslashes.
fn escape<'a>(text: &'a [u8], armor: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut text = without_fold(text);
    while let Some(behind) = text.strip_prefix(b"\\") {
        text = without_fold(behind);
    }
    let (&sign, behind) = text.split_first()?;
    match sign {
        b'n' | b'N' => armor.push(b'\n'),
        b'r' => {}
        b't' => armor.push(b'\t'),
        b'/' | b',' | b';' => armor.push(sign),
        b'u' => return code_unit(behind, armor),
        _ => return None,
    }
    Some(behind)
}

/// Adds the sign whose code the four digits are that `text` begins with; what follows them.
fn code_unit<'a>(text: &'a [u8], armor: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (mut rest, mut code) = (text, 0);
    for _ in 0..4 {
        let (digit, behind) = without_fold(rest).split_first()?;
        code = code * 16 + char::from(*digit).to_digit(16)?;
        rest = behind;
    }
    armor.push(u8::try_from(code).ok()?);
    Some(rest)
}

/// What follows the folds that `text` begins with.
fn without_fold(text: &[u8]) -> &[u8] {
    let folds: [&[u8]; 4] = [b"\r\n ", b"\r\n\t", b"\n ", b"\n\t"];
    let mut rest = text;
    while let Some(unfolded) = folds.iter().find_map(|fold| rest.strip_prefix(*fold)) {
        rest = unfolded;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::openpgp::armor::armored;
    use proptest::prelude::*;

    #[test]
    fn other_text_is_left() {
        for text in [
            "-----BEGIN PGP MESSAGE-----\n\naGVsbG8=\n-----END PGP MESSAGE-----\n",
            "-----BEGIN PGP MESSAGE-----\\n\\naGVsbG8=\n-----END PGP MESSAGE-----\n",
            "\"-----BEGIN PGP MESSAGE-----\\n\\naGVsbG8=\", \"-----END PGP MESSAGE-----\"",
            "-----BEGIN PGP MESSAGE-----\\n-----BEGIN PGP MESSAGE-----",
            "-----BEGIN PGP MESSAGE-----\\",
            "-----BEGIN PGP SIGNED MESSAGE-----\\nHash: SHA256\\n",
        ] {
            assert_eq!(restored(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_never_ends_is_passed_over_in_its_length() {
        let begin = "-----BEGIN PGP MESSAGE-----\\n";
        assert_eq!(
            restored(format!("{begin}x").repeat(20_000).as_bytes()),
            None
        );
        assert_eq!(
            restored((begin.to_owned() + &"\\".repeat(1 << 20)).as_bytes()),
            None
        );
    }

    proptest! {
        #[test]
        fn escaped_armor_comes_back(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            end in proptest::sample::select(vec!["\\n", "\\r\\n", "\\N", "\\\\n", "\\u000a"]),
            width in proptest::option::of(45..80_usize),
        ) {
            let whole = armored("MESSAGE", &bytes).replace("\r\n", "\n");
            let (whole, before) = (whole.trim_end(), "{\"a\": \"");
            let escaped = whole.replace('\n', end).replace('/', "\\/");
            let mut text = format!("{before}{escaped}\" }}").into_bytes();
            if let Some(width) = width {
                text = text.chunks(width).collect::<Vec<_>>().join(&b"\r\n "[..]);
            }
            let restored = restored(&text).expect("armor");
            let unfolded = String::from_utf8_lossy(&restored).replace("\r\n ", "");
            prop_assert_eq!(unfolded, format!("{before}{whole}\" }}"));
        }

        #[test]
        fn any_text_is_survived(text in "(-----BEGIN PGP MESSAGE-----|-----END PGP MESSAGE-----|\\\\|u00|n|\n ?|\"|[a-z]){0,20}") {
            let _ = restored(text.as_bytes());
        }
    }
}
