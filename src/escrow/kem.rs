//! ML-KEM decapsulation (FIPS 203) for keys that OpenSSL holds: from the seed where there is one, else from the
//! expanded key, which is all that some containers keep (RFC 9935).

use crate::secret::SecretBytes;
use ml_kem::kem::{Decapsulate, Kem, KeyInit};
#[allow(deprecated)] // Expanded keys are deprecated, and were given out all the same.
use ml_kem::{ExpandedKeyEncoding, MlKem512, MlKem768, MlKem1024};
use openssl::pkey::{KeyType, PKey, Private};

/// Whether it is an ML-KEM key.
pub(super) fn is_kem(private: &PKey<Private>) -> bool {
    let kinds = [
        KeyType::ML_KEM_512,
        KeyType::ML_KEM_768,
        KeyType::ML_KEM_1024,
    ];
    kinds.into_iter().any(|kind| private.is_a(kind))
}

/// The shared secret in `ciphertext`; `None` if `private` is no ML-KEM key or the ciphertext has another length.
pub(super) fn decapsulate(private: &PKey<Private>, ciphertext: &[u8]) -> Option<SecretBytes> {
    let shared = if private.is_a(KeyType::ML_KEM_512) {
        with::<MlKem512>(private, ciphertext)
    } else if private.is_a(KeyType::ML_KEM_768) {
        with::<MlKem768>(private, ciphertext)
    } else if private.is_a(KeyType::ML_KEM_1024) {
        with::<MlKem1024>(private, ciphertext)
    } else {
        None
    };
    shared.map(SecretBytes::new)
}

#[allow(deprecated)]
fn with<K>(private: &PKey<Private>, ciphertext: &[u8]) -> Option<Vec<u8>>
where
    K: Kem<DecapsulationKey: KeyInit + Decapsulate + ExpandedKeyEncoding>,
{
    let mut seed = zeroize::Zeroizing::new([0; 64]);
    let has_seed = private
        .seed_into(&mut seed[..])
        .is_ok_and(|length| length == 64);
    let key = if has_seed {
        K::DecapsulationKey::new_from_slice(&seed[..]).ok()?
    } else {
        let expanded = SecretBytes::new(private.raw_private_key().ok()?);
        K::DecapsulationKey::from_expanded_bytes(expanded.expose().try_into().ok()?).ok()?
    };
    let shared = key.decapsulate_slice(ciphertext).ok()?;
    Some(shared.to_vec())
}
