//! Recovery hands mail out encrypted to a person's new certificate: as PGP/MIME (RFC 3156), readable by every
//! client back to GnuPG 2.2 (SEIPDv1, AES-256), to version 6 certificates as SEIPDv2.

use super::armor::{armored, line};
use crate::id::Digest;
use openpgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use openpgp::packet::key::PublicParts;
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient};
use openpgp::types::{Features, HashAlgorithm, SymmetricAlgorithm};
use openpgp::{Cert, KeyHandle};
use sequoia_openpgp as openpgp;
use std::io::Write;

/// Why mail could not be encrypted to a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CannotEncrypt {
    /// Not an OpenPGP certificate.
    #[error("the output certificate is not an OpenPGP certificate; give the person's public key")]
    NotACertificate(#[source] anyhow::Error),
    /// The certificate has no key to encrypt to.
    #[error(
        "the certificate {0} has no usable encryption key (expired, revoked or only for signing); ask for a new one"
    )]
    NoUsableKey(String),
    /// The library refused.
    #[error("encrypting the mail failed")]
    Failed(#[source] anyhow::Error),
    /// Writing to memory failed.
    #[error("encrypting the mail failed")]
    Write(#[from] std::io::Error),
}

/// Encrypts a mail (RFC 5322) to an OpenPGP certificate (binary or armored). Its header fields are copied to the
/// outside, but for those that describe the content; these go inside with the body.
pub fn encrypt_for(certificate: &[u8], message: &[u8]) -> Result<Vec<u8>, CannotEncrypt> {
    let cert = Cert::from_bytes(certificate).map_err(CannotEncrypt::NotACertificate)?;
    let (outside, inside) = split(message);
    let encrypted = armored("MESSAGE", &encrypt(&cert, &inside)?);
    let boundary = &Digest::of(encrypted.as_bytes()).to_string()[..32];
    let mut mail = outside;
    mail.extend_from_slice(
        format!(
            "MIME-Version: 1.0\r\n\
             Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n boundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n\
             --{boundary}\r\nContent-Type: application/octet-stream; name=\"encrypted.asc\"\r\n\
             Content-Disposition: inline; filename=\"encrypted.asc\"\r\n\r\n{encrypted}\r\n--{boundary}--\r\n"
        )
        .as_bytes(),
    );
    Ok(mail)
}

/// Every key of the certificate that is for encryption and usable now gets the session key. Old certificates hold together
/// by SHA-1; that is enough here, for officers approve this very file, by its SHA-256.
fn encrypt(cert: &Cert, plaintext: &[u8]) -> Result<Vec<u8>, CannotEncrypt> {
    let mut policy = StandardPolicy::new();
    policy.accept_hash(HashAlgorithm::SHA1);
    let usable = cert
        .keys()
        .with_policy(&policy, None)
        .supported()
        .alive()
        .revoked(false)
        .for_transport_encryption()
        .for_storage_encryption();
    let keys: Vec<_> = usable.collect();
    if keys.is_empty() {
        return Err(CannotEncrypt::NoUsableKey(cert.fingerprint().to_hex()));
    }
    let mut out = Vec::with_capacity(plaintext.len() + 1024);
    let writer = Encryptor::for_recipients(Message::new(&mut out), keys.iter().map(recipient))
        .symmetric_algo(SymmetricAlgorithm::AES256)
        .build()
        .and_then(|inner| LiteralWriter::new(inner).build());
    let mut writer = writer.map_err(CannotEncrypt::Failed)?;
    writer.write_all(plaintext)?;
    writer.finalize().map_err(CannotEncrypt::Failed)?;
    Ok(out)
}

/// Whatever newer formats the certificate announces, SEIPDv1 is what all its readers know; but who reads version 6
/// keys reads SEIPDv2, and the larger post-quantum keys are for nothing else.
fn recipient<'a>(key: &ValidErasedKeyAmalgamation<'a, PublicParts>) -> Recipient<'a> {
    if key.key().version() < 6 {
        let handle = KeyHandle::KeyID(key.key().keyid());
        Recipient::new(Features::empty().set_seipdv1(), handle, key.key())
    } else {
        let handle = KeyHandle::Fingerprint(key.key().fingerprint());
        Recipient::new(Features::empty().set_seipdv2(), handle, key.key())
    }
}

/// The fields that stay outside, and the MIME entity that goes inside.
fn split(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut outside, mut inside, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
    let (mut at, mut place) = (0, Place::Outside);
    while at < message.len() {
        let (field, next) = line(message, at);
        if field.is_empty() {
            at = next;
            break;
        }
        if !matches!(field[0], b' ' | b'\t') {
            place = Place::of(field);
        }
        let to = match place {
            Place::Outside => &mut outside,
            Place::Inside => &mut inside,
            Place::Replaced => &mut replaced,
        };
        to.extend_from_slice(field);
        to.extend_from_slice(b"\r\n");
        at = next;
    }
    if inside.is_empty() {
        inside.extend_from_slice(b"Content-Type: text/plain\r\n");
    }
    inside.extend_from_slice(b"\r\n");
    inside.extend_from_slice(&message[at..]);
    (outside, inside)
}

/// Where a header field goes; folded lines follow their first.
enum Place {
    Outside,
    Inside,
    Replaced,
}

impl Place {
    fn of(field: &[u8]) -> Self {
        if starts_with_name(field, b"content-") {
            Self::Inside
        } else if starts_with_name(field, b"mime-version:") {
            Self::Replaced
        } else {
            Self::Outside
        }
    }
}

fn starts_with_name(field: &[u8], name: &[u8]) -> bool {
    field
        .get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
}
