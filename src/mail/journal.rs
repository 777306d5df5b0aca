//! Exchange journal reports (MS-XJRNL): the true recipients of a mail, Bcc included, wrapped around the mail.
//!
//! A pure parser. Whether a peer may report is the caller's decision; a report whose first part is not strictly
//! of the known form gives nothing, so that a forged one plants no recipients.

use super::bounds::Bounds;
use super::context::Budget;
use super::header;
use super::mime::{self, Part};
use super::{charset, transfer};
use std::ops::Range;

/// Recipients read from one report.
const MAX_RECIPIENTS: usize = 10_000;
/// Largest envelope part, in bytes.
const MAX_ENVELOPE: usize = 4 << 20;

/// What a journal report says, and where the mail lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `Sender`.
    pub sender: String,
    /// `On-Behalf-Of`.
    pub on_behalf_of: Option<String>,
    /// `Message-ID` of the mail, without angle brackets.
    pub message_id: Option<String>,
    /// The recipients.
    pub recipients: Vec<Recipient>,
    /// The `message/rfc822` parts, in the report's bytes: the mail, and with journal report decryption a clear
    /// copy after it.
    pub messages: Vec<Range<usize>>,
}

/// One line of the recipient list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// How the report names the recipient.
    pub role: Role,
    /// The address delivered to.
    pub address: String,
    /// What the sender had addressed, if a list or a forwarding lies between.
    pub original: Option<Original>,
}

/// The label of a recipient line. All but [`Role::Recipient`] come from authenticated submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `To`.
    To,
    /// `Cc`.
    Cc,
    /// `Bcc`.
    Bcc,
    /// `Recipient`: how it was addressed is not verified.
    Recipient,
}

/// Where an expanded or forwarded recipient came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Original {
    /// Member of this distribution list.
    Expanded(String),
    /// Forwarded from this mailbox.
    Forwarded(String),
}

/// True if the header says that this is a journal report. Its value does not matter.
#[must_use]
pub fn is_marked(bytes: &[u8], root: &Part) -> bool {
    let marked = [
        "x-ms-journal-report",
        "x-ms-exchange-organization-journal-report",
    ];
    let exchange_2003 = |name: &str| {
        root.first(bytes, name).is_some_and(|value| {
            header::decode_words(value).eq_ignore_ascii_case("ExJournalReport")
        })
    };
    marked.iter().any(|name| root.first(bytes, name).is_some())
        || exchange_2003("content-identifier")
        || exchange_2003("content-identifer")
}

/// Reads a journal report. `None` if `message` is none, or not strictly of the known form.
#[must_use]
pub fn unwrap(message: &[u8], bounds: &Bounds) -> Option<Report> {
    let (root, _) = mime::parse(message, 0, bounds, &Budget::default());
    if !is_marked(message, &root) || !root.is_multipart() {
        return None;
    }
    let (envelope, rest) = root.children.split_first()?;
    if envelope.content_type.essence() != "text/plain" || envelope.body.len() > MAX_ENVELOPE {
        return None;
    }
    let messages: Vec<Range<usize>> = rest
        .iter()
        .filter(|part| part.content_type.is_message())
        .map(|part| part.body.clone())
        .collect();
    if messages.is_empty() {
        return None;
    }
    let body = transfer::decode(&message[envelope.body.clone()], &envelope.encoding(message));
    let text = charset::decode(&body, envelope.content_type.parameter("charset"));
    let report = envelope_of(&text)?;
    Some(Report { messages, ..report })
}

/// Reads the text of the first part: fields, one a line, recipients anywhere after the sender.
fn envelope_of(text: &str) -> Option<Report> {
    let mut sender = None;
    let mut report = Report {
        sender: String::new(),
        on_behalf_of: None,
        message_id: None,
        recipients: Vec::new(),
        messages: Vec::new(),
    };
    for line in text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
    {
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "sender" => sender = Some(bare_address(value).to_owned()),
            "on-behalf-of" => report.on_behalf_of = Some(bare_address(value).to_owned()),
            "message-id" => report.message_id = Some(value.trim_matches(['<', '>']).to_owned()),
            "subject" | "label" | "mailbox" | "sentutc" | "receivedutc" => {}
            label => {
                sender.as_ref()?;
                let recipient = recipient(role_of(label)?, value)?;
                if report.recipients.len() >= MAX_RECIPIENTS {
                    return None;
                }
                report.recipients.push(recipient);
            }
        }
    }
    report.sender = sender?;
    (!report.recipients.is_empty()).then_some(report)
}

fn role_of(label: &str) -> Option<Role> {
    Some(match label {
        "to" => Role::To,
        "cc" => Role::Cc,
        "bcc" => Role::Bcc,
        "recipient" => Role::Recipient,
        _ => return None,
    })
}

/// `address[, Expanded: list | , Forwarded: mailbox]`.
fn recipient(role: Role, value: &str) -> Option<Recipient> {
    let (address, original) = match value.split_once(',') {
        None => (value, None),
        Some((address, rest)) => {
            let (how, from) = rest.split_once(':')?;
            let from = bare_address(from.trim()).to_owned();
            let original = match how.trim().to_ascii_lowercase().as_str() {
                "expanded" => Original::Expanded(from),
                "forwarded" => Original::Forwarded(from),
                _ => return None,
            };
            (address, Some(original))
        }
    };
    let address = bare_address(address.trim());
    let plausible = address.contains('@') && !address.contains(char::is_whitespace);
    plausible.then(|| Recipient {
        role,
        address: address.to_owned(),
        original,
    })
}

fn bare_address(text: &str) -> &str {
    text.strip_prefix('<')
        .and_then(|inner| inner.strip_suffix('>'))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(envelope: &str) -> Vec<u8> {
        format!(
            "From: a@x\r\nX-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=\"_u_\"\r\n\r\n--_u_\r\n\
             Content-Type: text/plain; charset=\"utf-8\"\r\n\r\n{envelope}\r\n--_u_\r\nContent-Type: message/rfc822\r\n\r\n\
             From: a@x\r\nSubject: s\r\n\r\nbody\r\n--_u_--\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn sender_recipients_and_message_come_out() {
        let message = report(
            "Sender: a@x\r\nSubject: s: t\r\nMessage-Id: <1@x>\r\nTo: b@y\r\nBcc: c@y, Expanded: list@y\r\nRecipient: d@z, Forwarded: e@z",
        );
        let found = unwrap(&message, &Bounds::default()).unwrap();
        assert_eq!(
            (found.sender.as_str(), found.message_id.as_deref()),
            ("a@x", Some("1@x"))
        );
        assert_eq!(found.recipients.len(), 3);
        assert_eq!(found.recipients[1].role, Role::Bcc);
        assert_eq!(
            found.recipients[1].original,
            Some(Original::Expanded("list@y".into()))
        );
        assert_eq!(
            &message[found.messages[0].clone()],
            b"From: a@x\r\nSubject: s\r\n\r\nbody"
        );
    }

    #[test]
    fn what_is_not_strictly_a_report_plants_nothing() {
        for envelope in [
            "Sender: a@x\r\nHello, this is text",
            "To: b@y\r\nSender: a@x",
            "Sender: a@x",
            "Sender: a@x\r\nTo: nobody",
        ] {
            assert_eq!(
                unwrap(&report(envelope), &Bounds::default()),
                None,
                "{envelope}"
            );
        }
        let unmarked = String::from_utf8(report("Sender: a@x\r\nTo: b@y"))
            .unwrap()
            .replace("X-MS-Journal-Report:\r\n", "");
        assert_eq!(unwrap(unmarked.as_bytes(), &Bounds::default()), None);
    }

    proptest! {
        #[test]
        fn never_panics(envelope in "(Sender|To|Bcc|, Expanded|: |a@x|\r\n|,|é){0,30}") {
            let _ = unwrap(&report(&envelope), &Bounds::default());
            let _ = envelope_of(&envelope);
        }
    }
}
