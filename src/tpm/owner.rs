//! The one thread that owns the TPM.
//!
//! libtss2 waits for an answer without end when the TPM stays silent, and a library that parses a
//! hostile bus may fail in any way. So the connection lives in a thread of its own: a call waits
//! until its deadline, then cuts the connection, leaves the thread alone and says so; the next call
//! begins with a new thread and a new connection.

use super::device::Link;
use super::error::is_disconnection;
use super::raw::cut;
use super::{SrkName, TpmError};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::Duration;

type Job = Box<dyn FnOnce(&mut Link) + Send>;

pub(super) struct Owner {
    tcti: String,
    deadline: Duration,
    pinned: Option<SrkName>,
    jobs: Sender<Job>,
}

impl Owner {
    pub(super) fn new(tcti: &str, deadline: Duration) -> Self {
        Self {
            tcti: tcti.to_owned(),
            deadline,
            pinned: None,
            jobs: spawn(tcti.to_owned(), None),
        }
    }

    /// From now on a call waits so long.
    pub(super) const fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// From now on only a TPM with this storage root key is accepted.
    pub(super) fn pin(&mut self, name: SrkName) -> Result<(), TpmError> {
        self.pinned = Some(name.clone());
        self.run("compare the storage root key", move |link| {
            link.pin(name);
            link.device()?.srk().map(drop)
        })
    }

    /// Does `job` on the owning thread and waits for its result.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        doing: &'static str,
        job: impl FnOnce(&mut Link) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let (reply, answer) = sync_channel(1);
        let job: Job = Box::new(move |link| {
            let result = job(link);
            if result.is_err() {
                // After an error the two ends may disagree about a session: begin anew.
                link.disconnect();
            }
            // The caller may have given up waiting.
            let _ = reply.send(result);
        });
        // If the thread is gone, `answer` tells.
        let _ = self.jobs.send(job);
        match answer.recv_timeout(self.deadline) {
            Ok(Err(TpmError::Garbled { code, .. })) if is_disconnection(code) => {
                Err(TpmError::Missing {
                    tcti: self.tcti.clone(),
                    code,
                })
            }
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                cut(&self.tcti);
                self.restart();
                Err(TpmError::NoAnswer {
                    seconds: self.deadline.as_secs(),
                })
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.restart();
                Err(TpmError::Garbled { doing, code: 0 })
            }
        }
    }

    fn restart(&mut self) {
        self.jobs = spawn(self.tcti.clone(), self.pinned.clone());
    }
}

impl Drop for Owner {
    /// Waits until the connection is closed: the next one may be somebody's only one.
    fn drop(&mut self) {
        let _ = self.run("close the connection", |link| {
            link.disconnect();
            Ok(())
        });
    }
}

/// A thread that does jobs until its sender is dropped. Where none can be started, the first job tells, and the next one is
/// for a new thread.
fn spawn(tcti: String, pinned: Option<SrkName>) -> Sender<Job> {
    let (sender, jobs) = channel::<Job>();
    let started = thread::Builder::new().spawn(move || {
        let mut link = Link::new(tcti, pinned);
        while let Ok(job) = jobs.recv() {
            job(&mut link);
        }
    });
    if let Err(error) = started {
        tracing::error!(%error, "no thread can be started that speaks to the TPM");
    }
    sender
}
