//! `strongroom ceremony`: carries out what the state machines in [`crate::ceremony`] decide. Here are
//! the disk, the TPM, the clock and the officers' passphrases.

mod copying;
mod found;
mod journal;
mod ledger;
mod machine;
mod restore;
mod table;
mod tls;

pub use found::{FoundReport, FoundRequest, found};
pub use restore::{RestoreReport, RestoreRequest, restore};
pub use table::{Chair, open_files};

use super::passphrase::PassphraseError;
use crate::boxfiles::BoxFileError;
use crate::ceremony::CeremonyError;
use crate::crypto::note::NoteError;
use crate::durable::{self, FileError};
use crate::id::host_name;
use crate::keyring::KeyringError;
use crate::ledger::{CheckpointError, LedgerError};
use crate::officer::{OfficerError, OfficerName, pretty};
use crate::policy::PolicyError;
use crate::time::SystemClock;
use crate::tpm::TpmError;
use clap::Subcommand;
use std::io::{self, Write};
use std::path::PathBuf;

/// Ceremonies: what officers do together.
#[derive(Debug, Subcommand)]
pub enum CeremonyCommand {
    /// Found a box: deal the recovery key's shares, prove every quorum, take the TPM into possession
    Found {
        /// The data folder to make; it must not exist, or be empty
        #[arg(
            long,
            env = "STRONGROOM_DATA",
            default_value = "/var/lib/strongroom",
            value_name = "FOLDER"
        )]
        data: PathBuf,
        /// The policy, TOML as in keys-policy/default.toml
        #[arg(long)]
        policy: PathBuf,
        /// The TPM: device:/dev/tpmrm0, or swtpm:host=127.0.0.1,port=2321
        #[arg(long, value_name = "TCTI")]
        tpm: String,
        /// An officer's key file; once for each officer
        #[arg(long = "officer", value_name = "FILE", required = true)]
        officers: Vec<PathBuf>,
        /// Take an officer's passphrase from the first line of a file instead of asking
        #[arg(long = "passphrase-file", value_name = "NAME=FILE")]
        passphrase_files: Vec<Chair>,
        /// The name mail servers know this box by
        #[arg(long, default_value = "localhost", value_parser = host_name)]
        hostname: String,
        /// Print the result as JSON; the narration goes to standard error
        #[arg(long)]
        json: bool,
    },
    /// Restore a box on a new TPM, or on the same one after its boot measurements changed
    Restore {
        /// The data folder
        #[arg(
            long,
            env = "STRONGROOM_DATA",
            default_value = "/var/lib/strongroom",
            value_name = "FOLDER"
        )]
        data: PathBuf,
        /// Copy the data from this backup first; the data folder must not exist, or be empty
        #[arg(long, value_name = "BACKUP")]
        from: Option<PathBuf>,
        /// The TPM: device:/dev/tpmrm0, or swtpm:host=127.0.0.1,port=2321
        #[arg(long, value_name = "TCTI")]
        tpm: String,
        /// An officer's key file; once for each officer who is there
        #[arg(long = "officer", value_name = "FILE", required = true)]
        officers: Vec<PathBuf>,
        /// Take an officer's passphrase from the first line of a file instead of asking
        #[arg(long = "passphrase-file", value_name = "NAME=FILE")]
        passphrase_files: Vec<Chair>,
        /// Accept a ledger of this many entries as the newest there is, instead of asking
        #[arg(long, value_name = "ENTRIES")]
        accept_head: Option<u64>,
        /// Print the result as JSON; the narration goes to standard error
        #[arg(long)]
        json: bool,
    },
}

/// Why a ceremony command failed. Nothing is half done: it can be run again.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyCommandError {
    /// Reading or writing a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the data folder.
    #[error(transparent)]
    BoxFile(#[from] BoxFileError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy is not text.
    #[error("{} is not UTF-8 text", .0.display())]
    PolicyNotText(PathBuf),
    /// An officer's file.
    #[error("{}: {source}", path.display())]
    Officer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: OfficerError,
    },
    /// A passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The ceremony's own rules.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The TPM.
    #[error("the TPM: {0}")]
    Tpm(#[from] TpmError),
    /// Keyring or capsule.
    #[error("the keyring: {0}")]
    Keyring(#[from] KeyringError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A note key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The certificate could not be made.
    #[error("cannot make a TLS certificate for {hostname:?}")]
    Tls {
        /// The name in it.
        hostname: String,
        /// OpenSSL's answer.
        #[source]
        source: openssl::error::ErrorStack,
    },
    /// There is a box already.
    #[error(
        "{} holds a box already; name another folder with --data (a box is sealed anew in its place by `ceremony restore` without --from)",
        .0.display()
    )]
    AlreadyFounded(PathBuf),
    /// Something else lies there.
    #[error("{} is not empty; give a folder that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// The TPM has an owner, and it is not an earlier attempt of these officers.
    #[error(
        "the TPM belongs to somebody already: its owner authorisation is set, and these officers' own earlier attempt is not it. If nothing on it is needed any more, clear the TPM in the firmware's setup, then run this again"
    )]
    TpmTaken,
    /// The box was open in this boot.
    #[error(
        "the box was opened since the machine was switched on, and capped PCR {0}: what is sealed now would not open after the next boot. Reboot first, without starting `strongroom serve` (with --no-unlock it may run, and takes mail in), then run this again"
    )]
    Capped(u8),
    /// The charter is not the one that the ledger names.
    #[error("{} is damaged: {what}. Put a copy from a backup in its place, then run this again", path.display())]
    DamagedCharter {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The backup's list does not fit.
    #[error("the backup {} is damaged: {what}. Nothing was changed; restore from another copy", path.display())]
    DamagedBackup {
        /// The folder given.
        path: PathBuf,
        /// The first file that does not fit.
        what: String,
    },
    /// The TPM does not give back what it was just given.
    #[error("the TPM's anchor is not there; run the ceremony again")]
    NoAnchor,
    /// The ledger at hand does not hold what the capsule has seen.
    #[error(
        "the capsule has seen a ledger of {capsule} entries, the data at hand has {ledger}: this copy is older than the capsule. Restore from a newer copy"
    )]
    DataTooOld {
        /// Entries the capsule knows of.
        capsule: u64,
        /// Entries at hand.
        ledger: u64,
    },
    /// Same length, other entries.
    #[error(
        "the first {0} entries of this ledger are not those that the capsule has seen: the ledger was rewritten, or belongs to another box"
    )]
    OtherLedger(u64),
    /// The officers did not accept the head.
    #[error(
        "the ledger's head was not accepted: {given:?} was given, and the ledger has {actual} entries; nothing was changed. If that is the newest, \
         type the number, or give --accept-head {actual}"
    )]
    NotAccepted {
        /// What was typed or given.
        given: String,
        /// What is there.
        actual: u64,
    },
    /// An unforeseen file in the backup.
    #[error("{} is neither file nor folder; a backup holds nothing else", .0.display())]
    StrangeFile(PathBuf),
    /// The mail is not there.
    #[error("the ledger names mail, but there is no {}: mount its disk, or restore from a whole copy; nothing was changed", .0.display())]
    NoVault(PathBuf),
    /// Standard output is gone.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
    /// The narration's listener stopped the ceremony.
    #[error("interrupted before: {0}")]
    Interrupted(String),
}

impl CeremonyCommandError {
    /// True where the TPM is not as a decided restore left it; a passing error proves nothing.
    const fn is_other_tpm(&self) -> bool {
        use TpmError::{BadBlob, Cleared, NvMissing, OtherTpm, PcrMismatch, WrongAuth};
        matches!(
            self,
            Self::NoAnchor
                | Self::Keyring(KeyringError::OtherBoxSecret)
                | Self::Tpm(
                    Cleared
                        | OtherTpm
                        | BadBlob { .. }
                        | NvMissing { .. }
                        | WrongAuth { .. }
                        | PcrMismatch { .. }
                )
        )
    }
}

/// Hears what happens, before it does.
pub trait Narrator {
    /// A step that changes something is next. An error stops the ceremony there, as a power cut would.
    fn step(&mut self, text: &str) -> Result<(), CeremonyCommandError>;
    /// Something was found out.
    fn say(&mut self, text: &str);
}

/// Tells people on standard error.
#[derive(Debug, Default)]
pub struct OnStandardError;

impl Narrator for OnStandardError {
    fn step(&mut self, text: &str) -> Result<(), CeremonyCommandError> {
        self.say(&format!("… {text}"));
        Ok(())
    }

    fn say(&mut self, text: &str) {
        // Without a terminal the ceremony goes on all the same.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Carries out `command`, narrating on standard error and writing the result to `to`.
pub fn run(command: CeremonyCommand, to: &mut dyn Write) -> Result<(), CeremonyCommandError> {
    let narrator = &mut OnStandardError;
    match command {
        CeremonyCommand::Found {
            data,
            policy,
            tpm,
            officers,
            passphrase_files,
            hostname,
            json,
        } => {
            let text = durable::read(&policy, 1 << 20)?;
            let text = String::from_utf8(text)
                .map_err(|_| CeremonyCommandError::PolicyNotText(policy.clone()))?;
            let policy_name = policy.display().to_string();
            // The policy is read before anybody types a passphrase.
            crate::policy::ValidPolicy::parse(&text, &policy_name)?;
            let (officers, refused) = open_files(&officers, &passphrase_files, narrator);
            if let Some(error) = refused.into_iter().next() {
                return Err(error);
            }
            let request = FoundRequest {
                data,
                policy: text,
                policy_name,
                tcti: tpm,
                hostname,
                officers,
            };
            let report = found(request, &SystemClock, narrator)?;
            if json {
                to.write_all(&pretty(&report))?
            } else {
                write!(to, "{report}")?
            }
        }
        CeremonyCommand::Restore {
            data,
            from,
            tpm,
            officers,
            passphrase_files,
            accept_head,
            json,
        } => {
            let (officers, _) = open_files(&officers, &passphrase_files, narrator);
            let request = RestoreRequest {
                data,
                from,
                tcti: tpm,
                officers,
            };
            let report = restore(request, &SystemClock, narrator, &mut |size| {
                confirmed(size, accept_head)
            })?;
            if json {
                to.write_all(&pretty(&report))?
            } else {
                write!(to, "{report}")?
            }
        }
    }
    Ok(())
}

/// Whether the officers accept a ledger of `size` entries as the newest.
fn confirmed(size: u64, given: Option<u64>) -> Result<(), CeremonyCommandError> {
    let given = match given {
        Some(given) => given.to_string(),
        None => {
            let mut line = String::new();
            writeln!(
                io::stderr(),
                "Type the number of entries to accept this ledger as the newest there is:"
            )?;
            io::stdin().read_line(&mut line)?;
            line.trim().to_owned()
        }
    };
    if given == size.to_string() {
        Ok(())
    } else {
        Err(CeremonyCommandError::NotAccepted {
            given,
            actual: size,
        })
    }
}

fn names(officers: &[OfficerName]) -> String {
    officers
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
