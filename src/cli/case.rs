//! `case`: recovering or reading a person's mail with officers' approvals.

use super::client::{Client, ClientError};
use super::counted;
use super::days::{first_moment, last_moment};
use super::failure::Failure;
use super::officers::{SigningOfficer, approvals, sign, sign_after_reading};
use super::readable;
use super::receipt::{CheckReceipt, PROOF, RECEIPT, mail_file};
use super::session::{token, token_if_any};
use super::tenant::Tenant;
use crate::approval::Statement;
use crate::durable;
use crate::id::CaseId;
use crate::keeper::Receipt;
use crate::keeper::protocol::{Answer, CaseView, MailScope, Prepare, Request, Wanted};
use crate::officer::OfficerKey;
use crate::time::Timestamp;
use clap::{Args, Subcommand};
use data_encoding::BASE64;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

const LARGEST_CERTIFICATE: u64 = 1 << 20;

/// Cases: mail of a person, re-encrypted to a new certificate, or read on the box for a time
#[derive(Debug, Subcommand)]
pub enum CaseCommand {
    /// Ask for a recovery, or to read (needs a session)
    Request(RequestCase),
    /// List all cases
    List(ListCases),
    /// Show one case; all of it in the session of the requester or of a person who is an officer
    Show(ShowCase),
    /// Sign a case as an officer
    Approve(ApproveCase),
    /// Refuse a case as an officer; one is enough, it is final, and it ends reading at once
    Refuse(RefuseCase),
    /// Take back a case of your own, also while you read under it (needs your session)
    Withdraw(WithdrawCase),
    /// Write an approved case's mails and the receipt into a new folder (needs the requester's session, or that of a
    /// person who is an officer)
    Release(ReleaseCase),
    /// Check a receipt and its mails offline, with the officers' public keys
    Check(CheckReceipt),
}

/// What `case request` needs.
#[derive(Debug, Args)]
pub struct RequestCase {
    #[command(flatten)]
    data: super::Data,
    /// Whose mail: an address
    #[arg(long, value_name = "ADDRESS", value_parser = super::mailbox)]
    mailbox: String,
    #[command(flatten)]
    tenant: Tenant,
    /// First day of the mail's date, YYYY-MM-DD
    #[arg(long, value_parser = first_moment)]
    from: Option<Timestamp>,
    /// Last day, YYYY-MM-DD
    #[arg(long, value_parser = last_moment)]
    until: Option<Timestamp>,
    /// Why; officers read this, and the access log keeps it
    #[arg(long)]
    purpose: String,
    /// The person's new certificate: S/MIME (PEM or DER) or OpenPGP (armored or binary)
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "read",
        conflicts_with = "read"
    )]
    certificate: Option<PathBuf>,
    /// Ask to read the mail yourself on the box, with `search`, `show` and `get --case`; nothing is released
    #[arg(long)]
    read: bool,
    /// With --read: for how many days from now on, at most 90
    #[arg(
        long,
        requires = "read",
        conflicts_with = "certificate",
        default_value_t = 14
    )]
    days: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What `case list` needs.
#[derive(Debug, Args)]
pub struct ListCases {
    #[command(flatten)]
    data: super::Data,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

/// What `case show` needs.
#[derive(Debug, Args)]
pub struct ShowCase {
    #[command(flatten)]
    data: super::Data,
    /// The case
    case: CaseId,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What `case approve` needs.
#[derive(Debug, Args)]
pub struct ApproveCase {
    #[command(flatten)]
    data: super::Data,
    /// The case
    case: CaseId,
    #[command(flatten)]
    officers: SigningOfficer,
    /// One JSON object: the case after the last signature
    #[arg(long)]
    json: bool,
}

/// What `case refuse` needs.
#[derive(Debug, Args)]
pub struct RefuseCase {
    #[command(flatten)]
    data: super::Data,
    /// The case
    case: CaseId,
    #[command(flatten)]
    officers: SigningOfficer,
    /// One JSON object: the case
    #[arg(long)]
    json: bool,
}

/// What `case withdraw` needs.
#[derive(Debug, Args)]
pub struct WithdrawCase {
    #[command(flatten)]
    data: super::Data,
    /// The case
    case: CaseId,
    /// One JSON object: the case
    #[arg(long)]
    json: bool,
}

/// What `case release` needs.
#[derive(Debug, Args)]
pub struct ReleaseCase {
    #[command(flatten)]
    data: super::Data,
    /// The case
    case: CaseId,
    /// The folder to make
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// Print the receipt
    #[arg(long)]
    json: bool,
}

impl CaseCommand {
    /// Runs the sub-command.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Request(request) => request.run(),
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Approve(approve) => approve.run(),
            Self::Refuse(refuse) => refuse.run(),
            Self::Withdraw(withdraw) => withdraw.run(),
            Self::Release(release) => release.run(),
            Self::Check(check) => check.run(),
        }
    }
}

impl RequestCase {
    fn run(&self) -> Result<(), Failure> {
        let scope = MailScope {
            tenant: self.tenant.of(&self.data)?,
            mailbox: self.mailbox.to_lowercase(),
            from: self.from,
            until: self.until,
            purpose: self.purpose.clone(),
        };
        let request = Request::CaseRequest {
            session: token()?,
            scope,
            wanted: self.wanted()?,
        };
        let view = one_case(&self.data, &request)?;
        if self.json {
            return super::print_json(&view);
        }
        println!(
            "case {} is requested; {} must approve it:",
            view.case,
            counted(view.needed, "officer", "officers")
        );
        println!("  strongroom case approve {} --officer FILE", view.case);
        if let Some(read_until) = view.read_until {
            println!("then you read until {read_until}:");
            println!("  strongroom search --case {}", view.case);
        }
        Ok(())
    }

    fn wanted(&self) -> Result<Wanted, Failure> {
        let Some(path) = &self.certificate else {
            return Ok(Wanted::Read { days: self.days });
        };
        let bytes = certificate(&durable::read(path, LARGEST_CERTIFICATE)?);
        Ok(Wanted::Release {
            certificate: BASE64.encode(&bytes),
        })
    }
}

/// An S/MIME certificate is kept in DER; anything else as it is, and the worker judges it.
fn certificate(bytes: &[u8]) -> Vec<u8> {
    let pem = openssl::x509::X509::from_pem(bytes).and_then(|certificate| certificate.to_der());
    pem.unwrap_or_else(|_| bytes.to_vec())
}

impl ListCases {
    fn run(&self) -> Result<(), Failure> {
        let answer = Client::connect(&self.data.data, true)?.ask_plainly(&Request::Cases {
            session: token_if_any(),
        })?;
        let Answer::Cases(cases) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        if self.json {
            return super::print_json(&cases);
        }
        for case in &cases {
            println!(
                "{}  {:9}  {:9}  {}  {} of {}  {}",
                case.case,
                case.kind,
                case.state,
                case.requested,
                case.signed,
                case.needed,
                case.requester
            );
        }
        if cases.is_empty() {
            println!("no cases");
        }
        Ok(())
    }
}

impl ShowCase {
    fn run(&self) -> Result<(), Failure> {
        let session = token_if_any();
        let case = self.case;
        let view = one_case(&self.data, &Request::CaseShow { session, case })?;
        if self.json {
            return super::print_json(&view);
        }
        println!(
            "case {}: {}, {} of {} ({})",
            view.case,
            view.state,
            view.signed,
            counted(view.needed, "officer", "officers"),
            view.approvals.join(", ")
        );
        println!("requested {}, expires {}", view.requested, view.expires);
        if let Some(read_until) = view.read_until {
            println!("lets the requester read until {read_until}, once it is approved");
        }
        match &view.statement {
            Some(statement) => {
                println!("digest {}", statement.digest());
                for line in readable::lines(statement)? {
                    println!("{line}");
                }
            }
            None => println!(
                "sign in as the person who asked, or as a person who is an officer, to see more"
            ),
        }
        Ok(())
    }
}

impl ApproveCase {
    fn run(&self) -> Result<(), Failure> {
        let keys = self.officers.open()?;
        let statement = self.statement(&keys)?;
        let mut last = None;
        for approval in sign_after_reading(&statement, &self.officers, &keys)? {
            let officer = approval.officer.clone();
            let case = self.case;
            let view = one_case(&self.data, &Request::CaseApprove { case, approval })?;
            if !self.json {
                println!(
                    "{officer} approves; {} of {} officers have signed",
                    view.signed, view.needed
                );
            }
            last = Some(view);
        }
        match last {
            Some(view) if self.json => super::print_json(&view),
            _ => Ok(()),
        }
    }

    /// What is to be signed, which the keeper shows to whoever proves to be an officer.
    fn statement(&self, keys: &[OfficerKey]) -> Result<Statement, Failure> {
        let proof = prepared(&self.data, Prepare::CaseView(self.case))?;
        let approval = approvals(&proof, keys).into_iter().next();
        let request = Request::CaseOpen {
            approval: approval.ok_or(ClientError::Unexpected)?,
            statement: proof,
        };
        let view = one_case(&self.data, &request)?;
        Ok(view.statement.ok_or(ClientError::Unexpected)?)
    }
}

impl RefuseCase {
    fn run(&self) -> Result<(), Failure> {
        let statement = prepared(&self.data, Prepare::CaseRefuse(self.case))?;
        let approval = sign(&statement, &self.officers)?.into_iter().next();
        let request = Request::CaseRefuse {
            approval: approval.ok_or(ClientError::Unexpected)?,
            statement,
        };
        ended(&one_case(&self.data, &request)?, self.json)
    }
}

impl WithdrawCase {
    fn run(&self) -> Result<(), Failure> {
        let (session, case) = (token()?, self.case);
        let view = one_case(&self.data, &Request::CaseWithdraw { session, case })?;
        ended(&view, self.json)
    }
}

fn ended(view: &CaseView, json: bool) -> Result<(), Failure> {
    if json {
        return super::print_json(view);
    }
    println!("case {} is {}", view.case, view.state);
    Ok(())
}

impl ReleaseCase {
    fn run(&self) -> Result<(), Failure> {
        self.check_output()?;
        let mut current: Option<File> = None;
        let folder = self.output.clone();
        let client = Client::connect(&self.data.data, true)?;
        let (session, case) = (token()?, self.case);
        let answer = client.ask(
            &Request::CaseRelease { session, case },
            &[],
            &mut |answer, bytes| {
                if let Answer::Released { record } = answer {
                    durable::create_folder(&folder).map_err(std::io::Error::other)?;
                    keep(current.take())?;
                    current = Some(
                        durable::create_file(&mail_file(&folder, *record))
                            .map_err(std::io::Error::other)?,
                    );
                } else if let Some(file) = &mut current {
                    file.write_all(bytes)?;
                }
                Ok(())
            },
        )?;
        let Answer::Receipt {
            receipt: text,
            proof,
        } = answer
        else {
            return Err(ClientError::Unexpected.into());
        };
        keep(current)?;
        durable::create_new(&folder.join(RECEIPT), text.as_bytes())?;
        durable::create_new(&folder.join(PROOF), proof.as_bytes())?;
        let session = token()?;
        one_case(&self.data, &Request::CaseReleased { session, case })?;
        self.tell(&text)
    }

    /// Before anything is fetched: what is there already is not ours.
    fn check_output(&self) -> Result<(), Failure> {
        let is_empty = std::fs::read_dir(&self.output).map_or(true, |mut all| all.next().is_none());
        if is_empty {
            return Ok(());
        }
        Err(Failure::Input(format!(
            "{} is not empty; name a new folder (nothing was released)",
            self.output.display()
        )))
    }

    fn tell(&self, text: &str) -> Result<(), Failure> {
        if self.json {
            println!("{text}");
            return Ok(());
        }
        let receipt: Receipt = serde_json::from_str(text)?;
        println!(
            "{}, {RECEIPT} and {PROOF} are in {}",
            counted(receipt.mails.len(), "mail", "mails"),
            self.output.display()
        );
        for mail in &receipt.withheld {
            println!("withheld: {}: {}", mail.record, mail.reason);
        }
        Ok(())
    }
}

/// Makes a mail that is written durable.
fn keep(file: Option<File>) -> std::io::Result<()> {
    file.map_or(Ok(()), |file| file.sync_all())
}

fn prepared(data: &super::Data, what: Prepare) -> Result<Statement, Failure> {
    match Client::connect(&data.data, true)?.ask_plainly(&Request::Prepare(what))? {
        Answer::Statement(statement) => Ok(statement),
        _ => Err(ClientError::Unexpected.into()),
    }
}

fn one_case(data: &super::Data, request: &Request) -> Result<CaseView, Failure> {
    match Client::connect(&data.data, true)?.ask_plainly(request)? {
        Answer::Cases(mut cases) if cases.len() == 1 => Ok(cases.remove(0)),
        _ => Err(ClientError::Unexpected.into()),
    }
}
