//! What travels from the spool to the ledger in one group.

use crate::id::{SpoolFileId, TenantId};
use crate::intake::spool::SpooledMail;
use crate::keeper::manifest::Manifest;
use crate::keeper::packing::Sealed;
use crate::keeper::store::NewRecord;
use std::io;

/// A mail whose content is new: to be opened and sealed.
pub struct Task {
    /// Its place in the batch, which is the order of arrival.
    pub order: usize,
    /// Whose archive.
    pub tenant: TenantId,
    /// Envelope and bytes.
    pub mail: SpooledMail,
    /// Length of the leading trace fields.
    pub prefix: usize,
    /// PRF of the content behind them.
    pub join: [u8; 32],
    /// Its id and key.
    pub record: NewRecord,
}

/// A mail whose content is there already, or comes earlier in the same or an uncommitted batch.
pub struct Again {
    /// Whose archive.
    pub tenant: TenantId,
    /// Envelope and bytes.
    pub mail: SpooledMail,
    /// Its own leading trace fields, byte for byte.
    pub prefix: Vec<u8>,
    /// PRF of the content behind them.
    pub join: [u8; 32],
}

/// An opened and sealed mail.
pub struct Prepared {
    /// What it was made from.
    pub task: Task,
    /// The record's manifest; where its parts lie is filled in as they are appended.
    pub manifest: Manifest,
    /// The text's body, for the search index: no manifest has it.
    pub body: String,
    /// Original (unless too large for memory) and rendition.
    pub sealed: io::Result<(Option<Sealed>, Option<Sealed>)>,
    /// Of the tenant's keys when it was opened.
    pub generation: u64,
}

/// One group commit.
pub struct Batch {
    /// New records.
    pub new: Vec<Prepared>,
    /// Further arrivals.
    pub again: Vec<Again>,
    /// Spool files with nothing left in them once this batch is committed.
    pub finished: Vec<SpoolFileId>,
}
