//! Keys on their way into escrow and back out of its files.

use super::{KeyProblem, UserKey, backup, is_openpgp, openpgp_key, plain, smime_key, smime_load};
use crate::secret::SecretBytes;
use openssl::x509::X509;

/// Reads every key of a container that the escrow takes: proven to decrypt, OpenPGP reduced to its encryption
/// subkeys, pure signing keys refused.
#[must_use]
pub fn load_for_escrow(
    bytes: &[u8],
    passphrases: &[SecretBytes],
    certificates: &[Vec<u8>],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    let plain = plain(bytes);
    let bytes = plain.as_ref().map_or(bytes, SecretBytes::expose);
    let backup = match backup::opened(bytes, passphrases) {
        Ok(backup) => backup,
        Err(problem) => return vec![Err(problem)],
    };
    let bytes = backup.as_ref().map_or(bytes, SecretBytes::expose);
    let is_agents = openpgp_key::is_agent_file(bytes);
    if !is_agents && is_openpgp(bytes) {
        return openpgp_key::load_for_escrow(bytes, passphrases);
    }
    let x509: Vec<X509> = certificates
        .iter()
        .flat_map(|file| certificates_in(file))
        .collect();
    let (loaded, mut results) = if is_agents {
        let keys = openpgp_key::agent_pkeys(bytes, passphrases, &x509);
        (
            smime_load::named(&keys, &x509),
            agent_openpgp(bytes, passphrases, certificates, &x509),
        )
    } else {
        let loaded = smime_load::load(bytes, passphrases, &x509).named;
        (loaded, Vec::new())
    };
    results.extend(loaded.into_iter().map(|result| result.and_then(escrowable)));
    results
}

fn agent_openpgp(
    bytes: &[u8],
    passphrases: &[SecretBytes],
    certificates: &[Vec<u8>],
    x509: &[X509],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    let certificates: Vec<Vec<u8>> = certificates
        .iter()
        .flat_map(|file| openpgp_key::certificates_in(file))
        .collect();
    openpgp_key::load_agent_file_for_escrow(bytes, passphrases, &certificates, x509)
}

/// The X.509 certificates in a file, PEM or DER, one or a bundle.
#[must_use]
pub fn certificates_in(file: &[u8]) -> Vec<X509> {
    let plain = plain(file);
    let file = plain.as_ref().map_or(file, SecretBytes::expose);
    let pem = smime_load::certificates_in_pem(file);
    if pem.is_empty() {
        smime_load::certificates_in_der(file)
    } else {
        pem
    }
}

/// The X.509 certificates in a file that has no key, also where a passphrase locks them up (PKCS#12).
#[must_use]
pub fn certificates_alone(file: &[u8], passphrases: &[SecretBytes]) -> Vec<X509> {
    let bare = certificates_in(file);
    if bare.is_empty() {
        smime_load::certificates_in_container(file, passphrases)
    } else {
        bare
    }
}

/// Refuses an S/MIME key that no certificate names, and one that only signs.
pub fn escrowable(key: Box<dyn UserKey>) -> Result<Box<dyn UserKey>, KeyProblem> {
    if key.info().certificate.is_empty() {
        return Err(KeyProblem::NoCertificate);
    }
    smime_key::escrow_check(&key.info().certificate)?;
    Ok(key)
}

/// A key in the form that [`UserKey::to_secret_bytes`] gave, by its format's name.
pub fn from_secret_bytes(format: &str, bytes: &[u8]) -> Result<Box<dyn UserKey>, KeyProblem> {
    match format {
        "S/MIME" => Ok(Box::new(smime_key::SmimeKey::from_secret_bytes(bytes)?)),
        "OpenPGP" => {
            let found = openpgp_key::load(bytes, &[]).into_iter().next();
            found.unwrap_or_else(|| Err(KeyProblem::Unreadable("no key".to_owned())))
        }
        other => Err(KeyProblem::Unsupported(other.to_owned())),
    }
}
