//! The whole box: real processes, a simulated TPM, SMTP over TLS, the command line.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod faults;
mod golden;
mod parent;
mod recovery;
mod support;
