//! What goes wrong while the box runs: kept for `status`, and where it is damage for `verify` too.

use super::core::lock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Most lasting warnings kept; a ruined disk needs no longer list.
const MOST_LASTING: usize = 100;

/// What may be stuck. It is told until it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Committing batches.
    Archiving,
    /// Reading the spool.
    Spool,
    /// One of two spool folders.
    SpoolFolder,
    /// Removing what is archived from the spool.
    Removal,
    /// Signing checkpoints.
    Checkpoint,
    /// Stepping the TPM's counter.
    CounterStep,
    /// Taking up files that were missing.
    Missing,
    /// Renewing the spool key.
    SpoolKey,
    /// Giving mail to the tenants of its domains.
    Domains,
    /// Reading the certificates that signatures are judged by.
    Trust,
    /// Unwrapping journal reports.
    Journal,
}

/// What somebody should look at.
#[derive(Default)]
pub struct Troubles {
    now: Mutex<BTreeMap<Work, String>>,
    lasting: Mutex<BTreeSet<String>>,
}

impl Troubles {
    /// How a work stands: `None` where it goes on.
    pub fn set(&self, work: Work, trouble: Option<String>) {
        let mut now = lock(&self.now);
        match trouble {
            Some(trouble) => now.insert(work, trouble),
            None => now.remove(&work),
        };
    }

    /// As [`Troubles::set`], where there can be several.
    pub fn set_all(&self, work: Work, troubles: Vec<String>) {
        self.set(work, (!troubles.is_empty()).then(|| troubles.join("; ")));
    }

    /// Damage that stays, told as long as the keeper runs.
    pub fn keep(&self, damage: String) {
        let mut lasting = lock(&self.lasting);
        if lasting.len() < MOST_LASTING {
            lasting.insert(damage);
        }
    }

    /// What is stuck.
    pub fn now(&self) -> Vec<String> {
        lock(&self.now).values().cloned().collect()
    }

    /// Damage.
    pub fn lasting(&self) -> Vec<String> {
        lock(&self.lasting).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stuck_goes_and_damage_stays() {
        let troubles = Troubles::default();
        troubles.keep("a flipped bit".to_owned());
        troubles.keep("a flipped bit".to_owned());
        troubles.set(Work::Spool, Some("unreadable".to_owned()));
        troubles.set(Work::Archiving, Some("full".to_owned()));
        troubles.set(Work::Archiving, Some("still full".to_owned()));
        assert_eq!(troubles.now(), ["still full", "unreadable"]);
        troubles.set(Work::Archiving, None);
        troubles.set(Work::Spool, None);
        assert!(troubles.now().is_empty());
        assert_eq!(troubles.lasting(), ["a flipped bit"]);
    }
}
