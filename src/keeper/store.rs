//! Sealing into and opening from one tenant's vault: the place where record keys live.
//!
//! tenant archive key (epoch) → segment key (key table) → record key (slot) → part key (stream).

use super::error::StoreError;
use super::manifest::{self, Committer, PartEntry};
use super::packing::{Sealed, associated, pack};
use crate::crypto::kdf::{Label, derive, framed};
use crate::crypto::stream::{self, Opener};
use crate::crypto::{random, wrap};
use crate::id::{RecordId, TenantId};
use crate::keyring::TenantKeys;
use crate::secret::Key;
use crate::vault::{
    PartKind, PartPlace, SealedPart, SegmentNo, SlotPlace, Vault, VaultError, VaultReader,
    WrappedKey, WrappedSegmentKey,
};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// The largest manifest or arrival part.
pub const LARGEST_MANIFEST: u64 = 64 << 20;

/// A record's key, on its way from the opener's thread to the vault.
pub struct NewRecord {
    /// The permanent identification code.
    pub id: RecordId,
    /// Its key.
    pub key: Key,
}

impl NewRecord {
    /// A fresh record.
    #[must_use]
    pub fn random() -> Self {
        Self {
            id: RecordId::random(),
            key: random::key(),
        }
    }
}

/// Segment keys that were unwrapped, shared by writer and readers.
type SegmentKeys = Arc<RwLock<BTreeMap<SegmentNo, Arc<Key>>>>;

/// One tenant's vault, for writing.
pub struct Store {
    vault: Vault,
    tenant: TenantId,
    archive: (u32, Key),
    reader: StoreReader,
}

/// One tenant's vault, for reading; cheap to clone.
#[derive(Clone)]
pub struct StoreReader {
    vault: VaultReader,
    tenant: TenantId,
    archive: Arc<BTreeMap<u32, Key>>,
    segments: SegmentKeys,
}

impl Store {
    /// Opens the vault under `dir`; see [`Vault::open`].
    pub fn open(
        dir: &Path,
        tenant: &TenantId,
        keys: &TenantKeys,
        committed_end: Option<PartPlace>,
    ) -> Result<Self, StoreError> {
        let vault = Vault::open(dir, tenant, committed_end)?;
        let (epoch, current) = keys.current().ok_or(StoreError::Epoch(keys.epoch))?;
        let archive = keys
            .archive
            .iter()
            .map(|(epoch, key)| (*epoch, key.duplicate()))
            .collect();
        let reader = StoreReader {
            vault: vault.reader(),
            tenant: tenant.clone(),
            archive: Arc::new(archive),
            segments: SegmentKeys::default(),
        };
        Ok(Self {
            vault,
            tenant: tenant.clone(),
            archive: (epoch, current.duplicate()),
            reader,
        })
    }

    /// A handle for reading.
    #[must_use]
    pub fn reader(&self) -> StoreReader {
        self.reader.clone()
    }

    /// Whose vault.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What opening found damaged.
    #[must_use]
    pub fn damage(&self) -> Vec<String> {
        self.vault
            .damage()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Makes room for a record: a slot with its wrapped key, in a new segment if the last is full.
    pub fn add_record(&mut self, record: &NewRecord) -> Result<SlotPlace, StoreError> {
        self.ensure_segment()?;
        let segment = self.vault.current_segment().unwrap_or(SegmentNo(0));
        let segment_key = self.reader.segment_key(segment)?;
        let wrapping = derive(&segment_key, Label::SlotWrap, &[]);
        let wrapped = wrap::seal(
            &wrapping,
            &slot_associated(&self.tenant, record.id),
            record.key.expose(),
        );
        Ok(self.vault.add_slot(record.id, &to_wrapped(&wrapped))?)
    }

    /// Starts a new segment where one is needed.
    pub fn ensure_segment(&mut self) -> Result<(), StoreError> {
        if !self.vault.needs_new_segment() {
            return Ok(());
        }
        let number = self.vault.next_segment();
        let key = random::key();
        let wrapping = derive(&self.archive.1, Label::SegmentWrap, &[]);
        let bytes = wrap::seal(
            &wrapping,
            &segment_associated(&self.tenant, number),
            key.expose(),
        );
        self.vault.start_segment(&WrappedSegmentKey {
            epoch: self.archive.0,
            bytes: to_wrapped(&bytes),
        })?;
        self.reader.remember(number, key);
        Ok(())
    }

    /// Appends a sealed part; the entry says where it lies.
    pub fn append(
        &mut self,
        record: RecordId,
        kind: PartKind,
        slot: SlotPlace,
        sealed: &Sealed,
    ) -> Result<PartEntry, StoreError> {
        let place = self.append_bytes(record, kind, slot, &sealed.bytes)?;
        Ok(PartEntry {
            segment: place.segment.0,
            offset: place.offset,
            ..sealed.entry.clone()
        })
    }

    /// Appends a sealed part of which no entry is kept.
    pub fn append_bytes(
        &mut self,
        record: RecordId,
        kind: PartKind,
        slot: SlotPlace,
        sealed: &[u8],
    ) -> Result<PartPlace, StoreError> {
        Ok(self.vault.append(record, kind, slot, sealed)?)
    }

    /// Compresses, seals and appends a part of any length in constant memory.
    pub fn append_stream(
        &mut self,
        record: &NewRecord,
        kind: PartKind,
        slot: SlotPlace,
        content: &mut dyn Read,
    ) -> Result<PartEntry, StoreError> {
        let (salt, salt_bytes) = manifest::salt();
        let mut committer = Committer::new(&salt_bytes);
        let associated = associated(&self.tenant, record.id, kind);
        let mut writer = self.vault.part_writer(record.id, kind, slot)?;
        let length = pack(
            content,
            &mut writer,
            &record.key,
            &associated,
            &mut committer,
        )
        .map_err(|source| part_io(record.id, source))?;
        let place = writer.finish()?;
        Ok(PartEntry {
            segment: place.segment.0,
            offset: place.offset,
            sealed_length: place.length,
            length,
            compression: "zstd".to_owned(),
            commitment: committer.finish(),
            salt,
        })
    }

    /// Makes everything appended durable. It counts once the ledger has it.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        Ok(self.vault.commit()?)
    }

    /// Takes back what was appended since the last commit.
    pub fn rollback(&mut self) -> Result<(), StoreError> {
        Ok(self.vault.rollback()?)
    }
}

fn part_io(record: RecordId, error: io::Error) -> StoreError {
    match error.downcast::<VaultError>() {
        Ok(vault) => vault.into(),
        Err(error) => StoreError::Part {
            record,
            segment: 0,
            offset: 0,
            source: stream::from_io(error),
        },
    }
}

impl StoreReader {
    /// Whose vault.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The bare vault, for scanning.
    #[must_use]
    pub const fn vault(&self) -> &VaultReader {
        &self.vault
    }

    /// A record's key, from its slot.
    pub fn record_key(&self, record: RecordId, slot: SlotPlace) -> Result<Key, StoreError> {
        let wrapped = self.vault.slot(slot, record)?;
        let wrapping = derive(&*self.segment_key(slot.segment)?, Label::SlotWrap, &[]);
        wrap::open_key(&wrapping, &slot_associated(&self.tenant, record), &wrapped).map_err(|_| {
            StoreError::Key {
                what: "record key",
                segment: slot.segment,
            }
        })
    }

    /// Opens a manifest or arrival part into memory: its slot and the JSON text.
    pub fn read_text(
        &self,
        place: PartPlace,
    ) -> Result<(RecordId, PartKind, SlotPlace, Vec<u8>), StoreError> {
        let part = self.vault.read(place)?;
        let (record, kind, slot) = (part.record, part.kind, part.slot);
        let key = self.record_key(record, slot)?;
        let mut out = Vec::new();
        self.unpack(part, place, &key)?
            .take(LARGEST_MANIFEST + 1)
            .read_to_end(&mut out)
            .map_err(|error| part_error(record, place, error))?;
        if out.len() as u64 > LARGEST_MANIFEST {
            return Err(StoreError::TooLarge {
                record,
                segment: place.segment.0,
                offset: place.offset,
            });
        }
        Ok((record, kind, slot, out))
    }

    /// Opens a part that a manifest names, as a stream that ends with an error if the content is not what was
    /// committed to.
    pub fn open_part(
        &self,
        record: RecordId,
        key: &Key,
        entry: &PartEntry,
    ) -> Result<Content, StoreError> {
        let place = PartPlace {
            segment: SegmentNo(entry.segment),
            offset: entry.offset,
            length: entry.sealed_length,
        };
        let part = self.vault.read(place)?;
        let commitment = StoreError::Commitment {
            record,
            segment: entry.segment,
            offset: entry.offset,
        };
        let salt = entry.salt_bytes().ok_or(commitment)?;
        let inner = self.unpack(part, place, key)?;
        Ok(Content {
            inner,
            committer: Some(Committer::new(&salt)),
            record,
            entry: entry.clone(),
            left: entry.length,
        })
    }

    fn unpack(
        &self,
        part: SealedPart,
        place: PartPlace,
        key: &Key,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        let record = part.record;
        let associated = associated(&self.tenant, record, part.kind);
        let wrong = |source| StoreError::Part {
            record,
            segment: place.segment.0,
            offset: place.offset,
            source,
        };
        let opener = Opener::new(part, key, &associated).map_err(wrong)?;
        let unpacked =
            zstd::stream::read::Decoder::new(opener).map_err(|error| wrong(error.into()))?;
        Ok(Box::new(unpacked))
    }

    fn segment_key(&self, number: SegmentNo) -> Result<Arc<Key>, StoreError> {
        let known = self
            .segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let wrong = StoreError::Key {
            what: "segment key",
            segment: number,
        };
        let Some(wrapped) = self.vault.segment_key(number) else {
            return Err(wrong);
        };
        let archive = self
            .archive
            .get(&wrapped.epoch)
            .ok_or(StoreError::Epoch(wrapped.epoch))?;
        let wrapping = derive(archive, Label::SegmentWrap, &[]);
        let key = wrap::open_key(
            &wrapping,
            &segment_associated(&self.tenant, number),
            &wrapped.bytes,
        )
        .map_err(|_| wrong)?;
        Ok(self.remember(number, key))
    }

    fn remember(&self, number: SegmentNo, key: Key) -> Arc<Key> {
        let key = Arc::new(key);
        let mut keys = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        keys.insert(number, Arc::clone(&key));
        key
    }
}

/// Names the place in an error that reading a part's content gave.
#[must_use]
pub fn content_error(record: RecordId, entry: &PartEntry, error: io::Error) -> StoreError {
    let (segment, offset) = (entry.segment, entry.offset);
    match error.downcast::<StoreError>() {
        Ok(inner) => inner,
        Err(error) => StoreError::Part {
            record,
            segment,
            offset,
            source: stream::from_io(error),
        },
    }
}

fn part_error(record: RecordId, place: PartPlace, error: io::Error) -> StoreError {
    StoreError::Part {
        record,
        segment: place.segment.0,
        offset: place.offset,
        source: stream::from_io(error),
    }
}

/// A part's content. The last read compares the commitment.
pub struct Content {
    inner: Box<dyn Read + Send>,
    committer: Option<Committer>,
    record: RecordId,
    entry: PartEntry,
    left: u64,
}

impl Content {
    /// Length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.entry.length
    }

    /// Reads it all, of at most `limit` bytes.
    pub fn into_bytes(mut self, limit: u64) -> Result<Vec<u8>, StoreError> {
        let (record, entry) = (self.record, self.entry.clone());
        let mut out = Vec::new();
        match (&mut self).take(limit).read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(content_error(record, &entry, error)),
        }
    }
}

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        let Some(committer) = &mut self.committer else {
            return Ok(read);
        };
        committer.update(&out[..read]);
        let over = read as u64 > self.left;
        self.left = self.left.saturating_sub(read as u64);
        if over || (read == 0 && !out.is_empty()) {
            let sum = self.committer.take().map(Committer::finish);
            if over || self.left > 0 || sum != Some(self.entry.commitment) {
                let error = StoreError::Commitment {
                    record: self.record,
                    segment: self.entry.segment,
                    offset: self.entry.offset,
                };
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        Ok(read)
    }
}

fn slot_associated(tenant: &TenantId, record: RecordId) -> Vec<u8> {
    let mut out = framed(tenant.as_str().as_bytes());
    out.extend(record.as_bytes());
    out
}

fn segment_associated(tenant: &TenantId, number: SegmentNo) -> Vec<u8> {
    let mut out = framed(tenant.as_str().as_bytes());
    out.extend(number.0.to_be_bytes());
    out
}

/// `wrap::seal` of a key gives exactly the bytes a slot holds.
#[allow(clippy::expect_used)]
fn to_wrapped(bytes: &[u8]) -> WrappedKey {
    bytes.try_into().expect("a sealed 32-byte key has 60 bytes")
}
