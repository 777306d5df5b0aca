//! The whole box: real processes, a simulated TPM, SMTP over TLS, the command line.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backup;
mod certificates;
mod commands;
mod damage;
mod disks;
mod envelope;
mod evidence;
mod faults;
mod golden;
mod journal;
mod keys;
mod logs;
mod pages;
mod parent;
mod passing;
mod people;
mod policy;
mod reading;
mod recovery;
mod release;
mod rollback;
mod succession;
mod support;
mod tenants;
mod tls;
mod worklist;
