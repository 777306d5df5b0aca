//! `escrow`: bringing users' private keys in, one file or a folder with a list of passphrases, and listing them.

use super::client::{Client, ClientError};
use super::escrow_offer::{KeyOffer, LARGEST_KEY_FILE, Unreadable, file_name, offers};
use super::failure::Failure;
use super::passphrase::Source;
use super::passphrase_list::PassphraseList;
use super::session::token;
use crate::durable;
use crate::id::TenantId;
use crate::keeper::protocol::{Answer, EscrowRow, Request, Token};
use crate::secret::SecretBytes;
use crate::time::Timestamp;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Users' private keys
#[derive(Debug, Subcommand)]
pub enum EscrowCommand {
    /// Take keys into escrow: PKCS#12, PKCS#8 with certificate, OpenPGP, a further certificate of a key that is there; a file, a folder, or a GnuPG home
    Add(Add),
    /// List the keys in escrow
    List(List),
}

/// What `escrow add` needs.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    data: super::Data,
    /// Key files, or folders of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The tenant
    #[arg(long, default_value = "main")]
    tenant: TenantId,
    /// Try the passphrases in this file, one a line, instead of asking
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// A list of passphrases, rows of FILE,PASSPHRASE with file names as in the folder; quotes as spreadsheets set them
    #[arg(long, value_name = "CSV")]
    passphrases: Option<PathBuf>,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

/// What `escrow list` needs.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    data: super::Data,
    /// Show whose your own keys are and where they came from, too; to an officer those of all (needs a session)
    #[arg(long)]
    mine: bool,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

impl EscrowCommand {
    /// Runs the sub-command.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(),
            Self::List(list) => list.run(),
        }
    }
}

impl Add {
    fn run(&self) -> Result<(), Failure> {
        let by_file = self
            .passphrases
            .as_deref()
            .map(|path| PassphraseList::read(path, LARGEST_KEY_FILE))
            .transpose()?
            .unwrap_or_default();
        let common = self.common_passphrases()?;
        let offers = offers(&self.paths)?;
        if offers.is_empty() {
            let paths: Vec<_> = self
                .paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            return Err(Failure::Input(format!(
                "there is no key file in {}; give files, or folders of PKCS#12, PKCS#8, OpenPGP files or a GnuPG home",
                paths.join(", ")
            )));
        }
        self.tell_rows_without_file(&by_file, &offers);
        let mut all = Vec::new();
        for offer in offers {
            let (path, rows) = match offer {
                Ok(offer) => (
                    offer.path.clone(),
                    self.add_offer(&offer, &by_file, &common)?,
                ),
                Err(unreadable) => (
                    unreadable.path.clone(),
                    vec![EscrowRow::refused(
                        &file_name(&unreadable.path),
                        &unreadable,
                    )],
                ),
            };
            if !self.json {
                rows.iter().for_each(|row| print_row(&path, row));
            }
            all.extend(rows);
        }
        if self.json {
            super::print_json(&all)?;
        }
        let refused = all.iter().filter(|row| row.problem.is_some()).count();
        if !self.json {
            let known = all.iter().filter(|row| row.known).count();
            let new = all.len() - refused - known;
            println!("{new} new keys in escrow, {known} there already, {refused} not taken");
        }
        if refused > 0 {
            Err(Failure::Input(format!("{refused} keys were not taken")))
        } else {
            Ok(())
        }
    }

    /// A row of the list whose file is not among those offered is mostly a misspelt one.
    fn tell_rows_without_file(
        &self,
        list: &PassphraseList,
        offers: &[Result<KeyOffer, Unreadable>],
    ) {
        let files = offers.iter().flat_map(|offer| match offer {
            Ok(offer) => offer.files.iter().map(|file| file_name(file)).collect(),
            Err(unreadable) => vec![file_name(&unreadable.path)],
        });
        let Some(path) = &self.passphrases else {
            return;
        };
        for (line, name) in list.without_file(&files.collect()) {
            eprintln!(
                "{}, line {line}: {name:?} is none of the files given; its passphrase was not used",
                path.display()
            );
        }
    }

    /// A key file with a locked key and no passphrase at hand is asked about on the terminal.
    fn add_offer(
        &self,
        offer: &KeyOffer,
        by_file: &PassphraseList,
        common: &[SecretBytes],
    ) -> Result<Vec<EscrowRow>, Failure> {
        let names = offer.files.iter().map(|file| file_name(file));
        let mut passphrases: Vec<SecretBytes> =
            names.filter_map(|name| by_file.of(&name)).collect();
        passphrases.extend(common.iter().map(SecretBytes::duplicate));
        let rows = self.send(offer, passphrases)?;
        let locked = rows.iter().any(|row| {
            row.problem
                .as_ref()
                .is_some_and(|why| why.contains("passphrase"))
        });
        if !locked || self.passphrase_file.is_some() || self.passphrases.is_some() {
            return Ok(rows);
        }
        let typed = Source::of(None).read(&file_name(&offer.path))?;
        self.send(offer, vec![typed])
    }

    fn send(
        &self,
        offer: &KeyOffer,
        passphrases: Vec<SecretBytes>,
    ) -> Result<Vec<EscrowRow>, Failure> {
        let request = Request::EscrowAdd {
            tenant: self.tenant.clone(),
            passphrases: passphrases.into_iter().map(Token).collect(),
            certificates: offer.certificates.iter().cloned().map(Into::into).collect(),
            source: file_name(&offer.path),
        };
        let client = Client::connect(&self.data.data, self.json)?;
        match client.ask(&request, offer.keys.expose(), &mut |_, _| Ok(()))? {
            Answer::Escrow(rows) => Ok(rows),
            _ => Err(ClientError::Unexpected.into()),
        }
    }

    fn common_passphrases(&self) -> Result<Vec<SecretBytes>, Failure> {
        let Some(path) = &self.passphrase_file else {
            return Ok(Vec::new());
        };
        let text = SecretBytes::new(durable::read(path, LARGEST_KEY_FILE)?);
        let lines = text.expose().split(|&byte| byte == b'\n');
        let trimmed = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        Ok(trimmed
            .filter(|line| !line.is_empty())
            .map(|line| SecretBytes::new(line.to_vec()))
            .collect())
    }
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        let session = if self.mine { Some(token()?) } else { None };
        let answer = Client::connect(&self.data.data, self.json)?
            .ask_plainly(&Request::EscrowList { session })?;
        let Answer::Escrow(rows) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        if self.json {
            return super::print_json(&rows);
        }
        for row in &rows {
            let time = |time: Option<Timestamp>, absent: &str| {
                time.map_or_else(|| absent.to_owned(), |time| time.to_string())
            };
            let from = time(row.valid_from, "its beginning");
            let until = time(row.valid_until, "no end");
            let dual = if row.dual_use { " dual-use" } else { "" };
            // Not told without a session.
            let source = match row.source.as_str() {
                "" => String::new(),
                file => format!(", taken from {file}"),
            };
            let whose = match row.addresses.join(" ") {
                whose if whose.is_empty() => whose,
                whose => format!(", of {whose}"),
            };
            println!(
                "{}  {} {}{dual}, valid from {from} until {until}{source}, opened {} mails{whose}",
                row.fingerprint, row.format, row.algorithm, row.opened,
            );
        }
        println!("{} keys", rows.len());
        Ok(())
    }
}

fn print_row(path: &Path, row: &EscrowRow) {
    let file = path.display();
    match &row.problem {
        Some(problem) => println!("{file}: not taken: {problem}"),
        None if row.known => println!("{file}: {} is in escrow already", row.fingerprint),
        None => {
            let dual = if row.dual_use {
                ", dual-use: it could also sign"
            } else {
                ""
            };
            println!(
                "{file}: {} {} {} for {}{dual}",
                row.format,
                row.algorithm,
                row.fingerprint,
                row.addresses.join(", ")
            );
        }
    }
}
