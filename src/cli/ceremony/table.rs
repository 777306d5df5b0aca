//! The officers at the table: each brings a key file and types the passphrase, or a script names its file.

use super::{CeremonyCommandError, Narrator};
use crate::cli::passphrase::Source;
use crate::durable;
use crate::officer::{self, OfficerError, OfficerFile, OfficerKey, OfficerName};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// `NAME=FILE`: where the passphrase of the officer of that name lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chair {
    name: OfficerName,
    file: PathBuf,
}

impl FromStr for Chair {
    type Err = OfficerError;
    fn from_str(text: &str) -> Result<Self, OfficerError> {
        let (name, file) = text
            .split_once('=')
            .ok_or_else(|| OfficerError::BadName(text.to_owned()))?;
        Ok(Self {
            name: name.parse()?,
            file: PathBuf::from(file),
        })
    }
}

/// Opens the officers' files. One that does not open is narrated and returned, and stops nobody.
pub fn open_files(
    files: &[PathBuf],
    chairs: &[Chair],
    narrator: &mut dyn Narrator,
) -> (Vec<OfficerKey>, Vec<CeremonyCommandError>) {
    let (mut opened, mut refused) = (Vec::new(), Vec::new());
    for path in files {
        match open(path, chairs) {
            Ok(key) => opened.push(key),
            Err(error) => {
                narrator.say(&format!("Not counted: {error}"));
                refused.push(error);
            }
        }
    }
    (opened, refused)
}

fn open(path: &Path, chairs: &[Chair]) -> Result<OfficerKey, CeremonyCommandError> {
    let wrong = |source| CeremonyCommandError::Officer {
        path: path.to_owned(),
        source,
    };
    let file = OfficerFile::parse(&durable::read(path, officer::LARGEST)?).map_err(wrong)?;
    let name = &file.public().name;
    let given = chairs
        .iter()
        .find(|chair| chair.name == *name)
        .map(|chair| chair.file.as_path());
    let passphrase = Source::of(given).read(&name.to_string())?;
    file.unlock(&passphrase).map_err(wrong)
}
