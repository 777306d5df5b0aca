//! Speaking to the keeper: one request, its progress on the terminal, its final answer.

use crate::boxfiles::{CONFIG, DataFolder, STATE, State};
use crate::frame::{self, FrameError};
use crate::keeper::protocol::{Answer, FROM_KEEPER, Request};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the keeper could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No keeper answers.
    #[error("the box does not answer at {}: {why}", path.display())]
    NotThere {
        /// The socket.
        path: PathBuf,
        /// What is known of the reason, and what to do.
        why: String,
    },
    /// The connection broke.
    #[error("the keeper ended the conversation: {0}")]
    Frame(#[from] FrameError),
    /// What it gave out found no place.
    #[error("cannot write what the keeper gives out: {0}")]
    Output(#[source] std::io::Error),
    /// It does not answer in time.
    #[error(
        "the keeper has not answered within {} seconds: it is stopped, or it waits for the TPM or a disk; the log of `strongroom serve` says more",
        .0.as_secs()
    )]
    Slow(Duration),
    /// It said no.
    #[error("{0}")]
    Failed(String),
    /// It answered another question.
    #[error(
        "the keeper is of another version than this command; restart the box or use its own command"
    )]
    Unexpected,
}

/// A connection to the keeper.
pub struct Client {
    stream: UnixStream,
    quiet: bool,
    limit: Option<Duration>,
}

impl Client {
    /// Connects to the keeper of the box in `data`. `quiet` shows no progress.
    pub fn connect(data: &Path, quiet: bool) -> Result<Self, ClientError> {
        let path = data.join("run/keeper.sock");
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Self {
                stream,
                quiet,
                limit: None,
            }),
            Err(error) => Err(ClientError::NotThere {
                why: reason(data, &error),
                path,
            }),
        }
    }

    /// Waits no longer than this for each piece of the answer.
    pub fn within(mut self, limit: Duration) -> Result<Self, ClientError> {
        let set = self.stream.set_read_timeout(Some(limit));
        set.and_then(|()| self.stream.set_write_timeout(Some(limit)))
            .map_err(FrameError::from)?;
        self.limit = Some(limit);
        Ok(self)
    }

    fn broken(&self, error: FrameError) -> ClientError {
        match (&error, self.limit) {
            (FrameError::Io(source), Some(limit)) if source.kind() == ErrorKind::WouldBlock => {
                ClientError::Slow(limit)
            }
            _ => error.into(),
        }
    }

    /// Asks, and waits for the final answer. Content that comes before it goes to `content`.
    pub fn ask(
        mut self,
        request: &Request,
        raw: &[u8],
        content: &mut dyn FnMut(&Answer, &[u8]) -> std::io::Result<()>,
    ) -> Result<Answer, ClientError> {
        frame::write(&mut self.stream, request, raw).map_err(|error| self.broken(error))?;
        let mut bar: Option<ProgressBar> = None;
        loop {
            let (answer, raw): (Answer, Vec<u8>) =
                frame::read(&mut self.stream, FROM_KEEPER).map_err(|error| self.broken(error))?;
            match answer {
                Answer::Progress { done, total, doing } => {
                    if !self.quiet {
                        let bar = bar.get_or_insert_with(|| progress_bar(doing));
                        bar.set_length(total);
                        bar.set_position(done);
                    }
                }
                Answer::Content | Answer::Released { .. } => {
                    content(&answer, &raw).map_err(ClientError::Output)?
                }
                Answer::Failed(why) => return Err(ClientError::Failed(why)),
                last => {
                    if let Some(bar) = bar {
                        bar.finish_and_clear();
                    }
                    return Ok(last);
                }
            }
        }
    }

    /// As [`Client::ask`], for requests without content.
    pub fn ask_plainly(self, request: &Request) -> Result<Answer, ClientError> {
        self.ask(request, &[], &mut |_, _| Ok(()))
    }
}

/// A bar on the terminal; nothing where standard error is none.
pub fn progress_bar(doing: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}");
    let bar = ProgressBar::new(0).with_message(doing);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What the parent last noted, or that it does not run.
fn reason(data: &Path, error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::PermissionDenied {
        return "this user may not go into the box's folder: ask root, or whoever runs the box, for mode 0711 on it and on run/ in it".to_owned();
    }
    match data.join(CONFIG).try_exists() {
        Ok(true) => {}
        Ok(false) => {
            return "there is no box in this folder; give --data, or found one with `strongroom ceremony found`".to_owned();
        }
        Err(error) => return format!("the folder cannot be looked into: {error}"),
    }
    let noted = std::fs::metadata(data.join(STATE)).and_then(|_| File::open(data.join(STATE)));
    if noted.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
        return format!("{error}; why is for root to see: `strongroom status`");
    }
    let Some(state) = DataFolder::at(data).state() else {
        return NOT_RUNNING.to_owned();
    };
    let mut why = match (state.state.as_str(), &state.reason) {
        ("stopped", _) => NOT_RUNNING.to_owned(),
        _ if !is_alive(&state) => format!("its processes were ended from outside; {NOT_RUNNING}"),
        ("open", failure) => {
            let failed = failure.as_ref().map(|failure| {
                format!("its keeper could not go on and is started again: {failure}")
            });
            let caught_up = DataFolder::at(data).catching_up().map(|(done, all)| {
                format!("catalog and search catch up, {done} of {all} ledger entries are done; try again")
            });
            let said: Vec<String> = failed.into_iter().chain(caught_up).collect();
            if said.is_empty() {
                format!("it is starting, or busy catching up ({error}); try again")
            } else {
                said.join("; ")
            }
        }
        ("starting", _) => format!("it is starting since {}; try again", state.since),
        (named, reason) => {
            let reason = reason.as_deref().unwrap_or_default();
            format!("it is {named} since {}: {reason}", state.since)
        }
    };
    if let (Some(intake), true) = (&state.intake, is_alive(&state)) {
        why = format!("{why}; and no mail is taken in: {intake}");
    }
    if is_full(data) {
        why = format!("{why}; its disk is full: make room, and the box goes on by itself");
    }
    why
}

/// Whether the box's disk has no room, not even for the parent's word of what is wrong.
fn is_full(data: &Path) -> bool {
    let disk = nix::sys::statvfs::statvfs(data);
    disk.is_ok_and(|disk| disk.fragment_size().saturating_mul(disk.blocks_available()) < ROOM)
}

/// Below so many bytes a disk is as good as full.
const ROOM: u64 = 64 << 10;
const NOT_RUNNING: &str = "it does not run; start it with `strongroom serve`";

/// "stopped", or what the parent last noted, if it still lives.
#[must_use]
pub fn state(data: &Path) -> String {
    let noted = DataFolder::at(data).state().filter(is_alive);
    noted.map_or_else(|| "stopped".to_owned(), |state| state.state)
}

/// Is the process that noted this a `serve` that runs? Its number may have gone to another one since.
fn is_alive(state: &State) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", state.parent)).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"serve")
}
