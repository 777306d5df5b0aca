//! `PasswordRecipientInfo` (RFC 3211): the password's key derivation and the wrap.

use super::{Recipient, RecipientError, Way, digest_of, unknown};
use crate::mail::keyops::KeyWrap;
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
    /// How the content key is wrapped.
    pub wrapping: Wrapping,
    /// Length of the key-encryption key.
    pub key_bytes: usize,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
}

/// How a key from a password wraps a content key.
#[derive(Debug)]
pub enum Wrapping {
    /// RFC 3211's own wrap over a cipher in CBC mode.
    Pwri {
        /// OpenSSL's name of the cipher.
        cipher: &'static str,
        /// Its IV.
        iv: Vec<u8>,
    },
    /// A key wrap as other recipients have it (PKI.js writes AES key wrap).
    KeyWrap(KeyWrap),
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
    let Some((wrapping, key_bytes, name)) = wrapping(&algorithm, element)? else {
        let cipher = nested(&algorithm)?;
        return Ok(unknown(&cipher.oid));
    };
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
    let algorithms = vec![format!("PBKDF2-{digest}"), name];
    let way = Way::Password(PasswordWrap {
        salt,
        iterations,
        digest,
        wrapping,
        key_bytes,
        wrapped,
    });
    Ok(Recipient {
        shown,
        algorithms,
        way,
    })
}

/// GnuPG and OpenSSL nest the cipher in id-alg-PWRI-KEK; some name it alone.
fn nested<'a>(algorithm: &Algorithm<'a>) -> Result<Algorithm<'a>, RecipientError> {
    match algorithm.real_parameters() {
        Some(inner) if algorithm.oid == oids::PWRI_KEK => Ok(Algorithm::of(inner)?),
        _ => Ok(*algorithm),
    }
}

/// The wrapping, the length of its key and its name; `None` if it is unknown.
fn wrapping(
    algorithm: &Algorithm<'_>,
    element: &Element<'_>,
) -> Result<Option<(Wrapping, usize, String)>, RecipientError> {
    if let Some((wrap, name)) = super::key_wrap(algorithm) {
        let bytes = usize::from(wrap.kek_bytes());
        return Ok(Some((Wrapping::KeyWrap(wrap), bytes, name.to_owned())));
    }
    let nested = nested(algorithm)?;
    let (known, iv) = if nested.oid.to_string() == RC2_CBC {
        let parameters = nested.real_parameters();
        let parameters = parameters.ok_or(element.unexpected("an IV"))?;
        let mut inside = parameters.inside();
        let version = inside.value("RC2's effective key bits")?.small()?;
        (rc2(version), inside.next().transpose()?)
    } else {
        (password_cipher(&nested.oid), nested.real_parameters())
    };
    let Some((cipher, key_bytes)) = known else {
        return Ok(None);
    };
    let iv = iv.ok_or(element.unexpected("an IV"))?;
    let iv = iv.octet_string()?.into_owned();
    let name = format!("PWRI-{}", ContentCipher::name_of(&nested));
    Ok(Some((Wrapping::Pwri { cipher, iv }, key_bytes, name)))
}

const RC2_CBC: &str = "1.2.840.113549.3.2";

/// RC2 by its effective key bits, in RFC 2268's code.
fn rc2(version: u32) -> Option<(&'static str, usize)> {
    Some(match version {
        160 => ("RC2-40-CBC", 5),
        120 => ("RC2-64-CBC", 8),
        super::RC2_128 => ("RC2-CBC", 16),
        _ => return None,
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
        "1.3.6.1.4.1.3029.1.2" => ("BF-CBC", 16),
        _ => return None,
    })
}

/// `PBKDF2-params`: salt, iterations, digest of the HMAC.
pub fn pbkdf2_parameters(
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
