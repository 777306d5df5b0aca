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
    let mut current = Current::default();
    let (mut quoted, mut escaped, mut comment) = (false, false, 0_u32);
    for &byte in &*value {
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
            b'<' => current.angle = Some(Vec::new()),
            b'>' => current.angle_closed = true,
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
}

impl Current {
    fn push(&mut self, byte: u8, quoted: bool, comment: u32) {
        let place = match &mut self.angle {
            _ if comment > 0 => &mut self.comment,
            Some(angle) if !self.angle_closed && !quoted => angle,
            _ => &mut self.text,
        };
        place.push(byte);
    }

    fn finish(self) -> Option<Mailbox> {
        let text = decode_words(&self.text);
        let (name, address) = match self.angle {
            Some(angle) => {
                let address = decode_words(&angle);
                let route_end = if address.starts_with('@') {
                    address.find(':').map_or(0, |at| at + 1)
                } else {
                    0
                };
                (text, address[route_end..].trim().to_owned())
            }
            None if text.contains('@') => (decode_words(&self.comment), text),
            None => (text, String::new()),
        };
        let empty = name.is_empty() && address.is_empty();
        (!empty).then_some(Mailbox { name, address })
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
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = mailboxes(&bytes);
        }
    }
}
