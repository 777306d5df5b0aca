//! The whole box: real processes, a simulated TPM, SMTP over TLS, the command line.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod damage;
mod faults;
mod golden;
mod recovery;
mod support;
