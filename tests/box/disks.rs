//! Disks of a running box that go and come back, and a machine that is short of threads.

use crate::support::disk::{Attached, Disk};
use crate::support::tasks::Tasks;
use crate::support::{TestBox, hostile, numbered_mail, signal, smtp, text};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

fn is_stuck(box_: &TestBox) -> bool {
    text(&box_.run("status")).contains("archiving is stuck")
}

// Where one tenant's vault cannot take back a batch, the others do: what the ledger does not have is in none of them.
#[test]
fn a_batch_is_taken_back_in_every_vault_whatever_becomes_of_another() {
    let two = |policy: String| policy.replace("[\"main\"]", "[\"main\", \"two\"]");
    let mut box_ = TestBox::running_with(&two);
    let config = box_.data().join("strongroom.toml");
    let text_ = fs::read_to_string(&config).expect("a configuration");
    let head = "[intake.domains]\n";
    let text_ = if text_.contains(head) {
        text_
    } else {
        text_ + "\n" + head
    };
    // In capitals, as some write it.
    let domain = format!("{head}\"Two.Example\" = \"two\"\n");
    fs::write(&config, text_.replace(head, &domain)).expect("written");
    let send = |box_: &TestBox, to: &str, mail: &[u8]| {
        let mut client = box_.smtp().expect("a connection");
        let reply = client.mail(to, mail).expect("a reply");
        assert!(smtp::queue_id(&reply).is_some(), "{reply}");
    };
    box_.stop();
    let vault = box_.data().join("vault/main");
    let Some(disk) = Disk::in_place_of(&vault, &box_.file("disk"), 4) else {
        return;
    };
    let place = Attached::new(&box_.file("disk"), &vault);
    box_.start();
    let key = crate::people::old_key(&box_);
    let waiting = crate::people::sealed(&box_, "old", "Hidden");
    send(&box_, "anna@example.org", &numbered_mail(1));
    send(&box_, "bert@two.example", &waiting);
    box_.wait_for_records(2);

    let [keeper] = box_.processes("keeper")[..] else {
        panic!("one keeper");
    };
    signal(keeper, Signal::SIGSTOP);
    let mut client = box_.smtp().expect("a connection");
    let large = hostile::incompressible("large", 100_000);
    for (to, mail) in [
        ("bert@two.example", &numbered_mail(2)),
        ("anna@example.org", &large),
    ] {
        let reply = client.mail(to, mail).expect("a reply");
        assert!(smtp::queue_id(&reply).is_some(), "{reply}");
    }
    drop(client);
    disk.fill();
    place.take_out();
    signal(keeper, Signal::SIGCONT);
    box_.wait_until("a batch fails", || is_stuck(&box_));
    // Meanwhile another commit of the other vault.
    box_.ok(&format!("escrow add --tenant two {}", key.display()));
    box_.wait_until("the mail is opened", || {
        box_.json("worklist --json")
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    place.put_back();
    disk.clear();
    box_.wait_for_records(4);
    assert!(!is_stuck(&box_));
    box_.ok("verify");
    box_.stop();
    assert_eq!(box_.arrivals().len(), 4);
    let slots = box_.data().join("vault/two/seg-00000001.slots");
    let length = fs::metadata(slots).expect("slots").len();
    assert_eq!(
        length,
        64 + 2 * 80,
        "docs/formats.md: a slot for each record"
    );
    box_.assert_no_panic();
}

// A mail that waits for room in the vault is archived, and goes from the spool, also where the spool's disk was away meanwhile.
#[test]
fn a_mail_that_waits_is_archived_from_a_spool_that_was_away() {
    let mut box_ = TestBox::running();
    box_.stop();
    let (spool, vault) = (box_.data().join("spool"), box_.data().join("vault"));
    let disks = (
        Disk::in_place_of(&spool, &box_.file("disk"), 64),
        Disk::mount(&vault, 8),
    );
    let (Some(_disk), Some(full)) = disks else {
        return;
    };
    let place = Attached::new(&box_.file("disk"), &spool);
    box_.start();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    full.fill();
    box_.send(&hostile::incompressible("large", 20 << 20));
    box_.wait_until("a batch fails", || is_stuck(&box_));
    place.take_out();
    std::thread::sleep(Duration::from_secs(4));
    place.put_back();
    full.resize(64);
    full.clear();
    box_.wait_for_records(2);
    box_.wait_until("no warning", || box_.run("status").status.success());
    box_.send(&numbered_mail(2));
    box_.wait_for_records(3);
    box_.ok("verify");
    box_.stop();
    assert_eq!(box_.arrivals().len(), 3);
    box_.assert_no_panic();
}

// Mail that went to the root disk in its place would be hidden once the spool's disk is back.
#[test]
fn a_spool_folder_that_is_gone_at_the_start_is_missed_and_not_made_anew() {
    let mut box_ = TestBox::running();
    let says = |box_: &TestBox, what: &str| text(&box_.run("status")).contains(what);
    box_.stop();
    let (spool, aside) = (box_.data().join("spool"), box_.file("aside"));
    fs::rename(&spool, &aside).expect("moved");
    box_.start_only();
    let missing = format!("{} is not there any more: mount its disk", spool.display());
    box_.wait_until("it is missed", || says(&box_, &missing));
    assert!(box_.smtp().is_err(), "no mail is taken in");
    assert!(!spool.exists());
    fs::rename(&aside, &spool).expect("moved back");
    box_.wait_until("it is back", || box_.run("status").status.success());
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);

    box_.stop();
    let Some(_disk) = Disk::in_place_of(&spool, &box_.file("disk"), 8) else {
        return;
    };
    let place = Attached::new(&box_.file("disk"), &spool);
    box_.start();
    box_.stop();
    place.take_out();
    box_.start_only();
    box_.wait_until("it is missed", || says(&box_, "spool is not mounted on "));
    assert_eq!(fs::read_dir(&spool).expect("a mount point").count(), 0);
    place.put_back();
    box_.wait_until("it is back", || box_.run("status").status.success());
    box_.send(&numbered_mail(2));
    box_.wait_for_records(2);
    box_.stop();
    box_.assert_no_panic();
}

// C1: whichever of the keeper's threads cannot be started, or dies of that, the box archives once the machine can again.
#[test]
fn a_keeper_that_gets_some_of_its_threads_only_is_followed_by_a_whole_one() {
    let mut box_ = TestBox::running();
    for (records, room) in (1..).zip([4, 8, 11, 12, 13, 14, 15, 16, 17, 18]) {
        let serve = box_.serve.as_ref().expect("it runs").id();
        let Some(group) = Tasks::with_room(serve, room) else {
            return;
        };
        assert!(box_.kill("keeper"));
        box_.send(&numbered_mail(room as usize));
        std::thread::sleep(Duration::from_secs(3));
        drop(group);
        box_.wait_for_records(records);
        box_.stop();
        box_.start();
    }
    box_.ok("verify");
}

// On a full disk the parent cannot note what is wrong: `status` looks itself.
#[test]
fn status_tells_of_a_full_disk_where_the_box_cannot() {
    let mut box_ = TestBox::running();
    box_.stop();
    let Some(disk) = Disk::mount(&box_.data(), 64) else {
        return;
    };
    box_.start();
    disk.fill();
    box_.wait_until("a keeper", || box_.kill("keeper"));
    box_.wait_until("it is told", || {
        text(&box_.run("status")).contains("its disk is full: make room")
    });
    disk.clear();
    box_.wait_until("the box", || box_.run("status").status.success());
    box_.stop();
    box_.assert_no_panic();
}
