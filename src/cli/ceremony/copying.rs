//! From a backup to a data folder: copied, then compared with the backup's own list.

use super::{CeremonyCommandError, Narrator, journal};
use crate::boxfiles;
use crate::durable::{self, at};
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A list has a line of some hundred bytes for each file.
const LARGEST_LIST: u64 = 1 << 30;

/// Copies the backup and reads the copy again.
pub(super) fn take(
    backup: &Path,
    stage: &Path,
    narrator: &mut dyn Narrator,
) -> Result<(), CeremonyCommandError> {
    if !backup.is_dir() {
        return Err(damaged(backup, "there is no such folder".to_owned()));
    }
    if !backup.join(boxfiles::CHARTER).is_file() {
        return Err(damaged(backup, format!("it has no {}", boxfiles::CHARTER)));
    }
    narrator.step("copy the backup")?;
    clear(stage)?;
    let bar = ProgressBar::new(bytes_in(backup)?);
    copy_tree(backup, stage, &bar)?;
    bar.finish_and_clear();
    compare(backup, stage, narrator)
}

fn damaged(backup: &Path, what: String) -> CeremonyCommandError {
    CeremonyCommandError::DamagedBackup {
        path: backup.to_owned(),
        what,
    }
}

fn bytes_in(folder: &Path) -> Result<u64, CeremonyCommandError> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).map_err(at("read", folder))? {
        let entry = entry.map_err(at("read", folder))?;
        let found = entry.metadata().map_err(at("read", &entry.path()))?;
        sum += if found.is_dir() {
            bytes_in(&entry.path())?
        } else {
            found.len()
        };
    }
    Ok(sum)
}

/// Removes what an earlier attempt copied, which may have been another backup: what this one lacks would stay among its files.
/// The locks in `run` stay, and what that attempt wrote down of the TPM.
fn clear(stage: &Path) -> Result<(), CeremonyCommandError> {
    for entry in fs::read_dir(stage).map_err(at("read", stage))? {
        let entry = entry.map_err(at("read", stage))?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == boxfiles::RUN || name == journal::PREPARING {
            continue;
        }
        let kind = entry.file_type().map_err(at("read", &path))?;
        let removed = if kind.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(at("remove", &path))?;
    }
    Ok(())
}

/// Copies files and folders durably. Sockets and pid files (`run`) are not data.
fn copy_tree(from: &Path, to: &Path, bar: &ProgressBar) -> Result<(), CeremonyCommandError> {
    durable::create_folder(to)?;
    for entry in fs::read_dir(from).map_err(at("read", from))? {
        let entry = entry.map_err(at("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(at("read", &source))?;
        if entry.file_name() == boxfiles::RUN {
            continue;
        } else if kind.is_dir() {
            copy_tree(&source, &target, bar)?;
        } else if kind.is_file() {
            let bytes = fs::copy(&source, &target).map_err(at("copy", &source))?;
            // Whatever the backup's file system made of it.
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600))
                .map_err(at("set the mode of", &target))?;
            let copied = File::open(&target).map_err(at("open", &target))?;
            copied.sync_all().map_err(at("sync", &target))?;
            bar.inc(bytes);
        } else {
            return Err(CeremonyCommandError::StrangeFile(source));
        }
    }
    Ok(durable::sync_folder_of(&to.join("."))?)
}

/// Compares each file of the list with the copy.
fn compare(
    backup: &Path,
    stage: &Path,
    narrator: &mut dyn Narrator,
) -> Result<(), CeremonyCommandError> {
    let name = boxfiles::BACKUP_LIST;
    let Some(list) = durable::read_if_present(&stage.join(name), LARGEST_LIST)? else {
        narrator.say(&format!("The backup has no {name}: it is taken as it is."));
        return Ok(());
    };
    if list.is_empty() {
        return Err(damaged(backup, "it was never completed".to_owned()));
    }
    narrator.step("compare the copy with the backup's list")?;
    let list =
        String::from_utf8(list).map_err(|_| damaged(backup, format!("{name} is not text")))?;
    let bar = ProgressBar::new(list.lines().count() as u64);
    for line in list.lines() {
        let (sum, path) = line
            .split_once("  ")
            .ok_or_else(|| damaged(backup, format!("{name} has the line {line:?}")))?;
        if sum_of(&stage.join(path))?.as_deref() != Some(sum) {
            let what = format!("{path} is missing, or not what {name} says");
            return Err(damaged(backup, what));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// SHA-256 in hexadecimal; `None` if there is no such file.
fn sum_of(path: &Path) -> Result<Option<String>, CeremonyCommandError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at("open", path)(error).into()),
    };
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(at("read", path))?;
        if read == 0 {
            return Ok(Some(data_encoding::HEXLOWER.encode(&sum.finalize())));
        }
        sum.update(&buffer[..read]);
    }
}
