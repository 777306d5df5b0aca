//! The vault: sealed parts in append-only segments, wrapped record keys in slots, wrapped segment keys in
//! the key table. It sees neither plaintext nor any key; it frames, places, makes durable, and names damage.
//!
//! One [`Vault`] writes a tenant's folder, in batches: parts and slots are appended, [`Vault::commit`]
//! makes them durable with two syncs, and only the ledger's commit after it makes them *count*:
//! [`Vault::open`] cuts off whatever lies behind the last part that the ledger knows. Any number of
//! [`VaultReader`]s read committed parts meanwhile.

mod append;
mod format;
mod keytable;
mod model;
mod read;
mod scan;
#[cfg(test)]
mod tests;

pub use append::PartWriter;
pub use model::{
    Damage, DamageKind, PartKind, PartPlace, SegmentNo, SlotPlace, VaultError, WrappedKey,
    WrappedSegmentKey,
};
pub use read::{SealedPart, VaultReader};
pub use scan::{PartInfo, Scan};

use crate::durable::{self, at};
use crate::id::{RecordId, TenantId};
use append::Appender;
use format::{
    FILE_HEADER, FileKind, PART_TRAILER, PartHeader, SLOT, Slot, file_header, slot_offset,
};
use keytable::KeyTable;
use std::fs;
use std::path::Path;

/// The size at which a segment is closed, in bytes.
pub const SEGMENT_SIZE: u64 = 256 << 20;

/// One batch never starts more segments than this (a 2 GB mail has a segment for each of its parts).
const MOST_SEGMENTS_A_BATCH: u32 = 4;

/// What counts as written: everything before these lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Committed {
    segment: SegmentNo,
    length: u64,
    slots: u64,
}

struct OpenSegment {
    number: SegmentNo,
    parts: Appender,
    slots: Appender,
}

/// The writer of one tenant's vault.
pub struct Vault {
    reader: VaultReader,
    segment_size: u64,
    open: Option<OpenSegment>,
    committed: Option<Committed>,
    damage: Vec<Damage>,
    failed: bool,
}

impl Vault {
    /// Opens or makes `dir/TENANT`, and cuts off what lies behind `committed_end`, the last part that
    /// the ledger knows (`None`: the ledger knows none, and only then may the folder be missing). What turns out damaged is listed by
    /// [`Vault::damage`]; a damaged segment is not written to any more, a new one is started instead.
    pub fn open(
        dir: &Path,
        tenant: &TenantId,
        committed_end: Option<PartPlace>,
    ) -> Result<Self, VaultError> {
        let folder = dir.join(tenant.as_str());
        // What is archived into the mount point of a disk that is not mounted is lost once it is.
        if committed_end.is_some() && !folder.try_exists().map_err(at("read", &folder))? {
            return Err(VaultError::Missing { folder });
        }
        durable::create_folder(&folder)?;
        let newest = read::newest_segment(&folder)?;
        let base = committed_end.map_or(SegmentNo(0), |place| place.segment);
        if newest.0 > base.0.saturating_add(MOST_SEGMENTS_A_BATCH) {
            return Err(VaultError::LedgerBehind {
                tenant: tenant.clone(),
                newest,
                committed: base,
            });
        }
        let table = KeyTable::load(&folder.join("keytable"))?;
        let reader = VaultReader::new(folder, tenant.clone(), table);
        let mut vault = Self {
            reader,
            segment_size: SEGMENT_SIZE,
            open: None,
            committed: None,
            damage: Vec::new(),
            failed: false,
        };
        vault.remove_segments_after(base)?;
        if let Some(place) = committed_end {
            vault.take_up(place)?;
        }
        Ok(vault)
    }

    /// Closes segments at `bytes` instead of [`SEGMENT_SIZE`].
    #[must_use]
    pub const fn with_segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// What [`Vault::open`] found damaged: missing key table entries, and the last segment where it
    /// cannot be written to any more. The full check is [`VaultReader::scan`].
    #[must_use]
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// A handle for reading, on any thread, while this vault writes.
    #[must_use]
    pub fn reader(&self) -> VaultReader {
        self.reader.clone()
    }

    /// The segment that is written to; `None` before the first [`Vault::start_segment`].
    #[must_use]
    pub fn current_segment(&self) -> Option<SegmentNo> {
        self.open.as_ref().map(|open| open.number)
    }

    /// True where [`Vault::start_segment`] must come before the next slot: there is no open segment,
    /// or it is full.
    #[must_use]
    pub fn needs_new_segment(&self) -> bool {
        self.open
            .as_ref()
            .is_none_or(|open| open.parts.length() >= self.segment_size)
    }

    /// The number that [`Vault::start_segment`] will give, for binding the segment's key to it.
    #[must_use]
    pub fn next_segment(&self) -> SegmentNo {
        let open = self.open.as_ref().map(|open| open.number);
        let last = open.or(self.committed.map(|committed| committed.segment));
        SegmentNo(last.map_or(1, |last| last.0 + 1))
    }

    /// Closes the current segment for ever and starts the next one, whose wrapped key goes to the key
    /// table. Durable at once, but undone by [`Vault::rollback`].
    pub fn start_segment(&mut self, key: &WrappedSegmentKey) -> Result<SegmentNo, VaultError> {
        self.guarded(|vault| {
            if let Some(closing) = &mut vault.open {
                closing.parts.sync()?;
                closing.slots.sync()?;
            }
            let number = vault.next_segment();
            let create = |kind: FileKind| {
                let path = vault.reader.path(kind, number);
                durable::create_new(&path, &file_header(kind, vault.reader.tenant(), number))?;
                Appender::open(&path)
            };
            let (parts, slots) = (create(FileKind::Segment)?, create(FileKind::Slots)?);
            vault.reader.change_table(|table| table.with(number, key))?;
            vault.open = Some(OpenSegment {
                number,
                parts,
                slots,
            });
            Ok(number)
        })
    }

    /// Adds a slot with `record`'s key, wrapped under the current segment's key.
    pub fn add_slot(
        &mut self,
        record: RecordId,
        key: &WrappedKey,
    ) -> Result<SlotPlace, VaultError> {
        self.guarded(|vault| {
            let open = vault.open_segment()?;
            let count = read::whole_slots(open.slots.length());
            open.slots
                .append(&Slot::Held { record, key: *key }.encode())?;
            Ok(SlotPlace {
                segment: open.number,
                index: count as u32,
            })
        })
    }

    /// Adds a part that is in memory, to the current segment, whichever segment its slot is in.
    pub fn append(
        &mut self,
        record: RecordId,
        kind: PartKind,
        slot: SlotPlace,
        sealed: &[u8],
    ) -> Result<PartPlace, VaultError> {
        self.guarded(|vault| {
            let open = vault.open_segment()?;
            let place = PartPlace {
                segment: open.number,
                offset: open.parts.length(),
                length: sealed.len() as u64,
            };
            let header = PartHeader {
                record,
                kind,
                slot,
                length: place.length,
            };
            open.parts.append(&header.encode())?;
            open.parts.append(sealed)?;
            let sum: [u8; PART_TRAILER] = crc32fast::hash(sealed).to_be_bytes();
            open.parts.append(&sum)?;
            Ok(place)
        })
    }

    /// Adds a part as a stream, in constant memory. Dropped without [`PartWriter::finish`], the part is
    /// taken back.
    pub fn part_writer(
        &mut self,
        record: RecordId,
        kind: PartKind,
        slot: SlotPlace,
    ) -> Result<PartWriter<'_>, VaultError> {
        self.check_usable()?;
        PartWriter::start(
            self,
            PartHeader {
                record,
                kind,
                slot,
                length: 0,
            },
        )
    }

    /// Makes everything appended since the last commit durable: one sync for parts, one for slots.
    pub fn commit(&mut self) -> Result<(), VaultError> {
        self.guarded(|vault| {
            let Some(open) = &mut vault.open else {
                return Ok(());
            };
            open.parts.sync()?;
            open.slots.sync()?;
            let (segment, length) = (open.number, open.parts.length());
            let slots = read::whole_slots(open.slots.length());
            vault.set_committed(Some(Committed {
                segment,
                length,
                slots,
            }));
            Ok(())
        })
    }

    /// Undoes everything since the last commit. To be called after any error of an append or a commit;
    /// until then all of them fail.
    pub fn rollback(&mut self) -> Result<(), VaultError> {
        self.failed = true;
        self.open = None;
        let committed = self.committed;
        self.remove_segments_after(committed.map_or(SegmentNo(0), |committed| committed.segment))?;
        if let Some(committed) = committed
            && !self
                .damage
                .iter()
                .any(|damage| damage.segment == committed.segment)
        {
            self.reopen(committed)?;
        }
        self.failed = false;
        Ok(())
    }

    /// Destroys the wrapped key in `record`'s slot, at once and durably. What a disk or a file system
    /// may still hold of it opens no more once the tenant archive key's epoch is gone.
    pub fn zero_slot(&mut self, place: SlotPlace, record: RecordId) -> Result<(), VaultError> {
        match self.reader.slot(place, record) {
            Ok(_) => {}
            Err(VaultError::Shredded { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        let path = self.reader.path(FileKind::Slots, place.segment);
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(at("open", &path))?;
        let write = std::os::unix::fs::FileExt::write_all_at;
        write(&file, &Slot::Shredded.encode(), slot_offset(place.index))
            .map_err(at("write", &path))?;
        Ok(durable::sync_data(&file, &path)?)
    }

    fn check_usable(&self) -> Result<(), VaultError> {
        if self.failed {
            Err(VaultError::Broken {
                tenant: self.reader.tenant().clone(),
            })
        } else {
            Ok(())
        }
    }

    /// Runs one step of a batch; after a failed one, the batch can only be rolled back.
    fn guarded<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.check_usable()?;
        let done = step(self);
        self.failed = done.is_err();
        done
    }

    fn open_segment(&mut self) -> Result<&mut OpenSegment, VaultError> {
        match &mut self.open {
            Some(open) => Ok(open),
            None => Err(VaultError::NoSegment {
                tenant: self.reader.tenant().clone(),
            }),
        }
    }

    fn set_committed(&mut self, committed: Option<Committed>) {
        self.committed = committed;
        self.reader.set_committed(committed);
    }

    fn remove_segments_after(&mut self, last: SegmentNo) -> Result<(), VaultError> {
        self.reader.forget_files();
        let newest = read::newest_segment(self.reader.folder())?;
        for number in (last.0 + 1..=newest.0).rev().map(SegmentNo) {
            for kind in [FileKind::Segment, FileKind::Slots] {
                durable::remove(&self.reader.path(kind, number))?;
            }
        }
        Ok(())
    }

    /// Goes on where the ledger's last part ends, unless that segment is damaged.
    fn take_up(&mut self, last: PartPlace) -> Result<(), VaultError> {
        let (slots, damage) = self.reader.examine(last)?;
        let committed = Committed {
            segment: last.segment,
            length: last.end(),
            slots,
        };
        self.set_committed(Some(committed));
        if damage.is_empty() {
            self.reopen(committed)?;
        }
        self.damage = damage;
        self.damage.extend(self.reader.missing_keys(last.segment));
        Ok(())
    }

    fn reopen(&mut self, committed: Committed) -> Result<(), VaultError> {
        let cut = |kind, length| {
            let mut appender = Appender::open(&self.reader.path(kind, committed.segment))?;
            appender.cut(length)?;
            appender.sync()?;
            Ok::<_, VaultError>(appender)
        };
        let parts = cut(FileKind::Segment, committed.length)?;
        let slots = cut(
            FileKind::Slots,
            FILE_HEADER as u64 + committed.slots * SLOT as u64,
        )?;
        self.open = Some(OpenSegment {
            number: committed.segment,
            parts,
            slots,
        });
        Ok(())
    }
}
