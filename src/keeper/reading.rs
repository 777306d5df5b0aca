//! What people see. Every function takes a [`Warrant`], and every one leaves an entry in the ledger before it gives
//! anything out (requirement C8).

use super::archiving::derive;
use super::core::{Core, CoreError};
use super::manifest::{Arrival, Manifest, ReportedRecipient};
use super::protocol::{Form, Hit, Hits, MailView};
use super::rights::Warrant;
use crate::catalog::RecordMeta;
use crate::crypto::wrap;
use crate::id::{CaseId, RecordId, TenantId};
use crate::ledger::Event;
use crate::mail::model::{Mailbox, Outcome};
use crate::search::{Query, Scope};
use data_encoding::BASE64;
use serde::Serialize;
use std::io::{self, Read};
use std::sync::PoisonError;

/// Most hits on one page.
const LARGEST_PAGE: u32 = 500;

/// What the sealed detail of an access entry says.
#[derive(Serialize)]
struct AccessDetail<'a> {
    who: &'a str,
    purpose: &'a str,
    action: &'a str,
    query: Option<&'a str>,
}

impl Core {
    /// Finds mail; the ledger keeps who asked what.
    pub fn find(
        &self,
        warrant: &Warrant,
        text: &str,
        limit: u32,
        offset: u32,
    ) -> Result<Hits, CoreError> {
        let query: Query = text.parse().map_err(CoreError::Query)?;
        self.note_access(warrant, None, None, "search", Some(text))?;
        let (records, total) = self.found(&query, &scope(warrant), limit, offset)?;
        let hits = records.into_iter().map(|record| self.hit(record));
        let hits: Vec<Option<Hit>> = hits.collect::<Result<_, _>>()?;
        Ok(Hits {
            total,
            hits: hits.into_iter().flatten().collect(),
        })
    }

    /// The records of one page, from however far behind, and how many there are in all.
    fn found(
        &self,
        query: &Query,
        scope: &Scope,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<RecordId>, u64), CoreError> {
        let wanted = limit.min(LARGEST_PAGE) as usize;
        let (mut skip, mut cursor) = (offset as usize, None);
        let mut records = Vec::new();
        loop {
            let most = skip + wanted - records.len();
            let page = self.search().search(query, scope, most, cursor)?;
            let skipped = skip.min(page.hits.len());
            skip -= skipped;
            let room = wanted - records.len();
            let hits = page.hits.iter().skip(skipped).take(room);
            records.extend(hits.map(|hit| hit.record));
            cursor = page.next;
            if records.len() == wanted || cursor.is_none() {
                return Ok((records, page.total));
            }
        }
    }

    /// What is listed of a record. A damaged one is listed as such: it hides no other.
    fn hit(&self, record: RecordId) -> Result<Option<Hit>, CoreError> {
        let Some(meta) = self.catalog().record(&record)? else {
            return Ok(None);
        };
        match self.manifest(&meta) {
            Ok(manifest) => Ok(Some(Hit {
                record,
                date: Some(derive::date(&manifest)),
                from: one_line(&manifest),
                subject: manifest.opened.text.subject.clone(),
                outcome: manifest.opened.outcome,
            })),
            Err(error) if error.is_damage() => {
                self.note_damage(record, &error);
                Ok(Some(Hit {
                    record,
                    date: None,
                    from: String::new(),
                    subject: "(damaged in the archive)".to_owned(),
                    outcome: Outcome::Damaged,
                }))
            }
            Err(error) => Err(error),
        }
    }

    /// Everything about one mail but its bytes.
    pub fn show(&self, warrant: &Warrant, record: RecordId) -> Result<MailView, CoreError> {
        let meta = self.permitted(warrant, record)?;
        self.note_access(warrant, Some(record), None, "show", None)?;
        let manifest = self.manifest(&meta)?;
        let text = self.text(&meta, &manifest)?;
        let mut arrivals = self.arrivals(&meta, &manifest, warrant)?;
        for arrival in &mut arrivals {
            hide_blind_copies(arrival, &text.to, warrant);
        }
        let mail = manifest.mail();
        let opened = manifest.opened;
        Ok(MailView {
            record,
            arrivals,
            message_id: text.message_id,
            from: text.from,
            to: text.to,
            subject: text.subject,
            date: text.date,
            outcome: opened.outcome,
            reason: opened.reason,
            layers: opened.layers,
            signatures: opened.signatures,
            text: text.body,
            attachments: text.attachments,
            notes: opened.text.notes,
            original_bytes: mail.end - mail.start,
            rendition_bytes: manifest.rendition.map(|entry| entry.length),
        })
    }

    /// One mail's bytes as a stream. Whoever got it only by a later arrival gets that arrival's own bytes; of a journal report
    /// everybody gets the mail in it, for the report tells blind copies.
    pub fn get(
        &self,
        warrant: &Warrant,
        record: RecordId,
        form: Form,
    ) -> Result<Box<dyn Read>, CoreError> {
        let meta = self.permitted(warrant, record)?;
        let action = match form {
            Form::Original => "get original",
            Form::Rendition => "get rendition",
            Form::Report => "get report",
        };
        self.note_access(warrant, Some(record), None, action, None)?;
        let manifest = self.manifest(&meta)?;
        let arrivals = self.arrivals(&meta, &manifest, warrant)?;
        if form == Form::Report {
            let mut arrivals = arrivals.iter();
            let is_its =
                |arrival: &&Arrival| arrival.report.is_some() && is_senders(arrival, warrant);
            let arrival = arrivals.find(is_its).ok_or(CoreError::NoReport(record))?;
            return self.exact_bytes(&meta, &manifest, arrival);
        }
        let as_received = form == Form::Original || manifest.rendition.is_none();
        match arrivals.first() {
            Some(arrival) if as_received && arrival.number > 0 => {
                let from = arrival.report.as_ref().map_or(0, |report| report.mail_from);
                let prefix = own(arrival.own_prefix.as_ref(), record)?;
                let own = prefix.get(usize::try_from(from).unwrap_or(usize::MAX)..);
                let own = own.unwrap_or_default().to_vec();
                let shared = arrival.shared_from..manifest.mail().end;
                let content = self.original(&meta, &manifest, shared)?;
                Ok(Box::new(io::Cursor::new(own).chain(content)))
            }
            _ => Ok(Box::new(self.content(&meta, &manifest, form)?)),
        }
    }

    /// All bytes of an arrival as they were received, of a journal report what is around the mail too.
    fn exact_bytes(
        &self,
        meta: &RecordMeta,
        manifest: &Manifest,
        arrival: &Arrival,
    ) -> Result<Box<dyn Read>, CoreError> {
        let length = manifest.original.length;
        if arrival.number == 0 {
            return Ok(Box::new(self.original(meta, manifest, 0..length)?));
        }
        let report = arrival.report.as_ref();
        let suffix = report.and_then(|report| report.own_suffix.as_ref());
        let (prefix, suffix) = (
            own(arrival.own_prefix.as_ref(), meta.record)?,
            own(suffix, meta.record)?,
        );
        let shared = arrival.shared_from..arrival.shared_until.unwrap_or(length);
        let shared = self.original(meta, manifest, shared)?;
        let all = io::Cursor::new(prefix).chain(shared);
        Ok(Box::new(all.chain(io::Cursor::new(suffix))))
    }

    /// The record, if the warrant covers one of its arrivals. "Not there" and "not yours" look the same.
    fn permitted(&self, warrant: &Warrant, record: RecordId) -> Result<RecordMeta, CoreError> {
        let meta = self
            .catalog()
            .record(&record)?
            .ok_or(CoreError::NoRecord(record))?;
        let covered = meta
            .arrivals
            .iter()
            .any(|arrival| warrant.covers(&meta.tenant, &arrival.owners, arrival.arrived));
        if covered {
            Ok(meta)
        } else {
            Err(CoreError::NoRecord(record))
        }
    }

    /// The arrivals that the warrant covers: a person does not learn of others' blind copies.
    fn arrivals(
        &self,
        meta: &RecordMeta,
        manifest: &Manifest,
        warrant: &Warrant,
    ) -> Result<Vec<Arrival>, CoreError> {
        let mut all = vec![manifest.arrival.clone()];
        let tree = super::core::lock(&self.ledger).tree().clone();
        for arrival in meta.arrivals.iter().filter(|arrival| arrival.number > 0) {
            if let Event::Arrival { part, .. } = tree.entry(arrival.ledger_index)?.entry.event {
                all.push(
                    self.later_arrival_at(&meta.tenant, super::replay::place_of(part))?
                        .arrival,
                );
            }
        }
        all.retain(|arrival| {
            warrant.covers(&meta.tenant, &derive::owners(arrival), arrival.received)
        });
        Ok(all)
    }

    /// Records an access. What is given out afterwards is in the ledger first.
    pub(super) fn note_access(
        &self,
        warrant: &Warrant,
        record: Option<RecordId>,
        case: Option<CaseId>,
        action: &str,
        query: Option<&str>,
    ) -> Result<(), CoreError> {
        let detail = AccessDetail {
            who: warrant.who(),
            purpose: warrant.purpose(),
            action,
            query,
        };
        let sealed = self.sealed_detail("access", &detail);
        let tenant = warrant.tenant().clone();
        self.record(&[Event::Access {
            tenant,
            record,
            case,
            sealed,
        }])?;
        Ok(())
    }

    /// A detail for the ledger: JSON under the ledger detail key, bound to the entry's kind.
    pub(super) fn sealed_detail<T: Serialize>(&self, kind: &str, detail: &T) -> String {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_vec(detail).unwrap_or_default();
        BASE64.encode(&wrap::seal(&keyring.ledger_detail, kind.as_bytes(), &text))
    }
}

/// What a warrant allows to be searched.
pub(super) fn scope(warrant: &Warrant) -> Scope {
    let (from, until) = warrant.period();
    let tenant: TenantId = warrant.tenant().clone();
    Scope {
        tenant,
        owners: Some(warrant.mailboxes().to_vec()),
        from,
        until,
    }
}

/// Bytes that an arrival has of its own.
fn own(base64: Option<&String>, record: RecordId) -> Result<Vec<u8>, CoreError> {
    let bytes = BASE64.decode(base64.map_or(b"", |text| text.as_bytes()));
    bytes.map_err(|_| CoreError::NoRecord(record))
}

/// Whether the reader sent the mail, or it was sent in the reader's name: nothing about its recipients is hidden then.
fn is_senders(arrival: &Arrival, warrant: &Warrant) -> bool {
    let report = arrival.report.as_ref();
    let behalf = report.and_then(|report| report.on_behalf_of.as_ref());
    let mut senders = std::iter::once(&arrival.sender).chain(behalf);
    senders.any(|sender| warrant.mailboxes().contains(&sender.to_lowercase()))
}

/// Leaves only the recipients that a reader knows of: the own mailboxes and those in To and Cc; to the sender all. The bytes
/// around a mail in a journal report name them all, and how many these bytes are tells how many: neither is shown.
fn hide_blind_copies(arrival: &mut Arrival, named: &[Mailbox], warrant: &Warrant) {
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
    let own = |address: &str| warrant.mailboxes().contains(&address.to_lowercase());
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

fn one_line(manifest: &Manifest) -> String {
    manifest
        .opened
        .text
        .from
        .first()
        .map_or_else(String::new, |from| match from.name.as_str() {
            "" => from.address.clone(),
            name => format!("{name} <{}>", from.address),
        })
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
}
