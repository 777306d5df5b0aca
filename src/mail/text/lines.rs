//! Text whose lines are not what a reader sees: calendar entries and visiting cards (RFC 5545, RFC 6350, vCard 2.1), and text
//! that flows without blanks (RFC 3676, `DelSp`).

use crate::mail::{charset, transfer};

/// Whether a file begins as calendar entries or visiting cards do.
pub fn is_card(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let start = start.trim_ascii_start();
    ["BEGIN:VCALENDAR", "BEGIN:VCARD"].iter().any(|begin| {
        let found = start.get(..begin.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(begin.as_bytes()))
    })
}

/// The properties one a line, folds and escapes undone; files in them are left out.
pub fn of_card(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = unfolded(text);
    while let Some(mut line) = lines.next() {
        let name = line[..line.find(':').unwrap_or(0)].to_ascii_uppercase();
        if name.contains("QUOTED-PRINTABLE") {
            while line.ends_with('=') {
                line.pop();
                line.push_str(&lines.next().unwrap_or_default());
            }
            let bytes = transfer::quoted_printable(&line.as_bytes()[name.len()..]);
            line.truncate(name.len());
            line.push_str(&charset::decode(&bytes, charset_of(&name)));
        }
        if name.contains("BASE64") || name.contains("ENCODING=B") {
            line.truncate(name.len());
        }
        push_unescaped(&line, &mut out);
        out.push('\n');
    }
    out
}

/// The lines, each with those that continue it behind a blank. One after the other: a file may be all line ends.
fn unfolded(text: &str) -> impl Iterator<Item = String> {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        let mut line = lines.next()?.to_owned();
        let more = |next: &&str| next.starts_with([' ', '\t']);
        while let Some(next) = lines.next_if(more) {
            line.push_str(&next[1..]);
        }
        Some(line)
    })
}

fn charset_of(name: &str) -> Option<&str> {
    name.split(';')
        .find_map(|parameter| parameter.strip_prefix("CHARSET="))
}

fn push_unescaped(line: &str, out: &mut String) {
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, characters.as_str().chars().next()) {
            ('\\', Some('n' | 'N')) => out.push('\n'),
            ('\\', Some(escaped @ (',' | ';' | ':' | '\\'))) => out.push(escaped),
            _ => {
                out.push(c);
                continue;
            }
        }
        characters.next();
    }
}

/// Flowed text whose lines were broken at a blank that is not the author's.
pub fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // How deep the line is quoted that goes on.
    let mut open = None;
    for line in text.lines() {
        let content = line.trim_start_matches('>');
        let depth = line.len() - content.len();
        let content = content.strip_prefix(' ').unwrap_or(content);
        if open != Some(depth) && !out.is_empty() {
            out.push('\n');
        }
        if open != Some(depth) {
            out.push_str(&line[..depth]);
        }
        let flows = content.strip_suffix(' ').filter(|_| content != "-- ");
        out.push_str(flows.unwrap_or(content));
        open = flows.map(|_| depth);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_put_together() {
        let calendar = "BEGIN:VCALENDAR\r\nSUMMARY:Quarterly rev\r\n iew\r\nDESCRIPTION:Agenda\\nMoney\\, people\\\\\r\nATTACH;ENCODING=BASE64;VALUE=BINARY:QUJD\r\n QUJD\r\nEND:VCALENDAR\r\n";
        assert!(is_card(calendar.as_bytes()) && is_card(b"\xef\xbb\xbfbegin:vcard"));
        assert!(!is_card(b"BEGIN:VEVENT") && !is_card(b""));
        let text = of_card(calendar);
        assert!(text.contains("\nSUMMARY:Quarterly review\n"), "{text}");
        assert!(text.contains(":Agenda\nMoney, people\\\n"), "{text}");
        assert!(!text.contains("QUJD"), "{text}");
    }

    #[test]
    fn old_cards_are_quoted_printable() {
        let card = "BEGIN:VCARD\nFN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:J=FCr=\ngen\nN:x\nNOTE;QUOTED-PRINTABLE:=";
        let text = of_card(card);
        assert!(text.contains(":Jürgen\nN:x\n"), "{text}");
    }

    #[test]
    fn lines_that_flow_are_joined() {
        for (text, expected) in [
            ("one wo \r\nrd\r\nnext", "one word\nnext"),
            ("> quo \n> ted\n>> deeper \n> x", "> quoted\n>> deeper\n> x"),
            ("-- \nme \n", "-- \nme"),
            ("", ""),
        ] {
            // The blank behind the quotes is not the author's either.
            let expected = expected.replace("> ", ">");
            assert_eq!(joined(text), expected, "{text}");
        }
    }
}
