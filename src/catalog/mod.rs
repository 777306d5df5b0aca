//! The catalog: finds records by id, content, queue id and Message-ID, and lists the mail that waits
//! for a key. It is derived data: everything in it is made again from ledger and vault by applying the
//! same [`Changes`] in ledger order, so a damaged catalog is erased and refilled, never repaired.
//!
//! One writer (the keeper's archiving side), any number of readers.

mod model;
mod rows;

pub use model::{ArrivalMeta, Changes, PartRef, RecordMeta, Sizes, SlotRef, Wait};

use crate::durable::{self, FileError};
use crate::id::{RecordId, SpoolId, TenantId};
use crate::secret::Key;
use rows::{Rows, Table, Unreadable};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of sled's page cache.
const CACHE: u64 = 64 << 20;
/// A change that was applied is on disk after this time at the latest, in milliseconds.
const FLUSH_EVERY: u64 = 1000;

/// Why the catalog does not answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The files are damaged, or were written under another key.
    #[error("the catalog in {} is damaged ({why}); if this lasts, `strongroom rebuild` makes it again", folder.display())]
    NeedsRebuild {
        /// The catalog's folder.
        folder: PathBuf,
        /// What was found.
        #[source]
        why: Damage,
    },
    /// A file of the catalog cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store failed without being damaged: disk full, or another process has it open.
    #[error("cannot use the catalog in {}: {source}", folder.display())]
    Store {
        /// The catalog's folder.
        folder: PathBuf,
        /// The store's answer.
        #[source]
        source: sled::Error,
    },
}

/// What makes a catalog unusable.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The store's own check failed.
    #[error(transparent)]
    Store(sled::Error),
    /// The store gave up while it read its files.
    #[error("the store's files make no sense")]
    Senseless,
    /// A sealed value does not open.
    #[error(transparent)]
    Value(Unreadable),
    /// There are rows, but not the one that every catalog has under its key.
    #[error("written under another key")]
    OtherKey,
}

/// The open catalog.
pub struct Catalog {
    db: sled::Db,
    rows: Rows,
    folder: PathBuf,
    writing: Mutex<()>,
}

impl Catalog {
    /// Opens the catalog in `folder`, or makes an empty one.
    pub fn open(folder: &Path, catalog_key: Key) -> Result<Self, CatalogError> {
        durable::create_folder(folder)?;
        remove_half_made_snapshots(folder)?;
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE)
            .flush_every_ms(Some(FLUSH_EVERY));
        let folder = folder.to_owned();
        // sled asserts on some damaged files instead of answering with an error.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        let db = match opened {
            Ok(Ok(db)) => db,
            Ok(Err(error)) => return Err(store_failed(&folder, error)),
            Err(_) => {
                return Err(CatalogError::NeedsRebuild {
                    folder,
                    why: Damage::Senseless,
                });
            }
        };
        let catalog = Self {
            db,
            rows: Rows::new(&catalog_key),
            folder,
            writing: Mutex::new(()),
        };
        catalog.check_key()?;
        Ok(catalog)
    }

    /// Removes the catalog in `folder`, so that the next [`Catalog::open`] begins with an empty one.
    pub fn erase(folder: &Path) -> Result<(), CatalogError> {
        Ok(durable::clear_folder(folder)?)
    }

    /// How many ledger entries the catalog reflects; a start applies the rest.
    pub fn applied(&self) -> Result<u64, CatalogError> {
        let row = self.rows.key(Table::State, &[b"applied"]);
        Ok(self.number(&row)?.unwrap_or(0))
    }

    /// Applies `changes`, [`Catalog::applied`] last: what a crash leaves half done is to be applied once more. They survive a
    /// crash of the process; a power failure may take back the last second, [`Catalog::applied`] included.
    pub fn apply(&self, changes: &Changes) -> Result<(), CatalogError> {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Row by row: nobody could read while a batch of all is written, and the archive looks up what comes next.
        for record in &changes.records {
            self.put_record(record)?;
        }
        for (record, arrival) in &changes.arrivals {
            self.put_arrival(record, arrival)?;
        }
        let mut batch = sled::Batch::default();
        for (tenant, record) in &changes.done {
            self.remove_waits(&mut batch, tenant, record)?;
        }
        for wait in &changes.waits {
            self.put_wait(&mut batch, wait);
        }
        self.count_opened(&mut batch, &changes.opened_by)?;
        if let Some(applied) = changes.applied {
            self.insert(
                &mut batch,
                self.rows.key(Table::State, &[b"applied"]),
                &applied.to_be_bytes(),
            );
        }
        self.db
            .apply_batch(batch)
            .map_err(|error| store_failed(&self.folder, error))
    }

    /// Writes everything applied so far to disk.
    pub fn flush(&self) -> Result<(), CatalogError> {
        self.db
            .flush()
            .map(|_| ())
            .map_err(|error| store_failed(&self.folder, error))
    }

    /// A record with all its arrivals.
    pub fn record(&self, record: &RecordId) -> Result<Option<RecordMeta>, CatalogError> {
        let row = self.rows.key(Table::Record, &[record.as_bytes()]);
        let Some(sealed) = self.get(&row)? else {
            return Ok(None);
        };
        let mut meta: RecordMeta = self
            .rows
            .open_cbor(&row, &sealed)
            .map_err(|e| self.damaged(e))?;
        let arrivals = self.rows.key(Table::Arrival, &[record.as_bytes()]);
        meta.arrivals = self
            .below(&arrivals)
            .map(|entry| {
                let (row, sealed) = entry?;
                self.rows
                    .open_cbor(&row, &sealed)
                    .map_err(|e| self.damaged(e))
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(meta))
    }

    /// The tenant's record with this content, by its join hash.
    pub fn by_content(
        &self,
        tenant: &TenantId,
        join: &[u8; 32],
    ) -> Result<Option<RecordId>, CatalogError> {
        self.record_id_at(
            &self
                .rows
                .key(Table::Content, &[tenant.as_str().as_bytes(), join]),
        )
    }

    /// The record that an accepted mail became, if it has been archived.
    pub fn by_spool_id(&self, spool: &SpoolId) -> Result<Option<RecordId>, CatalogError> {
        self.record_id_at(&self.spool_row(spool))
    }

    /// The tenant's records with this `Message-ID` (without angle brackets), in no order.
    pub fn by_message_id(
        &self,
        tenant: &TenantId,
        id: &str,
    ) -> Result<Vec<RecordId>, CatalogError> {
        self.record_ids_below(&self.rows.key(
            Table::MessageId,
            &[tenant.as_str().as_bytes(), id.as_bytes()],
        ))
    }

    /// The tenant's records that wait for the key with this hint, in no order.
    pub fn waiting(&self, tenant: &TenantId, hint: &[u8]) -> Result<Vec<RecordId>, CatalogError> {
        self.record_ids_below(
            &self
                .rows
                .key(Table::Waiting, &[tenant.as_str().as_bytes(), hint]),
        )
    }

    /// Each hint that records of the tenant wait for, with their number.
    pub fn worklist(&self, tenant: &TenantId) -> Result<Vec<(Vec<u8>, u64)>, CatalogError> {
        let hints = self.rows.key(Table::Hint, &[tenant.as_str().as_bytes()]);
        let mut list = Vec::new();
        for entry in self.below(&hints) {
            let (row, sealed) = entry?;
            let hint = self.rows.open(&row, &sealed).map_err(|e| self.damaged(e))?;
            let waiting = self
                .rows
                .key(Table::Waiting, &[tenant.as_str().as_bytes(), &hint]);
            let count = self.below(&waiting).count() as u64;
            if count > 0 {
                list.push((hint, count));
            }
        }
        Ok(list)
    }

    /// How many mails the escrowed key with this fingerprint opened.
    pub fn opened(&self, fingerprint: &str) -> Result<u64, CatalogError> {
        Ok(self.number(&self.opened_row(fingerprint))?.unwrap_or(0))
    }
}

/// Rows of one change.
impl Catalog {
    /// What leads to a record comes behind it, so that it leads nowhere else.
    fn put_record(&self, meta: &RecordMeta) -> Result<(), CatalogError> {
        let id = meta.record.as_bytes();
        let tenant = meta.tenant.as_str().as_bytes();
        for arrival in &meta.arrivals {
            self.put_sealed(self.arrival_row(&meta.record, arrival), arrival)?;
        }
        self.put_sealed(self.rows.key(Table::Record, &[id]), meta)?;
        for arrival in &meta.arrivals {
            self.put(self.spool_row(&arrival.spool), id)?;
        }
        if let Some(message_id) = &meta.message_id {
            let row = self
                .rows
                .key_below(Table::MessageId, &[tenant, message_id.as_bytes()], id);
            self.put(row, id)?;
        }
        self.put(self.rows.key(Table::Content, &[tenant, &meta.join]), id)
    }

    fn put_arrival(&self, record: &RecordId, arrival: &ArrivalMeta) -> Result<(), CatalogError> {
        self.put_sealed(self.arrival_row(record, arrival), arrival)?;
        self.put(self.spool_row(&arrival.spool), record.as_bytes())
    }

    fn put_sealed<T: Serialize>(&self, row: Vec<u8>, value: &T) -> Result<(), CatalogError> {
        let sealed = self.rows.seal_cbor(&row, value);
        self.write(row, sealed.map_err(|e| self.damaged(e))?)
    }

    fn put(&self, row: Vec<u8>, value: &[u8]) -> Result<(), CatalogError> {
        let sealed = self.rows.seal(&row, value);
        self.write(row, sealed)
    }

    fn write(&self, row: Vec<u8>, sealed: Vec<u8>) -> Result<(), CatalogError> {
        let written = self.db.insert(row, sealed);
        written
            .map(drop)
            .map_err(|error| store_failed(&self.folder, error))
    }

    fn put_wait(&self, batch: &mut sled::Batch, wait: &Wait) {
        let tenant = wait.tenant.as_str().as_bytes();
        let id = wait.record.as_bytes();
        let [waiting, hint, waits_for] = self.wait_rows(tenant, id, &wait.hint);
        self.insert(batch, waiting, id);
        self.insert(batch, hint, &wait.hint);
        self.insert(batch, waits_for, &wait.hint);
    }

    fn remove_waits(
        &self,
        batch: &mut sled::Batch,
        tenant: &TenantId,
        record: &RecordId,
    ) -> Result<(), CatalogError> {
        let tenant = tenant.as_str().as_bytes();
        let id = record.as_bytes();
        for entry in self.below(&self.rows.key(Table::WaitsFor, &[tenant, id])) {
            let (row, sealed) = entry?;
            let hint = self.rows.open(&row, &sealed).map_err(|e| self.damaged(e))?;
            let [waiting, _, waits_for] = self.wait_rows(tenant, id, &hint);
            batch.remove(waiting);
            batch.remove(waits_for);
        }
        Ok(())
    }

    fn count_opened(
        &self,
        batch: &mut sled::Batch,
        opened_by: &[String],
    ) -> Result<(), CatalogError> {
        let mut more: BTreeMap<&str, u64> = BTreeMap::new();
        for fingerprint in opened_by {
            *more.entry(fingerprint).or_default() += 1;
        }
        for (fingerprint, more) in more {
            let count = self.opened(fingerprint)? + more;
            self.insert(batch, self.opened_row(fingerprint), &count.to_be_bytes());
        }
        Ok(())
    }

    fn insert(&self, batch: &mut sled::Batch, row: Vec<u8>, value: &[u8]) {
        let sealed = self.rows.seal(&row, value);
        batch.insert(row, sealed);
    }

    fn arrival_row(&self, record: &RecordId, arrival: &ArrivalMeta) -> Vec<u8> {
        let mut row = self.rows.key(Table::Arrival, &[record.as_bytes()]);
        row.extend(arrival.number.to_be_bytes());
        row
    }

    fn spool_row(&self, spool: &SpoolId) -> Vec<u8> {
        self.rows.key(
            Table::Spool,
            &[spool.file.as_bytes(), &spool.number.to_be_bytes()],
        )
    }

    fn opened_row(&self, fingerprint: &str) -> Vec<u8> {
        self.rows.key(Table::Opened, &[fingerprint.as_bytes()])
    }

    fn wait_rows(&self, tenant: &[u8], record: &[u8], hint: &[u8]) -> [Vec<u8>; 3] {
        [
            self.rows.key_below(Table::Waiting, &[tenant, hint], record),
            self.rows.key_below(Table::Hint, &[tenant], hint),
            self.rows
                .key_below(Table::WaitsFor, &[tenant, record], hint),
        ]
    }
}

/// Reading rows.
impl Catalog {
    fn check_key(&self) -> Result<(), CatalogError> {
        let row = self.rows.key(Table::State, &[b"key"]);
        if self.get(&row)?.is_some() {
            return Ok(());
        }
        let empty = self.db.iter().next().is_none();
        if !empty {
            let folder = self.folder.clone();
            return Err(CatalogError::NeedsRebuild {
                folder,
                why: Damage::OtherKey,
            });
        }
        let mut batch = sled::Batch::default();
        self.insert(&mut batch, row, b"strongroom catalog 1");
        self.db
            .apply_batch(batch)
            .map_err(|error| store_failed(&self.folder, error))
    }

    fn get(&self, row: &[u8]) -> Result<Option<sled::IVec>, CatalogError> {
        self.db
            .get(row)
            .map_err(|error| store_failed(&self.folder, error))
    }

    fn number(&self, row: &[u8]) -> Result<Option<u64>, CatalogError> {
        let Some(sealed) = self.get(row)? else {
            return Ok(None);
        };
        let bytes = self.rows.open(row, &sealed).map_err(|e| self.damaged(e))?;
        let bytes = bytes.try_into().map_err(|_| self.damaged(Unreadable))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    fn record_id_at(&self, row: &[u8]) -> Result<Option<RecordId>, CatalogError> {
        self.get(row)?
            .map(|sealed| self.record_id(row, &sealed))
            .transpose()
    }

    fn record_ids_below(&self, row: &[u8]) -> Result<Vec<RecordId>, CatalogError> {
        self.below(row)
            .map(|entry| entry.and_then(|(row, sealed)| self.record_id(&row, &sealed)))
            .collect()
    }

    fn record_id(&self, row: &[u8], sealed: &[u8]) -> Result<RecordId, CatalogError> {
        let bytes = self.rows.open(row, sealed).map_err(|e| self.damaged(e))?;
        let bytes = bytes.try_into().map_err(|_| self.damaged(Unreadable))?;
        Ok(RecordId::from_bytes(bytes))
    }

    fn below(
        &self,
        row: &[u8],
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), CatalogError>> {
        self.db
            .scan_prefix(row)
            .map(|entry| entry.map_err(|error| store_failed(&self.folder, error)))
    }

    fn damaged(&self, why: Unreadable) -> CatalogError {
        CatalogError::NeedsRebuild {
            folder: self.folder.clone(),
            why: Damage::Value(why),
        }
    }
}

fn store_failed(folder: &Path, error: sled::Error) -> CatalogError {
    let folder = folder.to_owned();
    match error {
        sled::Error::Io(_) => CatalogError::Store {
            folder,
            source: error,
        },
        _ => CatalogError::NeedsRebuild {
            folder,
            why: Damage::Store(error),
        },
    }
}

/// A crash may leave a half-written `snap.*.generating`, which makes every later open of sled 0.34
/// fail although the data is whole (sled issues 1527 and 1533).
fn remove_half_made_snapshots(folder: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(durable::at("list", folder))? {
        let path = entry.map_err(durable::at("list", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            durable::remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
