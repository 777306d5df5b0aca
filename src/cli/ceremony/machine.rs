//! The TPM's part of a ceremony: possession, sealed secret, anchor, counter and ledger key.

use super::{CeremonyCommandError, Narrator};
use crate::boxfiles::TpmFile;
use crate::ceremony::{TpmFacts, TpmSecrets};
use crate::crypto::random;
use crate::id::BoxId;
use crate::keyring::{Keyring, NvAuth, StaticCapsule, box_secret, nv_auth};
use crate::tpm::{Slot, Tpm, TpmError};
use std::collections::BTreeSet;

/// Fresh authorisation values for owner and lockout.
pub(super) fn fresh_authorisations() -> StaticCapsule {
    StaticCapsule {
        owner_auth: random::key(),
        lockout_auth: random::key(),
    }
}

/// Connects, and mixes the TPM's randomness into ours before any key is made.
pub(super) fn connect(tcti: &str) -> Result<Tpm, TpmError> {
    let mut tpm = Tpm::open(tcti)?;
    random::stir(tpm.random()?.expose());
    Ok(tpm)
}

/// What officers sign of the TPM.
pub(super) fn facts(file: &TpmFile) -> TpmFacts {
    TpmFacts {
        storage_root_key: file.storage_root_key.to_string(),
        ledger_key: file.ledger_public.clone(),
    }
}

/// Gives the TPM everything anew. Each call looks at what is there or removes it first, so all of it can
/// be run again after an interruption at any point, with the same authorisation values.
pub(super) fn take(
    tpm: &mut Tpm,
    authorisations: &StaticCapsule,
    secrets: &TpmSecrets,
    pcrs: &BTreeSet<u8>,
    (box_id, ledger): (BoxId, String),
    narrator: &mut dyn Narrator,
) -> Result<TpmFile, CeremonyCommandError> {
    let owner = &authorisations.owner_auth;
    narrator
        .step("take the TPM into possession: storage root key, owner and lockout authorisation")?;
    let storage_root_key = tpm.provision(owner, &authorisations.lockout_auth)?;
    narrator.step("clear what an earlier founding left in the TPM's memory")?;
    tpm.undefine_all(owner)?;
    narrator.step("seal the secret to the boot measurements")?;
    let pcrs: Vec<u8> = pcrs.iter().copied().collect();
    let sealed_secret = tpm.seal(&secrets.sealed, &pcrs)?;
    narrator.step("make the anchor's two slots")?;
    let auth = nv_auth(&secrets.sealed, NvAuth::Anchor);
    tpm.define_anchor_slots(owner, &auth)?;
    narrator.step("write the anchor")?;
    tpm.write_anchor(Slot::A, &auth, &secrets.anchor)?;
    narrator.step("make the counter that goes up only")?;
    tpm.define_counter(owner, &nv_auth(&secrets.sealed, NvAuth::Counter))?;
    narrator.step("make the index that absorbs checkpoints")?;
    tpm.define_absorber(owner, &nv_auth(&secrets.sealed, NvAuth::Extend))?;
    narrator.step("make the ledger's signing key in the TPM")?;
    let (ledger_key, ledger_public) = tpm.create_signing_key(&secrets.ledger_auth)?;
    Ok(TpmFile {
        box_id,
        ledger,
        storage_root_key,
        sealed_secret,
        ledger_key,
        ledger_public,
    })
}

/// Leaves the TPM in order. What was decided stays decided if this fails.
pub(super) fn part(tpm: Tpm, narrator: &mut dyn Narrator) {
    if let Err(error) = tpm.shutdown() {
        narrator.say(&format!(
            "All is done, only the TPM was not left in order: {error}"
        ));
    }
}

/// Opens the keyring as the next start will: by what the TPM holds, and nothing else.
pub(super) fn open_keyring(
    tpm: &mut Tpm,
    file: &TpmFile,
    keyring: &[u8],
) -> Result<Keyring, CeremonyCommandError> {
    tpm.pin(&file.storage_root_key)?;
    let sealed = tpm.unseal(&file.sealed_secret)?;
    let anchor = tpm.read_anchor(Slot::A, &nv_auth(&sealed, NvAuth::Anchor))?;
    let secret = box_secret(&sealed, &anchor.ok_or(CeremonyCommandError::NoAnchor)?);
    Ok(Keyring::open_with_box_secret(keyring, &secret)?)
}
