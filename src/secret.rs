//! Secrets that cannot be printed, copied or serialised by accident.
//!
//! A [`Key`] is 32 bytes in one heap place, filled in place and wiped on drop. It has no `Clone`,
//! `Debug` prints nothing of it, and only [`Key::expose`] shows the bytes, so that every use can be
//! found by searching for that word.

use secrecy::{ExposeSecret, SecretBox};
use zeroize::{Zeroize, Zeroizing};

/// A 256-bit symmetric key, seed or other fixed-size secret.
pub struct Key(SecretBox<[u8; 32]>);

impl Key {
    /// Lets `fill` write the 32 bytes in their final place.
    pub fn filled_by(fill: impl FnOnce(&mut [u8; 32])) -> Self {
        Self(SecretBox::init_with_mut(|bytes: &mut [u8; 32]| fill(bytes)))
    }

    /// Copies the key out of `bytes`, which stays the caller's to wipe.
    #[must_use]
    pub fn copy_from(bytes: &[u8; 32]) -> Self {
        Self::filled_by(|place| place.copy_from_slice(bytes))
    }

    /// As [`Key::copy_from`]; `None` if `bytes` is not exactly 32 bytes long.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::copy_from)
    }

    /// The bytes. Pass them on at once, never store them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }

    /// A second owner of the same bytes, where two lifetimes need the key.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::copy_from(self.expose())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Secret bytes of any length (a user's private key, a passphrase, a session key).
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes over `bytes`; they are wiped when the secret is dropped.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Pass them on at once, never store them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A second owner of the same bytes.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::new(self.0.to_vec())
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// Secret bytes cross the pipes between our own processes (a session key to a worker, a key file to
/// the keeper), never a log or a file in the clear. The wrapper makes that use explicit.
pub mod on_the_wire {
    use super::SecretBytes;
    use serde::{Deserialize, Deserializer, Serializer};

    /// `#[serde(with = "crate::secret::on_the_wire")]` on a `SecretBytes` field.
    pub fn serialize<S: Serializer>(secret: &SecretBytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(secret.expose())
    }

    /// The counterpart of [`serialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SecretBytes, D::Error> {
        serde_bytes::ByteBuf::deserialize(from).map(|bytes| SecretBytes::new(bytes.into_vec()))
    }
}

/// Wipes a plain buffer that had to hold secret bytes for a moment.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        let key = Key::copy_from(&[0x41; 32]);
        let bytes = SecretBytes::new(b"AAAA".to_vec());
        assert_eq!(format!("{key:?} {bytes:?}"), "Key(..) SecretBytes(..)");
    }
}
