//! The commit of a batch: parts into segments, entries into the ledger, then catalog and search.
//!
//! Order (design §4): segment fsync → slots fsync → ledger fsync (= commit) → catalog, search. Before the ledger's
//! commit everything can be taken back; after it nothing may fail for good, since the rest is derived.

use super::batch::{Again, Batch, Prepared};
use super::derive;
use crate::catalog::{ArrivalMeta, Changes, RecordMeta};
use crate::id::{Digest, RecordId, TenantId};
use crate::keeper::core::{Core, CoreError};
use crate::keeper::error::StoreError;
use crate::keeper::manifest::{self, Arrival, LaterArrival, VERSION};
use crate::keeper::packing::{self, Texture};
use crate::keeper::store::{NewRecord, Store};
use crate::ledger::{Event, Place, Slot};
use crate::mail::model::SearchText;
use crate::search::SearchDoc;
use crate::vault::{PartKind, SlotPlace};
use data_encoding::BASE64;
use std::collections::{BTreeMap, BTreeSet};

/// A record that this batch writes to.
struct Written {
    record: NewRecord,
    slot: SlotPlace,
    arrivals: u32,
    /// The mailboxes of all arrivals.
    owners: BTreeSet<String>,
    /// What of the original further arrivals share, as in [`Arrival`].
    shared_from: u64,
    shared_until: Option<u64>,
}

/// What a batch leaves to be done after the ledger has it.
#[derive(Default)]
pub(super) struct Outcome {
    events: Vec<Event>,
    records: Vec<(usize, RecordMeta)>,
    arrivals: Vec<(usize, RecordId, ArrivalMeta)>,
    replaced: BTreeSet<RecordId>,
    changes: Changes,
}

/// Why a batch was not committed.
pub(super) enum Failure {
    /// The content of a further arrival is in a record that is damaged.
    Known(Box<Known>),
    /// All else; trying again may help.
    Core(CoreError),
}

/// A damaged record to which an arrival was to be added.
pub(super) struct Known {
    pub tenant: TenantId,
    pub join: [u8; 32],
    pub record: RecordId,
    pub error: CoreError,
}

impl<E: Into<CoreError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Core(error.into())
    }
}

/// Commits the batch, or takes everything back. Does not return where the ledger has the batch and the catalog
/// cannot take it: a second try would archive the mails twice, a new keeper catches up from the ledger.
pub(super) fn commit(core: &Core, batch: &mut Batch) -> Result<(), Failure> {
    let tenants: BTreeSet<TenantId> = tenants_of(batch);
    let _order = core.lock_order();
    let mut stores = core.lock_stores(&tenants)?;
    let written = write(core, &mut stores, batch);
    let outcome = written.and_then(|mut outcome| {
        for store in stores.values_mut() {
            store.commit()?;
        }
        let first = core.record(&outcome.events)?.start;
        outcome.number_from(first);
        Ok(outcome)
    });
    match outcome {
        Ok(outcome) => {
            drop(stores);
            let docs = batch.new.iter_mut().map(doc).collect();
            if let Err(error) = apply(core, outcome, docs) {
                crate::keeper::begin_anew(core.data.path(), &error);
            }
            Ok(())
        }
        Err(error) => {
            // Each of them, whatever becomes of another.
            let undone: Vec<_> = stores.values_mut().map(|store| store.rollback()).collect();
            undone.into_iter().collect::<Result<Vec<()>, _>>()?;
            Err(error)
        }
    }
}

fn tenants_of(batch: &Batch) -> BTreeSet<TenantId> {
    let new = batch.new.iter().map(|prepared| &prepared.task.tenant);
    new.chain(batch.again.iter().map(|again| &again.tenant))
        .cloned()
        .collect()
}

fn write(
    core: &Core,
    stores: &mut BTreeMap<TenantId, std::sync::MutexGuard<'_, Store>>,
    batch: &mut Batch,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    let mut written: BTreeMap<(TenantId, [u8; 32]), Written> = BTreeMap::new();
    for prepared in &mut batch.new {
        let tenant = &prepared.task.tenant;
        let store = stores
            .get_mut(tenant)
            .ok_or_else(|| CoreError::NoTenant(tenant.clone()))?;
        let entry = write_new(store, prepared, &mut outcome)?;
        written.insert((prepared.task.tenant.clone(), prepared.task.join), entry);
    }
    for again in &batch.again {
        let key = (again.tenant.clone(), again.join);
        if !written.contains_key(&key) {
            written.insert(key.clone(), known_record(core, again)?);
        }
        let store = stores
            .get_mut(&again.tenant)
            .ok_or_else(|| CoreError::NoTenant(again.tenant.clone()))?;
        if let Some(entry) = written.get_mut(&key) {
            write_again(store, again, entry, &mut outcome)?;
        }
    }
    Ok(outcome)
}

fn write_new(
    store: &mut Store,
    prepared: &mut Prepared,
    outcome: &mut Outcome,
) -> Result<Written, CoreError> {
    let (task, manifest) = (&prepared.task, &mut prepared.manifest);
    let record = &task.record;
    let slot = store.add_record(record)?;
    let (original, rendition) = match &prepared.sealed {
        Ok((original, rendition)) => (original, rendition),
        Err(error) => return Err(CoreError::Seal(error.kind().into())),
    };
    manifest.original = match original {
        Some(sealed) => store.append(record.id, PartKind::Original, slot, sealed)?,
        None => store.append_stream(
            record,
            PartKind::Original,
            slot,
            &mut *task.mail.body.open(),
        )?,
    };
    manifest.rendition = match rendition {
        Some(sealed) => Some(store.append(record.id, PartKind::Rendition, slot, sealed)?),
        None => None,
    };
    let (place, commitment) = append_text(store, record, PartKind::Manifest, slot, manifest)?;
    outcome.events.push(Event::Arrival {
        tenant: task.tenant.clone(),
        record: record.id,
        arrival: 0,
        spool: task.mail.id,
        part: place,
        slot: Slot {
            segment: slot.segment.0,
            index: slot.index,
        },
        commitment,
    });
    let position = outcome.events.len() - 1;
    outcome
        .records
        .push((position, derive::meta(manifest, slot, place)));
    outcome.changes.waits.extend(derive::waits(manifest));
    outcome
        .changes
        .opened_by
        .extend(derive::opened_by(manifest));
    let key = NewRecord {
        id: record.id,
        key: record.key.duplicate(),
    };
    Ok(Written {
        record: key,
        slot,
        arrivals: 1,
        owners: derive::owners(&manifest.arrival).into_iter().collect(),
        shared_from: manifest.arrival.shared_from,
        shared_until: manifest.arrival.shared_until,
    })
}

fn write_again(
    store: &mut Store,
    again: &Again,
    entry: &mut Written,
    outcome: &mut Outcome,
) -> Result<(), CoreError> {
    store.ensure_segment()?;
    let number = entry.arrivals;
    entry.arrivals += 1;
    let later = LaterArrival {
        version: VERSION,
        salt: manifest::salt().0,
        record: entry.record.id,
        arrival: later_arrival(number, again, entry),
    };
    let (place, commitment) =
        append_text(store, &entry.record, PartKind::Arrival, entry.slot, &later)?;
    outcome.events.push(Event::Arrival {
        tenant: again.tenant.clone(),
        record: entry.record.id,
        arrival: number,
        spool: again.mail.id,
        part: place,
        slot: Slot {
            segment: entry.slot.segment.0,
            index: entry.slot.index,
        },
        commitment,
    });
    let position = outcome.events.len() - 1;
    let meta = derive::arrival_meta(&later.arrival);
    // The index knows of an arrival only whose it is: one that names nobody new changes nothing there.
    let known = entry.owners.len();
    entry.owners.extend(meta.owners.iter().cloned());
    if entry.owners.len() > known {
        outcome.replaced.insert(entry.record.id);
    }
    outcome.arrivals.push((position, entry.record.id, meta));
    Ok(())
}

fn later_arrival(number: u32, again: &Again, entry: &Written) -> Arrival {
    let mut arrival = Arrival {
        own_prefix: Some(BASE64.encode(&again.prefix)),
        shared_from: entry.shared_from,
        shared_until: entry.shared_until,
        ..derive::arrival(number, again.mail.id, &again.mail.envelope, &again.journal)
    };
    if let Some(report) = &mut arrival.report {
        report.own_suffix = Some(BASE64.encode(&again.suffix));
    }
    arrival
}

/// Seals a manifest or arrival; the commitment is SHA-256 of its JSON text, which holds a random salt.
pub(in crate::keeper) fn append_text<T: serde::Serialize>(
    store: &mut Store,
    record: &NewRecord,
    kind: PartKind,
    slot: SlotPlace,
    value: &T,
) -> Result<(Place, Digest), CoreError> {
    let text = serde_json::to_vec(value).map_err(|source| StoreError::Manifest {
        record: record.id,
        source,
    })?;
    let sealed = packing::seal_bytes(store.tenant(), record, kind, &text, Texture::Plain)
        .map_err(CoreError::Seal)?;
    let place = store.append_bytes(record.id, kind, slot, &sealed)?;
    let place = Place {
        segment: place.segment.0,
        offset: place.offset,
        length: place.length,
    };
    Ok((place, Digest::of(&text)))
}

/// A record from an earlier batch, to which an arrival is added.
fn known_record(core: &Core, again: &Again) -> Result<Written, Failure> {
    let meta = core
        .catalog()
        .by_content(&again.tenant, &again.join)?
        .map(|record| core.record_meta(record))
        .transpose()?
        .ok_or(CoreError::CatalogBehind)?;
    read_known(core, again, &meta).map_err(|error| {
        if !error.is_damage() {
            return Failure::Core(error);
        }
        Failure::Known(Box::new(Known {
            tenant: again.tenant.clone(),
            join: again.join,
            record: meta.record,
            error,
        }))
    })
}

fn read_known(core: &Core, again: &Again, meta: &RecordMeta) -> Result<Written, CoreError> {
    let reader = core.reader(&again.tenant)?;
    let slot = derive::slot_place(meta.slot);
    let key = reader.record_key(meta.record, slot)?;
    let arrivals = meta
        .arrivals
        .iter()
        .map(|arrival| arrival.number + 1)
        .max()
        .unwrap_or(0);
    let owners = meta.arrivals.iter().flat_map(|arrival| &arrival.owners);
    let owners = owners.cloned().collect();
    let first = core.manifest(meta)?.arrival;
    Ok(Written {
        record: NewRecord {
            id: meta.record,
            key,
        },
        slot,
        arrivals,
        owners,
        shared_from: first.shared_from,
        shared_until: first.shared_until,
    })
}

impl Outcome {
    /// The ledger has numbered the entries: arrivals learn their index.
    fn number_from(&mut self, first: u64) {
        for (position, meta) in &mut self.records {
            for arrival in &mut meta.arrivals {
                arrival.ledger_index = first + *position as u64;
            }
        }
        for (position, _, meta) in &mut self.arrivals {
            meta.ledger_index = first + *position as u64;
        }
        self.changes.applied = Some(first + self.events.len() as u64);
    }
}

/// What search is given of a record that is committed, whose text nothing else needs any more.
fn doc(prepared: &mut Prepared) -> SearchDoc {
    let manifest = &mut prepared.manifest;
    let text = SearchText {
        body: std::mem::take(&mut prepared.body),
        ..std::mem::take(&mut manifest.opened.text)
    };
    derive::doc(manifest, text, &[])
}

/// Catalog at once, search through the indexer. Records that only got a further arrival are indexed anew with
/// all their mailboxes.
fn apply(core: &Core, outcome: Outcome, docs: Vec<SearchDoc>) -> Result<(), CoreError> {
    let Outcome {
        records,
        arrivals,
        replaced,
        mut changes,
        ..
    } = outcome;
    changes.records = records.into_iter().map(|(_, meta)| meta).collect();
    changes.arrivals = arrivals
        .into_iter()
        .map(|(_, record, meta)| (record, meta))
        .collect();
    core.count_records(changes.records.len() as u64);
    let applied = changes.applied.unwrap_or(0);
    core.catalog().apply(&changes)?;
    core.index(docs, &replaced, applied)
}
