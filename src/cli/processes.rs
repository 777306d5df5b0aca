//! The processes of the box: `serve` for people, the others for `serve`.

use super::failure::Failure;
use crate::daemon::{self, Extent, intake};
use crate::keeper::{self, Ended, FAILURE, POLICY_REPLACED, REBUILDING, REFUSED};
use crate::{durable, worker};
use clap::Args;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Run the box: parent, intake, keeper and workers
///
/// SIGTERM stops it in order. SIGHUP has a renewed TLS certificate served; a pair that does not fit leaves the old one in use.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    data: super::Data,
    /// Take mail in and do nothing else: the TPM is not spoken to, and `ceremony restore` can run meanwhile
    #[arg(long)]
    no_unlock: bool,
}

/// Started by `serve`
#[derive(Debug, Args)]
pub struct Part {
    #[command(flatten)]
    data: super::Data,
}

impl Serve {
    /// Runs until SIGTERM.
    pub fn run(&self) -> Result<(), Failure> {
        log();
        let extent = if self.no_unlock {
            Extent::Intake
        } else {
            Extent::Whole
        };
        daemon::serve(&self.data.data, extent).map_err(|error| Failure::Input(error.to_string()))
    }
}

impl Part {
    /// The process that opens the archive.
    pub fn keeper(&self) -> ExitCode {
        log();
        match keeper::run(&self.data.data) {
            Ok(Ended::Stopped) => ExitCode::SUCCESS,
            Ok(Ended::Rebuilding) => ExitCode::from(REBUILDING),
            Ok(Ended::PolicyReplaced) => ExitCode::from(POLICY_REPLACED),
            Err(error) => {
                tracing::error!(%error, "the keeper ends");
                let why = error.to_string();
                let _ = durable::replace(&self.data.data.join(FAILURE), why.as_bytes());
                if error.is_refusal() {
                    return ExitCode::from(REFUSED);
                }
                ExitCode::FAILURE
            }
        }
    }

    /// The process that faces the network.
    pub fn intake(&self) -> Result<(), Failure> {
        log();
        intake::run(&self.data.data).map_err(|error| Failure::Input(error.to_string()))
    }
}

/// The process that opens one mail at a time.
pub fn work() -> ExitCode {
    log_without_mail();
    match worker::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "a worker ends");
            ExitCode::FAILURE
        }
    }
}

/// A worker's log. What libraries stumble over in a mail may have been encrypted: of that no word is told.
fn log_without_mail() {
    log_what(EnvFilter::new("off,strongroom=info"));
}

/// Logs go to standard error, in colours on a terminal only; `STRONGROOM_LOG` sets what (default `info`).
fn log() {
    let filter = EnvFilter::try_from_env("STRONGROOM_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,tantivy=warn,tss_esapi=off"));
    log_what(filter);
}

fn log_what(filter: EnvFilter) {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // What cannot be written, to a full disk say, is lost: saying so would go the same way, and panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}
