//! The OpenPGP certificates at hand. Parsing one costs more than checking a signature, so a worker keeps what it parsed.

use crate::id::Digest;
use crate::mail::context::Trust;
use sequoia_openpgp::{Cert, cert::CertParser, parse::Parse};
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

/// All certificates of `trust` that can be read; a ring yields several. Copies of one certificate are merged (a
/// revocation may be in one, a newer expiry in another), but never what is vouched for with what is not.
#[must_use]
pub fn known(trust: &Trust) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    for entry in &trust.openpgp {
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
