//! The thread that feeds the search index, so that archiving never waits for it, and commits it often enough that
//! mail is found within seconds.

use super::core::lock;
use crate::search::{SearchDoc, SearchError, SearchIndex};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// New mail is findable after at most this, and a commit's own time.
const COMMIT_AFTER: Duration = Duration::from_secs(2);
/// With nothing more to come it is committed at once, but not more often than this: each commit makes a segment.
const APART: Duration = Duration::from_millis(300);
/// Batches that may wait, and about how many bytes of text in them; then archiving waits too, which bounds memory.
const QUEUE: usize = 4;
const QUEUE_BYTES: usize = 16 << 20;

enum Job {
    Add {
        fresh: Vec<SearchDoc>,
        anew: Vec<SearchDoc>,
        applied: u64,
        bytes: usize,
    },
    /// Nothing more is to come for now.
    Rest,
    Drain(SyncSender<()>),
}

/// The indexer's inbox.
pub struct Indexer {
    jobs: Option<SyncSender<Job>>,
    queued: Arc<Queued>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts the thread.
    #[must_use]
    pub fn start(index: Arc<SearchIndex>, data: PathBuf) -> Self {
        let (jobs, inbox) = sync_channel(QUEUE);
        let queued = Arc::new(Queued::default());
        let done = Arc::clone(&queued);
        let thread = std::thread::spawn(move || {
            // What was added since the last commit may be lost: only a replay from there is sure to have it all.
            super::or_begin_anew(&data, || {
                if let Err(error) = work(&index, &inbox, &done) {
                    super::begin_anew(&data, &error);
                }
            });
        });
        Self {
            jobs: Some(jobs),
            queued,
            thread: Some(thread),
        }
    }

    /// Queues documents: `fresh` ones are in no index yet, those `anew` replace what there is. `applied` ledger
    /// entries are then covered.
    pub fn add(&self, fresh: Vec<SearchDoc>, anew: Vec<SearchDoc>, applied: u64) {
        let bytes = fresh.iter().chain(&anew).map(|doc| doc.body.len()).sum();
        self.queued.add(bytes);
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Job::Add {
                fresh,
                anew,
                applied,
                bytes,
            });
        }
    }

    /// Says that nothing more is to come for now.
    pub fn rest(&self) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.try_send(Job::Rest); // a full queue is not at rest
        }
    }

    /// Waits until all that was queued is committed.
    pub fn drain(&self) {
        let (done, waiting) = sync_channel(1);
        if let Some(jobs) = &self.jobs
            && jobs.send(Job::Drain(done)).is_ok()
        {
            let _ = waiting.recv();
        }
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes of text that wait for the indexer.
#[derive(Default)]
struct Queued {
    bytes: Mutex<usize>,
    less: Condvar,
}

impl Queued {
    /// Waits for room: what alone is over the bound waits for an empty queue.
    fn add(&self, bytes: usize) {
        let queued = lock(&self.bytes);
        let full = |queued: &mut usize| *queued > 0 && *queued + bytes > QUEUE_BYTES;
        let waited = self.less.wait_while(queued, full);
        *waited.unwrap_or_else(PoisonError::into_inner) += bytes;
    }

    fn remove(&self, bytes: usize) {
        *lock(&self.bytes) -= bytes;
        self.less.notify_all();
    }
}

fn work(index: &SearchIndex, inbox: &Receiver<Job>, queued: &Queued) -> Result<(), SearchError> {
    let mut uncommitted: Option<(Instant, u64)> = None;
    let mut last = Instant::now();
    loop {
        let patience = uncommitted.map_or(Duration::from_secs(3600), |(since, _)| {
            COMMIT_AFTER.saturating_sub(since.elapsed())
        });
        match inbox.recv_timeout(patience) {
            Ok(Job::Add {
                fresh,
                anew,
                applied,
                bytes,
            }) => {
                index.add(&fresh)?;
                index.replace(&anew)?;
                drop((fresh, anew));
                queued.remove(bytes);
                let since = uncommitted.map_or_else(Instant::now, |(since, _)| since);
                uncommitted = Some((since, applied));
                if since.elapsed() < COMMIT_AFTER {
                    continue;
                }
            }
            Ok(Job::Rest) if last.elapsed() < APART => continue,
            Ok(Job::Rest) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Job::Drain(done)) => {
                commit(index, &mut uncommitted)?;
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Disconnected) => return commit(index, &mut uncommitted),
        }
        if uncommitted.is_some() {
            commit(index, &mut uncommitted)?;
            last = Instant::now();
        }
    }
}

fn commit(
    index: &SearchIndex,
    uncommitted: &mut Option<(Instant, u64)>,
) -> Result<(), SearchError> {
    match uncommitted.take() {
        Some((_, applied)) => index.commit(applied),
        None => Ok(()),
    }
}
