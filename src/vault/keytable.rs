//! The key table: one entry a segment, with the segment's key wrapped under a tenant archive key. It is
//! small and replaced as a whole. A damaged entry costs its own segment only, and is kept as it is.

use super::format::{TABLE_ENTRY, TABLE_MAGIC, read_table_entry, table_entry};
use super::model::{SegmentNo, WrappedSegmentKey};
use crate::durable::{self, FileError};
use std::path::Path;

/// More segments than any tenant will have: 2²⁰ × 256 MB.
const MAX_FILE: u64 = 8 + ((TABLE_ENTRY as u64) << 20);

/// Entry `i` belongs to segment `i + 1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyTable(Vec<[u8; TABLE_ENTRY]>);

impl KeyTable {
    /// Reads the table; one that is absent has no entries. What it begins with is not looked at: each
    /// entry has its own checksum, so none is given up for a damaged neighbour.
    pub(super) fn load(path: &Path) -> Result<Self, FileError> {
        let bytes = durable::read_if_present(path, MAX_FILE)?.unwrap_or_default();
        let entries = bytes.get(TABLE_MAGIC.len()..).unwrap_or_default();
        Ok(Self(entries.as_chunks().0.to_vec()))
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), FileError> {
        durable::replace(path, &self.to_bytes())
    }

    /// Whether the file holds this table, byte for byte; an empty table needs none.
    pub(super) fn is_at(&self, path: &Path) -> Result<bool, FileError> {
        Ok(match durable::read_if_present(path, MAX_FILE)? {
            Some(bytes) => bytes == self.to_bytes(),
            None => self.0.is_empty(),
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        [TABLE_MAGIC, self.0.as_flattened()].concat()
    }

    pub(super) fn get(&self, segment: SegmentNo) -> Option<WrappedSegmentKey> {
        let entry = self.0.get(segment.0.checked_sub(1)? as usize)?;
        read_table_entry(entry, segment)
    }

    /// The table with `segment`'s entry set and none behind it; missing ones before it stay unreadable.
    pub(super) fn with(&self, segment: SegmentNo, key: &WrappedSegmentKey) -> Self {
        let mut entries = self.0.clone();
        entries.resize(segment.0.saturating_sub(1) as usize, [0; TABLE_ENTRY]);
        entries.push(table_entry(segment, key));
        Self(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(epoch: u32) -> WrappedSegmentKey {
        WrappedSegmentKey {
            epoch,
            bytes: [epoch as u8; 60],
        }
    }

    #[test]
    fn a_damaged_entry_costs_its_own_segment_only() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("keytable");
        let table = (1..=3).fold(KeyTable::default(), |table, n| {
            table.with(SegmentNo(n), &key(n))
        });
        table.save(&path).expect("save");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[8 + TABLE_ENTRY + 20] ^= 1;
        std::fs::write(&path, &bytes).expect("write");
        let damaged = KeyTable::load(&path).expect("load");
        assert_eq!(damaged.get(SegmentNo(1)), Some(key(1)));
        assert_eq!(damaged.get(SegmentNo(2)), None);
        assert_eq!(damaged.get(SegmentNo(3)), Some(key(3)));
        assert_eq!(damaged.get(SegmentNo(4)), None);
        damaged
            .with(SegmentNo(4), &key(4))
            .save(&path)
            .expect("save");
        assert_eq!(
            &std::fs::read(&path).expect("read")[..bytes.len()],
            bytes,
            "damage is kept for repair"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("keytable");
            std::fs::write(&path, bytes).expect("write");
            let table = KeyTable::load(&path).expect("load");
            for n in 0..6 {
                prop_assert!(table.get(SegmentNo(n)).is_none());
            }
        }
    }
}
