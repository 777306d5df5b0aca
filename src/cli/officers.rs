//! Officers' signatures on statements, made with their key files on the command line.

use super::ceremony::{Chair, OnStandardError, open_files};
use super::failure::Failure;
use crate::approval::{Approval, Statement};
use crate::officer::OfficerKey;
use clap::Args;
use std::path::PathBuf;

/// The officers who sign.
#[derive(Debug, Args)]
pub struct SigningOfficer {
    /// An officer's key file; once for each officer who signs
    #[arg(long = "officer", value_name = "FILE", required = true)]
    officers: Vec<PathBuf>,
    /// Take an officer's passphrase from the first line of a file instead of asking
    #[arg(long = "passphrase-file", value_name = "NAME=FILE")]
    passphrase_files: Vec<Chair>,
}

/// Has each officer sign the statement, after showing what it says.
pub fn sign(statement: &Statement, officers: &SigningOfficer) -> Result<Vec<Approval>, Failure> {
    eprintln!(
        "to be signed (digest {}):\n  {}",
        statement.digest(),
        statement.0
    );
    let (keys, refused) = open_files(
        &officers.officers,
        &officers.passphrase_files,
        &mut OnStandardError,
    );
    if keys.is_empty() {
        let why: Vec<String> = refused.iter().map(ToString::to_string).collect();
        return Err(Failure::Input(why.join("; ")));
    }
    let approve =
        |key: &OfficerKey| statement.approve(&key.public().name.to_string(), |text| key.sign(text));
    Ok(keys.iter().map(approve).collect())
}
