//! Which folders the spool has, kept in the data folder. A disk that is not mounted is missed by it: mail would go to
//! another disk unseen, and be hidden once the right one is back.

use super::health::is_own_disk;
use crate::durable::{self, FileError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const LARGEST: u64 = 64 << 10;

/// A folder as it was when mail was last taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    folder: PathBuf,
    /// Where the disk that it lay on was mounted.
    disk: PathBuf,
}

impl Known {
    fn look(folder: &Path) -> Self {
        let disk = folder.ancestors().find(|path| is_own_disk(path));
        Self {
            folder: folder.to_owned(),
            disk: disk.unwrap_or(folder).to_owned(),
        }
    }
}

/// Why a spool folder is not written to.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It was there before.
    #[error("the spool folder {} is not there any more: mount its disk, or make the folder again if mail is to wait on the disk that is there now; this is tried again", .0.display())]
    Missing(PathBuf),
    /// Only the mount point is left.
    #[error("the disk of the spool folder {} is not mounted on {}: mount it; if mail is to wait there without a disk of its own, remove {}; this is tried again", folder.display(), disk.display(), list.display())]
    NoDisk {
        /// The folder.
        folder: PathBuf,
        /// The mount point.
        disk: PathBuf,
        /// The file that remembers it.
        list: PathBuf,
    },
    /// It cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes the folders that are named for the first time, and none that was there before: what is known lies in `list`.
pub fn take_up(folders: &[PathBuf], list: &Path) -> Result<(), NotReady> {
    let known = read(list);
    for Known { folder, disk } in known.iter().filter(|one| folders.contains(&one.folder)) {
        // The disk that the list itself lies on is there.
        if !list.starts_with(disk) && !is_own_disk(disk) {
            return Err(NotReady::NoDisk {
                folder: folder.clone(),
                disk: disk.clone(),
                list: list.to_owned(),
            });
        }
        if !folder.is_dir() {
            return Err(NotReady::Missing(folder.clone()));
        }
    }
    for folder in folders {
        durable::create_folder(folder)?;
    }
    note(folders, &known, list);
    Ok(())
}

/// A list that cannot be read costs no mail.
fn read(list: &Path) -> Vec<Known> {
    match durable::read(list, LARGEST) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(%error, list = %list.display(), "damaged; made anew from the spool folders as they are");
            Vec::new()
        }),
        Err(error) => {
            if !error.is_absent() {
                tracing::warn!(%error, "the spool folders are taken as they are");
            }
            Vec::new()
        }
    }
}

fn note(folders: &[PathBuf], before: &[Known], list: &Path) {
    let now: Vec<Known> = folders.iter().map(|folder| Known::look(folder)).collect();
    if now == before {
        return;
    }
    let text = serde_json::to_vec_pretty(&now).unwrap_or_default();
    if let Err(error) = durable::replace(list, &text) {
        tracing::warn!(%error, "a disk of the spool that is not mounted next time would not be missed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_there_is_not_made_again() {
        let home = tempfile::tempdir().expect("a folder");
        let (one, two) = (home.path().join("one"), home.path().join("two"));
        let list = home.path().join("spool-folders");
        let folders = [one.clone(), two.clone()];
        take_up(&folders, &list).expect("both are new");
        take_up(&folders, &list).expect("both are there");
        std::fs::remove_dir(&two).expect("removed");
        let error = take_up(&folders, &list).expect_err("one is missing");
        assert!(error.to_string().contains("two is not there any more"));
        assert!(!two.exists());
        let other = home.path().join("other");
        take_up(&[one, other.clone()], &list).expect("another is new");
        assert!(other.is_dir());
        std::fs::write(&list, "no JSON").expect("written");
        take_up(&folders, &list).expect("nothing is known");
        assert!(two.is_dir());
    }

    #[test]
    fn a_mount_point_without_its_disk_is_not_taken_for_the_disk() {
        let home = tempfile::tempdir().expect("a folder");
        let data = home.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        let list = data.join("spool-folders");
        let mount_point = home.path().join("disk");
        for spool in [mount_point.clone(), mount_point.join("spool")] {
            let folders = [spool.clone()];
            take_up(&folders, &list).expect("new");
            // As if a disk had been mounted there.
            let known = Known {
                folder: spool,
                disk: mount_point.clone(),
            };
            std::fs::write(&list, serde_json::to_vec(&[known]).expect("JSON")).expect("written");
            let error = take_up(&folders, &list).expect_err("no disk");
            assert!(error.to_string().contains("is not mounted on"), "{error}");
            std::fs::remove_file(&list).expect("as the text says");
            take_up(&folders, &list).expect("without a disk from now on");
        }
        assert_eq!(
            Known::look(Path::new("/proc/self")).disk,
            Path::new("/proc")
        );
    }
}
