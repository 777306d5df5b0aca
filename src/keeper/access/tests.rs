use super::*;
use crate::keeper::protocol::AccessRow;
use crate::ledger::{Event, Ledger};
use crate::time::Timestamp;

/// A ledger of sign-ins, each a second after the one before; most of them in full bundles on disk.
fn ledger(folder: &tempfile::TempDir, count: u64) -> Tree {
    let mut ledger = Ledger::create(folder.path(), "strongroom.box/test").expect("a ledger");
    for index in 0..count {
        let event = Event::Session {
            admitted: true,
            sealed: String::new(),
        };
        let now = Timestamp::from_seconds(index);
        ledger.append(now, vec![event]).expect("an entry");
        if index % 1024 == 0 || index + 1 == count {
            ledger.commit().expect("committed");
        }
    }
    ledger.tree().clone()
}

/// Tells the number of every entry, at this cost.
fn numbers(cost: u64) -> impl FnMut(&Recorded) -> Result<(Told, u64), CoreError> {
    move |recorded| {
        let row = AccessRow {
            entry: recorded.index,
            ..rows::row(String::new(), String::new())
        };
        Ok((Told::Row(Box::new(row)), cost))
    }
}

fn all(tree: &Tree, filter: &AccessFilter, cost: u64) -> (Vec<u64>, usize) {
    let (mut found, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let filter = AccessFilter {
            before,
            ..filter.clone()
        };
        let page = page(tree, &filter, &mut numbers(cost)).expect("a page");
        found.extend(page.entries.iter().map(|row| row.entry));
        pages += 1;
        before = page.next;
        if before.is_none() {
            return (found, pages);
        }
    }
}

fn pages_of(limit: u32) -> AccessFilter {
    AccessFilter {
        limit,
        ..AccessFilter::default()
    }
}

#[test]
fn pages_go_back_without_gaps_and_none_costs_more_than_it_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = ledger(&folder, 700);
    let backwards: Vec<u64> = (0..700).rev().collect();
    assert_eq!(all(&tree, &pages_of(90), 1), (backwards.clone(), 8));
    let (found, pages) = all(&tree, &pages_of(500), MOST_WORK / 10);
    assert_eq!((found, pages), (backwards, 70), "ten entries' work a page");
    let late = AccessFilter {
        since: Some(Timestamp::from_seconds(690)),
        ..pages_of(500)
    };
    assert_eq!(all(&tree, &late, 1), ((690..700).rev().collect(), 1));
}

#[test]
fn a_damaged_bundle_is_named_and_hides_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = ledger(&folder, 4200 + 1024);
    let bundle = folder.path().join("tile/entries/001");
    let mut bytes = std::fs::read(&bundle).expect("a bundle on disk");
    bytes[100] ^= 1;
    std::fs::write(&bundle, bytes).expect("damaged");
    let filter = AccessFilter {
        before: Some(600),
        ..pages_of(500)
    };
    let page = page(&tree, &filter, &mut numbers(1)).expect("a page");
    let found: Vec<u64> = page.entries.iter().map(|row| row.entry).collect();
    let whole: Vec<u64> = (0..256).chain(512..600).rev().collect();
    assert_eq!(found, whole);
    assert_eq!(page.damaged.len(), 1, "{:?}", page.damaged);
    assert!(page.damaged[0].contains("256 to 511"), "{:?}", page.damaged);
    assert_eq!(page.next, None);
}

#[test]
fn a_detail_that_does_not_open_is_named_and_hides_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = ledger(&folder, 300);
    let mut others = numbers(1);
    let mut tell = |recorded: &Recorded| match recorded.index {
        170 => Ok((Told::Damaged, 1)),
        _ => others(recorded),
    };
    let page = page(&tree, &pages_of(500), &mut tell).expect("a page");
    assert_eq!(page.entries.len(), 299);
    assert_eq!(
        page.damaged,
        ["the sealed detail of ledger entry 170 does not open"]
    );
}

#[test]
fn a_log_full_of_damage_is_told_page_by_page_and_each_of_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = ledger(&folder, 700);
    let (mut told, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let filter = AccessFilter {
            before,
            ..pages_of(500)
        };
        let page = page(&tree, &filter, &mut |_| Ok((Told::Damaged, 1))).expect("a page");
        told.extend(page.damaged);
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    told.sort();
    told.dedup();
    assert_eq!((told.len(), pages), (700, 3), "a bundle a page");
}

#[test]
fn what_was_asked_of_the_log_is_in_the_log_and_fits_there() {
    let filter = AccessFilter {
        person: Some("ü".repeat(4000)),
        since: Some(Timestamp(0)),
        ..pages_of(1)
    };
    let said = in_words(&filter);
    assert!(
        said.starts_with("person üü") && said.len() <= 1000,
        "{said}"
    );
    let said = in_words(&AccessFilter {
        person: Some("bert".into()),
        ..filter
    });
    assert_eq!(said, "person bert, since 1970-01-01T00:00:00Z");
}
