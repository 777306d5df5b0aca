//! What is told of keys in escrow.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What became of one key, or a line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowRow {
    /// Where it came from.
    pub source: String,
    /// Taken (or there already), else why not.
    pub problem: Option<String>,
    /// A certificate or public key in a folder, of no key that is here: not taken, and no failure.
    pub passed_over: bool,
    /// True if it was there before.
    pub known: bool,
    /// Fingerprint.
    pub fingerprint: String,
    /// "S/MIME" or "OpenPGP".
    pub format: String,
    /// Algorithm.
    pub algorithm: String,
    /// Whose (empty where the asker may not see it).
    pub addresses: Vec<String>,
    /// Validity.
    pub valid_from: Option<Timestamp>,
    /// Validity.
    pub valid_until: Option<Timestamp>,
    /// May also sign.
    pub dual_use: bool,
    /// Mails it opened.
    pub opened: u64,
    /// When it was taken.
    pub added: Option<Timestamp>,
}

impl EscrowRow {
    /// A row that says only where something came from.
    #[must_use]
    pub fn of(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            problem: None,
            passed_over: false,
            known: false,
            fingerprint: String::new(),
            format: String::new(),
            algorithm: String::new(),
            addresses: Vec::new(),
            valid_from: None,
            valid_until: None,
            dual_use: false,
            opened: 0,
            added: None,
        }
    }

    /// What was not taken, and why.
    #[must_use]
    pub fn refused(source: &str, problem: &dyn std::fmt::Display) -> Self {
        Self {
            problem: Some(problem.to_string()),
            ..Self::of(source)
        }
    }
}
