//! `PasswordRecipientInfo` (RFC 3211): the password's key derivation and the wrap.

use super::{Recipient, RecipientError, Way, digest_of, unknown};
use crate::mail::smime::algorithm::Algorithm;
use crate::mail::smime::ber::{Element, tag};
use crate::mail::smime::content::ContentCipher;
use crate::mail::smime::oids;
use const_oid::ObjectIdentifier;

/// `PasswordRecipientInfo` (RFC 3211).
#[derive(Debug)]
pub struct PasswordWrap {
    /// PBKDF2 salt; `None` if the key-encryption key is given directly.
    pub salt: Option<Vec<u8>>,
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// PBKDF2 digest.
    pub digest: &'static str,
    /// OpenSSL's name of the key-encryption cipher.
    pub cipher: &'static str,
    /// Length of the key-encryption key.
    pub key_bytes: usize,
    /// IV of the key-encryption cipher.
    pub iv: Vec<u8>,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
}

/// Reads a `PasswordRecipientInfo`.
pub(super) fn read(element: &Element<'_>) -> Result<Recipient, RecipientError> {
    let mut inside = element.inside();
    inside.expect(tag::INTEGER, "a version")?;
    let derivation = inside
        .optional(tag::context(0))?
        .map(Algorithm::of)
        .transpose()?;
    let algorithm = Algorithm::read(&mut inside)?;
    let wrapped = inside
        .value("an encrypted key")?
        .octet_string()?
        .into_owned();
    let shown = "password".to_owned();
    let unknown = |what: &ObjectIdentifier| {
        let (name, way) = unknown("password recipient with", what);
        Recipient {
            shown: shown.clone(),
            algorithms: vec![name],
            way,
        }
    };
    // GnuPG and OpenSSL nest the cipher in id-alg-PWRI-KEK; some name it alone.
    let cipher = match algorithm.real_parameters() {
        Some(inner) if algorithm.oid == oids::PWRI_KEK => Algorithm::of(inner)?,
        _ => algorithm,
    };
    let Some((name, key_bytes)) = password_cipher(&cipher.oid) else {
        return Ok(unknown(&cipher.oid));
    };
    let iv = cipher
        .real_parameters()
        .ok_or(element.unexpected("an IV"))?
        .octet_string()?
        .into_owned();
    let (salt, iterations, digest) = match derivation {
        None => (None, 0, "SHA-1"),
        Some(derivation) if derivation.oid == oids::PBKDF2 => {
            let parameters = derivation.real_parameters();
            let parameters = parameters.ok_or(element.unexpected("PBKDF2 parameters"))?;
            let (salt, iterations, digest) = pbkdf2_parameters(&parameters)?;
            (Some(salt), iterations, digest)
        }
        Some(derivation) => return Ok(unknown(&derivation.oid)),
    };
    let algorithms = vec![
        format!("PBKDF2-{digest}"),
        format!("PWRI-{}", ContentCipher::name_of(&cipher)),
    ];
    let way = Way::Password(PasswordWrap {
        salt,
        iterations,
        digest,
        cipher: name,
        key_bytes,
        iv,
        wrapped,
    });
    Ok(Recipient {
        shown,
        algorithms,
        way,
    })
}

/// Ciphers of password wraps: OpenSSL's name and the key length.
fn password_cipher(oid: &ObjectIdentifier) -> Option<(&'static str, usize)> {
    Some(match oid.to_string().as_str() {
        "2.16.840.1.101.3.4.1.2" => ("AES-128-CBC", 16),
        "2.16.840.1.101.3.4.1.22" => ("AES-192-CBC", 24),
        "2.16.840.1.101.3.4.1.42" => ("AES-256-CBC", 32),
        "1.2.840.113549.3.7" => ("DES-EDE3-CBC", 24),
        "1.3.14.3.2.7" => ("DES-CBC", 8),
        "1.2.392.200011.61.1.1.1.2" => ("CAMELLIA-128-CBC", 16),
        "1.2.392.200011.61.1.1.1.3" => ("CAMELLIA-192-CBC", 24),
        "1.2.392.200011.61.1.1.1.4" => ("CAMELLIA-256-CBC", 32),
        "1.2.840.113533.7.66.10" => ("CAST5-CBC", 16),
        "1.2.410.200004.1.4" => ("SEED-CBC", 16),
        _ => return None,
    })
}

/// `PBKDF2-params`: salt, iterations, digest of the HMAC.
fn pbkdf2_parameters(
    parameters: &Element<'_>,
) -> Result<(Vec<u8>, u32, &'static str), RecipientError> {
    let mut inside = parameters.inside();
    let salt = inside.value("a salt")?.octet_string()?.into_owned();
    let iterations = inside.value("an iteration count")?.small()?;
    inside.optional(tag::INTEGER)?;
    let digest = match inside.optional(tag::SEQUENCE)? {
        Some(prf) => digest_of(&Algorithm::of(prf)?.oid)?,
        None => "SHA-1",
    };
    Ok((salt, iterations, digest))
}
