//! `strongroom officer`: an officer's key file, made and kept on the officer's own medium.

use super::passphrase::{PassphraseError, Source};
use crate::durable::{self, FileError};
use crate::officer::{self, Cost, OfficerError, OfficerFile, OfficerName, OfficerPublic, pretty};
use clap::Subcommand;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why an officer command failed.
#[derive(Debug, thiserror::Error)]
pub enum OfficerCommandError {
    /// Reading or writing a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The officer file.
    #[error(transparent)]
    Officer(#[from] OfficerError),
    /// The passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// Standard output is gone.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

/// Officers' key files.
#[derive(Debug, Subcommand)]
pub enum OfficerCommand {
    /// Make an officer's key file, protected by a passphrase
    New {
        /// The officer's name, as ceremonies and receipts show it
        name: OfficerName,
        /// Where to write the file; it must not exist
        #[arg(long)]
        out: PathBuf,
        /// Take the passphrase from the first line of this file instead of asking
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Print the public part as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the public part and its fingerprint
    Show {
        /// An officer's key file, or its public part
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the public part, for the founding's list
    Public {
        /// An officer's key file
        file: PathBuf,
        /// Where to write it; without this, to standard output
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// Carries out `command`, writing the answer to `to`.
pub fn run(command: &OfficerCommand, to: &mut dyn Write) -> Result<(), OfficerCommandError> {
    match command {
        OfficerCommand::New {
            name,
            out,
            passphrase_file,
            json,
        } => {
            let source = Source::of(passphrase_file.as_deref());
            let passphrase = source.read_new(&format!("{name}'s new officer file"))?;
            let file = OfficerFile::create(name.clone(), &passphrase, Cost::default())?;
            durable::create_new(out, &file.to_json())?;
            if !json {
                writeln!(
                    to,
                    "Wrote {}. Keep it, and its passphrase, where nobody else gets both.",
                    out.display()
                )?;
            }
            show(file.public(), *json, to)?;
        }
        OfficerCommand::Show { file, json } => show(&public_part(file)?, *json, to)?,
        OfficerCommand::Public { file, out } => {
            let json = pretty(&public_part(file)?);
            match out {
                Some(out) => durable::create_new(out, &json)?,
                None => to.write_all(&json)?,
            }
        }
    }
    Ok(())
}

fn public_part(path: &Path) -> Result<OfficerPublic, OfficerCommandError> {
    Ok(OfficerPublic::parse(&durable::read(
        path,
        officer::LARGEST,
    )?)?)
}

fn show(officer: &OfficerPublic, json: bool, to: &mut dyn Write) -> io::Result<()> {
    if json {
        let shown = serde_json::json!({ "fingerprint": officer.fingerprint(), "officer": officer });
        return to.write_all(&pretty(&shown));
    }
    describe(officer, to)
}

fn describe(officer: &OfficerPublic, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "Officer:      {}", officer.name)?;
    writeln!(to, "Fingerprint:  {}", officer.fingerprint())?;
    writeln!(to, "Signing key:  {}", officer.signing.fingerprint())?;
    writeln!(to, "Sealing key:  {}", officer.sealing.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(command: &OfficerCommand) -> String {
        let mut out = Vec::new();
        run(command, &mut out).expect("works");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_new_file_is_private_opens_and_shows_its_public_part() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("temporary folder");
        let (out, pass) = (folder.path().join("ada.json"), folder.path().join("pass"));
        std::fs::write(&pass, "correct horse\n").expect("write");
        let name: OfficerName = "Ada".parse().expect("name");
        let new = OfficerCommand::New {
            name,
            out: out.clone(),
            passphrase_file: Some(pass.clone()),
            json: false,
        };
        let said = output(&new);
        assert_eq!(
            std::fs::metadata(&out).expect("there").permissions().mode() & 0o777,
            0o600
        );
        assert!(
            run(&new, &mut Vec::new()).is_err(),
            "an existing file is never overwritten"
        );
        let shown = output(&OfficerCommand::Show {
            file: out.clone(),
            json: false,
        });
        assert!(said.ends_with(&shown) && shown.contains("Ada"));
        let public = output(&OfficerCommand::Public {
            file: out.clone(),
            out: None,
        });
        assert!(!public.contains("sealed"), "only the public part");
        let file = OfficerFile::parse(&std::fs::read(&out).expect("read")).expect("parses");
        let passphrase = Source::File(pass).read("Ada").expect("passphrase");
        assert_eq!(
            file.unlock(&passphrase).expect("opens").public(),
            &OfficerPublic::parse(public.as_bytes()).expect("public")
        );
    }
}
