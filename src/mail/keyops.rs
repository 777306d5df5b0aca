//! The one thing a worker asks for: "undo this wrap". The keeper does the private-key operation and
//! answers with that message's session key only; no parser shares memory with a private key.

use crate::secret::SecretBytes;
use serde::{Deserialize, Serialize};

/// How a message names the key that opens it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyHint {
    /// CMS `IssuerAndSerialNumber`: the issuer's Name in DER, the serial's content octets.
    IssuerSerial {
        /// Name, DER.
        #[serde(with = "serde_bytes")]
        issuer: Vec<u8>,
        /// INTEGER content octets, big-endian.
        #[serde(with = "serde_bytes")]
        serial: Vec<u8>,
    },
    /// CMS subject key identifier.
    SubjectKeyId(#[serde(with = "serde_bytes")] Vec<u8>),
    /// OpenPGP key id (8 bytes) or fingerprint (20 or 32 bytes).
    OpenPgp(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The sender hid the recipient (OpenPGP key id 0): every suitable key is tried.
    Hidden,
    /// A passphrase or a pre-shared key, which only `inspect` can be given.
    Passphrase,
}

/// Digest algorithms named in key-transport parameters, by their usual names ("SHA-1", "SHA-256", …).
pub type DigestName = String;

/// A wrapped session key, taken apart by the worker into plain values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wrapped {
    /// RSAES-PKCS1-v1_5 of a CMS content-encryption key. Implicit rejection: a wrong key gives a clean
    /// "no" or random bytes, never a padding oracle.
    RsaPkcs1 {
        /// `encryptedKey`.
        #[serde(with = "serde_bytes")]
        ciphertext: Vec<u8>,
    },
    /// RSAES-OAEP (RFC 8017) with its parameters.
    RsaOaep {
        /// `encryptedKey`.
        #[serde(with = "serde_bytes")]
        ciphertext: Vec<u8>,
        /// OAEP digest.
        digest: DigestName,
        /// MGF1 digest.
        mgf_digest: DigestName,
        /// `pSource` label.
        #[serde(with = "serde_bytes")]
        label: Vec<u8>,
    },
    /// Key agreement (RFC 2631, RFC 5753, RFC 8418): (EC)DH with the recipient's key, then KDF, then key unwrap.
    /// The keeper only returns the unwrapped key.
    Agreement {
        /// Originator's public key: SubjectPublicKeyInfo, DER.
        #[serde(with = "serde_bytes")]
        originator: Vec<u8>,
        /// How the key-encryption key comes from the shared secret.
        kdf: Kdf,
        /// `OtherInfo`, `ECC-CMS-SharedInfo` or HKDF info, DER, as the RFC wants it.
        #[serde(with = "serde_bytes")]
        shared_info: Vec<u8>,
        /// How the content-encryption key is wrapped.
        wrap: KeyWrap,
        /// The wrapped content-encryption key.
        #[serde(with = "serde_bytes")]
        wrapped: Vec<u8>,
    },
    /// KEM recipient (RFC 9629): decapsulation by ML-KEM (RFC 9936) or RSA-KEM (RFC 9690), as the key is, then KDF,
    /// then key unwrap.
    Kem {
        /// `kemct`.
        #[serde(with = "serde_bytes")]
        ciphertext: Vec<u8>,
        /// How the key-encryption key comes from the shared secret.
        kdf: Kdf,
        /// `CMSORIforKEMOtherInfo`, DER.
        #[serde(with = "serde_bytes")]
        info: Vec<u8>,
        /// How the content-encryption key is wrapped.
        wrap: KeyWrap,
        /// The wrapped content-encryption key.
        #[serde(with = "serde_bytes")]
        wrapped: Vec<u8>,
    },
    /// An OpenPGP public-key encrypted session key: the body of a PKESK packet (without its header), which the
    /// worker has parsed once already. The keeper parses this bounded, flat structure again (at most 16 KiB).
    OpenPgpPkesk {
        /// Packet body.
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
        /// Of a SEIPDv1 or older message: the cipher is inside the wrap; of SEIPDv2: it is not.
        cipher_inside: bool,
    },
}

/// Key derivation functions of key agreement and KEM recipients, each with its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kdf {
    /// ANSI X9.63, also called KDF2: secret, counter, info (RFC 5753).
    X963(DigestName),
    /// KDF3 of ANS X9.44: counter, secret, info (RFC 9690).
    Kdf3(DigestName),
    /// ANSI X9.42: secret, then the info, in which the four counter bytes stand at this offset (RFC 2631).
    X942(DigestName, u16),
    /// HKDF without salt (RFC 8418, RFC 8619).
    Hkdf(DigestName),
}

/// A key wrap and the length of its key in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyWrap {
    /// AES key wrap (RFC 3394).
    Aes(u8),
    /// AES key wrap with padding (RFC 5649).
    AesPadded(u8),
    /// The same construction with Camellia (RFC 3657).
    Camellia(u8),
    /// The same construction with SEED (RFC 4010), always 16 bytes.
    Seed,
    /// 3DES key wrap (RFC 3217), always 24 bytes.
    TripleDes,
    /// RC2 key wrap (RFC 3217), always 16 bytes, all of them effective.
    Rc2,
}

impl KeyWrap {
    /// Length of the key-encryption key in bytes.
    #[must_use]
    pub const fn kek_bytes(self) -> u8 {
        match self {
            Self::Aes(bytes) | Self::AesPadded(bytes) | Self::Camellia(bytes) => bytes,
            Self::Seed | Self::Rc2 => 16,
            Self::TripleDes => 24,
        }
    }
}

/// A session key, and which escrowed key opened it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionKey {
    /// The content-encryption or session key. For OpenPGP with `cipher_inside`, without the leading
    /// algorithm octet and the checksum.
    #[serde(with = "crate::secret::on_the_wire")]
    pub key: SecretBytes,
    /// OpenPGP with `cipher_inside`: the symmetric algorithm's number (RFC 9580 §9.3).
    pub cipher: Option<u8>,
    /// Fingerprint of the key that opened it: SHA-256 of the certificate (S/MIME) or the OpenPGP
    /// fingerprint, lower-case hexadecimal.
    pub opened_by: String,
}

/// Why no session key came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum KeyRefusal {
    /// No key that fits the hint.
    #[error("no key here fits")]
    NoKey,
    /// A key fits, but its passphrase is not known (`inspect` only).
    #[error("the key is locked by a passphrase that was not given")]
    Locked,
    /// A key fits, but the wrap does not open with it.
    #[error("the key does not open it")]
    DoesNotOpen,
    /// The mail has asked too often.
    #[error("too many key operations for one mail")]
    TooMany,
}

/// Private-key operations, done elsewhere.
pub trait KeyOps {
    /// Unwraps a session key with a key that fits `hint`. `accept` is not called across processes: a
    /// keeper with several fitting keys returns each candidate in turn, `attempt` counting from 0, and
    /// `DoesNotOpen` or `NoKey` after the last.
    fn unwrap_session_key(
        &self,
        hint: &KeyHint,
        wrapped: &Wrapped,
        attempt: u32,
    ) -> Result<SessionKey, KeyRefusal>;

    /// Whether a key by that name may be here. Where there is none, `inspect` tries all that it was given.
    fn has_named(&self, _hint: &KeyHint) -> bool {
        true
    }

    /// What each key makes of `wrapped`, whatever it is called. Nothing in the keeper: it has too many.
    fn unwraps_of_all<'k>(
        &'k self,
        _wrapped: &'k Wrapped,
    ) -> Box<dyn Iterator<Item = Result<SessionKey, KeyRefusal>> + 'k> {
        Box::new(std::iter::empty())
    }

    /// Passphrases to try on password-encrypted layers. Empty in the keeper; `inspect --passphrase-file` gives some.
    fn passphrases(&self) -> Vec<SecretBytes> {
        Vec::new()
    }
}
