//! What is said about the access log.

use crate::id::{CaseId, RecordId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Which entries of the access log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessFilter {
    /// Of this case only.
    pub case: Option<CaseId>,
    /// By or about this person only.
    pub person: Option<String>,
    /// Of this record only.
    pub record: Option<RecordId>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Up to this time, inclusive.
    pub until: Option<Timestamp>,
    /// Before the ledger entry of this number: [`AccessPage::next`] of the page before.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// A page of the access log, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPage {
    /// The entries. A page may have fewer than asked for, or none, with more behind it.
    pub entries: Vec<AccessRow>,
    /// What could not be read on the way, in words.
    pub damaged: Vec<String>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<u64>,
}

/// One entry of the access log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRow {
    /// The ledger entry's number.
    pub entry: u64,
    /// When.
    pub time: Timestamp,
    /// Who did it; of people's changes, the officers who signed.
    pub who: String,
    /// Why.
    pub purpose: String,
    /// What was done: "search", "show", "get original", "get rendition", "get report", "release", "access log", "sign in",
    /// "sign in refused", "case requested" and the like, "person set", "account closed".
    pub action: String,
    /// The records that were listed or read, as far as whoever asks may know of them.
    pub records: Vec<RecordId>,
    /// Under which case, or of which.
    pub case: Option<CaseId>,
    /// The person whose rights were changed.
    pub person: Option<String>,
    /// How many mails were released.
    pub mails: Option<u64>,
    /// What was searched for, as far as whoever asks may know it.
    pub query: Option<String>,
}
