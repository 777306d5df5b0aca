//! Certificates at hand: in the message, in the directory, among the anchors. Found by how a signer or
//! originator is named, with where they came from.

use super::ber::{BerError, Element, tag};
use super::chain::{self, Known};
use super::name;
use super::structure::Identifier;
use crate::id::Digest;
use crate::mail::context::Trust;
use openssl::pkey::{PKey, Public};
use openssl::x509::X509;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Where a certificate was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Among the trust anchors.
    Anchors,
    /// In the certificate directory.
    Directory,
    /// Only in the message itself.
    Message,
}

impl Source {
    /// As the evidence names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anchors => "anchors",
            Self::Directory => "directory",
            Self::Message => "message",
        }
    }
}

/// A certificate, and what judging a signature asks of it again and again. OpenSSL takes longer to read one than to
/// check a signature with it, so each is read once.
pub struct Certificate {
    /// The certificate.
    pub x509: X509,
    /// Its encoding, DER.
    pub encoded: Vec<u8>,
    /// SHA-256 of the encoding.
    pub id: Digest,
    /// What it can be named by; `None` if its encoding is odd.
    pub names: Option<Names>,
    /// Its public key; `None` if OpenSSL does not know the kind.
    pub key: Option<PKey<Public>>,
    /// Its addresses, lower case.
    pub addresses: Vec<String>,
    /// Its key usages allow signing mail.
    pub may_sign_mail: bool,
}

impl Certificate {
    /// Takes `x509` apart.
    pub fn of(x509: X509) -> Option<Self> {
        let encoded = x509.to_der().ok()?;
        Some(Self {
            id: Digest::of(&encoded),
            names: Names::of(&x509),
            key: x509.public_key().ok(),
            addresses: addresses(&x509),
            may_sign_mail: chain::may_sign_mail(&x509),
            encoded,
            x509,
        })
    }
}

/// A certificate and where it was found.
#[derive(Clone)]
pub struct Found {
    /// The certificate.
    pub certificate: Rc<Certificate>,
    /// Where.
    pub source: Source,
}

/// What a certificate can be named by: issuer (canonical) and serial, and key identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Canonical issuer.
    pub issuer: Vec<u8>,
    /// Serial number, fewest octets.
    pub serial: Vec<u8>,
    /// Subject key identifier extension.
    pub key_id: Option<Vec<u8>>,
}

impl Names {
    /// Reads issuer and serial from the certificate's own encoding.
    pub fn of(x509: &X509) -> Option<Self> {
        let encoded = x509.to_der().ok()?;
        let (issuer, serial) = issuer_serial(&encoded).ok()?;
        let issuer = name::canonical(&issuer).ok()?;
        let serial = serial.integer().ok()?.to_vec();
        let key_id = x509.subject_key_id().map(|id| id.as_slice().to_vec());
        Some(Self {
            issuer,
            serial,
            key_id,
        })
    }
}

/// The name of a signer or recipient in the form that certificates are looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Canonical issuer, and serial number.
    IssuerSerial(Vec<u8>, Vec<u8>),
    /// Subject key identifier.
    KeyId(Vec<u8>),
}

impl Wanted {
    /// Of an identifier in a message.
    pub fn of(id: &Identifier<'_>) -> Option<Self> {
        Some(match id {
            Identifier::IssuerSerial { issuer, serial } => Self::IssuerSerial(
                name::canonical(issuer).ok()?,
                serial.integer().ok()?.to_vec(),
            ),
            Identifier::KeyId(id) => Self::KeyId(id.clone()),
        })
    }

    /// All that a certificate answers to.
    pub fn all(names: &Names) -> impl Iterator<Item = Self> {
        let by_issuer = Self::IssuerSerial(names.issuer.clone(), names.serial.clone());
        let by_key = names.key_id.clone().map(Self::KeyId);
        [by_issuer].into_iter().chain(by_key)
    }

    fn fits(&self, names: &Names) -> bool {
        match self {
            Self::IssuerSerial(issuer, serial) => {
                *serial == names.serial && *issuer == names.issuer
            }
            Self::KeyId(id) => names.key_id.as_ref() == Some(id),
        }
    }
}

/// The issuer's Name and the serial number of a DER certificate.
pub fn issuer_serial(certificate: &[u8]) -> Result<(Element<'_>, Element<'_>), BerError> {
    let whole = Element::split(certificate)?.0;
    let mut to_be_signed = whole
        .inside()
        .expect(tag::SEQUENCE, "a certificate")?
        .inside();
    to_be_signed.optional(tag::context(0))?;
    let serial = to_be_signed.expect(tag::INTEGER, "a serial number")?;
    to_be_signed.expect(tag::SEQUENCE, "a signature algorithm")?;
    let issuer = to_be_signed.expect(tag::SEQUENCE, "an issuer")?;
    Ok((issuer, serial))
}

/// The key identifier by the usual method: SHA-1 of the public key's bits (RFC 5280 §4.2.1.2).
#[must_use]
pub fn computed_key_id(certificate: &[u8]) -> Option<Vec<u8>> {
    let whole = Element::split(certificate).ok()?.0;
    let to_be_signed = whole.inside().expect(tag::SEQUENCE, "a certificate").ok()?;
    let fields = to_be_signed.inside().filter_map(Result::ok);
    // After serial, signature, issuer, validity and subject.
    let public = fields
        .skip_while(|field| field.tag != tag::INTEGER)
        .nth(5)?;
    let bits = public
        .inside()
        .filter_map(Result::ok)
        .nth(1)?
        .bit_string()
        .ok()?;
    Some(openssl::sha::sha1(bits).to_vec())
}

thread_local! {
    static PARSED: RefCell<HashMap<Digest, Rc<Certificate>>> = RefCell::new(HashMap::new());
}

/// The certificate in `encoded` (DER, or BER that becomes DER). Senders send the same certificates again and again:
/// what was read is remembered.
fn parse(encoded: &Element<'_>) -> Option<Rc<Certificate>> {
    let id = Digest::of(encoded.raw);
    PARSED.with_borrow_mut(|parsed| {
        if let Some(known) = parsed.get(&id) {
            return Some(Rc::clone(known));
        }
        let x509 = X509::from_der(encoded.raw)
            .or_else(|_| X509::from_der(&encoded.to_der().unwrap_or_default()))
            .ok()?;
        let certificate = Rc::new(Certificate::of(x509)?);
        if parsed.len() >= MOST_REMEMBERED {
            parsed.clear();
        }
        parsed.insert(id, Rc::clone(&certificate));
        Some(certificate)
    })
}

/// The X.509 certificates of a `CertificateSet`, those that OpenSSL can read, at most `most`.
#[must_use]
pub fn in_message(set: Option<Element<'_>>, most: usize) -> Vec<Rc<Certificate>> {
    let elements = set
        .into_iter()
        .flat_map(|set| set.inside())
        .filter_map(Result::ok);
    let certificates = elements
        .filter(|element| element.tag == tag::SEQUENCE)
        .take(most);
    certificates.filter_map(|element| parse(&element)).collect()
}

/// The certificate that `id` names: what we knew before is preferred to what came with the message.
#[must_use]
pub fn find(id: &Identifier<'_>, set: Option<Element<'_>>, trust: &Trust) -> Option<Found> {
    Known::of(trust)
        .find(id)
        .or_else(|| find_in(id, &in_message(set, MOST)))
}

/// The certificate among `certificates` that `id` names.
#[must_use]
pub fn find_in(id: &Identifier<'_>, certificates: &[Rc<Certificate>]) -> Option<Found> {
    let wanted = Wanted::of(id)?;
    let fits = |one: &&Rc<Certificate>| one.names.as_ref().is_some_and(|names| wanted.fits(names));
    let found = certificates.iter().find(fits)?;
    Some(Found {
        certificate: Rc::clone(found),
        source: Source::Message,
    })
}

/// Most certificates remembered in their parsed form.
const MOST_REMEMBERED: usize = 2000;

/// Most certificates read from one message.
pub const MOST: usize = 200;

/// All addresses of a certificate (rfc822Name, emailAddress), lower case.
#[must_use]
pub fn addresses(x509: &X509) -> Vec<String> {
    let mut addresses = Vec::new();
    for name in x509.subject_alt_names().into_iter().flatten() {
        addresses.extend(name.email().map(str::to_lowercase));
    }
    for entry in x509
        .subject_name()
        .entries_by_nid(openssl::nid::Nid::PKCS9_EMAILADDRESS)
    {
        addresses.extend(
            entry
                .data()
                .to_string()
                .ok()
                .map(|text| text.to_lowercase()),
        );
    }
    addresses.dedup();
    addresses
}

/// The subject for people.
#[must_use]
pub fn subject(x509: &X509) -> String {
    let encoded = x509.subject_name().to_der().unwrap_or_default();
    Element::only(&encoded)
        .and_then(|name| name::show(&name))
        .unwrap_or_default()
}
