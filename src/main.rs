//! The one binary: commands, daemons and workers all begin here.

use std::process::ExitCode;

fn main() -> ExitCode {
    strongroom::cli::run()
}
