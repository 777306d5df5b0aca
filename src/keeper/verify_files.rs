//! The part of `verify` that reads the small files again, and what of the large ones no record needs: a box that runs
//! has all of them in memory and would notice damage only at its next start, or at a restore.

use super::core::{Core, CoreError, lock};
use super::policy_change::Replacement;
use super::protocol::Verified;
use super::transcripts::Transcripts;
use crate::boxfiles::{
    BoxFileError, KEYRING, OFFICERS, POLICY, STATIC_CAPSULE, TPM, signed_policy_name,
};
use crate::ceremony::TpmFacts;
use crate::durable;
use crate::id::Digest;
use crate::keyring::{Keyring, StaticCapsule};
use crate::ledger::{Entry, Event};
use std::sync::PoisonError;

const REMEDY: &str = "put it back from a backup";

/// What the signed transcripts that were met so far say.
#[derive(Default)]
pub(super) struct SignedFacts {
    /// The box's TPM.
    pub(super) tpm: Option<TpmFacts>,
    /// The policy in force.
    policy: Option<Digest>,
}

impl Core {
    /// Compares every file that is not a record's with what is in memory.
    pub(super) fn verify_files(&self, found: &mut Verified) {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let path = |name: &str| self.data.join(name).display().to_string();
        match self.data.policy() {
            Ok(policy) if policy.digest() == keyring.policy => {}
            Ok(_) => found.name_file(
                &path(POLICY),
                &BoxFileError::OtherPolicy(self.data.join(POLICY)),
            ),
            Err(error) => found.name_file(&path(POLICY), &error),
        }
        match self.keyring_on_disk() {
            Ok(generation) if generation == keyring.generation => {}
            Ok(_) => found.name_file(&path(KEYRING), &"it is another one than was written last"),
            Err(error) => found.name_file(&path(KEYRING), &error),
        }
        match self.data.officers() {
            Ok(file)
                if file.box_id == keyring.box_id
                    && file.officers == keyring.officers
                    && file.recovery == keyring.recovery.fingerprint() => {}
            Ok(_) => found.name_file(
                &path(OFFICERS),
                &format!("it does not say what the keyring says; {REMEDY}"),
            ),
            Err(error) => found.name_file(&path(OFFICERS), &error),
        }
        match self.data.tpm() {
            Ok(file) if file == self.tpm_file && file.box_id == keyring.box_id => {}
            Ok(_) => found.name_file(
                &path(TPM),
                &format!("it is another one than at the start; {REMEDY}"),
            ),
            Err(error) => found.name_file(&path(TPM), &error),
        }
        let capsule = durable::read(&self.data.join(STATIC_CAPSULE), crate::keyring::LARGEST)
            .map_err(CoreError::from)
            .and_then(|file| Ok(StaticCapsule::box_of(&file)?));
        match capsule {
            Ok(box_id) if box_id == keyring.box_id => {}
            Ok(_) => found.name_file(
                &path(STATIC_CAPSULE),
                &format!("it is another box's; {REMEDY}"),
            ),
            Err(error) => found.name_file(&path(STATIC_CAPSULE), &error),
        }
        drop(keyring);
        if let Err(error) = lock(&self.ledger).verify_tail() {
            found.name(error.to_string());
        }
        self.verify_vaults(found);
    }

    fn keyring_on_disk(&self) -> Result<u64, CoreError> {
        let keyring = Keyring::open_with_box_secret(&self.data.keyring()?, &self.box_secret)?;
        Ok(keyring.generation)
    }

    /// Key tables, slots, and the headers of segments.
    fn verify_vaults(&self, found: &mut Verified) {
        for reader in self.readers() {
            match reader.vault().damaged_frame() {
                Ok(damage) => damage.iter().for_each(|one| found.name(one.to_string())),
                Err(error) => found.name(error.to_string()),
            }
        }
    }

    /// What is wrong with the transcript of a founding, a restore or a policy, and whether `tpm.json` is what was signed there.
    /// The last one's TPM is the box's; that of one before it is given up.
    pub(super) fn verify_transcript(
        &self,
        transcripts: &Transcripts,
        entry: &Entry,
        last: &mut SignedFacts,
    ) -> Option<String> {
        let facts = match &entry.event {
            Event::PolicyChanged { policy, statement } => {
                let replacement = Replacement {
                    policy: *policy,
                    statement: *statement,
                    time: entry.time,
                };
                return self.verify_policy(transcripts, &replacement, last);
            }
            Event::Founded {
                transcript, policy, ..
            } => {
                last.policy = Some(*policy);
                transcripts.charter(*transcript).map(|charter| charter.tpm)
            }
            Event::Restored {
                transcript,
                new_box,
                accepted,
                ..
            } => transcripts.succession(*transcript, *new_box, *accepted),
            _ => return None,
        };
        last.tpm = facts.as_ref().ok().cloned();
        facts.err().map(|doubt| doubt.to_string())
    }

    /// What is wrong with a replacement of the policy: each is of the one that was in force.
    fn verify_policy(
        &self,
        transcripts: &Transcripts,
        replacement: &Replacement,
        last: &mut SignedFacts,
    ) -> Option<String> {
        let before = last.policy.replace(replacement.policy);
        match transcripts.policy(&self.policies.boxes, replacement) {
            Ok(subject) if before.is_none_or(|before| before == subject.replaces) => None,
            Ok(_) => {
                last.policy = before;
                let name = signed_policy_name(replacement.statement);
                Some(format!("{name} is for another policy than was in force"))
            }
            Err(doubt) => Some(doubt.to_string()),
        }
    }

    /// Whether `tpm.json` names the TPM that officers signed for last.
    pub(super) fn verify_tpm(&self, signed: Option<&TpmFacts>, found: &mut Verified) {
        let file = &self.tpm_file;
        let fits = signed.is_none_or(|facts| {
            facts.storage_root_key == file.storage_root_key.to_string()
                && facts.ledger_key == file.ledger_public
        });
        if !fits {
            found.name_file(
                &self.data.join(TPM).display().to_string(),
                &"it names another TPM than the officers signed for",
            );
        }
    }
}
