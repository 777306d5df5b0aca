//! The pipes to a child process that may be slow, stuck or hostile: every wait on them ends at one deadline, without
//! a thread that watches.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The deadline that both pipes of a child share. Waiting beyond it fails with [`io::ErrorKind::TimedOut`].
#[derive(Clone, Default)]
pub struct Patience(Arc<Mutex<Option<Instant>>>);

impl Patience {
    /// From now on, `limit` may be spent.
    pub fn begin(&self, limit: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(limit);
    }

    /// Waits until `pipe` is ready for `what`, or broken.
    fn wait(&self, pipe: BorrowedFd<'_>, what: PollFlags) -> io::Result<()> {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let left = match end {
                Some(end) => end.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(pipe, what)], timeout) {
                Ok(0) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A child's standard input.
pub struct ToChild {
    pipe: ChildStdin,
    patience: Patience,
}

impl ToChild {
    /// Takes over the pipe.
    pub fn new(pipe: ChildStdin, patience: &Patience) -> io::Result<Self> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        // A write of more than the pipe has room for would block whatever `poll` said.
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let patience = patience.clone();
        Ok(Self { pipe, patience })
    }
}

impl Write for ToChild {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.pipe.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.patience.wait(self.pipe.as_fd(), PollFlags::POLLOUT)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A child's standard output.
pub struct FromChild {
    pipe: ChildStdout,
    patience: Patience,
}

impl FromChild {
    /// Takes over the pipe.
    pub fn new(pipe: ChildStdout, patience: &Patience) -> Self {
        let patience = patience.clone();
        Self { pipe, patience }
    }
}

impl Read for FromChild {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        self.patience.wait(self.pipe.as_fd(), PollFlags::POLLIN)?;
        self.pipe.read(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn child(program: &str, argument: &str) -> (std::process::Child, ToChild, FromChild, Patience) {
        let mut child = Command::new(program)
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let patience = Patience::default();
        let to = ToChild::new(child.stdin.take().expect("a pipe"), &patience).expect("a pipe");
        let from = FromChild::new(child.stdout.take().expect("a pipe"), &patience);
        (child, to, from, patience)
    }

    #[test]
    fn a_child_that_neither_reads_nor_answers_ends_the_wait() {
        let (mut child, mut to, mut from, patience) = child("sleep", "60");
        patience.begin(Duration::from_millis(50));
        let read = from.read(&mut [0; 1]).expect_err("no answer");
        assert_eq!(read.kind(), io::ErrorKind::TimedOut);
        patience.begin(Duration::from_millis(50));
        let written = to
            .write_all(&vec![0; 10 << 20])
            .expect_err("not read by anybody");
        assert_eq!(written.kind(), io::ErrorKind::TimedOut);
        child.kill().expect("killed");
        child.wait().expect("gone");
        patience.begin(Duration::from_secs(60));
        assert_eq!(from.read(&mut [0; 1]).expect("its end"), 0);
        assert!(to.write_all(b"x").is_err());
    }

    #[test]
    fn more_than_a_pipe_holds_goes_through() {
        let (mut child, mut to, mut from, patience) = child("cat", "-");
        patience.begin(Duration::from_secs(60));
        for number in 0..20u8 {
            let sent = vec![number; 50_000];
            to.write_all(&sent).expect("written");
            let mut heard = vec![0; sent.len()];
            from.read_exact(&mut heard).expect("read");
            assert_eq!(heard, sent);
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
}
