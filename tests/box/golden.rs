//! Data that earlier versions wrote stays readable: a backup of each format version, written by the program of its
//! time (`tests/golden/make`), is restored on a new machine, started, verified, searched and read.

use crate::support::TestBox;
use hsm_sim::Firmware;
use std::path::{Path, PathBuf};
use strongroom::id::Digest;

// E2: mail stays readable, whichever version wrote it.
#[test]
fn every_golden_vault_restores_verifies_and_reads_as_it_was_written() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut versions: Vec<PathBuf> = std::fs::read_dir(&golden)
        .expect("tests/golden")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    versions.sort();
    assert!(!versions.is_empty(), "no golden vault");
    for version in versions {
        eprintln!("{}", version.display());
        reads_as_written(&version);
    }
}

fn reads_as_written(golden: &Path) {
    let mut box_ = TestBox::restored(golden);
    box_.machine.boot(Firmware::Good).expect("a boot");
    box_.start();
    let verified = box_.json("verify --json");
    assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0));
    let checkpoint = golden.join("backup/ledger/checkpoint");
    box_.ok(&format!("verify --checkpoint {}", checkpoint.display()));
    box_.login();
    let expected = std::fs::read_to_string(golden.join("expected.tsv")).expect("expected.tsv");
    let mut rows = 0u64;
    for row in expected.lines() {
        let [word, original, rendition] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("a row has a word and two digests: {row}");
        };
        let hits = box_.json(&format!("search --json {word}"));
        let id = hits["hits"][0]["record"].as_str().expect("a hit");
        for (form, digest) in [("original", original), ("rendition", rendition)] {
            let got = box_.run(&format!("get {id} --{form}"));
            assert!(got.status.success(), "{word}: {form}");
            assert_eq!(
                Digest::of(&got.stdout).to_string(),
                digest,
                "{word}: {form}"
            );
        }
        rows += 1;
    }
    assert!(rows > 0 && verified["records"].as_u64() >= Some(rows));
    tells_what_was(&box_);
    box_.assert_no_panic();
}

/// Cases and the ledger's sealed details of that time are read as well.
fn tells_what_was(box_: &TestBox) {
    let cases = box_.json("case list --json");
    let cases = cases.as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        assert_eq!(
            (&case["kind"], &case["state"]),
            (&"case.mail".into(), &"released".into())
        );
        let id = case["case"].as_str().expect("an id");
        assert!(box_.ok(&format!("case show {id}")).contains("readable by"));
    }
    let log = box_.json("access --json --limit 500");
    assert_eq!(log["damaged"], serde_json::json!([]));
    let entries = log["entries"].as_array().expect("entries");
    let one_of = |action: &str| entries.iter().find(|row| row["action"] == *action);
    assert!(one_of("case released").is_some_and(|row| row["mails"].as_u64() > Some(0)));
    for action in [
        "case requested",
        "case approved",
        "release",
        "search",
        "sign in",
        "person set",
    ] {
        assert!(one_of(action).is_some(), "{action}");
    }
}
