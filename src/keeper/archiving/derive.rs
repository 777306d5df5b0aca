//! What catalog and search are given of a record: made from its manifest alone, so that a rebuild makes the same.

use super::journal::{self, Journal};
use crate::catalog::{ArrivalMeta, PartRef, RecordMeta, Sizes, SlotRef, Wait};
use crate::id::SpoolId;
use crate::intake::envelope::{Envelope, Source};
use crate::keeper::manifest::{Arrival, Manifest, PartEntry};
use crate::ledger::Place;
use crate::mail::keyops::KeyHint;
use crate::mail::model::{Format, Mailbox, Outcome, SearchText, Verdict};
use crate::search::{Encryption, Judgement, Party, SearchDoc};
use crate::time::Timestamp;
use crate::vault::{PartKind, SegmentNo, SlotPlace};
use std::collections::BTreeSet;

/// The catalog's row of a record with its first arrival.
#[must_use]
pub fn meta(manifest: &Manifest, slot: SlotPlace, place: Place) -> RecordMeta {
    let mut parts = vec![part(PartKind::Original, &manifest.original)];
    parts.extend(
        manifest
            .rendition
            .as_ref()
            .map(|entry| part(PartKind::Rendition, entry)),
    );
    parts.push(PartRef {
        kind: PartKind::Manifest.code(),
        segment: place.segment.into(),
        offset: place.offset,
        length: place.length,
    });
    RecordMeta {
        tenant: manifest.tenant.clone(),
        record: manifest.record,
        slot: SlotRef {
            segment: slot.segment.0.into(),
            index: slot.index,
        },
        parts,
        arrivals: vec![arrival_meta(&manifest.arrival)],
        join: manifest.join.0,
        message_id: manifest.opened.text.message_id.clone(),
        outcome: outcome_text(manifest.opened.outcome).to_owned(),
        opened_by: opened_by(manifest),
        has_attachment: manifest.opened.text.is_with_attachment(),
        sizes: Sizes {
            original: manifest.original.length,
            rendition: manifest.rendition.as_ref().map(|entry| entry.length),
        },
    }
}

fn part(kind: PartKind, entry: &PartEntry) -> PartRef {
    PartRef {
        kind: kind.code(),
        segment: entry.segment.into(),
        offset: entry.offset,
        length: entry.sealed_length,
    }
}

/// How a mail arrived, as its manifest tells it; what of its bytes is its own is filled in later.
#[must_use]
pub fn arrival(number: u32, spool_id: SpoolId, envelope: &Envelope, journal: &Journal) -> Arrival {
    let direct = Arrival {
        number,
        spool_id,
        received: envelope.arrived,
        sender: envelope.sender.clone(),
        recipients: envelope
            .recipients
            .iter()
            .map(|recipient| recipient.address.clone())
            .collect(),
        parameters: envelope.parameters.clone(),
        recipient_parameters: recipient_parameters(envelope),
        source: describe(&envelope.source),
        own_prefix: None,
        shared_from: 0,
        shared_until: None,
        report: None,
    };
    let Journal::Report(report) = journal else {
        return direct;
    };
    let recipients = report.recipients.iter();
    Arrival {
        sender: report.sender.clone(),
        recipients: recipients.map(|one| one.address.clone()).collect(),
        parameters: Vec::new(),
        recipient_parameters: Vec::new(),
        report: Some(journal::kept(report, envelope)),
        ..direct
    }
}

pub(super) fn recipient_parameters(envelope: &Envelope) -> Vec<Vec<String>> {
    let all = envelope.recipients.iter();
    let all: Vec<_> = all.map(|one| one.parameters.clone()).collect();
    if all.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    all
}

fn describe(source: &Source) -> String {
    match source {
        Source::Smtp {
            listener,
            peer,
            helo,
            tls,
        } => {
            format!("smtp: listener {listener}, from {peer} as {helo}, {tls}")
        }
        Source::Lmtp { uid, helo } => format!("lmtp: user id {uid} as {helo}"),
        Source::Import { uid, origin } => format!("import: user id {uid}, origin {origin}"),
    }
}

/// The catalog's row of an arrival; the ledger index comes with the commit.
#[must_use]
pub fn arrival_meta(arrival: &Arrival) -> ArrivalMeta {
    ArrivalMeta {
        number: arrival.number,
        spool: arrival.spool_id,
        arrived: arrival.received,
        owners: owners(arrival),
        ledger_index: 0,
    }
}

/// The mailboxes of an arrival: everybody in its envelope, or whom the journal report names instead, in one spelling for each
/// mailbox.
#[must_use]
pub fn owners(arrival: &Arrival) -> Vec<String> {
    let report = arrival.report.as_ref();
    let all: BTreeSet<String> = std::iter::once(&arrival.sender)
        .chain(report.and_then(|report| report.on_behalf_of.as_ref()))
        .chain(&arrival.recipients)
        .map(|address| mailbox(address))
        .filter(|address| !address.is_empty())
        .collect();
    all.into_iter().collect()
}

/// The mailbox that an address of an envelope means (RFC 5321, 4.1.2): lower case, without a source route, without the
/// domain's last dot, its local part without quotes that it doesn't need.
pub(in crate::keeper) fn mailbox(address: &str) -> String {
    let routed = address.strip_prefix('@').and_then(|at| at.split_once(':'));
    let address = routed.map_or(address, |(_, address)| address).trim();
    let Some((local, domain)) = address.rsplit_once('@') else {
        return address.to_lowercase();
    };
    let quoted = local.strip_prefix('"').and_then(|q| q.strip_suffix('"'));
    let local = quoted
        .and_then(unquoted)
        .unwrap_or_else(|| local.to_owned());
    format!("{local}@{}", domain.trim_end_matches('.')).to_lowercase()
}

/// The inside of a quoted local part, if it is one without quotes too.
fn unquoted(quoted: &str) -> Option<String> {
    let mut out = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next()? } else { c });
    }
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .chars()
                .all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    out.split('.').all(is_atom).then_some(out)
}

/// The keys that a record waits for.
#[must_use]
pub fn waits(manifest: &Manifest) -> Vec<Wait> {
    let distinct: BTreeSet<&KeyHint> = manifest
        .opened
        .waiting_for
        .iter()
        .filter(|hint| **hint != KeyHint::Passphrase)
        .collect();
    distinct
        .into_iter()
        .map(|hint| Wait {
            tenant: manifest.tenant.clone(),
            record: manifest.record,
            hint: hint_bytes(hint),
        })
        .collect()
}

/// One encoding for each hint: its CBOR.
#[must_use]
pub fn hint_bytes(hint: &KeyHint) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory does not fail, and a hint has a CBOR form.
    let _ = ciborium::into_writer(hint, &mut out);
    out
}

/// Fingerprints of the escrowed keys that opened layers, each once.
#[must_use]
pub fn opened_by(manifest: &Manifest) -> Vec<String> {
    let distinct: BTreeSet<&String> = manifest
        .opened
        .layers
        .iter()
        .filter_map(|layer| layer.key.as_ref())
        .collect();
    distinct.into_iter().cloned().collect()
}

/// What search is given. `text` has the body; `further` are the owners of later arrivals. What was noted of the text
/// (e-invoices, failed extractions) is found like words of the body.
#[must_use]
pub fn doc(manifest: &Manifest, text: SearchText, further: &[String]) -> SearchDoc {
    let mut all: BTreeSet<String> = owners(&manifest.arrival).into_iter().collect();
    all.extend(further.iter().cloned());
    let layers = &manifest.opened.layers;
    let encrypts = |format| {
        layers
            .iter()
            .any(|layer| layer.format == format && is_encryption(&layer.kind))
    };
    let has_attachment = text.is_with_attachment();
    let mut encrypted = Vec::new();
    if encrypts(Format::Smime) {
        encrypted.push(Encryption::Smime);
    }
    if encrypts(Format::Openpgp) {
        encrypted.push(Encryption::OpenPgp);
    }
    SearchDoc {
        tenant: manifest.tenant.clone(),
        record: manifest.record,
        arrived: manifest.arrival.received,
        date: manifest
            .opened
            .text
            .date
            .or(text.date)
            .unwrap_or(manifest.arrival.received),
        owners: all.into_iter().collect(),
        from: text.from.iter().map(party).collect(),
        to: text.to.iter().map(party).collect(),
        subject: text.subject,
        body: with_notes(text.body, &text.notes),
        has_attachment,
        attachments: text.attachments,
        encrypted,
        signed: manifest
            .opened
            .signatures
            .iter()
            .map(|signature| judgement(signature.verdict))
            .collect(),
        message_id: text.message_id,
    }
}

fn with_notes(body: String, notes: &[String]) -> String {
    if notes.is_empty() {
        return body;
    }
    format!("{}\n{body}", notes.join("\n"))
}

/// The mail's own date, or that of its first arrival.
#[must_use]
pub fn date(manifest: &Manifest) -> Timestamp {
    manifest
        .opened
        .text
        .date
        .unwrap_or(manifest.arrival.received)
}

fn is_encryption(kind: &str) -> bool {
    matches!(kind, "enveloped" | "authenveloped" | "encrypted")
}

fn party(mailbox: &Mailbox) -> Party {
    Party {
        name: mailbox.name.clone(),
        address: mailbox.address.clone(),
    }
}

const fn judgement(verdict: Verdict) -> Judgement {
    match verdict {
        Verdict::Valid => Judgement::Valid,
        Verdict::ValidBut => Judgement::ValidBut,
        Verdict::UnknownSigner => Judgement::UnknownSigner,
        Verdict::Invalid => Judgement::Invalid,
    }
}

/// The text form of an outcome, as in JSON.
#[must_use]
pub const fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Opened => "opened",
        Outcome::Partly => "partly",
        Outcome::NoKey => "no-key",
        Outcome::LockedKey => "locked-key",
        Outcome::Refused => "refused",
        Outcome::Damaged => "damaged",
        Outcome::NotEncrypted => "not-encrypted",
    }
}

/// The catalog's slot in the vault's terms.
#[must_use]
pub fn slot_place(slot: SlotRef) -> SlotPlace {
    SlotPlace {
        segment: SegmentNo(u32::try_from(slot.segment).unwrap_or(u32::MAX)),
        index: slot.index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Digest, RecordId, SpoolFileId};
    use crate::keeper::manifest::{Manifest, PartEntry, VERSION};
    use crate::mail::model::Opened;

    fn dated(date: Timestamp) -> Manifest {
        let envelope = Envelope {
            tenant: "main".parse().expect("a tenant"),
            sender: String::new(),
            parameters: Vec::new(),
            recipients: Vec::new(),
            arrived: Timestamp(1000),
            source: Source::Lmtp {
                uid: 0,
                helo: String::new(),
            },
        };
        let id = SpoolId {
            file: SpoolFileId::random(),
            number: 0,
        };
        Manifest {
            version: VERSION,
            salt: String::new(),
            record: RecordId::random(),
            tenant: envelope.tenant.clone(),
            revision: 1,
            arrival: arrival(0, id, &envelope, &Journal::Not("a test".into())),
            join: Digest([0; 32]),
            original: PartEntry::to_come(),
            rendition: None,
            opened: Opened {
                outcome: Outcome::NotEncrypted,
                reason: None,
                layers: Vec::new(),
                signatures: Vec::new(),
                rendition: None,
                text: SearchText {
                    date: Some(date),
                    ..SearchText::default()
                },
                waiting_for: Vec::new(),
            },
        }
    }

    // What a case allows to be listed and released goes by search, what it allows to be shown by the manifest.
    #[test]
    fn a_mail_is_found_by_the_date_that_rights_go_by() {
        let manifest = dated(Timestamp(7));
        // What a worker gives that died with the mail.
        let doc = doc(&manifest, SearchText::default(), &[]);
        assert_eq!(doc.date, date(&manifest));
    }

    #[test]
    fn a_mailbox_has_one_spelling() {
        for spelt in [
            "probe@x.example",
            "Probe@X.example",
            "\"probe\"@x.example",
            "\"pr\\obe\"@x.example",
            "@relay.example:probe@x.example",
            "@a.example,@b.example:\"probe\"@x.example.",
            "probe@x.example.",
        ] {
            assert_eq!(mailbox(spelt), "probe@x.example", "{spelt}");
        }
        for kept in [
            "\"a b\"@x.example",
            "\"a@b\"@x.example",
            "\"\"@x.example",
            "\"a.\"@x.example",
            "\"a\\\"@x.example",
            "postmaster",
            "",
        ] {
            assert_eq!(mailbox(kept), kept);
        }
    }
}
