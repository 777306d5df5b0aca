//! Evidence, what opening a mail yields beside its content: where it would be too large to keep, and what it rests on.

use crate::people::certificate;
use crate::reading::{enter, sign_in};
use crate::support::{TestBox, hostile, numbered_mail, openssl, smtp, text};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn send(box_: &TestBox, recipient: &str, mail: &[u8]) {
    let mut client = box_.smtp().expect("a connection");
    let reply = client.mail(recipient, mail).expect("a reply");
    assert!(smtp::queue_id(&reply).is_some(), "{reply}");
}

// C1: it is archived once as received, further copies join it, and archiving goes on.
#[test]
fn a_mail_with_oversized_evidence_is_kept_as_received_and_its_second_copy_joins_it() {
    let mut box_ = TestBox::running();
    enter(&box_, "bert", "--mailbox bert@example.org");
    let mail = hostile::long_names(142, 60_000);
    send(&box_, "anna@example.org", &mail);
    send(&box_, "bert@example.org", &mail);
    send(&box_, "anna@example.org", &numbered_mail(1));
    box_.wait_for_records(2);
    // And once more, when the first is long archived.
    send(&box_, "anna@example.org", &mail);
    send(&box_, "anna@example.org", &numbered_mail(2));
    box_.wait_for_records(3);
    assert!(!text(&box_.run("status")).contains("stuck"));

    let seen_by = |box_: &TestBox, arrivals: usize| {
        box_.wait_for_hits(1, "subject:longnames");
        let found = box_.json("search --json subject:longnames");
        let record = found["hits"][0]["record"].as_str().expect("a hit");
        let shown = box_.json(&format!("show --json {record}"));
        assert_eq!(shown["outcome"], "refused");
        let reason = shown["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("evidence too large: "), "{reason}");
        assert_eq!(shown["arrivals"].as_array().map(Vec::len), Some(arrivals));
        let original = box_.file("original.eml");
        let _ = std::fs::remove_file(&original);
        box_.ok(&format!(
            "get {record} --original --output {}",
            original.display()
        ));
        assert!(std::fs::read(original).expect("the mail") == mail);
    };
    box_.wait_until("the third arrival", || {
        let found = box_.json("search --json subject:longnames");
        let record = found["hits"][0]["record"]
            .as_str()
            .unwrap_or("none")
            .to_owned();
        let shown = box_.run(&format!("show --json {record}"));
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        shown["arrivals"].as_array().map(Vec::len) == Some(2)
    });
    seen_by(&box_, 2);
    sign_in(&box_, "bert");
    seen_by(&box_, 1);
    box_.ok("verify");
    box_.stop();
    let numbers: Vec<u32> = box_.arrivals().iter().map(|one| one.number).collect();
    assert_eq!(numbers.iter().filter(|number| **number == 0).count(), 3);
    assert_eq!(numbers.len(), 5, "{numbers:?}");
    box_.assert_no_panic();
}

/// A signed mail's text and what signs it, by `signer.crt` in this folder; gives what sends one with a subject.
fn signing(box_: &TestBox) -> impl Fn(&str) {
    let folder = box_.file("certificates");
    certificate(box_, "signer");
    fs::write(
        folder.join("text"),
        "Content-Type: text/plain\r\n\r\nText.\r\n",
    )
    .expect("a text");
    let sign =
        "cms -sign -binary -nodetach -outform SMIME -in text -signer signer.crt -inkey signer.key";
    move |subject| {
        let head = format!("From: signer@example.org\nTo: anna@example.org\nSubject: {subject}\n");
        let mail = head + &String::from_utf8_lossy(&openssl(&folder, sign));
        box_.send(mail.replace('\r', "").replace('\n', "\r\n").as_bytes());
    }
}

// What the operator puts into trust/ counts for mail that comes from then on, without a new start of the box.
#[test]
fn an_anchor_that_comes_while_the_box_runs_vouches_for_signatures_from_then_on() {
    let box_ = TestBox::running();
    let send = signing(&box_);
    let folder = box_.file("certificates");
    send("before");
    box_.wait_for_hits(1, "subject:before signed:unknown-signer");
    let anchors = box_.data().join("trust/anchors");
    fs::create_dir_all(&anchors).expect("a folder");
    // A slow copy does not count before it is whole.
    let whole = fs::read(folder.join("signer.crt")).expect("a certificate");
    let mut file = fs::File::create(anchors.join("signer.crt")).expect("an anchor");
    for part in whole.chunks(whole.len() / 8 + 1) {
        file.write_all(part).expect("a part");
        std::thread::sleep(Duration::from_secs(1));
        assert!(!box_.log().contains("are read anew"));
    }
    box_.wait_until("it is read", || box_.log().contains("are read anew"));
    send("after");
    box_.wait_for_hits(1, "subject:after signed:valid");
    fs::remove_file(anchors.join("signer.crt")).expect("removed");
    box_.wait_until("it is gone", || {
        box_.log().matches("are read anew").count() == 2
    });
    send("later");
    box_.wait_for_hits(1, "subject:later signed:unknown-signer");
}

// A program that writes one file without end kept all others from counting, and nobody heard of it.
#[test]
fn a_file_in_trust_that_never_rests_is_named_and_keeps_no_other_from_counting() {
    let box_ = TestBox::running();
    let send = signing(&box_);
    let trust = box_.data().join("trust");
    for part in ["anchors", "crls"] {
        fs::create_dir_all(trust.join(part)).expect("a folder");
    }
    let (done, endless) = (Arc::new(AtomicBool::new(false)), trust.join("crls/endless"));
    let told = Arc::clone(&done);
    let writer = std::thread::spawn(move || {
        let mut growing = String::new();
        while !told.load(Ordering::SeqCst) {
            growing.push('x');
            fs::write(&endless, &growing).expect("written");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let anchor = box_.file("certificates").join("signer.crt");
    fs::copy(anchor, trust.join("anchors/signer.crt")).expect("an anchor");
    let warned = || {
        let status = box_.json("status --json");
        let warnings = status["warnings"].to_string();
        warnings.contains("crls/endless changes all the time")
    };
    box_.wait_until("the file is named", warned);
    send("meanwhile");
    box_.wait_for_hits(1, "subject:meanwhile signed:valid");
    done.store(true, Ordering::SeqCst);
    writer.join().expect("the writer");
    box_.wait_until("it rests", || !warned());
}
