//! Reading committed parts and slots, on any thread, while the vault is written to.

use super::Committed;
use super::format::{
    FILE_HEADER, FileKind, PART_HEADER, PART_TRAILER, PartHeader, SLOT, Slot, segment_of_name,
    slot_offset,
};
use super::keytable::KeyTable;
use super::model::{
    Damage, DamageKind, PartKind, PartPlace, SegmentNo, SlotPlace, VaultError, WrappedKey,
    WrappedSegmentKey,
};
use crate::durable::{FileError, at};
use crate::id::{RecordId, TenantId};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Parts up to this length are read and checked at once.
const SMALL: u64 = 256 << 10;
/// What is read at a time of longer ones.
const WINDOW: usize = 128 << 10;
/// Open files that are kept for the next read.
const MOST_FILES: usize = 32;

/// Reads one tenant's vault; cheap to clone.
#[derive(Clone)]
pub struct VaultReader(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    tenant: TenantId,
    table: RwLock<KeyTable>,
    committed: RwLock<Option<Committed>>,
    files: Mutex<Vec<(PathBuf, Arc<File>)>>,
}

impl VaultReader {
    pub(super) fn new(folder: PathBuf, tenant: TenantId, table: KeyTable) -> Self {
        Self(Arc::new(Shared {
            folder,
            tenant,
            table: RwLock::new(table),
            committed: RwLock::new(None),
            files: Mutex::new(Vec::new()),
        }))
    }

    /// The tenant whose vault this is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// The newest segment with committed parts; all segments from 1 to it exist.
    #[must_use]
    pub fn newest_segment(&self) -> Option<SegmentNo> {
        self.committed().map(|committed| committed.segment)
    }

    /// A segment's wrapped key; `None` where the key table has none or its entry is damaged.
    #[must_use]
    pub fn segment_key(&self, segment: SegmentNo) -> Option<WrappedSegmentKey> {
        self.0
            .table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(segment)
    }

    /// The wrapped key of `record`.
    pub fn slot(&self, place: SlotPlace, record: RecordId) -> Result<WrappedKey, VaultError> {
        let damage =
            |what| self.damage(place.segment, slot_offset(place.index), Some(record), what);
        let file = match self.file(FileKind::Slots, place.segment) {
            Err(error) if error.is_absent() => return Err(damage(DamageKind::SlotsCut).into()),
            other => other?,
        };
        let mut bytes = [0; SLOT];
        match file.read_exact_at(&mut bytes, slot_offset(place.index)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damage(DamageKind::SlotsCut).into());
            }
            other => other.map_err(at("read", &self.path(FileKind::Slots, place.segment)))?,
        }
        match Slot::decode(&bytes) {
            Some(Slot::Held { record: held, key }) if held == record => Ok(key),
            Some(Slot::Held { record: held, .. }) => Err(VaultError::OtherRecord {
                place,
                asked: record,
                held,
            }),
            Some(Slot::Shredded) => Err(VaultError::Shredded { place }),
            None => Err(damage(DamageKind::Slot).into()),
        }
    }

    /// Opens a committed part for reading. A short one is checked here, a long one while it is read.
    pub fn read(&self, place: PartPlace) -> Result<SealedPart, VaultError> {
        let damage = |record, what| self.damage(place.segment, place.offset, record, what);
        let file = match self.file(FileKind::Segment, place.segment) {
            Err(error) if error.is_absent() => {
                return Err(damage(None, DamageKind::SegmentMissing).into());
            }
            other => other?,
        };
        let path = self.path(FileKind::Segment, place.segment);
        if place.end() > file.metadata().map_err(at("read", &path))?.len() {
            return Err(damage(None, DamageKind::SegmentCut).into());
        }
        let at_once = if place.length <= SMALL {
            place.length as usize + PART_TRAILER
        } else {
            0
        };
        let mut bytes = vec![0; PART_HEADER + at_once];
        file.read_exact_at(&mut bytes, place.offset)
            .map_err(at("read", &path))?;
        let header = bytes.first_chunk().and_then(PartHeader::decode);
        let header = header.filter(|header| header.length == place.length);
        let header = header.ok_or_else(|| damage(None, DamageKind::PartHeader))?;
        let mut part = SealedPart {
            record: header.record,
            kind: header.kind,
            slot: header.slot,
            length: header.length,
            file,
            next: place.offset + PART_HEADER as u64,
            unread: place.length,
            window: Vec::new(),
            taken: 0,
            sum: crc32fast::Hasher::new(),
            damage: damage(Some(header.record), DamageKind::PartBytes),
        };
        if place.length <= SMALL {
            bytes.drain(..PART_HEADER);
            part.accept(bytes)?;
        }
        Ok(part)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0.folder
    }

    pub(super) fn path(&self, kind: FileKind, segment: SegmentNo) -> PathBuf {
        self.0.folder.join(kind.name(segment))
    }

    pub(super) fn damage(
        &self,
        segment: SegmentNo,
        offset: u64,
        record: Option<RecordId>,
        what: DamageKind,
    ) -> Damage {
        Damage {
            tenant: self.0.tenant.clone(),
            segment,
            offset,
            record,
            what,
        }
    }

    pub(super) fn committed(&self) -> Option<Committed> {
        *self
            .0
            .committed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_committed(&self, committed: Option<Committed>) {
        *self
            .0
            .committed
            .write()
            .unwrap_or_else(PoisonError::into_inner) = committed;
    }

    pub(super) fn change_table(
        &self,
        change: impl FnOnce(&KeyTable) -> KeyTable,
    ) -> Result<(), FileError> {
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&table);
        changed.save(&self.0.folder.join("keytable"))?;
        *table = changed;
        Ok(())
    }

    /// Whether the key table's file is the one that is in memory.
    pub(super) fn table_is_on_disk(&self) -> Result<bool, FileError> {
        // Held, so that nobody replaces the file meanwhile.
        let table = self.0.table.read().unwrap_or_else(PoisonError::into_inner);
        table.is_at(&self.0.folder.join("keytable"))
    }

    pub(super) fn missing_keys(&self, last: SegmentNo) -> Vec<Damage> {
        (1..=last.0)
            .map(SegmentNo)
            .filter(|segment| self.segment_key(*segment).is_none())
            .map(|segment| self.damage(segment, 0, None, DamageKind::TableEntry))
            .collect()
    }

    pub(super) fn forget_files(&self) {
        self.files().clear();
    }

    /// A handle for positioned reads, kept for the next reader.
    pub(super) fn file(&self, kind: FileKind, segment: SegmentNo) -> Result<Arc<File>, FileError> {
        let path = self.path(kind, segment);
        let mut files = self.files();
        if let Some(place) = files.iter().position(|(kept, _)| *kept == path) {
            files[..=place].rotate_right(1);
            return Ok(files[0].1.clone());
        }
        let file = Arc::new(File::open(&path).map_err(at("open", &path))?);
        files.insert(0, (path, file.clone()));
        files.truncate(MOST_FILES);
        Ok(file)
    }

    fn files(&self) -> MutexGuard<'_, Vec<(PathBuf, Arc<File>)>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The highest segment number among a folder's file names, 0 for none.
pub(super) fn newest_segment(folder: &Path) -> Result<SegmentNo, FileError> {
    let mut newest = SegmentNo(0);
    for entry in fs::read_dir(folder).map_err(at("list", folder))? {
        let name = entry.map_err(at("list", folder))?.file_name();
        newest = newest.max(name.to_str().and_then(segment_of_name).unwrap_or(newest));
    }
    Ok(newest)
}

/// A part's sealed bytes, to be read once. Its checksum is compared at the end; damage comes out as an
/// `io::Error` of kind `InvalidData` with a [`Damage`] inside.
pub struct SealedPart {
    /// The record it belongs to.
    pub record: RecordId,
    /// What it is.
    pub kind: PartKind,
    /// Where the record's wrapped key lies.
    pub slot: SlotPlace,
    /// How many sealed bytes there are.
    pub length: u64,
    file: Arc<File>,
    next: u64,
    unread: u64,
    window: Vec<u8>,
    taken: usize,
    sum: crc32fast::Hasher,
    damage: Damage,
}

impl SealedPart {
    /// Takes the next bytes from the file, and checks the sum where they are the last.
    fn accept(&mut self, mut bytes: Vec<u8>) -> Result<(), Damage> {
        let body = bytes
            .len()
            .min(usize::try_from(self.unread).unwrap_or(usize::MAX));
        self.sum.update(&bytes[..body]);
        self.next += bytes.len() as u64;
        self.unread -= body as u64;
        if self.unread == 0 && self.sum.clone().finalize().to_be_bytes() != bytes[body..] {
            return Err(self.damage.clone());
        }
        bytes.truncate(body);
        self.window = bytes;
        self.taken = 0;
        Ok(())
    }

    fn refill(&mut self) -> io::Result<()> {
        let wanted = self.unread.min(WINDOW as u64) as usize;
        let last = wanted as u64 == self.unread;
        let mut bytes = std::mem::take(&mut self.window);
        bytes.resize(if last { wanted + PART_TRAILER } else { wanted }, 0);
        self.file.read_exact_at(&mut bytes, self.next)?;
        self.accept(bytes)
            .map_err(|damage| io::Error::new(io::ErrorKind::InvalidData, damage))
    }
}

impl Read for SealedPart {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.window.len() && self.unread > 0 {
            self.refill()?;
        }
        let given = out.len().min(self.window.len() - self.taken);
        out[..given].copy_from_slice(&self.window[self.taken..self.taken + given]);
        self.taken += given;
        Ok(given)
    }
}

/// How many whole slots a slot file of this length has.
pub(super) const fn whole_slots(length: u64) -> u64 {
    length.saturating_sub(FILE_HEADER as u64) / SLOT as u64
}
