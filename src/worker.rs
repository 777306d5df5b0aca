//! The disposable process that opens one mail at a time. It has no file, no network and no key.

use crate::frame::{self, FrameError};
use crate::keeper::job::{FROM_KEEPER, FromWorker, ToWorker};
use crate::mail::KeyOps;
use crate::mail::context::{OpenPolicy, Trust};
use crate::mail::keyops::{KeyHint, KeyRefusal, SessionKey, Wrapped};
use crate::sandbox;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd;

/// Memory a worker may map, as a multiple of the largest mail it opens, and at least.
const MEMORY_FACTOR: u64 = 8;
const MEMORY_FLOOR: u64 = 2 << 30;

/// Why a worker ends early.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The pipes to the keeper.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Confinement failed: no mail is touched.
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    /// The keeper sent something out of turn.
    #[error("the keeper spoke out of turn")]
    OutOfTurn,
}

/// Serves the keeper on standard input and output until it closes them.
pub fn run() -> Result<(), WorkerError> {
    sandbox::no_dumps()?;
    sandbox::die_with_parent()?;
    crate::mail::warm_up();
    let pipes = Pipes::standard()?;
    let (first, _) = pipes.receive()?;
    let ToWorker::Setup { trust, policy } = first else {
        return Err(WorkerError::OutOfTurn);
    };
    let address_space = policy
        .bounds
        .expanded_bytes
        .saturating_mul(MEMORY_FACTOR)
        .max(MEMORY_FLOOR);
    sandbox::confine_worker(address_space)?;
    pipes.send(&FromWorker::Ready, &[])?;
    loop {
        match pipes.receive() {
            Ok((ToWorker::Open { arrived, documents }, mail)) => {
                let mut policy = policy.clone();
                policy.bounds.documents = documents;
                open_one(&pipes, &mail, &trust, &policy, arrived)?
            }
            Ok((ToWorker::ReadReport, mail)) => {
                let report = crate::mail::journal::unwrap(&mail).map(Box::new);
                pipes.send(&FromWorker::Report(report), &[])?;
            }
            Ok((ToWorker::Encrypt { certificate }, mail)) => encrypt(&pipes, &certificate, &mail)?,
            Ok(_) => return Err(WorkerError::OutOfTurn),
            Err(FrameError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_one(
    pipes: &Pipes,
    mail: &[u8],
    trust: &Trust,
    policy: &OpenPolicy,
    arrived: crate::time::Timestamp,
) -> Result<(), FrameError> {
    let mut opened = crate::mail::open(mail, pipes, trust, policy, arrived);
    let rendition = opened.rendition.take();
    let answer = FromWorker::Opened {
        opened: Box::new(opened),
        has_rendition: rendition.is_some(),
    };
    pipes.send(&answer, &rendition.unwrap_or_default())
}

fn encrypt(pipes: &Pipes, certificate: &[u8], mail: &[u8]) -> Result<(), FrameError> {
    match crate::mail::encrypt_for(certificate, mail) {
        Ok(encrypted) => pipes.send(&FromWorker::Encrypted(Ok(())), &encrypted),
        Err(error) => pipes.send(&FromWorker::Encrypted(Err(error.to_string())), &[]),
    }
}

/// The pipes to the keeper, and so the worker's only key operations.
struct Pipes(RefCell<(BufReader<File>, File)>);

impl Pipes {
    /// Standard input and output, without the standard library's own buffers, which would cut a frame at line ends.
    fn standard() -> Result<Self, FrameError> {
        let from = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self(RefCell::new((
            BufReader::with_capacity(frame::BUFFER, from),
            to,
        ))))
    }

    fn receive(&self) -> Result<(ToWorker, Vec<u8>), FrameError> {
        frame::read(&mut self.0.borrow_mut().0, FROM_KEEPER)
    }

    fn send(&self, message: &FromWorker, raw: &[u8]) -> Result<(), FrameError> {
        frame::write(&mut self.0.borrow_mut().1, message, raw)
    }
}

impl KeyOps for Pipes {
    fn unwrap_session_key(
        &self,
        hint: &KeyHint,
        wrapped: &Wrapped,
        attempt: u32,
    ) -> Result<SessionKey, KeyRefusal> {
        let ask = FromWorker::Unwrap {
            hint: hint.clone(),
            wrapped: wrapped.clone(),
            attempt,
        };
        match self.send(&ask, &[]).and_then(|()| self.receive()) {
            Ok((ToWorker::SessionKey(answer), _)) => answer,
            _ => Err(KeyRefusal::NoKey),
        }
    }
}
