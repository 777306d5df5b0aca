//! How the keeper reaches the TPM: through its parent, by frames of one fixed size.
//!
//! The parent parses nothing, so both directions are 65 bytes: an operation or status byte, and 64 bytes of
//! argument or result, zero-filled. One request is under way at a time.

use crate::secret::{Key, wipe};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

const FRAME: usize = 65;

/// What the keeper may ask. The discriminant is the first byte of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// digest[32] ‖ key authorisation[32] → signature `r ‖ s` of the ledger key.
    Sign = 1,
    /// digest[32] → counter[8] ‖ extend value[32], after one step of both.
    Step = 2,
    /// → counter[8] ‖ extend value[32].
    Position = 3,
    /// → 32 random bytes of the TPM.
    Random = 4,
    /// digest[32] → counter[8] ‖ extend value[32], after the second half of a step whose first half was done.
    Absorb = 5,
}

/// Where the TPM's counter and extend index stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The NV counter.
    pub counter: u64,
    /// The NV extend index.
    pub extend: [u8; 32],
}

/// Why the TPM did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The parent is gone.
    #[error("the parent process does not answer: {0}")]
    Parent(#[from] io::Error),
    /// The TPM refused; the parent's log says why.
    #[error("the TPM refused ({0:?}), or does not answer; the log of `strongroom serve` says why")]
    Refused(Operation),
}

/// The keeper's end.
pub struct TpmLink(UnixStream);

impl TpmLink {
    /// Over the socket pair that the parent made.
    #[must_use]
    pub const fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Signs a SHA-256 digest with the ledger key.
    pub fn sign(&mut self, digest: &[u8; 32], authorisation: &Key) -> Result<[u8; 64], LinkError> {
        let mut argument = [0; 64];
        argument[..32].copy_from_slice(digest);
        argument[32..].copy_from_slice(authorisation.expose());
        self.ask(Operation::Sign, argument)
    }

    /// Steps the counter and absorbs `digest` into the extend index.
    pub fn step(&mut self, digest: &[u8; 32]) -> Result<Position, LinkError> {
        let mut argument = [0; 64];
        argument[..32].copy_from_slice(digest);
        self.ask(Operation::Step, argument)
            .map(|result| Position::from_bytes(&result))
    }

    /// Absorbs `digest` alone: the counter was stepped already when a step was cut off.
    pub fn absorb(&mut self, digest: &[u8; 32]) -> Result<Position, LinkError> {
        let mut argument = [0; 64];
        argument[..32].copy_from_slice(digest);
        self.ask(Operation::Absorb, argument)
            .map(|result| Position::from_bytes(&result))
    }

    /// Reads counter and extend index.
    pub fn position(&mut self) -> Result<Position, LinkError> {
        self.ask(Operation::Position, [0; 64])
            .map(|result| Position::from_bytes(&result))
    }

    /// Random bytes from the TPM, to be mixed with the kernel's.
    pub fn random(&mut self) -> Result<[u8; 32], LinkError> {
        let result = self.ask(Operation::Random, [0; 64])?;
        let mut out = [0; 32];
        out.copy_from_slice(&result[..32]);
        Ok(out)
    }

    fn ask(&mut self, operation: Operation, argument: [u8; 64]) -> Result<[u8; 64], LinkError> {
        let mut frame = [0; FRAME];
        frame[0] = operation as u8;
        frame[1..].copy_from_slice(&argument);
        let sent = self.0.write_all(&frame);
        wipe(&mut frame);
        sent?;
        self.0.read_exact(&mut frame)?;
        let [status, result @ ..] = frame;
        if status == 0 {
            Ok(result)
        } else {
            Err(LinkError::Refused(operation))
        }
    }
}

impl Position {
    /// counter[8, big-endian] ‖ extend[32] ‖ zeroes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 64] {
        let mut out = [0; 64];
        out[..8].copy_from_slice(&self.counter.to_be_bytes());
        out[8..40].copy_from_slice(&self.extend);
        out
    }

    fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut counter = [0; 8];
        let mut extend = [0; 32];
        counter.copy_from_slice(&bytes[..8]);
        extend.copy_from_slice(&bytes[8..40]);
        Self {
            counter: u64::from_be_bytes(counter),
            extend,
        }
    }
}

/// The parent's end: answers until the keeper closes its side. `perform` gets the 64 bytes of argument.
pub fn serve<E: std::fmt::Display>(
    mut stream: UnixStream,
    mut perform: impl FnMut(Operation, &[u8; 64]) -> Result<[u8; 64], E>,
) -> io::Result<()> {
    let mut frame = [0; FRAME];
    loop {
        match stream.read_exact(&mut frame) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let [code, argument @ ..] = frame;
        let operation = [
            Operation::Sign,
            Operation::Step,
            Operation::Position,
            Operation::Random,
            Operation::Absorb,
        ]
        .into_iter()
        .find(|operation| *operation as u8 == code)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the keeper asked for no known operation",
            )
        })?;
        frame = [0; FRAME];
        match perform(operation, &argument) {
            Ok(result) => frame[1..].copy_from_slice(&result),
            Err(error) => {
                tracing::error!(?operation, %error, "the TPM refused");
                frame[0] = 1;
            }
        }
        stream.write_all(&frame)?;
        wipe(&mut frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_understand_each_other_and_refusals_are_passed_on() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let parent = std::thread::spawn(move || {
            serve(theirs, |operation, argument| match operation {
                Operation::Step => Ok(Position {
                    counter: 7,
                    extend: [argument[0]; 32],
                }
                .to_bytes()),
                Operation::Sign => Ok(*argument),
                _ => Err("no"),
            })
        });
        let mut link = TpmLink::new(ours);
        assert_eq!(
            link.step(&[9; 32]).expect("step"),
            Position {
                counter: 7,
                extend: [9; 32]
            }
        );
        let signature = link
            .sign(&[1; 32], &Key::copy_from(&[2; 32]))
            .expect("sign");
        assert_eq!((signature[0], signature[63]), (1, 2));
        assert!(matches!(
            link.random(),
            Err(LinkError::Refused(Operation::Random))
        ));
        drop(link);
        parent.join().expect("thread").expect("clean end");
    }
}
