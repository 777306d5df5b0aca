//! The corpus of real mail, where it is present: every bare CMS object in it.

use super::{Ring, open_with};
use crate::escrow::smime_key::load;
use crate::mail::context::Trust;
use crate::mail::keyops::KeyOps;
use crate::mail::smime::decode_container;
use std::path::{Path, PathBuf};

struct Row {
    source: PathBuf,
    fields: Vec<String>,
}

impl Row {
    fn get(&self, at: usize) -> &str {
        self.fields.get(at).map_or("", String::as_str)
    }

    fn ring(&self) -> Ring {
        let passphrase = self.get(3);
        let mut ring = Ring {
            passphrases: vec![passphrase.to_owned()],
            ..Ring::default()
        };
        for path in self
            .get(2)
            .split([' ', ',', ';'])
            .filter(|path| !path.is_empty())
        {
            let path = self.source.join(path);
            let Ok(bytes) = std::fs::read(&path) else {
                continue;
            };
            let beside = neighbours(&path);
            let passphrases = ring.passphrases();
            ring.keys.extend(
                load(&bytes, &passphrases, &beside)
                    .named
                    .into_iter()
                    .filter_map(Result::ok),
            );
        }
        ring
    }
}

/// Certificates that lie in the folder of a key.
fn neighbours(key: &Path) -> Vec<openssl::x509::X509> {
    let folder = key
        .parent()
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = folder
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    let read = files
        .filter_map(|path| std::fs::read(path).ok())
        .filter(|bytes| bytes.len() < 100_000);
    read.flat_map(|bytes| match openssl::x509::X509::from_der(&bytes) {
        Ok(certificate) => vec![certificate],
        Err(_) => openssl::x509::X509::stack_from_pem(&bytes).unwrap_or_default(),
    })
    .collect()
}

fn rows() -> Option<Vec<Row>> {
    let corpus = PathBuf::from(std::env::var_os("STRONGROOM_CORPUS")?);
    let mut rows = Vec::new();
    for source in std::fs::read_dir(corpus).unwrap().filter_map(Result::ok) {
        let Ok(manifest) = std::fs::read_to_string(source.path().join("manifest.tsv")) else {
            continue;
        };
        rows.extend(manifest.lines().skip(1).map(|line| Row {
            source: source.path(),
            fields: line.split('\t').map(str::to_owned).collect(),
        }));
    }
    Some(rows)
}

/// Peels all nested CMS objects; the report is in the manifest's words.
fn peel(ring: &Ring, bytes: &[u8]) -> (Vec<String>, Option<String>) {
    let mut said = Vec::new();
    let mut current = bytes.to_vec();
    for _ in 0..5 {
        match open_with(ring, &Trust::default(), &current, None) {
            Ok(opened) => {
                let layer = &opened.layers[0];
                let math: Vec<_> = opened
                    .signatures
                    .iter()
                    .map(|s| format!("{:?}({})", s.math, s.reason))
                    .collect();
                said.push(format!(
                    "{} {:?} {:?} {}",
                    layer.kind,
                    layer.outcome,
                    layer.algorithms,
                    math.join(",")
                ));
                if !opened.inner_is_cms {
                    let digest = layer
                        .plaintext_lf_sha256
                        .map(|digest| digest.to_string()[..16].to_owned());
                    return (said, digest);
                }
                current = opened.plaintext;
            }
            Err(unopened) => {
                said.push(format!(
                    "{} {}",
                    unopened.layers[0].kind,
                    unopened.layers[0].reason.clone().unwrap()
                ));
                return (said, None);
            }
        }
    }
    (said, None)
}

#[test]
fn corpus_raw_cms() {
    let Some(rows) = rows() else {
        eprintln!("skipped: STRONGROOM_CORPUS does not name the unpacked corpus");
        return;
    };
    let mut wrong = Vec::new();
    let mut checked = 0;
    for row in rows.iter().filter(|row| row.get(7) == "raw-cms") {
        let Ok(bytes) = std::fs::read(row.source.join(row.get(0))) else {
            continue;
        };
        let Some(container) = decode_container(&bytes) else {
            println!("no container: {} {} {}", row.get(0), row.get(1), row.get(4));
            continue;
        };
        let (said, digest) = peel(&row.ring(), &container);
        println!("{} expected {:?}: {said:?}", row.get(0), row.get(4));
        if row.get(4).starts_with("decrypts") {
            checked += 1;
            let stated = Some(row.get(14)).filter(|digest| !digest.is_empty());
            if digest.is_none() || stated.is_some_and(|stated| digest.as_deref() != Some(stated)) {
                wrong.push(row.get(0).to_owned());
            }
        }
    }
    assert!(checked > 0);
    assert_eq!(wrong, Vec::<String>::new());
}
