//! Whether the spool takes mail: what it said last, and a look whether it does again.

use super::SpoolError;
use super::file::SpoolFile;
use super::writer::{NotSpooled, Shared, Spool};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Why no mail is taken in; `None` while it is.
pub type Trouble = Option<NotSpooled>;

impl Shared {
    /// Keeps what became of a mail. An envelope that does not fit says nothing about the spool.
    pub(super) fn note<T>(&self, taken: &Result<T, NotSpooled>) {
        let trouble = taken.as_ref().err().cloned();
        if !matches!(trouble.as_deref(), Some(SpoolError::Envelope)) {
            self.trouble.send_if_modified(|now| {
                let changed = now.is_some() || trouble.is_some();
                *now = trouble;
                changed
            });
        }
    }
}

impl Spool {
    /// How the spool stands.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Trouble> {
        self.shared().trouble.subscribe()
    }

    /// Looks whether a file can be written in every folder, which leaves nothing.
    pub async fn probe(&self) {
        let shared = Arc::clone(self.shared());
        let probe = move || {
            let key = shared.key.now()?;
            SpoolFile::create(&shared.config.folders, &key, shared.clock.now()).map(drop)
        };
        let probed = tokio::task::spawn_blocking(probe).await;
        let probed = probed.unwrap_or(Err(SpoolError::Closed));
        self.shared().note(&probed.map_err(Arc::new));
    }
}

/// The spool's folders, and which of them were disks of their own when intake began.
pub struct Folders(Vec<(PathBuf, bool)>);

impl Folders {
    /// As they are now.
    #[must_use]
    pub fn new(folders: &[PathBuf]) -> Self {
        let look = |path: &PathBuf| (path.clone(), is_own_disk(path));
        Self(folders.iter().map(look).collect())
    }

    /// One of which only the mount point is left. Mail in there would be hidden once the disk is back.
    #[must_use]
    pub fn without_disk(&self) -> Option<&Path> {
        let gone = |(path, had_disk): &&(PathBuf, bool)| *had_disk && !is_own_disk(path);
        self.0.iter().find(gone).map(|(path, _)| path.as_path())
    }
}

/// Whether a disk is mounted on the folder.
pub(super) fn is_own_disk(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev()).ok();
    device(path).is_some_and(|own| path.parent().and_then(device) != Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_had_a_disk_can_be_without_it() {
        let home = tempfile::tempdir().expect("a folder");
        let mut folders = Folders::new(&[home.path().to_owned()]);
        assert_eq!(folders.without_disk(), None);
        folders.0[0].1 = true; // as if a disk had been mounted on it
        assert_eq!(folders.without_disk(), Some(home.path()));
        assert!(is_own_disk(Path::new("/proc")));
    }
}
