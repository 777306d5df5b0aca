//! Officers' signatures on statements, made with their key files on the command line.

use super::ceremony::{Chair, OnStandardError, open_files};
use super::failure::Failure;
use super::{passphrase, readable};
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

impl SigningOfficer {
    /// The officers' keys; at least one opens.
    pub fn open(&self) -> Result<Vec<OfficerKey>, Failure> {
        let (keys, refused) =
            open_files(&self.officers, &self.passphrase_files, &mut OnStandardError);
        if keys.is_empty() {
            let why: Vec<String> = refused.iter().map(ToString::to_string).collect();
            return Err(Failure::Input(why.join("; ")));
        }
        Ok(keys)
    }

    /// Whether somebody sits there who typed a passphrase.
    fn is_attended(&self) -> bool {
        self.passphrase_files.len() < self.officers.len()
            && std::env::var_os(passphrase::ENVIRONMENT).is_none()
    }
}

/// Has each officer sign the statement, after showing what it says.
pub fn sign(statement: &Statement, officers: &SigningOfficer) -> Result<Vec<Approval>, Failure> {
    show(statement)?;
    let keys = officers.open()?;
    Ok(approvals(statement, &keys))
}

/// As [`sign`], with keys that are open already; whoever typed a passphrase is asked again after reading.
pub fn sign_after_reading(
    statement: &Statement,
    officers: &SigningOfficer,
    keys: &[OfficerKey],
) -> Result<Vec<Approval>, Failure> {
    show(statement)?;
    if officers.is_attended() && !passphrase::agreed("Sign this? Type yes: ")? {
        return Err(Failure::Input("nothing was signed".to_owned()));
    }
    Ok(approvals(statement, keys))
}

/// The officers' signatures, without a word.
pub fn approvals(statement: &Statement, keys: &[OfficerKey]) -> Vec<Approval> {
    let approve =
        |key: &OfficerKey| statement.approve(&key.public().name.to_string(), |text| key.sign(text));
    keys.iter().map(approve).collect()
}

fn show(statement: &Statement) -> Result<(), Failure> {
    eprintln!("to be signed (digest {}):", statement.digest());
    for line in readable::lines(statement)? {
        eprintln!("  {line}");
    }
    Ok(())
}
