//! `strongroom serve`: the parent process. It owns the TPM and the box secret, parses nothing, starts the other
//! processes and restarts what dies.

mod children;
pub mod intake;
mod post;
mod unlock;

use crate::boxfiles::{BoxFileError, DataFolder, RUN, STATE, State};
use crate::durable::{self, FileError};
use crate::keeper::{FAILURE, POLICY_REPLACED, REBUILDING, REFUSED};
use crate::sandbox::{self, SandboxError};
use crate::time::{Clock, SystemClock};
use children::{Child, End, Role};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use post::Post;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use unlock::{LockedError, Unlocked};

/// What failed is tried again this often: unlocking, noting the state.
const RETRY: Duration = Duration::from_secs(10);
/// How long children may take to stop.
const STOPPING: Duration = Duration::from_secs(60);
/// The state of a box that is started without unlocking it.
const NOT_UNLOCKED: &str = "started with --no-unlock: mail is taken in, the archive stays closed, and the TPM is left to `strongroom ceremony restore`. \
     To open the box, stop this and start `strongroom serve`";
/// How long a stop waits for an attempt to unlock, so that the TPM is shut down in order.
const UNLOCKING: Duration = Duration::from_secs(5);

/// Why `serve` ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file of the box.
    #[error(transparent)]
    File(#[from] FileError),
    /// The box configuration.
    #[error(transparent)]
    Config(#[from] BoxFileError),
    /// The process could not be confined.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A process could not be started.
    #[error("cannot start a process of the box: {0}")]
    Start(#[from] io::Error),
}

enum Event {
    Terminate,
    /// The TLS certificate was renewed.
    Reload,
    /// The attempt to unlock is over.
    Unlocked(Box<Result<Unlocked, LockedError>>),
    /// Intake with this process id takes mail in, or does not for this reason.
    Said(Pid, Option<String>),
    Ended(End),
}

/// What of the box runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Intake alone. The TPM is not spoken to, and a ceremony may go on beside it.
    Intake,
}

/// Runs the box until SIGTERM or SIGINT; SIGHUP has intake read the TLS certificate anew.
pub fn serve(data: &Path, extent: Extent) -> Result<(), ServeError> {
    sandbox::no_dumps()?;
    if let Err(error) = sandbox::lock_memory() {
        tracing::warn!(%error, "memory is not locked: secrets could reach swap");
    }
    let data = DataFolder::open(data)?;
    let _only_one = data.lock_serve()?;
    let _alone = match extent {
        Extent::Whole => Some(data.lock_alone()?),
        Extent::Intake => None,
    };
    durable::let_through(&data.join(RUN))?;
    let (events, inbox) = mpsc::channel();
    watch_signals(&events)?;
    Parent::new(data, events, extent).run(&inbox);
    Ok(())
}

/// Blocks the signals in all threads and turns them into events. Children start with an empty mask.
fn watch_signals(events: &Sender<Event>) -> io::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block()?;
    let events = events.clone();
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            let _ = events.send(match signal {
                Signal::SIGHUP => Event::Reload,
                _ => Event::Terminate,
            });
        }
    });
    Ok(())
}

struct Parent {
    data: DataFolder,
    events: Sender<Event>,
    unlocked: Option<Unlocked>,
    /// When unlocking is tried next; `None` while it is tried, and once it needs no more trying.
    unlock_due: Option<Instant>,
    unlocking: bool,
    intake: Post,
    keeper: Post,
    /// The TPM is left to a ceremony: the keeper found the data folder to be none to start normally with, or nothing is to
    /// be unlocked.
    tpm_is_left: bool,
    state: State,
    /// The state as it is could not be written.
    unsaved: bool,
}

impl Parent {
    fn new(data: DataFolder, events: Sender<Event>, extent: Extent) -> Self {
        let (state, reason, unlock_due) = match extent {
            Extent::Whole => ("starting", None, Some(Instant::now())),
            Extent::Intake => ("locked", Some(NOT_UNLOCKED.to_owned()), None),
        };
        let state = State {
            state: state.to_owned(),
            reason,
            since: SystemClock.now().to_string(),
            parent: std::process::id(),
            intake: None,
        };
        Self {
            data,
            events,
            unlocked: None,
            unlock_due,
            unlocking: false,
            intake: Post::default(),
            keeper: Post::default(),
            tpm_is_left: extent == Extent::Intake,
            state,
            unsaved: false,
        }
    }

    /// Nothing but a stop signal ends this: what fails here is told, and tried again.
    fn run(mut self, inbox: &Receiver<Event>) {
        self.save();
        self.intake.open();
        loop {
            self.do_what_is_due();
            match inbox.recv_timeout(self.time_to_wait()) {
                Ok(Event::Terminate) => return self.stop(inbox),
                Ok(event) => self.take(event),
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Terminate => {}
            Event::Reload => self.intake.reload(),
            Event::Unlocked(result) => self.note_unlocked(*result),
            // It says again and again why it does not take mail in.
            Event::Said(pid, why) if self.intake.is_held_by(pid) && self.state.intake != why => {
                self.state.intake = why;
                self.save();
            }
            Event::Said(..) => {}
            Event::Ended(end) => self.note_end(end),
        }
    }

    fn time_to_wait(&self) -> Duration {
        let due = [self.intake.due(), self.keeper.due(), self.unlock_due];
        let next = due.into_iter().flatten().min();
        next.map_or(RETRY, |due| {
            due.saturating_duration_since(Instant::now()).min(RETRY)
        })
    }

    fn do_what_is_due(&mut self) {
        // Whoever removes `run/` takes the box's word from it, and the sockets, which the children make anew.
        if self.unsaved || !self.data.join(STATE).exists() {
            self.save();
        }
        if self.unlock_due.is_some_and(|due| due <= Instant::now()) {
            self.try_unlock();
        }
        if self.intake.is_due() {
            match Child::intake(self.data.path(), &self.events) {
                Ok(child) => self.intake.fill(child),
                Err(error) => {
                    self.intake.reopen();
                    self.state.intake = Some(not_started(Role::Intake, &error));
                    self.save();
                }
            }
        }
        if let (true, Some(unlocked)) = (self.keeper.is_due(), &self.unlocked) {
            match Child::keeper(self.data.path(), unlocked, &self.events) {
                Ok(child) => self.keeper.fill(child),
                Err(error) => {
                    self.keeper.reopen();
                    self.note("open", Some(not_started(Role::Keeper, &error)));
                }
            }
        }
    }

    /// On a thread of its own, because a TPM may take its time, and a stop signal must not wait for it.
    fn try_unlock(&mut self) {
        let (data, events) = (self.data.clone(), self.events.clone());
        let started = std::thread::Builder::new().spawn(move || {
            let result = Unlocked::by_tpm(&data);
            let _ = events.send(Event::Unlocked(Box::new(result)));
        });
        match started {
            Ok(_) => (self.unlock_due, self.unlocking) = (None, true),
            Err(error) => self.note_unlocked(Err(error.into())),
        }
    }

    fn note_unlocked(&mut self, result: Result<Unlocked, LockedError>) {
        self.unlocking = false;
        match result {
            Ok(unlocked) => {
                self.unlocked = Some(unlocked);
                self.note("open", None);
                tracing::info!("the box is open");
                self.keeper.open();
            }
            Err(error) => {
                tracing::error!(%error, "the box stays locked");
                self.note("locked", Some(error.to_string()));
                self.unlock_due = Some(Instant::now() + RETRY);
            }
        }
    }

    fn note_end(&mut self, end: End) {
        let post = match end.role {
            Role::Intake => &mut self.intake,
            Role::Keeper => &mut self.keeper,
        };
        if !post.is_held_by(end.pid) {
            return;
        }
        match (end.role, end.code) {
            (Role::Keeper, Some(REFUSED)) => return self.note_refused(),
            (Role::Keeper, Some(POLICY_REPLACED)) => return self.begin_anew(),
            (Role::Keeper, Some(REBUILDING)) => {
                tracing::info!("catalog and search are made anew");
                return post.open();
            }
            _ => {}
        }
        post.reopen();
        tracing::error!(role = ?end.role, why = end.why, "a process of the box ended; it is started again");
        match end.role {
            // An earlier reason is no longer true. Who was killed, by a machine that is short of memory say, left none.
            Role::Keeper => self.note("open", Some(self.failure().unwrap_or(end.why))),
            Role::Intake => {
                self.state.intake = Some(end.why);
                self.save();
            }
        }
    }

    /// Another policy came into force, which intake works by too.
    fn begin_anew(&mut self) {
        tracing::info!("another policy is in force; keeper and intake begin anew");
        self.keeper.open();
        self.intake.terminate();
        self.state.intake = Some("it begins anew with another policy".to_owned());
        self.save();
    }

    /// The keeper says that this data folder must not be started normally. The TPM is let go, for a ceremony needs it.
    fn note_refused(&mut self) {
        let reason = self.failure().unwrap_or_default();
        tracing::error!(
            reason,
            "the box refuses to start normally; mail is accepted all the same"
        );
        self.tpm_is_left = true;
        self.keeper.close();
        if let Some(unlocked) = self.unlocked.take() {
            warn_unless_shut_down(unlocked.shut_down());
        }
        self.note("refused", Some(reason));
    }

    fn failure(&self) -> Option<String> {
        std::fs::read_to_string(self.data.join(FAILURE)).ok()
    }

    fn note(&mut self, state: &str, reason: Option<String>) {
        state.clone_into(&mut self.state.state);
        self.state.reason = reason;
        self.state.since = SystemClock.now().to_string();
        self.save();
    }

    /// Leaves word for `status`. On a full disk it cannot, and tries again.
    fn save(&mut self) {
        let path = self.data.join(STATE);
        let run = self.data.join(RUN);
        let saved = serde_json::to_vec_pretty(&self.state)
            .map_err(io::Error::other)
            .map_err(durable::at("write", &path))
            .and_then(|text| {
                durable::create_folder(&run)?;
                durable::let_through(&run)?;
                durable::replace(&path, &text)
            });
        match &saved {
            Err(error) if !self.unsaved => {
                tracing::error!(%error, "the state of the box is not noted; this is tried again");
            }
            _ => {}
        }
        self.unsaved = saved.is_err();
    }

    /// Intake first, so that nothing new comes; then the keeper, which still needs the TPM; then the TPM.
    fn stop(mut self, inbox: &Receiver<Event>) {
        tracing::info!("stopping");
        for child in [self.intake.close(), self.keeper.close()]
            .into_iter()
            .flatten()
        {
            child.terminate();
            if !self.wait_for(inbox, STOPPING, |_| child.has_ended()) {
                tracing::error!(role = ?child.role(), "did not stop in time and is killed");
                child.kill();
            }
        }
        self.wait_for(inbox, UNLOCKING, |parent| !parent.unlocking);
        match self.unlocked.take() {
            Some(unlocked) => warn_unless_shut_down(unlocked.shut_down()),
            None if !self.tpm_is_left => {
                warn_unless_shut_down(unlock::shut_down_locked(&self.data))
            }
            None => {}
        }
        self.state.intake = None;
        self.note("stopped", None);
    }

    /// False where it does not hold in time.
    fn wait_for(
        &mut self,
        inbox: &Receiver<Event>,
        patience: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> bool {
        let deadline = Instant::now() + patience;
        while !holds(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let event = inbox.recv_timeout(left.min(Duration::from_millis(200)));
            if let Ok(Event::Unlocked(result)) = event {
                self.unlocking = false;
                self.unlocked = result.ok();
            }
        }
        true
    }
}

fn not_started(role: Role, error: &io::Error) -> String {
    tracing::error!(?role, %error, "a process of the box cannot be started; this is tried again");
    format!("its process cannot be started: {error}")
}

fn warn_unless_shut_down<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the TPM was not shut down in order");
    }
}
