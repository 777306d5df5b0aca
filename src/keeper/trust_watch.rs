//! What lies in `trust/` counts within seconds, and so do the certificates of keys that come into escrow.

use super::core::{Core, lock};
use super::opening;
use super::reopen::NewKeys;
use super::troubles::Work;
use super::trust::Look;

/// How the folder and the escrow looked.
pub(super) struct TrustWatch {
    /// When they were read.
    read: opening::TrustLook,
    /// At the last look at the folder.
    last: Look,
}

impl TrustWatch {
    /// They were read as they look.
    pub(super) fn new(look: opening::TrustLook) -> Self {
        Self {
            last: look.0.clone(),
            read: look,
        }
    }

    /// Whether what looks so now is to be read. A file that is being copied into the folder looks otherwise each time: half
    /// a list of revocations would be believed, half a bundle of anchors would doubt the others.
    fn is_due(&mut self, now: &opening::TrustLook) -> bool {
        let before = std::mem::replace(&mut self.last, now.0.clone());
        *now != self.read && now.0 == before
    }
}

impl Core {
    /// Has mail that comes from now on judged by what lies in `trust/` now, once that rests, and by the certificates of
    /// keys that came into escrow. Gives the names that keys in escrow answer to since then.
    pub(super) fn take_up_trust(&self) -> Vec<NewKeys> {
        let mut watch = lock(&self.trust_watch);
        let look = opening::look_at_trust(&self.data, &self.escrow);
        if !watch.is_due(&look) {
            return Vec::new();
        }
        let read = opening::trust(&self.data, &self.policy, &self.escrow);
        if opening::look_at_trust(&self.data, &self.escrow).0 != look.0 {
            return read.map_or_else(|_| Vec::new(), |(_, _, named)| named);
        }
        watch.read = look;
        match read {
            Ok((trust, warnings, named)) => {
                self.setup.replace_trust(trust);
                tracing::info!("the certificates that signatures are judged by are read anew");
                self.troubles.set_all(Work::Trust, warnings);
                named
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
        assert!(!watch.is_due(&look(0)), "nothing has changed");
        assert!(watch.is_due(&look(1)), "a key came");
        for part in ["half", "half and half"] {
            fs::write(folder.join("one.pem"), part).expect("written");
            assert!(!watch.is_due(&look(0)), "{part}");
        }
        assert!(watch.is_due(&look(0)), "it rests");
        watch.read = look(0);
        assert!(!watch.is_due(&look(0)), "it is read");
    }
}
