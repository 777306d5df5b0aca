//! What was imported a short time ago. A client that is killed has not noted the last answers, or not heard them, and offers
//! those mails again when it goes on: it is told again what became of them.

use crate::id::{Digest, SpoolId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Far more than one client has under way.
const KEPT: usize = 4096;
/// A mail that another client began may take this long; then it is taken from this one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose, and which mail.
type Key = (u32, Digest);

/// The last imported mails, and those under way.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    ids: HashMap<Key, watch::Receiver<Option<SpoolId>>>,
    order: VecDeque<Key>,
}

/// A mail under way. It counts once it is done.
#[derive(Debug)]
pub struct Taking(watch::Sender<Option<SpoolId>>);

impl Taking {
    /// The mail is in the spool for good.
    pub fn done(self, id: SpoolId) {
        self.0.send_replace(Some(id));
    }
}

impl Recent {
    /// The queue id of a mail that the same user imported a short time ago. Waits for one under way: its client may be
    /// dead, and it goes into the spool all the same.
    pub async fn before(&self, uid: u32, identity: Digest) -> Option<SpoolId> {
        let mut known = self.kept().ids.get(&(uid, identity))?.clone();
        let done = timeout(PATIENCE, known.wait_for(Option::is_some)).await;
        *done.ok()?.ok()?
    }

    /// A mail is being taken.
    pub fn taking(&self, uid: u32, identity: Digest) -> Taking {
        let (taking, known) = watch::channel(None);
        let mut kept = self.kept();
        if kept.ids.insert((uid, identity), known).is_none() {
            kept.order.push_back((uid, identity));
        }
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.ids.remove(&oldest);
        }
        Taking(taking)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SpoolFileId;

    fn id(number: u32) -> SpoolId {
        let file = SpoolFileId::from_bytes([7; 16]);
        SpoolId { file, number }
    }

    fn mail(number: u32) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[tokio::test]
    async fn the_last_mails_are_known_to_who_imported_them() {
        let recent = Recent::default();
        for number in 0..=KEPT as u32 {
            drop(recent.taking(1, mail(number)));
            recent.taking(1, mail(number)).done(id(number));
        }
        assert_eq!(recent.before(1, mail(0)).await, None, "forgotten");
        assert_eq!(recent.before(1, mail(1)).await, Some(id(1)));
        assert_eq!(recent.before(2, mail(1)).await, None, "another user's");
    }

    #[tokio::test]
    async fn a_mail_under_way_is_waited_for() {
        let recent = Recent::default();
        let taking = recent.taking(1, mail(1));
        let (known, ()) = tokio::join!(recent.before(1, mail(1)), async {
            tokio::task::yield_now().await;
            taking.done(id(1));
        });
        assert_eq!(known, Some(id(1)));
        drop(recent.taking(1, mail(2)));
        assert_eq!(recent.before(1, mail(2)).await, None, "it was cut off");
    }
}
