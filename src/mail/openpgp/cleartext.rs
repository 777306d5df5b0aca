//! The cleartext signature framework (RFC 9580 §7): text that can be read without OpenPGP, its signature below.

use super::armor::{self, SIGNED_MESSAGE};
use super::technical::{is_plain_signature, is_technical};
use std::ops::Range;

const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";

/// A clear-signed text taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearSigned {
    /// The text as a reader sees it, dash escapes undone, line ends as they came.
    pub text: Vec<u8>,
    /// The bytes a canonical signature covers: CRLF between lines, white space at line ends and the last line end gone.
    pub signed: Vec<u8>,
    /// The same with white space at line ends kept, as some senders sign.
    pub signed_with_blanks: Vec<u8>,
    /// The packets of the signature block; empty if there is none.
    pub signature: Vec<u8>,
    /// `NotDashEscaped` was said: GnuPG then escapes nothing and signs the text as it is, its last line end included.
    pub verbatim: bool,
    /// Where all of it lies in the given text.
    pub span: Range<usize>,
}

/// Takes the first clear-signed text at or after byte `from` apart.
#[must_use]
pub fn parse(text: &[u8], from: usize) -> Option<ClearSigned> {
    let begin = armor::blocks(text.get(from..)?).find(|block| block.label == SIGNED_MESSAGE)?;
    let start = from + begin.span.start;
    let body = skip_headers(text, from + begin.span.end);
    let mut clear = ClearSigned {
        text: Vec::new(),
        signed: Vec::new(),
        signed_with_blanks: Vec::new(),
        signature: Vec::new(),
        verbatim: body.verbatim,
        span: start..text.len(),
    };
    let mut at = body.start;
    while at < text.len() {
        let (line, next) = armor::line(text, at);
        if line.starts_with(SIGNATURE) {
            let block = armor::next_block(text, at)?;
            clear.signature = block.bytes;
            clear.span.end = block.span.end;
            break;
        }
        let escaped = !body.verbatim && line.starts_with(b"- ");
        let skip = if escaped { 2 } else { 0 };
        clear.text.extend_from_slice(&text[at + skip..next]);
        clear.push(&line[skip..], at == body.start);
        at = next;
    }
    Some(clear)
}

impl ClearSigned {
    fn push(&mut self, line: &[u8], first: bool) {
        let end = line
            .iter()
            .rposition(|b| !matches!(b, b' ' | b'\t' | b'\r'))
            .map_or(0, |at| at + 1);
        if !first {
            self.signed.extend_from_slice(b"\r\n");
            self.signed_with_blanks.extend_from_slice(b"\r\n");
        }
        self.signed.extend_from_slice(&line[..end]);
        self.signed_with_blanks.extend_from_slice(line);
    }
}

struct Body {
    start: usize,
    /// `NotDashEscaped` was said.
    verbatim: bool,
    /// A header line is more than technical.
    tells: bool,
}

/// Whether a reader is shown more than the text that is signed: behind the dashes of the first line, in header lines, in the
/// armor of the signature.
#[must_use]
pub fn shows_more(text: &[u8]) -> bool {
    let Some(begin) = armor::blocks(text).find(|block| block.label == SIGNED_MESSAGE) else {
        return false;
    };
    let first = armor::line(text, begin.span.start).0.trim_ascii_end();
    let signature = signature_line(text, begin.span.end).map(|at| &text[at..]);
    first != b"-----BEGIN PGP SIGNED MESSAGE-----"
        || skip_headers(text, begin.span.end).tells
        || signature.is_some_and(|armor| !is_plain_signature(armor))
}

/// Where the first line of the signature begins.
fn signature_line(text: &[u8], from: usize) -> Option<usize> {
    let found = memchr::memmem::find_iter(&text[from..], SIGNATURE);
    let mut lines = found.map(|at| from + at);
    lines.find(|&at| at == 0 || text[at - 1] == b'\n')
}

/// Armor headers up to the blank line. Where a client lost that line, the text starts at the first line that is no header.
fn skip_headers(text: &[u8], mut at: usize) -> Body {
    let mut verbatim = false;
    let mut tells = false;
    let mut number = 0;
    while at < text.len() {
        let (line, next) = armor::line(text, at);
        if is_blank(line) {
            at = next;
            break;
        }
        let Some((name, value)) = header(line) else {
            break;
        };
        verbatim |= name == "NotDashEscaped:";
        number += 1;
        tells |= number > MOST_HEADERS || !is_technical(name, value);
        at = next;
    }
    Body {
        start: at,
        verbatim,
        tells,
    }
}

/// Whether nothing is to be seen in a line: clients that make HTML of text put no-break spaces into empty lines.
fn is_blank(line: &[u8]) -> bool {
    str::from_utf8(line)
        .map_or_else(|_| line.trim_ascii(), |text| text.trim().as_bytes())
        .is_empty()
}

/// Most header lines that no reader takes for text.
const MOST_HEADERS: usize = 8;

/// Name and value of a header line.
fn header(line: &[u8]) -> Option<(&'static str, &[u8])> {
    let names = [
        "Hash:",
        "Charset:",
        "Comment:",
        "Version:",
        "NotDashEscaped:",
        "SaltedHash:",
    ];
    names.into_iter().find_map(|name| {
        let value = line.strip_prefix(name.as_bytes())?;
        Some((name, value.trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dash_escapes_and_line_ends_are_undone() {
        let text = b"hello\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\na  \n- -b\n\n-----BEGIN PGP SIGNATURE-----\n\nwsBz\n-----END PGP SIGNATURE-----\nfooter\n";
        let clear = parse(text, 0).expect("clear-signed");
        assert_eq!(clear.text, b"a  \n-b\n\n");
        assert_eq!(clear.signed, b"a\r\n-b\r\n");
        assert_eq!(clear.signature, b"\xc2\xc0\x73");
        assert!(text[clear.span.end..].starts_with(b"footer"));
    }

    #[test]
    fn a_line_of_no_break_spaces_ends_the_headers() {
        let text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\u{a0}\t\u{2003}\nhello\n";
        let clear = parse(text.as_bytes(), 0).expect("clear-signed");
        assert_eq!(clear.text, b"hello\n");
    }

    #[test]
    fn header_lines_that_say_something_are_told_from_technical_ones() {
        let tells = |headers: &str| {
            let text = format!("-----BEGIN PGP SIGNED MESSAGE-----\n{headers}\n\nhello\n");
            shows_more(text.as_bytes())
        };
        for technical in [
            "",
            "Hash: SHA256",
            "Hash: SHA1, sha512\nHash: MD5",
            "Charset: utf-8\nVersion: GnuPG v1.4.11 (GNU/Linux)",
            "NotDashEscaped: You need GnuPG to verify this message",
        ] {
            assert!(!tells(technical), "{technical}");
        }
        for telling in [
            "Comment: You are fired",
            "Hash: SHA256\nHash: You are fired",
            "Hash: SHA256, fired",
            "Charset: You are fired",
            "Charset: You-are-fired",
            "SaltedHash: SHA512:YouAreFired",
            "Version: You are 1 of those who are fired",
            "Version: You are fired",
            &"Hash: SHA256\n".repeat(9),
        ] {
            assert!(tells(telling.trim_end()), "{telling}");
        }
        let behind = b"-----BEGIN PGP SIGNED MESSAGE----- You are fired -----\n\nhello\n";
        assert!(shows_more(behind));
    }
}
