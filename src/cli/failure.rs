//! How commands fail: one line on standard error that says what, where and what to do next.

use super::client::ClientError;
use super::passphrase::PassphraseError;
use crate::durable::FileError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error(transparent)]
    Officer(#[from] crate::officer::OfficerError),
    #[error(transparent)]
    BoxFile(#[from] crate::boxfiles::BoxFileError),
    #[error(transparent)]
    Person(#[from] crate::keeper::people::PeopleError),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Id(#[from] crate::id::BadId),
    #[error("{0}")]
    Input(String),
    #[error("the box takes no mail in; the warning says why")]
    NoIntake,
    #[error("damage was found")]
    Damaged,
}
