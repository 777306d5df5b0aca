//! Randomness: the kernel's, mixed with what the TPM gave at start.
//!
//! Every request reads fresh bytes with `getrandom`. Once [`stir`] has been called, the output is
//! HKDF-SHA256(salt = the TPM's bytes, ikm = the kernel's bytes), so it is good if either is.

use crate::secret::Key;
use hkdf::Hkdf;
use sha2::Sha256;
use std::sync::OnceLock;
use zeroize::Zeroizing;

static STIRRED: OnceLock<Key> = OnceLock::new();

/// Mixes `entropy` (from `TPM2_GetRandom`) into all later output of this process. Later calls change nothing.
pub fn stir(entropy: &[u8; 32]) {
    let _ = STIRRED.set(Key::copy_from(entropy));
}

/// Fills `place` with random bytes.
///
/// # Panics
/// If the kernel gives no randomness: no key made without it may ever be used.
#[allow(clippy::expect_used)]
pub fn fill(place: &mut [u8]) {
    let mut fresh = Zeroizing::new([0u8; 32]);
    for chunk in place.chunks_mut(32) {
        getrandom::fill(fresh.as_mut_slice()).expect("the kernel's random source works");
        match STIRRED.get() {
            None => chunk.copy_from_slice(&fresh[..chunk.len()]),
            Some(stirred) => Hkdf::<Sha256>::new(Some(stirred.expose()), fresh.as_slice())
                .expand(b"strongroom random", chunk)
                .expect("a chunk is at most 32 bytes"),
        }
    }
}

/// A random key, made in its final place.
#[must_use]
pub fn key() -> Key {
    Key::filled_by(|place| fill(place))
}

/// Random public bytes (ids, salts).
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}
