//! What a restore has decided, on its way into the data folder.
//!
//! All new files are prepared in `.restoring`; renaming that to `.restored` is the decision. From then on
//! [`finish`] puts them in place and records the ledger's entry, each step such that it can be done again: after
//! a power cut the next `ceremony restore` goes on here.

use super::{CeremonyCommandError, Narrator, ledger, machine};
use crate::boxfiles::{self, DataFolder};
use crate::ceremony::{Signed, Succession};
use crate::durable::{self, at};
use crate::keyring::{NvAuth, nv_auth};
use crate::ledger::{Event, Head, Ledger};
use crate::time::Clock;
use crate::tpm::Tpm;
use std::fs;
use std::path::Path;

pub(super) const PREPARING: &str = ".restoring";
pub(super) const SUCCESSION: &str = "succession.json";
const MOVED: [&str; 6] = [
    boxfiles::STATIC_CAPSULE,
    boxfiles::TPM,
    boxfiles::KEYRING,
    boxfiles::SPOOL_KEY,
    boxfiles::OFFICERS,
    boxfiles::CONFIG,
];

/// The decision: `.restoring` becomes `.restored`.
pub(super) fn decide(data: &DataFolder) -> Result<(), CeremonyCommandError> {
    let prepared = data.join(PREPARING);
    fs::rename(&prepared, data.join(boxfiles::RESTORED)).map_err(at("rename", &prepared))?;
    Ok(durable::sync_folder_of(&prepared)?)
}

/// Whether there is a decision that is not yet carried out.
pub(super) fn decided(folder: &Path) -> bool {
    folder.join(boxfiles::RESTORED).is_dir()
}

/// Forgets a decision that cannot be carried out any more, because the TPM has changed again.
pub(super) fn forget(data: &DataFolder) -> Result<(), CeremonyCommandError> {
    let decided = data.join(boxfiles::RESTORED);
    fs::remove_dir_all(&decided).map_err(at("remove", &decided))?;
    Ok(durable::sync_folder_of(&decided)?)
}

/// Puts the files in place and records the entry; gives the succession and the ledger's new head.
pub(super) fn finish(
    data: &DataFolder,
    tpm: &mut Tpm,
    clock: &dyn Clock,
    narrator: &mut dyn Narrator,
) -> Result<(Succession, Head), CeremonyCommandError> {
    let decided = data.join(boxfiles::RESTORED);
    let json = durable::read(&decided.join(SUCCESSION), 1 << 20)?;
    let signed = Signed::parse(&json)?;
    let succession = signed.succession()?;
    narrator.step("keep the signed succession beside the charter")?;
    let name = format!("succession-{}.json", signed.digest());
    durable::replace(&data.join(boxfiles::TRANSCRIPTS).join(name), &json)?;
    for name in MOVED {
        let from = decided.join(name);
        if from.exists() {
            narrator.step(&format!("put the new {name} in place"))?;
            fs::rename(&from, data.join(name)).map_err(at("rename", &from))?;
            durable::sync_folder_of(&data.join(name))?;
        }
    }
    let file = data.tpm()?;
    narrator.step("open the keyring by the TPM alone")?;
    let keyring = machine::open_keyring(tpm, &file, &data.keyring()?)?;
    let mut ledger = Ledger::open(&data.join(boxfiles::LEDGER), &file.ledger)?;
    if !recorded(&ledger, &succession, &signed)? {
        narrator.step("record the restore in the ledger and have the new TPM sign it")?;
        let sealed = tpm.unseal(&file.sealed_secret)?;
        let event = Event::Restored {
            old_box: succession.old_box,
            new_box: succession.new_box,
            accepted: Head {
                size: succession.accepted_head.size,
                root: succession.accepted_head.root,
            },
            signers: ledger::signers(&file, &keyring)?,
            counter: tpm.read_counter(&nv_auth(&sealed, NvAuth::Counter))?,
            transcript: signed.digest(),
        };
        ledger::record(&mut ledger, event, (tpm, &file, &keyring), clock.now())?;
    }
    narrator.step("clear what only the restore needed")?;
    forget(data)?;
    Ok((succession, ledger.tree().head()?))
}

/// Whether the ledger has this restore's entry already, with a checkpoint over it.
fn recorded(
    ledger: &Ledger,
    succession: &Succession,
    signed: &Signed,
) -> Result<bool, CeremonyCommandError> {
    let covered = ledger
        .checkpoint()
        .map_or(0, |checkpoint| checkpoint.head().size);
    for found in ledger
        .tree()
        .entries(succession.accepted_head.size..covered)
    {
        if matches!(found?.entry.event, Event::Restored { transcript, .. } if transcript == signed.digest())
        {
            return Ok(true);
        }
    }
    Ok(false)
}
