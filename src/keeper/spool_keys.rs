//! The keys that intake seals mail to: renewed every so many days, old ones kept for what they sealed.

use super::core::{Core, CoreError};
use crate::crypto::hpke::HpkeError;
use crate::id::Digest;
use crate::intake::spool::SpoolKeys;
use crate::secret::SecretBytes;
use std::sync::PoisonError;

impl Core {
    /// Makes a new spool key when its time has come: keyring first, then the public half for intake.
    pub fn rotate_spool_key(&self) -> Result<(), CoreError> {
        let mut keyring = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        if keyring.rotate_spool_key(self.clock.now(), self.policy.rotation().spool_key_days) {
            keyring.generation += 1;
            let sealed = keyring.seal(&self.box_secret);
            let written = sealed
                .map_err(CoreError::from)
                .and_then(|sealed| Ok(self.data.write_keyring(&sealed)?));
            if let Err(error) = written {
                // No file has the new key: nothing may be sealed to it.
                keyring.spool.pop();
                keyring.generation -= 1;
                return Err(error);
            }
        }
        drop(keyring);
        self.keep_spool_key_file().map(drop)
    }
}

impl SpoolKeys for Core {
    fn open(
        &self,
        fingerprint: &Digest,
        info: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Option<Result<SecretBytes, HpkeError>> {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let opening = keyring.spool.iter().rev().map(|key| key.opening());
        opening
            .into_iter()
            .find(|key| key.sealing_key().fingerprint() == *fingerprint)
            .map(|key| key.open(info, associated, sealed))
    }
}
