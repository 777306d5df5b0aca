//! Sealing a secret to what the machine booted.
//!
//! The secret is a sealed data object under the storage root key whose only way in is PolicyPCR over
//! the chosen registers (SHA-256 bank). It carries no password, so wrong guesses cannot happen and
//! it stands outside the dictionary-attack logic (noDA).

use super::device::Link;
use super::error::{code_of, explain, tpm_code};
use super::pcr::{self, PcrValue};
use super::{ObjectBlob, TpmError};
use crate::secret::Key;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::constants::tss::TPM2_RC_POLICY_FAIL;
use tss_esapi::handles::{ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{
    Digest, KeyedHashScheme, Public, PublicBuilder, PublicKeyedHashParameters, SensitiveData,
};

/// A secret that only this TPM opens, and only after a boot with the same measurements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedBlob {
    /// How the secret is guarded; version 1 is PolicyPCR alone.
    version: u8,
    /// The sealed data object.
    object: ObjectBlob,
    /// The registers it is sealed to, ascending, with their values at that time. The values only
    /// serve to say which register differs; the TPM enforces the policy by itself.
    pcrs: Vec<PcrValue>,
}

const VERSION: u8 = 1;
const WHAT: &str = "sealed secret";

impl SealedBlob {
    /// The registers it is sealed to, with their values at that time.
    #[must_use]
    pub fn pcrs(&self) -> &[PcrValue] {
        &self.pcrs
    }

    fn pcr_numbers(&self) -> Vec<u8> {
        self.pcrs.iter().map(|value| value.pcr).collect()
    }
}

/// Seals `secret` to the present values of `pcrs` and opens it once to see that it works.
pub(super) fn seal(link: &mut Link, secret: &Key, pcrs: &[u8]) -> Result<SealedBlob, TpmError> {
    let doing = "seal the secret";
    let numbers = pcr::normalised(pcrs)?;
    let pcrs = pcr::read(link, &numbers)?;
    let policy = policy_digest(link, &numbers)?;
    let device = link.device()?;
    let srk = device.srk()?;
    let public = template(policy).map_err(|error| explain(doing, code_of(error)))?;
    let content = SensitiveData::try_from(secret.expose().as_slice())
        .map_err(|error| explain(doing, code_of(error)))?;
    let made = device.guarded(doing, |context| {
        context.create(srk, public, None, Some(content), None, None)
    })?;
    let object = ObjectBlob::new(doing, &made.out_public, &made.out_private)?;
    let blob = SealedBlob {
        version: VERSION,
        object,
        pcrs,
    };
    let opened = unseal(link, &blob)?;
    if bool::from(opened.expose().ct_eq(secret.expose())) {
        Ok(blob)
    } else {
        Err(TpmError::Garbled { doing, code: 0 })
    }
}

/// Opens a sealed secret.
pub(super) fn unseal(link: &mut Link, blob: &SealedBlob) -> Result<Key, TpmError> {
    let doing = "unseal the secret";
    if blob.version != VERSION {
        return Err(TpmError::BadBlob {
            what: WHAT,
            code: 0,
        });
    }
    let numbers = pcr::normalised(&blob.pcr_numbers())?;
    let selection = pcr::selection(&numbers)?;
    let device = link.device()?;
    let object = ObjectHandle::from(device.load(WHAT, &blob.object)?);
    let session = device.start_session(SessionType::Policy)?;
    let opened = device.plain(doing, |context| {
        let policy = PolicySession::try_from(session)?;
        context.policy_pcr(policy, Digest::default(), selection)?;
        let opened = context.execute_with_session(Some(session), |context| context.unseal(object));
        // A used policy session is worthless; either of these fails only with the connection.
        context.flush_context(ObjectHandle::from(SessionHandle::from(session)))?;
        context.flush_context(object)?;
        Ok(opened)
    })?;
    match opened {
        Ok(secret) => Key::from_slice(secret.value()).ok_or(TpmError::BadBlob {
            what: WHAT,
            code: 0,
        }),
        Err(error) => {
            let code = code_of(error);
            if tpm_code(code) != Some(TPM2_RC_POLICY_FAIL) {
                return Err(explain(doing, code));
            }
            let now = pcr::read(link, &numbers)?;
            let differing: Vec<u8> = blob
                .pcrs
                .iter()
                .filter(|then| !now.contains(then))
                .map(|then| then.pcr)
                .collect();
            if differing.is_empty() {
                // The record beside the blob was altered: the policy inside says something else.
                return Err(TpmError::BadBlob { what: WHAT, code });
            }
            Err(TpmError::PcrMismatch { differing })
        }
    }
}

/// The policy "these registers have their present values", as the TPM itself computes it.
fn policy_digest(link: &mut Link, pcrs: &[u8]) -> Result<Digest, TpmError> {
    let doing = "compute the PCR policy";
    let selection = pcr::selection(pcrs)?;
    let device = link.device()?;
    let trial = device.start_session(SessionType::Trial)?;
    device.guarded(doing, |context| {
        let policy = PolicySession::try_from(trial)?;
        context.policy_pcr(policy, Digest::default(), selection)?;
        let digest = context.policy_get_digest(policy)?;
        context.execute_without_session(|context| {
            context.flush_context(ObjectHandle::from(SessionHandle::from(trial)))
        })?;
        Ok(digest)
    })
}

fn template(policy: Digest) -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_no_da(true);
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes.build()?)
        .with_auth_policy(policy)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}
