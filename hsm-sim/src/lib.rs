//! Simulated hardware for Strongroom's tests and its demo.
//!
//! [`Sim`] is a real TPM 2.0 in software (swtpm) on a machine that can be switched off, cut off,
//! booted with other firmware, cleared and driven into lockout. [`Proxy`] sits on the wire in front
//! of it, records what passes and falsifies it on demand. Strongroom itself knows neither: it gets
//! a TCTI string.

mod boot;
mod ports;
mod proxy;
mod sim;
mod wire;

pub use boot::Firmware;
pub use ports::free_ports;
pub use proxy::{Exchange, Fault, Proxy};
pub use sim::{Detached, Sim};

use std::path::PathBuf;

/// Why the simulated hardware did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// No process could be started at all.
    #[error("cannot start swtpm: {0}")]
    Spawn(#[source] std::io::Error),
    /// swtpm ended or never answered.
    #[error(
        "swtpm did not come up; see {0}; if it is not installed: apt-get install swtpm swtpm-tools"
    )]
    NotUp(PathBuf),
    /// The state folder could not be read or written.
    #[error("{path}: {source}")]
    State {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds no simulated TPM, or it is switched off.
    #[error("{0} holds no simulated TPM that is switched on; `hsm-sim start` makes one")]
    Off(PathBuf),
    /// The connection to swtpm failed; it serves one connection at a time.
    #[error(
        "cannot talk to the simulated TPM: {0}; it serves one connection at a time, so stop `strongroom serve` first"
    )]
    Wire(#[source] std::io::Error),
    /// The TPM refused a command.
    #[error("the simulated TPM refused to {doing} (code {code:#x})")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// The TPM's response code.
        code: u32,
    },
}
