//! The access log: who read what and why, told from the ledger to auditors, to officers, and to the people whose mail it
//! was. It is read backwards, so much at a time, and reading it is an access of its own.

mod rows;

use super::core::{Core, CoreError, lock};
use super::people::Person;
use super::protocol::{AccessFilter, AccessPage};
use super::reading::Access;
use super::rights::LogWarrant;
use crate::ledger::{Recorded, Tree};
use rows::{Teller, Told};
use std::collections::BTreeSet;
use std::ops::Range;

/// What reading the access log is called in it.
const ACTION: &str = "access log";
/// Most entries on one page.
const LARGEST_PAGE: u32 = 500;
/// A page ends behind the bundle in which it comes to name so many damages.
const MOST_DAMAGES: usize = 100;
/// What one page may cost: a ledger entry that is passed counts 1, more where more is looked up for it.
const MOST_WORK: u64 = 100_000;

/// What is told of an entry, and what finding out cost.
type Tell<'a> = dyn FnMut(&Recorded) -> Result<(Told, u64), CoreError> + 'a;

impl Core {
    /// A page of the access log, as far as the person may see it.
    pub fn access_log(
        &self,
        person: &Person,
        filter: &AccessFilter,
    ) -> Result<AccessPage, CoreError> {
        let tree = lock(&self.ledger).tree().clone();
        let warrant = LogWarrant::of_person(person, lock(&self.cases).is_officer(person));
        let query = in_words(filter);
        let access = Access {
            action: ACTION,
            record: None,
            listed: Vec::new(),
            through: BTreeSet::new(),
            query: Some(&query),
        };
        self.note_access(warrant.own(), access)?;
        let mut teller = Teller::new(self, &warrant, filter);
        page(&tree, filter, &mut |recorded| teller.tell(recorded))
    }
}

/// What was asked of the log, for the log.
fn in_words(filter: &AccessFilter) -> String {
    let parts = [
        filter.case.map(|case| format!("case {case}")),
        filter.person.as_ref().map(|name| format!("person {name}")),
        filter.record.map(|record| format!("record {record}")),
        filter.since.map(|time| format!("since {time}")),
        filter.until.map(|time| format!("until {time}")),
    ];
    let said: Vec<String> = parts.into_iter().flatten().collect();
    let mut text = said.join(", ");
    text.truncate(text.floor_char_boundary(crate::search::query::LONGEST_QUERY));
    text
}

/// Walks back until the page is full, the work done, or the time asked for behind.
fn page(tree: &Tree, filter: &AccessFilter, tell: &mut Tell<'_>) -> Result<AccessPage, CoreError> {
    let mut page = AccessPage::default();
    let limit = filter.limit.clamp(1, LARGEST_PAGE) as usize;
    let mut work = 0;
    let mut end = filter.before.unwrap_or(u64::MAX).min(tree.size());
    while let Some(last) = end.checked_sub(1) {
        let start = Tree::first_in_bundle(last);
        let (entries, unread) = readable(tree, start..end);
        for recorded in entries.iter().rev() {
            let is_full = page.entries.len() >= limit || work >= MOST_WORK;
            let since = filter.since;
            let is_behind = since.is_some_and(|since| recorded.entry.time < since);
            if is_full || is_behind {
                let passed = unread.iter().filter(|gap| gap.start > recorded.index);
                page.damaged.extend(passed.map(unreadable));
                page.next = (!is_behind).then_some(recorded.index + 1);
                return Ok(page);
            }
            let (told, cost) = tell(recorded)?;
            work += cost;
            match told {
                Told::Row(row) => page.entries.push(*row),
                Told::Damaged => page.damaged.push(format!(
                    "the sealed detail of ledger entry {} does not open",
                    recorded.index
                )),
                Told::Nothing => {}
            }
        }
        page.damaged.extend(unread.iter().map(unreadable));
        if page.damaged.len() >= MOST_DAMAGES && start > 0 {
            page.next = Some(start);
            return Ok(page);
        }
        end = start;
    }
    Ok(page)
}

/// The entries of a range within one bundle, and the numbers of those that cannot be read.
fn readable(tree: &Tree, range: Range<u64>) -> (Vec<Recorded>, Vec<Range<u64>>) {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    let mut next = range.start;
    while next < range.end {
        let first = next;
        for recorded in tree.entries(next..range.end).flatten() {
            next = recorded.index + 1;
            found.push(recorded);
        }
        if next < range.end {
            // Where not even the first can be read, it is the bundle.
            let gap = next..if next == first { range.end } else { next + 1 };
            next = gap.end;
            unread.push(gap);
        }
    }
    (found, unread)
}

fn unreadable(entries: &Range<u64>) -> String {
    let which = match entries.end - entries.start {
        1 => format!("ledger entry {}", entries.start),
        _ => format!("ledger entries {} to {}", entries.start, entries.end - 1),
    };
    format!("{which} cannot be read; `strongroom verify` says why")
}

#[cfg(test)]
mod tests;
