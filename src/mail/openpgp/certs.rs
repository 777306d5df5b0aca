//! The OpenPGP certificates at hand. Parsing one costs more than checking a signature, so a worker keeps what it parsed.

use super::armor;
use crate::id::Digest;
use crate::mail::context::{OpenPgpCertificate, Trust};
use sequoia_openpgp::{Cert, KeyHandle, KeyID, cert::CertParser, parse::Parse};
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
    /// "escrow", "directory" or [`FROM_MESSAGE`].
    pub source: String,
}

impl Known {
    /// Whether somebody other than the mail itself vouches for it.
    #[must_use]
    pub fn vouched(&self) -> bool {
        self.source != FROM_MESSAGE
    }
}

/// Most parsed rings that are kept.
const KEPT: usize = 512;

thread_local! {
    static PARSED: RefCell<HashMap<Digest, Vec<Rc<Cert>>>> = RefCell::new(HashMap::new());
}

/// The certificates of `trust` that may have a key of these issuers; a ring yields several. Copies of one certificate are
/// merged (a revocation may be in one, a newer expiry in another), but never what is vouched for with what is not.
#[must_use]
pub fn known(trust: &Trust, issuers: &[KeyHandle]) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    for entry in relevant(&trust.openpgp, issuers) {
        for cert in parsed(&entry.bytes) {
            let new = Known {
                cert,
                source: entry.source.clone(),
            };
            let same = |old: &&mut Known| {
                old.vouched() == new.vouched() && old.cert.fingerprint() == new.cert.fingerprint()
            };
            match known.iter_mut().find(same) {
                None => known.push(new),
                Some(old) if *old.cert == *new.cert => {}
                Some(old) => {
                    let merged = (*old.cert).clone().merge_public((*new.cert).clone());
                    if let Ok(merged) = merged {
                        old.cert = Rc::new(merged);
                    }
                }
            }
        }
    }
    known
}

/// With thousands of certificates only a few are worth a look: self-signatures and a signing subkey's own signature have
/// the issuer's key id in them. Where that is in none, all are looked at if they are few.
fn relevant<'a>(
    entries: &'a [OpenPgpCertificate],
    issuers: &[KeyHandle],
) -> Vec<&'a OpenPgpCertificate> {
    let mut ids: Vec<KeyID> = issuers.iter().map(KeyID::from).collect();
    let naming = |ids: &[KeyID]| -> Vec<&'a OpenPgpCertificate> {
        let names = |entry: &&OpenPgpCertificate| {
            let mut ids = ids.iter();
            ids.any(|id| armor::find(&entry.bytes, id.as_bytes()).is_some())
        };
        entries.iter().filter(names).collect()
    };
    let found = naming(&ids);
    if found.is_empty() {
        let few = entries.len() <= KEPT;
        return entries.iter().filter(|_| few).collect();
    }
    // Another copy may have no more than the primary key and its revocation.
    let certs = found.iter().flat_map(|entry| parsed(&entry.bytes));
    ids.extend(certs.map(|cert| cert.keyid()));
    naming(&ids)
}

fn parsed(bytes: &[u8]) -> Vec<Rc<Cert>> {
    let digest = Digest::of(bytes);
    PARSED.with_borrow_mut(|cache| {
        if let Some(certs) = cache.get(&digest) {
            return certs.clone();
        }
        if cache.len() >= KEPT {
            cache.clear();
        }
        let certs: Vec<_> = CertParser::from_bytes(bytes)
            .into_iter()
            .flatten()
            .flatten()
            .map(|cert| Rc::new(cert.strip_secret_key_material()))
            .collect();
        cache.insert(digest, certs.clone());
        certs
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sequoia_openpgp::cert::CertBuilder;
    use sequoia_openpgp::serialize::SerializeInto;

    fn entry(cert: &Cert) -> OpenPgpCertificate {
        OpenPgpCertificate {
            bytes: cert.to_vec().unwrap(),
            source: "directory".to_owned(),
        }
    }

    #[test]
    fn only_what_may_have_the_issuer_is_taken_with_its_revocation() {
        let made = |name: &str| CertBuilder::general_purpose(Some(name)).generate().unwrap();
        let (alice, revocation) = made("Alice <alice@example.org>");
        let (bob, _) = made("Bob <bob@example.org>");
        let bare = Cert::from_packets(std::iter::once(alice.primary_key().key().clone().into()));
        let revoked = bare.unwrap().insert_packets([revocation]).unwrap().0;
        let trust = Trust {
            openpgp: vec![entry(&bob), entry(&alice), entry(&revoked)],
            ..Trust::default()
        };
        let signing = alice.keys().subkeys().next().unwrap();
        let found = known(&trust, &[signing.key().key_handle()]);
        let [found] = &found[..] else {
            panic!("{} certificates", found.len())
        };
        assert_eq!(found.cert.fingerprint(), alice.fingerprint());
        assert_eq!(found.cert.primary_key().self_revocations().count(), 1);
        assert_eq!(known(&trust, &[]).len(), 2);
    }
}
