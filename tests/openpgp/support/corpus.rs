//! The manifests of the corpus of real encrypted mail.

use std::path::{Path, PathBuf};

/// One row of a `manifest.tsv`.
pub struct Row {
    /// Name of the source's folder.
    pub source: String,
    /// The source's folder.
    pub folder: PathBuf,
    /// The file, below the folder.
    pub path: String,
    pub keys: String,
    pub passphrase: String,
    pub expected: String,
    pub container: String,
    /// First 16 hex digits of the plaintext's SHA-256 after CRLF → LF; empty if not known.
    pub plaintext_lf: String,
}

impl Row {
    pub fn file(&self) -> PathBuf {
        self.folder.join(&self.path)
    }

    pub fn key_files(&self) -> Vec<PathBuf> {
        self.keys
            .split([';', ',', ' '])
            .filter(|key| key.contains('/'))
            .map(|key| self.folder.join(key))
            .collect()
    }
}

/// All rows of all sources, by name.
pub fn rows(corpus: &Path) -> Vec<Row> {
    let mut folders: Vec<_> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    folders
        .into_iter()
        .flat_map(|folder| rows_of(&folder))
        .collect()
}

fn rows_of(folder: &Path) -> Vec<Row> {
    let manifest = std::fs::read(folder.join("manifest.tsv")).unwrap_or_default();
    let manifest = String::from_utf8_lossy(&manifest).into_owned();
    let mut lines = manifest.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let field = |name: &str| {
            let at = header.iter().position(|column| *column == name);
            at.and_then(|at| fields.get(at))
                .map(|field| (*field).to_owned())
                .unwrap_or_default()
        };
        Row {
            source: folder.file_name().unwrap().to_string_lossy().into_owned(),
            folder: folder.to_owned(),
            path: field("path"),
            keys: field("keys"),
            passphrase: field("passphrase"),
            expected: field("expected"),
            container: field("container"),
            plaintext_lf: field("plaintext_lf_sha256_16"),
        }
    };
    lines.map(row).collect()
}
