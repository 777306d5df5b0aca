//! What `escrow add` brings in one go: mostly one file, but the key files of GnuPG's agent together, because one
//! certificate has its keys in several of them.

use super::failure::Failure;
use super::gnupg;
use super::keyfiles::x509_in;
use crate::durable::{self, FileError};
use crate::escrow::openpgp_key::{
    certificates_in, is_agent_file, joined_agent_files, naming, x509_naming,
};
use crate::secret::SecretBytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Largest file that is read for keys.
pub const LARGEST_KEY_FILE: u64 = 16 << 20;
/// File name endings of certificates that may stand beside a key.
const CERTIFICATE_ENDINGS: [&str; 3] = ["crt", "cer", "cert"];

/// Keys that are offered together, with the certificates that name them; or a certificate of a key in escrow.
pub struct KeyOffer {
    /// What is shown: the file, or the folder of several.
    pub path: PathBuf,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Their content.
    pub keys: SecretBytes,
    /// Certificates from beside.
    pub certificates: Vec<Vec<u8>>,
    /// The file itself was named, no folder of it.
    pub is_named: bool,
    /// A certificate beside a key file of the same name, with which it was offered before.
    pub went_along: bool,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    #[source]
    why: FileError,
}

/// All offers in these files and folders. Of a GnuPG home its private keys are taken and nothing else.
pub fn offers(paths: &[PathBuf]) -> Result<Vec<Result<KeyOffer, Unreadable>>, Failure> {
    let mut offers = Vec::new();
    for path in paths {
        if !path.is_dir() {
            let named = of_files(path, vec![path.clone()]);
            offers.extend(named.into_iter().map(as_named));
        } else if let Some(folder) = gnupg::agent_folder(path) {
            offers.extend(of_files(&folder, files_in(&folder)?));
            let old = path.join("secring.gpg");
            if old.is_file() {
                offers.extend(of_files(&old, vec![old.clone()]));
            }
        } else {
            offers.extend(of_files(path, files_in(path)?));
        }
    }
    Ok(offers)
}

/// The name that is shown and kept as the source.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(durable::at("read", folder))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && !has_ending(path, &["csv"]))
        .collect();
    files.sort();
    Ok(files)
}

fn as_named(offer: Result<KeyOffer, Unreadable>) -> Result<KeyOffer, Unreadable> {
    offer.map(|offer| KeyOffer {
        is_named: true,
        ..offer
    })
}

fn of_files(path: &Path, files: Vec<PathBuf>) -> Vec<Result<KeyOffer, Unreadable>> {
    let mut offers = Vec::new();
    let mut agent_files: Vec<(PathBuf, SecretBytes)> = Vec::new();
    let keys = files
        .iter()
        .filter(|file| !has_ending(file, &CERTIFICATE_ENDINGS));
    let names: BTreeSet<PathBuf> = keys.map(|file| file.with_extension("")).collect();
    for file in files {
        let goes_along = is_beside(&file) && names.contains(&file.with_extension(""));
        match read(&file) {
            Ok(keys) if is_agent_file(keys.expose()) => agent_files.push((file, keys)),
            // The offer of the key beside tells of it.
            Err(_) if goes_along => {}
            keys => offers.push(keys.and_then(|keys| of_file(file, keys, goes_along))),
        }
    }
    if !agent_files.is_empty() {
        offers.push(Ok(of_agent_files(path, agent_files)));
    }
    offers
}

/// Whether [`beside`] looks for files with such an ending.
fn is_beside(file: &Path) -> bool {
    let mut endings = CERTIFICATE_ENDINGS.iter();
    endings.any(|ending| file.extension() == Some(ending.as_ref()))
}

fn of_file(file: PathBuf, keys: SecretBytes, went_along: bool) -> Result<KeyOffer, Unreadable> {
    Ok(KeyOffer {
        is_named: false,
        went_along,
        certificates: beside(&file)?,
        path: file.clone(),
        files: vec![file],
        keys,
    })
}

fn of_agent_files(path: &Path, files: Vec<(PathBuf, SecretBytes)>) -> KeyOffer {
    let keys = joined_agent_files(files.iter().map(|(_, keys)| keys.expose()));
    let files: Vec<PathBuf> = files.into_iter().map(|(file, _)| file).collect();
    let nearby = gnupg::certificates_near(files.iter().map(PathBuf::as_path));
    let openpgp: Vec<_> = nearby
        .iter()
        .flat_map(|bytes| certificates_in(bytes))
        .collect();
    let x509 = nearby.iter().flat_map(|bytes| x509_in(bytes)).collect();
    let x509 = x509_naming(keys.expose(), x509);
    let x509 = x509
        .iter()
        .filter_map(|certificate| certificate.to_der().ok());
    KeyOffer {
        is_named: false,
        went_along: false,
        path: path.to_owned(),
        certificates: naming(keys.expose(), &openpgp)
            .into_iter()
            .chain(x509)
            .collect(),
        files,
        keys,
    }
}

fn read(path: &Path) -> Result<SecretBytes, Unreadable> {
    let bytes = durable::read(path, LARGEST_KEY_FILE).map_err(|why| Unreadable {
        path: path.to_owned(),
        why,
    })?;
    Ok(SecretBytes::new(bytes))
}

/// Certificates of the same name beside a key file.
fn beside(path: &Path) -> Result<Vec<Vec<u8>>, Unreadable> {
    let mut found = Vec::new();
    for ending in CERTIFICATE_ENDINGS {
        let file = path.with_extension(ending);
        let read = durable::read_if_present(&file, LARGEST_KEY_FILE);
        found.extend(read.map_err(|why| Unreadable { path: file, why })?);
    }
    Ok(found)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .is_some_and(|end| endings.iter().any(|known| end.eq_ignore_ascii_case(known)))
}
