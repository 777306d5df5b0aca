//! Lines in what is put into a multipart that are the multipart's own delimiter: programs give all their multiparts one boundary,
//! and text quotes mail. Readers would end the part there. The outer multipart, which is changed anyway, gets another
//! boundary: what is put into it may be signed.

use super::bounds::Bounds;
use super::context::Budget;
use super::mime::{self, Part};
use super::rendition::Edits;
use std::ops::Range;

/// The delimiter, `--` and the boundary, of the multipart that `part` of `bytes` lies in.
pub fn delimiter_of<'b>(bytes: &'b [u8], part: &Part) -> Option<&'b [u8]> {
    Some(&bytes[delimiter_before(bytes, part)?])
}

fn delimiter_before(bytes: &[u8], part: &Part) -> Option<Range<usize>> {
    let before = bytes.get(..part.span.start)?.strip_suffix(b"\n")?;
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let line = before[start..].trim_ascii_end();
    (line.len() > 2 && line.starts_with(b"--")).then(|| start..start + line.len())
}

/// Whether a line of `text` is this delimiter, or its last one.
pub fn is_in(text: &[u8], delimiter: &[u8]) -> bool {
    lines(text, 0..text.len(), delimiter).next().is_some()
}

/// Where lines in `range` of `text` are this delimiter: behind the boundary.
fn lines<'t>(
    text: &'t [u8],
    range: Range<usize>,
    delimiter: &'t [u8],
) -> impl Iterator<Item = usize> + 't {
    let within = text.get(range.clone()).unwrap_or_default();
    memchr::memmem::find_iter(within, delimiter).filter_map(move |at| {
        let start = range.start + at;
        if start > 0 && text[start - 1] != b'\n' {
            return None;
        }
        let end = start + delimiter.len();
        let rest = &text[end..mime::line_at(text, end).0];
        let rest = rest.strip_prefix(b"--").unwrap_or(rest);
        rest.trim_ascii().is_empty().then_some(end)
    })
}

/// Gives the multipart that `part` of `bytes` lies in another boundary where `inner`, which is to be put in the part's
/// place, has its delimiter too.
pub fn set_apart(bytes: &[u8], part: &Part, inner: &[u8], edits: &mut Edits) {
    let Some(line) = delimiter_before(bytes, part) else {
        return;
    };
    let delimiter = &bytes[line.clone()];
    if !is_in(inner, delimiter) || edits.inserts_at(line.end) {
        return;
    }
    let (root, _) = mime::parse(bytes, 0, &Bounds::default(), &Budget::default());
    if let Some(outer) = around(&root, part.span.start) {
        // Nothing that was encrypted before can have it.
        let digest = crate::id::Digest::of(bytes).to_string();
        rename(bytes, outer, delimiter, &digest[..16], edits);
    }
}

/// The multipart whose part begins at `start`.
fn around(part: &Part, start: usize) -> Option<&Part> {
    let mut children = part.children.iter();
    if part.is_multipart() && children.any(|child| child.span.start == start) {
        return Some(part);
    }
    part.children
        .iter()
        .filter(|child| child.span.contains(&start))
        .find_map(|child| around(child, start))
}

/// Puts `suffix` behind the boundary of a multipart, where it is declared and where it stands between the parts.
fn rename(bytes: &[u8], part: &Part, delimiter: &[u8], suffix: &str, edits: &mut Edits) {
    let fields = part
        .fields
        .iter()
        .filter(|field| bytes[field.name.clone()].eq_ignore_ascii_case(b"content-type"));
    let declared: Vec<usize> = fields
        .filter_map(|field| {
            let at = declared_in(&bytes[field.value.clone()], &delimiter[2..])?;
            Some(field.value.start + at + delimiter.len() - 2)
        })
        .collect();
    if declared.is_empty() {
        return;
    }
    let starts = part.children.iter().map(|child| child.span.start);
    let ends = part.children.iter().map(|child| child.span.end);
    let gaps = std::iter::once(part.body.start)
        .chain(ends)
        .zip(starts.chain([part.body.end]));
    let between = gaps.flat_map(|(from, to)| lines(bytes, from..to, delimiter));
    for end in declared.into_iter().chain(between) {
        edits.replace(end..end, format!("-{suffix}").into_bytes());
    }
}

/// Where a field declares this boundary; a short one may stand elsewhere in it too.
fn declared_in(value: &[u8], boundary: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"boundary";
    let lower = value.to_ascii_lowercase();
    memchr::memmem::find_iter(&lower, NAME).find_map(|at| {
        let behind = value[at + NAME.len()..].trim_ascii_start();
        let rest = behind.strip_prefix(b"=")?.trim_ascii_start();
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        rest.starts_with(boundary).then(|| value.len() - rest.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(mail: &str, child: usize, inner: &str) -> String {
        let bytes = mail.as_bytes();
        let (root, _) = mime::parse(bytes, 0, &Bounds::default(), &Budget::default());
        let mut edits = Edits::default();
        for _ in 0..2 {
            set_apart(bytes, &root.children[child], inner.as_bytes(), &mut edits);
        }
        let new = &crate::id::Digest::of(bytes).to_string()[..16];
        let changed = edits.apply(bytes).unwrap_or_else(|| bytes.to_vec());
        String::from_utf8(changed).unwrap().replace(new, "NEW")
    }

    #[test]
    fn a_multipart_is_set_apart_from_what_is_put_into_it() {
        let mail = "Content-Type: multipart/mixed;\n boundary=\"b\"\n\npre\n--b\n\none\n--b\nContent-Type: text/plain\n\ntwo\n--b--\npost\n";
        let text = changed(mail, 1, "see\n--b\nbye\n");
        assert_eq!(
            text,
            mail.replace("\"b\"", "\"b-NEW\"").replace("--b", "--b-NEW")
        );

        let short = "Content-Type: multipart/mixed; BOUNDARY = pr; protected-headers=v1\n\n--pr\n\none\n--pr--\n";
        let text = changed(short, 0, "--pr--");
        assert!(
            text.contains("BOUNDARY = pr-NEW; protected-headers=v1\n\n--pr-NEW\n"),
            "{text}"
        );
        for other in ["see\n--c\n", "--bb\n", "b\n", "> --b\n"] {
            assert_eq!(changed(mail, 0, other), mail);
        }
    }

    #[test]
    fn a_long_line_of_delimiters_is_looked_through_once() {
        let started = std::time::Instant::now();
        assert!(!is_in(&b"--b".repeat(2_000_000)[1..], b"--b"));
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn the_delimiter_stands_before_the_part() {
        let mail = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b \r\n\r\none\r\n--b--\r\n";
        let (root, _) = mime::parse(mail, 0, &Bounds::default(), &Budget::default());
        assert_eq!(delimiter_of(mail, &root.children[0]), Some(&b"--b"[..]));
        assert_eq!(delimiter_of(mail, &root), None);
    }
}
