//! The public key that new spool files are sealed to. The keeper renews it from time to time by replacing its file;
//! the intake, which may run for years, looks at that file whenever it begins a spool file.

use super::SpoolError;
use crate::crypto::hpke::{HpkeError, SealingKey};
use crate::durable;
use crate::id::Digest;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// No key file is longer.
const LONGEST: u64 = 64 << 10;

/// Inode, modification time in seconds and nanoseconds: differs once the file was replaced.
type Stamp = (u64, i64, i64);

/// What `spool.pub` holds: the key and, since version 2, its SHA-256. A flipped bit leaves a key that is as good as any,
/// and mail sealed to it is lost.
#[must_use]
pub fn key_file(key: &SealingKey) -> Vec<u8> {
    [key.as_bytes(), &key.fingerprint().0].concat()
}

/// The key in `bytes`, with or without the digest behind it.
pub fn from_key_file(bytes: &[u8]) -> Result<SealingKey, HpkeError> {
    if let Some((key, digest)) = bytes.split_last_chunk::<32>()
        && Digest::of(key).0 == *digest
    {
        return SealingKey::from_bytes(key);
    }
    SealingKey::from_bytes(bytes) // of version 1, or no key by its length
}

/// A key that may be renewed while the intake runs.
pub struct CurrentKey {
    file: Option<PathBuf>,
    known: Mutex<(Option<Stamp>, Option<Arc<SealingKey>>)>,
}

impl CurrentKey {
    /// `first`, if it is known, until `file` holds another one.
    #[must_use]
    pub fn renewed_in(first: impl Into<Option<SealingKey>>, file: PathBuf) -> Self {
        Self {
            file: Some(file),
            known: Mutex::new((None, first.into().map(Arc::new))),
        }
    }

    /// The newest key. A file that cannot be read or is no key changes nothing: the box still has the private half of the
    /// key known so far, and mail must be taken in. Where none is known, no mail can be.
    pub(super) fn now(&self) -> Result<Arc<SealingKey>, SpoolError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file
            && let Ok(about) = fs::metadata(file)
        {
            let stamp = (about.ino(), about.mtime(), about.mtime_nsec());
            if known.0 != Some(stamp) {
                // What the system cannot read now, it may be able to next time.
                match durable::read(file, LONGEST).map(|bytes| from_key_file(&bytes)) {
                    Ok(Ok(key)) => *known = (Some(stamp), Some(Arc::new(key))),
                    Ok(Err(error)) => {
                        known.0 = Some(stamp);
                        tracing::error!(%error, "spool.pub is no key; only one known before is used");
                    }
                    Err(error) => tracing::error!(%error, "only a spool key known before is used"),
                }
            }
        }
        known.1.clone().ok_or(SpoolError::Key)
    }
}

impl From<SealingKey> for CurrentKey {
    /// Always this key.
    fn from(key: SealingKey) -> Self {
        Self {
            file: None,
            known: Mutex::new((None, Some(Arc::new(key)))),
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
        let fingerprint = |number: usize| Some(keys[number].fingerprint());
        let now = |current: &CurrentKey| Some(current.now().ok()?.fingerprint());
        let first = SealingKey::from_bytes(keys[0].as_bytes()).expect("a key");
        let current = CurrentKey::renewed_in(first, file.clone());
        assert_eq!(now(&current), fingerprint(0), "no file yet");
        durable::replace(&file, keys[1].as_bytes()).expect("written"); // as version 1 wrote it
        assert_eq!(now(&current), fingerprint(1));
        durable::replace(&file, b"not a key").expect("written");
        assert_eq!(now(&current), fingerprint(1));
        durable::replace(&file, &key_file(&keys[2])).expect("written");
        assert_eq!(now(&current), fingerprint(2));
    }

    #[test]
    fn a_file_that_could_not_be_read_once_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("spool.pub");
        let key = OpeningKey::generate().sealing_key();
        let current = CurrentKey::renewed_in(None, file.clone());
        let since = std::time::SystemTime::UNIX_EPOCH;
        let write = |bytes: &[u8]| {
            fs::write(&file, bytes).expect("written");
            let file = fs::File::options().write(true).open(&file);
            file.and_then(|file| file.set_modified(since)).expect("set");
        };
        write(&vec![0; LONGEST as usize + 1]);
        assert!(matches!(current.now(), Err(SpoolError::Key)));
        write(&key_file(&key)); // by its stamp the same file
        assert!(current.now().is_ok_and(|found| *found == key));
    }

    #[test]
    fn a_flipped_bit_leaves_no_key_to_seal_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("spool.pub");
        let key = OpeningKey::generate().sealing_key();
        let current = CurrentKey::renewed_in(None, file.clone());
        assert!(matches!(current.now(), Err(SpoolError::Key)), "no file");
        for at in [100, 600, 1200, 1230] {
            let mut bytes = key_file(&key);
            bytes[at] ^= 1;
            durable::replace(&file, &bytes).expect("written");
            assert!(matches!(current.now(), Err(SpoolError::Key)), "{at}");
        }
        durable::replace(&file, &key_file(&key)).expect("written");
        assert!(current.now().is_ok_and(|found| *found == key));
    }
}
