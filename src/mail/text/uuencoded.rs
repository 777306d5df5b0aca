//! Files uuencoded in the midst of plain text, as Outlook can still send them.

use crate::mail::transfer;
use memchr::memmem::Finder;
use std::ops::Range;
use std::sync::LazyLock;

/// A file in a text.
pub struct File<'t> {
    /// Its name.
    pub name: &'t str,
    /// What is in it.
    pub content: Vec<u8>,
    /// Where it stands, from the beginning of its first line to behind its last.
    pub span: Range<usize>,
}

/// Files taken out of one text.
const MOST: usize = 100;

/// Finds what begins one, which few texts have.
static BEGIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"begin "));

/// The files in `text`.
pub fn files(text: &str) -> Vec<File<'_>> {
    let mut found: Vec<File<'_>> = Vec::new();
    for start in BEGIN.find_iter(text.as_bytes()) {
        if found.len() >= MOST {
            break;
        }
        let behind = found.last().map_or(0, |file| file.span.end);
        let begins_line = start == 0 || text.as_bytes()[start - 1] == b'\n';
        if start < behind || !begins_line {
            continue;
        }
        let mut lines = Lines { text, at: start };
        let name = lines.next().and_then(|(_, line)| name_in(line));
        if let Some(name) = name
            && let Some(end) = end_of(&mut lines)
        {
            let content = transfer::uudecode(&text.as_bytes()[start..end]).unwrap_or_default();
            found.push(File {
                name,
                content,
                span: start..end,
            });
        }
    }
    found
}

/// The name in a line `begin 644 NAME`.
fn name_in(line: &str) -> Option<&str> {
    let (mode, name) = line.strip_prefix("begin ")?.split_once(' ')?;
    let is_mode = matches!(mode.len(), 3 | 4) && mode.bytes().all(|c| matches!(c, b'0'..=b'7'));
    let name = name.trim();
    (is_mode && !name.is_empty()).then_some(name)
}

/// Behind the line `end`, if all lines up to it are encoded ones and there is one at least.
fn end_of(lines: &mut Lines<'_>) -> Option<usize> {
    let mut count = 0;
    while let Some((_, line)) = lines.next() {
        if line == "end" {
            return (count > 0).then_some(lines.at);
        }
        if !is_encoded(line) {
            return None;
        }
        count += 1;
    }
    None
}

/// Whether a line has the length that its first character says; blanks at its end may be lost.
fn is_encoded(line: &str) -> bool {
    let bytes = line.as_bytes();
    let Some(&first) = bytes.first() else {
        return true;
    };
    let length = usize::from(first.wrapping_sub(b' ') & 63);
    let digits = length.div_ceil(3) * 4;
    bytes.iter().all(|byte| matches!(byte, b' '..=b'`'))
        && bytes.len() <= digits + 2
        && (length == 0 || bytes.len() > 1)
}

struct Lines<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Iterator for Lines<'t> {
    type Item = (usize, &'t str);

    fn next(&mut self) -> Option<(usize, &'t str)> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let line = rest.split_inclusive('\n').next()?;
        self.at += line.len();
        Some((start, line.trim_end_matches(['\r', '\n'])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_text() {
        let text = "see\r\nbegin 644 my notes.txt\r\n%:&5L;&\\ \r\n`\r\nend\r\nbye\r\nbegin 644 x\r\nno code\r\nend\r\n";
        let found = files(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "my notes.txt");
        assert_eq!(found[0].content, b"hello");
        assert!(text[..found[0].span.start].ends_with("see\r\n"));
        assert!(text[found[0].span.end..].starts_with("bye"));
    }

    #[test]
    fn what_only_looks_like_one_stays() {
        for text in [
            "begin 644 x\nend\n",
            "begin 644 x\n%:&5L;&\\\n",
            "begin with 644 reasons\n%:&5L;&\\\nend\n",
            "begin 999 x\n%:&5L;&\\\nend\n",
            "> begin 644 x\n> %:&5L;&\\\n> end\n",
            "begin 644 \n%:&5L;&\\\nend\n",
            "",
        ] {
            assert!(files(text).is_empty(), "{text}");
        }
        let many = "begin 644 x\n%:&5L;&\\\nend\n".repeat(300);
        assert_eq!(files(&many).len(), MOST);
    }
}
