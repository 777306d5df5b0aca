//! Picks the newest hits of a query, a page at a time, and counts all.

use crate::id::{BadId, RecordId};
use crate::time::Timestamp;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::{DocId, Score, SegmentOrdinal, SegmentReader};

/// A record that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The record.
    pub record: RecordId,
    /// The mail's date, as it was indexed.
    pub date: Timestamp,
}

/// Where the next page begins: behind this hit. Text form: milliseconds, a point, the record id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(Hit);

impl Cursor {
    /// Goes on behind `hit`.
    #[must_use]
    pub const fn behind(hit: Hit) -> Self {
        Self(hit)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.date.0, self.0.record)
    }
}

/// A text is not a [`Cursor`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCursor {
    /// No number and point in front.
    #[error("a search cursor is a number, a point and a record id, as the page before gave it")]
    Form,
    /// The record id is none.
    #[error(transparent)]
    Record(#[from] BadId),
}

impl FromStr for Cursor {
    type Err = BadCursor;
    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (date, record) = text.split_once('.').ok_or(BadCursor::Form)?;
        let date = Timestamp(date.parse().map_err(|_| BadCursor::Form)?);
        Ok(Self(Hit {
            record: record.parse()?,
            date,
        }))
    }
}

/// Sorts newest first, equal dates by record id, whatever partition or segment a record lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    age: u64,
    record: u128,
}

impl Rank {
    /// The rank of a hit.
    #[must_use]
    pub const fn of(hit: &Hit) -> Self {
        Self {
            age: u64::MAX - hit.date.0,
            record: u128::from_be_bytes(*hit.record.as_bytes()),
        }
    }

    /// The hit of a rank.
    #[must_use]
    pub const fn hit(self) -> Hit {
        let record = RecordId::from_bytes(self.record.to_be_bytes());
        Hit {
            record,
            date: Timestamp(u64::MAX - self.age),
        }
    }
}

/// The first `limit` ranks behind the cursor, and the number of all matches.
#[derive(Debug, Default)]
pub struct Newest {
    /// In no order.
    pub ranks: Vec<Rank>,
    /// All matches, those before the cursor too.
    pub total: u64,
}

/// Collects [`Newest`].
pub struct NewestCollector {
    limit: usize,
    behind: Option<Rank>,
}

impl NewestCollector {
    /// At most `limit` hits behind `cursor`.
    #[must_use]
    pub fn new(limit: usize, cursor: Option<Cursor>) -> Self {
        Self {
            limit,
            behind: cursor.map(|cursor| Rank::of(&cursor.0)),
        }
    }
}

impl Collector for NewestCollector {
    type Fruit = Newest;
    type Child = NewestInSegment;

    fn for_segment(
        &self,
        _: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<NewestInSegment> {
        let columns = segment.fast_fields();
        Ok(NewestInSegment {
            date: columns.u64("date")?,
            high: columns.u64("record_high")?,
            low: columns.u64("record_low")?,
            limit: self.limit,
            behind: self.behind,
            best: BinaryHeap::new(),
            total: 0,
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<Newest>) -> tantivy::Result<Newest> {
        let mut merged = Newest::default();
        for segment in segments {
            merged.total += segment.total;
            merged.ranks.extend(segment.ranks);
        }
        merged.ranks.sort_unstable();
        merged.ranks.truncate(self.limit);
        Ok(merged)
    }
}

/// The part of [`NewestCollector`] that sees one segment.
pub struct NewestInSegment {
    date: Column<u64>,
    high: Column<u64>,
    low: Column<u64>,
    limit: usize,
    behind: Option<Rank>,
    best: BinaryHeap<Rank>,
    total: u64,
}

impl SegmentCollector for NewestInSegment {
    type Fruit = Newest;

    fn collect(&mut self, doc: DocId, _: Score) {
        self.total += 1;
        let age = u64::MAX - self.date.first(doc).unwrap_or(0);
        let is_full = self.best.len() >= self.limit;
        if is_full && self.best.peek().is_none_or(|worst| age > worst.age) {
            return;
        }
        let high = u128::from(self.high.first(doc).unwrap_or(0));
        let low = u128::from(self.low.first(doc).unwrap_or(0));
        let rank = Rank {
            age,
            record: high << 64 | low,
        };
        if self.behind.is_some_and(|behind| rank <= behind) {
            return;
        }
        self.best.push(rank);
        if is_full {
            self.best.pop();
        }
    }

    fn harvest(self) -> Newest {
        Newest {
            ranks: self.best.into_vec(),
            total: self.total,
        }
    }
}
