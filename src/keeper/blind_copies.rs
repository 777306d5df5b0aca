//! Which recipients of a mail its reader may know of: blind copies are the sender's and the recipient's own.

use super::archiving::derive::mailbox;
use super::manifest::{Arrival, ReportedRecipient};
use super::rights::Warrant;
use crate::mail::model::Mailbox;

/// Whether the reader sent the mail, or it was sent in the reader's name: nothing about its recipients is hidden then.
pub(super) fn is_senders(arrival: &Arrival, warrant: &Warrant) -> bool {
    let report = arrival.report.as_ref();
    let behalf = report.and_then(|report| report.on_behalf_of.as_ref());
    let mut senders = std::iter::once(&arrival.sender).chain(behalf);
    senders.any(|sender| warrant.mailboxes().contains(&mailbox(sender)))
}

/// Leaves only the recipients that a reader knows of: the own mailboxes and those in To and Cc; to the sender all. The bytes
/// around a mail in a journal report name them all, and how many these bytes are tells how many: neither is shown.
pub(super) fn hide_blind_copies(arrival: &mut Arrival, named: &[Mailbox], warrant: &Warrant) {
    if let Some(report) = &mut arrival.report {
        arrival.own_prefix = None;
        report.own_suffix = None;
        report.mail_from = 0;
    }
    if arrival.shared_until.take().is_some() {
        arrival.shared_from = 0;
    }
    if is_senders(arrival, warrant) {
        return;
    }
    let own = |address: &str| warrant.mailboxes().contains(&mailbox(address));
    let is_named = |address: &str| {
        named
            .iter()
            .any(|mailbox| mailbox.address.eq_ignore_ascii_case(address))
    };
    let mut shown: Vec<bool> = arrival
        .recipients
        .iter()
        .map(|address| own(address) || is_named(address))
        .collect();
    if let Some(report) = &mut arrival.report {
        hide_blind_roles(&mut report.named, &arrival.recipients, &mut shown, own);
        keep(&mut report.named, &shown);
    }
    // ORCPT names an address too.
    keep(&mut arrival.recipient_parameters, &shown);
    keep(&mut arrival.recipients, &shown);
}

/// Of somebody in To or Cc a report may say that a blind copy went there too, and through which list: that is the sender's
/// and the recipient's alone.
fn hide_blind_roles(
    named: &mut [ReportedRecipient],
    recipients: &[String],
    shown: &mut [bool],
    own: impl Fn(&str) -> bool,
) {
    for ((named, address), shown) in named.iter_mut().zip(recipients).zip(shown) {
        if !own(address) {
            *shown &= named.role != "Bcc";
            named.original = None;
        }
    }
}

/// Leaves what stands at the same places as `true`.
fn keep<T>(list: &mut Vec<T>, shown: &[bool]) {
    let mut shown = shown.iter();
    list.retain(|_| shown.next().is_some_and(|shown| *shown));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SpoolFileId, SpoolId};
    use crate::keeper::manifest::JournalReport;
    use crate::keeper::people::{Person, StoredPassword};
    use crate::time::Timestamp;

    fn reported() -> Arrival {
        let named = |role: &str| ReportedRecipient {
            role: role.to_owned(),
            original: Some("Expanded: list@x".to_owned()),
        };
        Arrival {
            number: 1,
            spool_id: SpoolId {
                file: SpoolFileId::random(),
                number: 0,
            },
            received: Timestamp(0),
            sender: "boss@x".to_owned(),
            recipients: ["anna@x", "anna@x", "bert@x"].map(str::to_owned).to_vec(),
            parameters: Vec::new(),
            recipient_parameters: Vec::new(),
            source: String::new(),
            own_prefix: Some("Bcc: bert@x".to_owned()),
            shared_from: 0,
            shared_until: None,
            report: Some(JournalReport {
                sender: String::new(),
                recipients: vec!["journal@x".to_owned()],
                parameters: Vec::new(),
                recipient_parameters: Vec::new(),
                on_behalf_of: Some("dora@x".to_owned()),
                named: ["To", "Bcc", "Bcc"].map(named).to_vec(),
                mail_from: 0,
                own_suffix: Some(String::new()),
            }),
        }
    }

    fn seen_by(mailbox: &str) -> Arrival {
        let warrant = Warrant::of_person(&Person {
            name: "a person".into(),
            tenant: "main".parse().expect("tenant"),
            mailboxes: vec![mailbox.to_owned()],
            password: StoredPassword::default(),
            active: true,
            officer: None,
            auditor: false,
        });
        let mut arrival = reported();
        let anna = Mailbox {
            name: String::new(),
            address: "anna@x".to_owned(),
        };
        hide_blind_copies(&mut arrival, &[anna], &warrant);
        arrival
    }

    #[test]
    fn a_journal_report_tells_blind_copies_to_the_sender_alone() {
        for (reader, seen) in [
            ("anna@x", "To anna@x list, Bcc anna@x list"),
            ("bert@x", "To anna@x, Bcc bert@x list"),
            ("boss@x", "To anna@x list, Bcc anna@x list, Bcc bert@x list"),
            ("dora@x", "To anna@x list, Bcc anna@x list, Bcc bert@x list"),
        ] {
            let arrival = seen_by(reader);
            let report = arrival.report.expect("the report");
            assert!(arrival.own_prefix.is_none() && report.own_suffix.is_none());
            let told = |(address, named): (&String, &ReportedRecipient)| {
                let list = named.original.as_ref().map_or("", |_| " list");
                format!("{} {address}{list}", named.role)
            };
            let told: Vec<String> = arrival
                .recipients
                .iter()
                .zip(&report.named)
                .map(told)
                .collect();
            assert_eq!(told.join(", "), seen, "{reader}");
        }
    }

    #[test]
    fn a_mailbox_is_the_own_however_it_was_written() {
        let mut arrival = reported();
        arrival.report = None;
        arrival.recipients = vec!["\"bert\"@X".to_owned(), "carl@x".to_owned()];
        let bert = Warrant::of_person(&Person {
            name: "bert".into(),
            tenant: "main".parse().expect("tenant"),
            mailboxes: vec!["bert@x".to_owned()],
            password: StoredPassword::default(),
            active: true,
            officer: None,
            auditor: false,
        });
        hide_blind_copies(&mut arrival, &[], &bert);
        assert_eq!(arrival.recipients, ["\"bert\"@X"]);
    }
}
