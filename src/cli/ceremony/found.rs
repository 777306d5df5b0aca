//! Founding a box. Everything is prepared in `DATA.founding` and becomes the data folder by one rename.
//!
//! The TPM cannot be renamed into place: once its owner authorisation is set, only who knows the value
//! can go on. So before the TPM is touched, the value is written down in `founding.json`, sealed to a recovery
//! key whose shares these officers hold; a founding that was cut off is run again by the same officers
//! and finds it there.

use super::{CeremonyCommandError, Narrator, ledger, machine, names, tls};
use crate::boxfiles::{self, BoxConfig, DataFolder, OfficersFile, TpmFile};
use crate::ceremony::{Dealing, Dealt, Proposed, Proven, TpmSecrets, Unsigned, open_share, sign};
use crate::crypto::hpke::{OpeningKey, SealingKey};
use crate::crypto::shares;
use crate::durable::{self, at};
use crate::id::{BoxId, Digest};
use crate::keyring::{Keyring, NvAuth, StaticCapsule, box_secret, nv_auth};
use crate::ledger::{Event, Ledger};
use crate::officer::{OfficerKey, OfficerName};
use crate::policy::ValidPolicy;
use crate::time::Clock;
use crate::tpm::Tpm;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What a founding needs.
pub struct FoundRequest {
    /// The data folder to make.
    pub data: PathBuf,
    /// The policy's text.
    pub policy: String,
    /// The policy's file name, for errors.
    pub policy_name: String,
    /// TPM address.
    pub tcti: String,
    /// The name in greetings and certificate.
    pub hostname: String,
    /// All n officers, unlocked.
    pub officers: Vec<OfficerKey>,
}

/// What a founding made.
#[derive(Debug, Clone, Serialize)]
pub struct FoundReport {
    /// The box.
    pub box_id: BoxId,
    /// The data folder.
    pub data: PathBuf,
    /// m.
    pub required: u8,
    /// The officers.
    pub officers: Vec<OfficerName>,
    /// How many subsets of shares opened the test capsule.
    pub subsets_tested: u32,
    /// SHA-256 of the recovery key's public half.
    pub recovery_key: Digest,
    /// SHA-256 of the signed charter.
    pub charter: Digest,
    /// The ledger's name in its checkpoints.
    pub ledger: String,
}

impl fmt::Display for FoundReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The box is founded.")?;
        writeln!(f, "Box:           {}", self.box_id)?;
        writeln!(f, "Data folder:   {}", self.data.display())?;
        writeln!(
            f,
            "Officers:      {} (any {} together)",
            names(&self.officers),
            self.required
        )?;
        writeln!(
            f,
            "Proved:        {} quorums opened the test capsule",
            self.subsets_tested
        )?;
        writeln!(f, "Recovery key:  {}", self.recovery_key)?;
        writeln!(f, "Charter:       {}", self.charter)?;
        writeln!(f, "Ledger:        {}", self.ledger)
    }
}

/// Founds a box.
pub fn found(
    request: FoundRequest,
    clock: &dyn Clock,
    narrator: &mut dyn Narrator,
) -> Result<FoundReport, CeremonyCommandError> {
    vacant(&request.data)?;
    let policy = ValidPolicy::parse(&request.policy, &request.policy_name)?;
    for warning in policy.warnings() {
        narrator.say(&format!("Warning: {warning}"));
    }
    let publics = request
        .officers
        .iter()
        .map(|officer| officer.public().clone())
        .collect();
    let proposed = Proposed::new(policy.clone(), publics)?;
    let scratch = Scratch::beside(&request.data);
    narrator.step("connect to the TPM")?;
    let mut tpm = machine::connect(&request.tcti)?;
    let authorisations = authorisations(&mut tpm, &scratch, &request.officers, narrator)?;

    let dealt = proposed.deal(BoxId::random())?;
    narrator.step("write down what a second attempt would need")?;
    scratch.begin(&dealt, &authorisations)?;
    let proven = take_shares_back(dealt, &request.officers, narrator)?;

    let secrets = TpmSecrets::generate();
    let identity = (proven.box_id(), boxfiles::ledger_origin(proven.box_id()));
    let made = machine::take(
        &mut tpm,
        &authorisations,
        &secrets,
        policy.pcrs(),
        identity,
        narrator,
    )?;
    let unsigned = proven.charter(machine::facts(&made), secrets, clock.now());
    let report = write_box(
        &request,
        unsigned,
        &made,
        &authorisations,
        &scratch,
        &mut tpm,
        clock,
        narrator,
    )?;

    narrator.step("make the prepared folder the data folder: from here on the box is founded")?;
    scratch.commit(&request.data)?;
    machine::part(tpm, narrator);
    Ok(report)
}

/// Every officer opens the own share and gives it back; every quorum is tried.
fn take_shares_back(
    mut dealt: Dealt,
    officers: &[OfficerKey],
    narrator: &mut dyn Narrator,
) -> Result<Proven, CeremonyCommandError> {
    for officer in officers {
        let name = &officer.public().name;
        let dealing = dealt.dealing(name)?;
        let share = open_share(dealing, dealt.box_id(), dealt.recovery(), officer)?;
        dealt.take_back(name, share)?;
        narrator.say(&format!(
            "{name} opened share {} and gave it back.",
            dealt.dealing(name)?.number
        ));
    }
    let proven = dealt.prove()?;
    narrator.say(&format!(
        "All {} quorums opened the test capsule.",
        proven.subsets_tested()
    ));
    Ok(proven)
}

/// Signatures, the ledger's first entry, and all files, in the scratch folder.
#[allow(clippy::too_many_arguments)]
fn write_box(
    request: &FoundRequest,
    mut unsigned: Unsigned,
    made: &TpmFile,
    authorisations: &StaticCapsule,
    scratch: &Scratch,
    tpm: &mut Tpm,
    clock: &dyn Clock,
    narrator: &mut dyn Narrator,
) -> Result<FoundReport, CeremonyCommandError> {
    for officer in &request.officers {
        let signature = sign(officer, unsigned.text());
        unsigned.sign(&officer.public().name, &signature)?;
        narrator.say(&format!("{} signed the charter.", officer.public().name));
    }
    let founded = unsigned.complete()?;
    let charter = founded.charter().clone();
    let signed = founded.signed().clone();

    narrator.step("write the ledger's first entry and have the TPM sign it")?;
    let folder = &scratch.0;
    let mut ledger = Ledger::create(&folder.join(boxfiles::LEDGER), &made.ledger)?;
    let sealed = tpm.unseal(&made.sealed_secret)?;
    let event = Event::Founded {
        box_id: charter.box_id,
        policy: charter.policy,
        recovery_key: charter.recovery.fingerprint(),
        transcript: signed.digest(),
        signers: ledger::signers(made, founded.keyring())?,
        counter: Some(tpm.read_counter(&nv_auth(&sealed, NvAuth::Counter))?),
    };
    let signing = (&mut *tpm, made, founded.keyring());
    let head = ledger::record(&mut ledger, event, signing, clock.now())?;

    narrator.step("write keyring and capsule, one file")?;
    let (keyring, secrets) = founded.with_head(head);
    let sealed = keyring.seal(&box_secret(&secrets.sealed, &secrets.anchor))?;
    folder.write_keyring(&sealed)?;
    narrator.step("write the static capsule")?;
    let capsule = authorisations.seal(charter.box_id, &charter.recovery)?;
    durable::replace(&folder.join(boxfiles::STATIC_CAPSULE), &capsule)?;
    narrator.step("write the charter with its signatures")?;
    durable::create_folder(&folder.join(boxfiles::TRANSCRIPTS))?;
    durable::replace(&folder.join(boxfiles::CHARTER), &signed.to_json())?;
    narrator.step("write what the TPM made")?;
    folder.write_json(boxfiles::TPM, made)?;
    narrator.step("write policy, officers and configuration")?;
    write_public_files(request, folder, &keyring)?;
    narrator.step("open the keyring once by the TPM alone")?;
    machine::open_keyring(tpm, made, &folder.keyring()?)?;
    Ok(FoundReport {
        box_id: charter.box_id,
        data: request.data.clone(),
        required: charter.required,
        officers: charter
            .officers()
            .map(|officer| officer.name.clone())
            .collect(),
        subsets_tested: charter.subsets_tested,
        recovery_key: charter.recovery.fingerprint(),
        charter: signed.digest(),
        ledger: made.ledger.clone(),
    })
}

fn write_public_files(
    request: &FoundRequest,
    folder: &DataFolder,
    keyring: &Keyring,
) -> Result<(), CeremonyCommandError> {
    durable::replace(&folder.join(boxfiles::POLICY), request.policy.as_bytes())?;
    let officers = OfficersFile {
        box_id: keyring.box_id,
        recovery: keyring.recovery.fingerprint(),
        officers: keyring.officers.clone(),
    };
    folder.write_json(boxfiles::OFFICERS, &officers)?;
    if let Some(key) = keyring.current_spool_key() {
        folder.write_spool_key(&key.opening().sealing_key())?;
    }
    let config = BoxConfig::new(&request.tcti, &request.hostname);
    tls::write(folder, &config)?;
    for spool in &config.spool.folders {
        durable::create_folder(&folder.join(spool))?;
    }
    durable::replace(&folder.join(boxfiles::CONFIG), config.to_toml().as_bytes())?;
    Ok(())
}

/// Refuses a folder with anything in it.
pub(super) fn vacant(data: &Path) -> Result<(), CeremonyCommandError> {
    if data.join(boxfiles::CONFIG).exists() {
        return Err(CeremonyCommandError::AlreadyFounded(data.to_owned()));
    }
    match fs::read_dir(data).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => Err(CeremonyCommandError::NotEmpty(data.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at("read", data)(error).into()),
    }
}

/// The TPM's owner and lockout authorisation: fresh ones, or those of this founding's earlier attempt.
fn authorisations(
    tpm: &mut Tpm,
    scratch: &Scratch,
    officers: &[OfficerKey],
    narrator: &mut dyn Narrator,
) -> Result<StaticCapsule, CeremonyCommandError> {
    if !tpm.health()?.owner_auth_set {
        return Ok(machine::fresh_authorisations());
    }
    let earlier = scratch.attempt()?.ok_or(CeremonyCommandError::TpmTaken)?;
    narrator.say("An earlier founding was cut off; it begins anew on the same TPM.");
    earlier.authorisations(officers)
}

/// `founding.json`: what a second attempt needs. Secret only to those who hold m shares.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    box_id: BoxId,
    recovery: SealingKey,
    required: u8,
    shares: Vec<Dealing>,
    static_capsule: String,
}

impl Attempt {
    fn authorisations(
        &self,
        officers: &[OfficerKey],
    ) -> Result<StaticCapsule, CeremonyCommandError> {
        let taken = || CeremonyCommandError::TpmTaken;
        let mut opened = Vec::new();
        for officer in officers {
            let dealing = self
                .shares
                .iter()
                .find(|dealing| dealing.officer == *officer.public());
            if let Some(share) =
                dealing.and_then(|d| open_share(d, self.box_id, &self.recovery, officer).ok())
            {
                opened.push(share);
            }
        }
        let shares: Vec<_> = opened.iter().collect();
        let recovery = OpeningKey::from_seed(shares::combine(&shares).map_err(|_| taken())?);
        let file = data_encoding::BASE64
            .decode(self.static_capsule.as_bytes())
            .map_err(|_| taken())?;
        Ok(StaticCapsule::open(&file, &recovery)?.1)
    }
}

const ATTEMPT: &str = "founding.json";

/// `DATA.founding`.
struct Scratch(DataFolder);

impl Scratch {
    fn beside(data: &Path) -> Self {
        let mut name = data.file_name().unwrap_or_default().to_owned();
        name.push(".founding");
        Self(DataFolder::at(&data.with_file_name(name)))
    }

    /// What an earlier attempt wrote down, if it came that far.
    fn attempt(&self) -> Result<Option<Attempt>, CeremonyCommandError> {
        let read = durable::read_if_present(&self.0.join(ATTEMPT), 1 << 20)?;
        Ok(read.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// Writes this attempt down in place of an earlier one, then removes all else the earlier one left.
    fn begin(
        &self,
        dealt: &Dealt,
        authorisations: &StaticCapsule,
    ) -> Result<(), CeremonyCommandError> {
        let capsule = authorisations.seal(dealt.box_id(), dealt.recovery())?;
        let attempt = Attempt {
            box_id: dealt.box_id(),
            recovery: dealt.recovery().clone(),
            required: dealt.required(),
            shares: dealt.shares().to_vec(),
            static_capsule: data_encoding::BASE64.encode(&capsule),
        };
        let folder = self.0.path();
        durable::create_folder(folder)?;
        self.0.write_json(ATTEMPT, &attempt)?;
        for entry in fs::read_dir(folder).map_err(at("read", folder))? {
            let path = entry.map_err(at("read", folder))?.path();
            if path.file_name().is_some_and(|name| name == ATTEMPT) {
                continue;
            }
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(at("remove", &path))?;
        }
        Ok(())
    }

    /// Becomes the data folder.
    fn commit(&self, data: &Path) -> Result<(), CeremonyCommandError> {
        let folder = self.0.path();
        // To run/keeper.sock and run/lmtp.sock; all else in it is closed by its own mode.
        durable::let_through(folder)?;
        fs::rename(folder, data).map_err(at("rename", folder))?;
        durable::sync_folder_of(data)?;
        // The charter has all of it; left behind by a power cut it does no harm.
        durable::remove(&data.join(ATTEMPT))?;
        Ok(())
    }
}
