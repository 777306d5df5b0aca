//! What people see. Every function takes a [`Warrant`], and every one leaves an entry in the ledger before it gives
//! anything out (requirement C8).

use super::archiving::derive;
use super::blind_copies::{hide_blind_copies, is_senders};
use super::core::{Core, CoreError, lock};
use super::detail::{ACCESS, AccessDetail};
use super::manifest::{Arrival, Manifest, TRACE_WINDOW, trace_prefix};
use super::protocol::{Form, Hit, Hits, MailView};
use super::rights::Warrant;
use crate::catalog::RecordMeta;
use crate::id::{RecordId, TenantId};
use crate::ledger::Event;
use crate::mail::model::Outcome;
use crate::search::{Query, Scope};
use crate::time::Timestamp;
use data_encoding::BASE64;
use std::collections::BTreeSet;
use std::io::{self, Read};

/// Most hits on one page.
const LARGEST_PAGE: u32 = 500;

/// Most mailboxes that an access entry names.
const MOST_MAILBOXES: usize = 100;
/// Most bytes of them.
pub(super) const MOST_THROUGH: usize = 4000;

/// An access, for the ledger.
pub(super) struct Access<'a> {
    /// What is done.
    pub action: &'a str,
    /// The record that is read.
    pub record: Option<RecordId>,
    /// The records that are listed.
    pub listed: Vec<RecordId>,
    /// In which of the reader's mailboxes they lie.
    pub through: BTreeSet<String>,
    /// What was asked.
    pub query: Option<&'a str>,
}

impl<'a> Access<'a> {
    /// One record is read.
    pub(super) fn to(meta: &RecordMeta, action: &'a str, warrant: &Warrant) -> Self {
        Self {
            action,
            record: Some(meta.record),
            listed: Vec::new(),
            through: warrant.through(meta).cloned().collect(),
            query: None,
        }
    }
}

impl Core {
    /// Finds mail; the ledger keeps who asked what, and which records are listed.
    pub fn find(
        &self,
        warrant: &Warrant,
        text: &str,
        limit: u32,
        offset: u32,
    ) -> Result<Hits, CoreError> {
        let query: Query = text.parse().map_err(CoreError::Query)?;
        let (records, total) = self.found(&query, &scope(warrant), limit, offset)?;
        let (mut hits, mut through) = (Vec::new(), BTreeSet::new());
        for record in records {
            if let Some(meta) = self.catalog().record(&record)? {
                through.extend(warrant.through(&meta).cloned());
                hits.push(self.hit(&meta)?);
            }
        }
        let access = Access {
            action: "search",
            record: None,
            listed: hits.iter().map(|hit| hit.record).collect(),
            through,
            query: Some(text),
        };
        self.note_access(warrant, access)?;
        Ok(Hits { total, hits })
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
    fn hit(&self, meta: &RecordMeta) -> Result<Hit, CoreError> {
        let record = meta.record;
        match self.manifest(meta) {
            Ok(manifest) => Ok(Hit {
                record,
                date: Some(derive::date(&manifest)),
                from: one_line(&manifest),
                subject: manifest.opened.text.subject.clone(),
                outcome: manifest.opened.outcome,
            }),
            Err(error) if error.is_damage() => {
                self.note_damage(record, &error);
                Ok(Hit {
                    record,
                    date: None,
                    from: String::new(),
                    subject: "(damaged in the archive)".to_owned(),
                    outcome: Outcome::Damaged,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Everything about one mail but its bytes.
    pub fn show(&self, warrant: &Warrant, record: RecordId) -> Result<MailView, CoreError> {
        let meta = self.permitted(warrant, record)?;
        self.note_access(warrant, Access::to(&meta, "show", warrant))?;
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

    /// One mail's bytes as a stream, as [`Core::in_form`] has them; the whole journal report is its sender's alone.
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
        self.note_access(warrant, Access::to(&meta, action, warrant))?;
        let manifest = self.manifest(&meta)?;
        if form == Form::Report {
            let arrivals = self.arrivals(&meta, &manifest, warrant)?;
            let mut arrivals = arrivals.iter();
            let is_its =
                |arrival: &&Arrival| arrival.report.is_some() && is_senders(arrival, warrant);
            let arrival = arrivals.find(is_its).ok_or(CoreError::NoReport(record))?;
            return self.exact_bytes(&meta, &manifest, arrival);
        }
        Ok(self.in_form(warrant, &meta, &manifest, form)?.0)
    }

    /// A mail for whoever reads it, and how many bytes it has. Whoever got it only by a later arrival gets that arrival's own trace
    /// fields, for those of the first name an envelope's recipient; of a journal report everybody gets the mail in it, for
    /// the report tells blind copies.
    pub(super) fn in_form(
        &self,
        warrant: &Warrant,
        meta: &RecordMeta,
        manifest: &Manifest,
        form: Form,
    ) -> Result<(Box<dyn Read>, u64), CoreError> {
        let content = self.content(meta, manifest, form)?;
        let length = content.length();
        if warrant.covers(&meta.tenant, &derive::owners(&manifest.arrival)) {
            return Ok((Box::new(content), length));
        }
        let arrivals = self.arrivals(meta, manifest, warrant)?;
        let arrival = arrivals.first().ok_or(CoreError::NoRecord(meta.record))?;
        let from = arrival.report.as_ref().map_or(0, |report| report.mail_from);
        let prefix = own(arrival.own_prefix.as_ref(), meta.record)?;
        let own = prefix.get(usize::try_from(from).unwrap_or(usize::MAX)..);
        let own = own.unwrap_or_default().to_vec();
        let is_rendition = form == Form::Rendition && manifest.rendition.is_some();
        let trace = if is_rendition {
            let mut start = Vec::new();
            content.take(TRACE_WINDOW).read_to_end(&mut start)?;
            trace_prefix(&start) as u64
        } else {
            arrival.shared_from.saturating_sub(manifest.mail().start)
        };
        let shared = self.content(meta, manifest, form)?.behind(trace);
        let length = own.len() as u64 + shared.length();
        Ok((Box::new(io::Cursor::new(own).chain(shared)), length))
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
        let mut arrivals = meta.arrivals.iter();
        if arrivals.any(|arrival| warrant.covers(&meta.tenant, &arrival.owners))
            && self.in_period(warrant, &meta)?
        {
            Ok(meta)
        } else {
            Err(CoreError::NoRecord(record))
        }
    }

    /// Whether the mail's date, by which a search finds it, is one that the warrant covers.
    fn in_period(&self, warrant: &Warrant, meta: &RecordMeta) -> Result<bool, CoreError> {
        if warrant.period() == (None, None) {
            return Ok(true);
        }
        let manifest = self.manifest(meta)?;
        Ok(warrant.covers_date(derive::date(&manifest)))
    }

    /// The arrivals that the warrant covers: a person does not learn of others' blind copies.
    fn arrivals(
        &self,
        meta: &RecordMeta,
        manifest: &Manifest,
        warrant: &Warrant,
    ) -> Result<Vec<Arrival>, CoreError> {
        let mut all = vec![manifest.arrival.clone()];
        let tree = lock(&self.ledger).tree().clone();
        for arrival in meta.arrivals.iter().filter(|arrival| arrival.number > 0) {
            if let Event::Arrival { part, .. } = tree.entry(arrival.ledger_index)?.entry.event {
                all.push(
                    self.later_arrival_at(&meta.tenant, super::replay::place_of(part))?
                        .arrival,
                );
            }
        }
        all.retain(|arrival| warrant.covers(&meta.tenant, &derive::owners(arrival)));
        Ok(all)
    }

    /// Records an access. What is given out afterwards is in the ledger first, and nothing is recorded under a case
    /// behind the entry that ended it.
    pub(super) fn note_access(
        &self,
        warrant: &Warrant,
        access: Access<'_>,
    ) -> Result<(), CoreError> {
        let cases = warrant.reading_case().map(|case| (case, lock(&self.cases)));
        if let Some((case, cases)) = &cases {
            cases.reading(*case, warrant.who(), self.now())?;
        }
        let detail = AccessDetail {
            who: warrant.who().to_owned(),
            purpose: warrant.purpose().to_owned(),
            action: access.action.to_owned(),
            query: access.query.map(str::to_owned),
            records: access.listed,
            through: named(access.through),
        };
        self.record(&[Event::Access {
            tenant: warrant.tenant().clone(),
            record: access.record,
            case: warrant.case(),
            sealed: self.sealed_detail(ACCESS, &detail),
        }])?;
        Ok(())
    }
}

/// The mailboxes, unless they are more than an entry has room for.
fn named(through: BTreeSet<String>) -> BTreeSet<String> {
    let length: usize = through.iter().map(String::len).sum();
    if through.len() <= MOST_MAILBOXES && length <= MOST_THROUGH {
        through
    } else {
        BTreeSet::new()
    }
}

/// What a warrant allows to be searched. A warrant's last moment is covered, a search's is not.
pub(super) fn scope(warrant: &Warrant) -> Scope {
    let (from, until) = warrant.period();
    let tenant: TenantId = warrant.tenant().clone();
    Scope {
        tenant,
        owners: Some(warrant.mailboxes().to_vec()),
        from,
        until: until.map(|last| Timestamp(last.0.saturating_add(1))),
    }
}

/// Bytes that an arrival has of its own.
fn own(base64: Option<&String>, record: RecordId) -> Result<Vec<u8>, CoreError> {
    let bytes = BASE64.decode(base64.map_or(b"", |text| text.as_bytes()));
    bytes.map_err(|_| CoreError::NoRecord(record))
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
