//! Backups at odd places and times, and what comes back of them.

use crate::support::{TestBox, numbered_mail, text};
use hsm_sim::Sim;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use strongroom::boxfiles::DataFolder;
use strongroom::ledger::{Event, Ledger};

const SEGMENT: &str = "vault/main/seg-00000001.seg";

fn refused(box_: &TestBox, folder: &Path, why: &str) {
    let said = box_.run(&format!("backup {}", folder.display()));
    assert!(!said.status.success());
    assert!(text(&said).contains(why), "{why}: {}", text(&said));
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[place] ^= 1;
    fs::write(path, bytes).expect("written");
}

// E4: a backup is whole, keeps what is good, and holds no secret in the clear.
#[test]
fn a_backup_keeps_good_bytes_and_leaves_secrets_out() {
    let mut box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    refused(
        &box_,
        &box_.data().join("copy"),
        "inside of the data folder",
    );
    let inside = box_.data().join("vault/copy/deeper");
    refused(&box_, &inside, "inside of the data folder");
    assert!(!box_.data().join("copy").exists() && !box_.data().join("vault/copy").exists());

    let folder = box_.file("backup");
    let backup = format!("backup {}", folder.display());
    box_.ok(&backup);
    assert!(!folder.join("tls").exists());
    let file = DataFolder::at(&folder).tpm().expect("tpm.json");
    let copied = Ledger::open(&folder.join("ledger"), &file.ledger).expect("a ledger");
    let head = copied.tree().head().expect("a head");

    // Damage here does not reach the copy.
    let (segment, copy) = (box_.data().join(SEGMENT), folder.join(SEGMENT));
    let good = fs::read(&copy).expect("a segment");
    flip(&segment, 100);
    refused(&box_, &folder, "seg-00000001.seg at offset 100");
    assert!(fs::read(&copy).expect("a segment") == good);
    flip(&segment, 100);
    // Nor is damage of the copy passed over.
    flip(&copy, 101);
    refused(&box_, &folder, "seg-00000001.seg at offset 101");
    flip(&copy, 101);

    let lock = File::open(&folder).expect("a folder");
    let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock);
    let lock = lock.map_err(|(_, error)| error).expect("a lock");
    refused(&box_, &folder, "another backup");
    drop(lock);

    box_.stop();
    let ledger = Ledger::open(&box_.data().join("ledger"), &file.ledger).expect("a ledger");
    let noted: Vec<_> = (0..ledger.tree().size())
        .filter_map(
            |index| match ledger.tree().entry(index).expect("one").entry.event {
                Event::Backup { head, .. } => Some(head),
                _ => None,
            },
        )
        .collect();
    assert_eq!(noted, [head]);

    // The mail lies on another disk.
    let disk = box_.file("disk");
    fs::rename(box_.data().join("vault"), &disk).expect("moved");
    symlink(&disk, box_.data().join("vault")).expect("a link");
    box_.start();
    box_.send(&numbered_mail(2));
    box_.wait_for_records(2);
    refused(&box_, &disk.join("backup"), "inside of the data folder");
    box_.ok(&backup);
    let now = fs::read(&copy).expect("a segment");
    assert!(now.len() > good.len() && now.starts_with(&good));
    box_.assert_no_panic();
}

// O2: a restore leaves a running box alone, and brings a backup without its TLS key to life.
#[test]
fn a_running_box_is_not_restored_and_a_backup_gets_a_new_tls_key() {
    let mut box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    let folder = box_.file("backup");
    box_.ok(&format!("backup {}", folder.display()));
    let officers = box_.officers(2);
    let (data, tcti) = (box_.data(), box_.machine.tcti());
    let restore = box_.run(&format!(
        "ceremony restore --data {} --tpm {tcti} --accept-head 1 {officers}",
        data.display()
    ));
    assert!(!restore.status.success());
    assert!(
        text(&restore).contains("stop it first"),
        "{}",
        text(&restore)
    );
    box_.ok("verify");
    box_.stop();

    box_.machine = Sim::start(&box_.file("machine2")).expect("a machine");
    fs::rename(&data, box_.file("lost")).expect("moved");
    let checkpoint = fs::read_to_string(folder.join("ledger/checkpoint")).expect("text");
    let head = checkpoint.lines().nth(1).expect("a size");
    let restore = format!(
        "ceremony restore --data {} --from {} --tpm {} --accept-head {head} {officers}",
        data.display(),
        folder.display(),
        box_.machine.tcti()
    );
    flip(&folder.join(SEGMENT), 100);
    let damaged = box_.run(&restore);
    assert!(!damaged.status.success());
    assert!(
        text(&damaged).contains("seg-00000001.seg"),
        "{}",
        text(&damaged)
    );
    flip(&folder.join(SEGMENT), 100);
    // What was copied of another backup may not mix with this one.
    let stale = data.with_file_name("box.restoring/ledger/stale");
    assert!(
        stale.parent().is_some_and(Path::is_dir),
        "where it is copied to"
    );
    fs::write(&stale, "of another backup").expect("written");
    box_.ok(&restore);
    assert!(!data.join("ledger/stale").exists());
    assert!(data.join("tls/key.pem").exists());
    box_.start();
    box_.ok("verify");
    box_.send(&numbered_mail(2));
    box_.wait_for_records(2);
    box_.assert_no_panic();
}
