//! A restore counts as far as officers signed it: statements with bad or too few signatures are refused by name, at the
//! start and by `verify`.

use crate::support::{TestBox, numbered_mail, text};
use hsm_sim::Sim;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// A stopped box that was restored on another machine, and its succession's file.
fn succeeded() -> (TestBox, PathBuf) {
    let mut box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    box_.stop();
    box_.machine = Sim::start(&box_.file("machine2")).expect("a machine");
    let checkpoint = fs::read_to_string(box_.data().join("ledger/checkpoint")).expect("text");
    let head = checkpoint.lines().nth(1).expect("a size");
    let report = box_.json(&format!(
        "ceremony restore --json --data {} --tpm {} --accept-head {head} {}",
        box_.data().display(),
        box_.machine.tcti(),
        box_.officers(2)
    ));
    assert_ne!(
        report["old_box"], report["new_box"],
        "the old one is retired"
    );
    let transcripts = fs::read_dir(box_.data().join("transcript")).expect("transcripts");
    let mut paths = transcripts.map(|entry| entry.expect("an entry").path());
    let is_succession = |path: &PathBuf| path.to_string_lossy().contains("/succession-");
    let succession = paths.find(is_succession).expect("a succession");
    (box_, succession)
}

/// What somebody may make of it, and what the box says then.
fn altered(good: &str) -> Vec<(Option<String>, &'static str)> {
    let json: Value = serde_json::from_str(good).expect("JSON");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        Some(json.to_string())
    };
    let too_few = "is signed by 1 of this box's officers, 2 are needed";
    let alone = with(&|json| {
        let signatures = json["signatures"].as_object_mut().expect("signatures");
        signatures.remove("bob");
    });
    let twice = with(&|json| json["signatures"]["bob"] = json["signatures"]["alice"].clone());
    let stranger = with(&|json| {
        let signatures = json["signatures"].as_object_mut().expect("signatures");
        let bobs = signatures.remove("bob").expect("bob's");
        signatures.insert("mallory".to_owned(), bobs);
    });
    let text = with(&|json| {
        let text = json["text"].as_str().expect("text");
        json["text"] = text.replacen("succession 1", "succession 2", 1).into();
    });
    vec![
        (alone, too_few),
        (twice, too_few),
        (stranger, too_few),
        (
            text,
            "is damaged (its text is not the one that the ledger names)",
        ),
        (None, "is missing"),
    ]
}

#[test]
fn a_restore_that_too_few_officers_signed_is_refused_at_the_start_and_by_verify() {
    let (mut box_, path) = succeeded();
    let good = fs::read_to_string(&path).expect("a succession");
    let name = path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let put = |content: Option<&String>| match content {
        Some(content) => fs::write(&path, content).expect("written"),
        None => fs::remove_file(&path).expect("removed"),
    };
    for (content, why) in altered(&good) {
        put(content.as_ref());
        box_.start_only();
        let mut said = String::new();
        box_.wait_until(why, || {
            let status = box_.run("status");
            said = text(&status);
            said.contains("is refused since") || status.status.success()
        });
        box_.stop();
        assert!(said.contains(why), "{why}: {said}");
        assert!(said.contains(&name) && said.contains("was restored, but that is not so"));
    }
    put(Some(&good));
    box_.start();
    box_.ok("verify");
    for (content, why) in altered(&good) {
        put(content.as_ref());
        let found = box_.run("verify");
        assert!(!found.status.success(), "{why}");
        let said = text(&found);
        assert!(said.contains(why) && said.contains(&name), "{why}: {said}");
    }
    put(Some(&good));
    box_.ok("verify");
    box_.assert_no_panic();
}
