//! Officers' and the ledger's signatures: ECDSA P-256 over SHA-256 (FIPS 186-5), 64 bytes `r ‖ s`.

use crate::id::Digest;
use crate::secret::Key;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey as P256SigningKey, VerifyingKey as P256VerifyingKey};

/// Why a key or signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The bytes are not a P-256 key.
    #[error("not a P-256 key")]
    BadKey,
    /// The signature does not fit key and message.
    #[error("the signature does not fit: another key, or an altered text")]
    BadSignature,
}

/// A P-256 private key.
pub struct SigningKey(P256SigningKey);

/// A P-256 public key; text form is base64 of the compressed point (33 bytes, SEC 1).
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(P256VerifyingKey);

impl SigningKey {
    /// A fresh random key.
    #[must_use]
    pub fn generate() -> Self {
        loop {
            if let Ok(key) = Self::from_scalar(&super::random::key()) {
                return key;
            }
        }
    }

    /// The key of this scalar (32 bytes, big-endian).
    pub fn from_scalar(scalar: &Key) -> Result<Self, SignError> {
        P256SigningKey::from_slice(scalar.expose())
            .map(Self)
            .map_err(|_| SignError::BadKey)
    }

    /// The scalar, to be stored sealed.
    #[must_use]
    pub fn scalar(&self) -> Key {
        Key::filled_by(|place| place.copy_from_slice(&self.0.to_bytes()))
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(*self.0.verifying_key())
    }

    /// Signs `message` (hashed with SHA-256; deterministic, RFC 6979).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.0.sign(message);
        signature.to_bytes().into()
    }
}

impl VerifyingKey {
    /// Takes a SEC 1 point, compressed or not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignError> {
        P256VerifyingKey::from_sec1_bytes(bytes)
            .map(Self)
            .map_err(|_| SignError::BadKey)
    }

    /// The compressed point, 33 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_sec1_point(true).as_bytes().to_vec()
    }

    /// SHA-256 of the compressed point.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Checks `signature` (64 bytes, `r ‖ s`) over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignError> {
        let signature = Signature::from_slice(signature).map_err(|_| SignError::BadSignature)?;
        self.0
            .verify(message, &signature)
            .map_err(|_| SignError::BadSignature)
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyingKey({})", self.fingerprint())
    }
}

impl serde::Serialize for VerifyingKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&data_encoding::BASE64.encode(&self.to_bytes()))
    }
}

impl<'de> serde::Deserialize<'de> for VerifyingKey {
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
    fn a_signature_fits_one_key_and_one_text() {
        let key = SigningKey::generate();
        let signature = key.sign(b"text");
        let public = VerifyingKey::from_bytes(&key.verifying_key().to_bytes()).expect("point");
        assert_eq!(public.verify(b"text", &signature), Ok(()));
        assert!(public.verify(b"Text", &signature).is_err());
        assert!(
            SigningKey::generate()
                .verifying_key()
                .verify(b"text", &signature)
                .is_err()
        );
        assert!(public.verify(b"text", &signature[..63]).is_err());
    }
}
