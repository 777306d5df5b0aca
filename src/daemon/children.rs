//! The processes that the parent starts.

use super::Event;
use super::unlock::Unlocked;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

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
    pub(super) fn intake(data: &Path, events: &Sender<Event>) -> io::Result<Self> {
        let mut command = program("intake", data)?;
        command.stdin(Stdio::null());
        Self::start(Role::Intake, command, events)
    }

    /// The keeper gets the box secret, and then the TPM's services, over a socket pair that is its standard input.
    pub(super) fn keeper(
        data: &Path,
        unlocked: &Unlocked,
        events: &Sender<Event>,
    ) -> io::Result<Self> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut command = program("keeper", data)?;
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = Self::start(Role::Keeper, command, events)?;
        ours.write_all(unlocked.secrets().as_slice())?;
        unlocked.serve(ours);
        Ok(child)
    }

    fn start(role: Role, mut command: Command, events: &Sender<Event>) -> io::Result<Self> {
        let mut process = command.spawn()?;
        drop(command);
        let pid = Pid::from_raw(i32::try_from(process.id()).map_err(io::Error::other)?);
        let ended = Arc::new(AtomicBool::new(false));
        let (flag, events) = (Arc::clone(&ended), events.clone());
        std::thread::spawn(move || {
            let status = process.wait().ok().and_then(|status| status.code());
            flag.store(true, Ordering::SeqCst);
            let _ = events.send(Event::Ended(
                role,
                status.and_then(|code| u8::try_from(code).ok()),
            ));
        });
        Ok(Self { role, pid, ended })
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

    fn signal(&self, signal: Signal) {
        if !self.has_ended() {
            let _ = kill(self.pid, signal);
        }
    }
}

fn program(command: &str, data: &Path) -> io::Result<Command> {
    let mut program = Command::new(Path::new("/proc/self/exe").canonicalize()?);
    program.arg(command).arg("--data").arg(data);
    // glibc keeps freed memory apart for each of up to eight times as many threads as there are cores, which makes the
    // keeper twice as large under load.
    program.env("MALLOC_ARENA_MAX", "2");
    Ok(program)
}
