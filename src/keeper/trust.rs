//! The operator's folder of certificates: `trust/anchors`, `trust/certificates`, `trust/crls` (CRLs in PEM or
//! DER, OCSP responses in DER) and `trust/openpgp` (armored or binary). A file that cannot be read is named in the log and left out.

use crate::durable::{self, FileError};
use crate::mail::context::{OpenPgpCertificate, Trust};
use openssl::ocsp::OcspResponse;
use openssl::x509::{X509, X509Crl};
use std::path::Path;

const LARGEST: u64 = 64 << 20;

/// Reads the folder; what is absent is empty.
pub fn load(folder: &Path) -> Result<Trust, FileError> {
    let mut trust = Trust::default();
    for file in files(&folder.join("anchors"))? {
        trust.anchors.extend(certificates(&file));
    }
    for file in files(&folder.join("certificates"))? {
        trust.certificates.extend(certificates(&file));
    }
    for file in files(&folder.join("crls"))? {
        if OcspResponse::from_der(&file).is_ok() {
            trust.ocsp.push(file.into());
        } else {
            trust.crls.extend(crls(&file));
        }
    }
    for bytes in files(&folder.join("openpgp"))? {
        let bytes = dearmored(bytes);
        trust.openpgp.push(OpenPgpCertificate {
            bytes,
            source: "directory".to_owned(),
        });
    }
    Ok(trust)
}

fn files(folder: &Path) -> Result<Vec<Vec<u8>>, FileError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(durable::at("read", folder)(error)),
    };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| durable::read(path, LARGEST))
        .collect()
}

fn certificates(file: &[u8]) -> Vec<serde_bytes::ByteBuf> {
    let parsed = X509::stack_from_pem(file)
        .ok()
        .filter(|found| !found.is_empty())
        .or_else(|| X509::from_der(file).ok().map(|one| vec![one]));
    if parsed.is_none() {
        tracing::warn!("a file in the trust folder holds no certificate and is left out");
    }
    parsed
        .unwrap_or_default()
        .iter()
        .filter_map(|one| one.to_der().ok())
        .map(Into::into)
        .collect()
}

fn crls(file: &[u8]) -> Option<serde_bytes::ByteBuf> {
    let parsed = X509Crl::from_pem(file).or_else(|_| X509Crl::from_der(file));
    if parsed.is_err() {
        tracing::warn!("a file in the trust folder holds no revocation list and is left out");
    }
    parsed.ok()?.to_der().ok().map(Into::into)
}

fn dearmored(bytes: Vec<u8>) -> Vec<u8> {
    use sequoia_openpgp::parse::Parse;
    use sequoia_openpgp::serialize::Serialize;
    let mut out = Vec::new();
    match sequoia_openpgp::Cert::from_bytes(&bytes) {
        Ok(cert) if cert.serialize(&mut out).is_ok() => out,
        _ => bytes,
    }
}
