//! The processes that the parent starts.

use super::Event;
use super::unlock::Unlocked;
use crate::sandbox;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

/// What intake says once it takes mail in. Any other line is why it does not.
pub(super) const LISTENING: &str = "listening";
/// No word of a child is longer.
const LONGEST_WORD: u64 = 64 << 10;

/// How a child ended.
pub(super) struct End {
    pub(super) role: Role,
    pub(super) pid: Pid,
    /// Its exit status, if it was not killed.
    pub(super) code: Option<u8>,
    /// Its last word, or how it ended.
    pub(super) why: String,
}

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Intake,
    Keeper,
}

/// A running child. Its end comes as an event.
pub(super) struct Child {
    role: Role,
    pid: Pid,
    ended: Arc<AtomicBool>,
}

impl Child {
    /// Intake says over its standard input that it takes mail in, or why it cannot.
    pub(super) fn intake(data: &Path, events: &Sender<Event>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = program("intake", data);
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let said = events.clone();
        Self::start(Role::Intake, command, events, move |pid| {
            let (mut ours, mut last) = (BufReader::new(ours), None);
            while let Some(line) = word(&mut ours) {
                last = (line != LISTENING).then_some(line);
                let _ = said.send(Event::Said(pid, last.clone()));
            }
            last
        })
    }

    /// The keeper gets the box secret, and then the TPM's services, over a socket pair that is its standard input.
    pub(super) fn keeper(
        data: &Path,
        unlocked: &Unlocked,
        events: &Sender<Event>,
    ) -> io::Result<Self> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut command = program("keeper", data);
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = Self::start(Role::Keeper, command, events, |_| None)?;
        let given = ours.write_all(unlocked.secrets().as_slice());
        if let Err(error) = given.and_then(|()| unlocked.serve(ours)) {
            child.kill();
            return Err(error);
        }
        Ok(child)
    }

    /// `listen` takes what the child says until it ends, and gives its last word.
    fn start(
        role: Role,
        mut command: Command,
        events: &Sender<Event>,
        listen: impl FnOnce(Pid) -> Option<String> + Send + 'static,
    ) -> io::Result<Self> {
        let mut process = command.spawn()?;
        drop(command);
        let pid = Pid::from_raw(i32::try_from(process.id()).map_err(io::Error::other)?);
        let ended = Arc::new(AtomicBool::new(false));
        let (flag, events) = (Arc::clone(&ended), events.clone());
        let watched = std::thread::Builder::new().spawn(move || {
            let said = listen(pid);
            let status = process.wait();
            flag.store(true, Ordering::SeqCst);
            let code = status.as_ref().ok().and_then(ExitStatus::code);
            let _ = events.send(Event::Ended(End {
                role,
                pid,
                code: code.and_then(|code| u8::try_from(code).ok()),
                why: said.unwrap_or_else(|| match status {
                    Ok(status) => format!("its process ended ({status})"),
                    Err(error) => format!("its process ended ({error})"),
                }),
            }));
        });
        let child = Self { role, pid, ended };
        if let Err(error) = watched {
            // Nobody would learn of its end.
            child.kill();
            let _ = waitpid(pid, None);
            return Err(error);
        }
        Ok(child)
    }

    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) const fn role(&self) -> Role {
        self.role
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    pub(super) fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    fn signal(&self, signal: Signal) {
        if !self.has_ended() {
            let _ = kill(self.pid, signal);
        }
    }
}

/// The next line that a child says; `None` once it is gone.
fn word(from: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    match from.take(LONGEST_WORD).read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&line).trim_end().to_owned()),
    }
}

fn program(command: &str, data: &Path) -> Command {
    let mut program = sandbox::own_program();
    program.arg(command).arg("--data").arg(data);
    sandbox::name_parent(&mut program);
    // glibc keeps freed memory apart for each of up to eight times as many threads as there are cores, which makes the
    // keeper twice as large under load.
    program.env("MALLOC_ARENA_MAX", "2");
    program
}
