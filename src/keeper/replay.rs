//! Catalog and search from vault and ledger: what a start catches up with, and what a rebuild makes anew. It calls
//! the same functions as archiving does, so both come out the same.

use super::archiving::derive;
use super::core::{Core, CoreError, lock};
use super::manifest::Manifest;
use super::pool::Worker;
use crate::boxfiles::CATCHING_UP;
use crate::catalog::{ArrivalMeta, Changes, Wait};
use crate::id::RecordId;
use crate::ledger::{Event, Place, Recorded, Slot};
use crate::search::SearchDoc;
use crate::time::Timestamp;
use crate::vault::{PartPlace, SegmentNo, SlotPlace};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Entries applied at once.
const STEP: u64 = 256;

/// Applies the ledger entries that catalog or search do not reflect yet.
pub fn catch_up(core: &Core) -> Result<(), CoreError> {
    let tree = lock(&core.ledger).tree().clone();
    let mut next = core.catalog().applied()?.min(core.search().applied());
    let mut worker = Worker::new(Arc::clone(&core.setup));
    let progress = core.data.join(CATCHING_UP);
    while next < tree.size() {
        let end = tree.size().min(next + STEP);
        let mut step = Step {
            catalogued: core.catalog().applied()?,
            ..Step::default()
        };
        for recorded in tree.entries(next..end) {
            let Recorded { index, entry, .. } = recorded?;
            match step.apply(core, &mut worker, index, &entry.event) {
                Err(error) if error.is_damage() => {
                    step.apply_damaged(core, index, entry.time, entry.event, &error);
                }
                applied => applied?,
            }
        }
        step.finish(core, end)?;
        next = end;
        // For whoever waits; it does no harm where it cannot be written.
        let _ = std::fs::write(&progress, format!("{next} {}", tree.size()));
        if next % (64 * STEP) == 0 {
            tracing::info!(next, of = tree.size(), "catching up catalog and search");
        }
    }
    core.index_all();
    let _ = std::fs::remove_file(progress);
    Ok(())
}

/// What search is given of a record with all its arrivals.
pub fn doc_of(core: &Core, record: RecordId) -> Result<Option<SearchDoc>, CoreError> {
    let Some(meta) = core.catalog().record(&record)? else {
        return Ok(None);
    };
    let manifest = core.manifest(&meta)?;
    let text = core.text(&meta, &manifest)?;
    Ok(Some(derive::doc(
        &manifest,
        text,
        &further_owners(&meta.arrivals),
    )))
}

fn further_owners(arrivals: &[ArrivalMeta]) -> Vec<String> {
    arrivals
        .iter()
        .flat_map(|arrival| arrival.owners.iter().cloned())
        .collect()
}

/// One step of a replay.
#[derive(Default)]
struct Step {
    /// Entries below this are in the catalog already.
    catalogued: u64,
    changes: Changes,
    docs: Vec<SearchDoc>,
    replaced: BTreeSet<RecordId>,
}

impl Step {
    fn apply(
        &mut self,
        core: &Core,
        worker: &mut Worker,
        index: u64,
        event: &Event,
    ) -> Result<(), CoreError> {
        match *event {
            Event::Arrival {
                ref tenant,
                arrival: 0,
                part,
                slot,
                ..
            } => {
                let manifest = core.manifest_at(tenant, place_of(part))?;
                self.docs.push(doc(core, worker, &manifest, slot)?);
                self.catalog_record(&manifest, slot, part, index);
            }
            Event::Arrival {
                ref tenant,
                record,
                part,
                ..
            } => {
                let later = core.later_arrival_at(tenant, place_of(part))?;
                if index >= self.catalogued {
                    let meta = ArrivalMeta {
                        ledger_index: index,
                        ..derive::arrival_meta(&later.arrival)
                    };
                    self.changes.arrivals.push((record, meta));
                }
                self.replaced.insert(record);
            }
            Event::Rendition {
                ref tenant,
                record,
                part,
                slot,
                ..
            } => {
                let manifest = core.manifest_at(tenant, place_of(part))?;
                if index >= self.catalogued {
                    // Those of this step are not in the catalog yet, so that it cannot take them off its list.
                    let is_its = |wait: &Wait| wait.tenant == *tenant && wait.record == record;
                    self.changes.waits.retain(|wait| !is_its(wait));
                    self.changes.done.push((tenant.clone(), record));
                    let mut meta = derive::meta(&manifest, slot_of(slot), part);
                    meta.arrivals.clear();
                    self.changes.opened_by.extend(derive::opened_by(&manifest));
                    self.changes.waits.extend(derive::waits(&manifest));
                    self.changes.records.push(meta);
                }
                self.replaced.insert(record);
            }
            _ => {}
        }
        Ok(())
    }

    /// Of a damaged record what the ledger itself says: a mail that came is not archived again.
    fn apply_damaged(
        &mut self,
        core: &Core,
        index: u64,
        recorded: Timestamp,
        event: Event,
        error: &CoreError,
    ) {
        let (Event::Arrival { record, .. } | Event::Rendition { record, .. }) = event else {
            return;
        };
        core.note_damage(record, error);
        if let Event::Arrival { arrival, spool, .. } = event
            && index >= self.catalogued
        {
            let meta = ArrivalMeta {
                number: arrival,
                spool,
                arrived: recorded,
                owners: Vec::new(),
                ledger_index: index,
            };
            self.changes.arrivals.push((record, meta));
        }
    }

    fn catalog_record(&mut self, manifest: &Manifest, slot: Slot, part: Place, index: u64) {
        if index < self.catalogued {
            return;
        }
        let mut meta = derive::meta(manifest, slot_of(slot), part);
        for arrival in &mut meta.arrivals {
            arrival.ledger_index = index;
        }
        self.changes.opened_by.extend(derive::opened_by(manifest));
        self.changes.waits.extend(derive::waits(manifest));
        self.changes.records.push(meta);
    }

    /// The catalog first: documents of replaced records are made from it.
    fn finish(mut self, core: &Core, applied: u64) -> Result<(), CoreError> {
        if applied > self.catalogued {
            self.changes.applied = Some(applied);
            core.catalog().apply(&self.changes)?;
        }
        core.reindex(self.docs, &self.replaced, applied)
    }
}

fn doc(
    core: &Core,
    worker: &mut Worker,
    manifest: &Manifest,
    slot: Slot,
) -> Result<SearchDoc, CoreError> {
    let key = core
        .reader(&manifest.tenant)?
        .record_key(manifest.record, slot_of(slot))?;
    let text = core.text_with(worker, manifest, &key)?;
    Ok(derive::doc(manifest, text, &[]))
}

/// The ledger's place in the vault's terms.
#[must_use]
pub fn place_of(place: Place) -> PartPlace {
    PartPlace {
        segment: SegmentNo(place.segment),
        offset: place.offset,
        length: place.length,
    }
}

/// The ledger's slot in the vault's terms.
#[must_use]
pub fn slot_of(slot: Slot) -> SlotPlace {
    SlotPlace {
        segment: SegmentNo(slot.segment),
        index: slot.index,
    }
}
