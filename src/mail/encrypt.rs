//! Encrypting a mail to a certificate of either kind, for recovery.

use super::{openpgp, smime};
use openssl::x509::X509;

/// Why a mail could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum CannotEncrypt {
    /// To an S/MIME certificate.
    #[error(transparent)]
    Smime(#[from] smime::encrypt::EncryptError),
    /// To an OpenPGP certificate.
    #[error(transparent)]
    OpenPgp(#[from] openpgp::CannotEncrypt),
}

/// Encrypts `message` (RFC 5322) to `certificate`: DER for S/MIME, else OpenPGP, binary or armored.
pub fn encrypt_for(certificate: &[u8], message: &[u8]) -> Result<Vec<u8>, CannotEncrypt> {
    if X509::from_der(certificate).is_ok() {
        return Ok(smime::encrypt::encrypt_for(certificate, message)?);
    }
    Ok(openpgp::encrypt_for(certificate, message)?)
}
