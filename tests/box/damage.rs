//! The running box behind damage: what one flipped bit or one lost folder may cost, and that people are told.

use crate::support::{TestBox, numbered_mail, text};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use strongroom::ledger::{Event, Ledger, Place};

/// Where the manifest of the box's first record lies.
fn first_manifest(box_: &TestBox) -> (String, Place) {
    let tpm = fs::read(box_.data().join("tpm.json")).expect("tpm.json");
    let tpm: Value = serde_json::from_slice(&tpm).expect("JSON");
    let origin = tpm["ledger"].as_str().expect("an origin");
    let ledger = Ledger::open(&box_.data().join("ledger"), origin).expect("the ledger");
    let size = ledger.tree().size();
    let mut entries = ledger.tree().entries(0..size);
    entries
        .find_map(|entry| match entry.expect("an entry").entry.event {
            Event::Arrival { record, part, .. } => Some((record.to_string(), part)),
            _ => None,
        })
        .expect("an arrival")
}

fn segment(box_: &TestBox, place: Place) -> PathBuf {
    let name = format!("seg-{:08}.seg", place.segment);
    box_.data().join("vault/main").join(name)
}

// C4, I2: a damaged record costs no other mail anything, and is named.
#[test]
fn one_damaged_manifest_stops_neither_archiving_nor_search_nor_a_rebuild() {
    let mut box_ = TestBox::running();
    for number in 0..4 {
        box_.send(&numbered_mail(number));
    }
    box_.wait_for_records(4);
    box_.login();
    box_.wait_for_hits(4, "");
    box_.stop();
    let (record, place) = first_manifest(&box_);
    let mut bytes = fs::read(segment(&box_, place)).expect("a segment");
    let middle = usize::try_from(place.offset + place.length / 2).expect("short") + 44;
    bytes[middle] ^= 1;
    fs::write(segment(&box_, place), bytes).expect("written");
    box_.start();
    box_.login();

    let found = box_.json("search --json");
    let hits = found["hits"].as_array().expect("hits");
    let is_damaged = |hit: &&Value| hit["outcome"] == "damaged";
    assert_eq!((hits.len(), hits.iter().filter(is_damaged).count()), (4, 1));

    box_.send(&numbered_mail(0)); // a copy of the damaged one
    box_.send(&numbered_mail(4));
    box_.wait_for_records(6);
    let named = |box_: &TestBox| box_.json("status --json")["warnings"].to_string();
    assert!(named(&box_).contains(&record), "{}", named(&box_));

    box_.ok("rebuild");
    box_.wait_until("the box is open again", || {
        box_.run("status").status.success()
    });
    assert!(named(&box_).contains(&record), "{}", named(&box_));
    let damage = text(&box_.run("verify --json"));
    assert!(damage.contains(&record), "{damage}");
    box_.login();
    box_.wait_for_hits(5, "");
    box_.send(&numbered_mail(0));
    box_.send(&numbered_mail(5));
    box_.wait_for_records(7);
    box_.assert_no_panic();
}
