//! HTML to plain text, in one pass and without building a tree: enough for search, safe on anything.

use super::entities;

/// Bytes of one tag that are looked at for the quotes of its attributes.
const LONGEST_TAG: usize = 64 << 10;
/// Elements that do not break a word.
const INLINE: [&str; 16] = [
    "a", "abbr", "b", "big", "em", "font", "i", "mark", "s", "small", "span", "strong", "sub",
    "sup", "u", "wbr",
];

/// The text of `html`, blank-separated where elements break it.
#[must_use]
pub fn to_text(html: &str) -> String {
    finish(&Text::of(html, None))
}

/// The lines of `html` as a reader sees them, empty ones too. `raw` takes the document's own line breaks for such, as styles
/// may want it.
#[must_use]
pub fn to_lines(html: &str, raw: bool) -> String {
    Text::of(html, Some(Lines { raw, pre: 0 })).replace('\u{a0}', " ")
}

/// How lines are told, where they matter.
struct Lines {
    /// The document's own line breaks are the reader's.
    raw: bool,
    /// Elements around in which they are.
    pre: u32,
}

impl Lines {
    /// What a tag is in the text that ends with `out`.
    fn tag(&mut self, name: &str, closing: bool, out: &mut String) {
        if name == "pre" && closing {
            self.pre = self.pre.saturating_sub(1);
        } else if name == "pre" {
            self.pre = self.pre.saturating_add(1);
        }
        let begins_line = !out.is_empty() && !out.ends_with('\n');
        if name == "br" || is_block(name) && begins_line {
            out.push('\n');
        }
    }

    fn push(&self, text: &str, out: &mut String) {
        if self.raw || self.pre > 0 {
            return push_text(text, out);
        }
        for piece in text.split_inclusive(|c: char| c.is_ascii_whitespace()) {
            let word = piece.trim_end_matches(|c: char| c.is_ascii_whitespace());
            push_text(word, out);
            if word.len() < piece.len() && !out.is_empty() && !out.ends_with(['\n', ' ']) {
                out.push(' ');
            }
        }
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div" | "tr" | "li" | "h1" | "h2" | "h3" | "blockquote" | "pre"
    )
}

struct Text {
    out: String,
    lines: Option<Lines>,
    /// Ends that were looked for once and are not in the rest of the document.
    unended: Vec<&'static str>,
}

impl Text {
    /// The text of a document, `finish`ed where `lines` do not matter.
    fn of(html: &str, lines: Option<Lines>) -> String {
        let mut text = Self {
            out: String::with_capacity(html.len() / 2),
            lines,
            unended: Vec::new(),
        };
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            text.push(&rest[..at]);
            rest = text.after_tag(&rest[at..]);
        }
        text.push(rest);
        text.out
    }

    fn push(&mut self, text: &str) {
        match &self.lines {
            Some(lines) => lines.push(text, &mut self.out),
            None => push_text(text, &mut self.out),
        }
    }

    /// Steps over one tag, comment or silent element. What has no end is not stepped over: of a document that was cut
    /// off or is broken, rather too much is kept than too little.
    fn after_tag<'a>(&mut self, rest: &'a str) -> &'a str {
        if let Some(comment) = rest.strip_prefix("<!--") {
            let empty = [">", "->"].iter().find_map(|end| comment.strip_prefix(end));
            return empty.unwrap_or_else(|| self.behind(comment, "-->").unwrap_or(comment));
        }
        let inner = &rest[1..];
        let closing = inner.starts_with('/');
        let name_start = &inner[usize::from(closing)..];
        let is_tag = name_start.starts_with(|c: char| c.is_ascii_alphabetic() || "!?".contains(c));
        let Some(end) = tag_end(inner).filter(|_| is_tag) else {
            self.out.push('<');
            return inner;
        };
        let length = name_start
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(name_start.len());
        let name = name_start[..length.min(12)].to_ascii_lowercase();
        let after = &inner[end..];
        if let Some(lines) = &mut self.lines {
            lines.tag(&name, closing, &mut self.out);
        } else if !INLINE.contains(&name.as_str()) {
            let breaks = name == "br" || is_block(&name);
            self.out.push(if breaks { '\n' } else { ' ' });
        }
        let close = match name.as_str() {
            _ if closing => return after,
            "script" => "</script",
            "style" => "</style",
            "title" => "</title",
            "template" => "</template",
            _ => return after,
        };
        let content_end = self.behind(after, close);
        content_end
            .and_then(|tail| tail.find('>').map(|end| &tail[end + 1..]))
            .unwrap_or(after)
    }

    /// What follows the first `end` (any case) in `text`.
    fn behind<'a>(&mut self, text: &'a str, end: &'static str) -> Option<&'a str> {
        if self.unended.contains(&end) {
            return None;
        }
        let found = find_ignoring_case(text, end);
        if found.is_none() {
            self.unended.push(end);
        }
        found.map(|at| &text[at + end.len()..])
    }
}

/// Behind the `>` that ends the tag, quoted attribute values stepped over; `None` if another tag begins before.
fn tag_end(tag: &str) -> Option<usize> {
    let bytes = tag.as_bytes();
    let mut quote = None;
    for (at, &byte) in bytes.iter().enumerate().take(LONGEST_TAG) {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'<') => return None,
            (None, b'"' | b'\'') if at > 0 && bytes[at - 1] == b'=' => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    // A quote without an end.
    let end = memchr::memchr2(b'<', b'>', bytes)?;
    (bytes[end] == b'>').then_some(end + 1)
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
        match end.and_then(|end| entities::character(&rest[1..end]).map(|c| (c, end))) {
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

    #[test]
    fn lines_are_told_as_they_are_shown() {
        for html in [
            "<body>one <b>a</b><br>\n<br>two&nbsp; b\n<br>three</body>",
            "<div>one\n a</div>\n<div><br></div><p>two&nbsp; b</p><div>three</div>",
            "<pre>one a\n\ntwo  b\nthree</pre>",
        ] {
            let lines = to_lines(html, false);
            let lines: Vec<&str> = lines.trim().lines().map(str::trim_end).collect();
            assert_eq!(lines, ["one a", "", "two  b", "three"], "{html}");
        }
        let raw = "<p style=\"white-space: pre-wrap\">one a\n\ntwo  b\nthree</p>";
        assert_eq!(to_lines(raw, true), "one a\n\ntwo  b\nthree\n");
    }

    #[test]
    fn broken_markup_hides_no_text() {
        for (html, expected) in [
            (
                "<html><head><title>t</title><body><p>open head</p>",
                "open head",
            ),
            ("<head><style>x{}</style><script>y<z</script>kept", "kept"),
            ("a<b and then", "a<b and then"),
            ("<p>a<b and then</p>c", "a<b and then\nc"),
            ("a<!-->b<!--->c<!-- x > y -->d", "abcd"),
            ("a<!-- never ended", "a never ended"),
            ("a<title>never ended", "a never ended"),
            (
                "<noscript>est&aacute; br&oslash;drett</noscript>",
                "está brødrett",
            ),
            ("<a href=\"x>y</a> <b>z</b>", "y z"),
        ] {
            assert_eq!(to_text(html), expected, "{html}");
        }
    }

    #[test]
    fn what_never_ends_is_looked_for_once() {
        let started = std::time::Instant::now();
        for piece in [
            "<!--",
            "<style>",
            "<title><p>",
            "<a",
            "<a =\"",
            "<a ='<b=\"",
            "&#",
        ] {
            let _ = to_text(&piece.repeat((1 << 20) / piece.len()));
        }
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn never_panics(html in "[<>a-z/!&;#\"'= é-]{0,200}") {
            let _ = (to_text(&html), to_lines(&html, false));
        }
    }
}
