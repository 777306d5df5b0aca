//! What `escrow add` brings in one go: mostly one file, but the key files of GnuPG's agent together, because one
//! certificate has its keys in several of them.

use super::failure::Failure;
use super::gnupg;
use crate::durable;
use crate::escrow::openpgp_key::{is_agent_file, joined_agent_files, naming};
use crate::secret::SecretBytes;
use std::path::{Path, PathBuf};

/// Largest file that is read for keys.
pub const LARGEST_KEY_FILE: u64 = 16 << 20;
/// File name endings of certificates that may stand beside a key.
const CERTIFICATE_ENDINGS: [&str; 3] = ["crt", "cer", "cert"];

/// Keys that are offered together, with the certificates that name them.
pub struct KeyOffer {
    /// What is shown: the file, or the folder of several.
    pub path: PathBuf,
    /// The files.
    pub files: Vec<PathBuf>,
    /// Their content.
    pub keys: SecretBytes,
    /// Certificates from beside.
    pub certificates: Vec<Vec<u8>>,
}

/// All offers in these files and folders. Of a GnuPG home its private keys are taken and nothing else.
pub fn offers(paths: &[PathBuf]) -> Result<Vec<KeyOffer>, Failure> {
    let mut offers = Vec::new();
    for path in paths {
        if !path.is_dir() {
            offers.extend(of_files(path, vec![path.clone()])?);
        } else if let Some(folder) = gnupg::agent_folder(path) {
            offers.extend(of_files(&folder, files_in(&folder)?)?);
            let old = path.join("secring.gpg");
            if old.is_file() {
                offers.extend(of_files(&old, vec![old.clone()])?);
            }
        } else {
            offers.extend(of_files(path, files_in(path)?)?);
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
        .filter(|path| path.is_file() && !has_ending(path, &CERTIFICATE_ENDINGS))
        .filter(|path| !has_ending(path, &["csv"]))
        .collect();
    files.sort();
    Ok(files)
}

fn of_files(path: &Path, files: Vec<PathBuf>) -> Result<Vec<KeyOffer>, Failure> {
    let mut offers = Vec::new();
    let mut agent_files: Vec<(PathBuf, SecretBytes)> = Vec::new();
    for file in files {
        let keys = SecretBytes::new(durable::read(&file, LARGEST_KEY_FILE)?);
        if is_agent_file(keys.expose()) {
            agent_files.push((file, keys));
            continue;
        }
        offers.push(KeyOffer {
            certificates: beside(&file)?,
            path: file.clone(),
            files: vec![file],
            keys,
        });
    }
    if !agent_files.is_empty() {
        let keys = joined_agent_files(agent_files.iter().map(|(_, keys)| keys.expose()));
        let files: Vec<PathBuf> = agent_files.into_iter().map(|(file, _)| file).collect();
        let nearby = gnupg::certificates_near(files.iter().map(PathBuf::as_path));
        offers.push(KeyOffer {
            path: path.to_owned(),
            certificates: naming(keys.expose(), &nearby),
            files,
            keys,
        });
    }
    Ok(offers)
}

/// Certificates of the same name beside a key file.
fn beside(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let mut found = Vec::new();
    for ending in CERTIFICATE_ENDINGS {
        found.extend(durable::read_if_present(
            &path.with_extension(ending),
            LARGEST_KEY_FILE,
        )?);
    }
    Ok(found)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .is_some_and(|end| endings.iter().any(|known| end.eq_ignore_ascii_case(known)))
}
