//! Who may have how many requests under way at once, so that no user keeps the others out.

use super::core::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Connections served at once; more have to wait in the kernel's queue.
const MOST: usize = 64;
/// Of them those of one user who is not trusted.
const MOST_OF_ONE: usize = 16;

/// How many connections each user has.
#[derive(Default)]
pub(super) struct Places(Mutex<BTreeMap<u32, usize>>);

/// One of them, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    user: u32,
}

impl Places {
    /// Waits for a place. `None` where the user has enough of them.
    pub(super) fn take(self: &Arc<Self>, user: u32, is_trusted: bool) -> Option<Place> {
        while lock(&self.0).values().sum::<usize>() >= MOST {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut taken = lock(&self.0);
        let own = taken.entry(user).or_default();
        if !is_trusted && *own >= MOST_OF_ONE {
            return None;
        }
        *own += 1;
        Some(Place {
            places: Arc::clone(self),
            user,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.0);
        if let Some(own) = taken.get_mut(&self.user) {
            *own -= 1;
        }
        taken.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_room_for_others() {
        let places = Arc::new(Places::default());
        let mut taken: Vec<Place> = (0..MOST).filter_map(|_| places.take(1000, false)).collect();
        assert_eq!(taken.len(), MOST_OF_ONE);
        let of_others = (places.take(1001, false), places.take(0, true));
        assert!(of_others.0.is_some() && of_others.1.is_some());
        taken.pop();
        assert!(places.take(1000, false).is_some());
        drop((taken, of_others));
        assert!(lock(&places.0).is_empty());
    }
}
