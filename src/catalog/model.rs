//! What the catalog keeps for a record: plain values, filled by the keeper from ledger and vault.

use crate::id::{RecordId, SpoolId, TenantId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a record's slot lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRef {
    /// The segment the slot file belongs to.
    pub segment: u64,
    /// The slot's number in that file, from 0.
    pub index: u32,
}

/// Where one sealed part lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRef {
    /// Which part it is (original, rendition, manifest), in the vault's numbering.
    pub kind: u8,
    /// The segment.
    pub segment: u64,
    /// First byte in the segment.
    pub offset: u64,
    /// Length in the segment, in bytes.
    pub length: u64,
}

/// One way in which a record's content came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalMeta {
    /// From 0, counted for each record.
    pub number: u32,
    /// The queue id that intake's 250 named.
    pub spool: SpoolId,
    /// When intake accepted it.
    pub arrived: Timestamp,
    /// Mailboxes of the envelope, lower case.
    pub owners: Vec<String>,
    /// The ledger entry that committed it.
    pub ledger_index: u64,
}

/// Lengths of the content, in bytes before compression and sealing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// The mail as it was received.
    pub original: u64,
    /// The readable rendition, where there is one.
    pub rendition: Option<u64>,
}

/// All that the catalog knows of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordMeta {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its permanent identification code.
    pub record: RecordId,
    /// Its slot.
    pub slot: SlotRef,
    /// Its parts, in the order they were written.
    pub parts: Vec<PartRef>,
    /// Its arrivals by number. They are rows of their own: storing a record adds or replaces the arrivals
    /// given and removes none.
    #[serde(skip)]
    pub arrivals: Vec<ArrivalMeta>,
    /// The PRF output by which equal content is found within the tenant.
    #[serde(with = "serde_bytes")]
    pub join: [u8; 32],
    /// `Message-ID` without angle brackets.
    pub message_id: Option<String>,
    /// How opening ended, in the text form of the mail module ("opened", "no-key", …).
    pub outcome: String,
    /// Fingerprints of the escrowed keys that opened layers.
    pub opened_by: Vec<String>,
    /// Whether the mail has attachments.
    pub has_attachment: bool,
    /// See [`Sizes`].
    pub sizes: Sizes,
}

/// A record that waits for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The record's tenant.
    pub tenant: TenantId,
    /// The record.
    pub record: RecordId,
    /// The keeper's encoding of how the mail names the key; equal bytes mean the same key.
    pub hint: Vec<u8>,
}

/// What changes together: after a crash all of it is in the catalog or none.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Records to add or replace, with the arrivals they carry.
    pub records: Vec<RecordMeta>,
    /// Arrivals to add to records that are already there.
    pub arrivals: Vec<(RecordId, ArrivalMeta)>,
    /// Records that wait for a key, after those of `done` were taken off the list.
    pub waits: Vec<Wait>,
    /// Records whose waits so far are over, with their tenant.
    pub done: Vec<(TenantId, RecordId)>,
    /// Fingerprints of escrowed keys, each once for every mail it opened.
    pub opened_by: Vec<String>,
    /// How many ledger entries the catalog reflects after this change.
    pub applied: Option<u64>,
}
