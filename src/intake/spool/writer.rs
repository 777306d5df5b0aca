//! The writer: one thread owns the open spool file, takes all mails that wait, writes them as one
//! group, syncs once a folder, and then answers all of them.

use super::SpoolError;
use super::file::{SpoolFile, remove_unpublished};
use super::format::Kind;
use super::health::Trouble;
use super::incoming::Incoming;
use super::key::CurrentKey;
use crate::durable;
use crate::id::SpoolId;
use crate::secret::SecretBytes;
use crate::time::Clock;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Where the spool lies and when it changes files.
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// One folder, or two on two disks.
    pub folders: Vec<PathBuf>,
    /// A file is closed this long after it was begun.
    pub rotate_after: Duration,
    /// A file is closed when it has this many bytes.
    pub rotate_bytes: u64,
}

impl SpoolConfig {
    /// The usual limits: one second, 4 MB.
    #[must_use]
    pub const fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            rotate_after: Duration::from_secs(1),
            rotate_bytes: 4 << 20,
        }
    }
}

/// A mail was not accepted. Shared, because one failed group answers many.
pub type NotSpooled = Arc<SpoolError>;

/// What sessions hold: hands mails to the writer.
#[derive(Clone)]
pub struct Spool {
    orders: Sender<Order>,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub config: SpoolConfig,
    pub key: CurrentKey,
    pub clock: Arc<dyn Clock>,
    /// Why the last mail was not taken.
    pub trouble: watch::Sender<Trouble>,
}

/// The running writer. Closing it ends the open file properly.
pub struct SpoolWriter {
    spool: Spool,
    thread: JoinHandle<()>,
}

struct SmallMail {
    body: SecretBytes,
    /// The closing frame's plaintext.
    closing: Vec<u8>,
    answer: oneshot::Sender<Result<SpoolId, NotSpooled>>,
}

impl SmallMail {
    fn size(&self) -> u64 {
        (self.body.expose().len() + self.closing.len()) as u64
    }
}

enum Order {
    Mail(SmallMail),
    Close,
}

impl SpoolWriter {
    /// Makes the folders where they are missing and starts the writer.
    pub fn start(
        config: SpoolConfig,
        key: impl Into<CurrentKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SpoolError> {
        if !(1..=2).contains(&config.folders.len()) {
            return Err(SpoolError::Folders(config.folders.len()));
        }
        for folder in &config.folders {
            durable::create_folder(folder)?;
            remove_unpublished(folder)?;
        }
        let key = key.into();
        let shared = Arc::new(Shared {
            config,
            key,
            clock,
            trouble: watch::Sender::new(None),
        });
        let (orders, queue) = channel();
        let writer = Writer {
            shared: shared.clone(),
            queue,
            current: None,
        };
        let thread = std::thread::spawn(move || writer.run());
        Ok(Self {
            spool: Spool { orders, shared },
            thread,
        })
    }

    /// A handle for a session.
    #[must_use]
    pub fn spool(&self) -> Spool {
        self.spool.clone()
    }

    /// Writes what waits, ends the file and stops. Blocks until that is done.
    pub fn close(self) -> Result<(), SpoolError> {
        let _ = self.spool.orders.send(Order::Close);
        self.thread.join().map_err(|_| SpoolError::Closed)
    }
}

impl Spool {
    /// Begins a mail. Dropping it unfinished leaves nothing.
    #[must_use]
    pub fn incoming(&self) -> Incoming {
        Incoming::new(self.clone())
    }

    /// Bytes that lie in the first spool folder, archived or not yet.
    pub(in crate::intake) async fn backlog(&self) -> u64 {
        let shared = self.shared.clone();
        let lying = move || {
            let entries = std::fs::read_dir(&shared.config.folders[0]).ok()?;
            let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
            Some(files.map(|file| file.len()).sum())
        };
        let counted = tokio::task::spawn_blocking(lying).await;
        counted.ok().flatten().unwrap_or(0)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Hands a whole small mail to the writer and waits until it is synced.
    pub(super) async fn submit(
        &self,
        body: SecretBytes,
        closing: Vec<u8>,
    ) -> Result<SpoolId, NotSpooled> {
        let (answer, answered) = oneshot::channel();
        self.orders
            .send(Order::Mail(SmallMail {
                body,
                closing,
                answer,
            }))
            .map_err(|_| SpoolError::Closed)?;
        answered.await.map_err(|_| SpoolError::Closed)?
    }
}

struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Order>,
    current: Option<(SpoolFile, Instant)>,
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.next_order() {
                Ok(Order::Mail(first)) => {
                    let (group, closing) = self.collect(first);
                    self.write(group);
                    if closing {
                        break;
                    }
                }
                Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.rotate();
        }
        self.end_file();
    }

    /// Waits for a mail, but not beyond the open file's time.
    fn next_order(&self) -> Result<Order, RecvTimeoutError> {
        match &self.current {
            None => self
                .queue
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            Some((_, begun)) => {
                let left = self
                    .shared
                    .config
                    .rotate_after
                    .saturating_sub(begun.elapsed());
                self.queue.recv_timeout(left)
            }
        }
    }

    /// All mails that wait by now, up to a file's size; true where the writer is to close.
    fn collect(&self, first: SmallMail) -> (Vec<SmallMail>, bool) {
        let mut size = first.size();
        let mut group = vec![first];
        while size < self.shared.config.rotate_bytes {
            match self.queue.try_recv() {
                Ok(Order::Mail(mail)) => {
                    size += mail.size();
                    group.push(mail);
                }
                Ok(Order::Close) => return (group, true),
                Err(_) => break,
            }
        }
        (group, false)
    }

    fn write(&mut self, group: Vec<SmallMail>) {
        match self.commit(&group) {
            Ok(ids) => {
                for (mail, id) in group.into_iter().zip(ids) {
                    let _ = mail.answer.send(Ok(id));
                }
            }
            Err(error) => {
                // The ratchet has moved on, so the file cannot be continued. It is whole as it is.
                self.current = None;
                tracing::error!(%error, mails = group.len(), "mails not accepted");
                let error = Arc::new(error);
                for mail in group {
                    let _ = mail.answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn commit(&mut self, group: &[SmallMail]) -> Result<Vec<SpoolId>, SpoolError> {
        let mut current = match self.current.take() {
            Some(open) => open,
            None => (self.new_file()?, Instant::now()),
        };
        let file = &mut current.0;
        let mut frames = Vec::new();
        let mut ids = Vec::with_capacity(group.len());
        for (mail, number) in group.iter().zip(file.mails()..) {
            file.seal(Kind::Data, number, &[mail.body.expose()], &mut frames);
            file.seal(Kind::Close, number, &[&mail.closing], &mut frames);
            ids.push(SpoolId {
                file: file.id(),
                number,
            });
        }
        // A group is far smaller than 2^32 mails: it was collected in memory.
        file.commit(&frames, u32::try_from(group.len()).unwrap_or(u32::MAX))?;
        self.current = Some(current);
        Ok(ids)
    }

    fn new_file(&self) -> Result<SpoolFile, SpoolError> {
        let Shared {
            config, key, clock, ..
        } = &*self.shared;
        let mut file = SpoolFile::create(&config.folders, &*key.now()?, clock.now())?;
        file.publish()?;
        Ok(file)
    }

    fn rotate(&mut self) {
        let config = &self.shared.config;
        let due = self.current.as_ref().is_some_and(|(file, begun)| {
            begun.elapsed() >= config.rotate_after || file.length() >= config.rotate_bytes
        });
        if due {
            self.end_file();
        }
    }

    fn end_file(&mut self) {
        if let Some((file, _)) = self.current.take() {
            file.finish();
        }
    }
}
