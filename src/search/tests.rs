use super::*;
use crate::id::TenantId;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

const NOVEMBER: u64 = 1_699_000_000;
const DAY: u64 = 86_400;

fn key() -> Key {
    Key::copy_from(&[5; 32])
}

fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant name")
}

fn doc(number: u64) -> SearchDoc {
    let date = Timestamp::from_seconds(NOVEMBER + number * DAY);
    SearchDoc {
        tenant: tenant("main"),
        record: RecordId::random(),
        arrived: date,
        date,
        owners: vec!["anna@example.org".to_owned()],
        from: vec![Party {
            name: "Jörg Müller".to_owned(),
            address: "Joerg.Mueller@Partner.example".to_owned(),
        }],
        to: vec![Party {
            name: String::new(),
            address: "anna@example.org".to_owned(),
        }],
        subject: format!("Quarterly report {number}"),
        body: "Dear Anna, the xylophone invoice is attached. Best regards".to_owned(),
        attachments: vec!["invoice-2023_11.pdf".to_owned()],
        has_attachment: number.is_multiple_of(2),
        encrypted: if number.is_multiple_of(3) {
            vec![Encryption::Smime]
        } else {
            Vec::new()
        },
        signed: if number.is_multiple_of(4) {
            vec![Judgement::Valid]
        } else {
            Vec::new()
        },
        message_id: Some(format!("Report-{number}@partner.example")),
    }
}

fn everyone() -> Scope {
    Scope {
        tenant: tenant("main"),
        owners: None,
        from: None,
        until: None,
    }
}

fn only(owner: &str) -> Scope {
    Scope {
        owners: Some(vec![owner.to_owned()]),
        ..everyone()
    }
}

fn open(folder: &Path) -> SearchIndex {
    SearchIndex::open(folder, key()).expect("open")
}

fn count(index: &SearchIndex, query: &str, scope: &Scope) -> u64 {
    let query = query
        .parse()
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    index.search(&query, scope, 10, None).expect("search").total
}

fn filled(folder: &Path, number: u64) -> (SearchIndex, Vec<SearchDoc>) {
    let index = open(folder);
    let docs: Vec<_> = (0..number).map(doc).collect();
    index.add(&docs).expect("add");
    index.commit(number).expect("commit");
    (index, docs)
}

// A5
#[test]
fn every_field_is_found() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (index, docs) = filled(folder.path(), 12);
    for (query, expected) in [
        ("", 12),
        ("xylophone", 12),
        ("XYLOPHONE invoice", 12),
        ("\"xylophone invoice\"", 12),
        ("\"invoice xylophone\"", 0),
        ("body:quarterly", 0),
        ("subject:quarterly", 12),
        ("from:muller", 12),
        ("from:\"jörg müller\"", 12),
        ("from:mueller", 12),
        ("from:partner.example", 12),
        ("from:joerg.mueller@partner.example", 12),
        ("from:mueller@partner.example", 0),
        ("to:muller", 0),
        ("with:muller", 12),
        ("with:anna@example.org", 12),
        ("attachment:invoice-2023", 12),
        ("invoice-2023_11.pdf", 12),
        ("\"report 7\"", 1),
        ("\"report 7\" OR \"report 8\"", 2),
        ("report -\"report 7\"", 11),
        ("-quarterly", 0),
        ("has:attachment", 6),
        ("-has:attachment", 6),
        ("encrypted:yes", 4),
        ("encrypted:smime", 4),
        ("encrypted:openpgp", 0),
        ("encrypted:no", 8),
        ("signed:any", 3),
        ("signed:no", 9),
        ("signed:valid", 3),
        ("signed:invalid", 0),
        ("id:report-7@partner.example", 1),
        ("date:2023-11-03", 1),
        ("date:2023-11-03..2023-11-05", 3),
        ("before:2023-11-05", 2),
        ("after:2023-11-05", 9),
        ("after:2030", 0),
        ("nothing", 0),
    ] {
        assert_eq!(count(&index, query, &everyone()), expected, "{query}");
    }
    assert_eq!(
        count(&index, &format!("id:{}", docs[3].record), &everyone()),
        1
    );
}

// A1
#[test]
fn no_query_leads_out_of_the_scope() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let index = open(folder.path());
    let mut docs: Vec<_> = (0..6).map(doc).collect();
    docs[1].owners = vec!["berta@example.org".to_owned()];
    docs[2].owners.push("Berta@example.org".to_owned());
    docs[3].tenant = tenant("other");
    index.add(&docs).expect("add");
    index.commit(1).expect("commit");

    let foreign = docs[1].record;
    for query in [
        "",
        "xylophone",
        "-nothing",
        "xylophone OR -xylophone",
        "(xylophone) OR report",
        "-(nothing OR nothing)",
        &format!("id:{foreign}"),
        "id:report-1@partner.example",
        "encrypted:no OR encrypted:yes",
        "date:2000..",
        "berta OR anna",
        "-has:attachment OR has:attachment",
    ] {
        let query: Query = query.parse().expect("a query");
        let page = index
            .search(&query, &only("anna@example.org"), 10, None)
            .expect("search");
        for hit in page.hits {
            assert!(
                ![docs[1].record, docs[3].record].contains(&hit.record),
                "{query}"
            );
        }
    }
    assert_eq!(count(&index, "", &only("anna@example.org")), 4);
    assert_eq!(count(&index, "", &only("berta@example.org")), 2);
    assert_eq!(count(&index, "", &only("anna")), 0);
    assert_eq!(
        count(
            &index,
            "",
            &Scope {
                owners: Some(Vec::new()),
                ..everyone()
            }
        ),
        0
    );
    assert_eq!(count(&index, "", &everyone()), 5);
    assert_eq!(
        count(
            &index,
            "",
            &Scope {
                tenant: tenant("other"),
                ..everyone()
            }
        ),
        1
    );
    let two_days = Scope {
        from: Some(docs[4].date),
        until: Some(Timestamp(docs[5].date.0 + 1)),
        ..only("anna@example.org")
    };
    assert_eq!(count(&index, "date:1990..2050", &two_days), 2);
}

#[test]
fn pages_are_newest_first_across_partitions_and_miss_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let index = open(folder.path());
    let mut docs: Vec<_> = (0..90).map(doc).collect();
    for doc in &mut docs {
        // Many equal dates, so that the order hangs on the record id.
        doc.date = Timestamp(doc.date.0 / (20 * DAY * 1000) * 20 * DAY * 1000);
    }
    for (number, group) in docs.chunks(13).enumerate() {
        index.add(group).expect("add");
        index.commit(number as u64).expect("commit");
    }
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = index
            .search(&Query::Everything, &everyone(), 7, cursor)
            .expect("search");
        assert_eq!(page.total, 90);
        found.extend(page.hits);
        let Some(next) = page.next else { break };
        cursor = Some(
            next.to_string()
                .parse()
                .expect("a cursor survives its text form"),
        );
    }
    let mut expected: Vec<_> = docs
        .iter()
        .map(|doc| Hit {
            record: doc.record,
            date: doc.date,
        })
        .collect();
    expected.sort_by_key(|hit| (std::cmp::Reverse(hit.date), hit.record));
    assert_eq!(found, expected);
}

#[test]
fn a_replaced_or_removed_record_is_found_as_it_is_now() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (index, mut docs) = filled(folder.path(), 5);
    docs[2].owners.push("berta@example.org".to_owned());
    index.replace(&docs[2..3]).expect("replace");
    index
        .remove(&docs[0].record, docs[0].arrived)
        .expect("remove");
    assert_eq!(
        count(&index, "", &only("berta@example.org")),
        0,
        "not before the commit"
    );
    index.commit(6).expect("commit");
    assert_eq!(count(&index, "", &only("berta@example.org")), 1);
    assert_eq!(count(&index, "", &everyone()), 4);
    drop(index);
    let index = open(folder.path());
    assert_eq!((count(&index, "", &everyone()), index.applied()), (4, 6));
}

#[test]
fn the_files_show_no_word_and_another_key_shows_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (index, docs) = filled(folder.path(), 40);
    drop(index);
    let words: [&[u8]; 8] = [
        b"xylophone",
        b"anna",
        b"muller",
        b"partner",
        b"quarterly",
        b"signed",
        b"segments",
        b"main",
    ];
    for file in files_below(folder.path()) {
        let bytes = fs::read(&file).expect("read").to_ascii_lowercase();
        for word in words
            .iter()
            .copied()
            .chain([docs[0].record.as_bytes().as_slice()])
        {
            let found = bytes.windows(word.len()).any(|window| window == word);
            assert!(
                !found,
                "{} has {}",
                file.display(),
                String::from_utf8_lossy(word)
            );
        }
    }
    let other = SearchIndex::open(folder.path(), Key::copy_from(&[6; 32]));
    assert!(other.err().is_some_and(|error| error.needs_rebuild()));
    SearchIndex::erase(folder.path()).expect("erase");
    let fresh = SearchIndex::open(folder.path(), Key::copy_from(&[6; 32])).expect("open");
    assert_eq!(count(&fresh, "", &everyone()), 0);
}

/// Damages every file in turn: an answer is whole, or it is an error that asks for a rebuild.
#[test]
fn a_flipped_bit_a_cut_or_a_missing_file_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (index, _) = filled(folder.path(), 40);
    drop(index);
    let mut noticed = 0;
    for file in files_below(folder.path()) {
        let name = file.strip_prefix(folder.path()).expect("below");
        let bytes = fs::read(&file).expect("read");
        for damage in 0..8 {
            let copy = tempfile::tempdir().expect("temporary folder");
            copy_files(folder.path(), copy.path());
            let target = copy.path().join(name);
            let at = bytes.len() * (damage % 4) / 4;
            match damage {
                0..4 if at < bytes.len() => {
                    let mut altered = bytes.clone();
                    altered[at] ^= 0x10;
                    fs::write(target, altered).expect("write");
                }
                7 => fs::remove_file(target).expect("remove"),
                _ => fs::write(target, &bytes[..at]).expect("write"),
            }
            match used(copy.path()) {
                // Without its state an index is as good as empty: all is applied again.
                Ok(total) if damage == 7 && name == Path::new("state") => assert_eq!(total, [0; 3]),
                Ok(total) => assert_eq!(total, [40, 20, 40], "{} damage {damage}", name.display()),
                Err(error) => {
                    assert!(
                        error.needs_rebuild(),
                        "{} damage {damage}: {error}",
                        name.display()
                    );
                    noticed += 1;
                }
            }
        }
    }
    assert!(noticed > 20, "only {noticed} damages were noticed");
}

fn used(folder: &Path) -> Result<[u64; 3], SearchError> {
    let index = SearchIndex::open(folder, key())?;
    let total = |query: &str| {
        let query = query.parse().expect("a query");
        index
            .search(&query, &only("anna@example.org"), 5, None)
            .map(|page| page.total)
    };
    Ok([
        total("\"xylophone invoice\"")?,
        total("has:attachment")?,
        total("subject:report -nothing")?,
    ])
}

/// Copies the folder while it is written, as a crash would leave it: every copy opens or asks for a
/// rebuild, and after a replay with `replace` nothing is missing or double.
#[test]
fn any_moment_of_a_crash_can_be_continued_from() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let docs: Vec<_> = (0..120).map(doc).collect();
    let index = open(folder.path());
    let is_done = AtomicBool::new(false);
    let mut continued = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (number, group) in docs.chunks(5).enumerate() {
                index.add(group).expect("add");
                index.commit(5 * (number as u64 + 1)).expect("commit");
            }
            is_done.store(true, Ordering::SeqCst);
        });
        while !is_done.load(Ordering::SeqCst) {
            let copy = tempfile::tempdir().expect("temporary folder");
            copy_files(folder.path(), copy.path());
            match continued_from(copy.path(), &docs) {
                Ok(total) => assert_eq!(total, 120),
                Err(error) => assert!(error.needs_rebuild(), "{error}"),
            }
            continued += 1;
        }
    });
    assert_eq!(
        continued_from(folder_copy(folder.path()).path(), &docs).expect("whole"),
        120
    );
    assert!(continued > 0);
}

fn continued_from(folder: &Path, docs: &[SearchDoc]) -> Result<u64, SearchError> {
    let index = SearchIndex::open(folder, key())?;
    let applied = usize::try_from(index.applied()).expect("small");
    index.replace(&docs[applied..])?;
    index.commit(docs.len() as u64)?;
    Ok(index
        .search(&Query::Everything, &everyone(), 5, None)?
        .total)
}

fn folder_copy(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("temporary folder");
    copy_files(from, copy.path());
    copy
}

/// The copy takes time and a crash does not: the state goes first, for it is written last, and a copy with a newer state
/// than its partitions is of no moment that ever was. A file that vanishes meanwhile is left out, as tantivy had removed
/// it.
fn copy_files(from: &Path, to: &Path) {
    let mut files = files_below(from);
    files.sort_by_key(|file| *file != from.join("state"));
    for file in files {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("parent")).expect("folder");
        let _ = fs::copy(&file, target);
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
