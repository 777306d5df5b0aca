//! The import socket's client side: sends mails without waiting, and hears what became of each.

use super::protocol::{Answer, Offer, decode, encode, length};
use super::sources::{Found, SourceError};
use crate::durable::FileError;
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
    /// A mail is not what it was a moment ago, or its disk failed.
    #[error(
        "{place} could not be read to its end: {source}; run the same command again, it goes on where it stopped"
    )]
    Source {
        /// The mail.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What became of a mail could not be noted.
    #[error(transparent)]
    Noted(#[from] FileError),
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

impl Destination {
    /// What is remembered of a mail that came here: the same mail may come to another mailbox too.
    fn of(&self, identity: Digest) -> Digest {
        let tenant = self.tenant.as_ref().map_or("", TenantId::as_str);
        let mailbox = self.mailbox.to_lowercase();
        Digest::of(&[&identity.0, tenant.as_bytes(), b"\n", mailbox.as_bytes()].concat())
    }

    /// Earlier versions remembered mails without their mailbox.
    fn has(&self, found: &Found, known: &HashSet<Digest>) -> bool {
        let remembered = [self.of(found.identity), found.identity, found.former];
        remembered.iter().any(|one| known.contains(one))
    }
}

enum Sent {
    Offered {
        place: String,
        identity: Digest,
        span: u64,
    },
    Told(Progress),
    Broken(ImportError),
}

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Mails sent and not yet answered; the intake bounds them too.
const UNDER_WAY: usize = 256;

/// Sends all of `mails` that are not in `known`, and tells `report` about each in order.
pub fn send(
    socket: &Path,
    destination: &Destination,
    mails: impl Iterator<Item = Result<Found, SourceError>> + Send,
    known: &HashSet<Digest>,
    mut report: impl FnMut(Progress) -> Result<(), FileError>,
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
        heard
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
            Ok(found) if destination.has(&found, known) => {
                Sent::Told(Progress::Known { span: found.span })
            }
            Ok(found) => {
                let (place, span) = (found.place.clone(), found.span);
                let identity = destination.of(found.identity);
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
        let _ = queue.send(Sent::Broken(ImportError::BrokenOff(error)));
    }
}

fn send_mail(
    to: &mut impl Write,
    destination: &Destination,
    found: Found,
) -> Result<(), ImportError> {
    let offer = Offer {
        tenant: destination.tenant.clone(),
        mailbox: destination.mailbox.clone(),
        origin: found.origin,
        identity: Some(destination.of(found.identity)),
        length: found.length,
    };
    let offered = encode(&offer).and_then(|offer| to.write_all(&offer));
    offered.map_err(ImportError::BrokenOff)?;
    let (mut bytes, mut left) = (found.bytes, found.length);
    let mut piece = vec![0; usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))];
    while left > 0 {
        let most = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let read = match bytes.read(&mut piece[..most]) {
            Ok(0) => Err(io::Error::other("it became shorter while it was read")),
            read => read,
        };
        let read = read.map_err(|source| ImportError::Source {
            place: found.place.clone(),
            source,
        })?;
        let sent = to.write_all(&piece[..read]);
        sent.map_err(ImportError::BrokenOff)?;
        left -= read as u64;
    }
    to.flush().map_err(ImportError::BrokenOff)
}

fn hear(
    mut answers: &UnixStream,
    sent: &Receiver<Sent>,
    report: &mut impl FnMut(Progress) -> Result<(), FileError>,
) -> Result<(), ImportError> {
    for sent in sent {
        let progress = match sent {
            Sent::Told(progress) => progress,
            Sent::Broken(error) => return Err(error),
            Sent::Offered {
                place,
                identity,
                span,
            } => match read_answer(&mut answers).map_err(broken_off)? {
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

/// An answer that ends early is no more than the end of the intake.
fn broken_off(error: io::Error) -> ImportError {
    ImportError::BrokenOff(match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("it ended"),
        _ => error,
    })
}

fn read_answer(from: &mut impl Read) -> io::Result<Answer> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let mut item = vec![0; length(size)?];
    from.read_exact(&mut item)?;
    decode(&item)
}
