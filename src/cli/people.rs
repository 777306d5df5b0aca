//! `user`: people and their mailboxes, entered by officers' signatures.

use super::client::{Client, ClientError};
use super::failure::Failure;
use super::officers::{SigningOfficer, sign};
use super::passphrase::Source;
use super::tenant::Tenant;
use crate::keeper::people::{PersonSubject, StoredPassword, hash_password};
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
    #[arg(
        long = "mailbox",
        value_name = "ADDRESS",
        required_unless_present = "auditor"
    )]
    mailboxes: Vec<String>,
    #[command(flatten)]
    tenant: Tenant,
    /// The officer who this person is: not counted where they ask for something themselves. Not needed where both have
    /// the same name
    #[arg(long, value_name = "OFFICER")]
    is_officer: Option<String>,
    /// The person reads the access log of the whole tenant (`strongroom access`); without a mailbox, no mail
    #[arg(long)]
    auditor: bool,
    /// Take the new password from the first line of a file instead of asking
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    officers: SigningOfficer,
    /// One JSON object: what was signed
    #[arg(long)]
    json: bool,
}

/// What `user close` needs.
#[derive(Debug, Args)]
pub struct CloseUser {
    #[command(flatten)]
    data: super::Data,
    /// Sign-in name
    name: String,
    #[command(flatten)]
    tenant: Tenant,
    #[command(flatten)]
    officers: SigningOfficer,
    /// One JSON object: what was signed
    #[arg(long)]
    json: bool,
}

impl UserCommand {
    /// Prepares the statement, has the officers sign it, and hands it in.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Set(set) => set.run(),
            Self::Close(close) => close.run(),
        }
    }
}

impl SetUser {
    fn run(&self) -> Result<(), Failure> {
        let tenant = self.tenant.of(&self.data)?;
        let password = Source::of(self.password_file.as_deref()).read_new(&self.name)?;
        let password = hash_password(&password)?;
        let person = PersonSubject {
            name: self.name.clone(),
            tenant,
            mailboxes: self
                .mailboxes
                .iter()
                .map(|mailbox| mailbox.to_lowercase())
                .collect(),
            password: password.digest(),
            active: true,
            officer: self.is_officer.clone(),
            auditor: self.auditor,
        };
        hand_in(&self.data, &person, password, &self.officers)?;
        if self.json {
            return super::print_json(&person);
        }
        let mut reads = person.mailboxes.clone();
        reads.extend(person.auditor.then(|| "the access log".to_owned()));
        println!("{} reads {}", person.name, reads.join(", "));
        Ok(())
    }
}

impl CloseUser {
    fn run(&self) -> Result<(), Failure> {
        let none = StoredPassword::default();
        let person = PersonSubject {
            name: self.name.clone(),
            tenant: self.tenant.of(&self.data)?,
            mailboxes: Vec::new(),
            password: none.digest(),
            active: false,
            officer: None,
            auditor: false,
        };
        hand_in(&self.data, &person, none, &self.officers)?;
        if self.json {
            return super::print_json(&person);
        }
        println!("the account of {} is closed", person.name);
        Ok(())
    }
}

fn hand_in(
    data: &super::Data,
    person: &PersonSubject,
    password: StoredPassword,
    officers: &SigningOfficer,
) -> Result<(), Failure> {
    let prepare = Request::Prepare(Prepare::PersonSet(person.clone()));
    let answer = Client::connect(&data.data, true)?.ask_plainly(&prepare)?;
    let Answer::Statement(statement) = answer else {
        return Err(ClientError::Unexpected.into());
    };
    let approvals = sign(&statement, officers)?;
    let request = Request::PersonSet {
        statement,
        password,
        approvals,
    };
    match Client::connect(&data.data, true)?.ask_plainly(&request)? {
        Answer::Done => Ok(()),
        _ => Err(ClientError::Unexpected.into()),
    }
}
