//! Recovery hands mail out encrypted to a person's new certificate: as PGP/MIME (RFC 3156), readable by every
//! client back to GnuPG 2.2 (SEIPDv1, AES-256), to version 6 certificates as SEIPDv2.

use super::armor::{armored, line};
use super::certs::certificates_in;
use crate::id::Digest;
use crate::mail::outside;
use openpgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use openpgp::packet::key::PublicParts;
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient};
use openpgp::types::{Features, HashAlgorithm, SymmetricAlgorithm};
use openpgp::{Cert, KeyHandle};
use sequoia_openpgp as openpgp;
use std::io::Write;

/// Marks the fields beside a `Content-Type` as the message's own, as Thunderbird and others read it.
const PROTECTED: &[u8] = b";\r\n protected-headers=\"v1\"";

/// Why mail could not be encrypted to a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CannotEncrypt {
    /// Not an OpenPGP certificate.
    #[error(
        "it is neither an S/MIME certificate (PEM or DER) nor an OpenPGP one; give the person's public key"
    )]
    NotACertificate(#[source] anyhow::Error),
    /// What was given goes to officers and into receipts.
    #[error(
        "it holds a private key, which has to stay with its owner; give the public key alone, as `gpg --export` writes it"
    )]
    Private,
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

/// Encrypts a mail (RFC 5322) to an OpenPGP certificate (binary or armored). Its whole header goes
/// inside, as protected headers; what [`outside`] lets through stands outside again.
pub fn encrypt_for(certificate: &[u8], message: &[u8]) -> Result<Vec<u8>, CannotEncrypt> {
    let certificate = certificates_in(certificate);
    let cert = Cert::from_bytes(&certificate).map_err(CannotEncrypt::NotACertificate)?;
    if cert.is_tsk() {
        return Err(CannotEncrypt::Private);
    }
    let encrypted = armored("MESSAGE", &encrypt(&cert, &inside(message))?);
    let boundary = &Digest::of(encrypted.as_bytes()).to_string()[..32];
    let mut mail = outside::fields(message);
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

/// The MIME entity that goes inside: the mail with all its fields, marked as protected ones, so that the recipient's
/// client shows them.
fn inside(message: &[u8]) -> Vec<u8> {
    let (mut fields, mut at) = (Vec::<Vec<u8>>::new(), 0);
    while at < message.len() {
        let (text, next) = line(message, at);
        at = next;
        match fields.last_mut() {
            _ if text.is_empty() => break,
            Some(last) if matches!(text[0], b' ' | b'\t') => {
                last.extend_from_slice(b"\r\n");
                last.extend_from_slice(text);
            }
            _ => fields.push(text.to_vec()),
        }
    }
    fields.retain(|field| !starts_with_name(field, b"mime-version:"));
    let is_type = |field: &Vec<u8>| starts_with_name(field, b"content-type:");
    match fields.iter().position(is_type) {
        Some(place) => {
            let own = fields[place].trim_ascii_end();
            fields[place] = own.strip_suffix(b";").unwrap_or(own).to_vec();
            fields[place].extend_from_slice(PROTECTED);
        }
        None => fields.push([b"Content-Type: text/plain", PROTECTED].concat()),
    }
    let mut inside = fields.join(&b"\r\n"[..]);
    inside.extend_from_slice(b"\r\n\r\n");
    inside.extend_from_slice(&message[at..]);
    inside
}

fn starts_with_name(field: &[u8], name: &[u8]) -> bool {
    field
        .get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
}
