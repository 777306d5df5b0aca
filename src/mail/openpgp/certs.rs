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
    /// Its bytes, as they were given.
    pub bytes: Vec<u8>,
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

/// All certificates of `trust` that can be read; a ring yields several.
#[must_use]
pub fn known(trust: &Trust) -> Vec<Known> {
    let mut known = Vec::new();
    for entry in &trust.openpgp {
        for cert in parsed(&entry.bytes) {
            known.push(Known {
                cert,
                source: entry.source.clone(),
                bytes: entry.bytes.clone(),
            });
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
            .map(Rc::new)
            .collect();
        cache.insert(digest, certs.clone());
        certs
    })
}
