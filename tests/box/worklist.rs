//! Mail that waits for a key, and the key that comes: whenever it comes, nothing stays waiting for a key that is there.

use crate::keys::{encrypted, make_key};
use crate::support::disk::Disk;
use crate::support::{TestBox, text};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

// E2: a key that comes late opens what waits for it, whatever happens to the box meanwhile.
#[test]
fn waiting_mail_is_opened_also_when_the_keeper_dies_over_it() {
    let box_ = TestBox::running();
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    make_key(&keys, "anna");
    for number in 0..20 {
        box_.send(&encrypted(&keys, "anna", number));
    }
    box_.wait_for_records(20);
    assert_eq!(box_.json("worklist --json")[0]["mails"], 20);
    fs::write(box_.file("pass"), "secret\n").expect("a passphrase");
    box_.ok(&format!(
        "escrow add {} --passphrase-file {}",
        keys.join("anna.p12").display(),
        box_.file("pass").display()
    ));
    assert!(box_.kill("keeper"));
    box_.wait_until("the box is open again", || {
        box_.run("worklist --json").status.success()
    });
    box_.wait_until("all mail is opened", || {
        box_.json("worklist --json") == Value::Array(vec![])
    });
    box_.login();
    box_.wait_for_hits(20, "okapi");
    box_.assert_no_panic();
}

/// The mail with its base64 altered.
fn altered(mail: &[u8], alter: impl Fn(&mut Vec<u8>, usize)) -> Vec<u8> {
    let text = String::from_utf8(mail.to_vec()).expect("text");
    let (head, digits) = text.split_once("\r\n\r\n").expect("a body");
    let digits: String = digits.split_whitespace().collect();
    let mut ber = data_encoding::BASE64
        .decode(digits.as_bytes())
        .expect("base64");
    // The wrapped key behind its head.
    let head_of_wrap = [4, 0x82, 1, 0];
    let wrap = ber.windows(4).position(|part| part == head_of_wrap);
    alter(&mut ber, wrap.expect("a key of 2048 bits") + 4);
    let lines = data_encoding::BASE64_MIME.encode(&ber);
    format!("{head}\r\n\r\n{lines}").into_bytes()
}

// S1: who can mail ciphertexts and sees what becomes of them learns nothing of what the private key made of a wrap.
#[test]
fn what_is_wrong_under_an_rsa_v15_wrap_is_told_nowhere() {
    let box_ = TestBox::running();
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    make_key(&keys, "anna");
    add_key(&box_);
    box_.login();
    let mail = encrypted(&keys, "anna", 1);
    let wrap: fn(&mut Vec<u8>, usize) = |ber, wrap| ber[wrap + 100] ^= 1;
    let content: fn(&mut Vec<u8>, usize) = |ber, _| {
        let near_the_end = ber.len() - 20;
        ber[near_the_end] ^= 0x55;
    };
    let mut seen = Vec::new();
    for (count, alter) in [(1, wrap), (2, content)] {
        box_.send(&altered(&mail, alter));
        box_.wait_for_records(count);
        box_.wait_for_hits(count, "Sealed");
        let hits = box_.json("search --json Sealed");
        let newest = hits["hits"].as_array().and_then(|hits| hits.first());
        let record = newest.expect("a hit")["record"].as_str().expect("an id");
        let shown = box_.json(&format!("show --json {record}"));
        let told = ["outcome", "reason", "layers", "signatures", "text", "notes"];
        seen.push(told.map(|field| shown[field].clone()));
        assert_eq!(hits["hits"][0]["outcome"], shown["outcome"]);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0][0], "damaged", "{seen:?}");
    let waiting = box_.json("worklist --json");
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");
    assert_eq!(waiting[0]["mails"], 2);
    box_.assert_no_panic();
}

/// Brings anna's key.
fn add_key(box_: &TestBox) {
    fs::write(box_.file("pass"), "secret\n").expect("a passphrase");
    box_.ok(&format!(
        "escrow add {} --passphrase-file {}",
        box_.file("keys/anna.p12").display(),
        box_.file("pass").display()
    ));
}

/// All mail is archived and opened, and nothing waits.
fn assert_all_opened(box_: &TestBox, count: u64) {
    box_.wait_for_records(count);
    box_.wait_until("nothing waits", || {
        box_.json("worklist --json") == Value::Array(vec![])
    });
    box_.wait_for_hits(count, "okapi");
    box_.assert_no_panic();
}

/// A box whose vault lies on a small disk, and a folder with anna's key; `None` where no disk can be mounted.
fn with_small_vault() -> Option<(TestBox, Disk, PathBuf)> {
    let mut box_ = TestBox::running();
    box_.stop();
    let vault = Disk::mount(&box_.data().join("vault"), 8)?;
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    make_key(&keys, "anna");
    box_.start();
    box_.login();
    Some((box_, vault, keys))
}

// E2: between a mail's opening and its commit it is on no list that a new key is held against.
#[test]
fn a_key_that_comes_between_a_mails_opening_and_its_commit_opens_it() {
    let Some((box_, vault, keys)) = with_small_vault() else {
        return;
    };
    vault.fill();
    for number in 0..3 {
        box_.send(&encrypted(&keys, "anna", number));
    }
    box_.wait_until("opened in vain, and not committed", || {
        text(&box_.run("status")).contains("archiving is stuck")
    });
    add_key(&box_);
    vault.clear();
    assert_all_opened(&box_, 3);
}

#[test]
fn a_key_that_comes_while_mail_is_imported_opens_all_of_it() {
    let box_ = TestBox::running();
    let (keys, old) = (box_.file("keys"), box_.file("old"));
    for folder in [&keys, &old] {
        fs::create_dir(folder).expect("a folder");
    }
    make_key(&keys, "anna");
    let count = 120;
    for number in 0..count {
        let mail = encrypted(&keys, "anna", number);
        fs::write(old.join(format!("{number}.eml")), mail).expect("a mail");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            box_.ok(&format!(
                "import {} --mailbox anna@example.org",
                old.display()
            ));
        });
        box_.wait_until("some of it waits", || box_.status("records") > 0);
        add_key(&box_);
    });
    assert_all_opened(&box_, count as u64);
}

// E2: what goes wrong while waiting mail is opened is tried again.
#[test]
fn waiting_mail_that_a_full_disk_kept_closed_is_opened_when_there_is_room() {
    let Some((box_, vault, keys)) = with_small_vault() else {
        return;
    };
    for number in 0..3 {
        box_.send(&encrypted(&keys, "anna", number));
    }
    box_.wait_for_records(3);
    vault.fill();
    add_key(&box_);
    box_.wait_until("the disk is full", || {
        box_.log().contains("a waiting mail could not be opened")
    });
    assert!(box_.json("worklist --json")[0]["mails"].as_u64() > Some(0));
    vault.clear();
    assert_all_opened(&box_, 3);
}
