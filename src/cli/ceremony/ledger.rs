//! A ceremony's entry in the ledger, and the checkpoint over it that the TPM signs.

use super::CeremonyCommandError;
use crate::boxfiles::TpmFile;
use crate::crypto::note::{Ed25519Signer, NoteSigner, NoteVerifier, SignerError, der_signature};
use crate::id::Digest;
use crate::keyring::{Keyring, TreeHead};
use crate::ledger::{Checkpoint, Event, Head, Ledger};
use crate::secret::Key;
use crate::time::Timestamp;
use crate::tpm::{ObjectBlob, Tpm};
use std::cell::RefCell;

/// The keys that sign this box's checkpoints: the TPM's and the keyring's.
pub(super) fn signers(
    tpm: &TpmFile,
    keyring: &Keyring,
) -> Result<Vec<NoteVerifier>, CeremonyCommandError> {
    let note = Ed25519Signer::from_seed(&tpm.ledger, &keyring.note_seed)?;
    Ok(vec![
        NoteVerifier::ecdsa(&tpm.ledger, &tpm.ledger_public)?,
        note.verifier(),
    ])
}

/// Records `event` and publishes a checkpoint over it.
pub(super) fn record(
    ledger: &mut Ledger,
    event: Event,
    (tpm, file, keyring): (&mut Tpm, &TpmFile, &Keyring),
    now: Timestamp,
) -> Result<TreeHead, CeremonyCommandError> {
    ledger.append(now, vec![event])?;
    ledger.commit()?;
    let head = ledger.tree().head()?;
    let in_tpm = TpmSigner {
        tpm: RefCell::new(tpm),
        key: &file.ledger_key,
        auth: &keyring.ledger_auth,
        verifier: NoteVerifier::ecdsa(&file.ledger, &file.ledger_public)?,
    };
    let note = Ed25519Signer::from_seed(&file.ledger, &keyring.note_seed)?;
    ledger.publish(Checkpoint::sign(&file.ledger, head, &[&in_tpm, &note])?)?;
    Ok(tree_head(head, ledger.last_time()))
}

/// The keyring's form of a ledger's head.
pub(super) fn tree_head(head: Head, time: Timestamp) -> TreeHead {
    TreeHead {
        size: head.size,
        root: head.root,
        time,
    }
}

struct TpmSigner<'a> {
    tpm: RefCell<&'a mut Tpm>,
    key: &'a ObjectBlob,
    auth: &'a Key,
    verifier: NoteVerifier,
}

impl NoteSigner for TpmSigner<'_> {
    fn verifier(&self) -> NoteVerifier {
        self.verifier.clone()
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignerError> {
        let signature = self
            .tpm
            .borrow_mut()
            .sign(self.key, self.auth, &Digest::of(text).0)?;
        Ok(der_signature(&signature)?)
    }
}
