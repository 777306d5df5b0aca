//! Where GnuPG keeps what belongs together: private keys in `private-keys-v1.d`, their certificates in the folder above.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest file that is looked at for certificates.
const MAX_FILE: u64 = 64 << 20;
/// Most files that are looked at.
const MAX_FILES: usize = 1024;
/// File name endings of certificates and rings.
const ENDINGS: [&str; 10] = [
    "kbx", "db", "gpg", "pgp", "asc", "pub", "crt", "cer", "der", "pem",
];

/// The files with certificates that lie near key files of GnuPG's agent: in their folder, the folder above, and the folders
/// beside. What cannot be read is passed over.
pub fn certificates_near<'a>(key_files: impl IntoIterator<Item = &'a Path>) -> Vec<Vec<u8>> {
    let mut folders = BTreeSet::new();
    for file in key_files {
        let folder = file.canonicalize().ok().and_then(|file| parent(&file));
        let Some(folder) = folder else { continue };
        if let Some(above) = parent(&folder) {
            folders.extend(entries(&above).filter(|entry| entry.is_dir()));
            folders.insert(above);
        }
        folders.insert(folder);
    }
    folders
        .iter()
        .flat_map(|folder| entries(folder))
        .filter(|file| is_ring(file))
        .take(MAX_FILES)
        .filter_map(|file| fs::read(file).ok())
        .collect()
}

/// The folder of agent keys in a GnuPG home.
pub fn agent_folder(home: &Path) -> Option<PathBuf> {
    Some(home.join("private-keys-v1.d")).filter(|folder| folder.is_dir())
}

fn parent(path: &Path) -> Option<PathBuf> {
    path.parent().map(Path::to_owned)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn is_ring(file: &Path) -> bool {
    let named = file
        .extension()
        .is_some_and(|end| ENDINGS.iter().any(|known| end.eq_ignore_ascii_case(known)));
    named && fs::metadata(file).is_ok_and(|about| about.is_file() && about.len() <= MAX_FILE)
}
