//! Journal reports (MS-XJRNL): which of them are believed, and what they make of an arrival.
//!
//! Policy says from whom (docs/adr/0005), by what intake saw of the sender; what the mail says of itself decides nothing. The
//! report is read by a worker, as all foreign bytes are.

use crate::intake::envelope::{Envelope, Source};
use crate::intake::spool::SpooledMail;
use crate::keeper::manifest::{JournalReport, ReportedRecipient};
use crate::keeper::pool::{Mail, Worker, WorkerFailure};
use crate::mail::journal::{NOT_UNWRAPPED, Original, Report, Role};
use crate::mail::model::Opened;
use crate::policy::{JournalPolicy, JournalRule};
use std::borrow::Cow;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::derive::mailbox;

/// How the note begins of what else lies in a report.
const MORE: &str = "the journal report has";

/// What a mail is as a journal report.
#[derive(Debug, Clone)]
pub enum Journal {
    /// One that is believed: the mail is what lies in it.
    Report(Box<Report>),
    /// None, or one that is not believed, for this reason.
    Not(Cow<'static, str>),
}

impl Journal {
    /// Reads a mail that policy takes for a report. An error is not the mail's fault.
    pub fn of(
        mail: &SpooledMail,
        policy: &JournalPolicy,
        worker: &mut Worker,
    ) -> Result<Self, WorkerFailure> {
        let not = |why: &'static str| Ok(Self::Not(Cow::Borrowed(why)));
        if let Some(why) = disbelieved(&mail.envelope, policy) {
            return not(why);
        }
        if mail.length > worker.largest_mail() {
            return not("it is over the bound message_bytes");
        }
        let bytes = || mail.body.open() as Box<dyn Read>;
        let whole = Mail {
            length: mail.length,
            arrived: mail.envelope.arrived,
            bytes: &bytes,
        };
        match worker.read_report(&whole) {
            Ok(Some(report)) => Ok(Self::Report(Box::new(report))),
            Ok(None) => not("it is not strictly of the known form"),
            Err(failure @ WorkerFailure::Start(_)) => Err(failure),
            Err(failure) => Ok(Self::Not(Cow::Owned(failure.to_string()))),
        }
    }

    /// Where the mail lies in `length` bytes, and where it may lie instead.
    pub fn places(&self, length: u64) -> (Range<u64>, Option<Range<u64>>) {
        match self {
            Self::Not(_) => (0..length, None),
            Self::Report(report) => {
                let start = report.messages.first().map_or(0, |mail| mail.start as u64);
                let other = report.other_end.map(|end| start..end as u64);
                (start..report.end as u64, other)
            }
        }
    }

    /// Says in the record's notes why a report was not unwrapped, and what else lies in one that was.
    pub fn note(&self, opened: &mut Opened) {
        let notes = &mut opened.text.notes;
        let why = match self {
            Self::Not(why) => why,
            Self::Report(_) => "it lies in another one",
        };
        for note in notes.iter_mut().filter(|note| *note == NOT_UNWRAPPED) {
            *note = format!("{NOT_UNWRAPPED}: {why}");
        }
        if let Self::Report(report) = self
            && report.messages.len() > 1
        {
            let more = report.messages.len() - 1;
            notes.push(format!(
                "{MORE} {more} more of this mail, such as a clear copy; the vault keeps it with the report"
            ));
        }
    }
}

/// The address that a mail came from by SMTP.
pub fn peer(envelope: &Envelope) -> Option<IpAddr> {
    let Source::Smtp { peer, .. } = &envelope.source else {
        return None;
    };
    let address = peer.parse::<SocketAddr>().ok()?;
    Some(address.ip())
}

/// The mailboxes that it was sent to.
pub fn recipients(envelope: &Envelope) -> Vec<String> {
    let all = envelope.recipients.iter();
    all.map(|one| mailbox(&one.address)).collect()
}

/// Keeps what was noted of a mail by [`Journal::note`] when the mail is opened once more, which does not see the report.
pub fn keep_notes(before: &Opened, again: &mut Opened) {
    let notes = &mut again.text.notes;
    notes.retain(|note| note != NOT_UNWRAPPED);
    let is_its = |note: &&String| note.starts_with(NOT_UNWRAPPED) || note.starts_with(MORE);
    notes.extend(before.text.notes.iter().filter(is_its).cloned());
}

/// Why policy does not take a mail with this envelope for a journal report.
fn disbelieved(envelope: &Envelope, policy: &JournalPolicy) -> Option<&'static str> {
    if policy.rules().is_empty() {
        return Some("the policy's [journal] names nobody");
    }
    if !matches!(envelope.source, Source::Smtp { .. }) {
        return Some("it did not come by SMTP");
    }
    let address = peer(envelope);
    let mut rules: Vec<&JournalRule> = policy.rules().iter().collect();
    rules.retain(|rule| address.is_some_and(|address| rule.is_peer(address)));
    if rules.is_empty() {
        return Some("it did not come from one of the policy's journal.peers");
    }
    let sender = mailbox(&envelope.sender);
    rules.retain(|rule| rule.is_sender(&sender));
    if rules.is_empty() {
        return Some("its envelope sender is not among the policy's journal.senders");
    }
    let recipients = recipients(envelope);
    rules.retain(|rule| recipients.iter().all(|address| rule.is_mailbox(address)));
    if recipients.is_empty() || rules.is_empty() {
        return Some("its recipients are not all among the policy's journal.recipients");
    }
    None
}

/// What an arrival keeps of a report. The suffix is filled in where it is not in the original.
pub fn kept(report: &Report, envelope: &Envelope) -> JournalReport {
    let recipients = envelope.recipients.iter();
    JournalReport {
        sender: envelope.sender.clone(),
        recipients: recipients.map(|one| one.address.clone()).collect(),
        parameters: envelope.parameters.clone(),
        recipient_parameters: super::derive::recipient_parameters(envelope),
        on_behalf_of: report.on_behalf_of.clone(),
        named: report
            .recipients
            .iter()
            .map(|one| ReportedRecipient {
                role: role(one.role).to_owned(),
                original: one.original.as_ref().map(original),
            })
            .collect(),
        mail_from: report.messages.first().map_or(0, |mail| mail.start as u64),
        own_suffix: None,
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::To => "To",
        Role::Cc => "Cc",
        Role::Bcc => "Bcc",
        Role::Recipient => "Recipient",
    }
}

fn original(original: &Original) -> String {
    match original {
        Original::Expanded(list) => format!("Expanded: {list}"),
        Original::Forwarded(mailbox) => format!("Forwarded: {mailbox}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::intake::envelope::Recipient;
    use crate::keeper::archiving::derive;
    use crate::policy::ValidPolicy;
    use crate::time::Timestamp;

    fn policy(senders: &str) -> JournalPolicy {
        parsed(&format!(
            "[journal]\n{senders}\nrecipients = [\"journal@archive.example\"]\npeers = [\"192.0.2.10\"]"
        ))
    }

    pub fn parsed(tables: &str) -> JournalPolicy {
        let text = crate::policy::DEMO
            .replace("\n[journal]", &format!("\n{tables}"))
            .replace("recipients = [] ", "")
            .replace("peers = [] ", "");
        let policy = ValidPolicy::parse(&text, "p.toml").expect("a policy");
        policy.journal().clone()
    }

    pub fn envelope(peer: &str, recipients: &[&str]) -> Envelope {
        let recipient = |address: &&str| Recipient {
            address: (*address).to_owned(),
            parameters: Vec::new(),
        };
        Envelope {
            tenant: "main".parse().expect("a tenant"),
            sender: "exchange@example.org".to_owned(),
            parameters: Vec::new(),
            recipients: recipients.iter().map(recipient).collect(),
            arrived: Timestamp(0),
            source: Source::Smtp {
                listener: "smtps".to_owned(),
                peer: peer.to_owned(),
                helo: String::new(),
                tls: String::new(),
            },
        }
    }

    #[test]
    fn only_peers_that_policy_names_are_believed_and_only_for_journaling_mailboxes() {
        let (journal, anna) = ("Journal@Archive.example", "anna@example.org");
        let believed = |peer, recipients: &[&str]| {
            disbelieved(&envelope(peer, recipients), &policy("")).is_none()
        };
        assert!(believed("192.0.2.10:25", &[journal]));
        assert!(believed("[::ffff:192.0.2.10]:25", &[journal, journal]));
        assert!(!believed("192.0.2.11:25", &[journal]));
        assert!(!believed("192.0.2.10:25", &[anna]));
        assert!(!believed("192.0.2.10:25", &[journal, anna]));
        assert!(!believed("192.0.2.10:25", &[]));
        let mut local = envelope("", &[journal]);
        local.source = Source::Lmtp {
            uid: 0,
            helo: String::new(),
        };
        assert!(disbelieved(&local, &policy("")).is_some());
        let sent = envelope("192.0.2.10:25", &[journal]);
        let other = policy("senders = [\"<>\", \"anna@example.org\"]");
        assert!(disbelieved(&sent, &other).is_some());
        let own = policy("senders = [\"<>\", \"Exchange@example.org\"]");
        assert!(disbelieved(&sent, &own).is_none());
        let empty = Envelope {
            sender: String::new(),
            ..sent
        };
        assert!(disbelieved(&empty, &own).is_none());
        let nobody = JournalPolicy::default();
        assert!(disbelieved(&envelope("192.0.2.10:25", &[journal]), &nobody).is_some());
    }

    // Else one tenant's mail server could give mail to another's people.
    #[test]
    fn a_peer_is_believed_for_the_mailboxes_of_its_own_table() {
        let table = |tenant: &str, peer: &str, senders: &str| {
            format!(
                "[[journal]]\nrecipients = [\"journal@{tenant}.example\"]\npeers = [\"{peer}\"]\n{senders}\n"
            )
        };
        let tables = [
            table("blue", "192.0.2.10", ""),
            table("red", "192.0.2.11", "senders = [\"exchange@example.org\"]"),
            table("green", "192.0.2.10", "senders = [\"<>\"]"),
        ];
        let policy = parsed(&tables.concat());
        let why = |peer, tenants: &[&str]| {
            let mailboxes = tenants.iter().map(|name| format!("journal@{name}.example"));
            let mailboxes: Vec<String> = mailboxes.collect();
            let mailboxes: Vec<&str> = mailboxes.iter().map(String::as_str).collect();
            disbelieved(&envelope(peer, &mailboxes), &policy)
        };
        let (blue, red) = ("192.0.2.10:25", "192.0.2.11:25");
        assert_eq!(why(blue, &["blue"]), None);
        assert_eq!(why(red, &["red"]), None);
        for (peer, tenants) in [
            (blue, &["red"][..]),
            (red, &["blue"]),
            (blue, &["green"]),
            (blue, &["blue", "red"]),
        ] {
            assert!(why(peer, tenants).is_some_and(|why| why.contains("its recipients")));
        }
    }

    #[test]
    fn the_mail_is_of_those_whom_the_report_names() {
        let message = "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSender: boss@x\r\n\
                       On-Behalf-Of: Anna@x\r\nTo: bert@x\r\nBcc: carl@x, Expanded: list@x\r\n--b\r\n\
                       Content-Type: message/rfc822\r\n\r\nFrom: Anna@x\r\n\r\nText.\r\n--b--\r\n";
        let report = crate::mail::journal::unwrap(message.as_bytes()).expect("a report");
        let journal = Journal::Report(Box::new(report));
        let came = envelope("192.0.2.10:25", &["journal@archive.example"]);
        let id = crate::id::SpoolId {
            file: crate::id::SpoolFileId::random(),
            number: 0,
        };
        let arrival = derive::arrival(0, id, &came, &journal);
        assert_eq!(
            derive::owners(&arrival),
            ["anna@x", "bert@x", "boss@x", "carl@x"]
        );
        let kept = arrival.report.expect("the report");
        assert_eq!(kept.sender, "exchange@example.org");
        assert_eq!(kept.recipients, ["journal@archive.example"]);
        assert_eq!(kept.named[1].original.as_deref(), Some("Expanded: list@x"));
        let (place, _) = journal.places(message.len() as u64);
        let (from, until) = (usize::try_from(place.start), usize::try_from(place.end));
        let mail = &message[from.expect("a place")..until.expect("a place")];
        assert_eq!(mail, "From: Anna@x\r\n\r\nText.\r\n");
    }
}
