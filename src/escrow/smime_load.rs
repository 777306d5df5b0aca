//! Reading S/MIME keys from the containers people have: PKCS#12 of every age, PEM bundles, bare PKCS#8. Keys and
//! certificates are matched by their public halves, whatever the order or the names.

use super::apple_profile::Profile;
use super::rounds::{self, Tries};
use super::smime_key::SmimeKey;
use super::{KeyProblem, UserKey, apple_profile, pkcs12};
use crate::mail::legacy;
use crate::mail::smime::ber::{Element, tag};
use crate::mail::smime::certificates;
use crate::secret::SecretBytes;
use memchr::memmem;
use openssl::error::ErrorStack;
use openssl::pkcs7::Pkcs7;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

/// Largest container read; a PKCS#12 with a long chain has some 20 kB.
const LARGEST: usize = 4 << 20;
/// Most keys taken from one container.
const MOST_KEYS: usize = 100;
/// Most certificates taken from one: whole stores of authorities come as PEM.
const MOST_CERTIFICATES: usize = 10_000;

/// What was found in a container, before keys and certificates are matched.
#[derive(Default)]
struct Contents {
    keys: Vec<PKey<Private>>,
    certificates: Vec<X509>,
    problems: Vec<KeyProblem>,
}

/// What a container holds.
pub struct Found {
    /// Each key with its certificate, or why it is none; a container that is none gives one error.
    pub named: Vec<Result<Box<dyn UserKey>, KeyProblem>>,
    /// The keys that `named` refuses because no certificate is theirs. They have no hints, and answer for any
    /// recipient: of use to `inspect`, never taken into escrow.
    pub nameless: Vec<Box<dyn UserKey>>,
}

/// Reads every key in `bytes` (PKCS#12, PEM or DER), unlocked with whichever of `passphrases` fits; each with its
/// certificate from the same container or from `extra_certificates`.
#[must_use]
pub fn load(bytes: &[u8], passphrases: &[SecretBytes], extra_certificates: &[X509]) -> Found {
    let contents = read(bytes, passphrases, extra_certificates);
    let nameless = lone_keys(&contents);
    let problems = contents.problems.into_iter().map(Err);
    let named = named(&contents.keys, &contents.certificates);
    Found {
        named: named.into_iter().chain(problems).collect(),
        nameless,
    }
}

/// `keys` with their certificates, which are among `certificates`.
#[must_use]
pub(super) fn named(
    keys: &[PKey<Private>],
    certificates: &[X509],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    keys.iter()
        .flat_map(|key| with_certificates(key, certificates))
        .collect()
}

fn lone_keys(contents: &Contents) -> Vec<Box<dyn UserKey>> {
    let certificates = contents.certificates.iter();
    let publics: Vec<_> = certificates
        .filter_map(|x509| x509.public_key().ok())
        .collect();
    let lone = contents.keys.iter().filter(|key| {
        !publics
            .iter()
            .any(|public| super::smime_key::halves_match(key, public))
    });
    lone.map(|key| Box::new(SmimeKey::nameless(key.clone())) as Box<dyn UserKey>)
        .collect()
}

fn read(bytes: &[u8], passphrases: &[SecretBytes], extra_certificates: &[X509]) -> Contents {
    legacy::enable();
    if bytes.len() > LARGEST {
        let problem = KeyProblem::Unreadable("larger than any key file".to_owned());
        return Contents {
            problems: vec![problem],
            ..Contents::default()
        };
    }
    let mut contents = if let Some(profile) = apple_profile::read(bytes) {
        in_profile(profile, passphrases)
    } else if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        pem(bytes, &Tries::of(passphrases))
    } else if is_ssh(bytes.trim_ascii_start()) {
        Contents {
            problems: vec![ssh_key()],
            ..Contents::default()
        }
    } else if let Some(what) = foreign_store(bytes) {
        Contents {
            problems: vec![KeyProblem::Unsupported(what.to_owned())],
            ..Contents::default()
        }
    } else {
        der(bytes, &Tries::of(passphrases))
    };
    if contents.keys.is_empty() && contents.problems.is_empty() && !contents.certificates.is_empty()
    {
        contents.problems.push(KeyProblem::CertificateAlone);
    }
    contents
        .certificates
        .extend(extra_certificates.iter().cloned());
    contents
}

/// The key with each certificate that is its own: a renewed certificate often keeps the key.
fn with_certificates(
    key: &PKey<Private>,
    certificates: &[X509],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    let mut seen = Vec::new();
    let mut taken: Vec<Result<Box<dyn UserKey>, KeyProblem>> = Vec::new();
    for certificate in certificates {
        let Ok(public) = certificate.public_key() else {
            continue;
        };
        if !super::smime_key::halves_match(key, &public) || seen.contains(&certificate) {
            continue;
        }
        seen.push(certificate);
        let proven = SmimeKey::new(key.clone(), certificate);
        taken.push(proven.map(|key| Box::new(key) as Box<dyn UserKey>));
    }
    if taken.is_empty() {
        taken.push(Err(match certificates {
            [only] => KeyProblem::Mismatch(certificates::subject(only)),
            _ => KeyProblem::NoCertificate,
        }));
    }
    taken
}

/// Refuses a file that asks for more work than any honest one.
fn affordable(der: &[u8]) -> Result<(), KeyProblem> {
    let one = (rounds::asked_for(der), rounds::MOST);
    let all = (rounds::in_all(der), rounds::MOST_IN_ALL);
    let over = [one, all].into_iter().find(|(asked, most)| asked > most);
    over.map_or(Ok(()), |(asked, most)| {
        Err(KeyProblem::Unsupported(format!(
            "a passphrase that costs {asked} rounds, where {most} are allowed: export the key again with fewer"
        )))
    })
}

fn der(bytes: &[u8], tries: &Tries<'_>) -> Contents {
    if let Err(problem) = affordable(bytes) {
        return Contents {
            problems: vec![problem],
            ..Contents::default()
        };
    }
    if let Ok(container) = Pkcs12::from_der(bytes) {
        return pkcs12(&container, bytes, tries);
    }
    let mut contents = Contents::default();
    match private_key(bytes, tries) {
        Some(Ok(key)) => contents.keys.push(key),
        Some(Err(problem)) => contents.problems.push(problem),
        None => contents.certificates = certificates_in_der(bytes),
    }
    if contents.is_empty() {
        let why = if Element::split(bytes).is_err() {
            "not ASN.1, or truncated"
        } else {
            "no key in it"
        };
        let problem = KeyProblem::Unreadable(why.to_owned());
        contents.problems.push(problem);
    }
    contents
}

fn pkcs12(container: &Pkcs12, bytes: &[u8], tries: &Tries<'_>) -> Contents {
    let mut contents = Contents::default();
    match pkcs12::open(container, bytes, tries) {
        Some(opened) => {
            contents.keys = opened.keys;
            contents.keys.truncate(MOST_KEYS);
            contents.certificates = opened.certificates;
            if contents.keys.is_empty() && contents.certificates.is_empty() {
                contents.problems.push(KeyProblem::Unreadable(
                    "a PKCS#12 file without a private key".to_owned(),
                ));
            }
        }
        None => contents.problems.push(KeyProblem::WrongPassphrase),
    }
    contents
}

/// A private key in DER: PKCS#8, encrypted PKCS#8, PKCS#1 or SEC 1. `None` if it is none of these.
fn private_key(bytes: &[u8], tries: &Tries<'_>) -> Option<Result<PKey<Private>, KeyProblem>> {
    if let Ok(key) =
        PKey::private_key_from_der(bytes).or_else(|_| PKey::private_key_from_pkcs8(bytes))
    {
        return Some(Ok(key));
    }
    // EncryptedPrivateKeyInfo: SEQUENCE { AlgorithmIdentifier, OCTET STRING }.
    let mut inside = Element::split(bytes).ok()?.0.inside();
    inside.expect(tag::SEQUENCE, "an algorithm").ok()?;
    inside.expect(tag::OCTET_STRING, "an encrypted key").ok()?;
    let opened = tries
        .each(rounds::in_all(bytes))
        .find_map(|passphrase| unlocked(bytes, passphrase).ok());
    Some(opened.ok_or(KeyProblem::WrongPassphrase))
}

/// The key in an encrypted PKCS#8; the passphrase may be any octets.
pub(super) fn unlocked(der: &[u8], octets: &[u8]) -> Result<PKey<Private>, ErrorStack> {
    PKey::private_key_from_pkcs8_callback(der, |buffer| {
        let place = buffer.get_mut(..octets.len());
        place.map_or(Ok(0), |place| {
            place.copy_from_slice(octets);
            Ok(octets.len())
        })
    })
}

/// What is told of stores of keys that are not read.
fn foreign_store(bytes: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    if begins(b"\xfe\xed\xfe\xed") || begins(b"\xce\xce\xce\xce") {
        return Some(
            "a Java keystore: make PKCS#12 of it with keytool -importkeystore -deststoretype pkcs12",
        );
    }
    if begins(b"kych") {
        return Some("a keychain of macOS: export the key there as PKCS#12");
    }
    let is_nss = begins(b"SQLite format 3\0") && memmem::find(bytes, b"nssPrivate").is_some();
    is_nss.then_some("the database of Thunderbird or Firefox: export the key there as PKCS#12")
}

impl Contents {
    /// Nothing was found, and nothing told of it.
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.certificates.is_empty() && self.problems.is_empty()
    }

    /// Adds what is in a block whose label does not say it: PKCS#12 or a key.
    fn add_container(&mut self, block: &Block<'_>, tries: &Tries<'_>) {
        if let Some(inner) = block.decoded() {
            self.add_der(&inner, tries);
        }
    }

    fn add_der(&mut self, inner: &[u8], tries: &Tries<'_>) {
        let found = der(inner, tries);
        self.keys.extend(found.keys);
        self.certificates.extend(found.certificates);
        // Most others are no keys and were never meant to be.
        let told = found.problems.into_iter();
        self.problems
            .extend(told.filter(|problem| !matches!(problem, KeyProblem::Unreadable(_))));
    }
}

/// What is told of keys that are made for something else.
fn ssh_key() -> KeyProblem {
    KeyProblem::Unsupported("an SSH key, which is for no mail".to_owned())
}

/// Keys of OpenSSH, of the commercial SSH and of PuTTY, outside of PEM.
fn is_ssh(bytes: &[u8]) -> bool {
    let begins: [&[u8]; 5] = [
        b"PuTTY-User-Key-File-",
        b"---- BEGIN SSH2 ",
        b"ssh-rsa ",
        b"ssh-ed25519 ",
        b"ecdsa-sha2-",
    ];
    begins.iter().any(|begin| bytes.starts_with(begin))
}

fn in_profile(profile: Profile, passphrases: &[SecretBytes]) -> Contents {
    let given = passphrases.iter().map(SecretBytes::duplicate);
    let passphrases: Vec<_> = given.chain(profile.passphrases).collect();
    let tries = Tries::of(&passphrases);
    let mut contents = Contents::default();
    for container in &profile.containers {
        contents.add_der(container.expose(), &tries);
    }
    if contents.is_empty() {
        let what = "a profile whose identity cannot be read";
        contents
            .problems
            .push(KeyProblem::Unreadable(what.to_owned()));
    }
    contents
}

fn pem(bytes: &[u8], tries: &Tries<'_>) -> Contents {
    let mut contents = Contents::default();
    let text = String::from_utf8_lossy(bytes);
    for block in blocks(&text).take(MOST_KEYS) {
        if block.label == "OPENSSH PRIVATE KEY" {
            contents.problems.push(ssh_key());
        } else if block.is_pkcs12() {
            contents.add_container(&block, tries);
        } else if block.label.ends_with("PRIVATE KEY") {
            let checked = block.decoded().map_or(Ok(()), |inner| affordable(&inner));
            match checked.and_then(|()| block.key(tries)) {
                Ok(key) => contents.keys.push(key),
                Err(problem) => contents.problems.push(problem),
            }
        } else {
            let certificates = block.certificates();
            if certificates.is_empty() {
                contents.add_container(&block, tries);
            }
            contents.certificates.extend(certificates);
        }
    }
    if contents.is_empty() {
        contents.problems.push(KeyProblem::Unreadable(
            "PEM without a private key".to_owned(),
        ));
    }
    contents
}

fn pem_key(text: &str, passphrases: &[SecretBytes]) -> Result<PKey<Private>, KeyProblem> {
    let locked = text.contains("ENCRYPTED");
    // The callback never answers, so that OpenSSL does not ask at the terminal.
    let plain = PKey::private_key_from_pem_callback(text.as_bytes(), |_| Ok(0));
    if let Ok(key) = plain {
        return Ok(key);
    }
    let mut tried = passphrases.iter().map(|passphrase| {
        PKey::private_key_from_pem_passphrase(text.as_bytes(), passphrase.expose())
    });
    match tried.find_map(Result::ok) {
        Some(key) => Ok(key),
        None if locked => Err(KeyProblem::WrongPassphrase),
        None => Err(KeyProblem::Unreadable(
            "a damaged PEM private key".to_owned(),
        )),
    }
}

/// One PEM block.
struct Block<'a> {
    label: &'a str,
    text: &'a str,
}

impl Block<'_> {
    /// The private key in it, by its label or by what is in it: Go programs write `PRIVATE KEY` over PKCS#1. OpenSSL's
    /// reader of PEM derives the key of an encrypted PKCS#8 several times for each passphrase, so that is read as DER.
    fn key(&self, tries: &Tries<'_>) -> Result<PKey<Private>, KeyProblem> {
        let bare = || {
            let inner = self.decoded()?;
            private_key(&inner, tries)
        };
        if self.label == "ENCRYPTED PRIVATE KEY"
            && let Some(read) = bare()
        {
            return read;
        }
        match pem_key(self.text, tries.passphrases()) {
            Err(problem @ KeyProblem::Unreadable(_)) => bare().unwrap_or(Err(problem)),
            read => read,
        }
    }

    /// The certificates in it, by its label or by what is in it.
    fn certificates(&self) -> Vec<X509> {
        if let Ok(certificate) = X509::from_pem(self.text.as_bytes()) {
            return vec![certificate];
        }
        let inner = self.decoded();
        inner.map_or_else(Vec::new, |inner| certificates_in_der(&inner))
    }

    fn is_pkcs12(&self) -> bool {
        let inner = self.decoded();
        inner.is_some_and(|inner| Pkcs12::from_der(&inner).is_ok())
    }

    fn decoded(&self) -> Option<Vec<u8>> {
        let lines = self
            .text
            .lines()
            .filter(|line| !line.starts_with("-----") && !line.contains(':'));
        let digits: String = lines.flat_map(str::split_whitespace).collect();
        data_encoding::BASE64.decode(digits.as_bytes()).ok()
    }
}

/// The certificates in a container, whichever of `passphrases` opens it.
pub(super) fn certificates_in_container(bytes: &[u8], passphrases: &[SecretBytes]) -> Vec<X509> {
    read(bytes, passphrases, &[]).certificates
}

/// A certificate, or those of a PKCS#7 bundle, as authorities on Windows hand them out.
pub(super) fn certificates_in_der(bytes: &[u8]) -> Vec<X509> {
    if let Ok(certificate) = X509::from_der(bytes) {
        return vec![certificate];
    }
    let bundle = Pkcs7::from_der(bytes).ok();
    let signed = bundle.as_ref().and_then(|bundle| bundle.signed());
    let certificates = signed.and_then(|signed| signed.certificates());
    let certificates = certificates.into_iter().flatten();
    certificates.map(ToOwned::to_owned).collect()
}

/// The certificates in PEM, whatever its labels say.
#[must_use]
pub fn certificates_in_pem(bytes: &[u8]) -> Vec<X509> {
    let text = String::from_utf8_lossy(bytes);
    let blocks = blocks(&text).take(MOST_CERTIFICATES);
    let others = blocks.filter(|block| !block.label.ends_with("PRIVATE KEY"));
    others.flat_map(|block| block.certificates()).collect()
}

fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let from = rest.find("-----BEGIN ")?;
        rest = &rest[from..];
        let label = rest["-----BEGIN ".len()..].split("-----").next()?;
        let end = rest.find("-----END ")? + "-----END ".len();
        let until = end + rest[end..].find("-----")? + "-----".len();
        let block = Block {
            label,
            text: &rest[..until],
        };
        rest = &rest[until..];
        Some(block)
    })
}
