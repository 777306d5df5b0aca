//! Full-text search over everything archived, encrypted on disk. Derived data: it is made again from the
//! vault at any time, so a damaged index is erased and refilled, never repaired.
//!
//! The index is partitioned by the month of a record's first arrival; a partition is a folder `YYYY-MM`
//! with a tantivy index of its own. One writer (the keeper's archiving side), any number of readers.

mod collect;
mod compile;
mod directory;
mod doc;
mod error;
mod negation;
mod pages;
mod parse;
pub mod query;
mod recent;
mod state;
mod words;

pub use collect::{BadCursor, Cursor, Hit};
pub use compile::Scope;
pub use doc::{Encryption, Judgement, Party, SearchDoc};
pub use error::SearchError;
pub use query::{Query, QueryError};

use crate::durable;
use crate::id::RecordId;
use crate::secret::Key;
use crate::time::Timestamp;
use collect::{Newest, NewestCollector};
use directory::EncryptedDirectory;
use doc::Fields;
use recent::Recent;
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::schema::Schema;
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, TantivyError};

/// Partitions that are open for writing at a time.
const OPEN_WRITERS: usize = 2;
/// Partitions that are open for reading at a time; each holds some file handles.
const OPEN_READERS: usize = 24;
/// Memory of one writer, in bytes: what is added between two commits should fit, or more and smaller segments are made,
/// and merged later.
const WRITER_MEMORY: usize = 40_000_000;
/// Text added to a partition before it is committed without being asked: what waits in memory is bounded.
const MOST_UNCOMMITTED: usize = 24 << 20;
/// Segments with more records are no longer merged, which bounds a merge's time and memory.
const LARGEST_MERGED: usize = 200_000;
/// Segments of like size are merged when there are so many: more make fewer merges and slower searches.
const MERGED_AT_ONCE: usize = 16;
/// The most hits a page has.
pub const LARGEST_PAGE: usize = 1000;

/// One page of hits, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Newest first; equal dates by record id.
    pub hits: Vec<Hit>,
    /// How many records match in all.
    pub total: u64,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

/// The open index.
pub struct SearchIndex {
    folder: PathBuf,
    key: Key,
    schema: Schema,
    fields: Fields,
    state: Mutex<State>,
    /// Partitions that got a writer since the start; the next commit makes them known to readers.
    made: Mutex<BTreeSet<String>>,
    writers: Mutex<Recent<Writer>>,
    readers: Mutex<Recent<IndexReader>>,
}

struct Writer {
    tantivy: IndexWriter,
    uncommitted: usize,
}

impl SearchIndex {
    /// Opens the index in `folder`, or makes an empty one. Partitions are opened when they are needed.
    pub fn open(folder: &Path, index_key: Key) -> Result<Self, SearchError> {
        durable::create_folder(folder)?;
        let (schema, fields) = doc::schema();
        let state = State::read(folder, &index_key)?;
        Ok(Self {
            folder: folder.to_owned(),
            key: index_key,
            schema,
            fields,
            state: Mutex::new(state),
            made: Mutex::new(BTreeSet::new()),
            writers: Mutex::new(Recent::new(OPEN_WRITERS)),
            readers: Mutex::new(Recent::new(OPEN_READERS)),
        })
    }

    /// Removes the index in `folder`, so that the next [`SearchIndex::open`] begins with an empty one.
    pub fn erase(folder: &Path) -> Result<(), SearchError> {
        Ok(durable::clear_folder(folder)?)
    }

    /// The count given to the last [`SearchIndex::commit`]: how many ledger entries are surely indexed.
    /// After a start, later ones go through [`SearchIndex::replace`], since some may be there already.
    #[must_use]
    pub fn applied(&self) -> u64 {
        lock(&self.state).applied
    }

    /// Adds records that are not in the index. They are found after the next commit.
    pub fn add(&self, docs: &[SearchDoc]) -> Result<(), SearchError> {
        self.write(docs, false)
    }

    /// Adds records in place of what the index may have of them: a further arrival, a rendition made
    /// later, or a replay after a start.
    pub fn replace(&self, docs: &[SearchDoc]) -> Result<(), SearchError> {
        self.write(docs, true)
    }

    /// Takes a record out. `arrived` is its first arrival.
    pub fn remove(&self, record: &RecordId, arrived: Timestamp) -> Result<(), SearchError> {
        self.with_writer(&partition_of(arrived), |writer| {
            writer.tantivy.delete_term(self.fields.record_term(record));
            Ok(())
        })
    }

    /// Makes everything added so far durable and searchable. `applied` tells how many ledger entries that
    /// reflects.
    pub fn commit(&self, applied: u64) -> Result<(), SearchError> {
        let mut writers = lock(&self.writers);
        for partition in writers.names() {
            self.using(&mut writers, &partition, |writer| writer.commit())?;
            self.reload(&partition)?;
        }
        let mut state = lock(&self.state);
        let mut next = state.clone();
        next.applied = applied;
        next.partitions.extend(lock(&self.made).iter().cloned());
        next.write(&self.folder, &self.key)?;
        *state = next;
        Ok(())
    }

    /// The records within `scope` that match, newest first, at most `limit` (and [`LARGEST_PAGE`]) behind
    /// `cursor`. The scope is part of what is searched, so `total` counts nothing outside it.
    pub fn search(
        &self,
        query: &Query,
        scope: &Scope,
        limit: usize,
        cursor: Option<Cursor>,
    ) -> Result<Page, SearchError> {
        let limit = limit.clamp(1, LARGEST_PAGE);
        let compiled = compile::compile(&self.fields, query, scope);
        // One hit more than asked for tells whether there is another page.
        let collector = NewestCollector::new(limit + 1, cursor);
        let mut found = Newest::default();
        let partitions = lock(&self.state).partitions.clone();
        for partition in partitions {
            let part = self
                .reader(&partition)?
                .searcher()
                .search(&*compiled, &collector)
                .map_err(|error| SearchError::of(&self.folder.join(&partition), error))?;
            found.total += part.total;
            found.ranks.extend(part.ranks);
            found.ranks.sort_unstable();
            found.ranks.truncate(limit + 1);
        }
        let mut hits: Vec<Hit> = found.ranks.into_iter().map(collect::Rank::hit).collect();
        let is_more = hits.len() > limit;
        hits.truncate(limit);
        let next = hits
            .last()
            .filter(|_| is_more)
            .map(|hit| Cursor::behind(*hit));
        Ok(Page {
            hits,
            total: found.total,
            next,
        })
    }
}

/// Writing.
impl SearchIndex {
    fn write(&self, docs: &[SearchDoc], replace: bool) -> Result<(), SearchError> {
        let mut by_partition: BTreeMap<String, Vec<&SearchDoc>> = BTreeMap::new();
        for doc in docs {
            by_partition
                .entry(partition_of(doc.arrived))
                .or_default()
                .push(doc);
        }
        for (partition, docs) in by_partition {
            self.with_writer(&partition, |writer| {
                for doc in docs {
                    if replace {
                        writer
                            .tantivy
                            .delete_term(self.fields.record_term(&doc.record));
                    }
                    writer.tantivy.add_document(self.fields.document(doc))?;
                    writer.uncommitted += doc.size();
                    if writer.uncommitted > MOST_UNCOMMITTED {
                        writer.commit()?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn with_writer(
        &self,
        partition: &str,
        act: impl FnOnce(&mut Writer) -> tantivy::Result<()>,
    ) -> Result<(), SearchError> {
        let mut writers = lock(&self.writers);
        if writers.get(partition).is_none() {
            if let Some((oldest, mut writer)) = writers.make_room() {
                let closed = writer
                    .commit()
                    .and_then(|()| writer.tantivy.wait_merging_threads());
                closed.map_err(|error| SearchError::of(&self.folder.join(&oldest), error))?;
                self.reload(&oldest)?;
            }
            let writer = self.open_writer(partition)?;
            writers.add(partition, writer);
        }
        self.using(&mut writers, partition, act)
    }

    /// A writer that failed is closed: tantivy's do not work on after an error.
    fn using(
        &self,
        writers: &mut Recent<Writer>,
        partition: &str,
        act: impl FnOnce(&mut Writer) -> tantivy::Result<()>,
    ) -> Result<(), SearchError> {
        let Some(writer) = writers.get(partition) else {
            return Ok(());
        };
        act(writer).map_err(|error| {
            writers.remove(partition);
            SearchError::of(&self.folder.join(partition), error)
        })
    }

    fn open_writer(&self, partition: &str) -> Result<Writer, SearchError> {
        let folder = self.folder.join(partition);
        durable::create_folder(&folder)?;
        let is_known = lock(&self.state).partitions.contains(partition);
        let open = || -> tantivy::Result<IndexWriter> {
            let directory = EncryptedDirectory::new(&folder, &self.key);
            let index = if is_known {
                Index::open(directory)?
            } else {
                Index::open_or_create(directory, self.schema.clone())?
            };
            doc::register_tokenizer(&index);
            let options = IndexWriterOptions::builder()
                .memory_budget_per_thread(WRITER_MEMORY)
                .num_worker_threads(1)
                .num_merge_threads(1)
                .build();
            let writer = index.writer_with_options(options)?;
            let mut merging = LogMergePolicy::default();
            merging.set_max_docs_before_merge(LARGEST_MERGED);
            merging.set_min_num_segments(MERGED_AT_ONCE);
            writer.set_merge_policy(Box::new(merging));
            Ok(writer)
        };
        let tantivy = open().map_err(|error| SearchError::of(&folder, error))?;
        lock(&self.made).insert(partition.to_owned());
        Ok(Writer {
            tantivy,
            uncommitted: 0,
        })
    }
}

impl Writer {
    fn commit(&mut self) -> tantivy::Result<()> {
        self.tantivy.commit()?;
        self.uncommitted = 0;
        Ok(())
    }
}

/// Reading.
impl SearchIndex {
    fn reader(&self, partition: &str) -> Result<IndexReader, SearchError> {
        let mut readers = lock(&self.readers);
        if let Some(reader) = readers.get(partition) {
            return Ok(reader.clone());
        }
        let folder = self.folder.join(partition);
        let open = || -> tantivy::Result<IndexReader> {
            let index = Index::open(EncryptedDirectory::new(&folder, &self.key))?;
            doc::register_tokenizer(&index);
            let builder = index.reader_builder().reload_policy(ReloadPolicy::Manual);
            builder.doc_store_cache_num_blocks(0).try_into()
        };
        let reader = open().map_err(|error| SearchError::of(&folder, error))?;
        drop(readers.make_room());
        readers.add(partition, reader.clone());
        Ok(reader)
    }

    fn reload(&self, partition: &str) -> Result<(), SearchError> {
        let Some(reader) = lock(&self.readers).get(partition).cloned() else {
            return Ok(());
        };
        reader
            .reload()
            .map_err(|error: TantivyError| SearchError::of(&self.folder.join(partition), error))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `YYYY-MM` in UTC.
fn partition_of(arrived: Timestamp) -> String {
    let seconds = i64::try_from(arrived.seconds()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m").to_string()
}

#[cfg(test)]
mod tests;
