//! The text behind DATA, with its dots unstuffed (RFC 5321 §4.5.2).
//!
//! Only `<CRLF>.<CRLF>` ends it, and only `<CRLF>` begins a line. Bare CR and bare LF stay as they
//! are: taking them for line ends is what makes SMTP smuggling possible (CVE-2023-51764 to -51766).
//! That is why this is not left to `smtp-proto`, which ends at `<CRLF>.<CR><CR><LF>` too and does not
//! see the end of an empty mail.

/// Decodes a text that arrives in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataDecoder(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    /// A dot began the line.
    Dot,
    /// A dot and CR began the line.
    DotCr,
    Text,
    /// The last byte of the text was CR.
    Cr,
}

impl Default for DataDecoder {
    fn default() -> Self {
        Self(State::LineStart)
    }
}

impl DataDecoder {
    /// Appends the decoded bytes of `input` to `out`. `Some(taken)` where the text ended after
    /// `taken` bytes of `input`; the rest is the next command.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            self.0 = match (self.0, byte) {
                (State::LineStart, b'.') => {
                    at += 1;
                    State::Dot
                }
                (State::Dot, b'\r') => {
                    at += 1;
                    State::DotCr
                }
                (State::DotCr, b'\n') => {
                    self.0 = State::LineStart;
                    return Some(at + 1);
                }
                (State::DotCr, _) => {
                    out.push(b'\r');
                    State::Cr
                }
                (State::Cr, b'\n') => {
                    out.push(byte);
                    at += 1;
                    State::LineStart
                }
                (State::LineStart | State::Dot | State::Text | State::Cr, _) => {
                    let rest = &input[at..];
                    let line = rest
                        .iter()
                        .position(|&byte| byte == b'\r')
                        .map_or(rest.len(), |cr| cr + 1);
                    out.extend_from_slice(&rest[..line]);
                    at += line;
                    if out.last() == Some(&b'\r') {
                        State::Cr
                    } else {
                        State::Text
                    }
                }
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(input: &[u8]) -> (Vec<u8>, Option<usize>) {
        let mut out = Vec::new();
        let end = DataDecoder::default().decode(input, &mut out);
        (out, end)
    }

    fn stuffed(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut line_start = true;
        for (at, &byte) in text.iter().enumerate() {
            if line_start && byte == b'.' {
                out.push(b'.');
            }
            out.push(byte);
            line_start = byte == b'\n' && at > 0 && text[at - 1] == b'\r';
        }
        out
    }

    #[test]
    fn only_crlf_dot_crlf_ends_it() {
        assert_eq!(whole(b".\r\nQUIT"), (vec![], Some(3)));
        assert_eq!(whole(b"a\r\n.\r\n"), (b"a\r\n".to_vec(), Some(6)));
        for smuggled in [
            &b"a\n.\n"[..],
            b"a\n.\r\n",
            b"a\r.\r\n",
            b"a\r.\r",
            b"a\n.\r",
            b"a\r\n\x00.\r\n",
        ] {
            assert_eq!(whole(smuggled), (smuggled.to_vec(), None));
        }
        assert_eq!(whole(b"a\r\n.\n"), (b"a\r\n\n".to_vec(), None));
        assert_eq!(whole(b"a\r\n.\r\r\n"), (b"a\r\n\r\r\n".to_vec(), None));
    }

    proptest! {
        #[test]
        fn any_text_that_ends_with_a_line_comes_back_however_it_is_cut(
            text in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..60),
            piece in 1usize..9,
        ) {
            let mut text = text;
            text.extend(b"\r\n");
            let mut sent = stuffed(&text);
            sent.extend(b".\r\nQUIT\r\n");
            let (mut decoder, mut out, mut taken) = (DataDecoder::default(), Vec::new(), 0);
            let mut end = None;
            for piece in sent.chunks(piece) {
                if let Some(in_piece) = decoder.decode(piece, &mut out) {
                    end = Some(taken + in_piece);
                    break;
                }
                taken += piece.len();
            }
            prop_assert_eq!(out, text);
            prop_assert_eq!(end, Some(sent.len() - b"QUIT\r\n".len()));
        }
    }
}
