//! Strongroom: the firmware of an archive box that keeps encrypted mail readable.
//!
//! Start with `docs/architecture.md`. Arrows between the modules point one way only, and
//! `tests/architecture.rs` checks them.

pub mod boxfiles;
pub mod catalog;
pub mod ceremony;
pub mod cli;
pub mod crypto;
pub mod durable;
pub mod escrow;
pub mod id;
pub mod intake;
pub mod keyring;
pub mod ledger;
pub mod mail;
pub mod officer;
pub mod policy;
pub mod search;
pub mod secret;
pub mod time;
pub mod tpm;
pub mod vault;
