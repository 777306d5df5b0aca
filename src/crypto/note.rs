//! Signed notes as C2SP's signed-note describes them: a text, an empty line, then signature lines that
//! tools outside this project know how to check. Two of its signature types are used: Ed25519 (0x01) and
//! ECDSA P-256 (0x02; SHA-256, the signature in ASN.1 DER, the key id from the key's SPKI).

use super::sign::{SigningKey, VerifyingKey};
use crate::id::Digest;
use crate::secret::Key;
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::Signer as _;
use p256::pkcs8::{DecodePublicKey, EncodePublicKey};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// The longest note that is read, in bytes.
pub const MAX_NOTE: usize = 64 * 1024;
/// The most signature lines that are read.
pub const MAX_SIGNATURES: usize = 64;

const ED25519: u8 = 1;
const ECDSA: u8 = 2;

/// Why a note was not read, signed or accepted.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// Not in the signed-note format.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// A verifier's text form cannot be read.
    #[error("not a note key: expected NAME+KEYID+BASE64 of an Ed25519 or P-256 key")]
    BadKey,
    /// A signature by a key that we know does not fit.
    #[error("the signature of {name} does not fit: the note was altered")]
    BadSignature {
        /// The key's name.
        name: String,
    },
    /// A key that must have signed has not.
    #[error("{name} has not signed this note")]
    NotSigned {
        /// The key's name.
        name: String,
    },
    /// A signer failed.
    #[error("{name} could not sign: {source}")]
    Signer {
        /// The key's name.
        name: String,
        /// The signer's own error.
        #[source]
        source: SignerError,
    },
}

/// A signer's own error (a TPM's answer, mostly).
pub type SignerError = Box<dyn std::error::Error + Send + Sync>;

/// Signs notes; the TPM's ledger key is one.
pub trait NoteSigner {
    /// The public half, with the key's name.
    fn verifier(&self) -> NoteVerifier;

    /// The signature over `text`: 64 bytes for Ed25519, ASN.1 DER for ECDSA (see [`der_signature`]).
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// A text with its signature lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The signed text, with its last line end.
    pub text: String,
    /// The signature lines, in order.
    pub signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's short id.
    pub key_id: [u8; 4],
    /// The signature, as its type wants it.
    pub signature: Vec<u8>,
}

impl Note {
    /// Signs `text`, which must end in a line end and hold no control characters, by every signer.
    pub fn sign(text: String, signers: &[&dyn NoteSigner]) -> Result<Self, NoteError> {
        check_text(&text)?;
        let mut signatures = Vec::with_capacity(signers.len());
        for signer in signers {
            let verifier = signer.verifier();
            let failed = |source| NoteError::Signer {
                name: verifier.name.clone(),
                source,
            };
            let signature = signer.sign(text.as_bytes()).map_err(failed)?;
            let key_id = verifier.key_id();
            signatures.push(NoteSignature {
                name: verifier.name,
                key_id,
                signature,
            });
        }
        Ok(Self { text, signatures })
    }

    /// Checks that every one of `keys` signed this note. Lines of other keys are ignored.
    pub fn verify(&self, keys: &[NoteVerifier]) -> Result<(), NoteError> {
        for key in keys {
            let id = key.key_id();
            let ours = |line: &&NoteSignature| line.name == key.name && line.key_id == id;
            let line = self.signatures.iter().find(ours);
            let line = line.ok_or_else(|| NoteError::NotSigned {
                name: key.name.clone(),
            })?;
            if !key.fits(self.text.as_bytes(), &line.signature) {
                return Err(NoteError::BadSignature {
                    name: key.name.clone(),
                });
            }
        }
        Ok(())
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("the text does not end in a line end"));
    }
    if text.chars().any(|c| c.is_ascii_control() && c != '\n') {
        return Err(NoteError::Malformed("the text has control characters"));
    }
    Ok(())
}

fn valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_char('\n')?;
        for line in &self.signatures {
            let bytes = [line.key_id.as_slice(), line.signature.as_slice()].concat();
            writeln!(f, "\u{2014} {} {}", line.name, BASE64.encode(&bytes))?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::Malformed("too long"));
        }
        let border = note
            .rfind("\n\n")
            .ok_or(NoteError::Malformed("no empty line"))?;
        let (text, lines) = (&note[..=border], &note[border + 2..]);
        check_text(text)?;
        check_text(lines)?;
        let signatures = lines
            .lines()
            .map(signature_line)
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Malformed("too many signatures"));
        }
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }
}

fn signature_line(line: &str) -> Result<NoteSignature, NoteError> {
    let bad = NoteError::Malformed("a signature line is not \"\u{2014} NAME BASE64\"");
    let parsed = || {
        let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = BASE64.decode(encoded.as_bytes()).ok()?;
        let (key_id, signature) = bytes.split_first_chunk::<4>()?;
        let name = valid_name(name).then(|| name.to_owned())?;
        (!signature.is_empty()).then(|| NoteSignature {
            name,
            key_id: *key_id,
            signature: signature.to_vec(),
        })
    };
    parsed().ok_or(bad)
}

/// A public key that checks notes. Text form: `NAME+KEYID+BASE64(type ‖ key)`, the form that Go's
/// `sumdb/note` reads; the key is 32 bytes for Ed25519, SPKI in DER for ECDSA.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    key: PublicKey,
}

#[derive(Clone, PartialEq, Eq)]
enum PublicKey {
    Ed25519(ed25519_dalek::VerifyingKey),
    Ecdsa { key: VerifyingKey, spki: Vec<u8> },
}

impl NoteVerifier {
    /// A P-256 key, known by `name` (no spaces, no plus sign).
    pub fn ecdsa(name: &str, key: &VerifyingKey) -> Result<Self, NoteError> {
        let point =
            p256::PublicKey::from_sec1_bytes(&key.to_bytes()).map_err(|_| NoteError::BadKey)?;
        let spki = point
            .to_public_key_der()
            .map_err(|_| NoteError::BadKey)?
            .as_bytes()
            .to_vec();
        Self::named(
            name,
            PublicKey::Ecdsa {
                key: key.clone(),
                spki,
            },
        )
    }

    /// An Ed25519 key (32 bytes, RFC 8032), known by `name`.
    pub fn ed25519(name: &str, key: &[u8; 32]) -> Result<Self, NoteError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| NoteError::BadKey)?;
        Self::named(name, PublicKey::Ed25519(key))
    }

    fn named(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        if valid_name(name) {
            Ok(Self {
                name: name.to_owned(),
                key,
            })
        } else {
            Err(NoteError::BadKey)
        }
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The short id in signature lines: the beginning of a SHA-256, over `name ‖ 0x0A ‖ 0x01 ‖ key` for
    /// Ed25519, over the SPKI for ECDSA.
    #[must_use]
    pub fn key_id(&self) -> [u8; 4] {
        let digest = match &self.key {
            PublicKey::Ed25519(key) => {
                Digest::of(&[self.name.as_bytes(), &[b'\n', ED25519], key.as_bytes()].concat())
            }
            PublicKey::Ecdsa { spki, .. } => Digest::of(spki),
        };
        [digest.0[0], digest.0[1], digest.0[2], digest.0[3]]
    }

    fn fits(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            PublicKey::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(text, &signature).is_ok()),
            PublicKey::Ecdsa { key, .. } => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(text, &signature.to_bytes()).is_ok()),
        }
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.key {
            PublicKey::Ed25519(key) => [&[ED25519], key.as_bytes().as_slice()].concat(),
            PublicKey::Ecdsa { spki, .. } => [&[ECDSA], spki.as_slice()].concat(),
        };
        write!(
            f,
            "{}+{}+{}",
            self.name,
            HEXLOWER.encode(&self.key_id()),
            BASE64.encode(&bytes)
        )
    }
}

impl fmt::Debug for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteVerifier({self})")
    }
}

impl FromStr for NoteVerifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NoteError::BadKey);
        };
        let bytes = BASE64
            .decode(encoded.as_bytes())
            .map_err(|_| NoteError::BadKey)?;
        let verifier = match bytes.split_first() {
            Some((&ED25519, key)) => {
                Self::ed25519(name, key.try_into().map_err(|_| NoteError::BadKey)?)?
            }
            Some((&ECDSA, spki)) => {
                let key =
                    p256::PublicKey::from_public_key_der(spki).map_err(|_| NoteError::BadKey)?;
                let point = VerifyingKey::from_bytes(&key.to_sec1_bytes())
                    .map_err(|_| NoteError::BadKey)?;
                Self::ecdsa(name, &point)?
            }
            _ => return Err(NoteError::BadKey),
        };
        let same = HEXLOWER.encode(&verifier.key_id()) == id.to_ascii_lowercase();
        if same {
            Ok(verifier)
        } else {
            Err(NoteError::BadKey)
        }
    }
}

impl serde::Serialize for NoteVerifier {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for NoteVerifier {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The ASN.1 DER form of an ECDSA signature given as 64 bytes `r ‖ s`.
pub fn der_signature(raw: &[u8; 64]) -> Result<Vec<u8>, NoteError> {
    let signature = p256::ecdsa::Signature::from_slice(raw);
    let signature = signature.map_err(|_| NoteError::Malformed("r or s is out of range"))?;
    Ok(signature.to_der().as_bytes().to_vec())
}

/// The Ed25519 signer that lies in the keyring.
pub struct Ed25519Signer {
    name: String,
    key: ed25519_dalek::SigningKey,
}

impl Ed25519Signer {
    /// The key of this seed (RFC 8032's private key), known by `name`.
    pub fn from_seed(name: &str, seed: &Key) -> Result<Self, NoteError> {
        let key = ed25519_dalek::SigningKey::from_bytes(seed.expose());
        if valid_name(name) {
            Ok(Self {
                name: name.to_owned(),
                key,
            })
        } else {
            Err(NoteError::BadKey)
        }
    }
}

impl NoteSigner for Ed25519Signer {
    fn verifier(&self) -> NoteVerifier {
        NoteVerifier {
            name: self.name.clone(),
            key: PublicKey::Ed25519(self.key.verifying_key()),
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.key.sign(text).to_bytes().to_vec())
    }
}

/// An ECDSA signer whose key is in memory, where no TPM holds it.
pub struct EcdsaSigner {
    verifier: NoteVerifier,
    key: SigningKey,
}

impl EcdsaSigner {
    /// Signs as `name`.
    pub fn new(name: &str, key: SigningKey) -> Result<Self, NoteError> {
        Ok(Self {
            verifier: NoteVerifier::ecdsa(name, &key.verifying_key())?,
            key,
        })
    }
}

impl NoteSigner for EcdsaSigner {
    fn verifier(&self) -> NoteVerifier {
        self.verifier.clone()
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(der_signature(&self.key.sign(text))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signers() -> (Ed25519Signer, EcdsaSigner) {
        let seed = crate::crypto::random::key();
        (
            Ed25519Signer::from_seed("strongroom.box/a", &seed).expect("name"),
            EcdsaSigner::new("strongroom.box/a", SigningKey::generate()).expect("name"),
        )
    }

    /// The example of golang.org/x/mod/sumdb/note's documentation.
    #[test]
    fn a_note_signed_by_go_verifies() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let parsed: Note = note.parse().expect("note");
        let verifier: NoteVerifier = key.parse().expect("key");
        assert_eq!(verifier.to_string(), key);
        parsed.verify(&[verifier]).expect("Go's signature");
        assert_eq!(parsed.to_string(), note);
    }

    #[test]
    fn both_signatures_fit_and_an_altered_text_does_not() {
        let (ed, ec) = signers();
        let note = Note::sign("origin\n5\nhash\n".into(), &[&ed, &ec]).expect("sign");
        let keys = [ed.verifier(), ec.verifier()];
        let mut read: Note = note.to_string().parse().expect("parse");
        assert_eq!(read, note);
        read.verify(&keys).expect("both fit");
        read.text = "origin\n6\nhash\n".into();
        assert!(matches!(
            read.verify(&keys),
            Err(NoteError::BadSignature { .. })
        ));
        let (other, _) = signers();
        assert!(matches!(
            note.verify(&[other.verifier()]),
            Err(NoteError::NotSigned { .. })
        ));
    }

    #[test]
    fn verifiers_survive_their_text_form() {
        let (ed, ec) = signers();
        for verifier in [ed.verifier(), ec.verifier()] {
            assert_eq!(
                verifier
                    .to_string()
                    .parse::<NoteVerifier>()
                    .expect("text form"),
                verifier
            );
        }
        assert!("a+00000000+AQ==".parse::<NoteVerifier>().is_err());
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,200}", lines in "(\n|\u{2014}| |[a-z+/=]){0,80}") {
            let _ = text.parse::<Note>();
            let _ = format!("{text}\n\n{lines}\n").parse::<Note>();
            let _ = text.parse::<NoteVerifier>();
        }

        #[test]
        fn what_is_read_is_written_again(text in "([a-z ]{1,9}\n){1,4}", bytes in prop::collection::vec(any::<u8>(), 1..90)) {
            let signatures = vec![NoteSignature { name: "n/a".into(), key_id: [1, 2, 3, 4], signature: bytes }];
            let note = Note { text, signatures };
            prop_assert_eq!(note.to_string().parse::<Note>().expect("own form"), note);
        }
    }
}
