//! Armor that text software has altered: word processors make long dashes of the five hyphens around an armor's lines,
//! editors of HTML no-break spaces of the blanks in them, and Notepad saves as UTF-16 what it calls Unicode. Nothing else
//! of the armor has suffered, so its lines are restored. What JSON and calendars escape is restored too.

use super::armor::{MARK, MARKS, find};
use super::escaped;
use crate::mail::charset;
use memchr::memmem;
use std::ops::Range;

/// What stands between the word at an armor line's beginning and its label.
const PGP: &[u8] = b"PGP";
/// Blanks, and what becomes of them: no-break spaces in UTF-8 and Latin-1.
const BLANKS: [&[u8]; 4] = [b" ", "\u{a0}".as_bytes(), "\u{202f}".as_bytes(), b"\xa0"];
/// Octets of the longest label, with room for blanks of three.
const LONGEST_LABEL: usize = 60;
const HYPHENS: &[u8] = b"-----";
/// Fewest and most signs that five hyphens became.
const SIGNS: std::ops::RangeInclusive<usize> = 2..=10;
/// What became of hyphens: long dashes and other hyphens in UTF-8, the same read as Latin-1 in between, and in Windows-1252.
const DASHES: [&[u8]; 17] = [
    b"-",
    "\u{2010}".as_bytes(),
    "\u{2011}".as_bytes(),
    "\u{2012}".as_bytes(),
    "\u{2013}".as_bytes(),
    "\u{2014}".as_bytes(),
    "\u{2015}".as_bytes(),
    "\u{2212}".as_bytes(),
    "\u{2500}".as_bytes(),
    "\u{fe58}".as_bytes(),
    "\u{ff0d}".as_bytes(),
    "\u{96}".as_bytes(),
    "\u{97}".as_bytes(),
    b"\x96",
    b"\x97",
    // Soft hyphens.
    "\u{ad}".as_bytes(),
    b"\xad",
];

/// The text with its armor lines as they were; `None` if there is no altered armor in it.
#[must_use]
pub fn restored(text: &[u8]) -> Option<Vec<u8>> {
    if let Some(label) = mentioned_in_utf16(text, MARK) {
        let text = charset::decode(text, Some(label));
        let text = text.trim_start_matches('\u{feff}').as_bytes();
        let text = with_restored_lines(text).unwrap_or_else(|| text.to_vec());
        return find(&text, b"-----BEGIN ").is_some().then_some(text);
    }
    MARKS.find(text)?;
    let lines = with_restored_lines(text);
    escaped::restored(lines.as_deref().unwrap_or(text)).or(lines)
}

/// Whether `words` of an armor line are in this beginning of a text, altered or not.
#[must_use]
pub fn mentions(start: &[u8], words: &[u8]) -> bool {
    find(start, words).is_some()
        || mentioned_in_utf16(start, words).is_some()
        || start.contains(&0xa0) && find(&with_blanks(start), words).is_some()
}

/// Whether an armor line is in this beginning of a text in UTF-16.
#[must_use]
pub fn is_armored_utf16(start: &[u8]) -> bool {
    mentioned_in_utf16(start, MARK).is_some()
}

/// The charset of a text in UTF-16, by its byte order mark or by the NULs in it, if these words are in it.
fn mentioned_in_utf16(text: &[u8], words: &[u8]) -> Option<&'static str> {
    const LOOKED_AT: usize = 200;
    let has = |little: bool| {
        let wide: Vec<u8> = words
            .iter()
            .flat_map(|&byte| if little { [byte, 0] } else { [0, byte] })
            .collect();
        memmem::find_iter(text, &wide).any(|at| at % 2 == 0)
    };
    let (little, big) = match text {
        [0xff, 0xfe, ..] => (has(true), false),
        [0xfe, 0xff, ..] => (false, has(false)),
        _ if text[..text.len().min(LOOKED_AT)].contains(&0) => (has(true), has(false)),
        _ => (false, false),
    };
    match (little, big) {
        (true, _) => Some("utf-16le"),
        (_, true) => Some("utf-16be"),
        _ => None,
    }
}

/// The text with blanks for no-break spaces.
fn with_blanks(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let blank = BLANKS.iter().find(|blank| text[at..].starts_with(blank));
        out.push(blank.map_or(text[at], |_| b' '));
        at += blank.map_or(1, |blank| blank.len());
    }
    out
}

/// The text with each armor line as it was that has other dashes or blanks; `None` if none has.
fn with_restored_lines(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = 0;
    for (span, line) in memmem::find_iter(text, PGP).filter_map(|pgp| altered_line(text, pgp)) {
        if span.start >= at {
            out.extend_from_slice(&text[at..span.start]);
            out.extend_from_slice(&line);
            at = span.end;
        }
    }
    (at > 0).then(|| [&out, &text[at..]].concat())
}

/// Where the armor line with its `PGP` at `pgp` lies, and how it was; `None` if it is that still, or no armor line.
fn altered_line(text: &[u8], pgp: usize) -> Option<(Range<usize>, Vec<u8>)> {
    let words: [&[u8]; 2] = [b"BEGIN", b"END"];
    let known = [
        "MESSAGE",
        "SIGNED MESSAGE",
        "SIGNATURE",
        "PUBLIC KEY BLOCK",
        "PRIVATE KEY BLOCK",
    ];
    let blank = BLANKS.iter().find(|blank| text[..pgp].ends_with(blank))?;
    let before = &text[..pgp - blank.len()];
    let word = words.iter().find(|word| before.ends_with(word))?;
    let start = dashes_before(text, before.len() - word.len())?.start;
    let label = pgp + PGP.len();
    let length = label_length(&text[label..]);
    let name = with_blanks(&text[label..label + length]);
    let name = name.strip_prefix(b" ")?;
    if !known.iter().any(|known| name.starts_with(known.as_bytes())) {
        return None;
    }
    let end = dashes_from(text, label + length)?.end;
    let line = [HYPHENS, word, b" PGP ", name, HYPHENS].concat();
    (text[start..end] != line).then_some((start..end, line))
}

/// How long the label is that `text` begins with.
fn label_length(text: &[u8]) -> usize {
    let is_label = |c: &u8| matches!(*c, b'A'..=b'Z' | b'0'..=b'9' | b',' | b'/');
    let mut at = 0;
    while at < text.len().min(LONGEST_LABEL) {
        let blank = BLANKS.iter().find(|blank| text[at..].starts_with(blank));
        match blank {
            Some(blank) => at += blank.len(),
            None if is_label(&text[at]) => at += 1,
            None => break,
        }
    }
    at
}

fn dashes_before(text: &[u8], end: usize) -> Option<Range<usize>> {
    let (mut start, mut signs) = (end, 0);
    while let Some(dash) = DASHES.iter().find(|dash| text[..start].ends_with(dash)) {
        start -= dash.len();
        signs += 1;
    }
    SIGNS.contains(&signs).then_some(start..end)
}

fn dashes_from(text: &[u8], start: usize) -> Option<Range<usize>> {
    let (mut end, mut signs) = (start, 0);
    while let Some(dash) = DASHES.iter().find(|dash| text[end..].starts_with(dash)) {
        end += dash.len();
        signs += 1;
    }
    SIGNS.contains(&signs).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::openpgp::armor::armored;
    use proptest::prelude::*;

    #[test]
    fn ordinary_text_is_no_armor() {
        for text in [
            "BEGIN PGP MESSAGE",
            "He wrote – BEGIN PGP MESSAGE – and nothing behind it.",
            "–––––BEGIN PGP message–––––",
            "––––– BEGIN PGP MESSAGE –––––",
            "–––––BEGIN PGP TALK–––––",
            "–––––BEGIN PGP MESSAGE",
            "–––––BEGIN\u{a0}PGP\u{a0}TALK–––––",
            "-----BEGIN PGP MESSAGE-----\n\naGVsbG8=\n-----END PGP MESSAGE-----\n",
            "\u{feff}no armor",
        ] {
            assert_eq!(restored(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn altered_armor_comes_back(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            dashes in "[\u{2013}\u{2014}\u{2015}\u{2212}-]{1,4}[\u{2013}\u{2014}]",
            blank in "[ \u{a0}]",
            marked in "\u{feff}?",
            way in 0..4,
        ) {
            let whole = format!("Fwd: – see below –\r\n{}", armored("MESSAGE", &bytes));
            let text = whole.replace("-----", &dashes).replace(" PGP ", &format!("{blank}PGP{blank}"));
            let wide = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
                marked.encode_utf16().chain(text.encode_utf16()).flat_map(unit).collect()
            };
            let (altered, expected) = match way {
                0 => (text.into_bytes(), whole.into_bytes()),
                1 => (wide(u16::to_le_bytes), whole.into_bytes()),
                2 => (wide(u16::to_be_bytes), whole.into_bytes()),
                _ => {
                    let narrow = |text: &str| -> Vec<u8> {
                        let octets = text.chars().map(|c| match c {
                            '\u{2013}' | '\u{2212}' => 0x96,
                            '\u{2014}' | '\u{2015}' => 0x97,
                            c => c as u8,
                        });
                        octets.collect()
                    };
                    (narrow(&text), narrow(&whole))
                }
            };
            prop_assert!(mentions(&altered, MARK));
            prop_assert_eq!(restored(&altered), Some(expected));
        }

        #[test]
        fn any_bytes_are_survived(text in "(\u{2013}|\u{96}|-|BEGIN PGP |END PGP |MESSAGE|\u{feff}|[a-z\n]{0,3}){0,20}", mark in 0..3) {
            let mut text = text.into_bytes();
            if mark > 0 {
                text.splice(..0, if mark == 1 { [0xff, 0xfe] } else { [0xfe, 0xff] });
            }
            let _ = (restored(&text), mentions(&text, MARK));
        }
    }
}
