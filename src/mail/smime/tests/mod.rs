//! What the opener is tested against: messages that others wrote.

mod corpus;
mod paths;
mod robust;
mod trust;

use crate::escrow::UserKey;
use crate::mail::context::{Budget, Context, OpenPolicy, Trust, Unopened, Unwrapped};
use crate::mail::keyops::{KeyHint, KeyOps, KeyRefusal, SessionKey, Wrapped};
use crate::mail::smime::open;
use crate::secret::SecretBytes;
use crate::time::Timestamp;

/// Keys held in memory, as `inspect` holds them.
#[derive(Default)]
struct Ring {
    keys: Vec<Box<dyn UserKey>>,
    passphrases: Vec<String>,
}

impl KeyOps for Ring {
    fn unwrap_session_key(
        &self,
        hint: &KeyHint,
        wrapped: &Wrapped,
        attempt: u32,
    ) -> Result<SessionKey, KeyRefusal> {
        let fitting: Vec<_> = self
            .keys
            .iter()
            .filter(|key| key.info().hints.contains(hint))
            .collect();
        let opened = fitting
            .iter()
            .filter_map(|key| key.unwrap_session_key(wrapped).ok());
        let none = if fitting.is_empty() {
            KeyRefusal::NoKey
        } else {
            KeyRefusal::DoesNotOpen
        };
        opened.into_iter().nth(attempt as usize).ok_or(none)
    }

    fn passphrases(&self) -> Vec<SecretBytes> {
        self.passphrases
            .iter()
            .cloned()
            .map(SecretBytes::from)
            .collect()
    }
}

/// 2027-01-01.
const ARRIVED: Timestamp = Timestamp::from_seconds(1_798_761_600);

fn open_with(
    ring: &Ring,
    trust: &Trust,
    container: &[u8],
    detached: Option<&[u8]>,
) -> Result<Unwrapped, Unopened> {
    open_with_from(ring, trust, container, detached, ARRIVED, Vec::new())
}

fn open_with_from(
    ring: &Ring,
    trust: &Trust,
    container: &[u8],
    detached: Option<&[u8]>,
    arrived: Timestamp,
    from: Vec<String>,
) -> Result<Unwrapped, Unopened> {
    let whose = (arrived, from);
    open_within(&Budget::default(), ring, trust, container, detached, whose)
}

fn open_within(
    budget: &Budget,
    ring: &Ring,
    trust: &Trust,
    container: &[u8],
    detached: Option<&[u8]>,
    (arrived, from): (Timestamp, Vec<String>),
) -> Result<Unwrapped, Unopened> {
    let policy = OpenPolicy {
        folded_digests: true,
        ..OpenPolicy::default()
    };
    let ctx = Context {
        keys: ring,
        trust,
        attached: &[],
        policy: &policy,
        arrived,
        around: None,
        date: None,
        from,
        budget,
    };
    open(container, detached, &ctx)
}
