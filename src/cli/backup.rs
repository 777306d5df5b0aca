//! `backup`: a consistent, verified copy of the box into a folder; only what is new is copied. Everything in it is
//! sealed; capsules and shares open it.

use super::client::{Client, ClientError};
use super::counted;
use super::failure::Failure;
use crate::boxfiles::{BACKUP_LIST as LIST, CHARTER};
use crate::durable;
use crate::id::Digest;
use crate::keeper::protocol::{Answer, BackupFile, Request};
use clap::Args;
use indicatif::ProgressBar;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const LARGEST_CHARTER: u64 = 16 << 20;
/// Most differing files named.
const MOST_NAMED: usize = 20;
const BLOCK: usize = 1 << 20;

/// Copy the archive into a folder, consistently and under load
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    data: super::Data,
    /// The folder: empty, new, or with an earlier backup of this box, which is brought up to date
    folder: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    files: usize,
    copied_bytes: u64,
    kept_bytes: u64,
    list: Digest,
}

impl Backup {
    /// Copies, verifies, and has the ledger note it.
    pub fn run(&self) -> Result<(), Failure> {
        let answer = Client::connect(&self.data.data, self.json)?.ask_plainly(&Request::Backup)?;
        let Answer::Backup { head, files } = answer else {
            return Err(ClientError::Unexpected.into());
        };
        self.check_place()?;
        let _alone = self.claim_folder()?;
        self.compare(&files)?;
        let bar = if self.json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(files.len() as u64)
        };
        let mut list = String::new();
        let (mut copied, mut kept) = (0, 0);
        for file in &files {
            let (written, digest) = self.copy(file)?;
            if written {
                copied += file.length
            } else {
                kept += file.length
            }
            list += &format!("{digest}  {}\n", file.path.display());
            bar.inc(1);
        }
        self.remove_others(&files)?;
        durable::replace(&self.folder.join(LIST), list.as_bytes())?;
        bar.finish_and_clear();
        let list = Digest::of(list.as_bytes());
        let place = self.folder.display().to_string();
        Client::connect(&self.data.data, true)?.ask_plainly(&Request::BackupDone {
            head,
            files: list,
            place,
        })?;
        let report = Report {
            files: files.len(),
            copied_bytes: copied,
            kept_bytes: kept,
            list,
        };
        if self.json {
            return super::print_json(&report);
        }
        println!(
            "{} in {}: {} MB copied, {} MB were there; list {}",
            counted(report.files, "file", "files"),
            self.folder.display(),
            copied >> 20,
            kept >> 20,
            report.list
        );
        Ok(())
    }

    /// Refuses a folder inside of the data folder, or of what it has on another disk: a backup there saves nothing, and the
    /// next one would copy it.
    fn check_place(&self) -> Result<(), Failure> {
        let real = |path: &Path| path.canonicalize().map_err(durable::at("find", path));
        let place = std::path::absolute(&self.folder).map_err(durable::at("find", &self.folder))?;
        let Some(there) = place.ancestors().find(|path| path.exists()) else {
            return Ok(());
        };
        let (there, data) = (real(there)?, &self.data.data);
        let mut ours = vec![real(data)?];
        for entry in fs::read_dir(data).map_err(durable::at("read", data))? {
            let path = entry.map_err(durable::at("read", data))?.path();
            if path.is_dir() {
                ours.push(real(&path)?);
            }
        }
        if ours.iter().any(|folder| there.starts_with(folder)) {
            return Err(Failure::Input(format!(
                "{} lies inside of the data folder: give a folder elsewhere, best on another disk",
                self.folder.display()
            )));
        }
        Ok(())
    }

    /// Makes sure that the folder is ours to write and clear: a file of other content must not be lost in it. Gives a lock
    /// that keeps another backup out.
    fn claim_folder(&self) -> Result<Flock<File>, Failure> {
        durable::create_folder(&self.folder)?;
        let folder = File::open(&self.folder).map_err(durable::at("open", &self.folder))?;
        let alone = Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|_| {
            Failure::Input(format!(
                "another backup into {} is under way; wait for its end",
                self.folder.display()
            ))
        })?;
        let list = self.folder.join(LIST);
        let mut entries = fs::read_dir(&self.folder).map_err(durable::at("read", &self.folder))?;
        if !list.exists() {
            if entries.next().is_some() {
                return Err(Failure::Input(format!(
                    "{} has files in it and no {LIST}, so it is no backup: give an empty folder",
                    self.folder.display()
                )));
            }
            durable::create_new(&list, b"")?;
        }
        let charter = |root: &Path| durable::read_if_present(&root.join(CHARTER), LARGEST_CHARTER);
        let theirs = charter(&self.folder)?;
        if theirs.is_some() && theirs != charter(&self.data.data)? {
            return Err(Failure::Input(format!(
                "{} is the backup of another box: give another folder",
                self.folder.display()
            )));
        }
        Ok(alone)
    }

    /// Before anything is written: bytes that never change are the same here and in an earlier copy, or one of the two is
    /// damaged, and it may be ours.
    fn compare(&self, files: &[BackupFile]) -> Result<(), Failure> {
        let mut damage = Vec::new();
        for file in files.iter().filter(|file| file.keeps) {
            let (here, copy) = (
                self.data.data.join(&file.path),
                self.folder.join(&file.path),
            );
            if let Some(offset) = first_difference(&here, &copy, file.length)? {
                damage.push(format!("{} at offset {offset}", file.path.display()));
            }
        }
        if damage.is_empty() {
            return Ok(());
        }
        let more = damage.len().saturating_sub(MOST_NAMED);
        damage.truncate(MOST_NAMED);
        if more > 0 {
            damage.push(format!("{more} more"));
        }
        Err(Failure::Input(format!(
            "what never changes differs from the earlier copy in {}: {}. Nothing was written. `strongroom verify` says whether \
             the archive is damaged; if it is not, the copy is: give an empty folder",
            self.folder.display(),
            damage.join(", ")
        )))
    }

    /// Copies one file where the copy differs, and reads it back. True if anything was written.
    fn copy(&self, file: &BackupFile) -> Result<(bool, Digest), Failure> {
        let to = self.folder.join(&file.path);
        if let Some(folder) = to.parent() {
            durable::create_folder(folder)?;
        }
        let Some(content) = &file.content else {
            return self.copy_growing(file, &to);
        };
        let expected = Digest::of(content);
        if digest(&to, file.length)? == Some(expected) {
            return Ok((false, expected));
        }
        durable::replace(&to, content)?;
        self.verified(file, &to, expected)
            .map(|digest| (true, digest))
    }

    /// A file that only grows: the copy gets what it lacks.
    fn copy_growing(&self, file: &BackupFile, to: &Path) -> Result<(bool, Digest), Failure> {
        let source = self.data.data.join(&file.path);
        let gone = |path: &Path| {
            Failure::Input(format!(
                "{} became shorter while it was copied; run the backup again",
                path.display()
            ))
        };
        let expected = digest(&source, file.length)?.ok_or_else(|| gone(&source))?;
        if digest(to, file.length)? == Some(expected) {
            return Ok((false, expected));
        }
        let mut from = File::open(&source).map_err(durable::at("open", &source))?;
        let mut target = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(to)
            .map_err(durable::at("create", to))?;
        let there = target
            .metadata()
            .map_err(durable::at("read", to))?
            .len()
            .min(file.length);
        let same_start = there > 0 && digest(&source, there)? == digest(to, there)?;
        let start = if same_start { there } else { 0 };
        from.seek(SeekFrom::Start(start))
            .map_err(durable::at("read", &source))?;
        target
            .seek(SeekFrom::Start(start))
            .map_err(durable::at("write", to))?;
        io::copy(&mut from.take(file.length - start), &mut target)
            .map_err(durable::at("write", to))?;
        target
            .set_len(file.length)
            .map_err(durable::at("write", to))?;
        target.sync_all().map_err(durable::at("sync", to))?;
        durable::sync_folder_of(to)?;
        self.verified(file, to, expected)
            .map(|digest| (true, digest))
    }

    fn verified(&self, file: &BackupFile, to: &Path, expected: Digest) -> Result<Digest, Failure> {
        if digest(to, file.length)? == Some(expected) {
            return Ok(expected);
        }
        Err(Failure::Input(format!(
            "{} does not read back as it was written: the backup medium is faulty",
            to.display()
        )))
    }

    /// Removes files of an earlier backup that are no longer part of the box.
    fn remove_others(&self, files: &[BackupFile]) -> Result<(), Failure> {
        let known: std::collections::BTreeSet<PathBuf> = files
            .iter()
            .map(|file| self.folder.join(&file.path))
            .chain([self.folder.join(LIST)])
            .collect();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)
                .map_err(durable::at("read", &folder))?
                .flatten()
            {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !known.contains(&path) {
                    durable::remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

/// Where the copy, as far as it goes, differs from the first `length` bytes of a file; `None` if it does not.
fn first_difference(here: &Path, copy: &Path, length: u64) -> Result<Option<u64>, Failure> {
    let copied = match File::open(copy) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(durable::at("open", copy)(error).into()),
    };
    let original = File::open(here).map_err(durable::at("open", here))?;
    let mut original = BufReader::with_capacity(BLOCK, original.take(length));
    let mut copied = BufReader::with_capacity(BLOCK, copied);
    let mut offset = 0;
    loop {
        let ours = original.fill_buf().map_err(durable::at("read", here))?;
        let theirs = copied.fill_buf().map_err(durable::at("read", copy))?;
        let both = ours.len().min(theirs.len());
        if let Some(at) = (0..both).find(|at| ours[*at] != theirs[*at]) {
            return Ok(Some(offset + at as u64));
        }
        if both == 0 {
            // The copy may end first: it gets the rest.
            return Ok((!theirs.is_empty()).then_some(offset));
        }
        original.consume(both);
        copied.consume(both);
        offset += both as u64;
    }
}

/// SHA-256 of a file's first `length` bytes; `None` if it is shorter or absent.
fn digest(path: &Path, length: u64) -> Result<Option<Digest>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(durable::at("open", path)(error).into()),
    };
    let mut sum = Sha256::new();
    let mut rest = file.take(length);
    let mut buffer = vec![0; 1 << 20];
    let mut read_bytes = 0;
    loop {
        let read = rest.read(&mut buffer).map_err(durable::at("read", path))?;
        if read == 0 {
            break;
        }
        sum.update(&buffer[..read]);
        read_bytes += read as u64;
    }
    Ok((read_bytes == length).then(|| Digest(sum.finalize().into())))
}
