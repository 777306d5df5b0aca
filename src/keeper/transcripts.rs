//! The signed transcripts beside the ledger: what it says of founding and restores counts as far as officers signed it.

use super::opening;
use super::policy_change::{PolicySubject, REPLACE, Replacement};
use crate::approval::Framed;
use crate::boxfiles::{BoxFileError, CHARTER, DataFolder, TRANSCRIPTS, signed_policy_name};
use crate::ceremony::{Charter, Signed, TpmFacts};
use crate::durable::{self, FileError};
use crate::id::{BoxId, Digest};
use crate::keyring::Officers;
use crate::ledger::Head;
use crate::policy::{Action, ValidPolicy};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const LARGEST: u64 = 1 << 20;
/// Between the look at the clock and the ledger's entry lie some files that are written: seconds, on an ailing disk more.
const RECORDED_WITHIN: u64 = 600;

/// Why a transcript does not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum Doubt {
    /// The disk does not give it now.
    #[error(transparent)]
    Unread(FileError),
    /// It is missing, damaged or not signed as it must be.
    #[error("{0}")]
    Wrong(String),
}

impl From<String> for Doubt {
    fn from(wrong: String) -> Self {
        Self::Wrong(wrong)
    }
}

/// Transcripts of the box whose officers these are.
pub(super) struct Transcripts {
    data: PathBuf,
    officers: Officers,
}

impl Transcripts {
    /// In the data folder `data`.
    pub(super) fn of(data: &Path, officers: Officers) -> Self {
        Self {
            data: data.to_owned(),
            officers,
        }
    }

    /// Whether m officers accepted `accepted` for `new_box`; gives the TPM that took over, else what is wrong.
    pub(super) fn succession(
        &self,
        transcript: Digest,
        new_box: BoxId,
        accepted: Head,
    ) -> Result<TpmFacts, Doubt> {
        let name = format!("{TRANSCRIPTS}/succession-{transcript}.json");
        let signed = self.read(&name, transcript)?;
        let succession = signed
            .succession()
            .map_err(|error| format!("{name}: {error}"))?;
        let head = succession.accepted_head;
        if (succession.new_box, head.size, head.root) != (new_box, accepted.size, accepted.root) {
            return Err(format!("{name} tells of another restore").into());
        }
        self.signed_by(&signed, usize::from(self.officers.required), &name)?;
        Ok(succession.tpm)
    }

    /// The charter, which all officers signed; else what is wrong with it.
    pub(super) fn charter(&self, transcript: Digest) -> Result<Charter, Doubt> {
        let signed = self.read(CHARTER, transcript)?;
        self.signed_by(&signed, self.officers.list.len(), CHARTER)?;
        let charter = signed.charter();
        charter.map_err(|error| format!("{CHARTER}: {error}").into())
    }

    /// What officers signed for a replacement of the policy, in this box or one that it succeeds, in time and as many as the
    /// policy until then demands; else what is wrong.
    pub(super) fn policy(
        &self,
        boxes: &BTreeSet<BoxId>,
        replacement: &Replacement,
    ) -> Result<PolicySubject, Doubt> {
        let name = signed_policy_name(replacement.statement);
        let signed = DataFolder::at(&self.data)
            .signed_policy(replacement.statement)
            .map_err(|error| match error {
                BoxFileError::File(error) if error.is_absent() => {
                    format!("{error}; put it back from a backup").into()
                }
                BoxFileError::File(error) => Doubt::Unread(error),
                other => Doubt::Wrong(other.to_string()),
            })?;
        let altered = || format!("{name} is damaged; put it back from a backup");
        let statement = &signed.statement;
        if statement.digest() != replacement.statement || signed.digest() != replacement.policy {
            return Err(altered().into());
        }
        let mut read = boxes
            .iter()
            .map(|box_id| statement.read_at_any_time::<PolicySubject>(REPLACE, *box_id));
        let Framed {
            expires, subject, ..
        } = read
            .find_map(Result::ok)
            .ok_or_else(|| format!("{name} is not for this box"))?;
        let before = ValidPolicy::parse_founded(&signed.replaced, &name).map_err(|_| altered())?;
        if (subject.replaces, subject.policy) != (before.digest(), signed.digest()) {
            return Err(altered().into());
        }
        let (officers, needed) = (
            opening::officers_in(&self.officers),
            before.threshold(Action::PolicyChange).into(),
        );
        let approved = statement.approved_by(&signed.approvals, &officers, &[], needed);
        approved.map_err(|error| format!("{name}: {error}"))?;
        if expires.plus_seconds(RECORDED_WITHIN) < replacement.time {
            return Err(format!("{name} had expired when it was used").into());
        }
        Ok(subject)
    }

    fn read(&self, name: &str, transcript: Digest) -> Result<Signed, Doubt> {
        let file = durable::read_if_present(&self.data.join(name), LARGEST)
            .map_err(Doubt::Unread)?
            .ok_or_else(|| format!("{name} is missing; put it back from a backup"))?;
        let damaged = |what: &str| format!("{name} is damaged ({what}); put it back from a backup");
        let signed = Signed::parse(&file).map_err(|error| damaged(&error.to_string()))?;
        if signed.digest() == transcript {
            Ok(signed)
        } else {
            Err(damaged("its text is not the one that the ledger names").into())
        }
    }

    fn signed_by(&self, signed: &Signed, needed: usize, name: &str) -> Result<(), String> {
        let found = signed.signers(&self.officers.list).len();
        if found >= needed {
            return Ok(());
        }
        Err(format!(
            "{name} is signed by {found} of this box's officers, {needed} are needed; put it back from a backup"
        ))
    }
}

#[cfg(test)]
mod tests;
