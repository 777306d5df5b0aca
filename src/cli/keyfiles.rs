//! Keys, certificates and passphrases from files and directories, for commands that take them as paths.

use super::gnupg;
use crate::escrow::openpgp_key::{
    certificates_in, is_agent_file, joined_agent_files, x509_in_keybox,
};
use crate::escrow::{
    self, Certificates, Loaded, keyholder::Keyholder, smime_load::certificates_in_pem,
};
use crate::mail::context::{OpenPgpCertificate, Trust};
use crate::mail::smime::ber::Element;
use crate::secret::SecretBytes;
use openssl::ocsp::OcspResponse;
use openssl::pkcs7::Pkcs7;
use openssl::x509::{X509, X509Crl};
use serde_bytes::ByteBuf;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest file that is looked at for keys and certificates.
const MAX_FILE: u64 = 64 << 20;
/// Deepest directory below a given one.
const MAX_DEPTH: u32 = 8;

/// A path that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What the key and certificate paths held.
pub struct KeyFiles {
    /// The private keys.
    pub keys: Keyholder,
    /// Certificates and anchors.
    pub trust: Trust,
    /// Notes for the person: files named directly that gave nothing, and why.
    pub notes: Vec<String>,
}

/// Reads everything. A self-signed certificate counts as a trust anchor: the person vouches for what they name.
/// Files in a directory that are no keys are passed over in silence.
pub fn read(
    keys: &[PathBuf],
    certs: &[PathBuf],
    passphrases: Vec<SecretBytes>,
) -> Result<KeyFiles, Unreadable> {
    let (mut trust, mut notes) = (Trust::default(), Vec::new());
    for path in certs {
        for file in files(path)? {
            let before = pieces(&trust);
            add_certificates(&plain_content(&file)?, &mut trust);
            if path.is_file() && pieces(&trust) == before {
                let what = "neither a certificate nor a CRL or OCSP response is in it";
                notes.push(format!("nothing taken from {}: {what}", file.display()));
            }
        }
    }
    let mut contents = Vec::new();
    for path in keys {
        for file in files(path)? {
            let bytes = plain_content(&file)?;
            contents.push((file, path.is_file(), bytes));
        }
    }
    let certificates = certificates(&trust, &contents);
    let (agent_files, key_files): (Vec<_>, Vec<_>) = contents
        .into_iter()
        .partition(|(_, _, bytes)| is_agent_file(bytes));
    let mut loads = Vec::new();
    for (file, named, bytes) in &key_files {
        let loaded = escrow::load(bytes, &passphrases, &certificates);
        if *named {
            notes.extend(note(file, &loaded));
        }
        loads.push(loaded);
    }
    if !agent_files.is_empty() {
        let loaded = load_agent_files(&agent_files, &passphrases, certificates);
        if let Some((file, ..)) = agent_files.iter().find(|(_, named, _)| *named) {
            notes.extend(note(file, &loaded));
        }
        loads.push(loaded);
    }
    let mut holder = Keyholder::with_passphrases(passphrases);
    loads
        .into_iter()
        .for_each(|loaded| holder.add_loaded(loaded));
    for key in holder.keys().filter(|key| key.info().format == "OpenPGP") {
        trust.openpgp.push(OpenPgpCertificate {
            bytes: key.info().certificate.clone(),
            source: "escrow".into(),
        });
    }
    Ok(KeyFiles {
        keys: holder,
        trust,
        notes,
    })
}

type KeyFile = (PathBuf, bool, Zeroizing<Vec<u8>>);

fn certificates(trust: &Trust, contents: &[KeyFile]) -> Certificates {
    let given = trust.anchors.iter().chain(&trust.certificates);
    let mut x509: Vec<X509> = given.filter_map(|der| X509::from_der(der).ok()).collect();
    x509.extend(contents.iter().flat_map(|(_, _, bytes)| x509_in(bytes)));
    let given = trust.openpgp.iter().map(|given| given.bytes.clone());
    let beside = contents
        .iter()
        .flat_map(|(_, _, bytes)| certificates_in(bytes));
    Certificates {
        x509,
        openpgp: given.chain(beside).collect(),
    }
}

/// GnuPG's agent keeps each key in a file of its own and no names: all are read together, with the certificates that
/// lie where GnuPG has them.
fn load_agent_files(
    files: &[KeyFile],
    passphrases: &[SecretBytes],
    mut certificates: Certificates,
) -> Loaded {
    let nearby = gnupg::certificates_near(files.iter().map(|(file, ..)| file.as_path()));
    certificates
        .openpgp
        .extend(nearby.iter().flat_map(|bytes| certificates_in(bytes)));
    certificates
        .x509
        .extend(nearby.iter().flat_map(|bytes| x509_in(bytes)));
    let joined = joined_agent_files(files.iter().map(|(_, _, bytes)| bytes.as_slice()));
    escrow::load(joined.expose(), passphrases, &certificates)
}

/// Why a file that was named gave no key.
fn note(file: &Path, loaded: &Loaded) -> Option<String> {
    if !loaded.keys.is_empty() || !loaded.nameless.is_empty() {
        return None;
    }
    let why: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    let why = if why.is_empty() {
        "no private key in it".to_owned()
    } else {
        why.join("; ")
    };
    Some(format!("no key taken from {}: {why}", file.display()))
}

/// One passphrase a line; empty lines are left out, and the byte order mark that Windows puts before the first.
pub fn passphrases(path: &Path) -> Result<Vec<SecretBytes>, Unreadable> {
    let bytes = content(path)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(|line| SecretBytes::new(line.to_vec()))
        .collect())
}

/// The content as it was before text software came by.
fn plain_content(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let bytes = content(path)?;
    let plain = escrow::plain(&bytes).map(|plain| Zeroizing::new(plain.expose().to_vec()));
    Ok(plain.unwrap_or(bytes))
}

fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| Unreadable {
            path: path.to_owned(),
            source,
        })
}

/// The path itself, or all files of reasonable size below it, sorted.
fn files(path: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let unreadable = |source| Unreadable {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    collect(path, MAX_DEPTH, &mut found).map_err(unreadable)?;
    found.sort();
    Ok(found)
}

fn collect(directory: &Path, depth: u32, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(about) = fs::metadata(entry.path()) else {
            continue;
        };
        if about.is_dir() && depth > 0 {
            collect(&entry.path(), depth - 1, found)?;
        } else if about.is_file() && about.len() <= MAX_FILE {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// How much of all kinds is there.
fn pieces(trust: &Trust) -> usize {
    let x509 = trust.anchors.len() + trust.certificates.len();
    x509 + trust.crls.len() + trust.ocsp.len() + trust.openpgp.len()
}

fn add_certificates(bytes: &[u8], trust: &mut Trust) {
    for certificate in x509_in(bytes) {
        let Ok(der) = certificate.to_der() else {
            continue;
        };
        let own_issuer = certificate.issued(&certificate) == openssl::x509::X509VerifyResult::OK;
        let list = if own_issuer {
            &mut trust.anchors
        } else {
            &mut trust.certificates
        };
        list.push(ByteBuf::from(der));
    }
    trust
        .crls
        .extend(crls_in(bytes).into_iter().map(ByteBuf::from));
    if OcspResponse::from_der(bytes).is_ok() {
        trust.ocsp.push(ByteBuf::from(bytes.to_vec()));
    }
    for bytes in certificates_in(bytes) {
        trust.openpgp.push(OpenPgpCertificate {
            bytes,
            source: "directory".into(),
        });
    }
}

/// The certificates in a file: DER (one, or several end to end as gpgsm exports them), PKCS#7 bundles, GnuPG's keybox,
/// PEM.
pub(super) fn x509_in(bytes: &[u8]) -> Vec<X509> {
    let ways = [x509_in_der, x509_in_bundle, x509_boxed, x509_in_pem];
    let found = ways.iter().map(|way| way(bytes));
    found
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn x509_in_pem(bytes: &[u8]) -> Vec<X509> {
    certificates_in_pem(bytes)
}

fn x509_in_bundle(bytes: &[u8]) -> Vec<X509> {
    let bundle = Pkcs7::from_der(bytes).or_else(|_| Pkcs7::from_pem(bytes));
    let bundle = bundle.ok();
    let certificates = bundle.as_ref().and_then(|bundle| {
        let signed = bundle.signed()?;
        signed.certificates()
    });
    let certificates = certificates.into_iter().flatten();
    certificates.map(ToOwned::to_owned).collect()
}

fn x509_boxed(bytes: &[u8]) -> Vec<X509> {
    let keybox = x509_in_keybox(bytes).into_iter();
    keybox.filter_map(|der| X509::from_der(&der).ok()).collect()
}

fn x509_in_der(mut bytes: &[u8]) -> Vec<X509> {
    let mut found = Vec::new();
    while let Ok((element, rest)) = Element::split(bytes) {
        let Ok(certificate) = X509::from_der(element.raw) else {
            break;
        };
        found.push(certificate);
        bytes = rest;
    }
    found
}

fn crls_in(bytes: &[u8]) -> Vec<Vec<u8>> {
    let crl = X509Crl::from_der(bytes).or_else(|_| X509Crl::from_pem(bytes));
    crl.and_then(|crl| crl.to_der()).into_iter().collect()
}
