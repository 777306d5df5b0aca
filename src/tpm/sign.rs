//! The ledger's signing key: ECDSA P-256, made in the TPM and never outside of it.
//!
//! Its use needs an authorisation value that lies in the keyring, so it signs only while the archive
//! is open; registers do not guard it, so an update of the firmware does not cost the key.

use super::device::{Link, auth_value};
use super::error::{code_of, explain};
use super::{ObjectBlob, TpmError};
use crate::crypto::sign::VerifyingKey;
use crate::secret::Key;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, EccScheme, HashScheme, HashcheckTicket, Public, PublicBuilder,
    PublicEccParametersBuilder, Signature, SignatureScheme,
};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

const WHAT: &str = "ledger signing key";

/// Makes a key whose use needs `auth`.
pub(super) fn create(link: &mut Link, auth: &Key) -> Result<(ObjectBlob, VerifyingKey), TpmError> {
    let doing = "make the ledger signing key";
    let device = link.device()?;
    let srk = device.srk()?;
    let auth = auth_value(auth)?;
    let public = template().map_err(|error| explain(doing, code_of(error)))?;
    let made = device.guarded(doing, |context| {
        context.create(srk, public, Some(auth), None, None, None)
    })?;
    let blob = ObjectBlob::new(doing, &made.out_public, &made.out_private)?;
    let key = verifying_key(&made.out_public).ok_or(TpmError::Garbled { doing, code: 0 })?;
    Ok((blob, key))
}

/// Signs a SHA-256 digest: 64 bytes, `r ‖ s`.
pub(super) fn sign(
    link: &mut Link,
    blob: &ObjectBlob,
    auth: &Key,
    digest: &[u8; 32],
) -> Result<[u8; 64], TpmError> {
    let doing = "sign for the ledger";
    let failed = |error| explain(doing, code_of(error));
    let digest = Digest::try_from(digest.as_slice()).map_err(failed)?;
    let auth = auth_value(auth)?;
    let key = loaded(link, blob)?;
    let scheme = SignatureScheme::EcDsa {
        hash_scheme: HashScheme::new(HashingAlgorithm::Sha256),
    };
    let ticket = no_ticket().map_err(failed)?;
    let signature = link.device()?.guarded(doing, |context| {
        context.tr_set_auth(ObjectHandle::from(key), auth)?;
        context.sign(key, digest, scheme, ticket)
    })?;
    let garbled = TpmError::Garbled { doing, code: 0 };
    let Signature::EcDsa(signature) = signature else {
        return Err(garbled);
    };
    match (
        scalar(signature.signature_r()),
        scalar(signature.signature_s()),
    ) {
        (Some(r), Some(s)) => {
            let mut out = [0; 64];
            out[..32].copy_from_slice(&r);
            out[32..].copy_from_slice(&s);
            Ok(out)
        }
        _ => Err(garbled),
    }
}

/// The key's handle; it stays loaded from one signature to the next.
fn loaded(link: &mut Link, blob: &ObjectBlob) -> Result<KeyHandle, TpmError> {
    let device = link.device()?;
    if let Some((private, handle)) = &device.signer {
        if private == blob.private() {
            return Ok(*handle);
        }
        let old = ObjectHandle::from(*handle);
        device.signer = None;
        device.plain("unload a key", |context| context.flush_context(old))?;
    }
    let handle = device.load(WHAT, blob)?;
    device.signer = Some((blob.private().to_vec(), handle));
    Ok(handle)
}

/// Fixed to this TPM and parent: it can be neither duplicated nor moved.
fn template() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_sign_encrypt(true);
    let scheme = EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256));
    let parameters =
        PublicEccParametersBuilder::new_unrestricted_signing_key(scheme, EccCurve::NistP256);
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes.build()?)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

fn verifying_key(public: &Public) -> Option<VerifyingKey> {
    let Public::Ecc { unique, .. } = public else {
        return None;
    };
    let mut point = vec![4]; // SEC 1: uncompressed
    point.extend(scalar(unique.x())?);
    point.extend(scalar(unique.y())?);
    VerifyingKey::from_bytes(&point).ok()
}

/// A number as 32 bytes; some TPMs leave leading zeros out.
fn scalar(number: &EccParameter) -> Option<[u8; 32]> {
    let bytes = number.value();
    let mut out = [0; 32];
    out[32usize.checked_sub(bytes.len())?..].copy_from_slice(bytes);
    Some(out)
}

/// An unrestricted key signs without proof that the TPM itself made the digest.
fn no_ticket() -> tss_esapi::Result<HashcheckTicket> {
    HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
        tag: TPM2_ST_HASHCHECK,
        hierarchy: TPM2_RH_NULL,
        digest: Default::default(),
    })
}
