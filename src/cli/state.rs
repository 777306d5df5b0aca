//! `status`, `verify`, `worklist` and `rebuild`: what needs no session, for operators and auditors.

use super::client::{Client, ClientError, progress_bar, state};
use super::counted;
use super::failure::Failure;
use crate::boxfiles::DataFolder;
use crate::durable;
use crate::keeper::protocol::{Answer, Request};
use crate::ledger::Checkpoint;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LARGEST_CHECKPOINT: u64 = 64 << 10;
/// How long `status` waits for an answer.
const STATUS_TIME: Duration = Duration::from_secs(10);
/// How long `rebuild` waits for the archive to come back.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How the box is; exit status 1 if it is not open, or takes no mail in
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    data: super::Data,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Recompute every commitment, tree and signature; exit status 1 if anything is damaged
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    data: super::Data,
    /// Prove that this older checkpoint is a prefix of the ledger
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The keys that archived mail waits for
#[derive(Debug, Args)]
pub struct Worklist {
    #[command(flatten)]
    data: super::Data,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

/// Make catalog and search again from vault and ledger
#[derive(Debug, Args)]
pub struct Rebuild {
    #[command(flatten)]
    data: super::Data,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Shows the status, also while no keeper runs.
    pub fn run(&self) -> Result<(), Failure> {
        let answer = Client::connect(&self.data.data, self.json)
            .and_then(|client| client.within(STATUS_TIME)?.ask_plainly(&Request::Status));
        let status = match answer {
            Ok(Answer::Status(status)) => status,
            Ok(_) => return Err(ClientError::Unexpected.into()),
            Err(error) => {
                if self.json {
                    super::print_json(&serde_json::json!({
                        "error": error.to_string(),
                        "state": state(&self.data.data),
                        "reason": error.to_string(),
                    }))?;
                }
                return Err(error.into());
            }
        };
        if self.json {
            super::print_json(&status)?;
        } else {
            print_status(&status);
        }
        // Told among the warnings.
        if status.intake.is_some() {
            return Err(Failure::NoIntake);
        }
        Ok(())
    }
}

fn print_status(status: &crate::keeper::protocol::Status) {
    println!(
        "box        {} ({}), strongroom {}",
        status.box_id, status.state, status.version
    );
    println!(
        "archive    {}, {} waiting for a key",
        counted(status.records, "record", "records"),
        status.waiting
    );
    let keys = counted(status.escrowed_keys, "key", "keys");
    println!("escrow     {keys}");
    let counter = status
        .counter
        .map_or_else(|| "not known".to_owned(), |counter| counter.to_string());
    println!(
        "ledger     {}, TPM counter {counter}",
        counted(status.ledger_size, "entry", "entries")
    );
    println!("spool      {} bytes to archive", status.spooled);
    println!(
        "disk       {} of {} MB used",
        status.disk_used >> 20,
        status.disk_size >> 20
    );
    for warning in &status.warnings {
        println!("warning    {warning}");
    }
}

impl Verify {
    /// Verifies the archive.
    pub fn run(&self) -> Result<(), Failure> {
        let checkpoint = self
            .checkpoint
            .as_deref()
            .map(read_checkpoint)
            .transpose()?;
        let answer = Client::connect(&self.data.data, self.json)?
            .ask_plainly(&Request::Verify { checkpoint })?;
        let Answer::Verified(found) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        if self.json {
            super::print_json(&found)?;
        } else {
            println!(
                "{}, {}, {} MB of sealed parts verified",
                counted(found.entries, "ledger entry", "ledger entries"),
                counted(found.records, "record", "records"),
                found.bytes >> 20
            );
            if let Some(size) = found.prefix_of {
                let size = counted(size, "entry", "entries");
                println!("the given checkpoint of {size} is a prefix of this ledger");
            }
            found
                .damage
                .iter()
                .for_each(|damage| println!("damaged: {damage}"));
        }
        if found.damage.is_empty() {
            Ok(())
        } else {
            Err(Failure::Damaged)
        }
    }
}

/// The text of a checkpoint; the keeper checks its signatures.
fn read_checkpoint(path: &Path) -> Result<String, Failure> {
    let text = durable::read(path, LARGEST_CHECKPOINT)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match text.parse::<Checkpoint>() {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Input(format!(
            "{} is no checkpoint ({error}); give a copy that was once made of a box's ledger/checkpoint",
            path.display()
        ))),
    }
}

impl Worklist {
    /// Lists the keys.
    pub fn run(&self) -> Result<(), Failure> {
        let answer =
            Client::connect(&self.data.data, self.json)?.ask_plainly(&Request::Worklist)?;
        let Answer::Worklist(waiting) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        if self.json {
            return super::print_json(&waiting);
        }
        for line in &waiting {
            let (noun, verb) = if line.mails == 1 {
                ("mail", "waits")
            } else {
                ("mails", "wait")
            };
            println!(
                "{:6} {noun} of {} {verb} for {}",
                line.mails, line.tenant, line.key
            );
        }
        if waiting.is_empty() {
            println!("no mail waits for a key");
        }
        Ok(())
    }
}

impl Rebuild {
    /// Has the keeper begin anew and waits until it answers.
    pub fn run(&self) -> Result<(), Failure> {
        Client::connect(&self.data.data, true)?.ask_plainly(&Request::Rebuild)?;
        eprintln!("rebuilding; the archive takes in mail all the while");
        let since = Instant::now();
        let data = DataFolder::at(&self.data.data);
        let bar = progress_bar("ledger entries".to_owned());
        std::thread::sleep(Duration::from_secs(1));
        loop {
            let answer = Client::connect(&self.data.data, true)
                .and_then(|client| client.ask_plainly(&Request::Status));
            match answer {
                Ok(Answer::Status(status)) if self.json => {
                    return super::print_json(&serde_json::json!({ "records": status.records }));
                }
                Ok(Answer::Status(status)) => {
                    bar.finish_and_clear();
                    println!(
                        "catalog and search were made again: {}",
                        counted(status.records, "record", "records")
                    );
                    return Ok(());
                }
                Err(error) if since.elapsed() > PATIENCE => return Err(error.into()),
                _ => {
                    if let (false, Some((done, all))) = (self.json, data.catching_up()) {
                        bar.set_length(all);
                        bar.set_position(done);
                    }
                    std::thread::sleep(Duration::from_millis(300));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_checkpoint_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("old-head");
        std::fs::write(&path, "junk\n").expect("written");
        let error = read_checkpoint(&path)
            .expect_err("no checkpoint")
            .to_string();
        assert!(error.contains("old-head is no checkpoint"), "{error}");
        assert!(error.contains("ledger/checkpoint"), "{error}");
    }
}
