//! The import socket's server side.

use super::pace::Pace;
use super::protocol::{Answer, Offer, decode, encode, length};
use crate::id::{SpoolId, TenantId};
use crate::intake::config::Shared;
use crate::intake::envelope::{Envelope, Recipient, Source};
use crate::intake::spool::format::FULL_FRAME;
use crate::intake::spool::{Incoming, NotSpooled};
use crate::intake::stop::Stop;
use crate::secret::wipe;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Mails of one client that may wait for the disk at one time; enough to fill the writer's groups.
const UNDER_WAY: usize = 256;
/// And their bytes in memory: a mail counts with what the spool keeps of it there, at most a frame.
const UNDER_WAY_BYTES: usize = 16 << 20;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

type Waiting = JoinHandle<Answer>;

/// Serves one importing client until it is done. When the intake stops, mails that are whole are
/// still answered.
pub async fn serve_import(
    stream: UnixStream,
    shared: Arc<Shared>,
    mut stop: Stop,
) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (from, to) = stream.into_split();
    let (queue, waiting) = mpsc::channel(UNDER_WAY);
    let answering = tokio::spawn(answer(to, waiting));
    let taken = tokio::select! {
        taken = take_mails(BufReader::with_capacity(64 << 10, from), &shared, uid, queue) => taken,
        () = stop.requested() => Ok(()),
    };
    answering.await.map_err(io::Error::other)??;
    taken
}

async fn take_mails(
    mut from: BufReader<OwnedReadHalf>,
    shared: &Arc<Shared>,
    uid: u32,
    queue: mpsc::Sender<Waiting>,
) -> io::Result<()> {
    let mut pace = Pace::default();
    let room = Arc::new(Semaphore::new(UNDER_WAY_BYTES));
    while let Some(offer) = read_offer(&mut from).await? {
        pace.after(offer.length, || shared.spool.backlog()).await;
        let held = offer.length.clamp(1, FULL_FRAME as u64) as u32;
        let held = Arc::clone(&room).acquire_many_owned(held).await;
        let before = match offer.identity {
            Some(identity) => shared.imported.before(uid, identity).await,
            None => None,
        };
        let taking = offer
            .identity
            .filter(|_| before.is_none())
            .map(|identity| shared.imported.taking(uid, identity));
        let waiting = match take_text(&mut from, shared, &offer, before).await? {
            Ok(text) => {
                let envelope = envelope(shared, offer, uid);
                tokio::spawn(async move {
                    let _held = held;
                    let taken = text.finish(envelope).await;
                    if let (Ok(id), Some(taking)) = (&taken, taking) {
                        taking.done(*id);
                    }
                    answer_for(taken)
                })
            }
            Err(answer) => tokio::spawn(async { answer }),
        };
        if queue.send(waiting).await.is_err() {
            break; // the client no longer listens
        }
    }
    Ok(())
}

async fn read_offer(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Offer>> {
    let mut size = [0; 4];
    match from.read_exact(&mut size).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let mut item = vec![0; length(size)?];
    from.read_exact(&mut item).await?;
    decode(&item).map(Some)
}

/// Reads the mail to its end, also where it cannot be taken or was taken `before`.
async fn take_text(
    from: &mut BufReader<OwnedReadHalf>,
    shared: &Arc<Shared>,
    offer: &Offer,
    before: Option<SpoolId>,
) -> io::Result<Result<Incoming, Answer>> {
    let length = offer.length;
    let mut text = if let Some(id) = before {
        Err(Answer::Queued(id))
    } else if let Some(reason) = refusal(shared, offer) {
        tracing::warn!(length, %reason, "imported mail refused");
        Err(Answer::Refused(reason))
    } else {
        Ok(shared.spool.incoming())
    };
    let mut left = length;
    let mut buffer = vec![0; usize::try_from(length).map_or(PIECE, |length| length.min(PIECE))];
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = from.read(&mut buffer[..most]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read as u64;
        if let Ok(incoming) = &mut text
            && let Err(error) = incoming.write(&buffer[..read]).await
        {
            text = Err(Answer::Refused(error.to_string()));
        }
    }
    wipe(&mut buffer);
    Ok(text)
}

/// Why a mail is not taken, seen before its bytes.
fn refusal(shared: &Shared, offer: &Offer) -> Option<String> {
    let config = &shared.config;
    if config.rules.max_size.is_some_and(|max| offer.length > max) {
        return Some("larger than intake.max_size".to_owned());
    }
    let tenant = offer.tenant.as_ref()?;
    let unknown = !config.tenants.contains(tenant);
    unknown.then(|| {
        let all: Vec<&str> = config.tenants.iter().map(TenantId::as_str).collect();
        format!("the box has no tenant {tenant}; it has {}", all.join(", "))
    })
}

fn envelope(shared: &Shared, offer: Offer, uid: u32) -> Envelope {
    let config = &shared.config;
    let by_domain = || {
        config
            .rules
            .tenant_of(&offer.mailbox)
            .unwrap_or(&config.tenant)
            .clone()
    };
    Envelope {
        tenant: offer.tenant.clone().unwrap_or_else(by_domain),
        sender: String::new(),
        parameters: Vec::new(),
        recipients: vec![Recipient {
            address: offer.mailbox.clone(),
            parameters: Vec::new(),
        }],
        arrived: shared.clock.now(),
        source: Source::Import {
            uid,
            origin: offer.origin,
        },
    }
}

fn answer_for(result: Result<SpoolId, NotSpooled>) -> Answer {
    match result {
        Ok(id) => Answer::Queued(id),
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// Sends the answers in the order of the offers.
async fn answer(mut to: OwnedWriteHalf, mut waiting: mpsc::Receiver<Waiting>) -> io::Result<()> {
    while let Some(next) = waiting.recv().await {
        let answer = next.await.map_err(io::Error::other)?;
        to.write_all(&encode(&answer)?).await?;
    }
    Ok(())
}
