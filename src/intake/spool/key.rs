//! The public key that new spool files are sealed to. The keeper renews it from time to time by replacing its file;
//! the intake, which may run for years, looks at that file whenever it begins a spool file.

use crate::crypto::hpke::SealingKey;
use crate::durable;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// No key file is longer.
const LONGEST: u64 = 64 << 10;

/// Inode, modification time in seconds and nanoseconds: differs once the file was replaced.
type Stamp = (u64, i64, i64);

/// A key that may be renewed while the intake runs.
pub struct CurrentKey {
    file: Option<PathBuf>,
    known: Mutex<(Option<Stamp>, Arc<SealingKey>)>,
}

impl CurrentKey {
    /// `first`, until `file` holds another one.
    #[must_use]
    pub fn renewed_in(first: SealingKey, file: PathBuf) -> Self {
        Self {
            file: Some(file),
            ..Self::from(first)
        }
    }

    /// The newest key. A file that cannot be read or is no key changes nothing: the box still has the private half of the
    /// key known so far, and mail must be taken in.
    pub(super) fn now(&self) -> Arc<SealingKey> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file
            && let Ok(about) = fs::metadata(file)
        {
            let stamp = (about.ino(), about.mtime(), about.mtime_nsec());
            if known.0 != Some(stamp) {
                known.0 = Some(stamp);
                match durable::read(file, LONGEST).map(|bytes| SealingKey::from_bytes(&bytes)) {
                    Ok(Ok(key)) => known.1 = Arc::new(key),
                    Ok(Err(error)) => {
                        tracing::error!(%error, "spool.pub is no key; the one known so far is used");
                    }
                    Err(error) => tracing::error!(%error, "the spool key known so far is used"),
                }
            }
        }
        known.1.clone()
    }
}

impl From<SealingKey> for CurrentKey {
    /// Always this key.
    fn from(key: SealingKey) -> Self {
        Self {
            file: None,
            known: Mutex::new((None, Arc::new(key))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hpke::OpeningKey;

    #[test]
    fn a_renewed_key_is_used_and_a_damaged_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("spool.pub");
        let keys: Vec<SealingKey> = (0..3)
            .map(|_| OpeningKey::generate().sealing_key())
            .collect();
        let fingerprint = |number: usize| keys[number].fingerprint();
        let first = SealingKey::from_bytes(keys[0].as_bytes()).expect("a key");
        let current = CurrentKey::renewed_in(first, file.clone());
        assert_eq!(current.now().fingerprint(), fingerprint(0), "no file yet");
        durable::replace(&file, keys[1].as_bytes()).expect("written");
        assert_eq!(current.now().fingerprint(), fingerprint(1));
        durable::replace(&file, b"not a key").expect("written");
        assert_eq!(current.now().fingerprint(), fingerprint(1));
        durable::replace(&file, keys[2].as_bytes()).expect("written");
        assert_eq!(current.now().fingerprint(), fingerprint(2));
    }
}
