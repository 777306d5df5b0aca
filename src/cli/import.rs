//! `strongroom import`: brings mail that lies in files into the archive.

use super::reading::printable;
use crate::durable::{FileError, at};
use crate::id::{Digest, TenantId};
use crate::intake::import::client::{Destination, ImportError, Progress, send};
use crate::intake::import::sources::{STATE_SUFFIX, Sources, files, mails_of};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `strongroom import`.
///
/// What was imported, and for which mailbox, is remembered in a state file, so that the same command can be run again
/// after an interruption, or when there is more: nothing is imported twice.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if everything was imported, 1 if some was not, 2 if the import broke off."
)]
pub struct Import {
    /// Files and folders: EML, mbox, Maildir, .emlx; a file of one mail may be compressed (gzip, bzip2, xz, zstd)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The address whose mail this is
    #[arg(long, value_name = "ADDRESS", value_parser = super::mailbox)]
    mailbox: String,
    /// Whose archive; without it the mailbox's domain decides
    #[arg(long)]
    tenant: Option<TenantId>,
    #[command(flatten)]
    data: super::Data,
    /// Where to remember what was imported [default: beside the first PATH]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// One JSON object for each mail and a sum at the end
    #[arg(long)]
    json: bool,
}

/// Why an import did not begin, or broke off.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {source}; give a writable place with --state", .source.path.display())]
    State { source: FileError },
    #[error("another import is running that remembers in {}; let it end first", .0.display())]
    Running(PathBuf),
    #[error(transparent)]
    Import(#[from] ImportError),
}

#[derive(Debug, Default)]
struct Sum {
    imported: u64,
    known: u64,
    failed: u64,
    skipped: u64,
}

impl Import {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let mut sum = Sum::default();
        let outcome = self.import(&mut sum);
        self.tell_sum(&sum, outcome.as_ref().err());
        match outcome {
            Err(trouble) => {
                eprintln!("strongroom: {trouble}");
                ExitCode::from(2)
            }
            Ok(()) if sum.failed > 0 => ExitCode::from(1),
            Ok(()) => ExitCode::SUCCESS,
        }
    }

    fn import(&self, sum: &mut Sum) -> Result<(), Trouble> {
        let Sources {
            files,
            skipped,
            unreadable,
        } = files(&self.paths)?;
        let (known, mut state) = self.open_state()?;
        for path in &skipped {
            self.tell_skipped(path, sum);
        }
        let bar = progress_bar(files.iter().map(|(_, size)| size).sum(), self.json);
        for error in &unreadable {
            self.tell_failure("", &error.to_string(), &bar, sum);
        }
        let destination = Destination {
            tenant: self.tenant.clone(),
            mailbox: self.mailbox.clone(),
        };
        let mails = files.iter().flat_map(|(path, _)| mails_of(path));
        let socket = self.data.data.join("run/import.sock");
        let path = self.state_path();
        let sent = send(&socket, &destination, mails, &known, |progress| {
            if let Progress::Queued { identity, .. } = &progress {
                // At once, so that little is sent twice after this process is killed.
                let noted = state.write_all(format!("{identity}\n").as_bytes());
                noted.map_err(at("write", &path))?;
            }
            self.tell(&progress, &bar, sum);
            Ok(())
        });
        bar.finish_and_clear();
        let kept = state.sync_all().map_err(at("write", &path));
        sent.map_err(|error| match error {
            ImportError::Noted(source) => Trouble::State { source },
            other => Trouble::Import(other),
        })?;
        kept.map_err(|source| Trouble::State { source })
    }

    fn state_path(&self) -> PathBuf {
        let beside = |path: &Path| {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".");
            name.push(STATE_SUFFIX);
            path.with_file_name(name)
        };
        self.state.clone().unwrap_or_else(|| beside(&self.paths[0]))
    }

    /// What was imported before, and the file that remembers it. A torn last line, or a damaged one, is no digest and counts
    /// as nothing. One import at a time has it: two would both send what neither remembers.
    fn open_state(&self) -> Result<(HashSet<Digest>, File), Trouble> {
        let path = self.state_path();
        let mut file = open_to_append(&path).map_err(|source| Trouble::State { source })?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Trouble::Running(path));
        }
        let known = read_state(&mut file, &path).map_err(|source| Trouble::State { source })?;
        Ok((known, file))
    }

    fn tell(&self, progress: &Progress, bar: &ProgressBar, sum: &mut Sum) {
        match progress {
            Progress::Queued {
                place, id, span, ..
            } => {
                sum.imported += 1;
                bar.inc(*span);
                if self.json {
                    println!("{}", json!({ "place": place, "queued": id.to_string() }));
                }
            }
            Progress::Known { span } => {
                sum.known += 1;
                bar.inc(*span);
            }
            Progress::Refused {
                place,
                reason,
                span,
            } => {
                bar.inc(*span);
                self.tell_failure(place, reason, bar, sum);
            }
            Progress::Unreadable(error) => self.tell_failure("", &error.to_string(), bar, sum),
        }
        bar.set_message(format!("{} imported", sum.imported));
    }

    fn tell_failure(&self, place: &str, reason: &str, bar: &ProgressBar, sum: &mut Sum) {
        sum.failed += 1;
        if self.json {
            println!("{}", json!({ "place": place, "failed": reason }));
            return;
        }
        let separator = if place.is_empty() { "" } else { ": " };
        let text = printable(&format!("{place}{separator}{reason}"));
        bar.suspend(|| eprintln!("not imported: {text}"));
    }

    fn tell_skipped(&self, path: &Path, sum: &mut Sum) {
        sum.skipped += 1;
        let reason = "neither a file nor a folder; a link's target can be imported by its own name";
        if self.json {
            println!("{}", json!({ "place": path, "skipped": reason }));
        } else {
            eprintln!(
                "skipped: {}: {reason}",
                printable(&path.display().to_string())
            );
        }
    }

    fn tell_sum(&self, sum: &Sum, broken_off: Option<&Trouble>) {
        let Sum {
            imported,
            known,
            failed,
            skipped,
        } = sum;
        if self.json {
            let mut said = json!({ "imported": imported, "already-there": known, "failed": failed, "skipped": skipped });
            if let Some(trouble) = broken_off {
                said["error"] = json!(trouble.to_string());
            }
            println!("{said}");
        } else {
            let skipped = match skipped {
                0 => String::new(),
                some => format!(", {some} skipped"),
            };
            println!("{imported} imported, {known} already there, {failed} failed{skipped}");
        }
    }
}

fn open_to_append(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .open(path)
        .map_err(at("open", path))
}

fn read_state(file: &mut File, path: &Path) -> Result<HashSet<Digest>, FileError> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(at("read", path))?;
    let text = String::from_utf8_lossy(&text);
    if !text.is_empty() && !text.ends_with('\n') {
        file.write_all(b"\n").map_err(at("write", path))?;
    }
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn progress_bar(bytes: u64, hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg} {eta}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
