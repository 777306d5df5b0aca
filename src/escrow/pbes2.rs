//! Decryption under a passphrase by PBES2 (RFC 8018), given the very octets of the passphrase.

use super::rounds;
use crate::mail::digest;
use crate::mail::smime::algorithm::Algorithm;
use crate::mail::smime::ber::{Chunks, Element};
use crate::mail::smime::content::ContentCipher;
use crate::mail::smime::oids;
use crate::mail::smime::recipient::pbkdf2_parameters;
use crate::secret::SecretBytes;

const PBES2: &str = "1.2.840.113549.1.5.13";

/// The plaintext, if `algorithm` is PBES2 with PBKDF2 and `octets` are the passphrase's.
pub(super) fn decrypt(
    algorithm: &Algorithm<'_>,
    ciphertext: &Chunks<'_>,
    octets: &[u8],
) -> Option<SecretBytes> {
    let parameters = algorithm.real_parameters()?;
    let mut inside = parameters.inside();
    let derivation = Algorithm::read(&mut inside).ok()?;
    let cipher = Algorithm::read(&mut inside).ok()?;
    if algorithm.oid.to_string() != PBES2 || derivation.oid != oids::PBKDF2 {
        return None;
    }
    let cipher = ContentCipher::of(&cipher).ok()?;
    let length = cipher.random_key().expose().len();
    let key = derive(&derivation.real_parameters()?, octets, length)?;
    let plaintext = cipher.decrypt(key.expose(), ciphertext, None, &[]);
    plaintext.ok().map(SecretBytes::new)
}

fn derive(parameters: &Element<'_>, octets: &[u8], length: usize) -> Option<SecretBytes> {
    let (salt, asked, digest) = pbkdf2_parameters(parameters).ok()?;
    let digest = digest::named(digest)?;
    let affordable = (1..=rounds::MOST).contains(&u64::from(asked));
    let mut key = vec![0; length];
    let derived = affordable
        .then(|| openssl::pkcs5::pbkdf2_hmac(octets, &salt, asked as usize, digest, &mut key))?;
    derived.is_ok().then(|| SecretBytes::new(key))
}
