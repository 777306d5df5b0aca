//! What can go wrong in the keeper and its store, and which of it must keep the box from starting.

use super::cases::CaseError;
use super::escrow_store::EscrowError;
use super::people::PeopleError;
use super::rollback::RolledBack;
use super::store::LARGEST_MANIFEST;
use crate::boxfiles::BoxFileError;
use crate::catalog::CatalogError;
use crate::crypto::stream::StreamError;
use crate::durable::FileError;
use crate::id::{RecordId, TenantId};
use crate::intake::spool::SpoolError;
use crate::keyring::KeyringError;
use crate::ledger::LedgerError;
use crate::search::SearchError;
use crate::tpm_link::LinkError;
use crate::vault::{SegmentNo, VaultError};
use std::io;
use std::path::PathBuf;

/// Why a record could not be stored or opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The vault's files.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A key in the key table or a slot does not open.
    #[error(
        "the {what} of segment {segment} does not open with this box's keys: altered, or of another box"
    )]
    Key {
        /// "segment key" or "record key".
        what: &'static str,
        /// The segment.
        segment: SegmentNo,
    },
    /// The keyring lacks the epoch.
    #[error("the keyring has no archive key of epoch {0} for this tenant")]
    Epoch(u32),
    /// A part does not open.
    #[error("record {record}, segment {segment}, offset {offset}: {source}")]
    Part {
        /// The record.
        record: RecordId,
        /// Its segment.
        segment: u32,
        /// Its offset there.
        offset: u64,
        /// What is wrong.
        #[source]
        source: StreamError,
    },
    /// A part is not the one that the ledger committed to.
    #[error(
        "record {record}, segment {segment}, offset {offset}: opens, but is not what the ledger committed to"
    )]
    Commitment {
        /// The record.
        record: RecordId,
        /// Its segment.
        segment: u32,
        /// Its offset there.
        offset: u64,
    },
    /// A manifest or arrival longer than any may be.
    #[error(
        "record {record}, segment {segment}, offset {offset}: its manifest is longer than {LARGEST_MANIFEST} bytes"
    )]
    TooLarge {
        /// The record.
        record: RecordId,
        /// Its segment.
        segment: u32,
        /// Its offset there.
        offset: u64,
    },
    /// A manifest or arrival that does not parse.
    #[error("record {record}: its manifest is not understood: {source}")]
    Manifest {
        /// The record.
        record: RecordId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl StoreError {
    /// True where stored bytes are not what was written or have no key, so that trying again does not help.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Vault(error) => matches!(
                error,
                VaultError::Damage(_)
                    | VaultError::Shredded { .. }
                    | VaultError::OtherRecord { .. }
            ),
            Self::Part { source, .. } => {
                matches!(source, StreamError::WrongKey | StreamError::Altered { .. })
            }
            Self::Key { .. }
            | Self::Commitment { .. }
            | Self::Manifest { .. }
            | Self::TooLarge { .. } => true,
            Self::Epoch(_) => false,
        }
    }

    /// True where the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Vault(error) if error.is_full())
    }
}

/// What can go wrong in the keeper. Each inner error names its place.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    BoxFile(#[from] BoxFileError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("{}: {source}", path.display())]
    KeyringFile { path: PathBuf, source: KeyringError },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    RolledBack(#[from] RolledBack),
    #[error("{0}{hint}", hint = .0.hint("they sign together: give --officer once for each"))]
    Approval(#[from] crate::approval::NotApproved),
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    #[error("a part could not be sealed: {0}")]
    Seal(#[source] io::Error),
    #[error(transparent)]
    Query(crate::search::QueryError),
    #[error("nothing could be re-encrypted: {0}")]
    Release(String),
    #[error(
        "no mail of the mailbox and the period of case {0} is in the archive; nothing was released, and the case stays as it is"
    )]
    NothingInScope(crate::id::CaseId),
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] crate::ledger::CheckpointError),
    #[error(
        "the keyring does not open with this box's TPM: an older copy of the data folder was put back, or the anchor was renewed elsewhere. \
         Put back the newest copy, or run `strongroom ceremony restore`"
    )]
    OldKeyring,
    #[error(transparent)]
    PolicyChange(#[from] super::policy_change::NotReplaced),
    #[error("tenant {0} is not a tenant of this box; the policy lists them")]
    NoTenant(TenantId),
    #[error("there is no record {0} that you may read")]
    NoRecord(RecordId),
    /// No such bytes for this reader.
    #[error(
        "there is no journal report of record {0} that you may read: it came in none, or you are not its sender"
    )]
    NoReport(RecordId),
    #[error("the catalog is behind the vault; `strongroom rebuild` makes it again")]
    CatalogBehind,
    #[error(
        "the head that the backup is said to hold is not one of this ledger; run the backup again"
    )]
    OtherHead,
    #[error("the ledger's first entry is not that of a founded box")]
    NotFounded,
}

impl CoreError {
    /// True where a disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::File(error) => error.is_full(),
            Self::Ledger(error) => error.is_full(),
            Self::Store(error) => error.is_full(),
            _ => false,
        }
    }

    /// True where a record cannot be read and never will be; see [`StoreError::is_damage`].
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_damage())
    }

    /// True where the box must not start normally, whoever restarts it. A disk or a TPM that does not answer is no reason: it
    /// may answer the next keeper.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Ledger(error) => !error.is_passing(),
            Self::RolledBack(error) => !error.is_passing(),
            Self::OldKeyring
            | Self::BoxFile(BoxFileError::OtherPolicy(_))
            | Self::PolicyChange(_)
            | Self::NotFounded
            | Self::Keyring(_)
            | Self::KeyringFile { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::at;
    use crate::ledger::LedgerError;
    use crate::tpm_link::Operation;
    use std::path::Path;

    #[test]
    fn a_disk_or_tpm_that_does_not_answer_is_no_reason_to_refuse_the_start_for_good() {
        let broken = || at("read", Path::new("tail"))(io::Error::from_raw_os_error(5));
        let silent = || LinkError::Refused(Operation::Position);
        let passing: [CoreError; 5] = [
            LedgerError::from(broken()).into(),
            LedgerError::Missing("tail".into()).into(),
            RolledBack::from(LedgerError::from(broken())).into(),
            RolledBack::from(broken()).into(),
            RolledBack::from(silent()).into(),
        ];
        for error in passing {
            assert!(!error.is_refusal(), "{error}");
        }
        let cut = || LedgerError::Behind {
            what: "the keyring",
            expected: 2,
            found: 1,
        };
        let lasting: [CoreError; 3] = [
            cut().into(),
            RolledBack::from(cut()).into(),
            RolledBack::Older { ledger: 1, tpm: 2 }.into(),
        ];
        for error in lasting {
            assert!(error.is_refusal(), "{error}");
        }
    }
}
