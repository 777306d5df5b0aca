//! Mail comes in here: over SMTP, LMTP and the import socket, and lies in the spool until the keeper
//! has archived it.
//!
//! This part of the box faces the network. It knows the spool's *public* key only, so whoever takes
//! it over sees what passes through, never what was accepted before (requirement I5). It works
//! whether or not the box is unlocked.

pub mod config;
pub mod envelope;
pub mod import;
mod places;
mod serve;
pub mod smtp;
pub mod spool;
pub mod stop;
pub mod tls;

pub use config::{IntakeConfig, Limits, ListenerConfig, Rules, TlsMode};
pub use serve::{Intake, IntakeError, serve};
