//! The vault's vocabulary: places, kinds, wrapped keys, and what can be wrong.

use crate::durable::FileError;
use crate::id::{RecordId, TenantId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// A segment's number within its tenant, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentNo(pub u32);

impl fmt::Display for SegmentNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A 256-bit key wrapped by `crypto::wrap`: 60 bytes that only the keeper can open.
pub type WrappedKey = [u8; crate::crypto::wrap::OVERHEAD + 32];

/// A segment's key, wrapped under a tenant archive key of the given epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrappedSegmentKey {
    /// The epoch of the tenant archive key.
    pub epoch: u32,
    /// The wrapped segment key.
    pub bytes: WrappedKey,
}

/// Where a record's wrapped key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotPlace {
    /// The segment whose slot file it is in, and whose key wraps it.
    pub segment: SegmentNo,
    /// The slot's number in that file, from 0.
    pub index: u32,
}

/// Where a part lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartPlace {
    /// The segment.
    pub segment: SegmentNo,
    /// Where the part's frame begins in the segment file, in bytes.
    pub offset: u64,
    /// How many sealed bytes it has.
    pub length: u64,
}

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    /// The mail exactly as received.
    Original,
    /// The readable form of a mail that came encrypted.
    Rendition,
    /// What is known about the record: envelopes, layers, verdicts, commitments.
    Manifest,
    /// A later arrival of the same content, with its own envelope.
    Arrival,
}

impl PartKind {
    /// The code in a part's header.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Original => 1,
            Self::Rendition => 2,
            Self::Manifest => 3,
            Self::Arrival => 4,
        }
    }

    /// The kind with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Original),
            2 => Some(Self::Rendition),
            3 => Some(Self::Manifest),
            4 => Some(Self::Arrival),
            _ => None,
        }
    }
}

/// Why the vault could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Stored bytes are not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The record's key was destroyed.
    #[error("the key of slot {} in segment {} was shredded: the record cannot be read any more", place.index, place.segment)]
    Shredded {
        /// The slot.
        place: SlotPlace,
    },
    /// The slot asked for holds another record's key.
    #[error("slot {} in segment {} belongs to record {held}, not to {asked}", place.index, place.segment)]
    OtherRecord {
        /// The slot.
        place: SlotPlace,
        /// The record asked for.
        asked: RecordId,
        /// The record whose key it holds.
        held: RecordId,
    },
    /// There is no segment to write to; [`super::Vault::start_segment`] comes first.
    #[error("tenant {tenant} has no open segment: one must be started before anything is stored")]
    NoSegment {
        /// The tenant.
        tenant: TenantId,
    },
    /// The folder is not there, and the ledger knows of mail in it.
    #[error(
        "{} is missing, in which the ledger knows mail: mount the disk that it lies on, or put it back from a backup; this is tried again. \
         If it is lost for good, make the folder, empty, and the box goes on without that mail",
        folder.display()
    )]
    Missing {
        /// The tenant's folder.
        folder: PathBuf,
    },
    /// More segments than one batch can have started lie behind the last committed part.
    #[error(
        "tenant {tenant} has segments up to {newest}, but the ledger knows none after {committed}: \
         the ledger is older than the vault. Nothing was removed; put the ledger that belongs to this vault back"
    )]
    LedgerBehind {
        /// The tenant.
        tenant: TenantId,
        /// The newest segment on disk.
        newest: SegmentNo,
        /// The segment of the last committed part, 0 for none.
        committed: SegmentNo,
    },
    /// A batch failed and could not be undone.
    #[error(
        "tenant {tenant}'s vault must be opened again: an earlier write failed and could not be undone"
    )]
    Broken {
        /// The tenant.
        tenant: TenantId,
    },
}

impl VaultError {
    /// True where the disk or the quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::File(error) if error.is_full())
    }
}

/// Stored bytes that are not what was written, named as exactly as the remaining bytes allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damage in tenant {tenant}, segment {segment}, offset {offset}{}: {what}", named(record.as_ref()))]
pub struct Damage {
    /// The tenant.
    pub tenant: TenantId,
    /// The segment.
    pub segment: SegmentNo,
    /// Where in the file that `what` names, in bytes.
    pub offset: u64,
    /// The record, where it is known.
    pub record: Option<RecordId>,
    /// What is wrong.
    pub what: DamageKind,
}

fn named(record: Option<&RecordId>) -> String {
    record
        .map(|record| format!(", record {record}"))
        .unwrap_or_default()
}

/// What is wrong with stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// The segment file's header.
    #[error("the segment file's header was altered")]
    SegmentHeader,
    /// A part's header.
    #[error("the header of a part was altered")]
    PartHeader,
    /// A part's sealed bytes.
    #[error("the sealed bytes of a part were altered")]
    PartBytes,
    /// The segment ends within a part, or before it.
    #[error("the segment file ends too early")]
    SegmentCut,
    /// The segment file is not there.
    #[error("the segment file is missing")]
    SegmentMissing,
    /// The slot file's header.
    #[error("the slot file's header was altered")]
    SlotsHeader,
    /// A slot.
    #[error("a slot was altered")]
    Slot,
    /// The slot file ends before a slot that must be there.
    #[error("the slot file ends too early or is missing")]
    SlotsCut,
    /// The key table's file, while the box runs.
    #[error("the key table is not the one that was written")]
    Table,
    /// The segment's entry in the key table.
    #[error("the segment's entry in the key table was altered or is missing")]
    TableEntry,
}
