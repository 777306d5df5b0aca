//! Lines in what is put into a multipart that are the multipart's own delimiter: programs give all their multiparts one boundary,
//! and text quotes mail. Readers would end the part there.

use super::bounds::Bounds;
use super::context::Budget;
use super::mime::{self, Part};
use super::rendition::{self, Edits};
use super::transfer;
use std::ops::Range;

/// The delimiter, `--` and the boundary, of the multipart that `part` of `bytes` lies in.
pub fn delimiter_of<'b>(bytes: &'b [u8], part: &Part) -> Option<&'b [u8]> {
    let before = bytes.get(..part.span.start)?.strip_suffix(b"\n")?;
    let line = before
        .rsplit(|byte| *byte == b'\n')
        .next()?
        .trim_ascii_end();
    (line.len() > 2 && line.starts_with(b"--")).then_some(line)
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
        let end = start + delimiter.len();
        let rest = &text[end..mime::line_at(text, end).0];
        let rest = rest.strip_prefix(b"--").unwrap_or(rest);
        let begins = start == 0 || text[start - 1] == b'\n';
        (begins && rest.trim_ascii().is_empty()).then_some(end)
    })
}

/// Boundaries tried in place of one that is taken.
const MOST_TRIES: u32 = 10;

/// The entity with another boundary where it has this delimiter too, and in base64 where it only says it.
pub fn apart(entity: Vec<u8>, delimiter: &[u8]) -> Vec<u8> {
    if !is_in(&entity, delimiter) {
        return entity;
    }
    let suffix = (1..=MOST_TRIES)
        .map(|number| format!("-{number}").into_bytes())
        .find(|suffix| !is_in(&entity, &[delimiter, suffix].concat()));
    let Some(suffix) = suffix else {
        return entity;
    };
    let (root, _) = mime::parse(&entity, 0, &Bounds::default(), &Budget::default());
    let mut edits = Edits::default();
    set_apart(&entity, &root, delimiter, &suffix, &mut edits);
    edits.apply(&entity).unwrap_or(entity)
}

fn set_apart(bytes: &[u8], part: &Part, delimiter: &[u8], suffix: &[u8], edits: &mut Edits) {
    if part.children.is_empty() {
        if is_in(&bytes[part.body.clone()], delimiter) && !part.is_multipart() {
            let content = transfer::decode(&bytes[part.body.clone()], &part.encoding(bytes));
            rendition::replace_attachment(bytes, part, &content, edits);
        }
        return;
    }
    let boundary = &delimiter[2..];
    let declared = part.content_type.parameter("boundary").unwrap_or_default();
    if part.is_multipart() && declared.as_bytes() == boundary {
        rename(bytes, part, delimiter, suffix, edits);
    }
    for child in &part.children {
        set_apart(bytes, child, delimiter, suffix, edits);
    }
}

/// Puts `suffix` behind the boundary of a multipart, where it is declared and where it stands between the parts.
fn rename(bytes: &[u8], part: &Part, delimiter: &[u8], suffix: &[u8], edits: &mut Edits) {
    let fields = part
        .fields
        .iter()
        .filter(|field| bytes[field.name.clone()].eq_ignore_ascii_case(b"content-type"));
    for field in fields {
        let value = &bytes[field.value.clone()];
        if let Some(at) = declared_in(value, &delimiter[2..]) {
            let end = field.value.start + at + delimiter.len() - 2;
            edits.replace(end..end, suffix.to_vec());
        }
    }
    let starts = part.children.iter().map(|child| child.span.start);
    let ends = part.children.iter().map(|child| child.span.end);
    let gaps = std::iter::once(part.body.start)
        .chain(ends)
        .zip(starts.chain([part.body.end]));
    for (from, to) in gaps {
        for end in lines(bytes, from..to, delimiter) {
            edits.replace(end..end, suffix.to_vec());
        }
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

    #[test]
    fn an_entity_is_set_apart_from_what_it_is_put_into() {
        let nested = "Content-Type: multipart/mixed;\n boundary=\"b\"\n\npre\n--b\n\none\n--b\nContent-Type: text/plain\n\ntwo\n--b--\npost\n";
        let changed = apart(nested.as_bytes().to_vec(), b"--b");
        let changed = String::from_utf8(changed).unwrap();
        assert!(
            changed.contains("boundary=\"b-1\"\n\npre\n--b-1\n\none\n--b-1\nContent-Type"),
            "{changed}"
        );
        assert!(changed.ends_with("two\n--b-1--\npost\n"), "{changed}");

        let short = "Content-Type: multipart/mixed; BOUNDARY = pr; protected-headers=v1\n\n--pr\n\none\n--pr--\n";
        let changed = apart(short.as_bytes().to_vec(), b"--pr");
        let changed = String::from_utf8(changed).unwrap();
        assert!(
            changed.contains("BOUNDARY = pr-1; protected-headers=v1\n\n--pr-1\n"),
            "{changed}"
        );

        let said = b"Content-Type: text/plain; charset=utf-8\n\nsee\n--b\nbye\n".to_vec();
        let changed = apart(said.clone(), b"--b");
        assert!(!is_in(&changed, b"--b"));
        let (root, _) = mime::parse(&changed, 0, &Bounds::default(), &Budget::default());
        let content = transfer::decode(&changed[root.body.clone()], &root.encoding(&changed));
        assert_eq!(&*content, b"see\n--b\nbye\n");

        for other in [&b"--c"[..], b"--bb", b"b"] {
            assert_eq!(apart(said.clone(), other), said);
        }
    }

    #[test]
    fn the_delimiter_stands_before_the_part() {
        let mail = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b \r\n\r\none\r\n--b--\r\n";
        let (root, _) = mime::parse(mail, 0, &Bounds::default(), &Budget::default());
        assert_eq!(delimiter_of(mail, &root.children[0]), Some(&b"--b"[..]));
        assert_eq!(delimiter_of(mail, &root), None);
    }
}
