//! Mailbox files: messages one behind another, each begun by a `From ` line.

use super::mime::line_at;
use std::borrow::Cow;

/// The messages of an mbox file, without their `From ` lines and with `>From ` quoting undone (mboxrd). A file
/// that does not begin with a `From ` line is one message, as it is.
#[must_use]
pub fn messages(file: &[u8]) -> Vec<Cow<'_, [u8]>> {
    if !is_mbox(file) {
        return vec![Cow::Borrowed(file)];
    }
    let mut found = Vec::new();
    let mut start = line_at(file, 0).1;
    let mut at = start;
    let mut after_blank = false;
    while at < file.len() {
        let (end, next) = line_at(file, at);
        if after_blank && is_separator(file, at) {
            found.push(unquoted(without_last_blank(&file[start..at])));
            start = next;
        }
        after_blank = end == at;
        at = next;
    }
    found.push(unquoted(&file[start.min(file.len())..]));
    found
}

/// True if the file begins with a `From ` line and a header field after it.
#[must_use]
pub fn is_mbox(file: &[u8]) -> bool {
    is_separator(file, 0)
}

fn is_separator(file: &[u8], at: usize) -> bool {
    if !file[at..].starts_with(b"From ") {
        return false;
    }
    let (_, next) = line_at(file, at);
    let (end, _) = line_at(file, next.min(file.len()));
    let line = &file[next.min(end)..end];
    let name = line
        .iter()
        .take_while(|byte| (33..=126).contains(*byte) && **byte != b':')
        .count();
    name > 0 && line.get(name) == Some(&b':')
        || line.starts_with(b">From ")
        || line.starts_with(b"From:")
}

/// The blank line before a `From ` line belongs to the separator.
fn without_last_blank(message: &[u8]) -> &[u8] {
    let blank = [&b"\r\n\r\n"[..], b"\n\n"]
        .into_iter()
        .find(|blank| message.ends_with(blank));
    blank.map_or(message, |blank| &message[..message.len() - blank.len() / 2])
}

fn unquoted(message: &[u8]) -> Cow<'_, [u8]> {
    let is_quoted = |line: &[u8]| {
        let marks = line.iter().take_while(|byte| **byte == b'>').count();
        marks > 0 && line[marks..].starts_with(b"From ")
    };
    if !message.split(|byte| *byte == b'\n').any(is_quoted) {
        return Cow::Borrowed(message);
    }
    let mut out = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(if is_quoted(line) { &line[1..] } else { line });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_split_and_unquoted() {
        let file = b"From a Mon\nA: 1\n\nx\n>From y\n>>From z\n\nFrom here on it is text\n\nFrom b Tue\nB: 2\n\ny\n";
        let found = messages(file);
        assert_eq!(found.len(), 2);
        assert_eq!(
            &*found[0],
            b"A: 1\n\nx\nFrom y\n>From z\n\nFrom here on it is text\n"
        );
        assert_eq!(&*found[1], b"B: 2\n\ny\n");
        assert_eq!(messages(b"A: 1\n\nFrom x\n").len(), 1);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(From |>|A: b|\r?\n|x){0,40}") {
            let _ = messages(text.as_bytes());
        }
    }
}
