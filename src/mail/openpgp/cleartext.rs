//! The cleartext signature framework (RFC 9580 §7): text that can be read without OpenPGP, its signature below.

use super::armor::{self, SIGNED_MESSAGE};
use std::ops::Range;

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
        span: start..text.len(),
    };
    let mut at = body.start;
    while at < text.len() {
        let (line, next) = armor::line(text, at);
        if line.starts_with(b"-----BEGIN PGP SIGNATURE-----") {
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
}

/// Armor headers up to the blank line. Where a client lost that line, the text starts at the first line that is no header.
fn skip_headers(text: &[u8], mut at: usize) -> Body {
    let mut verbatim = false;
    while at < text.len() {
        let (line, next) = armor::line(text, at);
        if line.trim_ascii().is_empty() {
            return Body {
                start: next,
                verbatim,
            };
        }
        let known = [
            &b"Hash:"[..],
            b"Charset:",
            b"Comment:",
            b"Version:",
            b"NotDashEscaped:",
            b"SaltedHash:",
        ];
        if !known.iter().any(|name| line.starts_with(name)) {
            break;
        }
        verbatim |= line.starts_with(b"NotDashEscaped:");
        at = next;
    }
    Body {
        start: at,
        verbatim,
    }
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
}
