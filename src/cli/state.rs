//! `status`, `verify`, `worklist` and `rebuild`: what needs no session, for operators and auditors.

use super::client::{Client, ClientError, state};
use super::failure::Failure;
use crate::durable;
use crate::keeper::protocol::{Answer, Request};
use clap::Args;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const LARGEST_CHECKPOINT: u64 = 64 << 10;
/// How long `rebuild` waits for the archive to come back.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How the box is; exit status 1 if it is not open
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
            .and_then(|client| client.ask_plainly(&Request::Status));
        let status = match answer {
            Ok(Answer::Status(status)) => status,
            Ok(_) => return Err(ClientError::Unexpected.into()),
            Err(error) => {
                if self.json {
                    super::print_json(&serde_json::json!({
                        "state": state(&self.data.data).map_or("stopped".to_owned(), |state| state.state),
                        "reason": error.to_string(),
                    }))?;
                }
                return Err(error.into());
            }
        };
        if self.json {
            return super::print_json(&status);
        }
        println!(
            "box        {} ({}), strongroom {}",
            status.box_id, status.state, status.version
        );
        println!(
            "archive    {} records, {} waiting for a key",
            status.records, status.waiting
        );
        println!("escrow     {} keys", status.escrowed_keys);
        println!(
            "ledger     {} entries, TPM counter {}",
            status.ledger_size, status.counter
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
        Ok(())
    }
}

impl Verify {
    /// Verifies the archive.
    pub fn run(&self) -> Result<(), Failure> {
        let read = |path: &PathBuf| durable::read(path, LARGEST_CHECKPOINT);
        let checkpoint = self.checkpoint.as_ref().map(read).transpose()?;
        let checkpoint = checkpoint.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let answer = Client::connect(&self.data.data, self.json)?
            .ask_plainly(&Request::Verify { checkpoint })?;
        let Answer::Verified(found) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        if self.json {
            super::print_json(&found)?;
        } else {
            println!(
                "{} ledger entries, {} records, {} MB of sealed parts verified",
                found.entries,
                found.records,
                found.bytes >> 20
            );
            if let Some(size) = found.prefix_of {
                println!("the given checkpoint of {size} entries is a prefix of this ledger");
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
            println!(
                "{:6} mails of {} wait for {}",
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
        std::thread::sleep(Duration::from_secs(1));
        loop {
            let answer = Client::connect(&self.data.data, true)
                .and_then(|client| client.ask_plainly(&Request::Status));
            match answer {
                Ok(Answer::Status(status)) if self.json => {
                    return super::print_json(&serde_json::json!({ "records": status.records }));
                }
                Ok(Answer::Status(status)) => {
                    println!(
                        "catalog and search were made again: {} records",
                        status.records
                    );
                    return Ok(());
                }
                Err(error) if since.elapsed() > PATIENCE => return Err(error.into()),
                _ => std::thread::sleep(Duration::from_millis(300)),
            }
        }
    }
}
