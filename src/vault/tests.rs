//! What the vault promises, shown on real files: cut, altered, full, interrupted.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use tempfile::TempDir;

/// What a vault was told, to compare with what it gives back.
struct Stored {
    record: RecordId,
    slot: SlotPlace,
    parts: Vec<(PartPlace, PartKind, Vec<u8>)>,
}

fn tenant() -> TenantId {
    "main".parse().expect("tenant")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn record(n: u64) -> RecordId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(n + 1).to_be_bytes());
    RecordId::from_bytes(bytes)
}

fn segment_key(segment: SegmentNo) -> WrappedSegmentKey {
    WrappedSegmentKey {
        epoch: 1,
        bytes: [segment.0 as u8; 60],
    }
}

fn record_key(n: u64) -> WrappedKey {
    [n as u8 | 1; 60]
}

fn sealed(n: u64, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u64 * 31 + n * 7) as u8).collect()
}

/// Stores mail number `n` as original and manifest.
fn store(vault: &mut Vault, n: u64, length: usize) -> Stored {
    if vault.needs_new_segment() {
        let next = vault.next_segment();
        assert_eq!(
            vault.start_segment(&segment_key(next)).expect("start"),
            next
        );
    }
    let slot = vault.add_slot(record(n), &record_key(n)).expect("slot");
    let parts = [(PartKind::Original, length), (PartKind::Manifest, 50)].map(|(kind, length)| {
        let bytes = sealed(n, length);
        (
            vault.append(record(n), kind, slot, &bytes).expect("append"),
            kind,
            bytes,
        )
    });
    Stored {
        record: record(n),
        slot,
        parts: parts.into(),
    }
}

/// A vault of some small segments, all committed.
fn filled(dir: &Path, lengths: &[usize], segment_size: u64) -> Vec<Stored> {
    let mut vault = Vault::open(dir, &tenant(), None)
        .expect("open")
        .with_segment_size(segment_size);
    let mut stored = Vec::new();
    for (n, length) in (0..).zip(lengths) {
        stored.push(store(&mut vault, n, *length));
        if n % 3 == 2 {
            vault.commit().expect("commit");
        }
    }
    vault.commit().expect("commit");
    stored
}

fn last_place(stored: &[Stored]) -> Option<PartPlace> {
    stored
        .last()
        .and_then(|stored| stored.parts.last())
        .map(|part| part.0)
}

fn read_all(reader: &VaultReader, place: PartPlace) -> Result<Vec<u8>, String> {
    let mut part = reader.read(place).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    part.read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn assert_all_there(reader: &VaultReader, stored: &[Stored]) {
    for stored in stored {
        let n = stored.record.as_bytes()[7] as u64 - 1;
        assert_eq!(
            reader.slot(stored.slot, stored.record).expect("slot"),
            record_key(n)
        );
        for (place, kind, bytes) in &stored.parts {
            assert_eq!(&read_all(reader, *place).expect("read"), bytes);
            assert_eq!(reader.read(*place).expect("read").kind, *kind);
        }
    }
}

fn scanned(reader: &VaultReader) -> (Vec<PartInfo>, Vec<Damage>) {
    let (mut parts, mut damage) = (Vec::new(), Vec::new());
    for segment in (1..=reader.newest_segment().map_or(0, |newest| newest.0)).map(SegmentNo) {
        match reader.scan(segment) {
            Ok(scan) => {
                for item in scan {
                    match item {
                        Ok(part) => parts.push(part),
                        Err(VaultError::Damage(found)) => damage.push(found),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            Err(VaultError::Damage(found)) => damage.push(found),
            Err(error) => panic!("{error}"),
        }
        damage.extend(reader.damaged_slots(segment).expect("slots"));
    }
    (parts, damage)
}

#[test]
fn what_is_stored_comes_back_across_segments_and_restarts() {
    let dir = folder();
    let stored = filled(dir.path(), &[10, 0, 3000, 500_000, 1, 2000, 77], 2500);
    let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open");
    assert_eq!(vault.damage(), []);
    assert_all_there(&vault.reader(), &stored);
    let (parts, damage) = scanned(&vault.reader());
    assert_eq!((parts.len(), damage), (14, vec![]));
    assert!(
        parts
            .iter()
            .map(|part| part.place)
            .eq(stored.iter().flat_map(|s| s.parts.iter().map(|p| p.0)))
    );
    assert_eq!(
        vault.reader().segment_key(SegmentNo(2)),
        Some(segment_key(SegmentNo(2)))
    );

    let next = store(&mut vault, 7, 60);
    vault.commit().expect("commit");
    assert_all_there(&vault.reader(), &[next]);
}

#[test]
fn a_late_part_goes_to_the_current_segment_under_the_old_slot() {
    let dir = folder();
    let stored = filled(dir.path(), &[3000, 3000], 2500);
    let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open");
    let old = &stored[0];
    let place = vault
        .append(old.record, PartKind::Rendition, old.slot, b"late")
        .expect("append");
    vault.commit().expect("commit");
    drop(vault);
    let vault = Vault::open(dir.path(), &tenant(), Some(place)).expect("open");
    let part = vault.reader().read(place).expect("read");
    assert_eq!(
        (part.slot.segment, place.segment, part.kind),
        (SegmentNo(1), SegmentNo(2), PartKind::Rendition)
    );
    assert_all_there(&vault.reader(), &stored);
}

#[test]
fn a_long_part_is_streamed_in_and_out_and_an_unfinished_one_leaves_nothing() {
    let dir = folder();
    let mut vault = Vault::open(dir.path(), &tenant(), None).expect("open");
    let first = store(&mut vault, 0, 5);
    let mut writer = vault
        .part_writer(first.record, PartKind::Rendition, first.slot)
        .expect("writer");
    writer.write_all(&[1; 3_000_000]).expect("write");
    drop(writer);
    let bytes = sealed(9, 2_500_000);
    let mut writer = vault
        .part_writer(first.record, PartKind::Rendition, first.slot)
        .expect("writer");
    for piece in bytes.chunks(77_777) {
        writer.write_all(piece).expect("write");
    }
    let place = writer.finish().expect("finish");
    let after = store(&mut vault, 1, 5);
    vault.commit().expect("commit");
    assert_eq!(
        place.offset,
        first.parts[1].0.end(),
        "nothing is left of the dropped part"
    );
    assert_eq!(read_all(&vault.reader(), place).expect("read"), bytes);
    assert_all_there(&vault.reader(), &[first, after]);
    assert_eq!(scanned(&vault.reader()).1, []);
}

#[test]
fn a_batch_of_500_mails_costs_two_syncs() {
    let dir = folder();
    let mut vault = Vault::open(dir.path(), &tenant(), None).expect("open");
    vault
        .start_segment(&segment_key(SegmentNo(1)))
        .expect("start");
    let before = durable::DATA_SYNCS.get();
    for n in 0..500 {
        store(&mut vault, n, 2900);
    }
    vault.commit().expect("commit");
    assert_eq!(durable::DATA_SYNCS.get() - before, 2);
    vault.commit().expect("commit");
    assert_eq!(
        durable::DATA_SYNCS.get() - before,
        2,
        "an empty commit costs nothing"
    );
}

#[test]
fn a_batch_that_the_ledger_never_heard_of_is_cut_off() {
    let dir = folder();
    let stored = filled(dir.path(), &[100, 200], 1 << 20);
    let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored))
        .expect("open")
        .with_segment_size(400);
    for n in 2..6 {
        store(&mut vault, n, 300);
    }
    vault.commit().expect("commit");
    drop(vault);
    let vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open");
    assert_eq!(vault.current_segment(), Some(SegmentNo(1)));
    assert_eq!(vault.reader().newest_segment(), Some(SegmentNo(1)));
    assert_eq!(scanned(&vault.reader()).0.len(), 4);
    assert_eq!(
        std::fs::read_dir(dir.path().join("main"))
            .expect("list")
            .count(),
        3
    );
    assert_all_there(&vault.reader(), &stored);
}

#[test]
fn a_ledger_far_behind_the_vault_removes_nothing() {
    let dir = folder();
    let stored = filled(dir.path(), &[1000; 6], 900);
    let behind = Vault::open(dir.path(), &tenant(), None);
    assert!(matches!(behind, Err(VaultError::LedgerBehind { .. })));
    let vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open");
    assert_all_there(&vault.reader(), &stored);
}

#[test]
fn a_full_disk_spoils_the_batch_and_nothing_else() {
    let dir = folder();
    let stored = filled(dir.path(), &[100, 200], 1 << 20);
    let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open");
    store(&mut vault, 2, 300);
    vault
        .open
        .as_mut()
        .expect("open segment")
        .parts
        .replace_file(Path::new("/dev/full"));
    let error = vault.commit().expect_err("full");
    assert!(error.is_full(), "{error}");
    assert!(
        matches!(vault.commit(), Err(VaultError::Broken { .. })),
        "only a rollback leads on"
    );
    vault.rollback().expect("rollback");
    assert_all_there(&vault.reader(), &stored);
    let again = store(&mut vault, 2, 300);
    vault.commit().expect("commit");
    assert_all_there(&vault.reader(), &[again]);
    assert_eq!(scanned(&vault.reader()).1, []);
}

#[test]
fn a_disk_that_fills_under_a_long_part_spoils_the_batch() {
    let dir = folder();
    let stored = filled(dir.path(), &[100], 1 << 20);
    let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open");
    let new = store(&mut vault, 1, 10);
    vault
        .open
        .as_mut()
        .expect("open segment")
        .parts
        .replace_file(Path::new("/dev/full"));
    let mut writer = vault
        .part_writer(new.record, PartKind::Original, new.slot)
        .expect("writer");
    let error = writer.write_all(&[7; 2_000_000]).expect_err("full");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    drop(writer);
    assert!(matches!(vault.commit(), Err(VaultError::Broken { .. })));
    vault.rollback().expect("rollback");
    assert_all_there(&vault.reader(), &stored);
    assert_eq!(scanned(&vault.reader()).1, []);
}

#[test]
fn a_rollback_takes_back_segments_too() {
    let dir = folder();
    let mut vault = Vault::open(dir.path(), &tenant(), None)
        .expect("open")
        .with_segment_size(400);
    store(&mut vault, 0, 500);
    store(&mut vault, 1, 500);
    vault.rollback().expect("rollback");
    assert_eq!(
        (vault.current_segment(), vault.needs_new_segment()),
        (None, true)
    );
    let stored = store(&mut vault, 2, 10);
    vault.commit().expect("commit");
    assert_eq!(
        stored.slot,
        SlotPlace {
            segment: SegmentNo(1),
            index: 0
        }
    );
    assert_all_there(&vault.reader(), &[stored]);
}

#[test]
fn a_shredded_slot_gives_no_key_any_more() {
    let dir = folder();
    let stored = filled(dir.path(), &[10, 20], 1 << 20);
    let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open");
    let wrong = vault.zero_slot(stored[0].slot, stored[1].record);
    assert!(matches!(wrong, Err(VaultError::OtherRecord { .. })));
    vault
        .zero_slot(stored[0].slot, stored[0].record)
        .expect("shred");
    vault
        .zero_slot(stored[0].slot, stored[0].record)
        .expect("shredding again changes nothing");
    let gone = vault.reader().slot(stored[0].slot, stored[0].record);
    assert!(matches!(gone, Err(VaultError::Shredded { .. })));
    assert_all_there(&vault.reader(), &stored[1..]);
    assert_eq!(scanned(&vault.reader()).1, [], "shredding is no damage");
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let list = std::fs::read_dir(dir.join("main")).expect("list");
    list.map(|entry| entry.expect("entry").path())
        .map(|path| (path.clone(), std::fs::read(&path).expect("read")))
        .collect()
}

#[derive(Debug, Clone)]
enum Harm {
    Cut,
    Flip(u8),
    Remove,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        Just(Harm::Cut),
        (0u8..8).prop_map(Harm::Flip),
        Just(Harm::Remove)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A flipped bit, a cut or a missing file is named, and everything else is still read as it was.
    #[test]
    fn harmed_files_are_named_and_never_misread(
        lengths in prop::collection::vec(0usize..1500, 1..9),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        harm in harm(),
    ) {
        let dir = folder();
        let stored = filled(dir.path(), &lengths, 2500);
        let files = files(dir.path());
        let (path, bytes) = files.iter().nth(which.index(files.len())).expect("a file");
        let at = at.index(bytes.len());
        match harm {
            Harm::Cut => std::fs::write(path, &bytes[..at]).expect("write"),
            Harm::Remove => std::fs::remove_file(path).expect("remove"),
            Harm::Flip(bit) => {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                std::fs::write(path, bytes).expect("write");
            }
        }
        let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open");
        let reader = vault.reader();
        let (parts, mut damage) = scanned(&reader);
        damage.extend(vault.damage().to_vec());
        let in_magic = path.ends_with("keytable") && at < 8 && matches!(harm, Harm::Flip(_));
        let (mut misread, mut keyless) = (0, 0);
        for stored in &stored {
            for (place, _, bytes) in &stored.parts {
                match read_all(&reader, *place) {
                    Ok(read) => prop_assert_eq!(&read, bytes),
                    Err(_) => misread += 1,
                }
            }
            let key = record_key(stored.record.as_bytes()[7] as u64 - 1);
            match reader.slot(stored.slot, stored.record) {
                Ok(read) => prop_assert_eq!(read, key),
                Err(_) => keyless += 1,
            }
        }
        let named = !damage.is_empty() || misread + keyless > 0 || in_magic;
        prop_assert!(named, "{path:?} at {at}, {} parts", parts.len());
        if let Harm::Flip(_) = harm {
            prop_assert!(misread + keyless <= 1, "one flipped bit costs one part or key at most");
        }

        let next = store(&mut vault, 100, 40);
        vault.commit().expect("commit");
        assert_all_there(&reader, &[next]);
    }

    /// Whatever a power cut leaves behind the last committed part goes away, and nothing else.
    #[test]
    fn a_power_cut_in_a_batch_leaves_what_was_committed(
        lengths in prop::collection::vec(0usize..1500, 0..5),
        lost in prop::collection::vec(0usize..1500, 1..4),
        kept in prop::collection::vec(any::<prop::sample::Index>(), 16),
        zeroed: bool,
    ) {
        let dir = folder();
        let stored = filled(dir.path(), &lengths, 2500);
        let committed = files(dir.path());
        let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open").with_segment_size(2500);
        for (n, length) in (50..).zip(&lost) {
            store(&mut vault, n, *length);
        }
        vault.commit().expect("synced, but the ledger never was");
        drop(vault);
        for ((path, bytes), kept) in files(dir.path()).iter().zip(&kept) {
            let safe = committed.get(path).map_or(0, Vec::len);
            if path.ends_with("keytable") || bytes.len() <= safe {
                continue;
            }
            let cut = safe + kept.index(bytes.len() - safe);
            let mut torn = bytes[..cut].to_vec();
            if zeroed {
                torn.resize(bytes.len(), 0);
            }
            std::fs::write(path, torn).expect("write");
        }
        let mut vault = Vault::open(dir.path(), &tenant(), last_place(&stored)).expect("open").with_segment_size(2500);
        prop_assert_eq!(vault.damage(), []);
        let (parts, damage) = scanned(&vault.reader());
        prop_assert_eq!((parts.len(), damage), (2 * stored.len(), vec![]));
        assert_all_there(&vault.reader(), &stored);
        let next = store(&mut vault, 99, 40);
        vault.commit().expect("commit");
        assert_all_there(&vault.reader(), &[next]);
    }
}

#[test]
fn a_vault_whose_disk_is_not_there_is_not_begun_anew() {
    let home = folder();
    let dir = home.path().join("vault");
    let mut vault = Vault::open(&dir, &tenant(), None).expect("new");
    let stored = vec![store(&mut vault, 0, 100)];
    vault.commit().expect("commit");
    drop(vault);
    let aside = home.path().join("aside");
    fs::rename(&dir, &aside).expect("moved");
    fs::create_dir(&dir).expect("a mount point");
    let opened = Vault::open(&dir, &tenant(), last_place(&stored));
    assert!(matches!(opened, Err(VaultError::Missing { .. })));
    assert_eq!(fs::read_dir(&dir).expect("list").count(), 0);
    fs::remove_dir(&dir).expect("removed");
    fs::rename(&aside, &dir).expect("moved back");
    let vault = Vault::open(&dir, &tenant(), last_place(&stored)).expect("open");
    assert!(vault.damage().is_empty());
}
