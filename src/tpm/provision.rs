//! Taking a TPM into possession: storage root key, owner and lockout authorisation.
//!
//! Every step looks at what is there already, so that a founding that was interrupted at any point
//! can be run again with the same authorisation values.

use super::device::{Device, Link, SRK_HANDLE, auth_value};
use super::error::{code_of, explain, tpm_code};
use super::health::{self, LOCKOUT_AUTH_SET, OWNER_AUTH_SET};
use super::{SrkName, TpmError};
use crate::secret::Key;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::constants::tss::TPM2_RC_LOCKOUT;
use tss_esapi::handles::{AuthHandle, ObjectHandle, PersistentTpmHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::structures::{
    Auth, EccParameter, EccPoint, Public, PublicBuilder, PublicEccParametersBuilder,
    SymmetricDefinition, SymmetricDefinitionObject,
};

/// Wrong guesses before lockout; one is forgotten after [`FORGET_AFTER`] seconds; a wrong lockout
/// authorisation shuts that for [`LOCKOUT_RECOVERY`] seconds.
const TRIES: u32 = 32;
pub(super) const FORGET_AFTER: u32 = 600;
const LOCKOUT_RECOVERY: u32 = 86_400;

/// Takes possession; the storage root key's name, which is pinned from then on.
pub(super) fn provision(link: &mut Link, owner: &Key, lockout: &Key) -> Result<SrkName, TpmError> {
    let permanent = health::permanent(link)?;
    let (owner_set, lockout_set) = (
        permanent & OWNER_AUTH_SET != 0,
        permanent & LOCKOUT_AUTH_SET != 0,
    );
    // Our own attempt, cut off, has set the owner's first.
    if lockout_set && !owner_set {
        return Err(TpmError::LockoutTaken);
    }
    let name = make_srk(
        link.device()?,
        if owner_set {
            auth_value(owner)?
        } else {
            Auth::default()
        },
    )?;
    link.pin(name.clone());
    if !owner_set {
        change_auth(link, AuthHandle::Owner, None, owner)?;
    }
    if !lockout_set {
        change_auth(link, AuthHandle::Lockout, None, lockout)?;
    }
    let doing = "set the lockout parameters";
    let auth = auth_value(lockout)?;
    link.raw(doing)?
        .lockout_parameters(&auth, TRIES, FORGET_AFTER, LOCKOUT_RECOVERY)
        .map_err(|code| explain(doing, code))?;
    Ok(name)
}

/// Gives the owner a new authorisation value.
pub(super) fn set_owner_auth(link: &mut Link, old: &Key, new: &Key) -> Result<(), TpmError> {
    change_auth(link, AuthHandle::Owner, Some(old), new)
}

/// Ends a dictionary-attack lockout.
pub(super) fn reset_lockout(link: &mut Link, lockout: &Key) -> Result<(), TpmError> {
    let doing = "end the lockout";
    let auth = auth_value(lockout)?;
    link.raw(doing)?
        .reset_lockout(&auth)
        .map_err(|code| match tpm_code(code) {
            // A wrong lockout authorisation, now or before, shuts this command itself.
            Some(TPM2_RC_LOCKOUT) => TpmError::Lockout {
                seconds: LOCKOUT_RECOVERY,
                code,
            },
            _ => explain(doing, code),
        })
}

fn change_auth(
    link: &mut Link,
    of: AuthHandle,
    old: Option<&Key>,
    new: &Key,
) -> Result<(), TpmError> {
    let old = old.map(auth_value).transpose()?.unwrap_or_default();
    let new = auth_value(new)?;
    link.device()?
        .guarded("set an authorisation value", |context| {
            context.tr_set_auth(ObjectHandle::from(of), old)?;
            context.hierarchy_change_auth(of, new)?;
            context.tr_set_auth(ObjectHandle::from(of), Auth::default())
        })
}

/// Makes the storage root key (the same key each time, from the TPM's own seed) and keeps it at its
/// handle; a key of somebody else that lies there is removed.
fn make_srk(device: &mut Device, owner: Auth) -> Result<SrkName, TpmError> {
    let doing = "make the storage root key";
    let failed = |error| explain(doing, code_of(error));
    let present = device.persistent_srk()?;
    let persistent = PersistentTpmHandle::new(SRK_HANDLE)
        .map(Persistent::Persistent)
        .map_err(failed)?;
    let (template, sha) = (template().map_err(failed)?, HashingAlgorithm::Sha256);
    let name = device.plain(doing, |context| {
        // There is no key yet to salt a session to. In this one the authorisation value still only
        // keys an HMAC.
        let aes = SymmetricDefinition::AES_128_CFB;
        let session = context.start_auth_session(None, None, None, SessionType::Hmac, aes, sha)?;
        context.tr_set_auth(ObjectHandle::Owner, owner)?;
        let name = context.execute_with_session(session, |context| {
            let made =
                context.create_primary(Hierarchy::Owner, template, None, None, None, None)?;
            let key = ObjectHandle::from(made.key_handle);
            let name = SrkName::new(context.tr_get_name(key)?.value());
            match present {
                Some((_, present)) if present == name => {}
                Some((foreign, _)) => {
                    context.evict_control(
                        Provision::Owner,
                        ObjectHandle::from(foreign),
                        persistent,
                    )?;
                    context.evict_control(Provision::Owner, key, persistent)?;
                }
                None => {
                    context.evict_control(Provision::Owner, key, persistent)?;
                }
            }
            context.execute_without_session(|context| context.flush_context(key))?;
            Ok(name)
        });
        context.tr_set_auth(ObjectHandle::Owner, Auth::default())?;
        if let Some(session) = session {
            context.flush_context(ObjectHandle::from(SessionHandle::from(session)))?;
        }
        name
    })?;
    Ok(name)
}

/// TCG EK Credential Profile 2.x, template L-2 turned storage key: ECC P-256, AES-128 CFB, noDA
/// (TCG TPM v2.0 Provisioning Guidance, 7.5.1).
fn template() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true);
    let aes = SymmetricDefinitionObject::AES_128_CFB;
    let parameters =
        PublicEccParametersBuilder::new_restricted_decryption_key(aes, EccCurve::NistP256);
    let zeros = || EccParameter::try_from([0u8; 32].as_slice());
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes.build()?)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(EccPoint::new(zeros()?, zeros()?))
        .build()
}
