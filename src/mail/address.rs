//! Address lists (RFC 5322 §3.4) as senders write them: names, quotes, comments, groups.

use super::header::{decode_words, unfolded};
use super::model::Mailbox;

/// Addresses read from one field.
const MAX_ADDRESSES: usize = 2000;
/// Bytes of one field that are read.
const MAX_FIELD: usize = 256 << 10;

/// The mailboxes in the raw value of an address field. Groups are flattened, comments dropped (a lone comment
/// behind an address is its name, as old clients wrote it).
#[must_use]
pub fn mailboxes(value: &[u8]) -> Vec<Mailbox> {
    let value = unfolded(&value[..value.len().min(MAX_FIELD)]);
    let mut found = Vec::new();
    let mut current = Current {
        text: Vec::with_capacity(value.len()),
        ..Current::default()
    };
    let (mut quoted, mut escaped, mut comment) = (false, false, 0_u32);
    let mut rest = &*value;
    while let Some((&byte, behind)) = rest.split_first() {
        if !(quoted || escaped || comment > 0) {
            let (plain, marked) = rest.split_at(plain_at_start(rest));
            if !plain.is_empty() {
                current.push_plain(plain);
                rest = marked;
                continue;
            }
        }
        rest = behind;
        if escaped {
            escaped = false;
            current.push(byte, quoted, comment);
            continue;
        }
        match byte {
            b'\\' if quoted || comment > 0 => escaped = true,
            b'"' if comment == 0 && current.angle.is_none() => quoted = !quoted,
            _ if quoted => current.push(byte, true, 0),
            b'(' => comment += 1,
            b')' if comment > 0 => comment -= 1,
            _ if comment > 0 => current.push(byte, false, comment),
            b'<' => {
                if current.angle_closed {
                    // A comma is missing: what stands behind the address before is the name of the next.
                    let text = current.text.split_off(current.name_end);
                    found.extend(std::mem::take(&mut current).finish());
                    if found.len() >= MAX_ADDRESSES {
                        return found;
                    }
                    current.text = text;
                }
                current.angle = Some(Vec::new());
            }
            b'>' if current.angle.is_some() => {
                current.angle_closed = true;
                current.name_end = current.text.len();
            }
            b'>' => {}
            b':' if current.angle.is_none() => current = Current::default(),
            b',' | b';' if current.angle.is_none() || current.angle_closed => {
                found.extend(std::mem::take(&mut current).finish());
                if found.len() >= MAX_ADDRESSES {
                    return found;
                }
            }
            _ => current.push(byte, false, 0),
        }
    }
    found.extend(current.finish());
    found
}

/// How many bytes stand for themselves.
fn plain_at_start(text: &[u8]) -> usize {
    let is_mark = |byte: &u8| {
        matches!(
            byte,
            b'"' | b'\\' | b'(' | b')' | b'<' | b'>' | b':' | b',' | b';'
        )
    };
    text.iter().position(is_mark).unwrap_or(text.len())
}

/// An address as it is compared with others: lower case, and its domain as DNS has it (`xn--…`).
#[must_use]
pub fn compared(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@').filter(|_| !address.is_ascii()) else {
        return address.to_lowercase();
    };
    let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase());
    format!("{}@{domain}", local.to_lowercase())
}

#[derive(Default)]
struct Current {
    text: Vec<u8>,
    comment: Vec<u8>,
    angle: Option<Vec<u8>>,
    angle_closed: bool,
    /// Where the text in front of the angle ends.
    name_end: usize,
    /// Where the last word of the text begins, words in quotes not counted.
    word: usize,
    /// The text ends in a blank outside quotes.
    blank: bool,
}

impl Current {
    /// As [`Current::push`] of each byte, outside quotes and comments.
    fn push_plain(&mut self, bytes: &[u8]) {
        if let (Some(angle), false) = (&mut self.angle, self.angle_closed) {
            angle.extend_from_slice(bytes);
            return;
        }
        if self.angle.is_none() {
            let before = self.text.len();
            let mut blank = self.blank;
            for (at, byte) in bytes.iter().enumerate() {
                let is_blank = byte.is_ascii_whitespace();
                if blank && !is_blank {
                    self.word = before + at;
                }
                blank = is_blank;
            }
            self.blank = blank;
        }
        self.text.extend_from_slice(bytes);
    }

    fn push(&mut self, byte: u8, quoted: bool, comment: u32) {
        if comment == 0 && self.angle.is_none() {
            let is_blank = !quoted && byte.is_ascii_whitespace();
            if self.blank && !is_blank {
                self.word = self.text.len();
            }
            self.blank = is_blank;
        }
        let place = match &mut self.angle {
            _ if comment > 0 => &mut self.comment,
            Some(angle) if !self.angle_closed && !quoted => angle,
            _ => &mut self.text,
        };
        place.push(byte);
    }

    fn finish(self) -> Option<Mailbox> {
        let text = decode_words(&self.text);
        let (name, address) = match &self.angle {
            Some(angle) => {
                let address = decode_words(angle);
                let route_end = if address.starts_with('@') {
                    address.find(':').map_or(0, |at| at + 1)
                } else {
                    0
                };
                (text, address[route_end..].trim().to_owned())
            }
            None if text.contains('@') => self.without_angle(text),
            None => (text, String::new()),
        };
        let empty = name.is_empty() && address.is_empty();
        (!empty).then_some(Mailbox { name, address })
    }

    /// Name and address where no angle was met, which may be quoted or encoded with the address in it, or missing.
    fn without_angle(&self, text: String) -> (String, String) {
        let angle = text
            .strip_suffix('>')
            .and_then(|text| text.rsplit_once('<'));
        if let Some((name, address)) = angle
            && address.contains('@')
            && !address.contains(|c: char| c.is_whitespace() || c == '"')
        {
            return (name.trim_matches([' ', '"']).to_owned(), address.to_owned());
        }
        let (name, address) = self.text.split_at(self.word);
        if self.comment.is_empty() && !name.is_empty() && address.contains(&b'@') {
            return (decode_words(name), decode_words(address));
        }
        (decode_words(&self.comment), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_senders_write() {
        let show = |value: &str| -> Vec<(String, String)> {
            mailboxes(value.as_bytes())
                .into_iter()
                .map(|m| (m.name, m.address))
                .collect()
        };
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(
            show(" \"Doe, J\\\"x\" <j@x>, b@y (Bob)"),
            [pair("Doe, J\"x", "j@x"), pair("Bob", "b@y")]
        );
        assert_eq!(
            show("team: a@x, =?utf-8?q?=C3=A4?= <b@x>;"),
            [pair("", "a@x"), pair("ä", "b@x")]
        );
        assert_eq!(show("<@r,@s:a@x>"), [pair("", "a@x")]);
        assert_eq!(show("undisclosed-recipients:;"), []);
        for (value, name) in [
            ("\"Joe\" j@x", "Joe"),
            ("Joe Doe j@x", "Joe Doe"),
            ("=?utf-8?B?Sm9lIDxqQHg+?=", "Joe"),
            ("\"Joe <j@x>", "Joe"),
            (" j@x ", ""),
            ("j@x (Joe)", "Joe"),
        ] {
            assert_eq!(show(value), [pair(name, "j@x")], "{value}");
        }
        assert_eq!(
            show("A <a@x> B <b@x>"),
            [pair("A", "a@x"), pair("B", "b@x")]
        );
        assert_eq!(show("<a@x> A"), [pair("A", "a@x")]);
        assert_eq!(show("a> b c@x <d@x>"), [pair("a b c@x", "d@x")]);
        assert_eq!(show("\"a b\"@x"), [pair("", "a b@x")]);
    }

    #[test]
    fn addresses_are_bounded_with_and_without_commas() {
        for one in ["<a@x>", "<a@x>,", "a@x,", "a:b@x;"] {
            assert_eq!(
                mailboxes(one.repeat(5000).as_bytes()).len(),
                MAX_ADDRESSES,
                "{one}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[a@<>(),;: \"\\\\]{0,40}") {
            let _ = (mailboxes(&bytes), mailboxes(text.as_bytes()));
        }
    }
}
