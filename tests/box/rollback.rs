//! The box against whoever can write its data folder: old copies, entries written into the ledger by hand, another
//! policy; and against a power cut in the middle of a counter step.

use crate::support::{TestBox, numbered_mail, text};
use hsm_sim::Firmware;
use std::fs;
use std::path::Path;
use std::process::Command;
use strongroom::boxfiles::DataFolder;
use strongroom::crypto::kdf::framed;
use strongroom::id::Digest;
use strongroom::keyring::{NvAuth, nv_auth};
use strongroom::ledger::{Event, Head, Ledger};
use strongroom::time::{Clock, SystemClock};
use strongroom::tpm::Tpm;

pub fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let done = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(done.expect("cp").success());
}

pub fn ledger(data: &Path) -> Ledger {
    let file = DataFolder::at(data).tpm().expect("tpm.json");
    Ledger::open(&data.join("ledger"), &file.ledger).expect("a ledger")
}

pub fn append(data: &Path, event: Event) {
    let mut ledger = ledger(data);
    ledger
        .append(SystemClock.now(), vec![event])
        .expect("an entry");
    ledger.commit().expect("written");
}

/// Counter, head and extend index of the last step.
fn last_step(data: &Path) -> (u64, Head, Digest) {
    let ledger = ledger(data);
    let tree = ledger.tree();
    (0..tree.size())
        .rev()
        .find_map(
            |index| match tree.entry(index).expect("an entry").entry.event {
                Event::CounterStep {
                    counter,
                    head,
                    absorbed,
                } => Some((counter, head, absorbed)),
                _ => None,
            },
        )
        .expect("a step")
}

/// The step after `(counter, absorbed)`, as docs/formats.md has it.
fn next_step(data: &Path, (counter, absorbed): (u64, Digest)) -> Event {
    let (counter, head) = (counter + 1, ledger(data).tree().head().expect("a head"));
    let step = [
        framed(b"strongroom step/1").as_slice(),
        &counter.to_be_bytes(),
        &head.size.to_be_bytes(),
        &head.root.0,
    ]
    .concat();
    let absorbed = Digest::of(&[absorbed.0, Digest::of(&step).0].concat());
    Event::CounterStep {
        counter,
        head,
        absorbed,
    }
}

pub fn assert_refused(box_: &mut TestBox, why: &str) {
    box_.start_only();
    let mut said = String::new();
    box_.wait_until(why, || {
        said = text(&box_.run("status"));
        said.contains("is refused since") || box_.run("status").status.success()
    });
    box_.stop();
    assert!(said.contains(why), "{why}: {said}");
}

// C4, C5: an old copy does not start, whatever root writes into its ledger.
#[test]
fn an_old_copy_is_refused_whatever_is_written_into_its_ledger() {
    let mut box_ = TestBox::found();
    let (data, founding) = (box_.data(), box_.file("founding"));
    let (older, newest) = (box_.file("older"), box_.file("newest"));
    copy(&data, &founding);
    box_.start();
    box_.stop();
    copy(&data, &older);
    box_.start();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    box_.stop();
    copy(&data, &newest);
    let (counter, head, absorbed) = last_step(&data);
    let last = Event::CounterStep {
        counter,
        head,
        absorbed,
    };

    for old in [&founding, &older] {
        copy(old, &data);
        assert_refused(&mut box_, "older than the TPM's counter");

        copy(old, &data);
        append(&data, last.clone());
        assert_refused(&mut box_, "other checkpoints");

        // A step of the old copy's own, said to be the one that the TPM has done.
        copy(old, &data);
        let head = ledger(&data).tree().head().expect("a head");
        let own = Event::CounterStep {
            counter,
            head,
            absorbed,
        };
        append(&data, own);
        assert_refused(&mut box_, "other checkpoints");

        // The newest one, and one after it that the TPM is to do.
        copy(old, &data);
        append(&data, last.clone());
        let next = next_step(&data, (counter, absorbed));
        append(&data, next);
        assert_refused(&mut box_, "other checkpoints");

        copy(old, &data);
        let file = DataFolder::at(&data).tpm().expect("tpm.json");
        let restored = Event::Restored {
            old_box: file.box_id,
            new_box: file.box_id,
            accepted: ledger(&data).tree().head().expect("a head"),
            signers: Vec::new(),
            counter,
            transcript: Digest([7; 32]),
        };
        append(&data, restored);
        assert_refused(&mut box_, "other checkpoints");
    }

    copy(&newest, &data);
    box_.start();
    box_.ok("verify");
    box_.assert_no_panic();
}

// C5, I2: officers accept an old copy, and mail is taken in all the while.
#[test]
fn mail_is_taken_in_before_and_while_officers_accept_an_old_copy() {
    let mut box_ = TestBox::running();
    box_.stop();
    let (data, older) = (box_.data(), box_.file("older"));
    copy(&data, &older);
    box_.start();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    box_.stop();
    copy(&older, &data);

    box_.start_only();
    let mut said = String::new();
    box_.wait_until("the refusal", || {
        said = text(&box_.run("status"));
        said.contains("is refused since")
    });
    for remedy in [
        "strongroom serve --no-unlock",
        "strongroom ceremony restore",
    ] {
        assert!(said.contains(remedy), "{said}");
    }
    box_.send(&numbered_mail(2));
    let checkpoint = fs::read_to_string(data.join("ledger/checkpoint")).expect("text");
    let restore = format!(
        "ceremony restore --data {} --tpm {} --accept-head {} {}",
        data.display(),
        box_.machine.tcti(),
        checkpoint.lines().nth(1).expect("a size"),
        box_.officers(2)
    );
    said = text(&box_.run(&restore));
    assert!(said.contains("stop it first"), "{said}");
    box_.stop();

    // Not even a TPM that is there is needed.
    box_.machine.power_off();
    box_.start_with(&["--no-unlock"]);
    box_.wait_until("intake", || box_.smtp().is_ok());
    box_.send(&numbered_mail(3));
    said = text(&box_.run("status"));
    assert!(said.contains("started with --no-unlock"), "{said}");
    assert!(box_.processes("keeper").is_empty());
    for another in ["serve", "serve --no-unlock"] {
        said = text(&box_.run(another));
        assert!(said.contains("stop it first"), "{another}: {said}");
    }
    box_.machine.boot(Firmware::Good).expect("a boot");
    box_.ok(&restore);
    box_.send(&numbered_mail(4));
    box_.stop();

    box_.start();
    box_.login();
    box_.wait_for_records(3);
    for number in 2..=4 {
        box_.wait_for_hits(1, &format!("id:<{number}@example.net>"));
    }
    box_.ok("verify");
    box_.assert_no_panic();
}

// C1: a power cut at any point of a counter step costs nothing.
#[test]
fn a_counter_step_that_was_cut_off_is_completed_at_the_next_start() {
    let mut box_ = TestBox::found();
    box_.start();
    box_.stop();
    let data = box_.data();
    for incremented in [false, true] {
        let (counter, _, absorbed) = last_step(&data);
        let next = next_step(&data, (counter, absorbed));
        append(&data, next);
        if incremented {
            let file = DataFolder::at(&data).tpm().expect("tpm.json");
            let mut tpm = Tpm::open(&box_.machine.tcti()).expect("a TPM");
            tpm.pin(&file.storage_root_key).expect("its key");
            let sealed = tpm.unseal(&file.sealed_secret).expect("the secret");
            tpm.increment_counter(&nv_auth(&sealed, NvAuth::Counter))
                .expect("a step");
        }
        box_.start();
        box_.ok("verify");
        box_.stop();
        assert_eq!(last_step(&data).0, counter + 2, "one step, and the stop's");
    }
    box_.assert_no_panic();
}

// A2: root cannot lower a quorum. C4: nor alter a file unnoticed while the box runs.
#[test]
fn another_policy_is_refused_and_every_altered_file_is_named_while_the_box_runs() {
    let mut box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    box_.ok("verify");
    let files = [
        ("policy.toml", None, "policy.toml"),
        ("transcript/charter.json", None, "charter.json"),
        ("static-capsule", None, "static-capsule"),
        ("officers.json", None, "officers.json"),
        ("tpm.json", None, "tpm.json"),
        ("keyring", None, "keyring"),
        ("ledger/tail", None, "tail"),
        ("vault/main/keytable", Some(2), "key table"),
        (
            "vault/main/seg-00000001.seg",
            Some(20),
            "segment file's header",
        ),
        (
            "vault/main/seg-00000001.slots",
            Some(20),
            "slot file's header",
        ),
    ];
    for (file, place, named) in files {
        let path = box_.data().join(file);
        let good = fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut bad = good.clone();
        bad[place.unwrap_or(good.len() / 2)] ^= 1;
        fs::write(&path, bad).expect("written");
        let found = box_.run("verify");
        assert!(!found.status.success(), "{file}");
        assert!(text(&found).contains(named), "{file}: {}", text(&found));
        fs::write(&path, good).expect("written");
    }
    box_.ok("verify");
    box_.stop();
    let policy = box_.data().join("policy.toml");
    let founding = fs::read_to_string(&policy).expect("a policy");
    fs::write(&policy, format!("{founding}\n# altered\n")).expect("written");
    assert_refused(&mut box_, "is not the policy in force");
    fs::write(&policy, founding).expect("written");
    box_.start();
    box_.ok("verify");
    box_.assert_no_panic();
}
