//! `RecipientInfo`s (RFC 5652 §6.2, RFC 5753, RFC 8418, RFC 9629) taken apart into plain values: which key is
//! meant, and what it has to undo.

mod agreement;
mod kem;
mod password;

pub use password::{PasswordWrap, Wrapping, pbkdf2_parameters};

use super::algorithm::Algorithm;
use super::ber::{BerError, Element, tag};
use super::structure::Identifier;
use super::{name, oids};
use crate::mail::keyops::{KeyHint, KeyWrap, Wrapped};
use const_oid::ObjectIdentifier;

/// One recipient.
#[derive(Debug)]
pub struct Recipient {
    /// As people read it: "issuer CN=…, serial 0A".
    pub shown: String,
    /// Key-encryption algorithms, by name.
    pub algorithms: Vec<String>,
    /// How its key is got.
    pub way: Way,
}

/// How a recipient's content-encryption key is got.
#[derive(Debug)]
pub enum Way {
    /// By a private key elsewhere. Several wraps are readings of one recipient, tried in turn.
    Key(KeyHint, Vec<Wrapped>),
    /// By a key-encryption key that both sides have.
    Kek {
        /// The wrapped key.
        wrapped: Vec<u8>,
        /// How it is wrapped.
        wrap: KeyWrap,
    },
    /// By a password.
    Password(PasswordWrap),
    /// An algorithm that is not known here; the text names it.
    Unknown(String),
    /// No `RecipientInfo` that can be read.
    Unreadable(BerError),
}

/// Why a `RecipientInfo` gives no way to the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// Its structure is broken.
    #[error(transparent)]
    Ber(#[from] BerError),
    /// An algorithm inside is not known here.
    #[error("{0}")]
    Unknown(String),
}

/// Takes one `RecipientInfo` apart; key agreement has several recipients in it, of which no more than `most` are read.
/// `originators` finds the public keys (SubjectPublicKeyInfo) that may be a static originator's by its identifier.
pub fn read(
    element: Element<'_>,
    most: usize,
    originators: &dyn Fn(&Identifier<'_>) -> Vec<Vec<u8>>,
) -> Result<Vec<Recipient>, RecipientError> {
    match element.tag {
        tag::SEQUENCE => key_transport(&element).map(|one| vec![one]),
        0xa1 => agreement::read(&element, most, originators),
        0xa2 => kek(&element).map(|one| vec![one]),
        0xa3 => password::read(&element).map(|one| vec![one]),
        0xa4 => other(&element).map(|one| vec![one]),
        _ => Err(element.unexpected("a RecipientInfo").into()),
    }
}

/// Longest identifier in bytes: it stays in the records of the mail, and no key has a longer one.
const MOST_OF_A_NAME: usize = 4096;

/// The identifier as a hint, and for people.
pub fn hint(id: &Identifier<'_>) -> Result<(KeyHint, String), BerError> {
    let length = match id {
        Identifier::IssuerSerial { issuer, serial } => issuer.raw.len() + serial.raw.len(),
        Identifier::KeyId(id) => id.len(),
    };
    if length > MOST_OF_A_NAME {
        return Err(BerError::Malformed);
    }
    match id {
        Identifier::IssuerSerial { issuer, serial } => {
            let digits = data_encoding::HEXUPPER.encode(serial.integer()?);
            let shown = format!("issuer {}, serial {digits}", name::show(issuer)?);
            Ok((name::issuer_serial(issuer, serial)?, shown))
        }
        Identifier::KeyId(id) => {
            let shown = format!("key id {}", data_encoding::HEXUPPER.encode(id));
            Ok((KeyHint::SubjectKeyId(id.clone()), shown))
        }
    }
}

fn key_transport(element: &Element<'_>) -> Result<Recipient, RecipientError> {
    let mut inside = element.inside();
    inside.expect(tag::INTEGER, "a version")?;
    let (hint, shown) = hint(&Identifier::read(&mut inside)?)?;
    let algorithm = Algorithm::read(&mut inside)?;
    let ciphertext = inside
        .value("an encrypted key")?
        .octet_string()?
        .into_owned();
    let (name, way) = match algorithm.oid {
        oid if oid == oids::RSA || oids::RSA_ALIASES.contains(&oid) => (
            "RSA-PKCS1".to_owned(),
            Way::Key(hint, vec![Wrapped::RsaPkcs1 { ciphertext }]),
        ),
        oids::OAEP => {
            let (digest, mgf_digest, label) = oaep_parameters(algorithm.real_parameters())?;
            let name = format!("RSA-OAEP-{digest}");
            let wrapped = Wrapped::RsaOaep {
                ciphertext,
                digest: digest.to_owned(),
                mgf_digest: mgf_digest.to_owned(),
                label,
            };
            (name, Way::Key(hint, vec![wrapped]))
        }
        other => unknown("key transport", &other),
    };
    Ok(Recipient {
        shown,
        algorithms: vec![name],
        way,
    })
}

/// `RSAES-OAEP-params`; absent fields have their defaults (SHA-1, MGF1 with SHA-1, empty label).
fn oaep_parameters(
    parameters: Option<Element<'_>>,
) -> Result<(&'static str, &'static str, Vec<u8>), RecipientError> {
    let (mut digest, mut mgf_digest, mut label) = ("SHA-1", "SHA-1", Vec::new());
    let Some(parameters) = parameters else {
        return Ok((digest, mgf_digest, label));
    };
    for field in parameters.inside() {
        let field = field?;
        let mut inside = field.inside();
        match field.tag {
            0xa0 => digest = digest_of(&Algorithm::read(&mut inside)?.oid)?,
            0xa1 => {
                let mgf = Algorithm::read(&mut inside)?;
                if mgf.oid != oids::MGF1 {
                    let what = format!("mask generation {}", oids::show(&mgf.oid));
                    return Err(RecipientError::Unknown(what));
                }
                let inner = mgf.real_parameters();
                let inner = inner.ok_or(field.unexpected("MGF1's digest"))?;
                mgf_digest = digest_of(&Algorithm::of(inner)?.oid)?;
            }
            0xa2 => {
                let source = Algorithm::read(&mut inside)?;
                let text = source
                    .parameters
                    .filter(|_| source.oid == oids::P_SPECIFIED);
                label = text
                    .ok_or(field.unexpected("a label"))?
                    .octet_string()?
                    .into_owned();
            }
            _ => return Err(field.unexpected("an OAEP parameter").into()),
        }
    }
    Ok((digest, mgf_digest, label))
}

fn digest_of(oid: &ObjectIdentifier) -> Result<&'static str, RecipientError> {
    let unknown = || RecipientError::Unknown(format!("digest {}", oids::show(oid)));
    oids::digest_name(oid).ok_or_else(unknown)
}

/// An algorithm that is not known here: its name as it is listed, and as a way that leads nowhere.
fn unknown(role: &str, algorithm: &ObjectIdentifier) -> (String, Way) {
    let why = format!("{role} {}", oids::show(algorithm));
    (oids::name(algorithm), Way::Unknown(why))
}

/// RC2 with 128 effective bits (RFC 2268 §6).
const RC2_128: u32 = 58;

/// The key wrap of that identifier, and its name.
fn key_wrap(algorithm: &Algorithm<'_>) -> Option<(KeyWrap, &'static str)> {
    Some(match algorithm.oid.to_string().as_str() {
        "2.16.840.1.101.3.4.1.5" => (KeyWrap::Aes(16), "AES-128-WRAP"),
        "2.16.840.1.101.3.4.1.25" => (KeyWrap::Aes(24), "AES-192-WRAP"),
        "2.16.840.1.101.3.4.1.45" => (KeyWrap::Aes(32), "AES-256-WRAP"),
        "2.16.840.1.101.3.4.1.8" => (KeyWrap::AesPadded(16), "AES-128-WRAP-PAD"),
        "2.16.840.1.101.3.4.1.28" => (KeyWrap::AesPadded(24), "AES-192-WRAP-PAD"),
        "2.16.840.1.101.3.4.1.48" => (KeyWrap::AesPadded(32), "AES-256-WRAP-PAD"),
        "1.2.392.200011.61.1.1.3.2" => (KeyWrap::Camellia(16), "Camellia-128-WRAP"),
        "1.2.392.200011.61.1.1.3.3" => (KeyWrap::Camellia(24), "Camellia-192-WRAP"),
        "1.2.392.200011.61.1.1.3.4" => (KeyWrap::Camellia(32), "Camellia-256-WRAP"),
        "1.2.410.200004.7.1.1.1" => (KeyWrap::Seed, "SEED-WRAP"),
        "1.2.840.113549.1.9.16.3.6" => (KeyWrap::TripleDes, "3DES-WRAP"),
        "1.2.840.113549.1.9.16.3.7" => {
            // The parameter says how many bits of the key are effective (RFC 3370 §4.3.2).
            let version = algorithm.real_parameters();
            let all = version.is_none_or(|version| version.small() == Ok(RC2_128));
            all.then_some((KeyWrap::Rc2, "RC2-WRAP"))?
        }
        _ => return None,
    })
}

fn kek(element: &Element<'_>) -> Result<Recipient, RecipientError> {
    let mut inside = element.inside();
    inside.expect(tag::INTEGER, "a version")?;
    let id = inside.expect(tag::SEQUENCE, "a key-encryption key's identifier")?;
    let id = id.inside().value("a key identifier")?.octet_string()?;
    let algorithm = Algorithm::read(&mut inside)?;
    let wrapped = inside
        .value("an encrypted key")?
        .octet_string()?
        .into_owned();
    let shown = format!("pre-shared key {}", data_encoding::HEXUPPER.encode(&id));
    let (name, way) = match key_wrap(&algorithm) {
        Some((wrap, name)) => (name.to_owned(), Way::Kek { wrapped, wrap }),
        None => unknown("key wrap", &algorithm.oid),
    };
    Ok(Recipient {
        shown,
        algorithms: vec![name],
        way,
    })
}

fn other(element: &Element<'_>) -> Result<Recipient, RecipientError> {
    let mut inside = element.inside();
    let kind = inside.value("a recipient type")?.oid()?;
    if kind != oids::ORI_KEM {
        let shown = format!("recipient of type {}", oids::show(&kind));
        return Ok(Recipient {
            way: Way::Unknown(shown.clone()),
            shown,
            algorithms: Vec::new(),
        });
    }
    let info = inside.expect(tag::SEQUENCE, "a KEMRecipientInfo")?;
    kem::read(&mut info.inside())
}
