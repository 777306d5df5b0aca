//! A release that breaks off: what went out is in the ledger, and it can be fetched again.

use crate::people::certificate;
use crate::reading::entries;
use crate::support::{TestBox, hostile, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

const MAILS: usize = 3;

/// Releases into a folder whose files may have so many blocks of 512 bytes; the shell's `trap` says what the system does
/// to a client that writes more: end it, or give it an error as a full disk would.
fn release_with_little_room(box_: &TestBox, case: &str, folder: &str, trap: &str) -> Output {
    let release = format!(
        "case release {case} --output {}",
        box_.file(folder).display()
    );
    box_.run_in_shell(&format!(
        "{trap} ulimit -f 64; exec \"$STRONGROOM\" {release}"
    ))
}

/// How often each record was given out under the case.
fn given(box_: &TestBox, case: &str) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for row in entries(box_, &format!("--case {case}")) {
        if row["action"] == "release" {
            let record = row["records"][0].as_str().expect("a record");
            *times.entry(record.to_owned()).or_default() += 1;
        }
    }
    times
}

fn mails_in(box_: &TestBox, folder: &str) -> usize {
    let files = fs::read_dir(box_.file(folder)).expect("the folder");
    let is_mail = |path: &std::path::Path| path.extension().is_some_and(|end| end == "eml");
    files
        .filter(|file| is_mail(&file.as_ref().expect("a file").path()))
        .count()
}

// D: nothing that went out is missing in the ledger, and nobody has to ask officers again because a disk was full.
#[test]
fn a_release_that_was_cut_off_is_fetched_again_and_its_receipt_is_whole() {
    let box_ = TestBox::running();
    let new = certificate(&box_, "new");
    // Each is larger than what lies between keeper and client.
    for number in 0..MAILS {
        box_.send(&hostile::incompressible(
            &format!("numbat {number}"),
            4 << 20,
        ));
    }
    box_.wait_for_hits(MAILS as u64, "numbat");
    let case = box_.json(&format!(
        "case request --json --purpose test --mailbox anna@example.org --certificate {}",
        new.display()
    ));
    let case = case["case"].as_str().expect("a case").to_owned();
    box_.ok(&format!("case approve {case} {}", box_.officers(2)));

    let killed = release_with_little_room(&box_, &case, "killed", "");
    let signal = nix::sys::signal::Signal::SIGXFSZ as i32;
    assert_eq!(killed.status.signal(), Some(signal), "{}", text(&killed));
    let full = release_with_little_room(&box_, &case, "full", "trap '' XFSZ;");
    assert!(full.status.code().is_some_and(|code| code != 0));
    assert!(text(&full).contains("File too large"), "{}", text(&full));
    for cut_off in ["killed", "full"] {
        assert!(mails_in(&box_, cut_off) > 0, "something had gone out");
        assert!(!box_.file(cut_off).join("receipt.json").exists());
    }
    let before = given(&box_, &case);
    assert!(before.values().any(|times| *times == 2), "{before:?}");
    let state = box_.json(&format!("case show {case} --json"))["state"].clone();
    assert_eq!(state, "releasing", "it is not over");

    let again = box_.file("full").display().to_string();
    let said = box_.run(&format!("case release {case} --output {again}"));
    assert!(text(&said).contains("not empty"), "{}", text(&said));
    let out = box_.file("out");
    box_.wait_until("the keeper notices that the client is gone", || {
        let said = box_.run(&format!("case release {case} --output {}", out.display()));
        said.status.success()
    });
    let after = given(&box_, &case);
    assert_eq!(after.len(), MAILS);
    for (record, times) in &after {
        let before = before.get(record).copied().unwrap_or(0);
        assert_eq!(*times, before + 1, "both times are in the ledger");
    }
    assert_eq!(mails_in(&box_, "out"), MAILS);
    let receipt = fs::read(out.join("receipt.json")).expect("a receipt");
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    let mails = receipt["mails"].as_array().expect("mails");
    assert_eq!(mails.len(), MAILS);
    assert!(
        mails
            .iter()
            .all(|mail| after.contains_key(mail["record"].as_str().expect("an id")))
    );
    box_.ok(&format!(
        "case check {} --officers {}",
        out.display(),
        box_.data().join("officers.json").display()
    ));
    let third = box_.file("third").display().to_string();
    let said = box_.run(&format!("case release {case} --output {third}"));
    assert!(text(&said).contains("is released"), "{}", text(&said));
    box_.assert_no_panic();
}
