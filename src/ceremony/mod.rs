//! Ceremonies: what officers do together, as state machines without input or output. A state owns its
//! data and a step consumes it; `cli::ceremony` carries out what they decide.
//!
//! An officer counts once, by name, and only after the share or signature was verified: a bad one is
//! named and rejected alone, and stops nobody.

mod deal;
mod found;
mod restore;
mod transcript;

pub use deal::{Dealing, open_share};
pub use found::{Dealt, Founded, Proposed, Proven, Unsigned};
pub use restore::{Accepted, Gathering, Opened, Proposal, RestoreFacts};
pub use transcript::{Charter, Signed, Succession, sign};

use crate::crypto::hpke::HpkeError;
use crate::crypto::shares::ShareError;
use crate::crypto::sign::{SignError, VerifyingKey};
use crate::id::Digest;
use crate::keyring::KeyringError;
use crate::officer::OfficerName;
use crate::secret::Key;
use serde::{Deserialize, Serialize};

/// Why a ceremony did not go on.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The number of officers is not the policy's.
    #[error("the policy asks for {expected} officers (officers.number), {given} were given")]
    OfficerCount {
        /// n of the policy.
        expected: u8,
        /// How many came.
        given: usize,
    },
    /// Two officers share a name or a key: one person would count twice.
    #[error(
        "{0} and another officer have the same name or the same key; each officer makes an own file"
    )]
    SameOfficer(OfficerName),
    /// Nobody of that name takes part.
    #[error("{0} is not an officer of this box")]
    NotAnOfficer(OfficerName),
    /// The officer's file has other keys than those the box knows.
    #[error(
        "{0}'s officer file has other keys than the transcript: not the file that took part in the founding"
    )]
    OtherKeys(OfficerName),
    /// The share sealed to this officer does not open.
    #[error("{officer}'s share does not open with {officer}'s key")]
    SealedShare {
        /// Whose.
        officer: OfficerName,
        /// Why.
        #[source]
        source: HpkeError,
    },
    /// The share belongs to another recovery key.
    #[error("{0}'s share is of another recovery key: its fingerprint differs")]
    OtherRecoveryKey(OfficerName),
    /// The share does not fit its digest in the transcript.
    #[error(
        "{0}'s share is bad: it does not fit its salted digest in the transcript; go on with another officer"
    )]
    BadShare(OfficerName),
    /// The signature does not fit.
    #[error("{officer}'s signature is bad; go on with another officer")]
    BadSignature {
        /// Whose.
        officer: OfficerName,
        /// Why.
        #[source]
        source: SignError,
    },
    /// Not enough officers yet.
    #[error("{present} of {needed} officers are there{}", waiting(.missing))]
    TooFew {
        /// How many counted.
        present: usize,
        /// How many must.
        needed: usize,
        /// Who could still come.
        missing: Vec<OfficerName>,
    },
    /// A subset of the shares did not open the test capsule. Nothing was founded.
    #[error("the shares of {} together do not open the test capsule; nothing was founded, begin again", names(.0))]
    SubsetFails(Vec<OfficerName>),
    /// Dealing or combining failed.
    #[error(transparent)]
    Shares(#[from] ShareError),
    /// Keyring or capsule.
    #[error("the {what}: {source}")]
    Keyring {
        /// Which file.
        what: &'static str,
        /// Why.
        #[source]
        source: KeyringError,
    },
    /// The transcript's text is not one.
    #[error("the transcript cannot be read; put a copy from a backup in its place")]
    Transcript(#[source] serde_json::Error),
    /// The transcript is of another kind or version.
    #[error("a transcript of the format {0:?}, which this step cannot use")]
    OtherTranscript(String),
    /// The keyring is of another box than the transcript.
    #[error("keyring and transcript do not belong together: they name different recovery keys")]
    Unrelated,
}

fn names(officers: &[OfficerName]) -> String {
    officers
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn waiting(missing: &[OfficerName]) -> String {
    if missing.is_empty() {
        String::new()
    } else {
        format!("; not yet: {}", names(missing))
    }
}

/// What a ceremony chooses for the TPM to keep. The driver brings it there.
#[derive(Debug)]
pub struct TpmSecrets {
    /// Sealed under the boot measurements.
    pub sealed: Key,
    /// Written to the anchor.
    pub anchor: Key,
    /// Authorises the ledger key.
    pub ledger_auth: Key,
}

impl TpmSecrets {
    /// Fresh secrets.
    #[must_use]
    pub fn generate() -> Self {
        use crate::crypto::random::key;
        Self {
            sealed: key(),
            anchor: key(),
            ledger_auth: key(),
        }
    }
}

/// What the driver learns from the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmFacts {
    /// Name of the storage root key (TPM 2.0 part 1, 16), as lower-case hexadecimal.
    pub storage_root_key: String,
    /// Verifies the box's checkpoints from now on.
    pub ledger_key: VerifyingKey,
}

/// The digest by which the ledger names a signed transcript's text.
#[must_use]
pub fn digest_of(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

#[cfg(test)]
mod tests;
