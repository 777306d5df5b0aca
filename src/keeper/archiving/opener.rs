//! The threads that prepare mail: each has a worker process, opens one mail at a time through it, and packs and
//! seals what came out, so that committing a batch is only appending.

use super::batch::{Prepared, Task};
use super::derive;
use crate::id::{Digest, TenantId};
use crate::keeper::manifest::{self, Arrival, Manifest, PartEntry, VERSION};
use crate::keeper::packing::{self, Sealed, Texture};
use crate::keeper::pool::{Mail, Worker, WorkerFailure, WorkerSetup};
use crate::mail::KeyOps;
use crate::mail::model::{Opened, Outcome, SearchText};
use crate::vault::PartKind;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Finds a tenant's keys for the workers' requests.
pub trait TenantKeys: Send + Sync {
    /// Key operations with the keys escrowed for this tenant.
    fn of(&self, tenant: &TenantId) -> Arc<dyn KeyOps + Send + Sync>;

    /// Another one whenever a key came.
    fn generation(&self, tenant: &TenantId) -> u64;
}

/// Most mails that may be with each thread. What they unpack to is known only once they are opened.
const AHEAD: usize = 4;
/// With so many left, more are added: not with each mail that is done, for to wake who adds them costs as much as to add.
const FEW: usize = 2;

/// A thread that prepared mail died with it.
#[derive(Debug, thiserror::Error)]
#[error("a thread that prepares mail died; its mail is still in the spool")]
pub struct Lost;

/// What the threads take from: mails, each with where to put it when it is prepared.
type Inbox = Receiver<(Task, Arc<Pile>)>;

/// Opener threads, fed through one channel.
pub struct Openers {
    tasks: Option<Sender<(Task, Arc<Pile>)>>,
    threads: Vec<JoinHandle<()>>,
}

impl Openers {
    /// Starts `count` threads. `data` is the data folder.
    pub fn start(
        count: usize,
        setup: &Arc<WorkerSetup>,
        keys: &Arc<dyn TenantKeys>,
        data: &Path,
    ) -> Self {
        let (tasks, inbox) = channel();
        let inbox = Arc::new(Mutex::new(inbox));
        let threads = (0..count.max(1))
            .map(|_| {
                let (inbox, setup, keys) =
                    (Arc::clone(&inbox), Arc::clone(setup), Arc::clone(keys));
                let data = data.to_owned();
                std::thread::spawn(move || work(&inbox, setup, &*keys, &data))
            })
            .collect();
        Self {
            tasks: Some(tasks),
            threads,
        }
    }

    /// Begins a batch.
    pub fn batch(&self) -> Preparing<'_> {
        Preparing {
            openers: self,
            pile: Arc::default(),
            added: 0,
            prepared: Vec::new(),
            text: 0,
        }
    }
}

/// Mails of a batch that are prepared and not yet fetched.
#[derive(Default)]
struct Pile {
    state: Mutex<State>,
    is_high: Condvar,
}

#[derive(Default)]
struct State {
    mails: Vec<Prepared>,
    /// As many are waited for.
    wanted: usize,
}

impl Pile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, prepared: Prepared) {
        let mut state = self.state();
        state.mails.push(prepared);
        if state.mails.len() >= state.wanted {
            self.is_high.notify_one();
        }
    }

    /// Takes what is there once there are `wanted`; for a second at most.
    fn take(&self, wanted: usize) -> Vec<Prepared> {
        let mut state = self.state();
        state.wanted = wanted;
        let too_few = |state: &mut State| state.mails.len() < state.wanted;
        let waited = self.is_high.wait_timeout_while(state, SECOND, too_few);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.mails)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A batch that is being prepared while it grows.
pub struct Preparing<'a> {
    openers: &'a Openers,
    pile: Arc<Pile>,
    added: usize,
    prepared: Vec<Prepared>,
    text: u64,
}

impl Preparing<'_> {
    /// Has one more mail prepared; does not wait.
    pub fn add(&mut self, task: Task) {
        self.added += 1;
        if let Some(inbox) = &self.openers.tasks {
            let _ = inbox.send((task, Arc::clone(&self.pile)));
        }
    }

    /// Bytes of text in what is prepared so far. Where much is left to be prepared it waits until not much is, so that what
    /// a batch holds can be bounded.
    pub fn text_bytes(&mut self) -> Result<u64, Lost> {
        let threads = self.openers.threads.len();
        let left = self.added - self.prepared.len();
        if left > AHEAD * threads {
            self.wait_until_left(FEW * threads)?;
        }
        Ok(self.text)
    }

    fn wait_until_left(&mut self, few: usize) -> Result<(), Lost> {
        loop {
            let left = self.added - self.prepared.len();
            if left <= few {
                return Ok(());
            }
            let dying = self.openers.are_dying();
            let more = self.pile.take(left - few);
            if more.is_empty() && dying {
                return Err(Lost);
            }
            self.text += more.iter().map(|one| one.body.len() as u64).sum::<u64>();
            self.prepared.extend(more);
        }
    }

    /// Waits for all, and gives them in the order of their arrival.
    pub fn finish(mut self) -> Result<Vec<Prepared>, Lost> {
        self.wait_until_left(0)?;
        let mut prepared = self.prepared;
        prepared.sort_by_key(|prepared| prepared.task.order);
        Ok(prepared)
    }
}

impl Openers {
    /// A thread ends before all of them only by a panic.
    fn are_dying(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
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

fn work(inbox: &Mutex<Inbox>, setup: Arc<WorkerSetup>, keys: &dyn TenantKeys, data: &Path) {
    let mut worker = Worker::new(setup);
    loop {
        let received = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((task, pile)) = received else { return };
        pile.put(prepare(&mut worker, task, keys, data));
    }
}

fn prepare(worker: &mut Worker, task: Task, keys: &dyn TenantKeys, data: &Path) -> Prepared {
    let generation = keys.generation(&task.tenant);
    let keys = keys.of(&task.tenant);
    let opened_or_not = |result| match result {
        Ok(opened) => opened,
        // Not the mail's fault: it stays in the spool until the machine can start processes again.
        Err(failure @ WorkerFailure::Start(_)) => crate::keeper::begin_anew(data, &failure),
        Err(failure) => unopened(&failure),
    };
    let mut opened: Opened = opened_or_not(open(worker, &task, &*keys));
    let mut rendition = opened.rendition.take();
    let mut body = std::mem::take(&mut opened.text.body);
    if let Some(reason) = manifest::over_evidence(&opened) {
        opened = opened_or_not(open_header(worker, &task, &*keys, reason));
        rendition = opened.rendition.take();
        body = std::mem::take(&mut opened.text.body);
    }
    task.journal.note(&mut opened);
    let sealed = seal_parts(&task, rendition.as_deref());
    Prepared {
        manifest: manifest(&task, opened),
        task,
        body,
        sealed,
        generation,
    }
}

fn open(worker: &mut Worker, task: &Task, keys: &dyn KeyOps) -> Result<Opened, WorkerFailure> {
    let limit = worker.largest_mail();
    let readable = task.readable();
    if readable.end - readable.start <= limit {
        let bytes = || task.bytes();
        let whole = Mail {
            length: readable.end - readable.start,
            arrived: task.mail.envelope.arrived,
            bytes: &bytes,
        };
        return worker.open(&whole, keys);
    }
    let reason =
        format!("over the bound message_bytes = {limit}: archived as received, not opened");
    open_header(worker, task, keys, reason)
}

/// Of a mail that is not opened, for this reason: its header alone makes it findable.
fn open_header(
    worker: &mut Worker,
    task: &Task,
    keys: &dyn KeyOps,
    reason: String,
) -> Result<Opened, WorkerFailure> {
    let header = header_of(&mut *task.bytes()).unwrap_or_default();
    let bytes = || Box::new(header.as_slice()) as Box<dyn Read>;
    let head = Mail {
        length: header.len() as u64,
        arrived: task.mail.envelope.arrived,
        bytes: &bytes,
    };
    let mut opened = worker.open(&head, keys)?;
    opened.outcome = Outcome::Refused;
    opened.reason = Some(reason);
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

fn manifest(task: &Task, opened: Opened) -> Manifest {
    let mail = &task.mail;
    let shared = &task.shared;
    let arrival = Arrival {
        shared_from: shared.start,
        shared_until: (shared.end < mail.length).then_some(shared.end),
        ..derive::arrival(0, mail.id, &mail.envelope, &task.journal)
    };
    Manifest {
        version: VERSION,
        salt: manifest::salt().0,
        record: task.record.id,
        tenant: task.tenant.clone(),
        revision: 1,
        arrival,
        join: Digest(task.join),
        original: PartEntry::to_come(),
        rendition: None,
        opened,
    }
}

/// Seals what is in memory. A large original is streamed into the vault at commit instead.
fn seal_parts(
    task: &Task,
    rendition: Option<&[u8]>,
) -> io::Result<(Option<Sealed>, Option<Sealed>)> {
    let seal =
        |kind, content, texture| packing::seal(&task.tenant, &task.record, kind, content, texture);
    let texture = match rendition {
        Some(_) => Texture::Ciphertext,
        None => Texture::Plain,
    };
    let original = task.mail.body.in_memory();
    let original = original.map(|bytes| seal(PartKind::Original, bytes, texture));
    let rendition = rendition.map(|bytes| seal(PartKind::Rendition, bytes, Texture::Plain));
    Ok((original.transpose()?, rendition.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SpoolFileId, SpoolId};
    use crate::intake::envelope::{Envelope, Source};
    use crate::intake::spool::{Body, SpooledMail};
    use crate::keeper::archiving::journal::Journal;
    use crate::keeper::store::NewRecord;
    use crate::mail::context::{OpenPolicy, Trust};
    use crate::time::Timestamp;

    /// Keys that break the thread that asks for them.
    struct Breaking;

    impl TenantKeys for Breaking {
        fn of(&self, tenant: &TenantId) -> Arc<dyn KeyOps + Send + Sync> {
            panic!("asked for the keys of {tenant}")
        }

        fn generation(&self, _: &TenantId) -> u64 {
            0
        }
    }

    fn task(order: usize) -> Task {
        let tenant: TenantId = "main".parse().expect("a tenant");
        let envelope = Envelope {
            tenant: tenant.clone(),
            sender: String::new(),
            parameters: Vec::new(),
            recipients: Vec::new(),
            arrived: Timestamp(0),
            source: Source::Lmtp {
                uid: 0,
                helo: String::new(),
            },
        };
        let mail = SpooledMail {
            id: SpoolId {
                file: SpoolFileId::random(),
                number: 0,
            },
            envelope,
            length: 4,
            sha256: Digest::of(b"mail"),
            body: Body::of(b"mail"),
        };
        Task {
            order,
            tenant,
            mail,
            journal: Journal::Not("a test".into()),
            shared: 0..4,
            join: [0; 32],
            record: NewRecord::random(),
        }
    }

    #[test]
    fn a_batch_with_a_lost_mail_is_not_finished() {
        let setup = WorkerSetup::new(Trust::default(), OpenPolicy::default());
        let keys: Arc<dyn TenantKeys> = Arc::new(Breaking);
        let openers = Openers::start(2, &Arc::new(setup), &keys, Path::new("."));
        assert!(openers.batch().finish().is_ok_and(|batch| batch.is_empty()));
        let mut one = openers.batch();
        one.add(task(0));
        assert!(one.finish().is_err());
        let mut many = openers.batch();
        (0..20).for_each(|order| many.add(task(order)));
        assert!(many.text_bytes().is_err());
    }
}
