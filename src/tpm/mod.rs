//! The TPM 2.0: what it seals, remembers and signs.
//!
//! [`Tpm`] is one connection, owned by one thread behind it (`owner`). The founding calls
//! [`Tpm::provision`]; every later start calls [`Tpm::pin`] with the storage root key's name from
//! `tpm.json` before anything else. All that passes over the bus afterwards is protected by a session
//! salted to that key (`device`); an active interposer on the bus of a discrete TPM, who may also
//! replay a boot's measurements, is outside of what a TPM can stop.

mod blob;
mod device;
mod error;
mod health;
mod nv;
mod owner;
mod pcr;
mod provision;
mod raw;
mod seal;
mod sign;

pub use blob::ObjectBlob;
pub use error::TpmError;
pub use health::Health;
pub use nv::Slot;
pub use pcr::PcrValue;
pub use raw::quiet_library;
pub use seal::SealedBlob;

use crate::crypto::sign::VerifyingKey;
use crate::secret::Key;
use data_encoding::HEXLOWER;
use owner::Owner;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tss_esapi::constants::StartupType;

/// The name of the storage root key (TPM 2.0 Library, Part 1, 16): algorithm and digest of its
/// public area, in hexadecimal. It identifies the TPM since its last clear.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SrkName(String);

impl SrkName {
    fn new(name: &[u8]) -> Self {
        Self(HEXLOWER.encode(name))
    }
}

impl std::fmt::Display for SrkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a call waits for the TPM. Making a key takes some seconds on slow chips.
const DEADLINE: Duration = Duration::from_secs(60);

/// The TPM. Every call may fail with [`TpmError::Missing`], [`TpmError::NoAnswer`],
/// [`TpmError::Garbled`] or [`TpmError::Broken`]; all but [`Tpm::random`], [`Tpm::pcr_values`] and
/// [`Tpm::health`] also with [`TpmError::Cleared`], [`TpmError::OtherTpm`] or
/// [`TpmError::NotPinned`]. After any error the connection is made anew by the next call.
pub struct Tpm(Owner);

impl Tpm {
    /// Connects to the TPM at a TCTI address, `device:/dev/tpmrm0` or
    /// `swtpm:host=127.0.0.1,port=2321`, and starts it up if the firmware did not.
    pub fn open(tcti: &str) -> Result<Self, TpmError> {
        Self::open_with_deadline(tcti, DEADLINE)
    }

    /// As [`Tpm::open`], with another time to wait for each call.
    pub fn open_with_deadline(tcti: &str, deadline: Duration) -> Result<Self, TpmError> {
        let mut owner = Owner::new(tcti, deadline);
        owner.run("connect", |link| link.device().map(drop))?;
        Ok(Self(owner))
    }

    /// Accepts only the TPM with this storage root key from now on.
    pub fn pin(&mut self, srk: &SrkName) -> Result<(), TpmError> {
        self.0.pin(srk.clone())
    }

    /// Takes the TPM into possession for a new box: makes the storage root key, sets the owner's and
    /// lockout's authorisation, sets the lockout's parameters (32 guesses, one forgotten each 10
    /// minutes), and pins the key. May be run again with the same values.
    pub fn provision(&mut self, owner_auth: &Key, lockout_auth: &Key) -> Result<SrkName, TpmError> {
        let (owner, lockout) = (owner_auth.duplicate(), lockout_auth.duplicate());
        let name = self.0.run("provision", move |link| {
            provision::provision(link, &owner, &lockout)
        })?;
        self.pin(&name)?;
        Ok(name)
    }

    /// Changes the owner's authorisation.
    pub fn set_owner_auth(&mut self, old: &Key, new: &Key) -> Result<(), TpmError> {
        let (old, new) = (old.duplicate(), new.duplicate());
        self.0.run("set the owner authorisation", move |link| {
            provision::set_owner_auth(link, &old, &new)
        })
    }

    /// Ends a dictionary-attack lockout.
    pub fn reset_lockout(&mut self, lockout_auth: &Key) -> Result<(), TpmError> {
        let auth = lockout_auth.duplicate();
        self.0.run("end the lockout", move |link| {
            provision::reset_lockout(link, &auth)
        })
    }

    /// How the TPM is.
    pub fn health(&mut self) -> Result<Health, TpmError> {
        self.0.run("ask for its state", health::health)
    }

    /// 32 bytes from the TPM's random number generator.
    pub fn random(&mut self) -> Result<Key, TpmError> {
        self.0.run("give random bytes", device::random)
    }

    /// Seals `secret` to the present values of `pcrs` (SHA-256 bank, 0 to 23). With no PCRs the TPM
    /// alone guards it.
    pub fn seal(&mut self, secret: &Key, pcrs: &[u8]) -> Result<SealedBlob, TpmError> {
        let (secret, pcrs) = (secret.duplicate(), pcrs.to_vec());
        self.0.run("seal the secret", move |link| {
            seal::seal(link, &secret, &pcrs)
        })
    }

    /// Opens a sealed secret; [`TpmError::PcrMismatch`] if the machine booted something else.
    pub fn unseal(&mut self, blob: &SealedBlob) -> Result<Key, TpmError> {
        let blob = blob.clone();
        self.0
            .run("unseal the secret", move |link| seal::unseal(link, &blob))
    }

    /// Extends a PCR with a fixed value, so that nothing sealed to it opens until the next boot. The
    /// PCR must be among those the secret is sealed to, and one that only a boot resets (8 to 15).
    pub fn cap_pcr(&mut self, pcr: u8) -> Result<(), TpmError> {
        self.0.run("cap a PCR", move |link| pcr::cap(link, pcr))
    }

    /// Whether the PCR was capped in this boot after `blob` was opened: what is sealed now would not open after the
    /// next one. The cap comes after an unsealing only, so the value before it is the one that the blob is sealed to.
    pub fn is_capped(&mut self, blob: &SealedBlob, pcr: u8) -> Result<bool, TpmError> {
        let Some(sealed) = blob.pcrs().iter().find(|sealed| sealed.pcr == pcr) else {
            return Ok(false);
        };
        let capped = pcr::capped(&sealed.value);
        let now = self.pcr_values(&[pcr])?;
        Ok(now.iter().any(|now| now.value == capped))
    }

    /// The present values of `pcrs` in the SHA-256 bank, ascending.
    pub fn pcr_values(&mut self, pcrs: &[u8]) -> Result<Vec<PcrValue>, TpmError> {
        let pcrs = pcr::normalised(pcrs)?;
        self.0
            .run("read the PCRs", move |link| pcr::read(link, &pcrs))
    }

    /// Makes both anchor slots, to be used with `auth`.
    pub fn define_anchor_slots(&mut self, owner_auth: &Key, auth: &Key) -> Result<(), TpmError> {
        let (owner, auth) = (owner_auth.duplicate(), auth.duplicate());
        self.0.run("make the anchor slots", move |link| {
            nv::define_anchor_slots(link, &owner, &auth)
        })
    }

    /// The anchor in a slot; `None` if the slot was never written, or zeroed.
    pub fn read_anchor(&mut self, slot: Slot, auth: &Key) -> Result<Option<Key>, TpmError> {
        let auth = auth.duplicate();
        self.0.run("read an anchor slot", move |link| {
            nv::read_anchor(link, slot, &auth)
        })
    }

    /// Writes an anchor into a slot.
    pub fn write_anchor(&mut self, slot: Slot, auth: &Key, anchor: &Key) -> Result<(), TpmError> {
        let (auth, anchor) = (auth.duplicate(), anchor.duplicate());
        self.0.run("write an anchor slot", move |link| {
            nv::write_anchor(link, slot, &auth, anchor.expose())
        })
    }

    /// Overwrites a slot with zeros: what was derived from its anchor is gone.
    pub fn zero_anchor(&mut self, slot: Slot, auth: &Key) -> Result<(), TpmError> {
        let auth = auth.duplicate();
        self.0.run("zero an anchor slot", move |link| {
            nv::write_anchor(link, slot, &auth, &[0; 32])
        })
    }

    /// Makes the ledger's counter; its first value.
    pub fn define_counter(&mut self, owner_auth: &Key, auth: &Key) -> Result<u64, TpmError> {
        let (owner, auth) = (owner_auth.duplicate(), auth.duplicate());
        self.0.run("make the counter", move |link| {
            nv::define_counter(link, &owner, &auth)
        })
    }

    /// Steps the counter by one; its new value. NV memory wears (some 10⁵ writes): hourly at most.
    pub fn increment_counter(&mut self, auth: &Key) -> Result<u64, TpmError> {
        let auth = auth.duplicate();
        self.0.run("step the counter", move |link| {
            nv::increment_counter(link, &auth)
        })
    }

    /// The counter's value.
    pub fn read_counter(&mut self, auth: &Key) -> Result<u64, TpmError> {
        let auth = auth.duplicate();
        self.0.run("read the counter", move |link| {
            nv::read_counter(link, &auth)
        })
    }

    /// Makes the index that absorbs checkpoints.
    pub fn define_absorber(&mut self, owner_auth: &Key, auth: &Key) -> Result<(), TpmError> {
        let (owner, auth) = (owner_auth.duplicate(), auth.duplicate());
        self.0.run("make the absorbing index", move |link| {
            nv::define_absorber(link, &owner, &auth)
        })
    }

    /// Absorbs 32 bytes (TPM2_NV_Extend): value := SHA-256(value ‖ bytes).
    pub fn absorb(&mut self, auth: &Key, bytes: &[u8; 32]) -> Result<(), TpmError> {
        let (auth, bytes) = (auth.duplicate(), *bytes);
        self.0.run("absorb a checkpoint", move |link| {
            nv::absorb(link, &auth, &bytes)
        })
    }

    /// The absorbing index's value; zeros before anything was absorbed.
    pub fn read_absorber(&mut self, auth: &Key) -> Result<[u8; 32], TpmError> {
        let auth = auth.duplicate();
        self.0.run("read the absorbing index", move |link| {
            nv::read_absorber(link, &auth)
        })
    }

    /// Deletes anchor slots, counter and absorbing index, for a restore on the same TPM.
    pub fn undefine_all(&mut self, owner_auth: &Key) -> Result<(), TpmError> {
        let owner = owner_auth.duplicate();
        self.0.run("delete the NV indices", move |link| {
            nv::undefine_all(link, &owner)
        })
    }

    /// Makes the ledger's signing key, whose use needs `auth`.
    pub fn create_signing_key(
        &mut self,
        auth: &Key,
    ) -> Result<(ObjectBlob, VerifyingKey), TpmError> {
        let auth = auth.duplicate();
        self.0.run("make the ledger signing key", move |link| {
            sign::create(link, &auth)
        })
    }

    /// Signs a SHA-256 digest: 64 bytes, `r ‖ s`. The key stays loaded for the next time.
    pub fn sign(
        &mut self,
        key: &ObjectBlob,
        auth: &Key,
        digest: &[u8; 32],
    ) -> Result<[u8; 64], TpmError> {
        let (key, auth, digest) = (key.clone(), auth.duplicate(), *digest);
        self.0.run("sign for the ledger", move |link| {
            sign::sign(link, &key, &auth, &digest)
        })
    }

    /// Waits no longer than this for each answer from now on.
    pub const fn set_deadline(&mut self, deadline: Duration) {
        self.0.set_deadline(deadline);
    }

    /// Tells the TPM in order that power will go (TPM2_Shutdown(CLEAR)): without it the next start
    /// may count as a wrong guess.
    pub fn shutdown(mut self) -> Result<(), TpmError> {
        self.0.run("shut down", |link| {
            link.device()?
                .plain("shut down", |context| context.shutdown(StartupType::Clear))
        })
    }
}
