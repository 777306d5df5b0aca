//! How the TPM is, for `strongroom status` and for the decision to start.

use super::device::Link;
use super::{SrkName, TpmError};
use serde::{Deserialize, Serialize};
use tss_esapi::constants::{CapabilityType, PropertyTag};
use tss_esapi::structures::CapabilityData;

/// TPMA_PERMANENT (TPM 2.0 Library, Part 2, 8.6).
pub(super) const OWNER_AUTH_SET: u32 = 1 << 0;
pub(super) const LOCKOUT_AUTH_SET: u32 = 1 << 2;
const IN_LOCKOUT: u32 = 1 << 9;

/// What the TPM says of itself, without any authorisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The storage root key that lies in the TPM; `None` if it was cleared or never provisioned.
    pub srk: Option<SrkName>,
    /// Whether the owner has an authorisation value.
    pub owner_auth_set: bool,
    /// Whether lockout has an authorisation value.
    pub lockout_auth_set: bool,
    /// Whether the TPM refuses guarded objects now. Ours stand outside of that and go on working.
    pub in_lockout: bool,
    /// Wrong guesses that are not forgotten yet.
    pub failed_tries: u32,
    /// At how many of them lockout begins.
    pub max_tries: u32,
    /// After how many seconds one guess is forgotten; lockout ends then at the latest.
    pub forget_after_seconds: u32,
}

pub(super) fn health(link: &mut Link) -> Result<Health, TpmError> {
    let permanent = permanent(link)?;
    Ok(Health {
        srk: link.device()?.persistent_srk()?.map(|(_, name)| name),
        owner_auth_set: permanent & OWNER_AUTH_SET != 0,
        lockout_auth_set: permanent & LOCKOUT_AUTH_SET != 0,
        in_lockout: permanent & IN_LOCKOUT != 0,
        failed_tries: property(link, PropertyTag::LockoutCounter)?,
        max_tries: property(link, PropertyTag::MaxAuthFail)?,
        forget_after_seconds: property(link, PropertyTag::LockoutInterval)?,
    })
}

/// The attributes that outlive a restart.
pub(super) fn permanent(link: &mut Link) -> Result<u32, TpmError> {
    property(link, PropertyTag::Permanent)
}

fn property(link: &mut Link, tag: PropertyTag) -> Result<u32, TpmError> {
    let doing = "ask for its state";
    let (data, _) = link.device()?.plain(doing, |context| {
        context.get_capability(CapabilityType::TpmProperties, tag.into(), 1)
    })?;
    match data {
        CapabilityData::TpmProperties(list) => list.find(tag).map(|property| property.value()),
        _ => None,
    }
    .ok_or(TpmError::Garbled { doing, code: 0 })
}
