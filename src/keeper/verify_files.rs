//! The part of `verify` that reads the small files again, and what of the large ones no record needs: a box that runs
//! has all of them in memory and would notice damage only at its next start, or at a restore.

use super::core::{Core, CoreError, lock};
use super::protocol::Verified;
use crate::boxfiles::{BoxFileError, KEYRING, OFFICERS, POLICY, STATIC_CAPSULE, TPM};
use crate::ceremony::TpmFacts;
use crate::durable;
use crate::keyring::{Keyring, StaticCapsule};
use crate::ledger::Event;
use std::sync::PoisonError;

const REMEDY: &str = "put it back from a backup";

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
        event: &Event,
        last: &mut Option<TpmFacts>,
    ) -> Option<String> {
        let transcripts = self.transcripts();
        if let Event::PolicyChanged { policy, statement } = event {
            // As many as every policy demands; the one in force then may have demanded more.
            let needed = self.policy.quorum().required.into();
            return transcripts
                .policy(&self.policies.boxes, *statement, *policy, needed)
                .err()
                .map(|doubt| doubt.to_string());
        }
        let facts = match event {
            Event::Founded { transcript, .. } => {
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
        *last = facts.as_ref().ok().cloned();
        facts.err().map(|doubt| doubt.to_string())
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
