//! What officers sign: a JSON text that says all of what was done, kept byte for byte with the signatures.

use super::deal::Dealing;
use super::{CeremonyError, TpmFacts};
use crate::crypto::hpke::SealingKey;
use crate::crypto::kdf::framed;
use crate::crypto::sign::VerifyingKey;
use crate::id::{BoxId, Digest};
use crate::keyring::TreeHead;
use crate::officer::{OfficerKey, OfficerName, OfficerPublic, pretty};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(super) const CHARTER: &str = "strongroom charter 1";
pub(super) const SUCCESSION: &str = "strongroom succession 1";

/// The text of a founding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// "strongroom charter 1".
    pub format: String,
    /// The new box.
    pub box_id: BoxId,
    /// When, in milliseconds since 1970.
    pub time: Timestamp,
    /// SHA-256 of the policy's text.
    pub policy: Digest,
    /// The recovery key's public half.
    pub recovery: SealingKey,
    /// m.
    pub required: u8,
    /// All n shares, number 1 first.
    pub shares: Vec<Dealing>,
    /// How many subsets of m shares opened the test capsule: all there are.
    pub subsets_tested: u32,
    /// The TPM.
    pub tpm: TpmFacts,
}

impl Charter {
    /// The officers, share number 1 first.
    pub fn officers(&self) -> impl Iterator<Item = &OfficerPublic> {
        self.shares.iter().map(|dealing| &dealing.officer)
    }

    /// The share dealt to `name`.
    pub fn dealing(&self, name: &OfficerName) -> Result<&Dealing, CeremonyError> {
        let found = self
            .shares
            .iter()
            .find(|dealing| dealing.officer.name == *name);
        found.ok_or_else(|| CeremonyError::NotAnOfficer(name.clone()))
    }
}

/// The text of a restore: a new TPM takes over the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    /// "strongroom succession 1".
    pub format: String,
    /// The box whose keyring was restored. If it is another than `new_box`, it is retired.
    pub old_box: BoxId,
    /// The box that is from now on.
    pub new_box: BoxId,
    /// When, in milliseconds since 1970.
    pub time: Timestamp,
    /// SHA-256 of the charter's text.
    pub charter: Digest,
    /// Generation of the keyring that was restored from.
    pub generation: u64,
    /// The head that the capsule knew.
    pub capsule_head: TreeHead,
    /// The head of the ledger at hand, which the officers accept as the newest there is.
    pub accepted_head: TreeHead,
    /// What signs the ledger from now on; whatever signed it before does no more.
    pub tpm: TpmFacts,
}

/// A text with the officers' signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The exact text.
    pub text: String,
    /// base64 of `r ‖ s` by officer.
    pub signatures: BTreeMap<OfficerName, String>,
}

impl Signed {
    pub(super) fn unsigned(text: String) -> Self {
        Self {
            text,
            signatures: BTreeMap::new(),
        }
    }

    /// Reads a transcript file.
    pub fn parse(json: &[u8]) -> Result<Self, CeremonyError> {
        serde_json::from_slice(json).map_err(CeremonyError::Transcript)
    }

    /// The transcript file's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        pretty(self)
    }

    /// SHA-256 of the text, as ledger entries name it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        super::digest_of(&self.text)
    }

    /// The charter, if it is one. No signature is checked here.
    pub fn charter(&self) -> Result<Charter, CeremonyError> {
        let charter: Charter =
            serde_json::from_str(&self.text).map_err(CeremonyError::Transcript)?;
        if charter.format == CHARTER {
            Ok(charter)
        } else {
            Err(CeremonyError::OtherTranscript(charter.format))
        }
    }

    /// The succession, if it is one. No signature is checked here.
    pub fn succession(&self) -> Result<Succession, CeremonyError> {
        let text: Succession =
            serde_json::from_str(&self.text).map_err(CeremonyError::Transcript)?;
        if text.format == SUCCESSION {
            Ok(text)
        } else {
            Err(CeremonyError::OtherTranscript(text.format))
        }
    }

    /// Adds a signature, if it fits.
    pub(super) fn add(
        &mut self,
        officer: &OfficerPublic,
        signature: &[u8],
    ) -> Result<(), CeremonyError> {
        check(&self.text, &officer.name, &officer.signing, signature)?;
        self.signatures.insert(
            officer.name.clone(),
            data_encoding::BASE64.encode(signature),
        );
        Ok(())
    }

    /// Checks the signature that `officer` is said to have made.
    pub fn verify(&self, officer: &OfficerPublic) -> Result<(), CeremonyError> {
        let text = self
            .signatures
            .get(&officer.name)
            .map(String::as_bytes)
            .unwrap_or_default();
        let signature = data_encoding::BASE64.decode(text).unwrap_or_default();
        check(&self.text, &officer.name, &officer.signing, &signature)
    }

    /// The officers among `list` whose signatures fit.
    pub fn signers<'a>(
        &self,
        list: impl IntoIterator<Item = &'a OfficerPublic>,
    ) -> Vec<&'a OfficerPublic> {
        list.into_iter()
            .filter(|officer| self.verify(officer).is_ok())
            .collect()
    }
}

/// An officer signs a text that was shown.
#[must_use]
pub fn sign(officer: &OfficerKey, text: &str) -> [u8; 64] {
    officer.sign(&signed_bytes(text))
}

fn check(
    text: &str,
    name: &OfficerName,
    key: &VerifyingKey,
    signature: &[u8],
) -> Result<(), CeremonyError> {
    key.verify(&signed_bytes(text), signature)
        .map_err(|source| CeremonyError::BadSignature {
            officer: name.clone(),
            source,
        })
}

/// `frame("strongroom/1 transcript") ‖ frame(text)`.
fn signed_bytes(text: &str) -> Vec<u8> {
    [&b"strongroom/1 transcript"[..], text.as_bytes()]
        .into_iter()
        .flat_map(framed)
        .collect()
}
