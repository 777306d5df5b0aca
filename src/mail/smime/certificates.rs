//! Certificates at hand: in the message, in the directory, among the anchors. Found by how a signer or
//! originator is named, with where they came from.

use super::ber::{BerError, Element, tag};
use super::chain::{self, Known};
use super::structure::Identifier;
use super::{name, oids, verify};
use crate::id::Digest;
use crate::mail::address;
use crate::time::Timestamp;
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
    /// Its public key; `None` if OpenSSL does not know the kind, or a check by it would cost too much.
    pub key: Option<PKey<Public>>,
    /// Its addresses, as they are compared.
    pub addresses: Vec<String>,
    /// Its key usages allow signing mail.
    pub may_sign_mail: bool,
    /// When its validity begins.
    pub not_before: Option<Timestamp>,
}

impl Certificate {
    /// Takes `x509` apart.
    pub fn of(x509: X509) -> Option<Self> {
        let encoded = x509.to_der().ok()?;
        Some(Self {
            id: Digest::of(&encoded),
            names: Names::of(&x509),
            key: x509.public_key().ok().filter(verify::is_affordable),
            addresses: addresses(&x509),
            may_sign_mail: chain::may_sign_mail(&x509),
            not_before: chain::time(x509.not_before()),
            encoded,
            x509,
        })
    }
}

/// What a certificate can be named by: issuer (canonical) and serial, and key identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Canonical issuer.
    pub issuer: Vec<u8>,
    /// Folded issuer.
    folded: Vec<u8>,
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
        let folded = name::folded(&issuer).ok()?;
        let issuer = name::canonical(&issuer).ok()?;
        let serial = serial.integer().ok()?.to_vec();
        let key_id = x509.subject_key_id().map(|id| id.as_slice().to_vec());
        Some(Self {
            issuer,
            folded,
            serial,
            key_id,
        })
    }
}

/// The name of a signer or recipient in the form that certificates are looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Folded issuer, and serial number.
    IssuerSerial(Vec<u8>, Vec<u8>),
    /// Subject key identifier.
    KeyId(Vec<u8>),
}

impl Wanted {
    /// Of an identifier in a message.
    pub fn of(id: &Identifier<'_>) -> Option<Self> {
        Some(match id {
            Identifier::IssuerSerial { issuer, serial } => {
                Self::IssuerSerial(name::folded(issuer).ok()?, serial.integer().ok()?.to_vec())
            }
            Identifier::KeyId(id) => Self::KeyId(id.clone()),
        })
    }

    /// All that a certificate answers to.
    pub fn all(names: &Names) -> impl Iterator<Item = Self> {
        let by_issuer = Self::IssuerSerial(names.folded.clone(), names.serial.clone());
        let by_key = names.key_id.clone().map(Self::KeyId);
        [by_issuer].into_iter().chain(by_key)
    }

    fn fits(&self, names: &Names) -> bool {
        match self {
            Self::IssuerSerial(issuer, serial) => {
                *serial == names.serial && *issuer == names.folded
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

/// The last octets of a certificate, which are of its signature: no two have the same by chance.
type Ending = [u8; 16];

/// Certificates in their parsed form, and the bytes of their encodings.
#[derive(Default)]
struct Remembered {
    certificates: HashMap<Ending, Rc<Certificate>>,
    bytes: usize,
}

thread_local! {
    static PARSED: RefCell<Remembered> = RefCell::default();
}

/// The certificate in `encoded` (DER, or BER that becomes DER). Senders send the same certificates again and again:
/// what was read is remembered.
fn parse(encoded: &Element<'_>) -> Option<Rc<Certificate>> {
    let ending = *encoded.raw.last_chunk()?;
    PARSED.with_borrow_mut(|parsed| {
        let known = parsed.certificates.get(&ending);
        if let Some(known) = known.filter(|known| known.encoded == encoded.raw) {
            return Some(Rc::clone(known));
        }
        let x509 = X509::from_der(encoded.raw)
            .or_else(|_| X509::from_der(&encoded.to_der().unwrap_or_default()))
            .ok()?;
        let certificate = Rc::new(Certificate::of(x509)?);
        if parsed.bytes >= MOST_REMEMBERED {
            *parsed = Remembered::default();
        }
        parsed.bytes += certificate.encoded.len();
        parsed.certificates.insert(ending, Rc::clone(&certificate));
        Some(certificate)
    })
}

/// The X.509 certificates of a `CertificateSet`, those that OpenSSL can read: of the first [`MOST`] as many as are no longer
/// than [`MOST_BYTES`] together.
#[must_use]
pub fn in_message(set: Option<Element<'_>>) -> Vec<Rc<Certificate>> {
    let elements = set
        .into_iter()
        .flat_map(|set| set.inside())
        .filter_map(Result::ok);
    let certificates = elements
        .filter(|element| element.tag == tag::SEQUENCE)
        .take(MOST);
    let mut left = MOST_BYTES;
    let affordable = certificates.filter(|element| {
        let rest = left.checked_sub(element.raw.len());
        left = rest.unwrap_or(left);
        rest.is_some()
    });
    affordable.filter_map(|element| parse(&element)).collect()
}

/// The certificates that `id` names: of those known beforehand, and of those in the message. Several may answer to one
/// name, and only the signer's own fits; each costs a check, so there are at most [`MOST_OF_A_NAME`].
#[must_use]
pub fn find_in<C: AsRef<[Rc<Certificate>]>>(
    id: &Identifier<'_>,
    known: &Known,
    in_message: impl FnOnce() -> C,
) -> Vec<Rc<Certificate>> {
    let Some(wanted) = Wanted::of(id) else {
        return Vec::new();
    };
    let in_message = in_message();
    let named = in_message.as_ref().iter().filter(|one| {
        let names = one.names.as_ref();
        names.is_some_and(|names| wanted.fits(names))
    });
    let mut found: Vec<Rc<Certificate>> = Vec::new();
    for one in known.find(&wanted).iter().chain(named) {
        if found.len() < MOST_OF_A_NAME && found.iter().all(|other| other.id != one.id) {
            found.push(Rc::clone(one));
        }
    }
    found
}

/// Most certificates tried for one signer or originator.
const MOST_OF_A_NAME: usize = 8;

/// Most bytes of certificates remembered in their parsed form: some thousand of the usual ones. Hostile ones take a hundred
/// times as much memory.
const MOST_REMEMBERED: usize = 4 << 20;

/// Most certificates read from one message.
const MOST: usize = 200;
/// Most bytes that they have together.
const MOST_BYTES: usize = 1 << 20;

/// Most addresses read of one certificate.
const MOST_ADDRESSES: usize = 200;

/// All addresses of a certificate (rfc822Name, SmtpUTF8Mailbox, emailAddress), as they are compared.
#[must_use]
pub fn addresses(x509: &X509) -> Vec<String> {
    let mut addresses = Vec::new();
    for name in x509.subject_alt_names().into_iter().flatten() {
        addresses.extend(name.email().map(str::to_owned));
    }
    addresses.extend(international_addresses(x509));
    for entry in x509
        .subject_name()
        .entries_by_nid(openssl::nid::Nid::PKCS9_EMAILADDRESS)
    {
        addresses.extend(entry.data().to_string().ok().map(|text| text.to_string()));
    }
    addresses.truncate(MOST_ADDRESSES);
    let mut addresses: Vec<String> = addresses
        .iter()
        .map(|address| address::compared(address))
        .collect();
    addresses.dedup();
    addresses
}

/// The addresses that no rfc822Name can hold (RFC 8398).
fn international_addresses(x509: &X509) -> Vec<String> {
    let encoded = x509.to_der().unwrap_or_default();
    let names = chain::extension_in(&encoded, tag::context(3), "2.5.29.17").unwrap_or_default();
    let Ok(names) = Element::only(&names) else {
        return Vec::new();
    };
    let mailbox = |name: Element<'_>| {
        let mut inside = name.inside();
        let kind = inside.value("a kind of name").ok()?.oid().ok()?;
        (kind == oids::SMTP_UTF8_MAILBOX).then_some(())?;
        name::text(&inside.value("a name").ok()?.inside().next()?.ok()?)
    };
    let others = names.inside().filter_map(Result::ok);
    others
        .filter(|name| name.tag == tag::context(0))
        .filter_map(mailbox)
        .collect()
}

/// The subject for people.
#[must_use]
pub fn subject(x509: &X509) -> String {
    let encoded = x509.subject_name().to_der().unwrap_or_default();
    Element::only(&encoded)
        .and_then(|name| name::show(&name))
        .unwrap_or_default()
}
