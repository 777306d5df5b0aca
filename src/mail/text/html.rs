//! HTML to plain text, in one pass and without building a tree: enough for search, safe on anything.

/// Elements whose text nobody reads.
const SILENT: [&str; 5] = ["script", "style", "head", "template", "noscript"];
/// Elements that do not break a word.
const INLINE: [&str; 16] = [
    "a", "abbr", "b", "big", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub",
    "sup", "u", "wbr",
];

/// The text of `html`, blank-separated where elements break it.
#[must_use]
pub fn to_text(html: &str) -> String {
    let mut out = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        push_text(&rest[..at], &mut out);
        rest = &rest[at..];
        let Some(next) = after_tag(rest, &mut out) else {
            return finish(&out);
        };
        rest = next;
    }
    push_text(rest, &mut out);
    finish(&out)
}

/// Steps over one tag, comment or silent element.
fn after_tag<'a>(rest: &'a str, out: &mut String) -> Option<&'a str> {
    if let Some(comment) = rest.strip_prefix("<!--") {
        return comment.find("-->").map(|end| &comment[end + 3..]);
    }
    let inner = &rest[1..];
    let closing = inner.starts_with('/');
    let name_start = &inner[usize::from(closing)..];
    if !name_start.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!' || c == '?') {
        out.push('<');
        return Some(inner);
    }
    let length = name_start
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(name_start.len());
    let name = name_start[..length.min(12)].to_ascii_lowercase();
    let end = tag_end(inner)?;
    let after = &inner[end..];
    if !INLINE.contains(&name.as_str()) {
        let breaks = matches!(
            name.as_str(),
            "br" | "p" | "div" | "tr" | "li" | "h1" | "h2" | "h3" | "blockquote" | "pre"
        );
        out.push(if breaks { '\n' } else { ' ' });
    }
    if closing || !SILENT.contains(&name.as_str()) {
        return Some(after);
    }
    let close = format!("</{name}");
    let found = find_ignoring_case(after, &close)?;
    let tail = &after[found + close.len()..];
    tail.find('>').map(|end| &tail[end + 1..])
}

/// Behind the `>` that ends the tag, quoted attribute values stepped over.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate().take(64 << 10) {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') if at > 0 && tag.as_bytes()[at - 1] == b'=' => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    tag.find('>').map(|at| at + 1)
}

fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    let needle = needle.as_bytes();
    text.as_bytes()
        .windows(needle.len())
        .position(|window| window.eq_ignore_ascii_case(needle))
}

/// Adds text with its character references resolved.
pub(super) fn push_text(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        match end.and_then(|end| entity(&rest[1..end]).map(|c| (c, end))) {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    const NAMED: [(&str, char); 30] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("auml", 'ä'),
        ("ouml", 'ö'),
        ("uuml", 'ü'),
        ("Auml", 'Ä'),
        ("Ouml", 'Ö'),
        ("Uuml", 'Ü'),
        ("szlig", 'ß'),
        ("euro", '€'),
        ("eacute", 'é'),
        ("egrave", 'è'),
        ("agrave", 'à'),
        ("ccedil", 'ç'),
        ("ndash", '–'),
        ("mdash", '—'),
        ("rsquo", '’'),
        ("lsquo", '‘'),
        ("rdquo", '”'),
        ("ldquo", '“'),
        ("bdquo", '„'),
        ("hellip", '…'),
        ("copy", '©'),
        ("reg", '®'),
        ("shy", '\u{ad}'),
        ("sect", '§'),
    ];
    NAMED
        .iter()
        .find(|(have, _)| *have == name)
        .map(|(_, c)| *c)
}

/// Folds runs of blanks, keeps single line breaks.
fn finish(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let before = out.len();
        for word in line.split_whitespace() {
            if out.len() > before {
                out.push(' ');
            }
            out.push_str(word);
        }
        if out.len() > before {
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_without_markup() {
        let html = "<html><head><title>t</title></head><style>x{}</style><p>Gr&uuml;&#223;e,<br>a<b>b</b> &amp; 3 < 4<!-- no --></p>";
        assert_eq!(to_text(html), "Grüße,\nab & 3 < 4");
        assert_eq!(to_text("<a href=\"x>y\">z</a>"), "z");
    }

    proptest! {
        #[test]
        fn never_panics(html in "[<>a-z/!&;#\"'= é-]{0,200}") {
            let _ = to_text(&html);
        }
    }
}
