//! What can go wrong with a case, told to whoever asked.

use super::statement::MOST_DAYS;
use crate::approval::{NotApproved, Rejected};
use crate::durable::FileError;
use crate::id::CaseId;
use crate::time::Timestamp;

/// What went wrong with a case.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No such case.
    #[error("there is no case {0}; `strongroom case list` names them")]
    Unknown(CaseId),
    /// Altered.
    #[error("case {0} is altered on disk, or of another box")]
    Altered(CaseId),
    /// Not enough signatures, or too late.
    #[error("{0}{hint}", hint = .0.hint("each officer signs with `strongroom case approve`"))]
    NotApproved(#[from] NotApproved),
    /// One signature does not count.
    #[error("{officer} {why}")]
    Rejected {
        /// Who.
        officer: String,
        /// Why.
        why: Rejected,
    },
    /// It is over, or on its way out.
    #[error("case {0} is {1}; ask for a new one with `strongroom case request`")]
    Over(CaseId, &'static str),
    /// Two at once.
    #[error("case {0} is being released to somebody else right now; try again later")]
    Busy(CaseId),
    /// Somebody else's.
    #[error("case {0} is not yours: sign in as the person who asked, or as an officer")]
    NotYours(CaseId),
    /// It could never be released.
    #[error("the case is not taken: {0}")]
    Scope(String),
    /// No purpose, or too long a one.
    #[error("a case needs a purpose of at most 2000 bytes")]
    Purpose,
    /// The certificate makes the statement too long.
    #[error(
        "the certificate is too large: the statement for the officers would have more than 64 KiB; give the person's certificate alone \
         (`gpg --export-options export-minimal --export`)"
    )]
    Certificate,
    /// The fingerprint is not that of the certificate.
    #[error("case {0} names another certificate's fingerprint; nobody may sign it")]
    Fingerprint(CaseId),
    /// Too long a reading, or none.
    #[error("a case for reading lasts 1 to {MOST_DAYS} days; give --days")]
    Days,
    /// The statement's kind says one thing, its content another.
    #[error("the statement of case {0} does not allow what its kind says; nobody may sign it")]
    OtherKind(CaseId),
    /// A case for reading cannot be released.
    #[error(
        "case {0} lets the person who asked read on the box, and nothing goes out under it: `strongroom search --case {0}`; \
         for a release ask for another case, with a certificate"
    )]
    OnlyRead(CaseId),
    /// A release cannot be read.
    #[error(
        "case {0} is a release and lets nobody read on the box: `strongroom case release {0}`; \
         for reading ask for another case with `strongroom case request --read`"
    )]
    OnlyReleased(CaseId),
    /// Somebody other than the requester wants to read.
    #[error("under case {0} only the person who asked for it may read, in a session of their own")]
    NotTheReader(CaseId),
    /// The date that officers signed is over.
    #[error(
        "case {0} allowed reading until {1}; ask for a new one with `strongroom case request --read`"
    )]
    ReadToEnd(CaseId, Timestamp),
}
