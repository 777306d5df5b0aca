//! `case`: recovering a person's mail with officers' approvals, and checking a receipt offline.

use super::client::{Client, ClientError};
use super::failure::Failure;
use super::officers::{SigningOfficer, sign};
use super::session::token;
use crate::approval::Statement;
use crate::boxfiles::OfficersFile;
use crate::durable;
use crate::id::{CaseId, Digest, RecordId, TenantId};
use crate::keeper::Receipt;
use crate::keeper::protocol::{Answer, CaseScope, CaseView, Request};
use crate::time::Timestamp;
use clap::{Args, Subcommand};
use data_encoding::BASE64;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const LARGEST_CERTIFICATE: u64 = 1 << 20;
const LARGEST_RECEIPT: u64 = 256 << 20;

/// Recovery cases: mail of a person, re-encrypted to a new certificate
#[derive(Debug, Subcommand)]
pub enum CaseCommand {
    /// Ask for a recovery (needs a session)
    Request(RequestCase),
    /// List all cases
    List(ListCases),
    /// Show one case with the statement that officers sign
    Show(ShowCase),
    /// Sign a case as an officer
    Approve(ApproveCase),
    /// Write an approved case's mails and the receipt into a new folder
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
    #[arg(long, value_name = "ADDRESS")]
    mailbox: String,
    /// The tenant
    #[arg(long, default_value = "main")]
    tenant: TenantId,
    /// First day, YYYY-MM-DD
    #[arg(long, value_parser = first_moment)]
    from: Option<Timestamp>,
    /// Last day, YYYY-MM-DD
    #[arg(long, value_parser = last_moment)]
    until: Option<Timestamp>,
    /// Why; officers read this
    #[arg(long)]
    purpose: String,
    /// The person's new certificate: S/MIME (PEM or DER) or OpenPGP (armored or binary)
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
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

/// What `case check` needs.
#[derive(Debug, Args)]
pub struct CheckReceipt {
    /// The folder that `case release` wrote
    folder: PathBuf,
    /// The box's officers.json
    #[arg(long, value_name = "FILE")]
    officers: PathBuf,
    /// One JSON object
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
            Self::Release(release) => release.run(),
            Self::Check(check) => check.run(),
        }
    }
}

impl RequestCase {
    fn run(&self) -> Result<(), Failure> {
        let bytes = certificate(&durable::read(&self.certificate, LARGEST_CERTIFICATE)?);
        let scope = CaseScope {
            tenant: self.tenant.clone(),
            mailbox: self.mailbox.to_lowercase(),
            from: self.from,
            until: self.until,
            purpose: self.purpose.clone(),
            output_fingerprint: Digest::of(&bytes).to_string(),
            output_certificate: BASE64.encode(&bytes),
        };
        let view = one_case(
            &self.data,
            &Request::CaseRequest {
                session: token()?,
                scope,
            },
        )?;
        if self.json {
            return super::print_json(&view);
        }
        println!(
            "case {} is requested; {} officers must approve it:",
            view.case, view.needed
        );
        println!("  strongroom case approve {} --officer FILE", view.case);
        Ok(())
    }
}

/// An S/MIME certificate is kept in DER; anything else as it is, and the worker judges it.
fn certificate(bytes: &[u8]) -> Vec<u8> {
    let pem = openssl::x509::X509::from_pem(bytes).and_then(|certificate| certificate.to_der());
    pem.unwrap_or_else(|_| bytes.to_vec())
}

impl ListCases {
    fn run(&self) -> Result<(), Failure> {
        let answer = Client::connect(&self.data.data, true)?.ask_plainly(&Request::Cases)?;
        let Answer::Cases(cases) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        if self.json {
            return super::print_json(&cases);
        }
        for case in &cases {
            println!(
                "{}  {:9}  {}  {} of {}",
                case.case,
                case.state,
                case.requested,
                case.approvals.len(),
                case.needed
            );
        }
        Ok(())
    }
}

impl ShowCase {
    fn run(&self) -> Result<(), Failure> {
        let view = one_case(&self.data, &Request::CaseShow(self.case))?;
        if self.json {
            return super::print_json(&view);
        }
        println!(
            "case {}: {}, {} of {} officers ({})",
            view.case,
            view.state,
            view.approvals.len(),
            view.needed,
            view.approvals.join(", ")
        );
        if let Some(statement) = &view.statement {
            println!("digest {}\n{}", statement.digest(), statement.0);
        }
        Ok(())
    }
}

impl ApproveCase {
    fn run(&self) -> Result<(), Failure> {
        let view = one_case(&self.data, &Request::CaseShow(self.case))?;
        let statement: Statement = view.statement.ok_or(ClientError::Unexpected)?;
        let mut last = None;
        for approval in sign(&statement, &self.officers)? {
            let officer = approval.officer.clone();
            let case = self.case;
            let view = one_case(&self.data, &Request::CaseApprove { case, approval })?;
            if !self.json {
                println!(
                    "{officer} approves; {} of {} officers have signed",
                    view.approvals.len(),
                    view.needed
                );
            }
            last = Some(view);
        }
        match last {
            Some(view) if self.json => super::print_json(&view),
            _ => Ok(()),
        }
    }
}

impl ReleaseCase {
    fn run(&self) -> Result<(), Failure> {
        durable::create_folder(&self.output)?;
        let mut current: Option<File> = None;
        let folder = self.output.clone();
        let client = Client::connect(&self.data.data, true)?;
        let answer = client.ask(
            &Request::CaseRelease(self.case),
            &[],
            &mut |answer, bytes| {
                if let Answer::Released { record } = answer {
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
        let Answer::Receipt(text) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        durable::create_new(&self.output.join("receipt.json"), text.as_bytes())?;
        if self.json {
            println!("{text}");
            return Ok(());
        }
        let receipt: Receipt = serde_json::from_str(&text)?;
        println!(
            "{} mails and receipt.json are in {}",
            receipt.mails.len(),
            self.output.display()
        );
        for mail in &receipt.withheld {
            println!("withheld: {}: {}", mail.record, mail.reason);
        }
        Ok(())
    }
}

impl CheckReceipt {
    fn run(&self) -> Result<(), Failure> {
        let receipt: Receipt = serde_json::from_slice(&durable::read(
            &self.folder.join("receipt.json"),
            LARGEST_RECEIPT,
        )?)?;
        let file: OfficersFile =
            serde_json::from_slice(&durable::read(&self.officers, LARGEST_CERTIFICATE)?)?;
        let list = file.officers.list.iter();
        let keys: BTreeMap<_, _> = list
            .map(|officer| (officer.name.to_string(), officer.signing.clone()))
            .collect();
        let needed = usize::from(file.officers.required);
        let signed = receipt
            .statement
            .approved_by(&receipt.approvals, &keys, None, needed)
            .map_err(|error| Failure::Input(error.to_string()))?;
        for mail in &receipt.mails {
            let path = mail_file(&self.folder, mail.record);
            if Digest::of(&durable::read(&path, u64::MAX)?) != mail.sha256 {
                return Err(Failure::Input(format!(
                    "{} is not the file that was released",
                    path.display()
                )));
            }
        }
        if self.json {
            return super::print_json(&serde_json::json!({
                "genuine": true,
                "case": receipt.case,
                "mails": receipt.mails.len(),
                "withheld": receipt.withheld.len(),
                "approved_by": signed,
                "released": receipt.released,
            }));
        }
        println!(
            "genuine: {} mails, approved by {}, released {}",
            receipt.mails.len(),
            signed.join(", "),
            receipt.released
        );
        Ok(())
    }
}

fn mail_file(folder: &Path, record: RecordId) -> PathBuf {
    folder.join(format!("{record}.eml"))
}

fn one_case(data: &super::Data, request: &Request) -> Result<CaseView, Failure> {
    match Client::connect(&data.data, true)?.ask_plainly(request)? {
        Answer::Cases(mut cases) if cases.len() == 1 => Ok(cases.remove(0)),
        _ => Err(ClientError::Unexpected.into()),
    }
}

fn first_moment(day: &str) -> Result<Timestamp, String> {
    let date: jiff::civil::Date = day
        .parse()
        .map_err(|_| format!("{day:?} is not a day as YYYY-MM-DD"))?;
    let start = date
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|error| error.to_string())?;
    u64::try_from(start.timestamp().as_second())
        .map(Timestamp::from_seconds)
        .map_err(|_| "before 1970".to_owned())
}

fn last_moment(day: &str) -> Result<Timestamp, String> {
    first_moment(day).map(|start| start.plus_seconds(86_400))
}
