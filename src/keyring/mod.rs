//! Everything the box can open, in one place: the keyring. It lies on disk in one file that opens in two
//! ways, by the box secret (from the TPM) or by the recovery key (the capsule, from m officers' shares).
//!
//! Only the keeper and the ceremonies hold a `Keyring`; nothing of it is ever written in the clear.

mod body;
mod file;

pub use file::{Description, KeyringError, LARGEST, StaticCapsule, describe};

use crate::crypto::hpke::{OpeningKey, SealingKey};
use crate::crypto::kdf::{Label, derive, derive_from_two};
use crate::crypto::random;
use crate::id::{BoxId, Digest, TenantId};
use crate::officer::OfficerPublic;
use crate::secret::Key;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One tenant's keys.
#[derive(Debug, Serialize, Deserialize)]
pub struct TenantKeys {
    /// Archive keys by epoch. New mail uses the current one; older ones stay until their slots are rewrapped.
    #[serde(with = "body::keys")]
    pub archive: BTreeMap<u32, Key>,
    /// The current epoch.
    pub epoch: u32,
    /// Seals users' private keys in escrow.
    #[serde(with = "body::key")]
    pub escrow: Key,
    /// PRF key that finds equal content within this tenant.
    #[serde(with = "body::key")]
    pub join: Key,
}

impl TenantKeys {
    /// Fresh keys, epoch 1.
    #[must_use]
    pub fn generate() -> Self {
        let archive = BTreeMap::from([(1, random::key())]);
        Self {
            archive,
            epoch: 1,
            escrow: random::key(),
            join: random::key(),
        }
    }

    /// The current archive key and its epoch; `None` only in a keyring that somebody built wrongly.
    #[must_use]
    pub fn current(&self) -> Option<(u32, &Key)> {
        self.archive.get(&self.epoch).map(|key| (self.epoch, key))
    }
}

/// A key that opens spool files.
#[derive(Debug, Serialize, Deserialize)]
pub struct SpoolKey {
    /// From when on intake was given its public half.
    pub since: Timestamp,
    /// Seed of the X-Wing key.
    #[serde(with = "body::key")]
    seed: Key,
}

impl SpoolKey {
    /// A fresh key in use from `since`.
    #[must_use]
    pub fn generate(since: Timestamp) -> Self {
        Self {
            since,
            seed: random::key(),
        }
    }

    /// The private key.
    #[must_use]
    pub fn opening(&self) -> OpeningKey {
        OpeningKey::from_seed(self.seed.duplicate())
    }
}

/// The officers of a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Officers {
    /// m: so many shares give the recovery key.
    pub required: u8,
    /// All n officers, share number 1 first.
    pub list: Vec<OfficerPublic>,
}

impl Officers {
    /// The officer of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&OfficerPublic> {
        self.list
            .iter()
            .find(|officer| officer.name.to_string() == name)
    }
}

/// The ledger's head that this keyring knows as its newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeHead {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root hash.
    pub root: Digest,
    /// When the checkpoint was made.
    pub time: Timestamp,
}

/// All keys of a box. `Debug` shows no secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct Keyring {
    /// The box.
    pub box_id: BoxId,
    /// Counts the writings of this keyring, from 1.
    pub generation: u64,
    /// Keys by tenant.
    pub tenants: BTreeMap<TenantId, TenantKeys>,
    /// Spool keys, the current one last.
    pub spool: Vec<SpoolKey>,
    /// Search index.
    #[serde(with = "body::key")]
    pub index: Key,
    /// Catalog.
    #[serde(with = "body::key")]
    pub catalog: Key,
    /// Sessions' tokens.
    #[serde(with = "body::key")]
    pub session: Key,
    /// The people file.
    #[serde(with = "body::key")]
    pub people: Key,
    /// Sealed details of ledger entries.
    #[serde(with = "body::key")]
    pub ledger_detail: Key,
    /// Seed of the ledger's Ed25519 note key.
    #[serde(with = "body::key")]
    pub note_seed: Key,
    /// Authorises the use of the ledger key in the TPM.
    #[serde(with = "body::key")]
    pub ledger_auth: Key,
    /// The recovery key's public half: the capsule is sealed to it.
    pub recovery: SealingKey,
    /// The officers.
    pub officers: Officers,
    /// SHA-256 of the text of the policy in force.
    pub policy: Digest,
    /// The ledger's head at the time of writing.
    pub head: TreeHead,
}

/// What a new keyring does not choose by itself.
#[derive(Debug)]
pub struct Founding {
    /// The new box.
    pub box_id: BoxId,
    /// Its tenants.
    pub tenants: Vec<TenantId>,
    /// The recovery key's public half.
    pub recovery: SealingKey,
    /// The officers.
    pub officers: Officers,
    /// SHA-256 of the policy's text.
    pub policy: Digest,
    /// The ledger's first head.
    pub head: TreeHead,
}

impl Keyring {
    /// A keyring with fresh keys, generation 1.
    #[must_use]
    pub fn found(founding: Founding, now: Timestamp) -> Self {
        let tenants = founding
            .tenants
            .into_iter()
            .map(|tenant| (tenant, TenantKeys::generate()));
        Self {
            box_id: founding.box_id,
            generation: 1,
            tenants: tenants.collect(),
            spool: vec![SpoolKey::generate(now)],
            index: random::key(),
            catalog: random::key(),
            session: random::key(),
            people: random::key(),
            ledger_detail: random::key(),
            note_seed: random::key(),
            ledger_auth: random::key(),
            recovery: founding.recovery,
            officers: founding.officers,
            policy: founding.policy,
            head: founding.head,
        }
    }

    /// The spool key that intake seals to now; `None` only in a keyring that somebody built wrongly.
    #[must_use]
    pub fn current_spool_key(&self) -> Option<&SpoolKey> {
        self.spool.last()
    }

    /// Adds a spool key if the current one is `days` old; tells whether it did. The caller then writes the
    /// keyring, and only after that gives intake the new public half.
    pub fn rotate_spool_key(&mut self, now: Timestamp, days: u32) -> bool {
        let due = self
            .spool
            .last()
            .is_none_or(|key| now >= key.since.plus_seconds(u64::from(days) * 86_400));
        if due {
            self.spool.push(SpoolKey::generate(now));
        }
        due
    }
}

/// The box secret: from what the TPM seals and the anchor in its NV memory. A new anchor makes every older
/// keyring on any disk unreadable to this box.
#[must_use]
pub fn box_secret(sealed: &Key, anchor: &Key) -> Key {
    derive_from_two(sealed, anchor, Label::BoxSecret)
}

/// The TPM's non-volatile indices, each with its own authorisation value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvAuth {
    /// Both slots of the anchor.
    Anchor,
    /// The counter.
    Counter,
    /// The index that absorbs checkpoints.
    Extend,
}

/// The authorisation value of an NV index, from the sealed secret.
#[must_use]
pub fn nv_auth(sealed: &Key, index: NvAuth) -> Key {
    let name: &[u8] = match index {
        NvAuth::Anchor => b"anchor",
        NvAuth::Counter => b"counter",
        NvAuth::Extend => b"extend",
    };
    derive(sealed, Label::TpmAuth, &[name])
}

#[cfg(test)]
mod tests;
