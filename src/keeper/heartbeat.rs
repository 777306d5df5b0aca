//! What the keeper does by the clock: checkpoints, counter steps, the weekly spool key.

use super::core::{Core, CoreError, lock};
use super::opening;
use super::reopen::NewKeys;
use super::rollback::{extended, step_digest};
use super::troubles::Work;
use crate::crypto::note::{
    Ed25519Signer, NoteError, NoteSigner, NoteVerifier, SignerError, der_signature,
};
use crate::crypto::sign::VerifyingKey;
use crate::ledger::{Checkpoint, Event, Head};
use crate::secret::Key;
use sha2::Digest as _;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// A counter step that did not succeed is tried again after this: not at once, for the TPM's memory wears.
const STEP_AGAIN: Duration = Duration::from_secs(600);
/// What was missing is looked for this often.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// Signs checkpoints in the TPM.
struct TpmSigner<'a> {
    core: &'a Core,
    auth: Key,
    verifier: NoteVerifier,
}

impl NoteSigner for TpmSigner<'_> {
    fn verifier(&self) -> NoteVerifier {
        self.verifier.clone()
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignerError> {
        let digest = sha2::Sha256::digest(text).into();
        let raw = lock(&self.core.tpm).sign(&digest, &self.auth)?;
        Ok(der_signature(&raw)?)
    }
}

/// Runs until `stop`, then signs a last checkpoint and steps the counter, so that nothing older opens. Through `new_keys` go
/// those that were missing and are back.
pub fn run(core: &Core, stop: &AtomicBool, new_keys: &Sender<NewKeys>) {
    let rotation = core.policy.rotation();
    let checkpoints = Duration::from_secs(rotation.checkpoint_seconds.max(1).into());
    let steps = Duration::from_secs(u64::from(rotation.counter_minutes.max(1)) * 60);
    let (mut last_checkpoint, mut next_step) = (Instant::now(), Instant::now() + steps);
    let mut last_look = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(100));
        if last_look.elapsed() >= LOOK_AGAIN {
            last_look = Instant::now();
            for keys in core.keys_that_are_back() {
                tracing::info!(tenant = %keys.0, "keys in escrow that were missing are back");
                let _ = new_keys.send(keys);
            }
            let found = core.unless_reachable().and_then(|()| core.look_again());
            report(core, Work::Missing, found);
            for keys in core.take_up_trust() {
                let _ = new_keys.send(keys);
            }
        }
        if last_checkpoint.elapsed() >= checkpoints {
            last_checkpoint = Instant::now();
            report(core, Work::Checkpoint, checkpoint(core));
        }
        if next_step <= Instant::now() {
            let renewed = report(core, Work::SpoolKey, core.rotate_spool_key());
            let stepped = report(core, Work::CounterStep, step(core));
            next_step = Instant::now() + until_next_step(renewed && stepped, steps);
        }
    }
    report(core, Work::CounterStep, step(core));
}

/// How long after a step, done or not, the next one is due.
fn until_next_step(done: bool, steps: Duration) -> Duration {
    if done { steps } else { STEP_AGAIN.min(steps) }
}

/// Has it told what did not succeed, until it does; whether it did.
fn report(core: &Core, work: Work, result: Result<(), CoreError>) -> bool {
    let what = match work {
        Work::SpoolKey => "the spool key could not be renewed",
        Work::Missing => "the people file or the spool's public key is missing",
        Work::CounterStep => "the TPM's counter could not be stepped",
        _ => "no checkpoint could be signed and published",
    };
    let trouble = result.err().map(|error| {
        tracing::error!(%error, "{what}");
        format!("{what} (this is tried again): {error}")
    });
    let done = trouble.is_none();
    core.troubles.set(work, trouble);
    done
}

/// Signs and publishes a checkpoint if the ledger has grown since the last.
pub fn checkpoint(core: &Core) -> Result<(), CoreError> {
    let (origin, head, published) = {
        let ledger = lock(&core.ledger);
        let published = ledger
            .checkpoint()
            .map_or(0, |checkpoint| checkpoint.head().size);
        (ledger.origin().to_owned(), ledger.tree().head()?, published)
    };
    if head.size == published {
        return Ok(());
    }
    let checkpoint = sign(core, &origin, head)?;
    Ok(lock(&core.ledger).publish(checkpoint)?)
}

fn sign(core: &Core, origin: &str, head: Head) -> Result<Checkpoint, CoreError> {
    let public = core.ledger_key()?;
    let keyring = core.keyring.read().unwrap_or_else(PoisonError::into_inner);
    let (auth, seed) = (
        keyring.ledger_auth.duplicate(),
        keyring.note_seed.duplicate(),
    );
    drop(keyring);
    let tpm = TpmSigner {
        core,
        auth,
        verifier: verifier(origin, &public)?,
    };
    let note =
        Ed25519Signer::from_seed(origin, &seed).map_err(crate::ledger::CheckpointError::from)?;
    Ok(Checkpoint::sign(origin, head, &[&tpm, &note])?)
}

fn verifier(origin: &str, public: &VerifyingKey) -> Result<NoteVerifier, CoreError> {
    let made: Result<NoteVerifier, NoteError> = NoteVerifier::ecdsa(origin, public);
    Ok(made.map_err(crate::ledger::CheckpointError::from)?)
}

/// Records the step, does it, and writes the newest tree head into the keyring and so into the capsule.
pub fn step(core: &Core) -> Result<(), CoreError> {
    let position = lock(&core.tpm).position()?;
    let head = lock(&core.ledger).tree().head()?;
    let counter = position.counter + 1;
    let digest = step_digest(counter, head);
    let absorbed = extended(&position.extend, &digest);
    core.record(&[Event::CounterStep {
        counter,
        head,
        absorbed,
    }])?;
    lock(&core.tpm).step(&digest)?;
    checkpoint(core)?;
    let newest = opening::newest_head(&lock(&core.ledger))?;
    let mut keyring = core.keyring.write().unwrap_or_else(PoisonError::into_inner);
    keyring.generation += 1;
    keyring.head = newest;
    core.data.write_keyring(&keyring.seal(&core.box_secret)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_was_not_done_is_tried_again_soon_and_never_later_than_policy_wants_one() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(until_next_step(true, minutes(60)), minutes(60));
        assert_eq!(until_next_step(false, minutes(60)), minutes(10));
        assert_eq!(until_next_step(false, minutes(5)), minutes(5));
    }
}
