//! That an entry is in the ledger, for whoever has no ledger: the entry, its inclusion proof, and the checkpoint that
//! the box's TPM signed over both.

use super::core::{Core, CoreError, lock};
use super::heartbeat;
use crate::crypto::merkle;
use crate::crypto::note::NoteVerifier;
use crate::id::Digest;
use crate::ledger::{Checkpoint, Entry};
use serde::{Deserialize, Serialize};

/// What lies beside a receipt.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReleaseProof {
    /// "strongroom proof/1".
    pub format: String,
    /// The entry's number in the ledger.
    pub index: u64,
    /// The entry's line.
    pub entry: String,
    /// The inclusion proof (RFC 6962).
    pub proof: Vec<Digest>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// Signs a checkpoint that covers the entry `index`, and proves the entry by it.
pub fn of(core: &Core, index: u64) -> Result<String, CoreError> {
    let signed = heartbeat::checkpoint(core);
    let (tree, checkpoint) = {
        let ledger = lock(&core.ledger);
        (ledger.tree().clone(), ledger.checkpoint().cloned())
    };
    // The clock's checkpoint may have come before ours, which is as good.
    let Some(checkpoint) = checkpoint.filter(|checkpoint| checkpoint.head().size > index) else {
        signed?;
        return Err(CoreError::NotFounded);
    };
    let entry = tree.entry(index)?;
    let proof = ReleaseProof {
        format: "strongroom proof/1".to_owned(),
        index,
        entry: String::from_utf8_lossy(&entry.line).into_owned(),
        proof: tree.inclusion_proof(index, checkpoint.head().size)?,
        checkpoint: checkpoint.to_string(),
    };
    serde_json::to_string_pretty(&proof).map_err(|error| CoreError::Release(error.to_string()))
}

impl ReleaseProof {
    /// The entry, if one of these keys signed the checkpoint that it is in.
    #[must_use]
    pub fn verify(&self, signers: &[NoteVerifier]) -> Option<Entry> {
        let checkpoint: Checkpoint = self.checkpoint.parse().ok()?;
        let signed = |key: &NoteVerifier| {
            key.name() == checkpoint.origin()
                && checkpoint.verify(std::slice::from_ref(key)).is_ok()
        };
        if !signers.iter().any(signed) {
            return None;
        }
        let leaf = merkle::leaf_hash(self.entry.as_bytes());
        let head = checkpoint.head();
        merkle::verify_inclusion(&leaf, self.index, head.size, &head.root, &self.proof).ok()?;
        Entry::decode(self.entry.as_bytes()).ok()
    }
}
