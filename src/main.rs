//! The one binary: commands, daemons and workers all begin here.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: strongroom::allocator::Allocator = strongroom::allocator::Allocator;

fn main() -> ExitCode {
    strongroom::cli::run()
}
