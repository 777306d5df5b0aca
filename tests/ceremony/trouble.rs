//! Restores that come at the wrong time, or from damaged files.

use crate::support::{Cutter, Scene, copy, open_box};
use hsm_sim::Firmware;
use std::fs;
use strongroom::boxfiles::{self, DataFolder};
use strongroom::cli::ceremony::CeremonyCommandError;
use strongroom::tpm::Tpm;

#[test]
fn a_restore_after_the_cap_of_this_boot_is_refused_until_the_next() {
    let (scene, mut sim) = Scene::founded();
    let data = scene.path("data");
    let file = DataFolder::at(&data).tpm().expect("tpm.json");
    let mut tpm = Tpm::open(&sim.tcti()).expect("a TPM");
    tpm.pin(&file.storage_root_key).expect("its key");
    tpm.cap_pcr(12).expect("capped, as serve does");
    drop(tpm);
    let early = scene.restored_by(&[0, 1], &sim);
    assert!(
        matches!(early, Err(CeremonyCommandError::Capped(12))),
        "{early:?}"
    );
    sim.power_off();
    sim.boot(Firmware::Good).expect("boots");
    open_box(&data, &sim).expect("nothing was changed");
    scene.restored_by(&[0, 1], &sim).expect("resealed");
    sim.power_off();
    sim.boot(Firmware::Good).expect("boots");
    open_box(&data, &sim).expect("opens after the next boot");
}

#[test]
fn a_folder_that_somebody_works_on_is_left_alone() {
    let (scene, sim) = Scene::founded();
    let data = DataFolder::at(&scene.path("data"));
    let alone = data.lock_alone().expect("as serve does");
    let refused = scene.restored_by(&[0, 1], &sim);
    let refused = refused.expect_err("it runs").to_string();
    assert!(refused.contains("stop it first"), "{refused}");
    drop(alone);
    open_box(data.path(), &sim).expect("nothing was changed");
}

#[test]
fn a_decided_restore_outlives_a_passing_error() {
    let (scene, second) = Scene::bereft();
    let data = scene.path("data");
    scene.decide(&second);
    // No file can be written into it for now.
    let transcripts = data.join(boxfiles::TRANSCRIPTS);
    fs::rename(&transcripts, scene.path("aside")).expect("moved");
    fs::write(&transcripts, "").expect("a file in its place");
    let goes_on = || scene.restore(&second, ("data", None), Vec::new(), &mut Cutter::never());
    let stopped = goes_on().expect_err("an error of the disk");
    assert!(
        matches!(stopped, CeremonyCommandError::File(_)),
        "{stopped}"
    );
    assert!(data.join(boxfiles::RESTORED).exists());
    fs::remove_file(&transcripts).expect("removed");
    fs::rename(scene.path("aside"), &transcripts).expect("moved back");
    goes_on().expect("it goes on, without officers");
    open_box(&data, &second).expect("restored");
}

#[test]
fn damage_to_charter_or_backup_is_called_that() {
    let (scene, first) = Scene::founded();
    drop(first);
    let (data, backup) = (scene.path("data"), scene.path("backup"));
    copy(&data, &backup);
    let second = scene.sim("new tpm");
    let try_it = |from| {
        let place = if from {
            ("new", Some("backup"))
        } else {
            ("data", None)
        };
        let refused = scene.restore(&second, place, scene.keys(&[0, 1]), &mut Cutter::never());
        refused.expect_err("damaged").to_string()
    };

    let charter = data.join(boxfiles::CHARTER);
    let good = fs::read_to_string(&charter).expect("a charter");
    fs::write(
        &charter,
        good.replacen("subsets_tested", "subsets_tasted", 1),
    )
    .expect("written");
    let said = try_it(false);
    assert!(said.contains("charter.json is damaged"), "{said}");

    let list = backup.join(boxfiles::BACKUP_LIST);
    let sum = strongroom::id::Digest::of(b"something else");
    fs::write(&list, format!("{sum}  keyring\n")).expect("written");
    let said = try_it(true);
    assert!(said.contains("keyring is missing, or not what"), "{said}");
    assert!(said.contains(&backup.display().to_string()), "{said}");

    fs::remove_file(&list).expect("removed");
    fs::remove_dir_all(backup.join("transcript")).expect("removed");
    let said = try_it(true);
    assert!(said.contains("it has no transcript/charter.json"), "{said}");
    let health = Tpm::open(&second.tcti()).expect("a TPM").health();
    assert!(
        !health.expect("health").owner_auth_set,
        "it was not touched"
    );
}
