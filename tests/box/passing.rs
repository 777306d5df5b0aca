//! Faults that pass, of disks and of the machine: what they stop goes on by itself, nothing is lost, and `status` names
//! them meanwhile.

use crate::support::disk::Disk;
use crate::support::tasks::Tasks;
use crate::support::{TestBox, numbered_mail, text};
use std::fs;
use std::time::Duration;

// I2, C6: the disk of the vault is not there when the keeper begins anew, as when a machine was booted without it. What is
// archived into the mount point would be hidden once it is back.
#[test]
fn mail_waits_for_the_disk_of_the_vault() {
    let mut box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    let (vault, aside) = (box_.data().join("vault"), box_.file("aside"));
    fs::rename(&vault, &aside).expect("moved");
    fs::create_dir(&vault).expect("a mount point");
    box_.kill("keeper");
    box_.send(&numbered_mail(2));
    box_.wait_until("a reason", || {
        let said = text(&box_.run("status"));
        said.contains("vault/main is missing") && said.contains("mount the disk")
    });
    fs::remove_dir(&vault).expect("nothing lies in it");
    fs::rename(&aside, &vault).expect("moved back");
    box_.wait_for_records(2);
    assert_eq!(box_.json("verify --json")["records"], 2);
    box_.stop();
    assert_eq!(box_.arrivals().len(), 2);
    box_.assert_no_panic();
}

// C1: a spool that takes no mail is told, until it does again; intake, which is confined to its folders, knows the disk
// that comes back.
#[test]
fn a_spool_that_takes_no_mail_is_told_and_taken_up_again() {
    let mut box_ = TestBox::running();
    box_.stop();
    let spool = box_.data().join("spool");
    let Some(disk) = Disk::mount(&spool, 4) else {
        return;
    };
    box_.start();
    disk.fill();
    let refused = || {
        let mut client = box_.smtp().expect("a connection");
        client
            .mail("anna@example.org", &numbered_mail(0))
            .expect("a reply")
    };
    assert!(refused().starts_with("452 "));
    let told = |why: &str| {
        let said = text(&box_.run("status"));
        said.contains(&format!("no mail is taken in: {why}"))
    };
    box_.wait_until("a warning", || told("the spool is full"));
    disk.clear();
    box_.wait_until("no warning", || box_.run("status").status.success());
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);

    drop(disk);
    assert!(refused().starts_with("451 "));
    box_.wait_until("a warning", || told("the disk of the spool folder"));
    let _disk = Disk::mount(&spool, 4).expect("mounted again");
    box_.wait_until("no warning", || box_.run("status").status.success());
    box_.send(&numbered_mail(2));
    box_.wait_for_records(2);
    box_.assert_no_panic();
}

// What is done by the clock and does not succeed is told until it does. It is no damage.
#[test]
fn a_checkpoint_that_cannot_be_published_is_told() {
    let box_ = TestBox::running();
    let scratch = box_.data().join("ledger/checkpoint.new");
    fs::create_dir(&scratch).expect("a folder");
    box_.send(&numbered_mail(1));
    let is_told = || text(&box_.run("status")).contains("no checkpoint could be signed");
    box_.wait_until("a warning", is_told);
    assert_eq!(
        box_.json("verify --json")["damage"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    fs::remove_dir(&scratch).expect("removed");
    box_.wait_until("no warning", || !is_told());
    box_.assert_no_panic();
}

// C1: with two spool folders intake syncs both at once, or else one after the other.
#[test]
fn mail_is_taken_in_while_intake_can_start_no_thread() {
    let mut box_ = TestBox::running();
    box_.stop();
    let config = box_.data().join("strongroom.toml");
    let text = fs::read_to_string(&config).expect("a configuration");
    let two = text.replace("folders = [\"spool\"]", "folders = [\"spool\", \"spool2\"]");
    assert_ne!(text, two);
    fs::write(&config, two).expect("written");
    box_.start();
    box_.send(&numbered_mail(1));
    let [intake] = box_.processes("intake")[..] else {
        panic!("one intake");
    };
    let Some(_full) = Tasks::full(intake) else {
        return;
    };
    box_.send(&numbered_mail(2));
    box_.wait_for_records(2);
    box_.assert_no_panic();
}

// A key that the ledger could not take is as if it had not been brought: brought again, it opens what waits for it.
#[test]
fn a_key_is_taken_once_the_ledgers_disk_has_room_again() {
    let mut box_ = TestBox::running();
    box_.stop();
    let Some(disk) = Disk::mount(&box_.data().join("ledger"), 4) else {
        return;
    };
    box_.start();
    let key = crate::people::old_key(&box_);
    box_.send(&crate::people::sealed(&box_, "old", "Hidden"));
    box_.wait_for_records(1);
    assert_eq!(box_.json("worklist --json")[0]["mails"], 1);
    let add = format!("escrow add {}", key.display());
    disk.fill();
    // What is left of the last page goes to the entries of sessions.
    let sign_in = format!(
        "login anna --passphrase-file {}",
        box_.file("anna.pass").display()
    );
    box_.wait_until("the ledger is full", || {
        !box_.run(&sign_in).status.success()
    });
    let said = text(&box_.run(&add));
    assert!(said.contains("No space left"), "{said}");
    disk.clear();
    assert!(box_.ok(&add).contains("1 new key in escrow"));
    box_.wait_until("the mail is opened", || {
        box_.json("worklist --json")
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    box_.ok("verify");
    box_.assert_no_panic();
}

// A key that found no room leaves nothing that a later start would take for a damaged one.
#[test]
fn a_key_that_the_disk_has_no_room_for_is_no_damage() {
    let mut box_ = TestBox::running();
    box_.stop();
    let Some(disk) = Disk::mount(&box_.data().join("escrow"), 1) else {
        return;
    };
    box_.start();
    let add = format!("escrow add {}", crate::people::old_key(&box_).display());
    disk.fill();
    let said = text(&box_.run(&add));
    assert!(said.contains("No space left"), "{said}");
    disk.clear();
    box_.stop();
    box_.start();
    box_.ok("verify");
    assert!(!text(&box_.run("status")).contains("the escrowed key"));
    assert!(box_.ok(&add).contains("1 new key in escrow"));
    box_.ok("verify");
}

// It is not the keeper's doing, and is not told as such.
#[test]
fn a_full_disk_where_mail_is_written_to_is_named() {
    let box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    box_.wait_for_hits(1, "crocodile");
    let found = box_.json("search --json crocodile");
    let id = found["hits"][0]["record"].as_str().expect("an id");
    let got = box_.run_in_shell(&format!("$STRONGROOM get {id} --original >/dev/full"));
    let said = text(&got);
    assert!(!got.status.success());
    assert!(
        said.contains("cannot write what the keeper gives out: No space left"),
        "{said}"
    );
}

// C1: a machine that can start no process for a while costs no mail its rendition.
#[test]
fn mail_waits_while_no_process_can_be_started() {
    let box_ = TestBox::running();
    let [keeper] = box_.processes("keeper")[..] else {
        panic!("one keeper");
    };
    let Some(_full) = Tasks::full(keeper) else {
        return;
    };
    box_.send(&numbered_mail(1));
    box_.wait_until("the keeper begins anew", || {
        !box_.processes("keeper").contains(&keeper)
    });
    box_.wait_for_records(1);
    box_.login();
    box_.wait_for_hits(1, "id:<1@example.net>");
    assert!(box_.log().contains("cannot start a worker process"));
    box_.assert_no_panic();
}

// What is missing at a start, or goes later, counts once it is back. An older people file never does.
#[test]
fn files_that_come_back_while_the_box_runs_count_at_once() {
    let mut box_ = TestBox::running();
    let people = box_.data().join("people");
    let older = fs::read(&people).expect("the people file");
    box_.add_person("bert", "bert@example.org");
    box_.ok(&format!(
        "escrow add {}",
        crate::people::old_key(&box_).display()
    ));
    box_.stop();
    let newest = fs::read(&people).expect("the people file");
    let folder = box_.data().join("escrow/main");
    let mut items = fs::read_dir(&folder).expect("escrow");
    let item = items.next().expect("one").expect("an entry").path();
    let key = fs::read(&item).expect("the item");
    fs::remove_file(&people).expect("removed");
    fs::remove_file(&item).expect("removed");
    box_.start();
    box_.send(&crate::people::sealed(&box_, "old", "Hidden"));
    box_.wait_for_records(1);
    let sign_in = format!(
        "login bert --passphrase-file {}",
        box_.file("bert.pass").display()
    );
    let told = || text(&box_.run("status"));
    let name = item.file_name().expect("a name").to_string_lossy();
    assert!(told().contains("the people file is not the one"));
    assert!(told().contains("a key in escrow is missing") && told().contains(&*name));
    assert_eq!(box_.json("worklist --json")[0]["mails"], 1);

    fs::write(&people, older).expect("put back");
    std::thread::sleep(Duration::from_secs(7));
    assert!(told().contains("the people file is not the one"));
    assert!(!box_.run(&sign_in).status.success());
    fs::write(&people, newest).expect("put back");
    fs::write(&item, key).expect("put back");
    box_.wait_until("both are back", || {
        !told().contains("people file") && !told().contains("in escrow is missing")
    });
    box_.ok(&sign_in);
    box_.wait_until("the mail is opened", || {
        box_.json("worklist --json")
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    box_.ok("verify");

    // Intake that begins anew would have no key to seal to.
    let spool_key = box_.data().join("spool.pub");
    fs::remove_file(&spool_key).expect("removed");
    box_.wait_until("it is written anew", || spool_key.exists());
    box_.kill("intake");
    box_.wait_until("intake", || box_.smtp().is_ok());
    box_.send(&numbered_mail(2));
    box_.wait_for_records(2);
    box_.assert_no_panic();
}

#[test]
fn little_space_on_any_disk_is_told_by_its_folder() {
    let mut box_ = TestBox::running();
    box_.stop();
    let config = box_.data().join("strongroom.toml");
    let text_ = fs::read_to_string(&config).expect("a configuration");
    let second = box_.file("second");
    let two = format!("folders = [\"spool\", \"{}\"]", second.display());
    fs::write(&config, text_.replace("folders = [\"spool\"]", &two)).expect("written");
    let folders = [
        box_.data().join("escrow"),
        box_.data().join("vault/main"),
        second,
    ];
    let mut disks = Vec::new();
    for folder in &folders {
        let Some(disk) = Disk::mount(folder, 4) else {
            return;
        };
        disks.push(disk);
    }
    box_.start();
    for (disk, folder) in disks.iter().zip(&folders) {
        let warning = format!("less than 10 % of the disk of {}", folder.display());
        let is_told = || text(&box_.run("status")).contains(&format!("{warning} is free"));
        assert!(!is_told());
        disk.fill();
        assert!(is_told(), "{warning}");
        disk.clear();
        assert!(!is_told());
    }
    box_.assert_no_panic();
}

// What an import remembers is named where its disk is full, and damage in it costs what is damaged.
#[test]
fn a_state_file_that_is_full_or_damaged_stops_an_import_by_name_or_not_at_all() {
    let box_ = TestBox::running();
    let (mails, state) = (box_.file("mails"), box_.file("state"));
    fs::create_dir(&mails).expect("a folder");
    for number in 0..20 {
        fs::write(mails.join(format!("{number}.eml")), numbered_mail(number)).expect("a mail");
    }
    let Some(disk) = Disk::mount(&state, 1) else {
        return;
    };
    let state = state.join("state");
    let import = format!(
        "import {} --mailbox anna@example.org --state {}",
        mails.display(),
        state.display()
    );
    fs::write(&state, "").expect("written");
    disk.fill();
    let said = text(&box_.run(&import));
    assert!(
        said.contains("give a writable place with --state"),
        "{said}"
    );
    assert!(said.contains("No space left"), "{said}");
    disk.clear();
    // Two imports at one time would both send what neither remembers.
    let held = fs::File::open(&state).expect("the state");
    held.lock().expect("a lock");
    let said = text(&box_.run(&import));
    assert!(said.contains("another import is running"), "{said}");
    drop(held);
    box_.ok(&import);
    box_.wait_for_records(20);

    let mut remembered = fs::read(&state).expect("the state");
    remembered[10] = 0xff;
    fs::write(&state, remembered).expect("written");
    let said = box_.ok(&import);
    assert!(
        said.contains("1 imported, 19 already there, 0 failed"),
        "{said}"
    );
    box_.assert_no_panic();
}
