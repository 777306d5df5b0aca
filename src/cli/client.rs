//! Speaking to the keeper: one request, its progress on the terminal, its final answer.

use crate::daemon::State;
use crate::frame::{self, FrameError};
use crate::keeper::protocol::{Answer, FROM_KEEPER, Request};
use indicatif::{ProgressBar, ProgressStyle};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

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
}

impl Client {
    /// Connects to the keeper of the box in `data`. `quiet` shows no progress.
    pub fn connect(data: &Path, quiet: bool) -> Result<Self, ClientError> {
        let path = data.join("run/keeper.sock");
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Self { stream, quiet }),
            Err(error) => Err(ClientError::NotThere {
                why: reason(data, &error),
                path,
            }),
        }
    }

    /// Asks, and waits for the final answer. Content that comes before it goes to `content`.
    pub fn ask(
        mut self,
        request: &Request,
        raw: &[u8],
        content: &mut dyn FnMut(&Answer, &[u8]) -> std::io::Result<()>,
    ) -> Result<Answer, ClientError> {
        frame::write(&mut self.stream, request, raw)?;
        let mut bar: Option<ProgressBar> = None;
        loop {
            let (answer, raw): (Answer, Vec<u8>) = frame::read(&mut self.stream, FROM_KEEPER)?;
            match answer {
                Answer::Progress { done, total, doing } => {
                    if !self.quiet {
                        let bar = bar.get_or_insert_with(|| progress_bar(doing));
                        bar.set_length(total);
                        bar.set_position(done);
                    }
                }
                Answer::Content | Answer::Released { .. } => {
                    content(&answer, &raw).map_err(FrameError::from)?
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

fn progress_bar(doing: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}");
    let bar = ProgressBar::new(0).with_message(doing);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What the parent last noted, or that it does not run.
fn reason(data: &Path, error: &std::io::Error) -> String {
    if !data.join(crate::boxfiles::CONFIG).exists() {
        return "there is no box in this folder; give --data, or found one with `strongroom ceremony found`".to_owned();
    }
    match state(data) {
        Some(state) if state.state != "open" && state.state != "stopped" => {
            let why = state.reason.unwrap_or_default();
            format!("it is {} since {}: {why}", state.state, state.since)
        }
        Some(State {
            reason: Some(failure),
            ..
        }) => format!("its keeper could not go on and is started again: {failure}"),
        Some(state) if state.state == "open" => {
            format!("it is starting, or busy catching up ({error}); try again")
        }
        _ => "it does not run; start it with `strongroom serve`".to_owned(),
    }
}

/// What the parent last noted in `run/state.json`.
#[must_use]
pub fn state(data: &Path) -> Option<State> {
    serde_json::from_slice(&std::fs::read(data.join("run/state.json")).ok()?).ok()
}
