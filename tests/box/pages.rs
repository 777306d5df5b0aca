//! Long lists of hits, page by page.

use crate::support::{TestBox, numbered_mail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

const MAILS: usize = 1200;

/// The records of one page, and how many there are in all.
fn page(box_: &TestBox, query: &str, offset: usize, limit: usize) -> (Vec<String>, Value) {
    let found = box_.json(&format!(
        "search --json --offset {offset} --limit {limit} {query}"
    ));
    let hits = found["hits"].as_array().expect("hits").iter();
    let id = |hit: &Value| hit["record"].as_str().expect("an id").to_owned();
    (hits.map(id).collect(), found["total"].clone())
}

// O3: whatever was found can be listed, without gap or double, also where many mails have the same date.
#[test]
fn a_search_is_paged_through_beyond_its_first_thousand_hits() {
    let box_ = TestBox::running();
    let mut mbox = Vec::new();
    for number in 0..MAILS {
        let day = number / 500 + 1;
        mbox.extend(b"From sender@example.net Mon Jan  5 10:00:00 2015\n");
        mbox.extend(format!("Date: Thu, {day} Jan 2015 10:00:00 +0000\n").into_bytes());
        let mail = numbered_mail(number).into_iter();
        mbox.extend(mail.filter(|byte| *byte != b'\r'));
        mbox.push(b'\n');
    }
    fs::write(box_.file("old.mbox"), mbox).expect("an mbox");
    box_.ok(&format!(
        "import {} --mailbox anna@example.org",
        box_.file("old.mbox").display()
    ));
    box_.wait_for_records(MAILS as u64);
    box_.wait_for_hits(MAILS as u64, "hippopotamus");

    for (query, limit) in [("hippopotamus", 250), ("", 487)] {
        let mut all = Vec::new();
        for offset in (0..MAILS).step_by(limit) {
            let (records, total) = page(&box_, query, offset, limit);
            assert_eq!(total, MAILS, "{query} from {offset}");
            assert_eq!(records.len(), limit.min(MAILS - offset), "from {offset}");
            all.extend(records);
        }
        let different: BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len(), different.len()), (MAILS, MAILS), "{query}");
        // Any other page is a piece of the same list.
        for (offset, limit) in [(990, 20), (999, 2), (1000, 1), (1199, 50)] {
            let (records, total) = page(&box_, query, offset, limit);
            assert_eq!(total, MAILS);
            let end = MAILS.min(offset + limit);
            assert_eq!(records, all[offset..end], "{query} from {offset}");
        }
        let (beyond, total) = page(&box_, query, MAILS, 10);
        assert_eq!((beyond.len(), total), (0, MAILS.into()));
    }
    let last = page(&box_, "subject:\"crocodile 1199\"", 0, 10);
    assert_eq!((last.0.len(), last.1), (1, 1.into()));
    box_.assert_no_panic();
}
