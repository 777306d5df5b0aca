//! Places for connections over the network: so many in all, and no more than a share of them for one peer, so that no
//! peer keeps the others out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of all listeners.
pub struct Places {
    taken: Mutex<BTreeMap<IpAddr, usize>>,
    all: usize,
    of_one: usize,
}

/// One place, free again when dropped.
pub struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Places {
    /// `all` places, of which one peer has `of_one`, but never more than half.
    #[must_use]
    pub fn new(all: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            all,
            of_one: of_one.min(all.div_ceil(2)).max(1),
        })
    }

    /// A place for this peer, or why there is none.
    pub fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Place, &'static str> {
        let peer = who(peer);
        let mut taken = self.taken();
        if taken.values().sum::<usize>() >= self.all {
            return Err("too many connections");
        }
        let of_peer = taken.entry(peer).or_default();
        if *of_peer >= self.of_one {
            return Err("too many connections of one peer");
        }
        *of_peer += 1;
        Ok(Place {
            places: Arc::clone(self),
            peer,
        })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

/// Of IPv6 the network: a host has all addresses of its /64.
fn who(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_peer_has_its_share_and_others_have_theirs() {
        let places = Places::new(6, 2);
        let first = places.take(peer("192.0.2.1")).ok();
        let second = places.take(peer("::ffff:192.0.2.1")).ok();
        assert!(first.is_some() && second.is_some());
        assert!(places.take(peer("192.0.2.1")).is_err());
        let others: Vec<_> = ["2001:db8::1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]
            .map(|other| places.take(peer(other)).ok())
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(others.len(), 4);
        assert!(places.take(peer("2001:db8::3")).is_err(), "one network");
        assert!(places.take(peer("192.0.2.4")).is_err(), "all are taken");
        drop(first);
        assert!(places.take(peer("192.0.2.4")).is_ok());
    }

    #[test]
    fn half_of_the_places_stays_for_others() {
        let places = Places::new(4, 100);
        let mine: Vec<_> = std::iter::from_fn(|| places.take(peer("192.0.2.1")).ok()).collect();
        assert_eq!(mine.len(), 2);
        assert!(Places::new(1, 1).take(peer("192.0.2.1")).is_ok());
    }
}
