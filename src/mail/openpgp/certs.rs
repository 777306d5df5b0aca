//! The OpenPGP certificates at hand. Parsing one costs more than checking a signature, so a worker keeps what it parsed.

use super::armor;
use super::by_hand::{self, Certificate};
use super::packets::{packets, tag};
use super::standing::Settled;
use super::verify;
use crate::id::Digest;
use crate::mail::context::{OpenPgpCertificate, Trust};
use sequoia_openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::{Cert, KeyHandle, cert::CertParser, parse::Parse};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The source of certificates that came with the mail itself: good for a check, never for trust.
pub const FROM_MESSAGE: &str = "message";

/// A certificate and where it comes from.
#[derive(Debug, Clone)]
pub struct Known {
    /// The parsed certificate.
    pub cert: Rc<Cert>,
    /// The same in its binary form.
    pub encoded: Rc<serde_bytes::ByteBuf>,
    /// "escrow", "directory" or [`FROM_MESSAGE`].
    pub source: String,
    /// How its keys stand.
    pub settled: Settled,
}

impl Known {
    /// A certificate from `source`.
    #[must_use]
    pub fn new(cert: Rc<Cert>, source: String) -> Self {
        // A certificate that was read can be written.
        let encoded = cert.to_vec().unwrap_or_default();
        Self {
            cert,
            encoded: Rc::new(encoded.into()),
            source,
            settled: Settled::default(),
        }
    }

    /// Whether somebody other than the mail itself vouches for it.
    #[must_use]
    pub fn vouched(&self) -> bool {
        self.source != FROM_MESSAGE
    }
}

/// A certificate with a primary key that Sequoia does not read.
#[derive(Debug, Clone)]
pub struct KnownByHand {
    /// The parsed certificate.
    pub cert: Rc<Certificate>,
    /// As in [`Known::source`].
    pub source: String,
}

/// Certificates by who reads them.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Versions 4 and 6.
    pub certs: Vec<Known>,
    /// Versions 2, 3 and 5.
    pub by_hand: Vec<KnownByHand>,
}

/// Most parsed rings that are kept, and most answers.
const KEPT: usize = 512;

thread_local! {
    static PARSED: RefCell<HashMap<Digest, Rc<Parsed>>> = RefCell::new(HashMap::new());
    static ANSWERS: RefCell<Answers> = RefCell::default();
}

/// The certificates of one ring.
#[derive(Default)]
struct Parsed {
    certs: Vec<Rc<Cert>>,
    by_hand: Vec<Rc<Certificate>>,
}

/// What was found in `trust`, by issuers.
#[derive(Default)]
struct Answers {
    trust: Trust,
    found: HashMap<Vec<Vec<u8>>, Rc<Found>>,
}

/// The certificates of `trust` that may have a key of these issuers. To look through thousands costs more than the check
/// of a signature, so a worker keeps the answers.
#[must_use]
pub fn vouched(trust: &Trust, issuers: &[KeyHandle]) -> Rc<Found> {
    ANSWERS.with_borrow_mut(|answers| {
        if !answers.trust.is(trust) {
            *answers = Answers {
                trust: trust.clone(),
                found: HashMap::new(),
            };
        }
        let named: Vec<Vec<u8>> = issuers.iter().map(|id| id.as_bytes().to_vec()).collect();
        if let Some(found) = answers.found.get(&named) {
            return Rc::clone(found);
        }
        if answers.found.len() >= KEPT {
            answers.found.clear();
        }
        let found = Rc::new(among(&trust.openpgp, issuers));
        answers.found.insert(named, Rc::clone(&found));
        found
    })
}

/// The certificates among `entries` that may have a key of these issuers; a ring yields several. Copies of one certificate
/// are merged (a revocation may be in one, a newer expiry in another), but never what is vouched for with what is not.
#[must_use]
pub fn among(entries: &[OpenPgpCertificate], issuers: &[KeyHandle]) -> Found {
    let mut certs: Vec<(Rc<Cert>, &OpenPgpCertificate)> = Vec::new();
    let mut by_hand = Vec::new();
    for entry in relevant(entries, issuers) {
        let parsed = parsed(&entry.bytes);
        by_hand.extend(parsed.by_hand.iter().map(|cert| KnownByHand {
            cert: Rc::clone(cert),
            source: entry.source.clone(),
        }));
        for cert in &parsed.certs {
            let vouched = |entry: &OpenPgpCertificate| entry.source != FROM_MESSAGE;
            let same = |(old, from): &&mut (Rc<Cert>, &OpenPgpCertificate)| {
                vouched(from) == vouched(entry) && old.fingerprint() == cert.fingerprint()
            };
            match certs.iter_mut().find(same) {
                None => certs.push((Rc::clone(cert), entry)),
                Some((old, _)) if **old == **cert => {}
                Some((old, _)) => {
                    if let Ok(merged) = (**old).clone().merge_public((**cert).clone()) {
                        *old = Rc::new(merged);
                    }
                }
            }
        }
    }
    // What was only looked at is not kept: an answer may have looked at hundreds.
    certs.retain(|(cert, _)| cert.keys().any(|key| is_named(key.key(), issuers)));
    let known = certs.into_iter();
    Found {
        certs: known
            .map(|(cert, entry)| Known::new(cert, entry.source.clone()))
            .collect(),
        by_hand,
    }
}

/// Whether a signature by the key names it; one that names none may be anybody's.
pub fn is_named(key: &Key<PublicParts, UnspecifiedRole>, issuers: &[KeyHandle]) -> bool {
    issuers.is_empty() || issuers.iter().any(|id| id.aliases(key.key_handle()))
}

/// With thousands of certificates only a few are worth a look: self-signatures and a signing subkey's own signature have
/// the issuer's key id in them. Where that is in none, all are looked at if they are few.
fn relevant<'a>(
    entries: &'a [OpenPgpCertificate],
    issuers: &[KeyHandle],
) -> Vec<&'a OpenPgpCertificate> {
    let mut ids: Vec<Vec<u8>> = issuers.iter().map(key_id).collect();
    let naming = |ids: &[Vec<u8>]| -> Vec<&'a OpenPgpCertificate> {
        let names = |entry: &&OpenPgpCertificate| {
            let mut ids = ids.iter();
            ids.any(|id| armor::find(&entry.bytes, id).is_some())
        };
        entries.iter().filter(names).collect()
    };
    let found = naming(&ids);
    if found.is_empty() {
        let few = entries.len() <= KEPT;
        return entries.iter().filter(|_| few).collect();
    }
    // Another copy may have no more than the primary key and its revocation.
    for parsed in found.iter().map(|entry| parsed(&entry.bytes)) {
        let certs = parsed.certs.iter();
        ids.extend(certs.map(|cert| cert.keyid().as_bytes().to_vec()));
        let by_hand = parsed.by_hand.iter().flat_map(|cert| cert.keys().next());
        ids.extend(by_hand.map(|primary| primary.key_id.clone()));
    }
    naming(&ids)
}

/// The key id in an issuer's fingerprint: of version 4 its end, of versions 5 and 6 its front.
fn key_id(issuer: &KeyHandle) -> Vec<u8> {
    let bytes = issuer.as_bytes();
    match bytes.len() {
        20 => bytes[12..].to_vec(),
        size => bytes[..size.min(8)].to_vec(),
    }
}

/// The packets that certificates are made of, out of what may be armored. For others the library takes time and memory without
/// bound: it unpacks compressed ones, and reads on through one more reader behind each that announces a signature.
#[must_use]
pub fn certificates_in(bytes: &[u8]) -> Vec<u8> {
    let is_binary = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let armored = if is_binary {
        None
    } else {
        armor::blocks(bytes).find(|block| !block.bytes.is_empty())
    };
    let all = armored.map_or(Cow::Borrowed(bytes), |block| Cow::Owned(block.bytes));
    let (mut found, mut start) = (packets(&all), 0);
    let mut kept = Vec::new();
    while let Some(Ok(packet)) = found.next() {
        let end = all.len() - found.rest().len();
        if matches!(
            packet.tag,
            tag::PUBLIC_KEY
                | tag::PUBLIC_SUBKEY
                | tag::SECRET_KEY
                | tag::SECRET_SUBKEY
                | tag::SIGNATURE
                | tag::USER_ID
                | tag::USER_ATTRIBUTE
        ) {
            kept.extend_from_slice(&all[start..end]);
        }
        start = end;
    }
    kept
}

fn parsed(bytes: &[u8]) -> Rc<Parsed> {
    let digest = Digest::of(bytes);
    PARSED.with_borrow_mut(|cache| {
        if let Some(parsed) = cache.get(&digest) {
            return Rc::clone(parsed);
        }
        if cache.len() >= KEPT {
            cache.clear();
        }
        let bytes = certificates_in(bytes);
        let certs = CertParser::from_bytes(&bytes)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|cert| verify::is_affordable(cert.primary_key().key().mpis()))
            .map(|cert| cert.retain_subkeys(|key| verify::is_affordable(key.key().mpis())))
            .map(|cert| Rc::new(cert.strip_secret_key_material()))
            .collect();
        let by_hand = by_hand::certificates(&bytes).into_iter().map(Rc::new);
        let parsed = Rc::new(Parsed {
            certs,
            by_hand: by_hand.collect(),
        });
        cache.insert(digest, Rc::clone(&parsed));
        parsed
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::context::TrustData;
    use sequoia_openpgp::cert::CertBuilder;

    fn entry(cert: &Cert) -> OpenPgpCertificate {
        OpenPgpCertificate {
            bytes: cert.to_vec().unwrap(),
            source: "directory".to_owned(),
        }
    }

    #[test]
    fn what_no_certificate_has_is_left_out() {
        let (cert, _) = CertBuilder::new().generate().unwrap();
        let key = cert.to_vec().unwrap();
        let compressed = super::super::packets::framed(tag::COMPRESSED, &[&[0], &*key].concat());
        let all = [&*key, &compressed, &key].concat();
        let both = key.repeat(2);
        assert_eq!(certificates_in(&all), both);
        let armored = armor::armored("PUBLIC KEY BLOCK", &all);
        assert_eq!(certificates_in(armored.as_bytes()), both);
        assert!(certificates_in(&compressed).is_empty() && certificates_in(b"").is_empty());
        assert!(parsed(&compressed).certs.is_empty());
        assert_eq!(parsed(&all).certs.len(), 2);
        // Each of these took a reader, or several kilobytes, for all that follow.
        let one_pass =
            super::super::packets::framed(tag::ONE_PASS, &[3, 0, 8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        let unknown = super::super::packets::framed(63, &[1]);
        let long = [&*key, &one_pass.repeat(20_000), &unknown.repeat(20_000)].concat();
        assert_eq!(certificates_in(&long), *key);
        assert_eq!(parsed(&long).certs.len(), 1);
    }

    #[test]
    fn only_what_may_have_the_issuer_is_taken_with_its_revocation() {
        let made = |name: &str| CertBuilder::general_purpose(Some(name)).generate().unwrap();
        let (alice, revocation) = made("Alice <alice@example.org>");
        let (bob, _) = made("Bob <bob@example.org>");
        let bare = Cert::from_packets(std::iter::once(alice.primary_key().key().clone().into()));
        let revoked = bare.unwrap().insert_packets([revocation]).unwrap().0;
        let mut trust = Trust::from(TrustData {
            openpgp: vec![entry(&bob), entry(&alice), entry(&revoked)],
            ..TrustData::default()
        });
        let signing = alice.keys().subkeys().next().unwrap();
        let issuer = [signing.key().key_handle()];
        let found = vouched(&trust, &issuer);
        let [found] = &found.certs[..] else {
            panic!("{} certificates", found.certs.len())
        };
        assert_eq!(found.cert.fingerprint(), alice.fingerprint());
        assert_eq!(found.cert.primary_key().self_revocations().count(), 1);
        assert_eq!(vouched(&trust, &[]).certs.len(), 2);
        let nobody = [KeyHandle::KeyID(0x1234_5678.into())];
        assert!(vouched(&trust, &nobody).certs.is_empty());
        trust.openpgp.truncate(1);
        assert!(vouched(&trust, &issuer).certs.is_empty());
    }
}
