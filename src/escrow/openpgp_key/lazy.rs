//! Keys whose passphrase is tried only when a message needs them: to derive a key from a passphrase is slow on purpose,
//! and who gives a folder of keys with a list of passphrases rarely needs them all.

use super::facts::{facts_of, hints, public_facts};
use super::ring::{self, RingPacket};
use super::{OpenPgpKey, Usages, read_one};
use crate::escrow::{KeyInfo, KeyProblem, UserKey};
use crate::mail::keyops::{KeyRefusal, SessionKey, Wrapped};
use crate::secret::SecretBytes;
use std::sync::{Arc, OnceLock};

/// A key that is locked until it is needed.
pub(super) struct Lazy {
    info: KeyInfo,
    packets: Vec<RingPacket>,
    passphrases: Arc<[SecretBytes]>,
    unlocked: OnceLock<Result<OpenPgpKey, KeyProblem>>,
}

impl Lazy {
    /// The key in `packets`, if a passphrase locks something in it that decrypts.
    pub(super) fn of(packets: &[RingPacket], passphrases: &Arc<[SecretBytes]>) -> Option<Self> {
        let locked = |packet: &&RingPacket| ring::is_locked(packet) && ring::may_decrypt(packet);
        packets.iter().find(locked)?;
        let mut info = facts_of(packets)?;
        let usages = Usages::of(packets);
        let decrypting = packets
            .iter()
            .filter(|packet| packet.is_secret() && ring::may_decrypt(packet));
        info.hints = decrypting
            .filter_map(|packet| public_facts(packet, &usages))
            .flat_map(|key| hints(&key))
            .collect();
        Some(Self {
            info,
            packets: packets.to_vec(),
            passphrases: Arc::clone(passphrases),
            unlocked: OnceLock::new(),
        })
    }

    fn unlocked(&self) -> Result<&OpenPgpKey, &KeyProblem> {
        let unlock = || read_one(self.packets.clone(), &self.passphrases);
        self.unlocked.get_or_init(unlock).as_ref()
    }
}

impl UserKey for Lazy {
    fn info(&self) -> &KeyInfo {
        &self.info
    }

    fn unwrap_session_key(&self, wrapped: &Wrapped) -> Result<SessionKey, KeyRefusal> {
        if !matches!(wrapped, Wrapped::OpenPgpPkesk { .. }) {
            return Err(KeyRefusal::NoKey);
        }
        match self.unlocked() {
            Ok(key) => key.unwrap_session_key(wrapped),
            Err(KeyProblem::WrongPassphrase) => Err(KeyRefusal::Locked),
            Err(_) => Err(KeyRefusal::NoKey),
        }
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        match self.unlocked() {
            Ok(key) => key.to_secret_bytes(),
            Err(_) => super::secret_bytes(&self.packets),
        }
    }
}
