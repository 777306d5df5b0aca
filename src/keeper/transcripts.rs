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
mod tests {
    use super::*;
    use crate::approval::{Approval, Statement};
    use crate::boxfiles::SignedPolicy;
    use crate::officer::OfficerKey;
    use crate::officer::tests::officer;
    use crate::policy::DEMO;
    use crate::time::Timestamp;

    struct Box {
        data: tempfile::TempDir,
        id: BoxId,
        officers: Vec<OfficerKey>,
    }

    impl Box {
        fn new() -> Self {
            Self {
                data: tempfile::tempdir().unwrap(),
                id: BoxId::random(),
                officers: ["Ada", "Ben", "Cleo"].map(officer).into(),
            }
        }

        /// What the transcripts say of a replacement in an entry of this time, which as many officers signed.
        fn told(&self, signed: &SignedPolicy, time: Timestamp) -> Result<PolicySubject, String> {
            let data = DataFolder::at(self.data.path());
            data.write_signed_policy(signed).unwrap();
            let officers = Officers {
                required: 2,
                list: self
                    .officers
                    .iter()
                    .map(|key| key.public().clone())
                    .collect(),
            };
            let replacement = Replacement {
                policy: signed.digest(),
                statement: signed.statement.digest(),
                time,
            };
            Transcripts::of(self.data.path(), officers)
                .policy(&[self.id].into(), &replacement)
                .map_err(|doubt| doubt.to_string())
        }

        fn signed(&self, replaced: &str, policy: &str, count: usize) -> SignedPolicy {
            let subject = PolicySubject {
                replaces: Digest::of(replaced.as_bytes()),
                policy: Digest::of(policy.as_bytes()),
                changes: Vec::new(),
            };
            let statement =
                Statement::new(REPLACE, self.id, Timestamp::from_seconds(1000), subject);
            let approve = |key: &OfficerKey| -> Approval {
                statement.approve(&key.public().name.to_string(), |text| key.sign(text))
            };
            let approvals = self.officers[..count].iter().map(approve).collect();
            SignedPolicy {
                statement,
                approvals,
                replaced: replaced.to_owned(),
                policy: policy.to_owned(),
            }
        }
    }

    #[test]
    fn a_replacement_counts_by_the_policy_before_it_and_in_time() {
        let made = Box::new();
        let all = DEMO.replace("policy_change = 2", "policy_change = 3");
        assert_ne!(all, DEMO);
        let now = Timestamp::from_seconds(990);
        let late = Timestamp::from_seconds(1001 + RECORDED_WITHIN);
        for (replaced, policy, count, time, wrong) in [
            (DEMO, &*all, 2, now, None),
            (DEMO, &all, 1, now, Some("1 of 2 officers")),
            (&all, DEMO, 2, now, Some("2 of 3 officers")),
            (&all, DEMO, 3, now, None),
            (DEMO, &all, 2, late, Some("had expired")),
        ] {
            let told = made.told(&made.signed(replaced, policy, count), time);
            match wrong {
                None => assert_eq!(told.unwrap().policy, Digest::of(policy.as_bytes())),
                Some(wrong) => assert!(
                    told.as_ref().is_err_and(|why| why.contains(wrong)),
                    "{told:?}"
                ),
            }
        }
    }

    #[test]
    fn no_other_text_than_was_signed_is_taken_for_the_policy_before() {
        let made = Box::new();
        let all = DEMO.replace("policy_change = 2", "policy_change = 3");
        let mut signed = made.signed(&all, DEMO, 2);
        signed.replaced = DEMO.replace("people = 2", "people = 1");
        let told = made.told(&signed, Timestamp::from_seconds(990));
        assert!(told.is_err_and(|why| why.contains("is damaged")));
    }
}
