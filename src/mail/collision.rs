//! Lines in what is put into a multipart that are the multipart's own delimiter: programs give all their multiparts one boundary,
//! and text quotes mail. Readers would end the part there, and show less than was signed. The multipart around it, which is
//! changed anyway, gets another boundary: what is put into it may be signed.

use super::header::MAX_VALUE;
use super::mime::{self, Field, Part};
use super::rendition::{Edits, declare_boundary, named};
use std::ops::Range;

/// The delimiter, `--` and the boundary, that the parts of a multipart are separated by: not always the declared one.
#[must_use]
pub fn delimiter_of<'b>(bytes: &'b [u8], multipart: &Part) -> Option<&'b [u8]> {
    let first = multipart.children.first()?;
    let before = bytes
        .get(multipart.body.start..first.span.start)?
        .strip_suffix(b"\n")?;
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let line = before[start..].trim_ascii_end();
    (line.len() > 2 && line.starts_with(b"--")).then_some(line)
}

/// Whether a multipart declares the boundary that its parts are separated by, as it stands there.
#[must_use]
pub fn is_declared(bytes: &[u8], multipart: &Part) -> bool {
    let declares = |field: &Field, boundary| declared_in(&bytes[field.value.clone()], boundary);
    delimiter_of(bytes, multipart).is_none_or(|delimiter| {
        let mut fields = named(bytes, multipart, "content-type");
        fields.any(|field| declares(field, &delimiter[2..]).is_some())
    })
}

/// Where lines in `range` of `text` are this delimiter, the last one or another: behind the boundary.
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
        (rest.starts_with(b"--") || rest.trim_ascii().is_empty()).then_some(end)
    })
}

/// Gives each multipart of `bytes`, whose root is `part`, another boundary where something that `edits` put into it has a
/// line that is its delimiter.
pub fn set_apart(bytes: &[u8], part: &Part, edits: &mut Edits) {
    if edits.count() == 0 {
        return;
    }
    let mut all = Vec::new();
    collect(bytes, part, edits, &mut all);
    if all.is_empty() {
        return;
    }
    // Nothing that was encrypted before can have it.
    let digest = crate::id::Digest::of(bytes).to_string();
    for (number, multipart) in all.into_iter().enumerate() {
        rename(
            bytes,
            multipart,
            &format!("{}{number}", &digest[..16]),
            edits,
        );
    }
}

/// The multiparts, in `part` and below, that need another boundary.
fn collect<'p>(bytes: &[u8], part: &'p Part, edits: &Edits, found: &mut Vec<&'p Part>) {
    let mut texts = edits.put_into(&part.body).peekable();
    if texts.peek().is_none() {
        return;
    }
    if let Some(delimiter) = delimiter_of(bytes, part).filter(|_| part.is_multipart())
        && texts.any(|text| lines(text, 0..text.len(), delimiter).next().is_some())
    {
        found.push(part);
    }
    let inner = part.children.iter();
    for child in inner.filter(|child| !child.children.is_empty()) {
        collect(bytes, child, edits, found);
    }
}

/// Gives a multipart a boundary that ends in `suffix`, where it is declared and where it stands between the parts.
fn rename(bytes: &[u8], part: &Part, suffix: &str, edits: &mut Edits) {
    let Some(delimiter) = delimiter_of(bytes, part) else {
        return;
    };
    let boundary = &delimiter[2..];
    let declared: Vec<usize> = named(bytes, part, "content-type")
        .filter_map(|field| {
            let at = declared_in(&bytes[field.value.clone()], boundary)?;
            Some(field.value.start + at)
        })
        .collect();
    // Percent encoding, pieces, escapes and comments: the field is written anew, with a name of its own.
    let (behind, new) = if declared.is_empty() {
        let new = format!("apart-{suffix}");
        declare_boundary(bytes, part, &new, edits);
        (0, new)
    } else {
        (boundary.len(), format!("-{suffix}"))
    };
    let starts = part.children.iter().map(|child| child.span.start);
    let ends = part.children.iter().map(|child| child.span.end);
    let gaps = std::iter::once(part.body.start)
        .chain(ends)
        .zip(starts.chain([part.body.end]));
    let between = gaps.flat_map(|(from, to)| lines(bytes, from..to, delimiter));
    let between = between.map(|end| end - boundary.len());
    for at in declared.into_iter().chain(between) {
        let replaced = at + behind..at + boundary.len();
        edits.replace(replaced, new.clone().into_bytes());
    }
}

/// Where a field declares this boundary as it is; a short one may stand elsewhere in it too.
fn declared_in(value: &[u8], boundary: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"boundary";
    let value = &value[..value.len().min(MAX_VALUE)];
    let ends = |byte: &u8| matches!(byte, b'"' | b';' | b'(') || byte.is_ascii_whitespace();
    let lower = value.to_ascii_lowercase();
    memchr::memmem::find_iter(&lower, NAME).find_map(|at| {
        let behind = value[at + NAME.len()..].trim_ascii_start();
        let rest = behind.strip_prefix(b"=")?.trim_ascii_start();
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        let after = rest.strip_prefix(boundary)?;
        after
            .first()
            .is_none_or(ends)
            .then(|| value.len() - rest.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::bounds::Bounds;
    use crate::mail::context::Budget;

    fn parsed(mail: &[u8]) -> Part {
        mime::parse(mail, 0, &Bounds::default(), &Budget::default()).0
    }

    /// The mail with its part `two` replaced.
    fn changed(mail: &str, inner: &str) -> String {
        let bytes = mail.as_bytes();
        let mut edits = Edits::default();
        let at = mail.find("two").unwrap();
        edits.replace(at..at + 3, inner.as_bytes().to_vec());
        set_apart(bytes, &parsed(bytes), &mut edits);
        let new = &crate::id::Digest::of(bytes).to_string()[..16];
        let changed = edits.apply(bytes).unwrap();
        String::from_utf8(changed).unwrap().replace(new, "NEW")
    }

    #[test]
    fn a_multipart_is_set_apart_from_what_is_put_into_it() {
        let mail = "Content-Type: multipart/mixed;\n boundary=\"b\"\n\npre\n--b\n\none\n--b\nContent-Type: text/plain\n\ntwo\n--b--\npost\n";
        let apart = mail
            .replace("\"b\"", "\"b-NEW0\"")
            .replace("--b", "--b-NEW0");
        for inner in ["see\n--b\nbye\n", "--b--", "see\n--b--or not\n"] {
            assert_eq!(changed(mail, inner), apart.replace("two", inner));
        }
        let short = "Content-Type: multipart/mixed; BOUNDARY = pr; protected-headers=v1\n\n--pr\n\ntwo\n--pr--\n";
        let text = changed(short, "--pr--");
        assert!(
            text.contains("BOUNDARY = pr-NEW0; protected-headers=v1\n\n--pr-NEW0\n"),
            "{text}"
        );
        for other in ["see\n--c\n", "--bb\n", "b\n", "> --b\n"] {
            assert_eq!(changed(mail, other), mail.replace("two", other));
        }
    }

    #[test]
    fn a_long_field_that_repeats_a_long_boundary_costs_its_length() {
        let boundary = "boundary=".repeat(2000);
        let field = format!("boundary*=utf-8''x; {}", boundary.repeat(400));
        let started = std::time::Instant::now();
        for _ in 0..20 {
            assert!(declared_in(field.as_bytes(), format!("{boundary}x").as_bytes()).is_none());
        }
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    #[test]
    fn every_multipart_around_is_set_apart_by_a_name_of_its_own() {
        let mail = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: message/rfc822\n\nSubject: s\n\ntwo\n--c--\n--b\n\nlast\n--b--\n";
        let text = changed(mail, "--c\n--b--");
        let apart = mail.replace("=b", "=b-NEW0").replace("--b", "--b-NEW0");
        let apart = apart.replace("=c", "=c-NEW1").replace("--c", "--c-NEW1");
        assert_eq!(text, apart.replace("two", "--c\n--b--"));
        assert_eq!(
            changed(mail, "--b"),
            mail.replace("=b", "=b-NEW0")
                .replace("--b", "--b-NEW0")
                .replace("two", "--b")
        );
        let one_name = mail.replace("=c", "=b").replace("--c", "--b");
        let text = changed(&one_name, "--b--");
        let root = parsed(text.as_bytes());
        assert_eq!(root.children.len(), 2, "{text}");
        assert!(
            text.contains("=b-NEW0\n") && text.contains("=b-NEW1\n"),
            "{text}"
        );
    }

    #[test]
    fn a_boundary_that_is_not_declared_as_it_is_is_declared_anew() {
        for declared in [
            "boundary*=utf-8''b",
            "boundary*0=\"\"; boundary*1=b",
            "boundary=\"\\b\"",
            "boundary=(c)b",
            "boundary=another",
        ] {
            let mail = format!(
                "Content-Type: multipart/related; type=\"a/b\"; {declared}\n\n--b\nContent-Type: text/plain\n\ntwo\n--b--\n"
            );
            let text = changed(&mail, "--b--\nmore");
            let expected = "Content-Type: multipart/related; boundary=\"apart-NEW0\"; type=\"a/b\"\n\n--apart-NEW0\nContent-Type: text/plain\n\n--b--\nmore\n--apart-NEW0--\n";
            assert_eq!(text, expected, "{declared}");
        }
    }

    #[test]
    fn a_long_line_of_delimiters_is_looked_through_once() {
        let started = std::time::Instant::now();
        let text = b"--b".repeat(2_000_000);
        assert_eq!(lines(&text, 1..text.len(), b"--b").next(), None);
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn the_delimiter_stands_before_the_first_part() {
        let mail = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b \r\n\r\none\r\n--b--\r\n";
        let root = parsed(mail);
        assert_eq!(delimiter_of(mail, &root), Some(&b"--b"[..]));
        assert_eq!(delimiter_of(mail, &root.children[0]), None);
    }
}
