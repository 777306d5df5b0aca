//! The threads that prepare mail: each has a worker process, opens one mail at a time through it, and packs and
//! seals what came out, so that committing a batch is only appending.

use super::batch::{Prepared, Task};
use crate::keeper::pool::{Mail, Worker, WorkerFailure, WorkerSetup};
use crate::keeper::store::{self, Sealed};
use crate::mail::KeyOps;
use crate::mail::model::{Opened, Outcome, SearchText};
use crate::vault::PartKind;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// zstd's default level.
const LEVEL: i32 = 3;

/// Finds a tenant's keys for the workers' requests.
pub trait TenantKeys: Send + Sync {
    /// Key operations with the keys escrowed for this tenant.
    fn of(&self, tenant: &crate::id::TenantId) -> Arc<dyn KeyOps + Send + Sync>;
}

/// Opener threads, fed through one channel.
pub struct Openers {
    tasks: Option<Sender<(Task, Sender<Prepared>)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Openers {
    /// Starts `count` threads.
    pub fn start(count: usize, setup: &Arc<WorkerSetup>, keys: &Arc<dyn TenantKeys>) -> Self {
        let (tasks, inbox) = channel::<(Task, Sender<Prepared>)>();
        let inbox = Arc::new(Mutex::new(inbox));
        let threads = (0..count.max(1))
            .map(|_| {
                let (inbox, setup, keys) =
                    (Arc::clone(&inbox), Arc::clone(setup), Arc::clone(keys));
                std::thread::spawn(move || work(&inbox, setup, &*keys))
            })
            .collect();
        Self {
            tasks: Some(tasks),
            threads,
        }
    }

    /// Prepares all tasks and gives them back in any order.
    pub fn prepare(&self, tasks: Vec<Task>) -> Vec<Prepared> {
        let (done, results) = channel();
        let count = tasks.len();
        for task in tasks {
            if let Some(inbox) = &self.tasks {
                let _ = inbox.send((task, done.clone()));
            }
        }
        drop(done);
        let prepared: Vec<Prepared> = results.iter().collect();
        debug_assert_eq!(prepared.len(), count);
        prepared
    }
}

impl Drop for Openers {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(
    inbox: &Mutex<Receiver<(Task, Sender<Prepared>)>>,
    setup: Arc<WorkerSetup>,
    keys: &dyn TenantKeys,
) {
    let mut worker = Worker::new(setup);
    loop {
        let received = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((task, done)) = received else { return };
        let _ = done.send(prepare(&mut worker, task, keys));
    }
}

fn prepare(worker: &mut Worker, task: Task, keys: &dyn TenantKeys) -> Prepared {
    let keys = keys.of(&task.tenant);
    let mut opened = match open(worker, &task, &*keys) {
        Ok(opened) => opened,
        Err(failure) => unopened(&failure),
    };
    let rendition = opened.rendition.take();
    let sealed = seal_parts(&task, rendition.as_deref());
    Prepared {
        task,
        opened,
        rendition,
        sealed,
    }
}

fn open(worker: &mut Worker, task: &Task, keys: &dyn KeyOps) -> Result<Opened, WorkerFailure> {
    let mail = &task.mail;
    let limit = worker.largest_mail();
    if mail.length <= limit {
        let bytes = || mail.body.open() as Box<dyn Read>;
        let whole = Mail {
            length: mail.length,
            arrived: mail.envelope.arrived,
            bytes: &bytes,
        };
        return worker.open(&whole, keys);
    }
    // Too large to open: its header alone makes it findable.
    let header = header_of(&mut *mail.body.open()).unwrap_or_default();
    let bytes = || Box::new(header.as_slice()) as Box<dyn Read>;
    let head = Mail {
        length: header.len() as u64,
        arrived: mail.envelope.arrived,
        bytes: &bytes,
    };
    let mut opened = worker.open(&head, keys)?;
    opened.outcome = Outcome::Refused;
    opened.reason = Some(format!(
        "over the bound message_bytes = {limit}: archived as received, not opened"
    ));
    Ok(opened)
}

/// A mail's header section, of at most 256 KiB.
pub fn header_of(mail: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    mail.take(256 * 1024).read_to_end(&mut start)?;
    let blank = start
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .or_else(|| start.windows(4).position(|four| four == b"\r\n\r\n"));
    start.truncate(blank.map_or(start.len(), |end| end + 2));
    Ok(start)
}

/// A mail whose worker failed is archived all the same, with the failure named (requirement C1: no loss).
#[must_use]
pub fn unopened(failure: &WorkerFailure) -> Opened {
    let outcome = match failure {
        WorkerFailure::TimedOut(_) => Outcome::Refused,
        _ => Outcome::Damaged,
    };
    Opened {
        outcome,
        reason: Some(failure.to_string()),
        layers: Vec::new(),
        signatures: Vec::new(),
        rendition: None,
        text: SearchText::default(),
        waiting_for: Vec::new(),
    }
}

/// Seals what is in memory. A large original is streamed into the vault at commit instead.
fn seal_parts(
    task: &Task,
    rendition: Option<&[u8]>,
) -> io::Result<(Option<Sealed>, Option<Sealed>)> {
    thread_local! {
        static COMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Compressor<'static>>> = const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        let mut compressor = match slot.take() {
            Some(compressor) => compressor,
            None => zstd::bulk::Compressor::new(LEVEL)?,
        };
        let mut seal = |kind, content: &[u8]| {
            store::seal(
                &task.tenant,
                task.record.id,
                &task.record.key,
                kind,
                content,
                &mut compressor,
            )
        };
        let original = task
            .mail
            .body
            .in_memory()
            .map(|bytes| seal(PartKind::Original, bytes))
            .transpose();
        let rendition = rendition
            .map(|bytes| seal(PartKind::Rendition, bytes))
            .transpose();
        *slot = Some(compressor);
        Ok((original?, rendition?))
    })
}
