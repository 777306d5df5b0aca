//! Restoring a box from its data (or a backup of it) and m officers, on a new TPM or the same one.

use super::found::vacant;
use super::{CeremonyCommandError, Narrator, copying, journal, ledger, machine, tls};
use crate::boxfiles::{self, BoxConfig, DataFolder, OfficersFile, TpmFile};
use crate::ceremony::{
    Accepted, Gathering, Opened, Proposal, RestoreFacts, Signed, Succession, TpmSecrets,
    open_share, sign,
};
use crate::durable::{self, at};
use crate::id::{BoxId, Digest};
use crate::keyring::{StaticCapsule, TreeHead, box_secret};
use crate::ledger::{Event, Head, Ledger};
use crate::officer::OfficerKey;
use crate::time::Clock;
use crate::tpm::{Tpm, TpmError};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What a restore needs.
pub struct RestoreRequest {
    /// The data folder.
    pub data: PathBuf,
    /// A backup to copy into it first.
    pub from: Option<PathBuf>,
    /// TPM address.
    pub tcti: String,
    /// The officers who are there, unlocked.
    pub officers: Vec<OfficerKey>,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// The box that was.
    pub old_box: BoxId,
    /// The box that is; the same on the same TPM.
    pub new_box: BoxId,
    /// The data folder.
    pub data: PathBuf,
    /// The head that the capsule knew.
    pub capsule_head: TreeHead,
    /// The head that the officers accepted as newest.
    pub accepted_head: TreeHead,
    /// Entries in the ledger now, the restore's own included.
    pub ledger_size: u64,
    /// The ledger's root now.
    pub ledger_root: Digest,
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The box is restored.")?;
        if self.old_box == self.new_box {
            writeln!(
                f,
                "Box:            {} (the same TPM, sealed anew)",
                self.new_box
            )?;
        } else {
            writeln!(f, "Box:            {}", self.new_box)?;
            writeln!(f, "Retired:        {}", self.old_box)?;
        }
        writeln!(f, "Data folder:    {}", self.data.display())?;
        writeln!(
            f,
            "Accepted head:  {} entries, root {}",
            self.accepted_head.size, self.accepted_head.root
        )?;
        writeln!(
            f,
            "Ledger now:     {} entries, root {}",
            self.ledger_size, self.ledger_root
        )
    }
}

/// Restores a box. `accept` is asked whether a ledger of so many entries is the newest there is.
pub fn restore(
    request: RestoreRequest,
    clock: &dyn Clock,
    narrator: &mut dyn Narrator,
    accept: &mut dyn FnMut(u64) -> Result<(), CeremonyCommandError>,
) -> Result<RestoreReport, CeremonyCommandError> {
    let data = DataFolder::at(&request.data);
    let stage = DataFolder::at(&boxfiles::restore_stage(&request.data));
    let in_stage = journal::decided(stage.path());
    let decided = in_stage || journal::decided(data.path());
    // What was decided has the backup in it already.
    let from = request.from.as_deref().filter(|_| !decided);
    match from {
        Some(_) => vacant(&request.data)?,
        None if decided => {}
        None => drop(DataFolder::open(&request.data)?),
    }
    let work = if in_stage || from.is_some() {
        stage
    } else {
        data.clone()
    };
    durable::create_folder(work.path())?;
    let _alone = work.lock_alone()?;
    if let Some(backup) = from {
        copying::take(backup, work.path(), narrator)?;
    }
    narrator.step("connect to the TPM")?;
    let mut tpm = machine::connect(&request.tcti)?;
    if decided {
        if in_stage {
            rename_stage(work.path(), &request.data, narrator)?;
        }
        narrator.say("An earlier restore was decided and then cut off; it goes on.");
        match journal::finish(&data, &mut tpm, clock, narrator) {
            Ok((succession, head)) => {
                machine::part(tpm, narrator);
                return Ok(report(&request, &succession, head));
            }
            Err(error) if error.is_other_tpm() => {
                narrator.say(&format!("It cannot go on ({error}); a new one begins."));
            }
            Err(error) => return Err(error),
        }
        journal::forget(&data)?;
    }
    let work = if in_stage { data.clone() } else { work };
    decide_in(&work, &request, &mut tpm, clock, narrator, accept)?;
    if from.is_some() {
        rename_stage(work.path(), &request.data, narrator)?;
    }
    let (succession, head) = journal::finish(&data, &mut tpm, clock, narrator)?;
    machine::part(tpm, narrator);
    Ok(report(&request, &succession, head))
}

fn report(request: &RestoreRequest, succession: &Succession, head: Head) -> RestoreReport {
    RestoreReport {
        old_box: succession.old_box,
        new_box: succession.new_box,
        data: request.data.clone(),
        capsule_head: succession.capsule_head,
        accepted_head: succession.accepted_head,
        ledger_size: head.size,
        ledger_root: head.root,
    }
}

/// All that changes nothing in the data folder but its `.restoring`, up to the decision.
fn decide_in(
    work: &DataFolder,
    request: &RestoreRequest,
    tpm: &mut Tpm,
    clock: &dyn Clock,
    narrator: &mut dyn Narrator,
    accept: &mut dyn FnMut(u64) -> Result<(), CeremonyCommandError>,
) -> Result<(), CeremonyCommandError> {
    let old_tpm = work.tpm()?;
    let ledger = Ledger::open(&work.join(boxfiles::LEDGER), &old_tpm.ledger)?;
    let opened = gather(work, &ledger, &request.officers, narrator)?;
    let policy = work.policy_in_force(opened.keyring().policy)?;
    if let Some(pcr) = policy.cap_pcr()
        && tpm.is_capped(&old_tpm.sealed_secret, pcr)?
    {
        return Err(CeremonyCommandError::Capped(pcr));
    }
    with_vault(work, &ledger)?;
    let ledger_head = heads(&ledger, &opened, narrator)?;
    accept(ledger_head.size)?;

    let same = tpm.health()?.srk.as_ref() == Some(&old_tpm.storage_root_key);
    let new_box = if same {
        opened.keyring().box_id
    } else {
        BoxId::random()
    };
    let authorisations = authorisations(work, &opened, new_box, tpm, narrator)?;
    let secrets = TpmSecrets::generate();
    let identity = (new_box, old_tpm.ledger);
    let made = machine::take(
        tpm,
        &authorisations,
        &secrets,
        policy.pcrs(),
        identity,
        narrator,
    )?;
    let facts = RestoreFacts {
        new_box,
        tpm: machine::facts(&made),
        ledger_head,
    };
    let accepted = signatures(
        opened.propose(facts, secrets, clock.now()),
        &request.officers,
        narrator,
    )?;
    prepare(
        work,
        &request.tcti,
        &accepted,
        &made,
        &authorisations,
        narrator,
    )?;
    narrator.step("decide: from here on the new TPM is the box's")?;
    journal::decide(work)
}

/// Officers come in the order given; a bad share or signature is named and counts for nothing.
fn gather(
    work: &DataFolder,
    ledger: &Ledger,
    officers: &[OfficerKey],
    narrator: &mut dyn Narrator,
) -> Result<Opened, CeremonyCommandError> {
    let signed = charter_of(work, ledger)?;
    let mut gathering = Gathering::new(signed, work.keyring()?)?;
    let charter = gathering.charter().clone();
    for officer in officers {
        let name = &officer.public().name;
        let share = charter
            .dealing(name)
            .and_then(|dealing| open_share(dealing, charter.box_id, &charter.recovery, officer));
        match share.and_then(|share| gathering.offer(name, share)) {
            Ok(()) => narrator.say(&format!(
                "{name}'s share counts; {} more needed.",
                gathering.still_needed()
            )),
            Err(error) => narrator.say(&format!("Not counted: {error}.")),
        }
    }
    Ok(gathering.open()?)
}

/// The charter that the ledger's first entry names.
fn charter_of(work: &DataFolder, ledger: &Ledger) -> Result<Signed, CeremonyCommandError> {
    let path = work.join(boxfiles::CHARTER);
    let file = durable::read(&path, 1 << 20)?;
    let damaged = |what: String| CeremonyCommandError::DamagedCharter { path, what };
    let signed = match Signed::parse(&file) {
        Ok(signed) => signed,
        Err(error) => return Err(damaged(error.to_string())),
    };
    match ledger.tree().entry(0)?.entry.event {
        Event::Founded { transcript, .. } if transcript != signed.digest() => Err(damaged(
            "its text is not the one that the ledger names".to_owned(),
        )),
        _ => Ok(signed),
    }
}

/// Refuses to restore a ledger whose mail is not there: a disk that is not mounted, a copy without it.
fn with_vault(work: &DataFolder, ledger: &Ledger) -> Result<(), CeremonyCommandError> {
    let vault = work.join(boxfiles::VAULT);
    if vault.is_dir() {
        return Ok(());
    }
    for recorded in ledger.tree().entries(0..ledger.tree().size()) {
        if matches!(recorded?.entry.event, Event::Arrival { .. }) {
            return Err(CeremonyCommandError::NoVault(vault));
        }
    }
    Ok(())
}

/// Compares the ledger at hand with what the capsule has seen, and shows both.
fn heads(
    ledger: &Ledger,
    opened: &Opened,
    narrator: &mut dyn Narrator,
) -> Result<TreeHead, CeremonyCommandError> {
    let (known, size) = (opened.keyring().head, ledger.tree().size());
    if size < known.size {
        return Err(CeremonyCommandError::DataTooOld {
            capsule: known.size,
            ledger: size,
        });
    }
    if ledger.tree().head_at(known.size)?.root != known.root {
        return Err(CeremonyCommandError::OtherLedger(known.size));
    }
    let head = ledger::tree_head(ledger.tree().head()?, ledger.last_time());
    narrator.say(&format!(
        "The capsule has seen {} entries, at {}.",
        known.size, known.time
    ));
    narrator.say(&format!(
        "The ledger at hand has {} entries, the last at {}; root {}.",
        size, head.time, head.root
    ));
    if let Some(checkpoint) = ledger.checkpoint() {
        narrator.say(&format!("Its newest checkpoint:\n{checkpoint}"));
    }
    narrator.say("Compare it with the newest checkpoint that left the box: a longer one means that entries are missing.");
    Ok(head)
}

/// Fresh authorisation values for a TPM without owner, else those that fit, of this restore's earlier
/// attempt or of the box itself.
fn authorisations(
    work: &DataFolder,
    opened: &Opened,
    new_box: BoxId,
    tpm: &mut Tpm,
    narrator: &mut dyn Narrator,
) -> Result<StaticCapsule, CeremonyCommandError> {
    let prepared = work.join(journal::PREPARING).join(boxfiles::STATIC_CAPSULE);
    if !tpm.health()?.owner_auth_set {
        let fresh = machine::fresh_authorisations();
        narrator.step("write down what a second attempt would need")?;
        durable::create_folder(&work.join(journal::PREPARING))?;
        durable::replace(&prepared, &fresh.seal(new_box, &opened.keyring().recovery)?)?;
        return Ok(fresh);
    }
    for path in [prepared, work.join(boxfiles::STATIC_CAPSULE)] {
        let Some(file) = durable::read_if_present(&path, crate::keyring::LARGEST)? else {
            continue;
        };
        let Ok(capsule) = opened.static_capsule(&file) else {
            continue;
        };
        // Taking possession again with the right values changes nothing; with wrong ones it fails first.
        match tpm.provision(&capsule.owner_auth, &capsule.lockout_auth) {
            Ok(_) => return Ok(capsule),
            Err(TpmError::WrongAuth { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CeremonyCommandError::TpmTaken)
}

/// Every officer who is there is asked; m must sign.
fn signatures(
    mut proposal: Proposal,
    officers: &[OfficerKey],
    narrator: &mut dyn Narrator,
) -> Result<Accepted, CeremonyCommandError> {
    for officer in officers {
        let name = &officer.public().name;
        let signature = sign(officer, proposal.text());
        match proposal.sign(name, &signature) {
            Ok(()) => narrator.say(&format!(
                "{name} accepts the ledger and the new TPM by signature."
            )),
            Err(error) => narrator.say(&format!("Not counted: {error}.")),
        }
    }
    Ok(proposal.complete()?)
}

/// Writes all new files into `.restoring`.
fn prepare(
    work: &DataFolder,
    tcti: &str,
    accepted: &Accepted,
    made: &TpmFile,
    authorisations: &StaticCapsule,
    narrator: &mut dyn Narrator,
) -> Result<(), CeremonyCommandError> {
    let (keyring, secrets) = (accepted.keyring(), accepted.secrets());
    let folder = DataFolder::at(&work.join(journal::PREPARING));
    narrator.step("write the static capsule for the new TPM")?;
    durable::create_folder(folder.path())?;
    let capsule = authorisations.seal(keyring.box_id, &keyring.recovery)?;
    durable::replace(&folder.join(boxfiles::STATIC_CAPSULE), &capsule)?;
    narrator.step("write keyring and capsule for the new TPM")?;
    folder.write_keyring(&keyring.seal(&box_secret(&secrets.sealed, &secrets.anchor))?)?;
    narrator.step("write the signed succession and the public files")?;
    durable::replace(
        &folder.join(journal::SUCCESSION),
        &accepted.signed().to_json(),
    )?;
    folder.write_json(boxfiles::TPM, made)?;
    if let Some(key) = keyring.current_spool_key() {
        folder.write_spool_key(&key.opening().sealing_key())?;
    }
    let (box_id, officers) = (keyring.box_id, keyring.officers.clone());
    let officers = OfficersFile {
        box_id,
        recovery: keyring.recovery.fingerprint(),
        officers,
    };
    folder.write_json(boxfiles::OFFICERS, &officers)?;
    let mut config: BoxConfig = work.config()?;
    tcti.clone_into(&mut config.tpm.tcti);
    if !work.join(&config.tls.key).exists() {
        narrator.step("make a TLS key and a self-signed certificate, for a backup holds none: put yours in their place")?;
        tls::write(work, &config)?;
    }
    durable::replace(&folder.join(boxfiles::CONFIG), config.to_toml().as_bytes())?;
    Ok(())
}

fn rename_stage(
    stage: &Path,
    data: &Path,
    narrator: &mut dyn Narrator,
) -> Result<(), CeremonyCommandError> {
    narrator.step("make the copied folder the data folder")?;
    durable::let_through(stage)?;
    fs::rename(stage, data).map_err(at("rename", stage))?;
    Ok(durable::sync_folder_of(data)?)
}
