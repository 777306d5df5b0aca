//! The commands: one file each. The only place with hints for people and progress bars.

pub mod ceremony;
mod import;
mod inspect;
mod keyfiles;
pub mod officer;
pub mod passphrase;
pub mod policy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The firmware of an archive box that keeps encrypted mail readable.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ceremonies: what officers do together
    #[command(subcommand)]
    Ceremony(ceremony::CeremonyCommand),
    /// Bring in mail from files: single mails, mbox files, Maildir folders, and folders of these
    Import(import::Import),
    /// Open mail files with keys given on the command line; no box needed
    Inspect(inspect::Inspect),
    /// Officers' key files
    #[command(subcommand)]
    Officer(officer::OfficerCommand),
    /// Policy files
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

/// Runs the command line. The exit status is the command's; errors have been told on standard error.
#[must_use]
pub fn run() -> ExitCode {
    crate::tpm::quiet_library();
    let to = &mut std::io::stdout();
    match Arguments::parse().command {
        Command::Ceremony(command) => told(ceremony::run(command, to)),
        Command::Import(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Officer(command) => told(officer::run(&command, to)),
        Command::Policy(command) => told(policy::run(&command, to)),
    }
}

/// Tells an error with what to do next, and makes an exit status of it.
fn told<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strongroom: {error}");
            ExitCode::FAILURE
        }
    }
}
