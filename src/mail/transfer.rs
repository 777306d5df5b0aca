//! Content-Transfer-Encodings: decoding what senders and gateways made of them, and encoding for the rendition.

use base64_simd::Out;
use memchr::memmem::Finder;
use std::borrow::Cow;

/// The name of the encoding that a field's value says, in lower case: comments, parameters and quotes are no part of it,
/// and hyphens are where senders leave them out. Empty if there is none.
#[must_use]
pub fn name_of(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value).to_ascii_lowercase();
    let name = value
        .split(['(', ';', ','])
        .map(|piece| piece.trim_matches(|c: char| c.is_whitespace() || c == '"'))
        .find(|piece| !piece.is_empty())
        .unwrap_or_default();
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let known = match letters.as_str() {
        "base64" => "base64",
        "quotedprintable" => "quoted-printable",
        "uuencode" | "uue" | "xuuencode" | "xuue" => "x-uuencode",
        "7bit" => "7bit",
        "8bit" => "8bit",
        _ => name,
    };
    known.to_owned()
}

/// Decodes by the encoding's name, as [`name_of`] has it; unknown names and identity encodings give the bytes as they are.
#[must_use]
pub fn decode<'a>(body: &'a [u8], encoding: &str) -> Cow<'a, [u8]> {
    match encoding {
        "base64" => Cow::Owned(base64(body)),
        "quoted-printable" => Cow::Owned(quoted_printable(body)),
        "x-uuencode" => uudecode(body).map_or(Cow::Borrowed(body), Cow::Owned),
        _ => Cow::Borrowed(body),
    }
}

/// The first `most` decoded bytes, or all if there are fewer, without decoding much more than these.
#[must_use]
pub fn beginning<'a>(body: &'a [u8], encoding: &str, most: usize) -> Cow<'a, [u8]> {
    // Quoted-printable takes three bytes for one; the fourth is for line ends.
    let enough = most.saturating_add(100).saturating_mul(4).min(body.len());
    let start = match encoding {
        "base64" if enough < body.len() => whole_lines_of(&body[..enough]),
        _ => &body[..enough],
    };
    match decode(start, encoding) {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..bytes.len().min(most)]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(most);
            Cow::Owned(bytes)
        }
    }
}

/// The text without a line at its end that was cut off, unless much would be lost by that: whole lines of base64 are decoded
/// at once.
fn whole_lines_of(text: &[u8]) -> &[u8] {
    match memchr::memrchr(b'\n', text) {
        Some(end) if end >= text.len() / 2 => &text[..=end],
        _ => text,
    }
}

/// Decodes base64 with line breaks, missing padding, padding in mid-text and stray characters. Once text has
/// begun, a line that is clearly something else (a mailing list's footer, the checksum of OpenPGP armor that lost its
/// frame) ends it.
#[must_use]
pub fn base64(text: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = whole_lines(text);
    let mut digits = Digits {
        begun: !out.is_empty(),
        ..Digits::default()
    };
    while at < text.len() {
        let (end, next) = super::mime::line_at(text, at);
        if !digits.line(text[at..end].trim_ascii(), &mut out) {
            break;
        }
        at = next;
    }
    digits.flush(&mut out);
    out
}

/// Digits that are decoded at once.
const BATCH: usize = 3072;

/// Decodes the lines of whole groups at the beginning of base64, many at once: that is all that most senders write. Returns
/// where the rest begins.
fn whole_lines(text: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let mut batch = Vec::with_capacity(BATCH.min(text.len()));
    let (mut begin, mut at) = (0, 0);
    loop {
        let (end, next) = super::mime::line_at(text, at);
        let line = &text[at..end];
        let fits = !line.is_empty() && line.len().is_multiple_of(4);
        if !fits || batch.len() + line.len() > BATCH {
            if !decode_groups(&batch, &mut out) {
                return (out, begin);
            }
            batch.clear();
            begin = at;
        }
        if !fits || line.len() > BATCH {
            return (out, begin);
        }
        batch.extend_from_slice(line);
        at = next;
    }
}

/// Base64 that is decoded line by line.
#[derive(Default)]
struct Digits {
    /// Digits of a group that is not whole yet.
    group: u32,
    count: u32,
    /// Something was decoded.
    begun: bool,
}

impl Digits {
    /// Appends what the line holds; false if the text ends before it.
    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if self.count == 0 && decode_whole_line(line, out) {
            self.begun = true;
            return true;
        }
        if is_foreign(line) {
            return !self.begun;
        }
        for &byte in line {
            if byte == b'=' {
                self.flush(out);
            } else if let Some(value) = sextet(byte) {
                self.group = self.group << 6 | u32::from(value);
                self.count += 1;
                if self.count == 4 {
                    out.extend_from_slice(&self.group.to_be_bytes()[1..]);
                    (self.group, self.count) = (0, 0);
                }
            }
        }
        self.begun |= out.len() > before;
        true
    }

    /// Ends a group: two or three left-over characters hold one or two bytes.
    fn flush(&mut self, out: &mut Vec<u8>) {
        match self.count {
            2 => out.push((self.group >> 4) as u8),
            3 => out.extend_from_slice(&(self.group >> 2).to_be_bytes()[2..]),
            _ => {}
        }
        (self.group, self.count) = (0, 0);
    }
}

/// Decoded bytes that are held at once where a body is only looked through.
const WINDOW: usize = 1 << 20;
/// Appends what a line holds; false if the text ends before it.
type DecodeLine = Box<dyn FnMut(&[u8], &mut Vec<u8>) -> bool>;

/// Whether a needle of these `finders`, none of which is empty, is anywhere in the decoded body. A large body is never
/// there decoded as a whole.
#[must_use]
pub fn contains(body: &[u8], encoding: &str, finders: &[&Finder<'_>]) -> bool {
    let is_in = |text: &[u8]| finders.iter().any(|finder| finder.find(text).is_some());
    let needles = finders.iter().map(|finder| finder.needle().len());
    let longest = needles.max().unwrap_or_default();
    let mut window = Vec::new();
    let mut decode_line: DecodeLine = match encoding {
        "base64" => {
            let mut digits = Digits::default();
            Box::new(move |line, out| digits.line(line.trim_ascii(), out))
        }
        "quoted-printable" => Box::new(|line, out| {
            quoted_line(line, out);
            true
        }),
        _ => return is_in(&decode(body, encoding)),
    };
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        if !decode_line(line, &mut window) {
            break;
        }
        if window.len() >= WINDOW {
            if is_in(&window) {
                return true;
            }
            window.drain(..window.len() - longest);
        }
    }
    is_in(&window)
}

/// Appends a line of whole groups, as nearly all are; false, and nothing appended, if it is not one.
fn decode_whole_line(line: &[u8], out: &mut Vec<u8>) -> bool {
    !line.is_empty() && line.len().is_multiple_of(4) && decode_groups(line, out)
}

/// Appends what whole groups of digits hold; false, and nothing appended, if something else is among them.
fn decode_groups(line: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.resize(start + line.len() / 4 * 3, 0);
    let decoded = base64_simd::STANDARD.decode(line, Out::from_slice(&mut out[start..]));
    let written = decoded.map(|bytes| bytes.len());
    out.truncate(start + written.as_ref().copied().unwrap_or(0));
    written.is_ok()
}

/// A line that is no base64: nobody would take it for that, or it is the checksum of armor.
fn is_foreign(line: &[u8]) -> bool {
    let wrong = line
        .iter()
        .filter(|&&byte| sextet(byte).is_none() && byte != b'=')
        .count();
    line.starts_with(b"--")
        || is_armor_checksum(line)
        || wrong * 10 > line.len() && !line.is_empty()
}

/// `=` and four digits: no padding has data behind it in its line.
fn is_armor_checksum(line: &[u8]) -> bool {
    matches!(line, [b'=', digits @ ..] if digits.len() == 4 && digits.iter().all(|&byte| sextet(byte).is_some()))
}

const fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Decodes quoted-printable; wrong escapes stay as they are.
#[must_use]
pub fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        quoted_line(&rest[..end], &mut out);
        rest = &rest[end..];
    }
    out
}

/// Appends what one line holds, its end included unless it is a soft one.
fn quoted_line(line: &[u8], out: &mut Vec<u8>) {
    let (end, _) = super::mime::line_at(line, 0);
    let text = line[..end].trim_ascii_end();
    match text.strip_suffix(b"=") {
        Some(soft) => escapes(soft, out),
        None => {
            escapes(text, out);
            out.extend_from_slice(&line[end..]);
        }
    }
}

/// The Q encoding of an encoded word: as quoted-printable, but blanks count.
#[must_use]
pub fn quoted_printable_word(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    escapes(text, &mut out);
    out
}

fn escapes(line: &[u8], out: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        let byte = match &rest[at + 1..] {
            [high, low, ..] => octet(*high, *low),
            _ => None,
        };
        out.push(byte.unwrap_or(b'='));
        rest = &rest[at + byte.map_or(1, |_| 3)..];
    }
    out.extend_from_slice(rest);
}

/// What two hexadecimal digits say.
fn octet(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Decodes the first `begin`…`end` block; `None` if there is none.
#[must_use]
pub fn uudecode(text: &[u8]) -> Option<Vec<u8>> {
    let mut lines = text
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    lines
        .find(|line| line.starts_with(b"begin ") && line.get(6).is_some_and(u8::is_ascii_digit))?;
    let mut out = Vec::new();
    for line in lines.take_while(|line| *line != b"end") {
        let Some((&first, rest)) = line.split_first() else {
            continue;
        };
        let length = usize::from(first.wrapping_sub(32) & 63);
        let start = out.len();
        for group in rest.chunks(4) {
            let at = |index: usize| {
                u32::from(group.get(index).copied().unwrap_or(b' ').wrapping_sub(32) & 63)
            };
            let joined = at(0) << 18 | at(1) << 12 | at(2) << 6 | at(3);
            out.extend_from_slice(&joined.to_be_bytes()[1..]);
        }
        out.truncate((start + length).min(out.len()));
    }
    Some(out)
}

/// Base64 in lines of 76 characters, each ended by `line_end`.
#[must_use]
pub fn to_base64(bytes: &[u8], line_end: &str) -> String {
    let mut out = String::with_capacity(bytes.len() / 57 * 78 + 80);
    for chunk in bytes.chunks(57) {
        data_encoding::BASE64.encode_append(chunk, &mut out);
        out.push_str(line_end);
    }
    out
}

/// True if `text` can travel as 7bit: ASCII without NUL or bare CR, and no line over 998 bytes.
#[must_use]
pub fn is_seven_bit(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.len() <= 998
            && line
                .iter()
                .all(|byte| byte.is_ascii() && *byte != 0 && *byte != b'\r')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodings_are_known_by_the_names_that_senders_write() {
        for (value, name) in [
            (" Base64\r\n", "base64"),
            ("base64;", "base64"),
            ("\"base64\"", "base64"),
            ("base64 (seven bits)", "base64"),
            ("Quoted Printable ;", "quoted-printable"),
            ("quoted_printable", "quoted-printable"),
            ("x-uue", "x-uuencode"),
            ("7-bit", "7bit"),
            ("text/html; charset=x", "text/html"),
            ("", ""),
        ] {
            assert_eq!(name_of(value.as_bytes()), name, "{value}");
        }
    }

    #[test]
    fn what_senders_and_gateways_made_of_it() {
        assert_eq!(base64(b"aGVs\r\nbG8\r\n"), b"hello");
        assert_eq!(
            base64(b"aGVsbG8=\n_______________\nlist footer, info at x\n"),
            b"hello"
        );
        assert_eq!(base64(b"aGU=bGxv"), b"hello");
        assert_eq!(base64(b"aGVsbG8=\n=zH6Q\n"), b"hello");
        assert_eq!(base64(b"aGVsbG8\n=\n"), b"hello");
        assert_eq!(
            quoted_printable(b"a=3D b  \r\nc=\r\nd =zz"),
            b"a= b\r\ncd =zz"
        );
        assert_eq!(
            uudecode(b"begin 644 x\n#0V%T\n`\nend\n").as_deref(),
            Some(&b"Cat"[..])
        );
        assert!(is_seven_bit(b"abc\r\n") && !is_seven_bit(&[b'a'; 999]) && !is_seven_bit(b"a\rb"));
    }

    /// The decoder without its short cut.
    fn digit_by_digit(text: &[u8]) -> Vec<u8> {
        let (mut out, mut group, mut count) = (Vec::new(), 0_u32, 0_u32);
        for line in text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
            if is_foreign(line) {
                if out.is_empty() {
                    continue;
                }
                break;
            }
            for &byte in line {
                if byte == b'=' {
                    last_group(group, count, &mut out);
                    (group, count) = (0, 0);
                } else if let Some(value) = sextet(byte) {
                    group = group << 6 | u32::from(value);
                    count += 1;
                    if count == 4 {
                        out.extend_from_slice(&group.to_be_bytes()[1..]);
                        (group, count) = (0, 0);
                    }
                }
            }
        }
        last_group(group, count, &mut out);
        out
    }

    fn last_group(group: u32, count: u32, out: &mut Vec<u8>) {
        match count {
            2 => out.push((group >> 4) as u8),
            3 => out.extend_from_slice(&(group >> 2).to_be_bytes()[2..]),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn whole_lines_decode_like_any_others(text in "([A-Za-z0-9+/]{4}|[A-Z]{1,3}=*|=|-|\n| |ä){0,40}") {
            prop_assert_eq!(base64(text.as_bytes()), digit_by_digit(text.as_bytes()));
        }

        #[test]
        fn base64_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            prop_assert_eq!(base64(to_base64(&bytes, "\r\n").as_bytes()), bytes);
        }

        #[test]
        fn a_beginning_is_what_decoding_begins_with(bytes in proptest::collection::vec(any::<u8>(), 0..2000), most in 0_usize..500) {
            let text = to_base64(&bytes, "\r\n");
            for text in [text.as_str(), text.trim_end()] {
                let begun = beginning(text.as_bytes(), "base64", most);
                prop_assert_eq!(begun.as_ref(), &bytes[..most.min(bytes.len())]);
            }
        }

        #[test]
        fn a_needle_is_found_where_decoding_yields_it(
            before in proptest::collection::vec(any::<u8>(), 0..400),
            lines in 0_usize..3,
            encoding in prop_oneof!["base64", "quoted-printable", "8bit"],
        ) {
            let needle = b"BEGIN PGP ";
            // Around the end of the first window.
            let long = [&vec![b'x'; lines * (WINDOW / 2) - lines * 9][..], &before, needle, b"\n"].concat();
            let body = match encoding.as_str() {
                "base64" => to_base64(&long, "\r\n").into_bytes(),
                "quoted-printable" => long.chunks(70).flat_map(|line| [line, b"=\n"].concat()).collect(),
                _ => long,
            };
            prop_assert!(encoding == "quoted-printable" || contains(&body, &encoding, &[&Finder::new(needle)]));
            let decoded = decode(&body, &encoding);
            prop_assert_eq!(contains(&body, &encoding, &[&Finder::new(needle)]), memchr::memmem::find(&decoded, needle).is_some());
            prop_assert!(!contains(&body, &encoding, &[&Finder::new(b"no such text in it")]));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for name in ["base64", "quoted-printable", "x-uuencode", "7bit"] {
                let _ = decode(&bytes, name);
            }
        }
    }
}
