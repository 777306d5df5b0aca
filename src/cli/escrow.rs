//! `escrow`: bringing users' private keys in, one file or a folder with a list of passphrases, and listing them.

use super::client::{Client, ClientError};
use super::counted;
use super::escrow_offer::{KeyOffer, LARGEST_KEY_FILE, Unreadable, file_name, offers};
use super::failure::Failure;
use super::passphrase::{PassphraseError, Source};
use super::passphrase_list::PassphraseList;
use super::session::token;
use super::tenant::Tenant;
use crate::durable;
use crate::escrow::KeyProblem;
use crate::id::TenantId;
use crate::keeper::protocol::{Answer, EscrowRow, Request, Token};
use crate::secret::SecretBytes;
use crate::time::Timestamp;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Users' private keys
#[derive(Debug, Subcommand)]
pub enum EscrowCommand {
    /// Take keys into escrow: PKCS#12, PKCS#8 with certificate, OpenPGP; a file, a folder, or a GnuPG home
    ///
    /// A certificate without its key is taken where the key is in escrow, or comes along: mail to a renewed one opens then. In a
    /// folder, a certificate or public key of no key that is there is passed over; named itself, it is not taken, which is a failure.
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
    #[command(flatten)]
    tenant: Tenant,
    /// Try the passphrases in this file, one a line, instead of asking
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// A list of passphrases, rows of FILE,PASSPHRASE with file names as in the folder; quotes as spreadsheets set them
    #[arg(long, value_name = "CSV")]
    passphrases: Option<PathBuf>,
    /// One JSON array; where it is cut short, what was done so far, and an object with the error behind it
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

/// Of a key whose passphrase nobody was asked for.
const LOCKED: &str = "it needs a passphrase, and there is no terminal to ask for it on; give --passphrase-file FILE, or a list by --passphrases CSV";

/// What is the same for all offers.
struct Given {
    tenant: TenantId,
    by_file: PassphraseList,
    common: Vec<SecretBytes>,
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
        let given = Given {
            tenant: self.tenant.of(&self.data)?,
            by_file,
            common,
        };
        self.tell_rows_without_file(&given.by_file, &offers);
        let mut all = Vec::new();
        if let Err(failure) = self.add_offers(offers, &given, &mut all) {
            if self.json && !all.is_empty() {
                super::print_json_so_far(&all)?;
            }
            return Err(failure);
        }
        if self.json {
            super::print_json(&all)?;
        } else {
            print_sum(&all);
        }
        let refused = all.iter().filter(|row| is_refused(row)).count();
        if refused > 0 {
            let refused = counted(refused, "key was", "keys were");
            Err(Failure::Input(format!("{refused} not taken")))
        } else {
            Ok(())
        }
    }

    /// Brings one offer after the other. What has no key may be a certificate of a key that comes after it, so it comes
    /// once more at the end.
    fn add_offers(
        &self,
        offers: Vec<Result<KeyOffer, Unreadable>>,
        given: &Given,
        all: &mut Vec<EscrowRow>,
    ) -> Result<(), Failure> {
        let mut keyless = Vec::new();
        for offer in offers {
            match offer {
                Ok(offer) => {
                    let (rows, passphrases) = self.add_offer(&offer, given)?;
                    if rows.iter().all(|row| row.passed_over) {
                        keyless.push((offer, passphrases));
                    } else {
                        self.tell(&offer, rows, all);
                    }
                }
                Err(unreadable) => {
                    let row = EscrowRow::refused(&file_name(&unreadable.path), &unreadable);
                    self.tell_row(&unreadable.path, row, all);
                }
            }
        }
        for (offer, passphrases) in keyless {
            let rows = self.send(&offer, given, &passphrases)?;
            self.tell(&offer, rows, all);
        }
        Ok(())
    }

    /// A file that was named is to have a key. A certificate that went along with its key is told if it brings something.
    fn tell(&self, offer: &KeyOffer, rows: Vec<EscrowRow>, all: &mut Vec<EscrowRow>) {
        for mut row in rows {
            row.passed_over &= !offer.is_named;
            if !(offer.went_along && (row.known || row.passed_over)) {
                self.tell_row(&offer.path, row, all);
            }
        }
    }

    fn tell_row(&self, path: &Path, row: EscrowRow, all: &mut Vec<EscrowRow>) {
        if !self.json {
            print_row(path, &row);
        }
        all.push(row);
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

    /// A key file with a locked key and no passphrase at hand is asked about on the terminal. Where there is none, its keys are
    /// told as not taken, with what to do. Gives the passphrases too.
    fn add_offer(
        &self,
        offer: &KeyOffer,
        given: &Given,
    ) -> Result<(Vec<EscrowRow>, Vec<SecretBytes>), Failure> {
        let names = offer.files.iter().map(|file| file_name(file));
        let mut passphrases: Vec<SecretBytes> =
            names.filter_map(|name| given.by_file.of(&name)).collect();
        passphrases.extend(given.common.iter().map(SecretBytes::duplicate));
        let mut rows = self.send(offer, given, &passphrases)?;
        let locked = || rows.iter().any(is_locked);
        if self.passphrase_file.is_some() || self.passphrases.is_some() || !locked() {
            return Ok((rows, passphrases));
        }
        match Source::of(None).read(&file_name(&offer.path)) {
            Ok(typed) => {
                let typed = vec![typed];
                Ok((self.send(offer, given, &typed)?, typed))
            }
            Err(PassphraseError::NoTerminal(_)) => {
                rows.iter_mut()
                    .filter(|row| is_locked(row))
                    .for_each(|row| {
                        row.problem = Some(LOCKED.to_owned());
                    });
                Ok((rows, passphrases))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn send(
        &self,
        offer: &KeyOffer,
        given: &Given,
        passphrases: &[SecretBytes],
    ) -> Result<Vec<EscrowRow>, Failure> {
        let request = Request::EscrowAdd {
            tenant: given.tenant.clone(),
            passphrases: passphrases
                .iter()
                .map(|one| Token(one.duplicate()))
                .collect(),
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
                "{}  {} {}{dual}, valid from {from} until {until}{source}, opened {}{whose}",
                row.fingerprint,
                row.format,
                row.algorithm,
                counted(row.opened, "mail", "mails"),
            );
        }
        println!("{}", counted(rows.len(), "key", "keys"));
        Ok(())
    }
}

/// A key that a passphrase would open.
fn is_locked(row: &EscrowRow) -> bool {
    let locked = KeyProblem::WrongPassphrase.to_string();
    row.problem.as_ref() == Some(&locked)
}

/// A key that should have been taken, and was not.
const fn is_refused(row: &EscrowRow) -> bool {
    row.problem.is_some() && !row.passed_over
}

fn print_sum(rows: &[EscrowRow]) {
    let count = |what: fn(&EscrowRow) -> bool| rows.iter().filter(|row| what(row)).count();
    let new = count(|row| row.problem.is_none() && !row.known);
    let (known, refused) = (count(|row| row.known), count(is_refused));
    let passed_over = match count(|row| row.passed_over) {
        0 => String::new(),
        some => format!(", {some} passed over"),
    };
    let new = counted(new, "new key", "new keys");
    println!("{new} in escrow, {known} there already, {refused} not taken{passed_over}");
}

fn print_row(path: &Path, row: &EscrowRow) {
    let file = path.display();
    match &row.problem {
        Some(problem) if row.passed_over => println!("{file}: passed over: {problem}"),
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
