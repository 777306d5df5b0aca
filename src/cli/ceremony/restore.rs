//! Restoring a box from its data (or a backup of it) and m officers, on a new TPM or the same one.

use super::found::vacant;
use super::{CeremonyCommandError, Narrator, journal, ledger, machine};
use crate::boxfiles::{self, BoxConfig, DataFolder, OfficersFile, TpmFile};
use crate::ceremony::{
    Accepted, Gathering, Opened, Proposal, RestoreFacts, Signed, Succession, TpmSecrets,
    open_share, sign,
};
use crate::durable::{self, at};
use crate::id::{BoxId, Digest};
use crate::keyring::{StaticCapsule, TreeHead, box_secret};
use crate::ledger::{Head, Ledger};
use crate::officer::OfficerKey;
use crate::policy::ValidPolicy;
use crate::time::Clock;
use crate::tpm::{Tpm, TpmError};
use serde::Serialize;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
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
    let stage = stage_of(&request.data);
    narrator.step("connect to the TPM")?;
    let mut tpm = machine::connect(&request.tcti)?;
    let staged = journal::decided(&stage) || journal::decided(data.path());
    if journal::decided(&stage) {
        rename_stage(&stage, &request.data, narrator)?;
    }
    if journal::decided(data.path()) {
        narrator.say("An earlier restore was decided and then cut off; it goes on.");
        match journal::finish(&data, &mut tpm, clock, narrator) {
            Ok((succession, head)) => {
                machine::part(tpm, narrator);
                return Ok(report(&request, &succession, head));
            }
            Err(error @ CeremonyCommandError::Interrupted(_)) => return Err(error),
            Err(error) => narrator.say(&format!("It cannot go on ({error}); a new one begins.")),
        }
        journal::forget(&data)?;
    }
    // If a stage became the data folder above, the backup is in it already.
    let from = request.from.as_deref().filter(|_| !staged);
    let work = match from {
        Some(backup) => {
            vacant(&request.data)?;
            narrator.step("copy the backup")?;
            copy_tree(backup, &stage)?;
            DataFolder::at(&stage)
        }
        None => DataFolder::open(&request.data)?,
    };
    decide_in(&work, &request, &mut tpm, clock, narrator, accept)?;
    if from.is_some() {
        rename_stage(&stage, &request.data, narrator)?;
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
    let opened = gather(work, &request.officers, narrator)?;
    let policy = policy_of(work, &opened)?;
    let old_tpm = work.tpm()?;
    let ledger_head = heads(work, &old_tpm.ledger, &opened, narrator)?;
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
    officers: &[OfficerKey],
    narrator: &mut dyn Narrator,
) -> Result<Opened, CeremonyCommandError> {
    let signed = Signed::parse(&durable::read(&work.join(boxfiles::CHARTER), 1 << 20)?)?;
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

fn policy_of(work: &DataFolder, opened: &Opened) -> Result<ValidPolicy, CeremonyCommandError> {
    let policy = work.policy()?;
    if policy.digest() == opened.keyring().policy {
        Ok(policy)
    } else {
        Err(CeremonyCommandError::OtherPolicy(
            work.join(boxfiles::POLICY),
        ))
    }
}

/// Compares the ledger at hand with what the capsule has seen, and shows both.
fn heads(
    work: &DataFolder,
    origin: &str,
    opened: &Opened,
    narrator: &mut dyn Narrator,
) -> Result<TreeHead, CeremonyCommandError> {
    let ledger = Ledger::open(&work.join(boxfiles::LEDGER), origin)?;
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
    durable::replace(&folder.join(boxfiles::CONFIG), config.to_toml().as_bytes())?;
    Ok(())
}

/// `DATA.restoring`, where a backup becomes a data folder.
fn stage_of(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    data.with_file_name(name)
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

/// Copies files and folders durably, in place of what an interrupted copy left. Sockets and pid files
/// (`run`) are not data.
fn copy_tree(from: &Path, to: &Path) -> Result<(), CeremonyCommandError> {
    durable::create_folder(to)?;
    for entry in fs::read_dir(from).map_err(at("read", from))? {
        let entry = entry.map_err(at("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(at("read", &source))?;
        if entry.file_name() == boxfiles::RUN {
            continue;
        } else if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(at("copy", &source))?;
            // Whatever the backup's file system made of it.
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600))
                .map_err(at("set the mode of", &target))?;
            let copied = File::open(&target).map_err(at("open", &target))?;
            copied.sync_all().map_err(at("sync", &target))?;
        } else {
            return Err(CeremonyCommandError::StrangeFile(source));
        }
    }
    Ok(durable::sync_folder_of(&to.join("."))?)
}
