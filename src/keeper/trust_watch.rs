//! What lies in `trust/` counts within seconds, and so do the certificates of keys that come into escrow.

use super::core::{Core, CoreError, lock};
use super::escrow_store::EscrowStore;
use super::opening::{self, TrustLook};
use super::reopen::NewKeys;
use super::troubles::Work;
use super::trust::{Contents, Look};
use crate::boxfiles::DataFolder;
use crate::id::TenantId;
use crate::mail::context::Trust;
use crate::policy::ValidPolicy;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files that change for so long keep the others from being read no longer.
const RESTLESS: Duration = Duration::from_secs(20);

/// How the folder and the escrow looked.
pub(super) struct TrustWatch {
    /// When they were read, without the restless files.
    seen: TrustLook,
    /// Files that changed all the time when the others were read.
    restless: BTreeSet<PathBuf>,
    /// At the last look at the folder.
    last: Look,
    /// The files that looked otherwise at each look since then.
    changing: BTreeMap<PathBuf, Instant>,
    /// Since when other files are waited for.
    waiting: Option<Instant>,
    /// What counts.
    pub(super) contents: Contents,
}

/// What was read.
pub(super) struct Reading {
    pub(super) contents: Contents,
    pub(super) trust: Trust,
    pub(super) warnings: Vec<String>,
    /// Names that keys in escrow answer to since now.
    named: Vec<NewKeys>,
}

impl TrustWatch {
    /// They are read as they look.
    pub(super) fn new(look: TrustLook) -> Self {
        Self {
            last: look.0.clone(),
            seen: look,
            restless: BTreeSet::new(),
            changing: BTreeMap::new(),
            waiting: None,
            contents: Contents::default(),
        }
    }

    /// Reads the folder, but for restless files, and what vouches for signatures in it and in escrow.
    pub(super) fn read(
        &self,
        data: &DataFolder,
        policy: &ValidPolicy,
        escrow: &BTreeMap<TenantId, Arc<EscrowStore>>,
    ) -> Result<Reading, CoreError> {
        let (contents, unread) = self.contents.anew(&data.join("trust"), &self.restless)?;
        let (trust, mut warnings, named) = opening::trust(data, policy, escrow, &contents);
        warnings.extend(unread);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(Reading {
            contents,
            trust,
            warnings,
            named,
        })
    }

    /// Whether what looks so now is to be read. A file that is being copied into the folder looks otherwise each time: half
    /// a list of revocations would be believed, half a bundle of anchors would doubt the others. It is waited for, but not
    /// for ever: then the others are read, and it counts as it was before.
    fn is_due(&mut self, now: &TrustLook, time: Instant) -> bool {
        let before = std::mem::replace(&mut self.last, now.0.clone());
        let changing = differing(&before, &now.0);
        self.changing.retain(|path, _| changing.contains(path));
        for path in &changing {
            self.changing.entry(path.clone()).or_insert(time);
        }
        let is_long = |since: Instant| time.duration_since(since) >= RESTLESS;
        let mut restless = changing.clone();
        restless.retain(|path| is_long(self.changing[path]));
        if restless == changing {
            self.waiting = None;
        } else if is_long(*self.waiting.get_or_insert(time)) {
            restless = changing;
            self.waiting = Some(time);
        } else {
            return false;
        }
        let seen = (without(&now.0, &restless), now.1.clone());
        let is_due = seen != self.seen || restless != self.restless;
        self.seen = seen;
        self.restless = restless;
        is_due
    }
}

/// The files that look otherwise, or are in one of the two alone.
fn differing(before: &Look, now: &Look) -> BTreeSet<PathBuf> {
    let all = before.keys().chain(now.keys());
    all.filter(|path| before.get(*path) != now.get(*path))
        .cloned()
        .collect()
}

fn without(look: &Look, restless: &BTreeSet<PathBuf>) -> Look {
    let mut rest = look.clone();
    rest.retain(|path, _| !restless.contains(path));
    rest
}

impl Core {
    /// Has mail that comes from now on judged by what lies in `trust/` now, once that rests, and by the certificates of
    /// keys that came into escrow. Gives the names that keys in escrow answer to since then.
    pub(super) fn take_up_trust(&self) -> Vec<NewKeys> {
        let mut watch = lock(&self.trust_watch);
        let look = opening::look_at_trust(&self.data, &self.escrow);
        let before = watch.seen.clone();
        if !watch.is_due(&look, Instant::now()) {
            return Vec::new();
        }
        let read = watch.read(&self.data, &self.policy, &self.escrow);
        let after = opening::look_at_trust(&self.data, &self.escrow).0;
        if without(&after, &watch.restless) != watch.seen.0 {
            watch.seen = before;
            return read.map_or_else(|_| Vec::new(), |read| read.named);
        }
        match read {
            Ok(read) => {
                watch.contents = read.contents;
                self.setup.replace_trust(read.trust);
                tracing::info!("the certificates that signatures are judged by are read anew");
                self.troubles.set_all(Work::Trust, read.warnings);
                read.named
            }
            Err(error) => {
                tracing::error!(%error, "the trust folder is not read anew");
                let told =
                    format!("the trust folder is not read, what was read before counts: {error}");
                self.troubles.set_all(Work::Trust, vec![told]);
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_counts_once_it_rests() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = data.path().join("anchors");
        fs::create_dir(&folder).expect("a folder");
        let look = |keys| (super::super::trust::look(data.path()), vec![keys]);
        let mut watch = TrustWatch::new(look(0));
        let now = Instant::now();
        assert!(!watch.is_due(&look(0), now), "nothing has changed");
        assert!(watch.is_due(&look(1), now), "a key came");
        for part in ["half", "half and half"] {
            fs::write(folder.join("one.pem"), part).expect("written");
            assert!(!watch.is_due(&look(1), now), "{part}");
        }
        assert!(watch.is_due(&look(1), now), "it rests");
        assert!(!watch.is_due(&look(1), now), "it is read");
    }

    #[test]
    fn a_file_that_never_rests_keeps_the_others_waiting_for_a_while_only() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = data.path().join("crls");
        fs::create_dir(&folder).expect("a folder");
        let (own, other) = (folder.join("own"), folder.join("other"));
        fs::write(&own, "old").expect("written");
        let look = || (super::super::trust::look(data.path()), vec![0]);
        let mut watch = TrustWatch::new(look());
        let nothing = BTreeSet::new();
        let read = watch.contents.anew(data.path(), &nothing);
        watch.contents = read.expect("read").0;
        fs::write(&other, "other").expect("written");
        let start = Instant::now();
        let mut length = 0;
        let mut is_due = |watch: &mut TrustWatch, seconds| {
            length += 1;
            fs::write(&own, vec![b'x'; length]).expect("written");
            watch.is_due(&look(), start + Duration::from_secs(seconds))
        };
        assert!(!is_due(&mut watch, 0) && !is_due(&mut watch, 19));
        assert!(is_due(&mut watch, 20), "the other is read");
        let restless = watch.restless.clone();
        assert_eq!(restless, BTreeSet::from([own.clone()]));
        let read = watch.contents.anew(data.path(), &restless);
        let (contents, warnings) = read.expect("read");
        assert!(warnings[0].contains("crls/own changes all the time, and what was read"));
        assert_eq!(contents.of(&own), Some(&b"old"[..]), "as before");
        assert_eq!(contents.of(&other), Some(&b"other"[..]));
        assert!(!is_due(&mut watch, 50), "nothing new but itself");
        fs::remove_file(&other).expect("removed");
        assert!(!is_due(&mut watch, 51), "it changes");
        assert!(is_due(&mut watch, 52), "the other is gone");
        assert!(watch.is_due(&look(), start), "it rests");
        assert!(watch.restless.is_empty());
    }
}
