//! Line ends: signatures are made over one form and mail arrives in another.

use std::borrow::Cow;

/// Every line end as CRLF; lone CRs stay. Borrows what already is.
#[must_use]
pub fn to_crlf(text: &[u8]) -> Cow<'_, [u8]> {
    if !has_bare_lf(text) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(body) => {
                out.extend_from_slice(body.strip_suffix(b"\r").unwrap_or(body));
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    Cow::Owned(out)
}

/// Every CRLF as LF.
#[must_use]
pub fn to_lf(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.windows(2).any(|pair| pair == b"\r\n") {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(body) => {
                out.extend_from_slice(body);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    Cow::Owned(out)
}

/// CRLF line ends, with spaces and tabs before them taken away.
#[must_use]
pub fn stripped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|b| *b == b'\n') {
        let ended = line.ends_with(b"\n");
        let end = line
            .iter()
            .rposition(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
            .map_or(0, |at| at + 1);
        out.extend_from_slice(&line[..end]);
        if ended {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// Whether some LF has no CR before it.
#[must_use]
pub fn has_bare_lf(text: &[u8]) -> bool {
    /// So many are compared without a look at the result, which the compiler does for several at once.
    const AT_ONCE: usize = 512;
    let Some((_, behind)) = text.split_first() else {
        return false;
    };
    let mut pieces = text.chunks(AT_ONCE).zip(behind.chunks(AT_ONCE));
    text[0] == b'\n'
        || pieces.any(|(before, after)| {
            let pairs = before.iter().zip(after);
            pairs.fold(false, |bare, (before, byte)| {
                bare | ((*byte == b'\n') & (*before != b'\r'))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn line_ends_are_folded_both_ways() {
        assert_eq!(to_crlf(b"a\nb\r\nc").as_ref(), b"a\r\nb\r\nc");
        assert_eq!(to_lf(b"a\nb\r\nc\r").as_ref(), b"a\nb\nc\r");
        assert_eq!(stripped(b"a \t\nb  \r\n\nc "), b"a\r\nb\r\n\r\nc");
    }

    proptest! {
        #[test]
        fn a_bare_line_feed_is_found_wherever_it_is(lines in "(x{0,40}\r{0,2}\n){0,60}x{0,3}", at in 0..1200_usize) {
            let mut text = lines.replace('\n', "\r\n").into_bytes();
            prop_assert!(!has_bare_lf(&text));
            let at = at.min(text.len());
            text.insert(at, b'\n');
            prop_assert_eq!(has_bare_lf(&text), at == 0 || text[at - 1] != b'\r' || text.get(at + 1) == Some(&b'\n'));
        }
    }
}
