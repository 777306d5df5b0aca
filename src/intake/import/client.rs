//! The import socket's client side: sends mails without waiting, and hears what became of each.

use super::protocol::{Answer, Offer, decode, encode, length};
use super::sources::{Found, SourceError};
use crate::id::{Digest, SpoolId, TenantId};
use std::collections::HashSet;
use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Why an import broke off. What was acknowledged stays imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The intake is not there.
    #[error("cannot reach the intake at {}: {source}; is `strongroom serve` running, and may this user import?", path.display())]
    NoIntake {
        /// Its socket.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The intake went away.
    #[error("the intake broke off: {0}; run the same command again, it goes on where it stopped")]
    BrokenOff(#[source] io::Error),
}

/// What became of one mail or file, told in order.
#[derive(Debug)]
pub enum Progress {
    /// The mail is in the spool for good.
    Queued {
        /// Where it came from.
        place: String,
        /// To be remembered, so that it is not sent again.
        identity: Digest,
        /// Its queue id.
        id: SpoolId,
        /// Bytes of the source done with it.
        span: u64,
    },
    /// It had been imported before.
    Known {
        /// Bytes of the source done with it.
        span: u64,
    },
    /// The intake did not take it.
    Refused {
        /// Where it lies.
        place: String,
        /// Why.
        reason: String,
        /// Bytes of the source done with it.
        span: u64,
    },
    /// It could not be read.
    Unreadable(SourceError),
}

/// Whose mail it is.
pub struct Destination {
    /// The tenant; `None`: by the mailbox's domain.
    pub tenant: Option<TenantId>,
    /// The mailbox.
    pub mailbox: String,
}

enum Sent {
    Offered {
        place: String,
        identity: Digest,
        span: u64,
    },
    Told(Progress),
    Broken(io::Error),
}

/// Mails sent and not yet answered; the intake bounds them too.
const UNDER_WAY: usize = 256;

/// Sends all of `mails` that are not in `known`, and tells `report` about each in order.
pub fn send(
    socket: &Path,
    destination: &Destination,
    mails: impl Iterator<Item = Result<Found, SourceError>> + Send,
    known: &HashSet<Digest>,
    mut report: impl FnMut(Progress) -> io::Result<()>,
) -> Result<(), ImportError> {
    let no_intake = |source| ImportError::NoIntake {
        path: socket.to_owned(),
        source,
    };
    let stream = UnixStream::connect(socket).map_err(no_intake)?;
    let answers = stream.try_clone().map_err(no_intake)?;
    let (queue, sent) = sync_channel(UNDER_WAY);
    std::thread::scope(|scope| {
        scope.spawn(|| send_mails(stream, destination, mails, known, queue));
        let heard = hear(&answers, &sent, &mut report);
        // Wakes the sender where it still writes.
        let _ = answers.shutdown(Shutdown::Both);
        drop(sent);
        heard.map_err(ImportError::BrokenOff)
    })
}

fn send_mails(
    stream: UnixStream,
    destination: &Destination,
    mails: impl Iterator<Item = Result<Found, SourceError>>,
    known: &HashSet<Digest>,
    queue: SyncSender<Sent>,
) {
    let mut to = BufWriter::with_capacity(256 << 10, &stream);
    for mail in mails {
        let told = match mail {
            Err(error) => Sent::Told(Progress::Unreadable(error)),
            Ok(found) if known.contains(&found.identity) || known.contains(&found.former) => {
                Sent::Told(Progress::Known { span: found.span })
            }
            Ok(found) => {
                let (place, identity, span) = (found.place.clone(), found.identity, found.span);
                match send_mail(&mut to, destination, found) {
                    Ok(()) => Sent::Offered {
                        place,
                        identity,
                        span,
                    },
                    Err(error) => Sent::Broken(error),
                }
            }
        };
        if queue.send(told).is_err() {
            return;
        }
    }
    if let Err(error) = to.flush().and_then(|()| stream.shutdown(Shutdown::Write)) {
        let _ = queue.send(Sent::Broken(error));
    }
}

fn send_mail(to: &mut impl Write, destination: &Destination, found: Found) -> io::Result<()> {
    let offer = Offer {
        tenant: destination.tenant.clone(),
        mailbox: destination.mailbox.clone(),
        origin: found.origin,
        length: found.length,
    };
    to.write_all(&encode(&offer)?)?;
    if io::copy(&mut found.bytes.take(found.length), to)? != found.length {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{} became shorter while it was read", found.place),
        ));
    }
    to.flush()
}

fn hear(
    mut answers: &UnixStream,
    sent: &Receiver<Sent>,
    report: &mut impl FnMut(Progress) -> io::Result<()>,
) -> io::Result<()> {
    for sent in sent {
        let progress = match sent {
            Sent::Told(progress) => progress,
            Sent::Broken(error) => return Err(error),
            Sent::Offered {
                place,
                identity,
                span,
            } => match read_answer(&mut answers)? {
                Answer::Queued(id) => Progress::Queued {
                    place,
                    identity,
                    id,
                    span,
                },
                Answer::Refused(reason) => Progress::Refused {
                    place,
                    reason,
                    span,
                },
            },
        };
        report(progress)?;
    }
    Ok(())
}

fn read_answer(from: &mut impl Read) -> io::Result<Answer> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let mut item = vec![0; length(size)?];
    from.read_exact(&mut item)?;
    decode(&item)
}
