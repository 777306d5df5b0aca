//! The policy in the data folder, and the signed texts that put another in its place.

use super::{BoxFileError, DataFolder, LARGEST, POLICY, TRANSCRIPTS};
use crate::approval::{Approval, Statement};
use crate::durable::{self, FileError};
use crate::id::Digest;
use crate::officer::pretty;
use crate::policy::ValidPolicy;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// Longest text of a policy that replaces another, in bytes.
pub const LONGEST_POLICY: usize = 64 << 10;

/// How a policy came into force, byte for byte as it was signed: the file `transcript/policy-DIGEST.json`, whose name has the
/// statement's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPolicy {
    /// What the officers signed.
    pub statement: Statement,
    /// Their signatures.
    pub approvals: Vec<Approval>,
    /// The text of the policy until then.
    pub replaced: String,
    /// The policy's text.
    pub policy: String,
}

impl SignedPolicy {
    /// SHA-256 of the policy's text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.policy.as_bytes())
    }
}

impl DataFolder {
    /// `policy.toml`, whatever it says.
    pub fn policy(&self) -> Result<ValidPolicy, BoxFileError> {
        let text = self.policy_text()?;
        Ok(ValidPolicy::parse_founded(
            &text,
            &self.join(POLICY).display().to_string(),
        )?)
    }

    /// The text of `policy.toml`.
    pub fn policy_text(&self) -> Result<String, BoxFileError> {
        self.text(POLICY)
    }

    /// The policy with this digest, which the keyring names. Where `policy.toml` is another and officers signed for this one,
    /// it is put in its place: a power cut came between the two, or somebody changed the file.
    pub fn policy_in_force(&self, digest: Digest) -> Result<ValidPolicy, BoxFileError> {
        let at_hand = self.policy();
        if matches!(&at_hand, Ok(policy) if policy.digest() == digest) {
            return at_hand;
        }
        let signed = self.signed_policies()?;
        let mut texts = signed.iter().flat_map(|one| [&one.policy, &one.replaced]);
        if let Some(text) = texts.find(|text| Digest::of(text.as_bytes()) == digest) {
            tracing::warn!(%digest, "{POLICY} is not the policy in force, which is put back in its place");
            durable::replace(&self.join(POLICY), text.as_bytes())?;
            return self.policy();
        }
        at_hand.and_then(|_| Err(BoxFileError::OtherPolicy(self.join(POLICY))))
    }

    /// The policy that this statement put in force.
    pub fn signed_policy(&self, statement: Digest) -> Result<SignedPolicy, BoxFileError> {
        self.json(&signed_policy_name(statement))
    }

    /// Keeps a policy with its signatures.
    pub fn write_signed_policy(&self, signed: &SignedPolicy) -> Result<(), BoxFileError> {
        durable::create_folder(&self.join(TRANSCRIPTS))?;
        let path = self.join(signed_policy_name(signed.statement.digest()));
        let text = pretty(signed);
        // What is not read again must not be committed to.
        if text.len() as u64 > LARGEST {
            return Err(BoxFileError::TooLarge(path));
        }
        Ok(durable::replace(&path, &text)?)
    }

    /// All that can be read; which of them count, the ledger says.
    fn signed_policies(&self) -> Result<Vec<SignedPolicy>, FileError> {
        let folder = self.join(TRANSCRIPTS);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(durable::at("read", &folder)(error)),
        };
        let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let is_policy = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("policy-") && name.ends_with(".json")
        };
        let files = paths.iter().filter(is_policy);
        let read = files.filter_map(|path| durable::read(path, LARGEST).ok());
        Ok(read
            .filter_map(|bytes| serde_json::from_slice(&bytes).ok())
            .collect())
    }
}

/// Below the data folder.
#[must_use]
pub fn signed_policy_name(statement: Digest) -> String {
    format!("{TRANSCRIPTS}/policy-{statement}.json")
}
