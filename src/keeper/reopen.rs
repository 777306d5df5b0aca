//! The worklist: mail that no key opened is opened when its key comes into escrow. A record gets a rendition and a
//! new manifest in the current segment, under its own key and slot; its original stays where it is.

use super::archiving::commit::append_text;
use super::archiving::derive;
use super::core::{Core, CoreError, lock};
use super::manifest::{Manifest, over_evidence};
use super::packing::{self, Texture};
use super::pool::{Mail, Worker, WorkerFailure};
use super::protocol::{Form, Waiting};
use super::store::NewRecord;
use crate::catalog::{Changes, RecordMeta};
use crate::id::{Digest, RecordId, TenantId};
use crate::ledger::{Event, Slot};
use crate::mail::keyops::KeyHint;
use crate::mail::model::{Opened, Outcome};
use crate::vault::PartKind;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// When what failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Keys that came, by tenant and the hints that name them.
pub type NewKeys = (TenantId, Vec<KeyHint>);

/// All keys that are in escrow, as if they came now: what an earlier keeper did not come to is opened then.
pub fn known_keys(core: &Core) -> Result<Vec<NewKeys>, CoreError> {
    let of_tenant = |tenant: &TenantId| Ok((tenant.clone(), core.escrow(tenant)?.names()));
    core.tenants().map(of_tenant).collect()
}

/// Opens waiting mail for the keys that come through `inbox`, until it is closed. What fails and may not fail again, as on
/// a full disk, is tried again.
pub fn run(core: &Arc<Core>, inbox: &Receiver<NewKeys>) {
    let mut worker = Worker::new(Arc::clone(&core.setup));
    let mut again: Vec<NewKeys> = Vec::new();
    loop {
        let due = match next(inbox, !again.is_empty()) {
            Ok(keys) => vec![keys],
            Err(RecvTimeoutError::Timeout) => std::mem::take(&mut again),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for (tenant, hints) in due {
            if let Err(error) = open_waiting(core, &mut worker, &tenant, &hints) {
                tracing::error!(%error, "waiting mail could not be opened with a new key; this is tried again");
                again.push((tenant, hints));
            }
        }
    }
}

fn next(inbox: &Receiver<NewKeys>, with_retry: bool) -> Result<NewKeys, RecvTimeoutError> {
    if with_retry {
        inbox.recv_timeout(RETRY)
    } else {
        inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }
}

/// One record stops no other, but a full disk stops all.
fn open_waiting(
    core: &Core,
    worker: &mut Worker,
    tenant: &TenantId,
    hints: &[KeyHint],
) -> Result<(), CoreError> {
    let mut records = BTreeSet::new();
    for hint in hints.iter().chain([&KeyHint::Hidden]) {
        records.extend(core.catalog().waiting(tenant, &derive::hint_bytes(hint))?);
    }
    let mut passing = Ok(());
    for record in records {
        let Err(error) = open_one(core, worker, record) else {
            continue;
        };
        tracing::error!(%record, %error, "a waiting mail could not be opened");
        if matches!(&error, CoreError::Store(error) if error.is_full()) {
            return Err(error);
        }
        if !error.is_damage() {
            passing = Err(error);
        }
    }
    passing
}

fn open_one(core: &Core, worker: &mut Worker, record: RecordId) -> Result<(), CoreError> {
    let meta = core.record_meta(record)?;
    let manifest = core.manifest(&meta)?;
    let mail = manifest.mail();
    let bytes = || -> Box<dyn Read> {
        match core.content(&meta, &manifest, Form::Original) {
            Ok(content) => Box::new(content),
            Err(error) => Box::new(super::view::Unreadable::because(error)),
        }
    };
    let keys = core.escrow(&meta.tenant)?;
    let mail = Mail {
        length: mail.end - mail.start,
        arrived: manifest.arrival.received,
        bytes: &bytes,
    };
    let mut opened = match worker.open(&mail, &**keys) {
        Ok(opened) => opened,
        Err(WorkerFailure::Start(error)) => return Err(error.into()),
        Err(_) => return Ok(()),
    };
    super::archiving::journal::keep_notes(&manifest.opened, &mut opened);
    if let Some(reason) = over_evidence(&opened) {
        tracing::warn!(%record, %reason, "a waiting mail is left as it is");
        return Ok(());
    }
    if gained(&manifest.opened, &opened) {
        add_rendition(core, &meta, manifest, opened)
    } else {
        Ok(())
    }
}

/// Whether this opening got further than the one before.
fn gained(before: &Opened, now: &Opened) -> bool {
    let layers = |opened: &Opened| {
        opened
            .layers
            .iter()
            .filter(|layer| layer.plaintext_sha256.is_some())
            .count()
    };
    now.rendition.is_some() && layers(now) > layers(before) && now.outcome != Outcome::Damaged
}

fn add_rendition(
    core: &Core,
    meta: &RecordMeta,
    before: Manifest,
    mut opened: Opened,
) -> Result<(), CoreError> {
    let slot = derive::slot_place(meta.slot);
    let key = core.reader(&meta.tenant)?.record_key(meta.record, slot)?;
    let record = NewRecord {
        id: meta.record,
        key,
    };
    let rendition = opened.rendition.take().unwrap_or_default();
    opened.text.body = String::new();
    let tenants = BTreeSet::from([meta.tenant.clone()]);
    let _order = lock(&core.order);
    let mut stores = core.lock_stores(&tenants)?;
    let store = stores
        .get_mut(&meta.tenant)
        .ok_or_else(|| CoreError::NoTenant(meta.tenant.clone()))?;
    let written = (|| {
        store.ensure_segment()?;
        let (kind, texture) = (PartKind::Rendition, Texture::Plain);
        let sealed = packing::seal(&meta.tenant, &record, kind, &rendition, texture)
            .map_err(CoreError::Seal)?;
        let entry = store.append(record.id, PartKind::Rendition, slot, &sealed)?;
        let manifest = Manifest {
            salt: super::manifest::salt().0,
            revision: before.revision + 1,
            rendition: Some(entry),
            opened,
            ..before
        };
        let (place, commitment) = append_text(store, &record, PartKind::Manifest, slot, &manifest)?;
        store.commit()?;
        let event = Event::Rendition {
            tenant: meta.tenant.clone(),
            record: record.id,
            part: place,
            slot: Slot {
                segment: slot.segment.0,
                index: slot.index,
            },
            commitment,
        };
        let range = core.record(&[event])?;
        Ok((manifest, place, range.end))
    })();
    match written {
        Ok((manifest, place, applied)) => {
            let mut row = derive::meta(&manifest, slot, place);
            row.arrivals.clear();
            let changes = Changes {
                waits: derive::waits(&manifest),
                opened_by: derive::opened_by(&manifest),
                done: vec![(meta.tenant.clone(), record.id)],
                records: vec![row],
                applied: Some(applied),
                ..Changes::default()
            };
            // The ledger has it: a second try would write it twice, a new keeper catches up from the ledger.
            let applied = core
                .catalog()
                .apply(&changes)
                .map_err(CoreError::from)
                .and_then(|()| core.index(Vec::new(), &BTreeSet::from([record.id]), applied));
            if let Err(error) = applied {
                super::begin_anew(core.data.path(), &error);
            }
            Ok(())
        }
        Err(error) => {
            store.rollback()?;
            Err(error)
        }
    }
}

impl Core {
    /// The keys that mail waits for, most wanted first.
    pub fn worklist(&self) -> Result<Vec<Waiting>, CoreError> {
        let mut all = Vec::new();
        for tenant in self.tenants() {
            for (hint, mails) in self.catalog().worklist(tenant)? {
                let key = ciborium::from_reader(hint.as_slice())
                    .map_or_else(|_| "?".to_owned(), |hint| describe(&hint));
                all.push(Waiting {
                    tenant: tenant.clone(),
                    key,
                    mails,
                });
            }
        }
        all.sort_by_key(|waiting| std::cmp::Reverse(waiting.mails));
        Ok(all)
    }
}

/// A key as the mails name it, in words.
#[must_use]
pub fn describe(hint: &KeyHint) -> String {
    let hex = |bytes: &[u8]| data_encoding::HEXUPPER.encode(bytes);
    match hint {
        KeyHint::IssuerSerial { issuer, serial } => {
            format!(
                "S/MIME serial {} of issuer {}",
                hex(serial),
                issuer_text(issuer)
            )
        }
        KeyHint::SubjectKeyId(id) => format!("S/MIME subject key id {}", hex(id)),
        KeyHint::OpenPgp(id) => format!("OpenPGP {}", hex(id)),
        KeyHint::Hidden => "OpenPGP, recipient hidden".to_owned(),
        KeyHint::Passphrase => "a passphrase".to_owned(),
    }
}

/// The issuer's distinguished name in one line, last part first as RFC 4514 has it. Who issues for himself has his own
/// name or address there, so of all but authorities' countries, organisations and domains the beginning of the SHA-256 is
/// shown: the worklist needs no session. The serial number says which certificate it is.
fn issuer_text(der: &[u8]) -> String {
    use der::Decode;
    let Ok(name) = x509_cert::name::Name::from_der(der) else {
        return "?".to_owned();
    };
    let parts = name.iter().map(ToString::to_string).collect::<Vec<_>>();
    let shown = parts.iter().rev().map(|part| match part.split_once('=') {
        Some(("C" | "O" | "OU" | "DC", value)) if !value.contains('@') => part.clone(),
        Some((kind, value)) => {
            let digest = Digest::of(value.to_lowercase().as_bytes()).to_string();
            format!("{kind}=#{}", &digest[..8])
        }
        None => "?".to_owned(),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::x509::X509NameBuilder;

    #[test]
    fn no_name_or_address_of_an_issuer_is_told() {
        let mut name = X509NameBuilder::new().expect("a name");
        for (kind, value) in [
            ("O", "Example"),
            ("CN", "Anna Meier"),
            ("SN", "Meier"),
            ("OU", "Anna@example.org"),
            ("emailAddress", "anna@example.org"),
        ] {
            name.append_entry_by_text(kind, value).expect("an entry");
        }
        let hint = KeyHint::IssuerSerial {
            issuer: name.build().to_der().expect("DER"),
            serial: vec![7],
        };
        let said = describe(&hint);
        assert!(said.contains("serial 07 of issuer EMAIL"), "{said}");
        assert!(
            said.contains("O=Example") && said.contains("CN=#"),
            "{said}"
        );
        assert!(!said.contains('@') && !said.contains("Meier"), "{said}");
    }
}
