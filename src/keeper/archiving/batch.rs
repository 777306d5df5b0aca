//! What travels from the spool to the ledger in one group.

use super::journal::Journal;
use super::seen::part;
use crate::id::{SpoolFileId, TenantId};
use crate::intake::spool::SpooledMail;
use crate::keeper::manifest::Manifest;
use crate::keeper::packing::Sealed;
use crate::keeper::store::NewRecord;
use crate::keeper::view::Unreadable;
use std::io::{self, Read};
use std::ops::Range;

/// A mail whose content is new: to be opened and sealed.
pub struct Task {
    /// Its place in the batch, which is the order of arrival.
    pub order: usize,
    /// Whose archive.
    pub tenant: TenantId,
    /// Envelope and bytes.
    pub mail: SpooledMail,
    /// As a journal report.
    pub journal: Journal,
    /// What further arrivals share with it: all behind the leading trace fields, of a report of those of the mail inside.
    pub shared: Range<u64>,
    /// PRF of that.
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
    /// As a journal report.
    pub journal: Journal,
    /// Where the shared part lies in its bytes.
    pub shared: Range<u64>,
    /// Its own bytes in front of the shared part.
    pub prefix: Vec<u8>,
    /// Its own bytes behind the shared part.
    pub suffix: Vec<u8>,
    /// PRF of the shared part.
    pub join: [u8; 32],
}

impl Task {
    /// Where the mail lies in its bytes: all of it, or what is inside of the journal report.
    #[must_use]
    pub fn readable(&self) -> Range<u64> {
        match &self.journal {
            Journal::Not(_) => 0..self.mail.length,
            Journal::Report(report) => {
                let start = report.messages.first().map_or(0, |mail| mail.start as u64);
                start..self.shared.end
            }
        }
    }

    /// Reads the mail from its beginning.
    pub fn bytes(&self) -> Box<dyn Read + '_> {
        match part(&self.mail, &self.readable()) {
            Ok(bytes) => bytes,
            Err(error) => Box::new(Unreadable::because(error.into())),
        }
    }
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
