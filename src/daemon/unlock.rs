//! Unsealing, and the TPM's services to the keeper.

use crate::boxfiles::{BoxFileError, DataFolder, TpmFile};
use crate::keyring::{NvAuth, box_secret, nv_auth};
use crate::secret::Key;
use crate::tpm::{Slot, Tpm, TpmError};
use crate::tpm_link::{self, Operation, Position};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Why the box stays locked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockedError {
    /// The TPM does not give the secret.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// It was opened before, in this boot.
    #[error(
        "the box was opened since the machine was switched on, which shuts the way to its secret (PCR {0}) until the next \
         boot. The box stays locked, mail is still taken in. Remedy: reboot the machine"
    )]
    Capped(u8),
    /// A file of the box.
    #[error(transparent)]
    File(#[from] BoxFileError),
    /// Nobody to ask the TPM.
    #[error("no thread can be started that unlocks the box: {0}; this is tried again")]
    Start(#[from] io::Error),
}

/// How long the keeper's calls wait for the TPM. They are short, also on slow chips: making keys is left to ceremonies.
const SERVING: Duration = Duration::from_secs(20);
/// How long a stop waits for the TPM: first until it has answered the keeper, then for its own answer.
const SHORT: Duration = Duration::from_secs(5);

/// Sends `TPM2_Shutdown(CLEAR)` for a box that stayed locked: whatever locks it, the TPM was spoken to.
pub(super) fn shut_down_locked(data: &DataFolder) -> Result<(), LockedError> {
    Ok(Tpm::open_with_deadline(&data.config()?.tpm.tcti, SHORT)?.shutdown()?)
}

/// What the parent holds while the box is open.
pub(super) struct Unlocked {
    service: Arc<Mutex<Service>>,
    candidates: Vec<Key>,
}

struct Service {
    tpm: Tpm,
    file: TpmFile,
    counter_auth: Key,
    extend_auth: Key,
}

impl Unlocked {
    /// Unseals, reads the anchors, derives the box secret and caps the PCR.
    ///
    /// Both anchor slots hold a value only while a new anchor is being introduced; then the keyring opens under one
    /// of two box secrets, and the keeper is given both.
    pub(super) fn by_tpm(data: &DataFolder) -> Result<Self, LockedError> {
        let file = data.tpm()?;
        let mut tpm = Tpm::open(&data.config()?.tpm.tcti)?;
        tpm.pin(&file.storage_root_key)?;
        let cap = data.policy()?.cap_pcr();
        let sealed = match tpm.unseal(&file.sealed_secret) {
            Err(TpmError::PcrMismatch { differing }) => {
                return Err(why_locked(&mut tpm, &file, cap, differing));
            }
            result => result?,
        };
        let anchor_auth = nv_auth(&sealed, NvAuth::Anchor);
        let mut candidates = Vec::new();
        for slot in [Slot::A, Slot::B] {
            if let Some(anchor) = tpm.read_anchor(slot, &anchor_auth)? {
                candidates.push(box_secret(&sealed, &anchor));
            }
        }
        if let Some(pcr) = cap {
            tpm.cap_pcr(pcr)?;
        }
        tpm.set_deadline(SERVING);
        let service = Service {
            counter_auth: nv_auth(&sealed, NvAuth::Counter),
            extend_auth: nv_auth(&sealed, NvAuth::Extend),
            tpm,
            file,
        };
        Ok(Self {
            service: Arc::new(Mutex::new(service)),
            candidates,
        })
    }

    /// What the keeper reads first: the number of candidates, and two keys, zeroes for none.
    pub(super) fn secrets(&self) -> Zeroizing<[u8; 65]> {
        let mut frame = Zeroizing::new([0; 65]);
        for (place, key) in frame[1..].chunks_exact_mut(32).zip(&self.candidates) {
            place.copy_from_slice(key.expose());
        }
        frame[0] = self.candidates.len().min(2) as u8;
        frame
    }

    /// Serves one keeper, on a thread of its own, until the keeper closes its side.
    pub(super) fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let service = Arc::clone(&self.service);
        let started = std::thread::Builder::new().spawn(move || {
            let served = tpm_link::serve(stream, |operation, argument| {
                service
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .perform(operation, argument)
            });
            if let Err(error) = served {
                tracing::warn!(%error, "the keeper's link to the TPM broke");
            }
        });
        started.map(drop)
    }

    /// Sends `TPM2_Shutdown(CLEAR)`. The keeper has ended by now, and with it the service thread, unless the TPM owes that an
    /// answer.
    pub(super) fn shut_down(self) -> Result<(), TpmError> {
        let since = Instant::now();
        while Arc::strong_count(&self.service) > 1 && since.elapsed() < SHORT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let service = Arc::into_inner(self.service).ok_or(TpmError::NoAnswer {
            seconds: SHORT.as_secs(),
        })?;
        let Service { mut tpm, .. } = service.into_inner().unwrap_or_else(PoisonError::into_inner);
        tpm.set_deadline(SHORT);
        tpm.shutdown()
    }
}

/// Where nothing but the cap differs, the machine booted what it should have.
fn why_locked(tpm: &mut Tpm, file: &TpmFile, cap: Option<u8>, differing: Vec<u8>) -> LockedError {
    match cap {
        Some(pcr)
            if differing == [pcr] && tpm.is_capped(&file.sealed_secret, pcr).unwrap_or(false) =>
        {
            LockedError::Capped(pcr)
        }
        _ => TpmError::PcrMismatch { differing }.into(),
    }
}

impl Service {
    fn perform(&mut self, operation: Operation, argument: &[u8; 64]) -> Result<[u8; 64], TpmError> {
        let mut digest = [0; 32];
        digest.copy_from_slice(&argument[..32]);
        match operation {
            Operation::Sign => {
                let auth = Key::filled_by(|place| place.copy_from_slice(&argument[32..]));
                self.tpm.sign(&self.file.ledger_key, &auth, &digest)
            }
            Operation::Step => {
                self.tpm.increment_counter(&self.counter_auth)?;
                self.tpm.absorb(&self.extend_auth, &digest)?;
                self.position()
            }
            Operation::Absorb => {
                self.tpm.absorb(&self.extend_auth, &digest)?;
                self.position()
            }
            Operation::Position => self.position(),
            Operation::Random => {
                let random = self.tpm.random()?;
                let mut out = [0; 64];
                out[..32].copy_from_slice(random.expose());
                Ok(out)
            }
        }
    }

    fn position(&mut self) -> Result<[u8; 64], TpmError> {
        let counter = self.tpm.read_counter(&self.counter_auth)?;
        let extend = self.tpm.read_absorber(&self.extend_auth)?;
        Ok(Position { counter, extend }.to_bytes())
    }
}
