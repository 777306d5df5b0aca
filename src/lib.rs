//! Strongroom: the firmware of an archive box that keeps encrypted mail readable.
//!
//! Start with `docs/architecture.md`. Arrows between the modules point one way only, and
//! `tests/architecture.rs` checks them.

pub mod allocator;
pub mod approval;
pub mod boxfiles;
pub mod catalog;
pub mod ceremony;
pub mod cli;
pub mod crypto;
pub mod daemon;
pub mod durable;
pub mod escrow;
pub mod frame;
pub mod id;
pub mod intake;
pub mod keeper;
pub mod keyring;
pub mod ledger;
pub mod mail;
pub mod officer;
pub mod policy;
pub mod sandbox;
pub mod search;
pub mod secret;
pub mod time;
pub mod tpm;
pub mod tpm_link;
pub mod vault;
pub mod worker;
