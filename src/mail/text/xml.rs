//! The text of XML documents (OOXML, ODF, e-invoices): elements stripped, without building a tree.

use super::html;

/// Elements, by local name, that end a line; all others join what they hold.
const LINES: [&str; 9] = [
    "p",
    "br",
    "tr",
    "row",
    "si",
    "h",
    "list-item",
    "line-break",
    "sld",
];
/// Elements that separate words.
const BLANKS: [&str; 6] = ["tab", "tc", "c", "s", "table-cell", "v"];

/// The text of `xml`.
#[must_use]
pub fn to_text(xml: &str) -> String {
    let mut out = String::with_capacity(xml.len() / 4);
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        html::push_text(&rest[..start], &mut out);
        let tag = &rest[start + 1..];
        let Some(end) = tag.find('>') else { return out };
        let name = tag[..end].trim_start_matches('/');
        let name = &name[..name
            .find(|c: char| c.is_whitespace() || c == '/')
            .unwrap_or(name.len())];
        let local = name.rsplit(':').next().unwrap_or(name);
        if LINES.contains(&local) {
            out.push('\n');
        } else if BLANKS.contains(&local) {
            out.push(' ');
        }
        rest = &tag[end + 1..];
    }
    html::push_text(rest, &mut out);
    out
}

/// The text with a line break after every element: for documents whose elements are fields.
#[must_use]
pub fn fields(xml: &str) -> String {
    let mut out = String::with_capacity(xml.len() / 4);
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        let text = rest[..start].trim();
        if !text.is_empty() {
            html::push_text(text, &mut out);
            out.push('\n');
        }
        let Some(end) = rest[start..].find('>') else {
            return out;
        };
        rest = &rest[start + end + 1..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_join_and_paragraphs_break() {
        assert_eq!(
            to_text(
                "<w:p><w:r><w:t>Hel</w:t></w:r><w:r><w:t>lo &amp;</w:t></w:r></w:p><w:p>x</w:p>"
            )
            .trim(),
            "Hello &\n\nx"
        );
        assert_eq!(fields("<a><b>1</b><c> 2 </c></a>"), "1\n2\n");
    }

    proptest! {
        #[test]
        fn never_panics(xml in "[<>/a-z:& é;]{0,100}") {
            let _ = (to_text(&xml), fields(&xml));
        }
    }
}
