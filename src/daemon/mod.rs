//! `strongroom serve`: the parent process. It owns the TPM and the box secret, parses nothing, starts the other
//! processes and restarts what dies.

mod children;
pub mod intake;
mod unlock;

use crate::boxfiles::{BoxFileError, DataFolder, RUN};
use crate::durable::{self, FileError};
use crate::keeper::{FAILURE, REFUSED};
use crate::sandbox::{self, SandboxError};
use crate::time::{Clock, SystemClock};
use children::{Child, Role};
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use unlock::{LockedError, Unlocked};

/// While the box is locked it tries again this often.
const RETRY_UNLOCK: Duration = Duration::from_secs(10);
/// A child that dies is restarted after this, doubled up to a minute while it keeps dying at once.
const RESTART: Duration = Duration::from_millis(500);
/// How long children may take to stop.
const STOPPING: Duration = Duration::from_secs(60);

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
    /// Another `serve` has this data folder.
    #[error("another `strongroom serve` runs on {}; stop it first", .0.display())]
    Running(PathBuf),
}

/// What `strongroom status` shows where no keeper answers. Lies in `run/state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// "open", "locked", "refused" or "stopped".
    pub state: String,
    /// Why it is locked or refused, and the remedy; of an open box, why the keeper ended last time.
    pub reason: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// Process id of the parent.
    pub parent: u32,
}

enum Event {
    Terminate,
    /// With its exit status, if it was not killed.
    Ended(Role, Option<u8>),
}

/// Runs the box until SIGTERM or SIGINT.
pub fn serve(data: &Path) -> Result<(), ServeError> {
    sandbox::no_dumps()?;
    if let Err(error) = sandbox::lock_memory() {
        tracing::warn!(%error, "memory is not locked: secrets could reach swap");
    }
    let data = DataFolder::open(data)?;
    durable::create_folder(&data.join(RUN))?;
    durable::let_through(&data.join(RUN))?;
    let _alone = lock_alone(data.path())?;
    let (events, inbox) = mpsc::channel();
    watch_signals(&events)?;
    Parent {
        data,
        events,
        unlocked: None,
        intake: None,
        keeper: None,
        refused: false,
    }
    .run(&inbox)
}

fn lock_alone(data: &Path) -> Result<nix::fcntl::Flock<std::fs::File>, ServeError> {
    let path = data.join("run/parent.lock");
    let file = std::fs::File::create(&path).map_err(durable::at("create", &path))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|_| ServeError::Running(data.to_owned()))
}

/// Blocks the stop signals in all threads and turns them into events. Children start with an empty mask.
fn watch_signals(events: &Sender<Event>) -> io::Result<()> {
    let stops = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    stops.thread_block()?;
    let events = events.clone();
    std::thread::spawn(move || {
        while stops.wait().is_ok() {
            let _ = events.send(Event::Terminate);
        }
    });
    Ok(())
}

struct Parent {
    data: DataFolder,
    events: Sender<Event>,
    unlocked: Option<Unlocked>,
    intake: Option<Child>,
    keeper: Option<Child>,
    /// The keeper found the data folder to be none to start normally with.
    refused: bool,
}

impl Parent {
    fn run(mut self, inbox: &Receiver<Event>) -> Result<(), ServeError> {
        self.start(Role::Intake)?;
        self.try_unlock()?;
        let mut pause = RESTART;
        let mut started = Instant::now();
        loop {
            match inbox.recv_timeout(RETRY_UNLOCK) {
                Ok(Event::Terminate) => return self.stop(inbox),
                Ok(Event::Ended(Role::Keeper, Some(REFUSED))) => self.note_refused()?,
                Ok(Event::Ended(role, _)) => {
                    tracing::error!(?role, "a process of the box ended; it is started again");
                    self.note_failure(role)?;
                    pause = if started.elapsed() > Duration::from_secs(60) {
                        RESTART
                    } else {
                        pause * 2
                    };
                    pause = pause.min(Duration::from_secs(60));
                    std::thread::sleep(pause);
                    started = Instant::now();
                    self.start(role)?;
                }
                Err(RecvTimeoutError::Timeout) if self.unlocked.is_none() && !self.refused => {
                    self.try_unlock()?
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn start(&mut self, role: Role) -> Result<(), ServeError> {
        match (role, &self.unlocked) {
            (Role::Intake, _) => self.intake = Some(Child::intake(self.data.path(), &self.events)?),
            (Role::Keeper, Some(unlocked)) => {
                self.keeper = Some(Child::keeper(self.data.path(), unlocked, &self.events)?);
            }
            (Role::Keeper, None) => {}
        }
        Ok(())
    }

    fn try_unlock(&mut self) -> Result<(), ServeError> {
        match Unlocked::by_tpm(&self.data) {
            Ok(unlocked) => {
                self.unlocked = Some(unlocked);
                self.note("open", None)?;
                tracing::info!("the box is open");
                self.start(Role::Keeper)
            }
            Err(error) => self.note_locked(&error),
        }
    }

    fn note_locked(&self, error: &LockedError) -> Result<(), ServeError> {
        tracing::error!(%error, "the box stays locked; mail is accepted all the same");
        self.note("locked", Some(error.to_string()))
    }

    /// The keeper says that this data folder must not be started normally. The TPM is let go, for a ceremony needs it.
    fn note_refused(&mut self) -> Result<(), ServeError> {
        let reason = self.failure().unwrap_or_default();
        tracing::error!(
            reason,
            "the box refuses to start normally; mail is accepted all the same"
        );
        self.refused = true;
        if let Some(unlocked) = self.unlocked.take()
            && let Err(error) = unlocked.shut_down()
        {
            tracing::warn!(%error, "the TPM was not shut down in order");
        }
        self.note("refused", Some(reason))
    }

    /// Leaves word for `status` of why the keeper could not go on, if it said so: an earlier reason is no longer true. It is
    /// started again all the same.
    fn note_failure(&self, role: Role) -> Result<(), ServeError> {
        match role {
            Role::Keeper => self.note("open", self.failure()),
            Role::Intake => Ok(()),
        }
    }

    fn failure(&self) -> Option<String> {
        std::fs::read_to_string(self.data.join(FAILURE)).ok()
    }

    fn note(&self, state: &str, reason: Option<String>) -> Result<(), ServeError> {
        let state = State {
            state: state.to_owned(),
            reason,
            since: SystemClock.now().to_string(),
            parent: std::process::id(),
        };
        let text = serde_json::to_vec_pretty(&state).map_err(io::Error::other)?;
        Ok(durable::replace(&self.data.join("run/state.json"), &text)?)
    }

    /// Intake first, so that nothing new comes; then the keeper, which still needs the TPM; then the TPM.
    fn stop(mut self, inbox: &Receiver<Event>) -> Result<(), ServeError> {
        tracing::info!("stopping");
        for child in [self.intake.take(), self.keeper.take()]
            .into_iter()
            .flatten()
        {
            child.terminate();
            let deadline = Instant::now() + STOPPING;
            while !child.has_ended() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    tracing::error!(role = ?child.role(), "did not stop in time and is killed");
                    child.kill();
                    break;
                }
                let _ = inbox.recv_timeout(left.min(Duration::from_millis(200)));
            }
        }
        if let Some(unlocked) = self.unlocked.take()
            && let Err(error) = unlocked.shut_down()
        {
            tracing::warn!(%error, "the TPM was not shut down in order");
        }
        self.note("stopped", None)
    }
}
