//! From the spool to the archive: read, open, seal, commit, and only then remove from the spool.
//!
//! Two threads: one reads the spool and has the openers prepare a batch, the other commits the batch before it. A stop waits
//! for the commit alone: what is being opened is still in the spool.

mod astray;
mod batch;
pub mod commit;
pub mod derive;
pub mod journal;
pub mod opener;
mod removals;
mod seen;

use crate::catalog::CatalogError;
use crate::id::{SpoolFileId, TenantId};
use crate::intake::spool::{SpoolEvent, SpoolReader, SpooledMail};
use crate::keeper::core::{Core, CoreError};
use crate::keeper::pool::Worker;
use crate::keeper::reopen::NewKeys;
use crate::keeper::store::NewRecord;
use crate::keeper::troubles::Work;
use crate::mail::keyops::KeyHint;
use astray::Astray;
use batch::{Again, Batch, Task};
use commit::{Failure, Known};
use opener::{Openers, Preparing, TenantKeys};
use removals::Removals;
use seen::Seen;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most mails and bytes in one group commit.
const BATCH_MAILS: usize = 512;
const BATCH_BYTES: u64 = 16 << 20;
/// How long an empty spool is left alone.
const IDLE: Duration = Duration::from_millis(100);
/// After a full disk or another failed commit.
const RETRY: Duration = Duration::from_secs(3);

/// Content that is on its way into the archive.
type UnderWay = Arc<Mutex<BTreeSet<(TenantId, [u8; 32])>>>;

/// The archiving threads' shared parts.
pub struct Archiver {
    core: Arc<Core>,
    openers: Openers,
    under_way: UnderWay,
    stop: Arc<AtomicBool>,
    new_keys: Sender<NewKeys>,
    /// The seat for reading journal reports: nothing but those that policy believes comes there.
    reports: Mutex<Worker>,
    astray: Mutex<Astray>,
}

impl Archiver {
    /// Ready to run over the box's spool. Through `new_keys` go those that came while mail for them was on its way.
    #[must_use]
    pub fn new(
        core: Arc<Core>,
        openers: Openers,
        stop: Arc<AtomicBool>,
        new_keys: Sender<NewKeys>,
    ) -> Self {
        Self {
            reports: Mutex::new(Worker::new(Arc::clone(&core.setup))),
            astray: Mutex::default(),
            core,
            openers,
            under_way: UnderWay::default(),
            stop,
            new_keys,
        }
    }

    /// Runs until `stop` is set and nothing is being committed. A mail may still be in the hands of a worker then, which may
    /// have it for as long as policy allows; both end with this process.
    pub fn run(self, reader: SpoolReader) {
        let (batches, inbox) = sync_channel::<Batch>(1);
        let (removals, removed) = channel();
        let data = self.core.data.clone();
        let archiver = Arc::new(self);
        let reading = Arc::clone(&archiver);
        std::thread::spawn(move || {
            crate::keeper::or_begin_anew(data.path(), || {
                reading.read_spool(reader, batches, Removals::new(removed));
            });
        });
        archiver.commit_batches(&inbox, &removals);
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn read_spool(
        &self,
        mut reader: SpoolReader,
        batches: SyncSender<Batch>,
        mut removals: Removals,
    ) {
        let mut held = None;
        while !self.stopping() {
            let trouble = removals.go_on(&mut reader);
            self.core.troubles.set(Work::Removal, trouble);
            match self.gather(&mut reader, &mut held) {
                Ok(Some(batch)) => {
                    if batches.send(batch).is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    self.core.index_rests();
                    self.unless_lost(self.core.catalog().flush());
                    std::thread::sleep(IDLE);
                }
                // Whatever becomes of its disk, an open catalog whose disk failed once takes nothing more.
                Err(CoreError::Catalog(error @ CatalogError::Store { .. })) => {
                    self.unless_lost(Err(error))
                }
                Err(error) => {
                    tracing::error!(%error, "the spool cannot be read; trying again");
                    let trouble = format!("the spool cannot be read: {error}");
                    self.core.troubles.set(Work::Spool, Some(trouble));
                    std::thread::sleep(RETRY);
                    continue;
                }
            }
            self.core.troubles.set(Work::Spool, None);
            self.tell_missing(reader.missing());
        }
        drop(batches);
    }

    fn tell_missing(&self, folders: &[PathBuf]) {
        let trouble = folders.first().map(|folder| {
            format!(
                "the spool folder {} is missing or cannot be read: new mail is refused until its disk is back or strongroom.toml names another",
                folder.display()
            )
        });
        self.core.troubles.set(Work::SpoolFolder, trouble);
    }

    /// Collects and prepares a batch; `None` where the spool has nothing new. The reader gives each mail once, so a
    /// mail that cannot be looked at yet stays in `held`, and what came before it is archived.
    fn gather(
        &self,
        reader: &mut SpoolReader,
        held: &mut Option<Box<SpooledMail>>,
    ) -> Result<Option<Batch>, CoreError> {
        let mut preparing = self.openers.batch();
        let mut batch = Batch {
            new: Vec::new(),
            again: Vec::new(),
            finished: Vec::new(),
        };
        let (mut mails, mut bytes, mut text) = (0, 0, 0);
        while mails < BATCH_MAILS && bytes + text < BATCH_BYTES {
            let next = match held.take() {
                Some(mail) => Ok(SpoolEvent::Mail(mail)),
                None => reader.next(&*self.core),
            };
            let event = match next {
                Ok(event) => event,
                Err(error) if mails == 0 && batch.finished.is_empty() => return Err(error.into()),
                Err(_) => break, // comes again with the next batch
            };
            match event {
                SpoolEvent::Mail(mail) => match self.look_at(&mail) {
                    Ok(seen) => {
                        bytes += mail.length;
                        Self::classify(*mail, seen, mails, &mut preparing, &mut batch);
                        mails += 1;
                        text = self.unless_lost(preparing.text_bytes());
                    }
                    Err(error) => {
                        *held = Some(mail);
                        if mails == 0 && batch.finished.is_empty() {
                            return Err(error);
                        }
                        break;
                    }
                },
                SpoolEvent::FileDone { file, sound } => {
                    if sound {
                        batch.finished.push(file);
                    } else {
                        self.tell(format!(
                            "parts of the spool file {file} are lost; it is kept for the operator"
                        ));
                    }
                }
                SpoolEvent::Damage(damage) => self.tell(damage.to_string()),
                SpoolEvent::NoKey { file, key } => self.tell(format!(
                    "the spool file {file} is sealed to a key that this box does not have ({key}); it is kept for the operator"
                )),
                SpoolEvent::Idle => break,
            }
        }
        if mails == 0 && batch.finished.is_empty() {
            return Ok(None);
        }
        batch.new = self.unless_lost(preparing.finish());
        Ok(Some(batch))
    }

    /// Damage in the spool, for people to see.
    fn tell(&self, damage: String) {
        tracing::error!(%damage, "the spool is damaged");
        self.core.troubles.keep(damage);
    }

    /// What is lost here is still in spool and ledger: a new keeper takes it from there.
    fn unless_lost<T>(&self, done: Result<T, impl Display>) -> T {
        match done {
            Ok(done) => done,
            Err(lost) => crate::keeper::begin_anew(self.core.data.path(), &lost),
        }
    }

    /// Sorts a mail into new ones and further arrivals.
    fn classify(
        mail: SpooledMail,
        seen: Option<Seen>,
        order: usize,
        preparing: &mut Preparing<'_>,
        batch: &mut Batch,
    ) {
        let Some(Seen {
            tenant,
            journal,
            shared,
            join,
            own,
        }) = seen
        else {
            return;
        };
        match own {
            Some((prefix, suffix)) => batch.again.push(Again {
                tenant,
                mail,
                journal,
                shared,
                prefix,
                suffix,
                join,
            }),
            None => preparing.add(Task {
                order,
                tenant,
                mail,
                journal,
                shared,
                join,
                record: NewRecord::random(),
            }),
        }
    }

    /// The next prepared batch; `None` where the keeper stops.
    fn next_batch(&self, inbox: &Receiver<Batch>) -> Option<Batch> {
        while !self.stopping() {
            match inbox.recv_timeout(IDLE) {
                Err(RecvTimeoutError::Timeout) => {}
                batch => return batch.ok(),
            }
        }
        None
    }

    fn commit_batches(&self, inbox: &Receiver<Batch>, removals: &Sender<SpoolFileId>) {
        while let Some(mut batch) = self.next_batch(inbox) {
            while let Err(failure) = commit::commit(&self.core, &mut batch) {
                let error = match failure {
                    Failure::Known(damaged) => {
                        self.archive_anew(&mut batch, &damaged);
                        continue;
                    }
                    Failure::Core(error) => error,
                };
                tracing::error!(%error, "a batch could not be archived; it stays in the spool and is tried again");
                let trouble = format!("archiving is stuck: {error}");
                self.core.troubles.set(Work::Archiving, Some(trouble));
                if self.stopping() {
                    return;
                }
                std::thread::sleep(RETRY);
            }
            self.core.troubles.set(Work::Archiving, None);
            self.tell_of_new_keys(&batch);
            let mut under_way = self
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for prepared in &batch.new {
                under_way.remove(&(prepared.task.tenant.clone(), prepared.task.join));
            }
            for again in &batch.again {
                under_way.remove(&(again.tenant.clone(), again.join));
            }
            drop(under_way);
            for file in batch.finished {
                let _ = removals.send(file);
            }
        }
    }
}

impl Archiver {
    /// Makes a new record of the first mail whose content was in a record that is damaged now; the others follow it.
    fn archive_anew(&self, batch: &mut Batch, damaged: &Known) {
        self.core.note_damage(damaged.record, &damaged.error);
        let is_it = |again: &Again| again.tenant == damaged.tenant && again.join == damaged.join;
        let Some(position) = batch.again.iter().position(is_it) else {
            return;
        };
        let Again {
            tenant,
            mail,
            journal,
            shared,
            join,
            ..
        } = batch.again.remove(position);
        let mut preparing = self.openers.batch();
        preparing.add(Task {
            order: 0,
            tenant,
            mail,
            journal,
            shared,
            join,
            record: NewRecord::random(),
        });
        batch.new.extend(self.unless_lost(preparing.finish()));
    }

    /// A key that came between a mail's opening and its commit found the mail on no list: it is told again.
    fn tell_of_new_keys(&self, batch: &Batch) {
        let mut missed: BTreeMap<&TenantId, BTreeSet<&KeyHint>> = BTreeMap::new();
        for prepared in &batch.new {
            let (tenant, hints) = (&prepared.task.tenant, &prepared.manifest.opened.waiting_for);
            if prepared.generation != self.core.generation(tenant) && !hints.is_empty() {
                missed.entry(tenant).or_default().extend(hints);
            }
        }
        for (tenant, hints) in missed {
            let hints = hints.into_iter().cloned().collect();
            let _ = self.new_keys.send((tenant.clone(), hints));
        }
    }
}
