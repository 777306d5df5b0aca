//! Restoring: capsule, m shares and the data, and nothing else, on a new TPM or the same one after its
//! measurements changed.
//!
//! [`Gathering`] → any m officers → [`Opened`] → the heads are shown, the TPM takes new secrets →
//! [`Proposal`] → m officers sign → [`Accepted`] → keyring and the ledger's entry.

use super::transcript::{Charter, SUCCESSION, Signed, Succession};
use super::{CeremonyError, TpmFacts, TpmSecrets};
use crate::crypto::hpke::OpeningKey;
use crate::crypto::random;
use crate::crypto::shares::{self, Share};
use crate::id::BoxId;
use crate::keyring::{Keyring, StaticCapsule, TreeHead};
use crate::officer::{OfficerName, OfficerPublic, pretty};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// Officers come and give their shares.
#[derive(Debug)]
pub struct Gathering {
    signed: Signed,
    charter: Charter,
    keyring_file: Vec<u8>,
    shares: BTreeMap<OfficerName, Share>,
}

impl Gathering {
    /// From the signed charter and the keyring file that holds the capsule.
    pub fn new(signed: Signed, keyring_file: Vec<u8>) -> Result<Self, CeremonyError> {
        let charter = signed.charter()?;
        crate::keyring::describe(&keyring_file).map_err(|source| CeremonyError::Keyring {
            what: "capsule",
            source,
        })?;
        Ok(Self {
            signed,
            charter,
            keyring_file,
            shares: BTreeMap::new(),
        })
    }

    /// What the charter says. It is believed only as far as the officers who come have signed it.
    #[must_use]
    pub const fn charter(&self) -> &Charter {
        &self.charter
    }

    /// Takes the share that `name` opened. It counts if `name` signed this charter and the share fits
    /// its digest there; otherwise it is refused, alone.
    pub fn offer(&mut self, name: &OfficerName, share: Share) -> Result<(), CeremonyError> {
        let dealing = self.charter.dealing(name)?;
        self.signed.verify(&dealing.officer)?;
        dealing.check(&share)?;
        self.shares.insert(name.clone(), share);
        Ok(())
    }

    /// How many officers are still needed.
    #[must_use]
    pub fn still_needed(&self) -> usize {
        usize::from(self.charter.required).saturating_sub(self.shares.len())
    }

    /// With m shares: the recovery key for the time of this ceremony, and the keyring.
    pub fn open(self) -> Result<Opened, CeremonyError> {
        if self.still_needed() > 0 {
            let names = self.charter.officers().map(|officer| officer.name.clone());
            let missing = names
                .filter(|name| !self.shares.contains_key(name))
                .collect();
            let (present, needed) = (self.shares.len(), usize::from(self.charter.required));
            return Err(CeremonyError::TooFew {
                present,
                needed,
                missing,
            });
        }
        let shares: Vec<&Share> = self.shares.values().collect();
        let recovery = OpeningKey::from_seed(shares::combine(&shares)?);
        let keyring =
            Keyring::open_with_recovery_key(&self.keyring_file, &recovery).map_err(|source| {
                CeremonyError::Keyring {
                    what: "capsule",
                    source,
                }
            })?;
        if keyring.recovery != self.charter.recovery
            || recovery.sealing_key() != self.charter.recovery
        {
            return Err(CeremonyError::Unrelated);
        }
        Ok(Opened {
            signed: self.signed,
            charter: self.charter,
            recovery,
            keyring,
        })
    }
}

/// The capsule is open.
#[derive(Debug)]
pub struct Opened {
    signed: Signed,
    charter: Charter,
    recovery: OpeningKey,
    keyring: Keyring,
}

/// What the driver found out, for the officers to accept.
#[derive(Debug, Clone)]
pub struct RestoreFacts {
    /// The box that is from now on: another than before if the TPM is another.
    pub new_box: BoxId,
    /// The TPM that takes over.
    pub tpm: TpmFacts,
    /// The head of the ledger at hand.
    pub ledger_head: TreeHead,
}

impl Opened {
    /// The restored keyring, to look at.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Opens a static capsule of this box.
    pub fn static_capsule(&self, file: &[u8]) -> Result<StaticCapsule, CeremonyError> {
        let failed = |source| CeremonyError::Keyring {
            what: "static capsule",
            source,
        };
        StaticCapsule::open(file, &self.recovery)
            .map(|(_, capsule)| capsule)
            .map_err(failed)
    }

    /// The TPM has taken `secrets`: the text that officers sign is fixed, and the recovery key is gone.
    #[must_use]
    pub fn propose(self, facts: RestoreFacts, secrets: TpmSecrets, now: Timestamp) -> Proposal {
        let text = Succession {
            format: SUCCESSION.to_owned(),
            old_box: self.keyring.box_id,
            new_box: facts.new_box,
            time: now,
            charter: self.signed.digest(),
            generation: self.keyring.generation,
            capsule_head: self.keyring.head,
            accepted_head: facts.ledger_head,
            tpm: facts.tpm,
        };
        let signed = Signed::unsigned(String::from_utf8_lossy(&pretty(&text)).into_owned());
        Proposal {
            charter: self.charter,
            keyring: self.keyring,
            succession: text,
            secrets,
            signed,
        }
    }
}

/// Officers look at the heads and sign.
#[derive(Debug)]
pub struct Proposal {
    charter: Charter,
    keyring: Keyring,
    succession: Succession,
    secrets: TpmSecrets,
    signed: Signed,
}

impl Proposal {
    /// What each officer signs.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.signed.text
    }

    /// Takes an officer's signature. A bad one is refused and changes nothing.
    pub fn sign(&mut self, name: &OfficerName, signature: &[u8]) -> Result<(), CeremonyError> {
        let officer: &OfficerPublic = &self.charter.dealing(name)?.officer;
        self.signed.add(officer, signature)
    }

    /// With m signatures: accepted.
    pub fn complete(self) -> Result<Accepted, CeremonyError> {
        let (present, needed) = (
            self.signed.signatures.len(),
            usize::from(self.charter.required),
        );
        if present < needed {
            let names = self.charter.officers().map(|officer| officer.name.clone());
            let missing = names
                .filter(|name| !self.signed.signatures.contains_key(name))
                .collect();
            return Err(CeremonyError::TooFew {
                present,
                needed,
                missing,
            });
        }
        let mut keyring = self.keyring;
        keyring.box_id = self.succession.new_box;
        keyring.generation += 1;
        keyring.head = self.succession.accepted_head;
        keyring.session = random::key();
        keyring.note_seed = random::key();
        keyring.ledger_auth = self.secrets.ledger_auth.duplicate();
        keyring.rotate_spool_key(self.succession.time, 0);
        Ok(Accepted {
            succession: self.succession,
            secrets: self.secrets,
            signed: self.signed,
            keyring,
        })
    }
}

/// The officers have accepted the new TPM and the head.
#[derive(Debug)]
pub struct Accepted {
    succession: Succession,
    secrets: TpmSecrets,
    signed: Signed,
    keyring: Keyring,
}

impl Accepted {
    /// The signed text.
    #[must_use]
    pub const fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Its content.
    #[must_use]
    pub const fn succession(&self) -> &Succession {
        &self.succession
    }

    /// The keyring of the new TPM: next generation, a new spool key (the retired box knows the old
    /// ones), new session, note and ledger keys; everything that opens the archive as before.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// What the TPM has taken.
    #[must_use]
    pub const fn secrets(&self) -> &TpmSecrets {
        &self.secrets
    }
}
