//! The vault's records byte for byte, without any input or output: file headers, part frames, slots and
//! key table entries. `docs/formats.md` describes them. All numbers are big-endian, and each record ends
//! in a CRC-32 (IEEE 802.3) of what stands before it, so damage is found and named without any key.

use super::{PartKind, PartPlace, SegmentNo, SlotPlace, WrappedKey, WrappedSegmentKey};
use crate::id::{RecordId, TenantId};

/// Length of the header of segment and slot files.
pub(super) const FILE_HEADER: usize = 64;
/// Length of the header in front of a part's sealed bytes.
pub(super) const PART_HEADER: usize = 44;
/// Length of the checksum behind a part's sealed bytes.
pub(super) const PART_TRAILER: usize = 4;
/// Length of one slot.
pub(super) const SLOT: usize = 80;
/// Length of one key table entry.
pub(super) const TABLE_ENTRY: usize = 72;
/// What a part header begins with.
pub(super) const PART_MAGIC: &[u8; 4] = b"PART";
/// What the key table begins with; the last byte is the format's version.
pub(super) const TABLE_MAGIC: &[u8; 8] = b"SRKEYT\0\x01";

/// Which of the two numbered files of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Segment,
    Slots,
}

impl FileKind {
    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Segment => b"SRSEGM\0\x01",
            Self::Slots => b"SRSLOT\0\x01",
        }
    }

    pub(super) fn name(self, segment: SegmentNo) -> String {
        match self {
            Self::Segment => format!("seg-{:08}.seg", segment.0),
            Self::Slots => format!("seg-{:08}.slots", segment.0),
        }
    }
}

/// The segment number in a file name, whichever of the two kinds it is.
pub(super) fn segment_of_name(name: &str) -> Option<SegmentNo> {
    let rest = name.strip_prefix("seg-")?;
    let digits = rest
        .strip_suffix(".seg")
        .or_else(|| rest.strip_suffix(".slots"))?;
    let canonical = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit());
    canonical
        .then(|| digits.parse().ok().map(SegmentNo))
        .flatten()
}

/// Puts fields of known size one after the other, then their checksum.
struct Fields<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Fields<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            used: 0,
        }
    }

    fn put(mut self, field: &[u8]) -> Self {
        self.bytes[self.used..self.used + field.len()].copy_from_slice(field);
        self.used += field.len();
        self
    }

    fn checked(mut self) -> [u8; N] {
        let sum = crc32fast::hash(&self.bytes[..N - 4]);
        self.bytes[N - 4..].copy_from_slice(&sum.to_be_bytes());
        self.bytes
    }
}

/// Takes such fields apart again; every record is checked first, so sizes always suffice.
fn sum_fits(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(body, sum)| crc32fast::hash(body).to_be_bytes() == *sum)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// `magic[8] ‖ segment u32 ‖ tenant length u8 ‖ tenant[32] ‖ zero[15] ‖ crc32`.
pub(super) fn file_header(
    kind: FileKind,
    tenant: &TenantId,
    segment: SegmentNo,
) -> [u8; FILE_HEADER] {
    let name = tenant.as_str().as_bytes();
    Fields::new()
        .put(kind.magic())
        .put(&segment.0.to_be_bytes())
        .put(&[name.len() as u8])
        .put(name)
        .checked()
}

/// What stands in front of a part's sealed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartHeader {
    pub record: RecordId,
    pub kind: PartKind,
    pub slot: SlotPlace,
    pub length: u64,
}

impl PartHeader {
    /// `"PART" ‖ record[16] ‖ kind u8 ‖ zero[3] ‖ slot segment u32 ‖ slot index u32 ‖ length u64 ‖ crc32`.
    pub(super) fn encode(&self) -> [u8; PART_HEADER] {
        Fields::new()
            .put(PART_MAGIC)
            .put(self.record.as_bytes())
            .put(&[self.kind.code(), 0, 0, 0])
            .put(&self.slot.segment.0.to_be_bytes())
            .put(&self.slot.index.to_be_bytes())
            .put(&self.length.to_be_bytes())
            .checked()
    }

    pub(super) fn decode(bytes: &[u8; PART_HEADER]) -> Option<Self> {
        if !bytes.starts_with(PART_MAGIC) || !sum_fits(bytes) {
            return None;
        }
        Some(Self {
            record: RecordId::from_bytes(array(bytes, 4)),
            kind: PartKind::from_code(bytes[20])?,
            slot: SlotPlace {
                segment: SegmentNo(u32::from_be_bytes(array(bytes, 24))),
                index: u32::from_be_bytes(array(bytes, 28)),
            },
            length: u64::from_be_bytes(array(bytes, 32)),
        })
    }
}

/// A slot as it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Held { record: RecordId, key: WrappedKey },
    Shredded,
}

impl Slot {
    /// `record[16] ‖ wrapped key[60] ‖ crc32`, or 80 zero bytes once shredded.
    pub(super) fn encode(&self) -> [u8; SLOT] {
        match self {
            Self::Held { record, key } => Fields::new().put(record.as_bytes()).put(key).checked(),
            Self::Shredded => [0; SLOT],
        }
    }

    pub(super) fn decode(bytes: &[u8; SLOT]) -> Option<Self> {
        if bytes.iter().all(|b| *b == 0) {
            return Some(Self::Shredded);
        }
        let record = RecordId::from_bytes(array(bytes, 0));
        sum_fits(bytes).then(|| Self::Held {
            record,
            key: array(bytes, 16),
        })
    }
}

/// `segment u32 ‖ epoch u32 ‖ wrapped key[60] ‖ crc32`.
pub(super) fn table_entry(segment: SegmentNo, key: &WrappedSegmentKey) -> [u8; TABLE_ENTRY] {
    Fields::new()
        .put(&segment.0.to_be_bytes())
        .put(&key.epoch.to_be_bytes())
        .put(&key.bytes)
        .checked()
}

/// The key in a table entry, if it is undamaged and `segment`'s.
pub(super) fn read_table_entry(
    bytes: &[u8; TABLE_ENTRY],
    segment: SegmentNo,
) -> Option<WrappedSegmentKey> {
    let fits = sum_fits(bytes) && array::<4>(bytes, 0) == segment.0.to_be_bytes();
    fits.then(|| WrappedSegmentKey {
        epoch: u32::from_be_bytes(array(bytes, 4)),
        bytes: array(bytes, 8),
    })
}

impl PartPlace {
    /// Where the part's frame ends and the next one begins.
    pub(super) const fn end(&self) -> u64 {
        self.offset
            .saturating_add((PART_HEADER + PART_TRAILER) as u64)
            .saturating_add(self.length)
    }
}

/// Where slot `index` begins in its file.
pub(super) const fn slot_offset(index: u32) -> u64 {
    FILE_HEADER as u64 + index as u64 * SLOT as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_names_are_read_back() {
        for number in [1, 99_999_999, 100_000_000] {
            for kind in [FileKind::Segment, FileKind::Slots] {
                assert_eq!(
                    segment_of_name(&kind.name(SegmentNo(number))),
                    Some(SegmentNo(number))
                );
            }
        }
        for other in [
            "seg-1.seg",
            "seg-0000000x.seg",
            "keytable",
            "seg-00000001.seg.new",
        ] {
            assert_eq!(segment_of_name(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn records_survive_and_notice_every_flipped_bit(
            record: [u8; 16], code in 1u8..=4, segment: u32, index: u32, length: u64, key: [u8; 32], bit: prop::sample::Index,
        ) {
            let slot = SlotPlace { segment: SegmentNo(segment), index };
            let kind = PartKind::from_code(code).expect("a kind");
            let header = PartHeader { record: RecordId::from_bytes(record), kind, slot, length };
            let mut bytes = header.encode();
            prop_assert_eq!(PartHeader::decode(&bytes), Some(header));
            let at = bit.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(PartHeader::decode(&bytes), None);

            let mut wrapped = [1; 60];
            wrapped[..32].copy_from_slice(&key);
            let held = Slot::Held { record: RecordId::from_bytes(record), key: wrapped };
            let mut bytes = held.encode();
            prop_assert_eq!(Slot::decode(&bytes), Some(held));
            let at = bit.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(Slot::decode(&bytes), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(part: [u8; PART_HEADER], slot in prop::collection::vec(any::<u8>(), SLOT)) {
            let _ = PartHeader::decode(&part);
            let _ = Slot::decode(slot.first_chunk().expect("long enough"));
        }
    }
}
