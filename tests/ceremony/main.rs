//! Founding and restoring with a real TPM 2.0 in software, cut off before every step.

mod trouble;

use hsm_sim::{Firmware, Sim};
use std::fs;
use std::path::{Path, PathBuf};
use strongroom::boxfiles::{self, DataFolder};
use strongroom::ceremony::Signed;
use strongroom::cli::ceremony::{
    CeremonyCommandError, FoundReport, FoundRequest, Narrator, RestoreReport, RestoreRequest,
    found, restore,
};
use strongroom::keyring::{Keyring, KeyringError, NvAuth, box_secret, nv_auth};
use strongroom::ledger::{Event, Ledger};
use strongroom::officer::{Cost, OfficerFile, OfficerKey};
use strongroom::policy::DEMO;
use strongroom::secret::SecretBytes;
use strongroom::time::SystemClock;
use strongroom::tpm::{Slot, Tpm, TpmError};

/// Stops a ceremony before its step number `left`, as a power cut would; remembers what was said.
struct Cutter {
    left: usize,
    said: String,
}

impl Cutter {
    fn after(steps: usize) -> Self {
        Self {
            left: steps,
            said: String::new(),
        }
    }

    fn never() -> Self {
        Self::after(usize::MAX)
    }
}

impl Narrator for Cutter {
    fn step(&mut self, text: &str) -> Result<(), CeremonyCommandError> {
        if self.left == 0 {
            return Err(CeremonyCommandError::Interrupted(text.to_owned()));
        }
        self.left -= 1;
        Ok(())
    }

    fn say(&mut self, text: &str) {
        self.said.push_str(text);
        self.said.push('\n');
    }
}

/// A folder with a TPM and three officers' files.
struct Scene {
    folder: tempfile::TempDir,
    officers: Vec<OfficerFile>,
}

impl Scene {
    fn new() -> Self {
        let cheap = Cost {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        };
        let make = |name: &str| {
            OfficerFile::create(name.parse().expect("name"), &passphrase(), cheap).expect("file")
        };
        Self {
            folder: tempfile::tempdir().expect("folder"),
            officers: ["Ada", "Ben", "Cleo"].map(make).to_vec(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sim(&self, name: &str) -> Sim {
        Sim::start(&self.path(name)).expect("a TPM")
    }

    fn keys(&self, which: &[usize]) -> Vec<OfficerKey> {
        which
            .iter()
            .map(|index| {
                self.officers[*index]
                    .unlock(&passphrase())
                    .expect("unlocks")
            })
            .collect()
    }

    fn found(&self, sim: &Sim, narrator: &mut Cutter) -> Result<FoundReport, CeremonyCommandError> {
        let request = FoundRequest {
            data: self.path("data"),
            policy: DEMO.to_owned(),
            policy_name: "demo.toml".to_owned(),
            tcti: sim.tcti(),
            hostname: "archive.example".to_owned(),
            officers: self.keys(&[0, 1, 2]),
        };
        found(request, &SystemClock, narrator)
    }

    fn restore(
        &self,
        sim: &Sim,
        (data, from): (&str, Option<&str>),
        officers: Vec<OfficerKey>,
        narrator: &mut Cutter,
    ) -> Result<RestoreReport, CeremonyCommandError> {
        let from = from.map(|from| self.path(from));
        let request = RestoreRequest {
            data: self.path(data),
            from,
            tcti: sim.tcti(),
            officers,
        };
        restore(request, &SystemClock, narrator, &mut |_| Ok(()))
    }
}

fn passphrase() -> SecretBytes {
    SecretBytes::new(b"correct horse".to_vec())
}

/// Opens the box as a start does.
fn open_box(data: &Path, sim: &Sim) -> Result<Keyring, CeremonyCommandError> {
    open_keyring(data, &DataFolder::open(data)?.keyring()?, sim)
}

fn open_keyring(data: &Path, keyring: &[u8], sim: &Sim) -> Result<Keyring, CeremonyCommandError> {
    let file = DataFolder::open(data)?.tpm()?;
    let mut tpm = Tpm::open(&sim.tcti())?;
    tpm.pin(&file.storage_root_key)?;
    let sealed = tpm.unseal(&file.sealed_secret)?;
    let anchor = tpm
        .read_anchor(Slot::A, &nv_auth(&sealed, NvAuth::Anchor))?
        .expect("an anchor");
    Ok(Keyring::open_with_box_secret(
        keyring,
        &box_secret(&sealed, &anchor),
    )?)
}

fn events(data: &Path) -> Vec<Event> {
    let file = DataFolder::at(data).tpm().expect("tpm.json");
    let ledger = Ledger::open(&data.join(boxfiles::LEDGER), &file.ledger).expect("ledger");
    let size = ledger.tree().size();
    assert_eq!(
        ledger.checkpoint().map(|checkpoint| checkpoint.head().size),
        Some(size)
    );
    let entries = ledger.tree().entries(0..size);
    entries
        .map(|entry| entry.expect("entry").entry.event)
        .collect()
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp");
    assert!(done.success());
}

#[test]
fn a_founding_cut_off_before_any_step_leaves_nothing_half_founded() {
    let scene = Scene::new();
    let mut sim = scene.sim("tpm");
    let mut cuts = 0;
    let report = loop {
        match scene.found(&sim, &mut Cutter::after(cuts)) {
            Ok(report) => break report,
            Err(CeremonyCommandError::Interrupted(_)) => {}
            Err(error) => panic!("after {cuts} steps: {error}"),
        }
        assert!(
            !scene.path("data").exists(),
            "half founded after {cuts} steps"
        );
        if cuts % 4 == 0 {
            sim.power_off();
            sim.boot(Firmware::Good).expect("boots");
        }
        cuts += 1;
    };
    assert!(cuts > 15, "the steps are fine enough: {cuts}");
    assert_eq!((report.subsets_tested, report.required), (3, 2));
    assert!(!scene.path("data.founding").exists() && !scene.path("data/founding.json").exists());
    let data = scene.path("data");
    let keyring = open_box(&data, &sim).expect("the TPM opens the keyring");
    assert_eq!((keyring.box_id, keyring.head.size), (report.box_id, 1));
    assert!(
        matches!(events(&data).as_slice(), [Event::Founded { transcript, .. }] if *transcript == report.charter)
    );
    let charter =
        Signed::parse(&fs::read(data.join(boxfiles::CHARTER)).expect("read")).expect("charter");
    let officers = charter.charter().expect("text");
    assert_eq!(
        charter.signers(officers.officers()).len(),
        3,
        "every officer signed"
    );
    let again = scene
        .found(&sim, &mut Cutter::never())
        .expect_err("a box is there");
    assert!(matches!(again, CeremonyCommandError::AlreadyFounded(_)));
}

#[test]
fn a_founded_tpm_is_not_taken_by_another_founding() {
    let scene = Scene::new();
    let sim = scene.sim("tpm");
    scene.found(&sim, &mut Cutter::never()).expect("founded");
    fs::rename(scene.path("data"), scene.path("elsewhere")).expect("moved");
    let refused = scene.found(&sim, &mut Cutter::never()).expect_err("taken");
    assert!(
        matches!(refused, CeremonyCommandError::TpmTaken),
        "{refused}"
    );
    open_box(&scene.path("elsewhere"), &sim).expect("the box is as it was");
}

#[test]
fn a_restore_on_a_fresh_tpm_survives_a_cut_before_any_step() {
    // O2
    let scene = Scene::new();
    let first = scene.sim("tpm");
    let founded = scene.found(&first, &mut Cutter::never()).expect("founded");
    let old = open_box(&scene.path("data"), &first).expect("opens");
    drop(first);
    let second = scene.sim("new tpm");
    let mut cuts = 0;
    let report = loop {
        match scene.restore(
            &second,
            ("data", None),
            scene.keys(&[0, 2]),
            &mut Cutter::after(cuts),
        ) {
            Ok(report) => break report,
            Err(CeremonyCommandError::Interrupted(_)) => cuts += 1,
            Err(error) => panic!("after {cuts} steps: {error}"),
        }
    };
    assert_eq!(report.old_box, founded.box_id);
    assert_ne!(report.new_box, founded.box_id);
    let data = scene.path("data");
    let keyring = open_box(&data, &second).expect("the new TPM opens it");
    let main = "main".parse().expect("tenant");
    assert_eq!(
        keyring.tenants[&main].archive[&1].expose(),
        old.tenants[&main].archive[&1].expose()
    );
    let events = events(&data);
    let last = events.last().expect("entries");
    assert!(matches!(last, Event::Restored { new_box, .. } if *new_box == report.new_box));
    assert_eq!(events.len() as u64, report.ledger_size);
    assert!(!data.join(boxfiles::RESTORED).exists() && !data.join(".restoring").exists());
}

#[test]
fn a_restore_decided_and_cut_off_goes_on_without_officers() {
    let scene = Scene::new();
    let first = scene.sim("tpm");
    scene.found(&first, &mut Cutter::never()).expect("founded");
    drop(first);
    let second = scene.sim("new tpm");
    let data = scene.path("data");
    let mut cuts = 0;
    while !data.join(boxfiles::RESTORED).exists() {
        let cut = scene.restore(
            &second,
            ("data", None),
            scene.keys(&[0, 2]),
            &mut Cutter::after(cuts),
        );
        assert!(matches!(cut, Err(CeremonyCommandError::Interrupted(_))));
        cuts += 1;
    }
    assert!(
        DataFolder::open(&data).is_err(),
        "nothing else uses the folder now"
    );
    for steps in 1..20 {
        if scene
            .restore(
                &second,
                ("data", None),
                Vec::new(),
                &mut Cutter::after(steps),
            )
            .is_ok()
        {
            break;
        }
    }
    open_box(&data, &second).expect("restored");
    let restored = events(&data)
        .into_iter()
        .filter(|event| matches!(event, Event::Restored { .. }))
        .count();
    assert_eq!(restored, 1, "recorded once");
}

#[test]
fn one_officer_is_too_few_and_a_stranger_stops_nobody() {
    let (scene, other) = (Scene::new(), Scene::new());
    let first = scene.sim("tpm");
    scene.found(&first, &mut Cutter::never()).expect("founded");
    drop(first);
    let second = scene.sim("new tpm");
    let refused = scene.restore(
        &second,
        ("data", None),
        scene.keys(&[1]),
        &mut Cutter::never(),
    );
    assert!(
        refused
            .expect_err("one of two")
            .to_string()
            .starts_with("1 of 2 officers")
    );
    let mut officers = other.keys(&[0]); // also called Ada, with other keys
    officers.extend(scene.keys(&[1, 2]));
    let mut narrator = Cutter::never();
    scene
        .restore(&second, ("data", None), officers, &mut narrator)
        .expect("two good ones suffice");
    assert!(
        narrator
            .said
            .contains("Not counted: Ada's officer file has other keys"),
        "{}",
        narrator.said
    );
}

#[test]
fn a_bad_sealed_share_and_a_bad_signature_are_named() {
    let scene = Scene::new();
    let first = scene.sim("tpm");
    scene.found(&first, &mut Cutter::never()).expect("founded");
    drop(first);
    let path = scene.path("data").join(boxfiles::CHARTER);
    let mut signed = Signed::parse(&fs::read(&path).expect("read")).expect("charter");
    let ada = scene.officers[0].public().name.clone();
    let bens = signed.signatures[&scene.officers[1].public().name].clone();
    signed.signatures.insert(ada, bens);
    fs::write(&path, signed.to_json()).expect("write");
    let second = scene.sim("new tpm");
    let mut narrator = Cutter::never();
    scene
        .restore(
            &second,
            ("data", None),
            scene.keys(&[0, 1, 2]),
            &mut narrator,
        )
        .expect("two good ones suffice");
    assert!(
        narrator
            .said
            .contains("Not counted: Ada's signature is bad"),
        "{}",
        narrator.said
    );
}

#[test]
fn changed_measurements_lock_the_box_until_a_restore_on_the_same_tpm() {
    let scene = Scene::new();
    let mut sim = scene.sim("tpm");
    let founded = scene.found(&sim, &mut Cutter::never()).expect("founded");
    let data = scene.path("data");
    let older = fs::read(data.join(boxfiles::KEYRING)).expect("read");
    sim.power_off();
    sim.boot(Firmware::Updated).expect("boots");
    let locked = open_box(&data, &sim).expect_err("other measurements");
    assert!(
        matches!(
            locked,
            CeremonyCommandError::Tpm(TpmError::PcrMismatch { .. })
        ),
        "{locked}"
    );
    let report = scene
        .restore(
            &sim,
            ("data", None),
            scene.keys(&[1, 2]),
            &mut Cutter::never(),
        )
        .expect("resealed");
    assert_eq!(
        (report.old_box, report.new_box),
        (founded.box_id, founded.box_id),
        "the same TPM, the same box"
    );
    open_box(&data, &sim).expect("opens again");
    let old = open_keyring(&data, &older, &sim).expect_err("an older keyring");
    assert!(
        matches!(
            old,
            CeremonyCommandError::Keyring(KeyringError::OtherBoxSecret)
        ),
        "{old}"
    );
}

#[test]
fn a_backup_is_restored_into_an_empty_folder_and_stays_as_it_is() {
    let scene = Scene::new();
    let first = scene.sim("tpm");
    scene.found(&first, &mut Cutter::never()).expect("founded");
    drop(first);
    copy(&scene.path("data"), &scene.path("backup"));
    let occupied = scene.sim("new tpm");
    let refused = scene.restore(
        &occupied,
        ("data", Some("backup")),
        scene.keys(&[0, 1]),
        &mut Cutter::never(),
    );
    assert!(matches!(
        refused,
        Err(CeremonyCommandError::AlreadyFounded(_))
    ));
    let mut cuts = 0;
    loop {
        let narrator = &mut Cutter::after(cuts);
        match scene.restore(
            &occupied,
            ("new", Some("backup")),
            scene.keys(&[0, 1]),
            narrator,
        ) {
            Ok(_) => break,
            Err(CeremonyCommandError::Interrupted(_)) => cuts += 3,
            Err(error) => panic!("after {cuts} steps: {error}"),
        }
    }
    open_box(&scene.path("new"), &occupied).expect("restored");
    assert_eq!(
        events(&scene.path("backup")).len(),
        1,
        "the backup was only read"
    );
    assert!(!scene.path("new.restoring").exists());
}

#[test]
fn data_older_than_the_capsule_is_refused() {
    let scene = Scene::new();
    let mut sim = scene.sim("tpm");
    scene.found(&sim, &mut Cutter::never()).expect("founded");
    let data = scene.path("data");
    copy(&data.join(boxfiles::LEDGER), &scene.path("old ledger"));
    // Two restores: the second's keyring has seen the first one's entry.
    for _ in 0..2 {
        sim.power_off();
        sim.boot(Firmware::Updated).expect("boots");
        scene
            .restore(
                &sim,
                ("data", None),
                scene.keys(&[1, 2]),
                &mut Cutter::never(),
            )
            .expect("resealed");
    }
    fs::remove_dir_all(data.join(boxfiles::LEDGER)).expect("removed");
    copy(&scene.path("old ledger"), &data.join(boxfiles::LEDGER));
    let refused = scene.restore(
        &sim,
        ("data", None),
        scene.keys(&[1, 2]),
        &mut Cutter::never(),
    );
    assert!(matches!(
        refused,
        Err(CeremonyCommandError::DataTooOld {
            capsule: 2,
            ledger: 1
        })
    ));
}
