//! Founding and restoring with a real TPM 2.0 in software, cut off before every step.

mod support;
mod trouble;

use hsm_sim::Firmware;
use std::fs;
use strongroom::boxfiles::{self, DataFolder};
use strongroom::ceremony::Signed;
use strongroom::cli::ceremony::CeremonyCommandError;
use strongroom::keyring::KeyringError;
use strongroom::ledger::Event;
use strongroom::tpm::TpmError;
use support::{Cutter, Scene, copy, events, open_box, open_keyring};

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
    let (scene, sim) = Scene::founded();
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
        match scene.restore_by(&[0, 2], &second, &mut Cutter::after(cuts)) {
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
    let (scene, second) = Scene::bereft();
    let data = scene.path("data");
    scene.decide(&second);
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
    let ((scene, second), other) = (Scene::bereft(), Scene::new());
    let refused = scene.restored_by(&[1], &second);
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
    let (scene, first) = Scene::founded();
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
        .restore_by(&[0, 1, 2], &second, &mut narrator)
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
    let report = scene.restored_by(&[1, 2], &sim).expect("resealed");
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
    let (scene, first) = Scene::founded();
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
    let (scene, mut sim) = Scene::founded();
    let data = scene.path("data");
    copy(&data.join(boxfiles::LEDGER), &scene.path("old ledger"));
    // Two restores: the second's keyring has seen the first one's entry.
    for _ in 0..2 {
        sim.power_off();
        sim.boot(Firmware::Updated).expect("boots");
        scene.restored_by(&[1, 2], &sim).expect("resealed");
    }
    fs::remove_dir_all(data.join(boxfiles::LEDGER)).expect("removed");
    copy(&scene.path("old ledger"), &data.join(boxfiles::LEDGER));
    let refused = scene.restored_by(&[1, 2], &sim);
    assert!(matches!(
        refused,
        Err(CeremonyCommandError::DataTooOld {
            capsule: 2,
            ledger: 1
        })
    ));
}
