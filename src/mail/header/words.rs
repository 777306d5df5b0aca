//! Encoded words (RFC 2047), as senders write them.

use super::{MAX_VALUE, has_words, lossy, unfolded};
use crate::mail::{charset, transfer};

/// Unfolds and decodes encoded words (RFC 2047). Bytes that are not UTF-8 are read as Windows-1252.
#[must_use]
pub fn decode_words(value: &[u8]) -> String {
    let value = unfolded(&value[..value.len().min(MAX_VALUE)]);
    let text = lossy(&value);
    if !has_words(&text) {
        return text.trim().to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut pending = Pending::default();
    let mut rest: &str = &text;
    // Behind the last end of a word there is none: without this, each beginning would be searched to the end for one.
    let end = text.rfind("?=").map_or(0, |at| at + 2);
    let behind = text.len() - end;
    while let Some(start) = rest.find("=?").filter(|_| rest.len() > behind) {
        let (before, tail) = rest.split_at(start);
        let between_words = before.chars().all(char::is_whitespace) && pending.is_open();
        match encoded_word(tail) {
            Some((charset, bytes, length)) => {
                if !between_words {
                    pending.flush(&mut out);
                    out.push_str(before);
                }
                pending.add(charset, &bytes, &mut out);
                rest = &tail[length..];
            }
            None => {
                pending.flush(&mut out);
                out.push_str(before);
                out.push_str("=?");
                rest = &tail[2..];
            }
        }
    }
    pending.flush(&mut out);
    out.push_str(rest);
    out.trim().to_owned()
}

/// Bytes of neighbouring encoded words in one charset, decoded together: senders split characters between words.
#[derive(Default)]
struct Pending {
    charset: String,
    bytes: Vec<u8>,
}

impl Pending {
    fn is_open(&self) -> bool {
        !self.charset.is_empty()
    }

    fn add(&mut self, charset: &str, bytes: &[u8], out: &mut String) {
        if !self.charset.eq_ignore_ascii_case(charset)
            || self.charset.to_ascii_lowercase().starts_with("iso-2022")
        {
            self.flush(out);
            charset.clone_into(&mut self.charset);
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn flush(&mut self, out: &mut String) {
        if self.is_open() {
            out.push_str(&charset::decode(&self.bytes, Some(&self.charset)));
            self.bytes.clear();
            self.charset.clear();
        }
    }
}

/// Takes `=?charset?B|Q?text?=` at the start of `text`: charset, decoded bytes, length.
fn encoded_word(text: &str) -> Option<(&str, Vec<u8>, usize)> {
    let inner = text.strip_prefix("=?")?;
    let (charset, rest) = inner.split_once('?')?;
    let (how, rest) = rest.split_once('?')?;
    if !matches!(how, "B" | "b" | "Q" | "q") {
        return None;
    }
    if charset.is_empty() || charset.len() > 60 || charset.contains(char::is_whitespace) {
        return None;
    }
    let end = rest.find("?=")?;
    let payload = &rest.as_bytes()[..end];
    let bytes = if how.eq_ignore_ascii_case("b") {
        transfer::base64(payload)
    } else {
        let spaced: Vec<u8> = payload
            .iter()
            .map(|&byte| if byte == b'_' { b' ' } else { byte })
            .collect();
        transfer::quoted_printable_word(&spaced)
    };
    let length = text.len() - (rest.len() - end) + 2;
    let charset = charset.split('*').next().unwrap_or(charset);
    Some((charset, bytes, length))
}
