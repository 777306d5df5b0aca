//! The reviewed policy file: officers, thresholds, algorithms, retention. Text goes in, a
//! [`ValidPolicy`] comes out, and nothing else makes one.

mod changes;
mod journal;
mod names;
mod parse;
mod read;
mod trust;
mod warnings;

use crate::id::{Digest, TenantId};
use crate::mail::context::OpenPolicy;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

pub use changes::changes;
pub use journal::{JournalPolicy, JournalRule};
pub use trust::{Trusted, Vouched};

/// `keys-policy/default.toml`: 3 of 5 officers.
pub const DEFAULT: &str = include_str!("../../keys-policy/default.toml");
/// `keys-policy/demo.toml`: 2 of 3 officers.
pub const DEMO: &str = include_str!("../../keys-policy/demo.toml");

/// What is wrong in a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {key} {problem}; allowed: {allowed}")]
pub struct PolicyError {
    /// The file's name as the caller gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// The key with its table, `officers.required`.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
    /// What may stand there.
    pub allowed: String,
}

/// How many officers there are, and how many must act together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// m: so many shares give the recovery key.
    pub required: u8,
    /// n: so many officers hold a share.
    pub officers: u8,
}

/// What needs officers' signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Founding a box: always all officers.
    Found,
    /// Restoring a box: always m, because m shares give the key.
    Restore,
    /// Releasing a person's mail.
    CaseMail,
    /// Releasing a person's private key.
    CaseKey,
    /// Adding, changing and removing users and their mailboxes.
    People,
    /// Replacing the policy.
    PolicyChange,
}

/// How long a retention class lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Whole years, counted from the end of the calendar year (UTC) in which the mail arrived.
    Years(u8),
    /// Months, counted from arrival.
    Months(u8),
}

/// Retention classes by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The class of mail that no rule puts elsewhere.
    pub default: String,
    /// All classes.
    pub classes: BTreeMap<String, Period>,
}

/// How often keys and counters move on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Life of a spool key, in days.
    pub spool_key_days: u32,
    /// Shortest time between two checkpoints, in seconds.
    pub checkpoint_seconds: u32,
    /// Time between two steps of the TPM's counter, in minutes. The NV memory wears: not below 10.
    pub counter_minutes: u32,
}

/// A policy that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidPolicy {
    quorum: Quorum,
    thresholds: BTreeMap<Action, u8>,
    pcrs: BTreeSet<u8>,
    cap_pcr: Option<u8>,
    tenants: BTreeSet<TenantId>,
    open: OpenPolicy,
    trust: Trusted,
    journal: JournalPolicy,
    max_size: Option<u64>,
    retention: Retention,
    exclusions: BTreeSet<String>,
    rotation: Rotation,
    digest: Digest,
}

impl ValidPolicy {
    /// Checks `text`; `file_name` is only for the error's text.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, PolicyError> {
        parse::parse(text, file_name, parse::Names::Checked)
    }

    /// As [`ValidPolicy::parse`], for the policy of a founded box: earlier versions did not check what algorithms are
    /// called, and what they took must not close a box.
    pub fn parse_founded(text: &str, file_name: &str) -> Result<Self, PolicyError> {
        parse::parse(text, file_name, parse::Names::AsFounded)
    }

    /// m of n.
    #[must_use]
    pub const fn quorum(&self) -> Quorum {
        self.quorum
    }

    /// How many officers must sign for `action`.
    #[must_use]
    pub fn threshold(&self, action: Action) -> u8 {
        match action {
            Action::Found => self.quorum.officers,
            Action::Restore => self.quorum.required,
            other => self
                .thresholds
                .get(&other)
                .copied()
                .unwrap_or(self.quorum.officers),
        }
    }

    /// PCRs (SHA-256 bank) that the sealed secret is bound to.
    #[must_use]
    pub const fn pcrs(&self) -> &BTreeSet<u8> {
        &self.pcrs
    }

    /// The PCR that the parent extends after unsealing, so that nobody after it can unseal.
    #[must_use]
    pub const fn cap_pcr(&self) -> Option<u8> {
        self.cap_pcr
    }

    /// The tenants; never empty. All have escrow in online mode.
    #[must_use]
    pub const fn tenants(&self) -> &BTreeSet<TenantId> {
        &self.tenants
    }

    /// What is opened, what is rated weak, and the bounds.
    #[must_use]
    pub const fn open(&self) -> &OpenPolicy {
        &self.open
    }

    /// Which of the certificates in the folder `trust/` vouch for signatures.
    #[must_use]
    pub const fn trust(&self) -> &Trusted {
        &self.trust
    }

    /// From whom journal reports are believed.
    #[must_use]
    pub const fn journal(&self) -> &JournalPolicy {
        &self.journal
    }

    /// Largest mail that is taken in, in bytes. `None`: no mail is ever refused for its size.
    #[must_use]
    pub const fn max_size(&self) -> Option<u64> {
        self.max_size
    }

    /// Retention classes.
    #[must_use]
    pub const fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Lawfully excluded mailboxes, lower case.
    #[must_use]
    pub const fn exclusions(&self) -> &BTreeSet<String> {
        &self.exclusions
    }

    /// Rotation intervals.
    #[must_use]
    pub const fn rotation(&self) -> Rotation {
        self.rotation
    }

    /// SHA-256 of the file's text, as the ledger's first entry and the transcript name it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

impl Period {
    /// When the retention of a mail that arrived at `arrived` is over; `None` beyond the calendar's end.
    #[must_use]
    pub fn ends(self, arrived: Timestamp) -> Option<Timestamp> {
        let seconds = i64::try_from(arrived.seconds()).ok()?;
        let at = jiff::Timestamp::from_second(seconds)
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC);
        let end = match self {
            Self::Years(years) => {
                let year = at.year().checked_add(i16::from(years))?.checked_add(1)?;
                jiff::civil::Date::new(year, 1, 1)
                    .ok()?
                    .to_zoned(jiff::tz::TimeZone::UTC)
                    .ok()?
            }
            Self::Months(months) => at
                .checked_add(jiff::Span::new().months(i32::from(months)))
                .ok()?,
        };
        u64::try_from(end.timestamp().as_second())
            .ok()
            .map(Timestamp::from_seconds)
    }
}

#[cfg(test)]
mod tests;
