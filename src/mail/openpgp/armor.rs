//! ASCII armor (RFC 9580 §6) as mail really carries it: quoted, indented, with lost blank lines, broken
//! checksums and text around it. Integrity is the packets' business, so the armor checksum is not looked at.

use data_encoding::{BASE64_NOPAD, Encoding};
use memchr::memmem::Finder;
use std::ops::Range;
use std::sync::LazyLock;

/// One armored block found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The label after `BEGIN PGP `, such as `MESSAGE`, `SIGNATURE`, `PUBLIC KEY BLOCK`.
    pub label: String,
    /// The bytes inside.
    pub bytes: Vec<u8>,
    /// Where the block lies in the text, its BEGIN and END lines included.
    pub span: Range<usize>,
}

/// The label of the cleartext signature framework.
pub const SIGNED_MESSAGE: &str = "SIGNED MESSAGE";

const BEGIN: &[u8] = b"-----BEGIN PGP ";
/// What no armor is without, nor PEM.
pub(crate) const MARK: &[u8] = b"BEGIN";
const END: &[u8] = b"-----END PGP ";
/// Octets of the longest label, and of what follows it.
const LONGEST_LABEL: usize = 200;

/// What finds [`MARK`]. To make it costs more than to look through a short mail; so with the others.
pub(crate) static MARKS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));
/// What finds a block of public keys.
pub(crate) static KEYS: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new(b"-----BEGIN PGP PUBLIC KEY BLOCK"));
/// What finds [`BEGIN`].
static BEGINS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(BEGIN));

/// Finds the next armored block from byte `from` on. The `SIGNED MESSAGE` framework is reported with its
/// whole span and no bytes; its text is taken apart by [`super::cleartext`].
#[must_use]
pub fn next_block(text: &[u8], from: usize) -> Option<Block> {
    // A text may name the first line of armor without a label.
    let begins = BEGINS.find_iter(text.get(from..)?);
    let (begin, label) = begins.map(|at| from + at).find_map(|begin| {
        let behind = &text[begin + BEGIN.len()..];
        let label = label_of(&behind[..behind.len().min(LONGEST_LABEL)])?;
        Some((begin, label))
    })?;
    let (header, mut at) = line(text, begin);
    if label == SIGNED_MESSAGE {
        return Some(Block {
            label,
            bytes: Vec::new(),
            span: begin..at,
        });
    }
    if let Some(digits) = on_one_line(header) {
        return Some(Block {
            label,
            bytes: decode(&digits),
            span: begin..at,
        });
    }
    let initials = initials(text, begin);
    let (mut bytes, mut digits) = (Vec::new(), Vec::new());
    let mut in_headers = true;
    let mut checksum = None;
    while at < text.len() {
        let (whole, next) = line(text, at);
        let current = whole.strip_prefix(initials).unwrap_or(whole);
        // Nearly all lines.
        let is_plain = !in_headers && digits_at_start(current) == current.len();
        let has_dashes = !is_plain && memchr::memchr(b'-', current).is_some();
        if has_dashes && find(current, END).is_some() {
            return Some(Block {
                label,
                bytes: finish(bytes, &digits),
                span: begin..behind_end(whole).map_or(next, |words| at + words),
            });
        }
        if has_dashes && BEGINS.find(current).is_some() {
            break;
        }
        in_headers = in_headers && (digits.is_empty() && is_header(current));
        if is_plain {
            digits.extend_from_slice(current);
        } else if !in_headers {
            let (plain, rest) = current.split_at(digits_at_start(current));
            digits.extend_from_slice(plain);
            digits.extend(data(rest));
            if plain.is_empty() && checksum.is_none() && is_checksum(current) {
                checksum = Some(next);
            }
        }
        if digits.len() >= BATCH {
            let whole = digits.len() / 4 * 4;
            bytes.extend_from_slice(&decode(&digits[..whole]));
            digits.drain(..whole);
        }
        at = next;
    }
    // The last line is lost: what follows the checksum is none of the message.
    if let Some(end) = checksum.filter(|end| *end < at && label.starts_with("MESSAGE")) {
        return next_block(&text[..end], from);
    }
    Some(Block {
        label,
        bytes: finish(bytes, &digits),
        span: begin..at,
    })
}

/// The line of the CRC-24 (RFC 4880 §6.1), quoted or not.
fn is_checksum(line: &[u8]) -> bool {
    let marks = line
        .iter()
        .take_while(|c| matches!(c, b'>' | b'|' | b' ' | b'\t'));
    let line = line[marks.count()..].trim_ascii_end();
    matches!(line, [b'=', digits @ ..] if digits.len() == 4 && digits.iter().all(|c| is_digit(*c)))
}

/// Where words begin that stand behind the dashes of the last line of armor or PEM: they are none of it.
pub(crate) fn behind_end(line: &[u8]) -> Option<usize> {
    const END: &[u8] = b"-----END ";
    let label = find(line, END)? + END.len();
    let words = label + find(&line[label..], b"-----")? + b"-----".len();
    (!line[words..].trim_ascii().is_empty()).then_some(words)
}

/// What stands before the line at `begin` where a reply quotes with its author's initials ("AE> ", "Alice>"): letters that
/// are not the block's.
fn initials(text: &[u8], begin: usize) -> &[u8] {
    const LONGEST: usize = 16;
    let before = &text[begin.saturating_sub(LONGEST)..begin];
    let start = before.iter().rposition(|byte| *byte == b'\n');
    let quote = start.map_or(before, |at| &before[at + 1..]);
    let is_whole = start.is_some() || begin == before.len();
    let marked = quote.trim_ascii_end().ends_with(b">");
    if is_whole && marked {
        quote.trim_ascii_end()
    } else {
        b""
    }
}

/// Digits gathered before they are decoded, so that a long message is not held twice.
const BATCH: usize = 64 << 10;

fn finish(mut bytes: Vec<u8>, digits: &[u8]) -> Vec<u8> {
    bytes.extend_from_slice(&decode(digits));
    bytes
}

/// All armored blocks of a text, in order.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Block> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let block = next_block(text, at)?;
        at = block.span.end;
        Some(block)
    })
}

/// Wraps `bytes` in armor with CRLF line ends, 64 characters a line, and the checksum that old readers want.
#[must_use]
pub fn armored(label: &str, bytes: &[u8]) -> String {
    let mut out = format!("-----BEGIN PGP {label}-----\r\n\r\n");
    for chunk in bytes.chunks(48) {
        data_encoding::BASE64.encode_append(chunk, &mut out);
        out.push_str("\r\n");
    }
    out.push('=');
    data_encoding::BASE64.encode_append(&crc24(bytes).to_be_bytes()[1..], &mut out);
    out.push_str(&format!("\r\n-----END PGP {label}-----\r\n"));
    out
}

/// RFC 4880 §6.1.
fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x00b7_04ce, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << 16), |crc, _| {
            let shifted = crc << 1;
            if shifted & 0x0100_0000 == 0 {
                shifted
            } else {
                shifted ^ 0x0186_4cfb
            }
        })
    })
}

/// The charset that the headers of the first armor name for what is in it (RFC 4880 §6.2).
pub(crate) fn charset(text: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"Charset:";
    const MOST_HEADERS: usize = 16;
    let mut at = BEGINS.find(text)?;
    for _ in 0..MOST_HEADERS {
        at = line(text, at).1;
        let header = line(text.get(at..)?, 0).0;
        if header.trim_ascii().is_empty() {
            return None;
        }
        if let Some(start) = find(header, NAME) {
            let value = header[start + NAME.len()..].trim_ascii();
            return std::str::from_utf8(value).ok().map(str::to_owned);
        }
    }
    None
}

/// `MESSAGE-----` (or `MESSAGE, PART 1/2-----`) → `MESSAGE`. What GnuPG armors by `--enarmor` is a message as others are.
fn label_of(rest: &[u8]) -> Option<String> {
    let end = rest
        .iter()
        .position(|c| !(c.is_ascii_uppercase() || c.is_ascii_digit() || *c == b' '))
        .filter(|end| !matches!(rest[*end], b'\r' | b'\n'))?;
    let label = match std::str::from_utf8(&rest[..end]).ok()?.trim_end() {
        "ARMORED FILE" => "MESSAGE",
        label => label,
    };
    (!label.is_empty()).then(|| label.to_owned())
}

/// Armor headers are `Key: value`, and what a client broke off from one; an empty line, however decorated, ends them by
/// not being base64.
fn is_header(line: &[u8]) -> bool {
    !line.iter().any(|c| is_digit(*c)) || line.iter().any(|c| matches!(c, b':' | b'.' | b'@'))
}

/// The digits in a line up to the padding or the CRC-24: nothing is data behind an equals sign.
fn data(line: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let until_padding = line.iter().copied().take_while(|c| *c != b'=');
    until_padding.filter(|c| is_digit(*c))
}

/// The digits of a block whose line ends were all lost; words that are too short to be lines of it are armor headers.
fn on_one_line(header: &[u8]) -> Option<Vec<u8>> {
    const SHORTEST: usize = 40;
    let inside = &header[..find(header, END)?];
    let words = inside.split(u8::is_ascii_whitespace);
    let lines =
        words.skip_while(|word| word.len() < SHORTEST || !word.iter().all(|c| is_digit(*c)));
    let text: Vec<u8> = lines.flatten().copied().collect();
    Some(data(&text).collect())
}

/// How many digits a line begins with: nearly all lines are digits alone.
fn digits_at_start(line: &[u8]) -> usize {
    let is_whole = line.iter().fold(true, |all, c| all & is_digit(*c));
    if is_whole {
        return line.len();
    }
    line.iter().take_while(|c| is_digit(**c)).count()
}

/// Without branches, so that the compiler looks at many at once.
const fn is_digit(c: u8) -> bool {
    ((c | 0x20).wrapping_sub(b'a') < 26) | (c.wrapping_sub(b'0') < 10) | (c == b'+') | (c == b'/')
}

/// Base64 without padding that forgives a last quantum with stray bits.
fn decode(digits: &[u8]) -> Vec<u8> {
    static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
        let mut spec = BASE64_NOPAD.specification();
        spec.check_trailing_bits = false;
        spec.encoding().unwrap_or(BASE64_NOPAD)
    });
    let (groups, last) = digits.split_at(digits.len() / 4 * 4);
    let mut out = base64_simd::STANDARD_NO_PAD
        .decode_to_vec(groups)
        .unwrap_or_default();
    // A single digit holds no whole byte.
    if let (true, Ok(bytes)) = (last.len() > 1, LENIENT.decode(last)) {
        out.extend_from_slice(&bytes);
    }
    out
}

/// The line that starts at `at`, without its end, and where the next one starts.
pub(crate) fn line(text: &[u8], at: usize) -> (&[u8], usize) {
    let rest = &text[at..];
    match memchr::memchr(b'\n', rest) {
        Some(end) => (
            rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]),
            at + end + 1,
        ),
        None => (rest, text.len()),
    }
}

/// Where `needle` last occurs.
pub(crate) fn find_last(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::rfind(haystack, needle)
}

/// Where `needle` first occurs.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forgives_what_mail_does_to_armor() {
        for text in [
            "-----BEGIN PGP MESSAGE-----\n\naGVsbG8=\n=abcd\n-----END PGP MESSAGE-----\n",
            "Hi!\r\n-----BEGIN PGP MESSAGE-----\r\nVersion: 1\r\nComment:\r\n\r\naGVs\r\nbG8=\r\n-----END PGP MESSAGE-----",
            "> -----BEGIN PGP MESSAGE-----\n> Version: x\n> \n> aGVsbG8=\n> =abcd\n> -----END PGP MESSAGE-----\n",
            "Hi\nAE> -----BEGIN PGP MESSAGE-----\nAE>\nAE> aGVs\nAE> bG8=\nAE> =abcd\nAE> -----END PGP MESSAGE-----\n",
            "Bob>-----BEGIN PGP MESSAGE-----\nBob>Version: x\nBob>\nBob>aGVsbG8=\nBob>-----END PGP MESSAGE-----\n",
            "-----BEGIN PGP ARMORED FILE-----\nComment: x\n\naGVsbG8=\n-----END PGP ARMORED FILE-----\n",
            "-----BEGIN PGP MESSAGE-----\naGVsbG8\n-----END PGP MESSAGE-----\n",
            "-----BEGIN PGP MESSAGE-----\n\naGVsbG8==abcd\n-----END PGP MESSAGE-----\n",
            "-----BEGIN PGP MESSAGE-----\n\naGVsbG8=3D\n=3Dabcd\n-----END PGP MESSAGE-----\n",
            "-----BEGIN PGP MESSAGE-----\n\naGVsbG8=\u{a0}\n=abcd\u{a0}\n-----END PGP MESSAGE-----\n",
            "-----BEGIN PGP MESSAGE-----\nComment: see\nhttps://x.example/\n\naGVsbG8=\n-----END PGP MESSAGE-----\n",
            "-----BEGIN PGP MESSAGE-----  \n \t\n  aGVs \n bG8=\n",
        ] {
            let block = next_block(text.as_bytes(), 0).expect("a block");
            assert_eq!(
                (block.label.as_str(), block.bytes.as_slice()),
                ("MESSAGE", &b"hello"[..]),
                "{text}"
            );
        }
    }

    #[test]
    fn a_message_without_its_last_line_ends_at_the_checksum() {
        for mark in ["", "> "] {
            let block = "-----BEGIN PGP MESSAGE-----\n\naGVs\nbG8=\n=abcd\n";
            let block = block.replace('\n', &format!("\n{mark}"));
            let text = format!("{mark}{block}Bye, it ends here\n{mark}{block}");
            let found: Vec<_> = blocks(text.as_bytes()).collect();
            assert_eq!(found.len(), 2, "{text}");
            assert!(found.iter().all(|block| block.bytes == b"hello"), "{text}");
            assert!(text[found[0].span.end..].contains("Bye"), "{text}");
        }
        // Where the last line is there, words before it spoil the message, so that none are lost.
        let text =
            "-----BEGIN PGP MESSAGE-----\n\naGVsbG8=\n=abcd\nwords\n-----END PGP MESSAGE-----\n";
        let block = next_block(text.as_bytes(), 0).expect("a block");
        assert_ne!(block.bytes, b"hello");
    }

    #[test]
    fn a_first_line_without_a_label_hides_no_block_behind_it() {
        let block = armored("MESSAGE", b"hello");
        for before in [
            "-----BEGIN PGP ...\n",
            "-----BEGIN PGP MESSAGE\n",
            "-----BEGIN PGP ",
        ] {
            let text = before.repeat(50_000) + &block;
            let found: Vec<_> = blocks(text.as_bytes()).collect();
            assert_eq!(found.len(), 1, "{before}");
            assert_eq!(found[0].bytes, b"hello");
        }
    }

    #[test]
    fn a_block_on_one_line_is_read() {
        let bytes = [7; 100];
        let text = armored("MESSAGE", &bytes)
            .replace("\r\n", " ")
            .replace('\n', " ");
        let text = text.replacen("-----  ", "----- Version: 1  ", 1);
        assert!(text.contains("Version"), "{text}");
        assert_eq!(next_block(text.as_bytes(), 0).unwrap().bytes, bytes);
    }

    proptest! {
        #[test]
        fn armor_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = armored("MESSAGE", &bytes);
            prop_assert_eq!(next_block(text.as_bytes(), 0).unwrap().bytes, bytes);
        }

        #[test]
        fn any_text_is_survived(text in "(-----(BEGIN|END) PGP [A-Z ]{0,9}-----|[a-zA-Z=:/ \r\n>]{0,9}){0,20}") {
            for block in blocks(text.as_bytes()) {
                prop_assert!(block.span.end <= text.len());
            }
        }
    }
}
