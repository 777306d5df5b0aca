//! Sealing to a public key: HPKE (RFC 9180) in base mode with X-Wing (X25519 + ML-KEM-768,
//! draft-connolly-cfrg-xwing-kem), HKDF-SHA256 and AES-256-GCM.
//!
//! Output: `encapsulated key[1120] ‖ ciphertext ‖ tag[16]`.

use crate::id::Digest;
use crate::secret::{Key, SecretBytes};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};

/// Length of an encapsulated key.
pub const ENCAPSULATED: usize = 1120;
/// Length of a public key.
pub const PUBLIC: usize = 1216;

/// Why sealing or opening failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpkeError {
    /// The bytes are not an X-Wing public key.
    #[error("not an X-Wing public key (1216 bytes)")]
    BadPublicKey,
    /// Not sealed to this key with this purpose, or altered.
    #[error("does not open with this key: sealed to another key, for another purpose, or altered")]
    NotForThisKey,
}

/// An X-Wing private key: a 32-byte seed.
pub struct OpeningKey(Key);

/// An X-Wing public key.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey(Box<[u8; PUBLIC]>);

impl OpeningKey {
    /// A fresh random key.
    #[must_use]
    pub fn generate() -> Self {
        Self(super::random::key())
    }

    /// The key of this seed.
    #[must_use]
    pub const fn from_seed(seed: Key) -> Self {
        Self(seed)
    }

    /// The seed, to be sealed or split.
    #[must_use]
    pub const fn seed(&self) -> &Key {
        &self.0
    }

    /// The public half.
    ///
    /// # Panics
    /// Never: every 32-byte seed is an X-Wing private key.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn sealing_key(&self) -> SealingKey {
        let public = XWing::sk_to_pk(&self.private()).to_bytes();
        SealingKey(Box::new(public.as_slice().try_into().expect("1216 bytes")))
    }

    /// Opens what was sealed to this key with the same `info` and `associated`.
    pub fn open(
        &self,
        info: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes, HpkeError> {
        let (encapsulated, body) = sealed
            .split_at_checked(ENCAPSULATED)
            .ok_or(HpkeError::NotForThisKey)?;
        let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(encapsulated)
            .map_err(|_| HpkeError::NotForThisKey)?;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.private(),
            &encapsulated,
            info,
            body,
            associated,
        )
        .map(SecretBytes::new)
        .map_err(|_| HpkeError::NotForThisKey)
    }

    #[allow(clippy::expect_used)]
    fn private(&self) -> <XWing as Kem>::PrivateKey {
        <XWing as Kem>::PrivateKey::from_bytes(self.0.expose())
            .expect("every 32-byte seed is a private key")
    }
}

impl SealingKey {
    /// Checks and takes the 1216 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        <XWing as Kem>::PublicKey::from_bytes(bytes).map_err(|_| HpkeError::BadPublicKey)?;
        let array: [u8; PUBLIC] = bytes.try_into().map_err(|_| HpkeError::BadPublicKey)?;
        Ok(Self(Box::new(array)))
    }

    /// The 1216 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// SHA-256 of the 1216 bytes.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.as_bytes())
    }

    /// Seals `plaintext`; `info` names the purpose, `associated` is bound but not hidden.
    ///
    /// # Panics
    /// Never: the key was checked when it was made.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn seal(&self, info: &[u8], associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let public =
            <XWing as Kem>::PublicKey::from_bytes(self.as_bytes()).expect("checked before");
        let (encapsulated, body) = hpke::single_shot_seal::<AesGcm256, HkdfSha256, XWing>(
            &OpModeS::Base,
            &public,
            info,
            plaintext,
            associated,
        )
        .expect("sealing to a valid key succeeds");
        let mut out = Vec::with_capacity(ENCAPSULATED + body.len());
        out.extend_from_slice(&encapsulated.to_bytes());
        out.extend(body);
        out
    }
}

impl std::fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpeningKey(..)")
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingKey({})", self.fingerprint())
    }
}

impl serde::Serialize for SealingKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&data_encoding::BASE64.encode(self.as_bytes()))
    }
}

impl<'de> serde::Deserialize<'de> for SealingKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(from)?;
        let bytes = data_encoding::BASE64
            .decode(text.as_bytes())
            .map_err(D::Error::custom)?;
        Self::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_right_key_and_purpose() {
        let key = OpeningKey::generate();
        let sealed = key.sealing_key().seal(b"test", b"place", b"secret");
        assert_eq!(
            key.open(b"test", b"place", &sealed)
                .expect("opens")
                .expose(),
            b"secret"
        );
        assert!(key.open(b"other", b"place", &sealed).is_err());
        assert!(key.open(b"test", b"elsewhere", &sealed).is_err());
        assert!(
            OpeningKey::generate()
                .open(b"test", b"place", &sealed)
                .is_err()
        );
        assert!(key.open(b"test", b"place", &sealed[..100]).is_err());
    }
}
