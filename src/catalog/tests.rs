use super::*;
use crate::id::SpoolFileId;
use crate::time::Timestamp;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

fn key() -> Key {
    Key::copy_from(&[9; 32])
}

fn tenant() -> TenantId {
    "main".parse().expect("a tenant name")
}

fn arrival(number: u32, ledger_index: u64) -> ArrivalMeta {
    ArrivalMeta {
        number,
        spool: SpoolId {
            file: SpoolFileId::random(),
            number,
        },
        arrived: Timestamp::from_seconds(1_700_000_000),
        owners: vec!["findme@example.org".to_owned()],
        ledger_index,
    }
}

fn record(number: u64) -> RecordMeta {
    RecordMeta {
        tenant: tenant(),
        record: RecordId::random(),
        slot: SlotRef {
            segment: 1,
            index: 7,
        },
        parts: vec![PartRef {
            kind: 0,
            segment: 1,
            offset: 4096,
            length: 900,
        }],
        arrivals: vec![arrival(0, number)],
        join: crate::crypto::random::bytes(),
        message_id: Some("findme.too@example.org".to_owned()),
        outcome: "opened".to_owned(),
        opened_by: vec!["ab12".to_owned()],
        has_attachment: true,
        sizes: Sizes {
            original: 2900,
            rendition: Some(2000),
        },
    }
}

fn put(record: &RecordMeta, applied: u64) -> Changes {
    Changes {
        records: vec![record.clone()],
        applied: Some(applied),
        ..Changes::default()
    }
}

#[test]
fn a_record_is_found_in_every_way() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let catalog = Catalog::open(folder.path(), key()).expect("open");
    let mut one = record(0);
    let two = record(1);
    catalog.apply(&put(&one, 1)).expect("apply");
    catalog.apply(&put(&two, 2)).expect("apply");
    let again = arrival(1, 2);
    let more = Changes {
        arrivals: vec![(one.record, again.clone())],
        ..Changes::default()
    };
    catalog.apply(&more).expect("apply");
    one.arrivals.push(again.clone());

    assert_eq!(
        catalog.record(&one.record).expect("read"),
        Some(one.clone())
    );
    assert_eq!(
        catalog.by_content(&tenant(), &one.join).expect("read"),
        Some(one.record)
    );
    assert_eq!(
        catalog.by_spool_id(&again.spool).expect("read"),
        Some(one.record)
    );
    assert_eq!(
        catalog.by_spool_id(&two.arrivals[0].spool).expect("read"),
        Some(two.record)
    );
    let mut same_id = catalog
        .by_message_id(&tenant(), "findme.too@example.org")
        .expect("read");
    same_id.sort_unstable();
    let mut expected = vec![one.record, two.record];
    expected.sort_unstable();
    assert_eq!(same_id, expected);
    assert_eq!(catalog.applied().expect("read"), 2);

    let elsewhere = "other".parse().expect("a tenant name");
    assert_eq!(
        catalog.by_content(&elsewhere, &one.join).expect("read"),
        None
    );
    assert!(
        catalog
            .by_message_id(&elsewhere, "findme.too@example.org")
            .expect("read")
            .is_empty()
    );
    assert_eq!(catalog.record(&RecordId::random()).expect("read"), None);
}

#[test]
fn the_worklist_shows_what_waits_until_it_is_done() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let catalog = Catalog::open(folder.path(), key()).expect("open");
    let (one, two) = (RecordId::random(), RecordId::random());
    let wait = |record, hint: &[u8]| Wait {
        tenant: tenant(),
        record,
        hint: hint.to_vec(),
    };
    let waits = vec![
        wait(one, b"key a"),
        wait(one, b"key b"),
        wait(two, b"key a"),
    ];
    catalog
        .apply(&Changes {
            waits,
            ..Changes::default()
        })
        .expect("apply");
    let mut list = catalog.worklist(&tenant()).expect("list");
    list.sort();
    assert_eq!(list, [(b"key a".to_vec(), 2), (b"key b".to_vec(), 1)]);
    assert!(
        catalog
            .worklist(&"other".parse().expect("name"))
            .expect("list")
            .is_empty()
    );

    // Partly opened: the wait for one key is over, the other is stated again.
    let opened = Changes {
        done: vec![(tenant(), one)],
        waits: vec![wait(one, b"key b")],
        opened_by: vec!["ab12".to_owned(), "ab12".to_owned()],
        ..Changes::default()
    };
    catalog.apply(&opened).expect("apply");
    assert_eq!(catalog.waiting(&tenant(), b"key a").expect("list"), [two]);
    assert_eq!(catalog.waiting(&tenant(), b"key b").expect("list"), [one]);
    let done = vec![(tenant(), one), (tenant(), two)];
    catalog
        .apply(&Changes {
            done,
            opened_by: vec!["ab12".to_owned()],
            ..Changes::default()
        })
        .expect("apply");
    assert!(catalog.worklist(&tenant()).expect("list").is_empty());
    assert_eq!(catalog.opened("ab12").expect("read"), 3);
}

#[test]
fn the_files_show_no_address_and_a_reopen_finds_all() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let one = record(0);
    {
        let catalog = Catalog::open(folder.path(), key()).expect("open");
        catalog.apply(&put(&one, 1)).expect("apply");
        catalog.flush().expect("flush");
    }
    for file in files_below(folder.path()) {
        let bytes = fs::read(&file).expect("read");
        assert!(!contains(&bytes, b"findme"), "{}", file.display());
        assert!(
            !contains(&bytes, one.record.as_bytes()),
            "{}",
            file.display()
        );
    }
    fs::write(
        folder.path().join("snap.0000000000000000.generating"),
        b"half",
    )
    .expect("write");
    {
        let catalog =
            Catalog::open(folder.path(), key()).expect("a half-made snapshot is no obstacle");
        assert_eq!(catalog.record(&one.record).expect("read"), Some(one));
    }
    let other_key = Catalog::open(folder.path(), Key::copy_from(&[8; 32]));
    assert!(matches!(
        other_key,
        Err(CatalogError::NeedsRebuild {
            why: Damage::OtherKey,
            ..
        })
    ));
    Catalog::erase(folder.path()).expect("erase");
    let fresh = Catalog::open(folder.path(), Key::copy_from(&[8; 32])).expect("open");
    assert_eq!(fresh.applied().expect("read"), 0);
}

/// What a crash leaves half done is done once more, and nothing is counted twice.
#[test]
fn many_records_applied_again_are_the_same() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let records: Vec<_> = (0..20).map(record).collect();
    let catalog = Catalog::open(folder.path(), key()).expect("open");
    let mut changes = Changes {
        records: records.clone(),
        applied: Some(records.len() as u64),
        ..Changes::default()
    };
    let half = Changes {
        records: records[..9].to_vec(),
        ..Changes::default()
    };
    catalog.apply(&half).expect("apply");
    assert_eq!(catalog.applied().expect("a number"), 0);
    changes.opened_by = vec!["a key".to_owned(); 3];
    catalog.apply(&changes).expect("apply");
    check_prefix(&catalog, &records).expect("all are there");
    for record in &records {
        let found = catalog.record(&record.record).expect("readable");
        assert_eq!(found.as_ref(), Some(record));
    }
    assert_eq!(catalog.opened("a key").expect("a number"), 3);
}

/// The state after a crash is that of some moment before it: cut the log anywhere, and the catalog
/// either opens with all changes that it says are applied or asks to be rebuilt.
#[test]
fn a_cut_or_altered_log_gives_a_prefix_or_asks_for_a_rebuild() {
    let origin = tempfile::tempdir().expect("temporary folder");
    let records: Vec<_> = (0..40).map(record).collect();
    {
        let catalog = Catalog::open(origin.path(), key()).expect("open");
        for (number, record) in records.iter().enumerate() {
            catalog
                .apply(&put(record, number as u64 + 1))
                .expect("apply");
        }
        catalog.flush().expect("flush");
    }
    let length = fs::metadata(origin.path().join("db")).expect("log").len();
    let end = last_used_byte(&origin.path().join("db"));
    let mut rebuilt = 0;
    for step in 0..16 {
        let at = end * step / 16;
        for cut in [true, false] {
            let copy = tempfile::tempdir().expect("temporary folder");
            copy_files(origin.path(), copy.path());
            let log = OpenOptions::new()
                .read(true)
                .write(true)
                .open(copy.path().join("db"))
                .expect("log");
            if cut {
                log.set_len(at).expect("cut");
                log.set_len(length).expect("refill with zeros");
            } else {
                let mut byte = [0];
                log.read_exact_at(&mut byte, at).expect("read");
                log.write_all_at(&[byte[0] ^ 1], at).expect("alter");
            }
            match Catalog::open(copy.path(), key())
                .and_then(|catalog| check_prefix(&catalog, &records))
            {
                Ok(()) => {}
                Err(CatalogError::NeedsRebuild { .. }) => rebuilt += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(rebuilt < 32, "nothing was ever readable");
}

fn check_prefix(catalog: &Catalog, records: &[RecordMeta]) -> Result<(), CatalogError> {
    let applied = usize::try_from(catalog.applied()?).expect("small");
    for (number, record) in records.iter().enumerate() {
        let found = catalog.record(&record.record)?;
        assert!(
            found.is_some() || number >= applied,
            "record {number}, applied {applied}"
        );
    }
    Ok(())
}

fn last_used_byte(path: &Path) -> u64 {
    let bytes = fs::read(path).expect("read");
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("not empty") as u64
        + 1
}

fn copy_files(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("parent")).expect("folder");
        fs::copy(&file, target).expect("copy");
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
