//! `user`: people and their mailboxes, entered by officers' signatures.

use super::client::{Client, ClientError};
use super::failure::Failure;
use super::officers::{SigningOfficer, sign};
use super::passphrase::Source;
use crate::id::TenantId;
use crate::keeper::people::{Person, hash_password};
use crate::keeper::protocol::{Answer, Prepare, Request};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// People who may read
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a person, or give them another password or other mailboxes
    Set(SetUser),
    /// Close a person's account
    Close(CloseUser),
}

/// What `user set` needs.
#[derive(Debug, Args)]
pub struct SetUser {
    #[command(flatten)]
    data: super::Data,
    /// Sign-in name
    name: String,
    /// An address whose mail the person reads; once for each
    #[arg(long = "mailbox", value_name = "ADDRESS", required = true)]
    mailboxes: Vec<String>,
    /// The tenant
    #[arg(long, default_value = "main")]
    tenant: TenantId,
    /// Take the new password from the first line of a file instead of asking
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    officers: SigningOfficer,
}

/// What `user close` needs.
#[derive(Debug, Args)]
pub struct CloseUser {
    #[command(flatten)]
    data: super::Data,
    /// Sign-in name
    name: String,
    /// The tenant
    #[arg(long, default_value = "main")]
    tenant: TenantId,
    #[command(flatten)]
    officers: SigningOfficer,
}

impl UserCommand {
    /// Prepares the statement, has the officers sign it, and hands it in.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Set(set) => {
                let password = Source::of(set.password_file.as_deref()).read_new(&set.name)?;
                let person = Person {
                    name: set.name.clone(),
                    tenant: set.tenant.clone(),
                    mailboxes: set
                        .mailboxes
                        .iter()
                        .map(|mailbox| mailbox.to_lowercase())
                        .collect(),
                    password: hash_password(&password)?,
                    active: true,
                };
                hand_in(&set.data, person, &set.officers)?;
                println!("{} reads {}", set.name, set.mailboxes.join(", "));
            }
            Self::Close(close) => {
                let person = Person {
                    name: close.name.clone(),
                    tenant: close.tenant.clone(),
                    mailboxes: Vec::new(),
                    password: String::new(),
                    active: false,
                };
                hand_in(&close.data, person, &close.officers)?;
                println!("the account of {} is closed", close.name);
            }
        }
        Ok(())
    }
}

fn hand_in(data: &super::Data, person: Person, officers: &SigningOfficer) -> Result<(), Failure> {
    let prepare = Request::Prepare(Prepare::PersonSet(person));
    let answer = Client::connect(&data.data, true)?.ask_plainly(&prepare)?;
    let Answer::Statement(statement) = answer else {
        return Err(ClientError::Unexpected.into());
    };
    let approvals = sign(&statement, officers)?;
    let request = Request::PersonSet {
        statement,
        approvals,
    };
    match Client::connect(&data.data, true)?.ask_plainly(&request)? {
        Answer::Done => Ok(()),
        _ => Err(ClientError::Unexpected.into()),
    }
}
