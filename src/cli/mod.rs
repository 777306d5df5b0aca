//! The commands: one file each. The only place with hints for people and progress bars.

mod inspect;
mod keyfiles;

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
    /// Open mail files with keys given on the command line; no box needed
    Inspect(inspect::Inspect),
}

/// Runs the command line. The exit status is the command's; errors have been told on standard error.
#[must_use]
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Inspect(command) => command.run(),
    }
}
