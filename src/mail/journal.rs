//! Exchange journal reports (MS-XJRNL): the true recipients of a mail, Bcc included, wrapped around the mail.
//!
//! A pure parser. Whether a peer may report is the caller's decision; a report whose first part is not strictly
//! of the known form gives nothing, so that a forged one plants no recipients.

use super::header;
use super::mime::{self, Part};
use super::{charset, transfer};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Recipients read from one report.
const MAX_RECIPIENTS: usize = 10_000;
/// Most parts: the envelope, the mail, a clear copy, and what nobody knows of yet.
const MAX_PARTS: usize = 100;
/// Largest envelope part, in bytes.
const MAX_ENVELOPE: usize = 4 << 20;
/// Longest address. Those that Exchange makes of X.500 names (`IMCEAEX-…`) are longer than RFC 5321 has them.
const MAX_ADDRESS: usize = 2048;

/// What is noted of a mail that is marked as a report and was taken as the mail that it is.
pub const NOT_UNWRAPPED: &str = "journal report, not unwrapped";

/// What a journal report says, and where the mail lies in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// copy after it. Never empty.
    pub messages: Vec<Range<usize>>,
    /// Where the mail ends that begins with the first of them. By MIME (RFC 2046, 5.1.1) the line end in front of a boundary is the
    /// boundary's. It is the mail's last one all the same where the mail would end without any.
    pub end: usize,
    /// Where it ends if that line end is the mail's, though the mail has one without it.
    pub other_end: Option<usize>,
}

/// One line of the recipient list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// How the report names the recipient.
    pub role: Role,
    /// The address delivered to.
    pub address: String,
    /// What the sender had addressed, if a list or a forwarding lies between.
    pub original: Option<Original>,
}

/// The label of a recipient line. All but [`Role::Recipient`] come from authenticated submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
///
/// What lies in the mail inside has no part in this: it is not looked into, and a sender does not know the boundary.
#[must_use]
pub fn unwrap(message: &[u8]) -> Option<Report> {
    let root = mime::header_of(message);
    if !is_marked(message, &root) || !root.is_multipart() {
        return None;
    }
    let parts = parts(message, &root)?;
    let (envelope, rest) = parts.split_first()?;
    let report = envelope_of(&envelope_text(&message[envelope.clone()])?)?;
    let messages = messages(message, rest)?;
    let (end, other_end) = ends(message, messages.first()?)?;
    Some(Report {
        messages,
        end,
        other_end,
        ..report
    })
}

/// The parts of a multipart that is closed (RFC 2046, 5.1.1), without the line ends of the boundaries.
fn parts(message: &[u8], root: &Part) -> Option<Vec<Range<usize>>> {
    let boundary = root.content_type.parameter("boundary")?.trim_end();
    if boundary.is_empty() {
        return None;
    }
    let (mut parts, mut start) = (Vec::new(), None);
    let body = root.body.start;
    let first = message[body..].starts_with(b"--").then_some(body);
    let others = memchr::memmem::find_iter(&message[body..], b"\n--").map(|at| body + at + 1);
    for at in first.into_iter().chain(others) {
        let (end, next) = mime::line_at(message, at);
        let Some(closes) = delimiter(&message[at..end], boundary) else {
            continue;
        };
        if let Some(start) = start {
            let before = message[..at].strip_suffix(b"\n").unwrap_or(&message[..at]);
            let before = before.strip_suffix(b"\r").unwrap_or(before);
            parts.push(start..before.len().max(start));
        }
        if closes {
            return Some(parts);
        }
        if parts.len() >= MAX_PARTS {
            return None;
        }
        start = Some(next);
    }
    None
}

/// Whether a line that is this boundary closes the multipart; `None` for any other line.
fn delimiter(line: &[u8], boundary: &str) -> Option<bool> {
    let rest = line
        .strip_prefix(b"--")?
        .strip_prefix(boundary.as_bytes())?;
    let rest = rest.trim_ascii_end();
    match rest {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

/// The text of the first part.
fn envelope_text(part: &[u8]) -> Option<String> {
    let header = mime::header_of(part);
    let is_text = header.content_type.is("text/plain");
    if !is_text || header.body.len() > MAX_ENVELOPE {
        return None;
    }
    let body = transfer::decode(&part[header.body.clone()], &header.encoding);
    let charset = header.content_type.parameter("charset");
    Some(charset::decode(&body, charset))
}

/// Where the messages in these parts lie; parts of other types are passed over. `None` if one is encoded, which RFC 2046, 5.2.1
/// forbids: it does not lie in the report's bytes.
fn messages(message: &[u8], parts: &[Range<usize>]) -> Option<Vec<Range<usize>>> {
    let mut messages = Vec::new();
    for part in parts {
        let bytes = &message[part.clone()];
        let header = mime::header_of(bytes);
        if header.content_type.is_message() {
            if !matches!(header.encoding.as_str(), "" | "7bit" | "8bit" | "binary") {
                return None;
            }
            messages.push(part.start + header.body.start..part.end);
        }
    }
    Some(messages)
}

/// See [`Report::end`] and [`Report::other_end`]. `None` for a mail of nothing.
fn ends(message: &[u8], mail: &Range<usize>) -> Option<(usize, Option<usize>)> {
    let (_, with_line_end) = mime::line_at(message, mail.end);
    match &message[mail.clone()] {
        [] => None,
        [.., b'\n'] => Some((mail.end, Some(with_line_end))),
        _ => Some((with_line_end, None)),
    }
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
        end: 0,
        other_end: None,
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
            "sender" => sender = Some(bounded(bare_address(value))?),
            "on-behalf-of" => report.on_behalf_of = Some(bounded(bare_address(value))?),
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
    let (address, rest) = value.split_at(address_end(value)?);
    let original = match rest.strip_prefix(',') {
        None => None,
        Some(rest) => {
            let (how, from) = rest.split_once(':')?;
            let from = bounded(bare_address(from.trim()))?;
            Some(match how.trim().to_ascii_lowercase().as_str() {
                "expanded" => Original::Expanded(from),
                "forwarded" => Original::Forwarded(from),
                _ => return None,
            })
        }
    };
    let address = bare_address(address.trim());
    let address = bounded(address).filter(|address| is_plausible(address))?;
    Some(Recipient {
        role,
        address,
        original,
    })
}

/// Where the first comma outside of quotes stands, or the end; `None` where quotes are not closed.
fn address_end(value: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(value.len())
}

/// Whether it is a mail address: blanks are in a quoted local part alone.
fn is_plausible(address: &str) -> bool {
    let blank = |text: &str| text.contains(char::is_whitespace);
    address.rsplit_once('@').is_some_and(|(local, domain)| {
        let quoted = local.len() > 1 && local.starts_with('"') && local.ends_with('"');
        !blank(domain) && (quoted || !blank(local))
    })
}

fn bounded(address: &str) -> Option<String> {
    (address.len() <= MAX_ADDRESS).then(|| address.to_owned())
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
        let found = unwrap(&message).unwrap();
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
        let mail = b"From: a@x\r\nSubject: s\r\n\r\nbody";
        assert_eq!(&message[found.messages[0].clone()], mail);
        let start = found.messages[0].start;
        let ends = (found.end, found.other_end);
        assert_eq!(ends, (start + mail.len() + 2, None), "with its line end");
    }

    #[test]
    fn the_line_end_before_the_boundary_may_be_the_mails_or_not() {
        let message = String::from_utf8(report("Sender: a@x\r\nTo: b@y")).unwrap();
        let more = message.replace("body\r\n", "body\r\n\r\n");
        let found = unwrap(more.as_bytes()).unwrap();
        let inside = |end| &more[found.messages[0].start..end];
        let other_end = found.other_end.unwrap();
        assert!(inside(found.end).ends_with("\r\n\r\nbody\r\n"));
        assert!(inside(other_end).ends_with("\r\n\r\nbody\r\n\r\n"));
    }

    // Else whoever adds such a recipient keeps a mail from all the others' mailboxes in the archive.
    #[test]
    fn a_quoted_local_part_may_have_blanks_and_commas() {
        let message = report(
            "Sender: \"a, b\"@x\r\nTo: \"b, c\"@y\r\nBcc: <\"d \\\", e\"@y>, Expanded: \"l, m\"@y\r\nTo: f@y",
        );
        let found = unwrap(&message).unwrap();
        let addresses: Vec<&str> = found.recipients.iter().map(|r| &*r.address).collect();
        assert_eq!(found.sender, "\"a, b\"@x");
        assert_eq!(addresses, ["\"b, c\"@y", "\"d \\\", e\"@y", "f@y"]);
        let list = Original::Expanded("\"l, m\"@y".into());
        assert_eq!(found.recipients[1].original, Some(list));
        for wrong in [
            "\"b, c@y",
            "\"b\" c@y",
            "\"b\"@y z",
            "b, c@y",
            "\"b\", c\"@y",
        ] {
            let message = report(&format!("Sender: a@x\r\nTo: {wrong}"));
            assert_eq!(unwrap(&message), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_not_strictly_a_report_plants_nothing() {
        for envelope in [
            "Sender: a@x\r\nHello, this is text",
            "To: b@y\r\nSender: a@x",
            "Sender: a@x",
            "Sender: a@x\r\nTo: nobody",
        ] {
            assert_eq!(unwrap(&report(envelope)), None, "{envelope}");
        }
        let unmarked = String::from_utf8(report("Sender: a@x\r\nTo: b@y"))
            .unwrap()
            .replace("X-MS-Journal-Report:\r\n", "");
        assert_eq!(unwrap(unmarked.as_bytes()), None);
        let good = String::from_utf8(report("Sender: a@x\r\nTo: b@y")).unwrap();
        let encoded = "message/rfc822\r\nContent-Transfer-Encoding: base64";
        for (from, to) in [
            ("message/rfc822", encoded),
            ("\r\n--_u_--\r\n", "\r\n"),
            ("\r\n--_u_--\r\n", "\r\n--_u_--more\r\n"),
            ("boundary=\"_u_\"", "boundary=\"\""),
            (
                "\r\n\r\nFrom: a@x\r\nSubject: s\r\n\r\nbody\r\n",
                "\r\n\r\n",
            ),
        ] {
            let altered = good.replacen(from, to, 1);
            assert_ne!(altered, good);
            assert_eq!(unwrap(altered.as_bytes()), None, "{to}");
        }
    }

    #[test]
    fn recipients_and_addresses_are_bounded() {
        let many = |count: usize| {
            let lines: Vec<String> = (0..count).map(|n| format!("To: r{n}@y")).collect();
            report(&format!("Sender: a@x\r\n{}", lines.join("\r\n")))
        };
        let found = unwrap(&many(MAX_RECIPIENTS)).unwrap();
        assert_eq!(found.recipients.len(), MAX_RECIPIENTS);
        assert_eq!(unwrap(&many(MAX_RECIPIENTS + 1)), None);
        let long = report(&format!("Sender: a@x\r\nTo: {}@y", "b".repeat(MAX_ADDRESS)));
        assert_eq!(unwrap(&long), None);
    }

    proptest! {
        #[test]
        fn never_panics(envelope in "(Sender|To|Bcc|, Expanded|: |a@x|\r\n|,|é){0,30}") {
            let _ = unwrap(&report(&envelope));
            let _ = envelope_of(&envelope);
        }
    }
}
