//! What the ledger promises, shown on real files: cut, altered, full, interrupted.

use super::tiles::{Tile, decode_bundle};
use super::*;
use crate::crypto::merkle::{leaf_hash, root_of_hashes, verify_consistency, verify_inclusion};
use crate::crypto::note::{Ed25519Signer, NoteSigner};
use crate::id::Digest;
use crate::secret::Key;
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

const ORIGIN: &str = "strongroom.box/test";

fn folder() -> TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn open(dir: &Path) -> Ledger {
    Ledger::create(dir, ORIGIN).expect("open")
}

fn event(n: u64) -> Event {
    Event::PeopleChanged {
        commitment: Digest::of(&n.to_be_bytes()),
        file: None,
        sealed: "A".repeat((n % 50) as usize),
    }
}

/// Adds `count` entries in one batch.
fn grow(ledger: &mut Ledger, count: u64) {
    let first = ledger.tree().size();
    let events = (first..first + count).map(event).collect();
    let range = ledger
        .append(Timestamp(first * 1000), events)
        .expect("append");
    assert_eq!(range, first..first + count);
    ledger.commit().expect("commit");
}

fn signer() -> Ed25519Signer {
    Ed25519Signer::from_seed(ORIGIN, &Key::copy_from(&[5; 32])).expect("signer")
}

fn checkpoint(ledger: &Ledger) -> Checkpoint {
    let head = ledger.tree().head().expect("head");
    Checkpoint::sign(ORIGIN, head, &[&signer()]).expect("sign")
}

fn publish(ledger: &mut Ledger) -> Checkpoint {
    let checkpoint = checkpoint(ledger);
    ledger.publish(checkpoint.clone()).expect("publish");
    checkpoint
}

fn lines(tree: &Tree) -> Vec<Vec<u8>> {
    tree.entries(0..tree.size())
        .map(|entry| entry.expect("entry").line.to_vec())
        .collect()
}

#[test]
fn entries_come_back_across_bundles_and_restarts() {
    let dir = folder();
    let mut ledger = open(dir.path());
    for count in [1, 255, 300, 4000, 500] {
        grow(&mut ledger, count);
    }
    let before = (lines(ledger.tree()), ledger.tree().head().expect("head"));
    assert!(
        ledger.tree().flushed > 0,
        "a long tail was moved to bundles"
    );
    drop(ledger);
    let ledger = open(dir.path());
    assert_eq!(
        (lines(ledger.tree()), ledger.tree().head().expect("head")),
        before
    );
    let backwards = ledger.tree().entries(0..ledger.tree().size()).rev();
    let mut backwards: Vec<_> = backwards
        .map(|entry| entry.expect("entry").line.to_vec())
        .collect();
    backwards.reverse();
    assert_eq!(backwards, before.0);
    assert_eq!(ledger.tree().verify().expect("verify"), before.1);
    assert_eq!(
        ledger.tree().entry(700).expect("entry").entry.event,
        event(700)
    );
    assert!(ledger.tree().entry(5056).is_err());
}

#[test]
fn a_batch_of_500_entries_costs_one_sync() {
    let dir = folder();
    let mut ledger = open(dir.path());
    let before = durable::DATA_SYNCS.get();
    grow(&mut ledger, 500);
    assert_eq!(durable::DATA_SYNCS.get() - before, 1);
}

#[test]
fn times_never_go_back() {
    let dir = folder();
    let mut ledger = open(dir.path());
    for now in [1000, 400, 2000] {
        ledger
            .append(Timestamp(now), vec![event(0)])
            .expect("append");
    }
    ledger.commit().expect("commit");
    drop(ledger);
    let mut ledger = open(dir.path());
    ledger.append(Timestamp(5), vec![event(0)]).expect("append");
    ledger.commit().expect("commit");
    let times: Vec<u64> = ledger
        .tree()
        .entries(0..9)
        .map(|entry| entry.expect("entry").entry.time.0)
        .collect();
    assert_eq!(times, [1000, 1000, 2000, 2000]);
}

#[test]
fn what_was_rolled_back_leaves_no_trace() {
    let dir = folder();
    let mut ledger = open(dir.path());
    ledger
        .append(Timestamp(9000), vec![event(7)])
        .expect("append");
    ledger.rollback();
    ledger.commit().expect("commit");
    assert_eq!(ledger.tree().size(), 0);
    assert_eq!(
        ledger.append(Timestamp(1), vec![event(0)]).expect("append"),
        0..1
    );
    ledger.commit().expect("commit");
    assert_eq!(ledger.last_time(), Timestamp(1));
}

#[test]
fn the_files_alone_lead_to_the_checkpoint() {
    let dir = folder();
    let mut ledger = open(dir.path());
    grow(&mut ledger, 600);
    publish(&mut ledger);
    let read = |path: PathBuf| fs::read(dir.path().join(path)).expect("file");
    let mut leaves = Vec::new();
    for n in 0..3 {
        let (entries, hashes) = (Tile::Entries(n), Tile::Hashes { level: 0, n });
        let (entries, hashes) = match n {
            2 => (entries.partial_path(88), hashes.partial_path(88)),
            _ => (entries.path(), hashes.path()),
        };
        let entries = decode_bundle(&read(entries)).expect("bundle");
        let bundle: Vec<Digest> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        assert_eq!(
            read(hashes),
            bundle.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>()
        );
        leaves.extend(bundle);
    }
    let upper = read(Tile::Hashes { level: 1, n: 0 }.partial_path(2));
    assert_eq!(upper[..32], root_of_hashes(&leaves[..256]).0);
    let stored: Checkpoint = String::from_utf8(read("checkpoint".into()))
        .expect("text")
        .parse()
        .expect("checkpoint");
    stored.verify(&[signer().verifier()]).expect("signature");
    assert_eq!(
        stored.head(),
        Head {
            size: 600,
            root: root_of_hashes(&leaves)
        }
    );

    grow(&mut ledger, 300);
    publish(&mut ledger);
    assert!(
        !dir.path().join("tile/0/002.p").exists(),
        "the full tile has taken its place"
    );
    assert!(dir.path().join("tile/0/002").exists() && dir.path().join("tile/0/003.p/132").exists());
}

#[test]
fn a_crash_between_bundles_and_tail_loses_and_doubles_nothing() {
    let dir = folder();
    let mut ledger = open(dir.path());
    grow(&mut ledger, 600);
    ledger.tree.write_full().expect("bundles");
    let before = lines(ledger.tree());
    drop(ledger);
    let mut ledger = open(dir.path());
    assert_eq!(lines(ledger.tree()), before);
    publish(&mut ledger);
    assert_eq!(lines(open(dir.path()).tree()), before);
}

#[test]
fn a_full_disk_fails_the_batch_alone() {
    let dir = folder();
    let mut ledger = open(dir.path());
    grow(&mut ledger, 3);
    ledger.tail.replace_file(Path::new("/dev/full"));
    ledger
        .append(Timestamp(9000), vec![event(3)])
        .expect("append");
    let error = ledger.commit().expect_err("full");
    assert!(error.is_full(), "{error}");
    assert_eq!(ledger.tree().size(), 3);
    drop(ledger);
    let mut ledger = open(dir.path());
    grow(&mut ledger, 2);
    assert_eq!(ledger.tree().size(), 5);
}

#[test]
fn a_batch_that_could_not_be_taken_back_stops_no_later_one() {
    let dir = folder();
    let mut ledger = open(dir.path());
    grow(&mut ledger, 3);
    let torn = [
        fs::read(dir.path().join("tail")).expect("tail"),
        b"BATC torn".to_vec(),
    ]
    .concat();
    fs::write(dir.path().join("tail"), torn).expect("write");
    // Neither written to nor cut.
    ledger.tail.replace_file(Path::new("/dev/full"));
    ledger
        .append(Timestamp(9000), vec![event(3)])
        .expect("append");
    ledger.commit().expect_err("full");
    grow(&mut ledger, 2);
    ledger.verify_tail().expect("the tail is written anew");
    let before = lines(ledger.tree());
    drop(ledger);
    assert_eq!(lines(open(dir.path()).tree()), before);
}

#[test]
fn nothing_is_written_into_a_folder_that_has_come_in_the_ledgers_place() {
    let home = folder();
    let (dir, aside) = (home.path().join("ledger"), home.path().join("aside"));
    let mut ledger = open(&dir);
    grow(&mut ledger, 300);
    fs::rename(&dir, &aside).expect("moved");
    fs::create_dir(&dir).expect("a folder");
    grow(&mut ledger, 3);
    let signed = checkpoint(&ledger);
    let error = ledger.publish(signed).expect_err("its disk is gone");
    assert!(error.is_passing(), "{error}");
    assert_eq!(fs::read_dir(&dir).expect("list").count(), 0);
    fs::remove_dir(&dir).expect("removed");
    fs::rename(&aside, &dir).expect("moved back");
    publish(&mut ledger);
    let before = lines(ledger.tree());
    drop(ledger);
    assert_eq!(lines(open(&dir).tree()), before);
}

#[test]
fn a_ledger_cut_or_put_back_behind_its_checkpoint_does_not_open() {
    let dir = folder();
    let mut ledger = open(dir.path());
    grow(&mut ledger, 5);
    let old = fs::read(dir.path().join("tail")).expect("tail");
    grow(&mut ledger, 5);
    publish(&mut ledger);
    drop(ledger);
    fs::write(dir.path().join("tail"), old).expect("write");
    let error = Ledger::open(dir.path(), ORIGIN).err().expect("refused");
    assert!(
        matches!(
            error,
            LedgerError::Behind {
                expected: 10,
                found: 5,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_missing_ledger_is_never_taken_for_a_new_one() {
    let dir = folder();
    assert!(matches!(
        Ledger::open(dir.path(), ORIGIN),
        Err(LedgerError::Missing(_))
    ));
    let mut ledger = open(dir.path());
    grow(&mut ledger, 2);
    publish(&mut ledger);
    drop(ledger);
    fs::remove_file(dir.path().join("tail")).expect("remove");
    assert!(
        Ledger::create(dir.path(), ORIGIN).is_err(),
        "not over the remains of another"
    );
}

/// C8: what is recorded cannot be rewritten unnoticed.
#[test]
fn a_rewritten_past_is_found_out_by_an_older_checkpoint() {
    let (dir, other) = (folder(), folder());
    let mut ledger = open(dir.path());
    grow(&mut ledger, 300);
    let held_outside = checkpoint(&ledger);
    grow(&mut ledger, 300);
    ledger
        .tree()
        .verify_prefix(&held_outside)
        .expect("a prefix");
    let mut rewritten = open(other.path());
    rewritten
        .append(Timestamp(1), vec![event(99)])
        .expect("append");
    rewritten.commit().expect("commit");
    grow(&mut rewritten, 599);
    assert!(matches!(
        rewritten.tree().verify_prefix(&held_outside),
        Err(LedgerError::OtherRoot { size: 300, .. })
    ));
    assert!(rewritten.publish(held_outside).is_err());
}

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proofs_hold_between_any_two_sizes(sizes in prop::collection::vec(1u64..400, 2..5), flush: bool, a: prop::sample::Index, b: prop::sample::Index, c: prop::sample::Index) {
        let dir = folder();
        let mut ledger = open(dir.path());
        for size in sizes {
            grow(&mut ledger, size);
            if flush {
                publish(&mut ledger);
            }
        }
        let tree = ledger.tree();
        let new = a.index(tree.size() as usize) as u64 + 1;
        let old = b.index(new as usize + 1) as u64;
        let (before, after) = (tree.head_at(old).expect("head"), tree.head_at(new).expect("head"));
        let proof = tree.consistency_proof(old, new).expect("proof");
        prop_assert_eq!(verify_consistency(old, &before.root, new, &after.root, &proof), Ok(()));
        let index = c.index(new as usize) as u64;
        let leaf = leaf_hash(&tree.entry(index).expect("entry").line);
        let proof = tree.inclusion_proof(index, new).expect("proof");
        prop_assert_eq!(verify_inclusion(&leaf, index, new, &after.root, &proof), Ok(()));
        prop_assert!(tree.inclusion_proof(new, new).is_err());
    }

    /// Cut, flip or remove: opening and verifying name it, or everything committed is there unchanged.
    #[test]
    fn harmed_files_are_named_and_never_misread(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8, cut: bool, after in 0u64..200,
    ) {
        let dir = folder();
        let mut ledger = open(dir.path());
        grow(&mut ledger, 700);
        publish(&mut ledger);
        if after > 0 {
            grow(&mut ledger, after);
        }
        let before = lines(ledger.tree());
        drop(ledger);
        let files = all_files(dir.path());
        let file = &files[which.index(files.len())];
        let mut bytes = fs::read(file).expect("read");
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        fs::write(file, bytes).expect("write");

        let is_tail = file.ends_with("tail");
        match Ledger::open(dir.path(), ORIGIN) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(ledger) => {
                let tree = ledger.tree();
                let size = tree.size() as usize;
                let torn = is_tail && cut && size == 700;
                prop_assert!(size == before.len() || torn, "{} of {}", size, before.len());
                for (i, expected) in before.iter().take(size).enumerate() {
                    if let Ok(entry) = tree.entry(i as u64) {
                        prop_assert_eq!(&entry.line[..], &expected[..]);
                    }
                }
                let stored = ledger.checkpoint().expect("checkpoint").verify(&[signer().verifier()]);
                let found = tree.verify().is_err() || tree.verify_partial(700).is_err() || stored.is_err();
                prop_assert!(torn || found, "{file:?} at {at}");
            }
        }
    }
}
