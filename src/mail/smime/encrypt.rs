//! Encrypting a recovered mail to its person's new certificate, as a whole S/MIME message that OpenSSL and
//! gpgsm open: AES-256-CBC, with RSA or ECDH as the certificate's key wants it.

use super::release_check::{self, CheckError};
use crate::mail::legacy;
use crate::mail::outside;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509;

/// Why a mail could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// Not a certificate.
    #[error("the new certificate is not a readable X.509 certificate; give one in DER or PEM")]
    Certificate(#[source] ErrorStack),
    /// A certificate that only signs.
    #[error(
        "the certificate's key usage does not allow encryption; give the person's encryption certificate"
    )]
    SigningOnly,
    /// OpenSSL cannot encrypt to this key.
    #[error(
        "cannot encrypt to the certificate's key; RSA, elliptic-curve and ML-KEM keys are supported"
    )]
    Encrypt(#[source] ErrorStack),
    /// The result is not what was asked for.
    #[error(transparent)]
    Unchecked(#[from] CheckError),
}

/// Encrypts `message` (a whole RFC 5322 message) to the certificate (DER). The result is a whole message of the type
/// `application/pkcs7-mime; smime-type=enveloped-data`; the mail's own header goes inside with all of it; what
/// [`outside`] lets through stands outside again.
pub fn encrypt_for(certificate: &[u8], message: &[u8]) -> Result<Vec<u8>, EncryptError> {
    legacy::enable();
    let x509 = X509::from_der(certificate).map_err(EncryptError::Certificate)?;
    if !super::chain::may_decrypt(&x509) {
        return Err(EncryptError::SigningOnly);
    }
    let encrypt = || -> Result<Vec<u8>, ErrorStack> {
        let mut recipients = Stack::new()?;
        recipients.push(x509)?;
        let inner = forwarded(message);
        let options = CMSOptions::BINARY;
        CmsContentInfo::encrypt(&recipients, &inner, Cipher::aes_256_cbc(), options)?.to_der()
    };
    let enveloped = encrypt().map_err(EncryptError::Encrypt)?;
    release_check::check(&enveloped, &[certificate])?;
    Ok(wrap(&outside::fields(message), &enveloped))
}

/// The message as one attached message, so that its whole header is kept; it is not a forwarded one (RFC 8551 §3.1).
fn forwarded(message: &[u8]) -> Vec<u8> {
    let head = b"Content-Type: message/rfc822; forwarded=no\r\nContent-Transfer-Encoding: 8bit\r\nContent-Disposition: inline\r\n\r\n";
    [head.as_slice(), message].concat()
}

fn wrap(fields: &[u8], enveloped: &[u8]) -> Vec<u8> {
    let mut message = fields.to_vec();
    message.extend_from_slice(
        b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data;\r\n name=\"smime.p7m\"\r\n\
          Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\n\r\n",
    );
    let encoded = data_encoding::BASE64.encode(enveloped);
    for line in encoded.as_bytes().chunks(76) {
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
    message
}
