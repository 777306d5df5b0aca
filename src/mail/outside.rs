//! The header that a released mail shows outside its new encryption: what clients need to file it, and nothing that
//! was not readable outside before. The whole header goes inside.
//!
//! A rendition has the protected fields as its own, and those that stood outside as `HP-Outer: Name: value` (see
//! [`super::rendition`]); where there is such a field, it alone may go outside again.

use super::mime::{self, Part};

/// What goes outside, beside the subject.
const FIELDS: [&str; 5] = ["From", "To", "Cc", "Date", "Message-ID"];
/// The subject outside. Whether a subject was protected cannot always be told afterwards (one may have had none
/// outside), so that none is shown.
const SUBJECT: &[u8] = b"Subject: ...\r\n";

/// The fields for outside of `message` (RFC 5322), in CRLF, without the MIME fields and the blank line.
#[must_use]
pub fn fields(message: &[u8]) -> Vec<u8> {
    let header = mime::header_of(message);
    let mut out = Vec::new();
    for name in FIELDS {
        if let Some(value) = value(message, &header, name) {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            for line in value.split_inclusive(|&byte| byte == b'\n') {
                out.extend_from_slice(line.trim_ascii_end());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    out.extend_from_slice(SUBJECT);
    out
}

/// The value that stood outside. RFC 9788 (`hp="cipher"`) names all that did; a mail always has a sender and a date.
fn value<'m>(message: &'m [u8], header: &'m Part, name: &str) -> Option<&'m [u8]> {
    let outer = header.all(message, "hp-outer").find_map(|field| {
        let colon = field.iter().position(|&byte| byte == b':')?;
        let named = field[..colon].trim_ascii();
        named
            .eq_ignore_ascii_case(name.as_bytes())
            .then_some(&field[colon + 1..])
    });
    let all_are_named = header.content_type.parameter("hp") == Some("cipher");
    let own = || header.first(message, name);
    match outer {
        Some(outer) => Some(outer),
        None if all_are_named && !matches!(name, "From" | "Date") => None,
        None => own(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> String {
        String::from_utf8(fields(format!("{header}\r\nBody\r\n").as_bytes())).expect("text")
    }

    #[test]
    fn the_subject_stays_inside() {
        let said = of(
            "From: a@example.org\r\nTo: b@example.org,\r\n c@example.org\r\nSubject: Merger\r\nX-Secret: x\r\n",
        );
        assert_eq!(
            said,
            "From: a@example.org\r\nTo: b@example.org,\r\n c@example.org\r\nSubject: ...\r\n"
        );
    }

    #[test]
    fn what_was_protected_is_not_shown() {
        let said = of(
            "From: real@example.org\r\nHP-Outer: From: nobody@example.org\r\nTo: b@example.org\r\n\
             HP-Outer: Subject: ...\r\nSubject: Merger\r\nReply-To: real@example.org\r\n",
        );
        assert_eq!(
            said,
            "From: nobody@example.org\r\nTo: b@example.org\r\nSubject: ...\r\n"
        );
        let said = of(
            "From: a@example.org\r\nCc: hidden@example.org\r\nHP-Outer: To: b@example.org\r\nTo: c@example.org\r\n\
             Subject: Merger\r\nContent-Type: text/plain; hp=\"cipher\"\r\n",
        );
        assert_eq!(
            said,
            "From: a@example.org\r\nTo: b@example.org\r\nSubject: ...\r\n"
        );
    }
}
