//! The worker processes: started, spoken to, killed on any bound, recycled.

use super::job::{self, FromWorker, ToWorker};
use super::pipes::{FromChild, Patience, ToChild};
use crate::frame::{self, FrameError, Limits};
use crate::mail::context::{OpenPolicy, Trust};
use crate::mail::journal::Report;
use crate::mail::keyops::{KeyHint, KeyRefusal, SessionKey, Wrapped};
use crate::mail::model::Opened;
use crate::mail::{Bounds, KeyOps};
use crate::sandbox;
use crate::time::Timestamp;
use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

/// A worker is replaced after this many mails, so that nothing one mail leaves in it lasts.
const MAILS_PER_WORKER: u32 = 2000;
/// And after a mail larger than this, whose memory is given back.
const LARGE_MAIL: u64 = 8 << 20;

/// Questions for each recipient that policy has looked at, by all the names that a key goes by.
const QUESTIONS_FOR_EACH: u32 = 16;

/// Where a worker process cannot be started, it is tried so often again, after this time.
const MOST_STARTS: u32 = 10;
const START_AGAIN: Duration = Duration::from_secs(1);

/// Why a mail came back unopened from its worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerFailure {
    /// No worker process could be started, or none got as far as to be ready for a mail.
    #[error("cannot start a worker process: {0}")]
    Start(#[source] io::Error),
    /// It took longer than policy allows and was killed.
    #[error("opening took longer than bounds.seconds = {0} and was stopped")]
    TimedOut(u32),
    /// The worker died (a crash, or over its memory).
    #[error("the process that opened it ended unexpectedly (a crash, or more memory than allowed)")]
    Died,
    /// The worker broke the protocol; it may have been taken over.
    #[error("the process that opened it broke the protocol and was stopped: {0}")]
    Protocol(#[source] FrameError),
    /// The mail could not be encrypted to the certificate.
    #[error("cannot encrypt to the certificate: {0}")]
    Encrypt(String),
}

/// How workers are started and set up. Shared by all threads; each thread that opens mail has its own [`Worker`].
pub struct WorkerSetup {
    /// The program, usually this one.
    program: fn() -> Command,
    /// Certificates for signatures, and how often they were replaced.
    trust: RwLock<(u64, Arc<Trust>)>,
    /// Algorithms and bounds.
    pub policy: OpenPolicy,
}

impl WorkerSetup {
    /// The running program as worker.
    #[must_use]
    pub fn new(trust: Trust, policy: OpenPolicy) -> Self {
        Self {
            program: sandbox::own_program,
            trust: RwLock::new((0, Arc::new(trust))),
            policy,
        }
    }

    /// Has signatures judged by these certificates in mail that comes from now on.
    pub fn replace_trust(&self, trust: Trust) {
        let mut current = self.trust.write().unwrap_or_else(PoisonError::into_inner);
        *current = (current.0 + 1, Arc::new(trust));
    }

    fn trust(&self) -> (u64, Arc<Trust>) {
        let current = self.trust.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

/// A mail to be opened. Its bytes can be read more than once, so that nothing large is held in memory.
pub struct Mail<'a> {
    /// How many bytes there are.
    pub length: u64,
    /// When it arrived.
    pub arrived: Timestamp,
    /// Reads it from its beginning.
    pub bytes: &'a dyn Fn() -> Box<dyn Read + 'a>,
}

/// One seat for a worker process; the process behind it changes.
pub struct Worker {
    setup: Arc<WorkerSetup>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    to: ToChild,
    from: BufReader<FromChild>,
    patience: Patience,
    served: u32,
    /// Which certificates it was given, by [`WorkerSetup::trust`].
    trusts: u64,
}

impl Worker {
    /// A seat; the process starts with the first mail.
    #[must_use]
    pub const fn new(setup: Arc<WorkerSetup>) -> Self {
        Self {
            setup,
            process: None,
        }
    }

    /// The largest mail that policy lets a worker open, in bytes.
    #[must_use]
    pub fn largest_mail(&self) -> u64 {
        self.setup.policy.bounds.message_bytes
    }

    /// Opens one mail, asking `keys` for session keys.
    ///
    /// Where the process dies or takes too long, a document in the mail may be to blame, of which only search would have the
    /// text: the mail is tried once more without looking into any.
    pub fn open(&mut self, mail: &Mail<'_>, keys: &dyn KeyOps) -> Result<Opened, WorkerFailure> {
        let failure = match self.persistently(|worker| worker.open_once(mail, keys, true)) {
            Err(failure @ (WorkerFailure::Died | WorkerFailure::TimedOut(_))) => failure,
            result => return result,
        };
        tracing::warn!(%failure, "a mail is tried once more, without the text of its documents");
        let Ok(mut opened) = self.open_once(mail, keys, false) else {
            return Err(failure);
        };
        let note = format!("no text taken from documents: with them, {failure}");
        opened.text.notes.push(note);
        Ok(opened)
    }

    /// Reads a mail as a journal report; `None` where it is not strictly one. What comes is not beyond the mail's length.
    pub fn read_report(&mut self, mail: &Mail<'_>) -> Result<Option<Report>, WorkerFailure> {
        self.persistently(|worker| worker.read_report_once(mail))
    }

    /// Encrypts a mail to a certificate: DER (S/MIME) or OpenPGP.
    pub fn encrypt(
        &mut self,
        mail: &Mail<'_>,
        certificate: &[u8],
    ) -> Result<Vec<u8>, WorkerFailure> {
        self.persistently(|worker| worker.encrypt_once(mail, certificate))
    }

    /// Only a mail with which two fresh processes died is given up: one death may be another's doing, or the fault of an
    /// earlier mail, and a process dies with the thread that started it. Where no process can be started (the machine is
    /// short of memory), it waits a while.
    fn persistently<T>(
        &mut self,
        once: impl Fn(&mut Self) -> Result<T, WorkerFailure>,
    ) -> Result<T, WorkerFailure> {
        let (mut deaths, mut starts) = (0, 0);
        loop {
            deaths += u32::from(self.process.is_none());
            match once(self) {
                Err(WorkerFailure::Died) if deaths < 2 => {}
                Err(WorkerFailure::Start(error)) if starts < MOST_STARTS => {
                    tracing::warn!(%error, "no worker process can be started; trying again");
                    starts += 1;
                    deaths = 0;
                    thread::sleep(START_AGAIN);
                }
                result => return result,
            }
        }
    }

    fn open_once(
        &mut self,
        mail: &Mail<'_>,
        keys: &dyn KeyOps,
        documents: bool,
    ) -> Result<Opened, WorkerFailure> {
        let bounds = self.setup.policy.bounds;
        let limits = job::from_worker(bounds.expanded_bytes);
        self.converse(mail.length, |process| {
            let open = ToWorker::Open {
                arrived: mail.arrived,
                documents,
            };
            frame::write_from(&mut process.to, &open, &mut (mail.bytes)(), mail.length)?;
            dialogue(process, keys, limits, bounds)
        })
    }

    fn read_report_once(&mut self, mail: &Mail<'_>) -> Result<Option<Report>, WorkerFailure> {
        self.converse(mail.length, |process| {
            let ask = ToWorker::ReadReport;
            frame::write_from(&mut process.to, &ask, &mut (mail.bytes)(), mail.length)?;
            let (answer, _) = frame::read::<FromWorker>(&mut process.from, job::from_worker(0))?;
            match answer {
                FromWorker::Report(None) => Ok(None),
                FromWorker::Report(Some(report)) if lies_within(&report, mail.length) => {
                    Ok(Some(*report))
                }
                _ => Err(out_of_turn()),
            }
        })
    }

    fn encrypt_once(
        &mut self,
        mail: &Mail<'_>,
        certificate: &[u8],
    ) -> Result<Vec<u8>, WorkerFailure> {
        let limits = job::from_worker(mail.length.saturating_mul(2).max(1 << 20));
        let job = ToWorker::Encrypt {
            certificate: certificate.to_vec(),
        };
        let (answer, raw) = self.converse(mail.length, |process| {
            frame::write_from(&mut process.to, &job, &mut (mail.bytes)(), mail.length)?;
            frame::read::<FromWorker>(&mut process.from, limits)
        })?;
        match answer {
            FromWorker::Encrypted(Ok(())) => Ok(raw),
            FromWorker::Encrypted(Err(why)) => Err(WorkerFailure::Encrypt(why)),
            _ => Err(WorkerFailure::Died),
        }
    }

    /// One exchange with the process, which is killed when it takes too long, and recycled when it is spent.
    fn converse<T>(
        &mut self,
        length: u64,
        exchange: impl FnOnce(&mut Process) -> Result<T, FrameError>,
    ) -> Result<T, WorkerFailure> {
        let current = self.setup.trust().0;
        let usable = |process: &Process| process.trusts == current;
        let mut process = match self.process.take().filter(usable) {
            Some(process) => process,
            None => start(&self.setup)?,
        };
        let seconds = self.setup.policy.bounds.seconds;
        process.patience.begin(Duration::from_secs(seconds.into()));
        match exchange(&mut process) {
            Ok(answer) => {
                process.served += 1;
                if process.served < MAILS_PER_WORKER && length <= LARGE_MAIL {
                    self.process = Some(process);
                }
                Ok(answer)
            }
            Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Err(WorkerFailure::TimedOut(seconds))
            }
            Err(FrameError::Closed | FrameError::Io(_)) => Err(WorkerFailure::Died),
            Err(error) => Err(WorkerFailure::Protocol(error)),
        }
    }
}

fn out_of_turn() -> FrameError {
    FrameError::NotUnderstood("an answer to another question".to_owned())
}

/// Whether all places that a report names lie within so many bytes.
fn lies_within(report: &Report, length: u64) -> bool {
    let within = |end: usize| end as u64 <= length;
    let sound =
        |message: &std::ops::Range<usize>| message.start <= message.end && within(message.end);
    report.messages.first().is_some_and(|first| {
        let mut ends = std::iter::once(report.end).chain(report.other_end);
        ends.all(|end| first.end <= end && within(end))
    }) && report.messages.iter().all(sound)
}

fn dialogue(
    process: &mut Process,
    keys: &dyn KeyOps,
    limits: Limits,
    bounds: Bounds,
) -> Result<Opened, FrameError> {
    let most_questions = bounds.recipients.saturating_mul(QUESTIONS_FOR_EACH);
    let (mut asked, mut answered) = (0u32, 0u32);
    loop {
        match frame::read::<FromWorker>(&mut process.from, limits)? {
            (
                FromWorker::Unwrap {
                    hint,
                    wrapped,
                    attempt,
                },
                _,
            ) => {
                asked += 1;
                let answer = if asked > most_questions || answered >= bounds.key_operations {
                    Err(KeyRefusal::TooMany)
                } else {
                    unwrapped(keys, &hint, &wrapped, attempt)
                };
                // To say that there is no such key is a look at a list, no operation with a key.
                answered += u32::from(!matches!(answer, Err(KeyRefusal::NoKey)));
                frame::write(&mut process.to, &ToWorker::SessionKey(answer), &[])?;
            }
            (
                FromWorker::Opened {
                    mut opened,
                    has_rendition,
                },
                raw,
            ) => {
                opened.rendition = has_rendition.then_some(raw);
                return Ok(*opened);
            }
            (FromWorker::Encrypted(_) | FromWorker::Report(_) | FromWorker::Ready, _) => {
                return Err(out_of_turn());
            }
        }
    }
}

/// What a private key makes of a wrap. That comes from a mail: where a library panics over it, the key does not open it. Else the
/// mail would end each keeper that takes it up.
fn unwrapped(
    keys: &dyn KeyOps,
    hint: &KeyHint,
    wrapped: &Wrapped,
    attempt: u32,
) -> Result<SessionKey, KeyRefusal> {
    let work = || keys.unwrap_session_key(hint, wrapped, attempt);
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a key operation panicked over what a mail asked of it");
        Err(KeyRefusal::DoesNotOpen)
    })
}

fn start(setup: &WorkerSetup) -> Result<Process, WorkerFailure> {
    let (trusts, trust) = setup.trust();
    let mut program = (setup.program)();
    program.arg("worker").env_clear().stdin(Stdio::piped());
    program.stdout(Stdio::piped()).stderr(Stdio::inherit());
    sandbox::name_parent(&mut program);
    let mut child = program.spawn().map_err(WorkerFailure::Start)?;
    let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(WorkerFailure::Start(io::ErrorKind::BrokenPipe.into()));
    };
    let patience = Patience::default();
    let mut process = Process {
        to: ToChild::new(to, &patience).map_err(WorkerFailure::Start)?,
        from: BufReader::with_capacity(frame::BUFFER, FromChild::new(from, &patience)),
        child,
        patience,
        served: 0,
        trusts,
    };
    process
        .patience
        .begin(Duration::from_secs(setup.policy.bounds.seconds.into()));
    let setup = ToWorker::Setup {
        trust: Box::new(Trust::clone(&trust)),
        policy: Box::new(setup.policy.clone()),
    };
    let ready = frame::write(&mut process.to, &setup, &[])
        .and_then(|()| frame::read::<FromWorker>(&mut process.from, job::from_worker(0)));
    match ready {
        Ok((FromWorker::Ready, _)) => Ok(process),
        Ok(_) => Err(WorkerFailure::Protocol(out_of_turn())),
        // The machine may be short of memory or of open files: no mail has been touched yet.
        Err(error) => Err(WorkerFailure::Start(io::Error::other(format!(
            "it was not ready for a mail: {error}"
        )))),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{DEMO, ValidPolicy};

    #[test]
    fn a_key_operation_that_panics_ends_no_keeper() {
        struct Panicking;
        impl KeyOps for Panicking {
            fn unwrap_session_key(
                &self,
                _: &KeyHint,
                _: &Wrapped,
                _: u32,
            ) -> Result<SessionKey, KeyRefusal> {
                panic!("a library's")
            }
        }
        let ciphertext = vec![0; 128];
        let wrapped = Wrapped::RsaPkcs1 { ciphertext };
        let answer = unwrapped(&Panicking, &KeyHint::Hidden, &wrapped, 0);
        assert_eq!(answer.err(), Some(KeyRefusal::DoesNotOpen));
    }

    #[test]
    fn a_process_that_ends_before_it_is_ready_is_no_mails_doing() {
        let policy = ValidPolicy::parse(DEMO, "p.toml").expect("a policy");
        let setup = WorkerSetup {
            program: || Command::new("/bin/false"),
            trust: RwLock::default(),
            policy: policy.open().clone(),
        };
        let started = start(&setup);
        assert!(matches!(started, Err(WorkerFailure::Start(_))));
    }
}
