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

/// The text of `xml`, with the names of a spreadsheet's tables.
#[must_use]
pub fn to_text(xml: &str) -> String {
    let mut out = String::with_capacity(xml.len() / 4);
    for piece in Pieces(xml) {
        let tag = match piece {
            Piece::Text(text) => {
                html::push_text(text, &mut out);
                continue;
            }
            Piece::Verbatim(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Tag(tag) => tag,
        };
        let local = local_name(tag);
        if LINES.contains(&local) {
            out.push('\n');
        } else if BLANKS.contains(&local) {
            out.push(' ');
        } else if let Some(name) = table_name(tag, local) {
            out.push('\n');
            html::push_text(name, &mut out);
            out.push('\n');
        }
    }
    out
}

/// The text with a line break after every element: for documents whose elements are fields.
#[must_use]
pub fn fields(xml: &str) -> String {
    let mut out = String::with_capacity(xml.len() / 4);
    for piece in Pieces(xml) {
        match piece {
            Piece::Text(text) => html::push_text(text.trim(), &mut out),
            Piece::Verbatim(text) => out.push_str(text.trim()),
            Piece::Tag(_) if !out.is_empty() && !out.ends_with('\n') => out.push('\n'),
            Piece::Tag(_) => {}
        }
    }
    out
}

/// The name of an element without its prefix.
fn local_name(tag: &str) -> &str {
    let name = tag.trim_start_matches('/');
    let end = name.find(|c: char| c.is_whitespace() || c == '/');
    let name = &name[..end.unwrap_or(name.len())];
    name.rsplit(':').next().unwrap_or(name)
}

/// What a spreadsheet's reader sees on the tab: `<sheet name="…">` (OOXML), `<table:table table:name="…">` (ODF).
fn table_name<'a>(tag: &'a str, local: &str) -> Option<&'a str> {
    let attribute = match local {
        "sheet" => " name=\"",
        "table" => ":name=\"",
        _ => return None,
    };
    let value = &tag[tag.find(attribute)? + attribute.len()..];
    value.find('"').map(|end| &value[..end])
}

enum Piece<'a> {
    /// Character data, with references.
    Text(&'a str),
    /// A CDATA section's content.
    Verbatim(&'a str),
    /// What stands between `<` and `>`.
    Tag(&'a str),
}

/// The pieces of a document, comments left out. It ends at a tag without end.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            match self.0.find('<') {
                Some(0) => {}
                None if self.0.is_empty() => return None,
                end => return Some(Piece::Text(self.taken(end.unwrap_or(self.0.len()), 0))),
            }
            if self.0.starts_with("<!--") {
                let end = self.0.find("-->")?;
                self.taken(end, 3);
            } else if let Some(content) = self.0.strip_prefix("<![CDATA[") {
                self.0 = content;
                let end = content.find("]]>");
                let length = end.map_or(0, |_| 3);
                return Some(Piece::Verbatim(
                    self.taken(end.unwrap_or(content.len()), length),
                ));
            } else {
                let end = self.0.find('>')?;
                return self.taken(end, 1).get(1..).map(Piece::Tag);
            }
        }
    }
}

impl<'a> Pieces<'a> {
    /// Takes `length` bytes, and steps over `further`.
    fn taken(&mut self, length: usize, further: usize) -> &'a str {
        let taken = &self.0[..length];
        self.0 = &self.0[length + further..];
        taken
    }
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

    #[test]
    fn sections_comments_and_names_of_tables() {
        let xml = "<a><!-- <b>no</b> --><b><![CDATA[x < 1 &amp; y]]></b>z</a>";
        assert_eq!(fields(xml), "x < 1 &amp; y\nz\n");
        assert_eq!(to_text(xml), "x < 1 &amp; yz");
        assert_eq!(fields("<a><![CDATA[cut"), "cut");
        let sheets = "<sheets><sheet name=\"Q1 &amp; Q2\" sheetId=\"1\"/></sheets>";
        assert_eq!(to_text(sheets).trim(), "Q1 & Q2");
        let table = "<table:table table:name=\"Costs\" table:style-name=\"x\"/>";
        assert_eq!(to_text(table).trim(), "Costs");
    }

    proptest! {
        #[test]
        fn never_panics(xml in "(<!\\[CDATA\\[|<!--|-->|[<>/a-z:& é;\\[\\]!-]){0,100}") {
            let _ = (to_text(&xml), fields(&xml));
        }
    }
}
