//! One small secret or value under one key: AES-256-GCM with a random 96-bit nonce.
//!
//! Output: `nonce[12] ‖ ciphertext ‖ tag[16]`. A key may wrap at most 2³² values; ours wrap far fewer.

use crate::secret::{Key, SecretBytes};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

/// What `seal` adds to the plaintext's length.
pub const OVERHEAD: usize = 12 + 16;

/// The ciphertext, key or associated data is not the one that was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("does not open: altered, or sealed under another key")]
pub struct NotAuthentic;

/// Encrypts `plaintext`, bound to `associated`.
///
/// # Panics
/// Never for plaintexts below AES-GCM's 64 GB.
#[must_use]
#[allow(clippy::expect_used)]
pub fn seal(key: &Key, associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let nonce: [u8; 12] = super::random::bytes();
    let payload = Payload {
        msg: plaintext,
        aad: associated,
    };
    let sealed = cipher(key)
        .encrypt(&Nonce::from(nonce), payload)
        .expect("the plaintext is shorter than AES-GCM's limit");
    let mut out = Vec::with_capacity(12 + sealed.len());
    out.extend(nonce);
    out.extend(sealed);
    out
}

/// Decrypts what [`seal`] made with the same key and `associated`.
pub fn open(key: &Key, associated: &[u8], sealed: &[u8]) -> Result<SecretBytes, NotAuthentic> {
    let (nonce, body) = sealed.split_first_chunk::<12>().ok_or(NotAuthentic)?;
    let payload = Payload {
        msg: body,
        aad: associated,
    };
    cipher(key)
        .decrypt(&Nonce::from(*nonce), payload)
        .map(SecretBytes::new)
        .map_err(|_| NotAuthentic)
}

/// As [`open`], where the plaintext is a key.
pub fn open_key(key: &Key, associated: &[u8], sealed: &[u8]) -> Result<Key, NotAuthentic> {
    let bytes = open(key, associated, sealed)?;
    Key::from_slice(bytes.expose()).ok_or(NotAuthentic)
}

fn cipher(key: &Key) -> Aes256Gcm {
    Aes256Gcm::new(key.expose().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_altered_bit_is_noticed() {
        let key = crate::crypto::random::key();
        let sealed = seal(&key, b"place", b"secret");
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert_eq!(
            open(&key, b"place", &sealed).expect("opens").expose(),
            b"secret"
        );
        assert!(open(&key, b"elsewhere", &sealed).is_err());
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, b"place", &altered).is_err());
        }
        assert!(open(&key, b"place", &sealed[..11]).is_err());
    }
}
