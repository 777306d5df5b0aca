//! `[trust]`: which of the certificates in the operator's folder `trust/` vouch for signatures, so that not only whoever
//! can write to the folder decides what `valid` means.

use super::PolicyError;
use super::read::{Item, shortened};
use std::collections::BTreeSet;

/// What of one folder counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Vouched {
    /// Every certificate in the folder.
    #[default]
    Folder,
    /// Of the certificates in the folder those with these fingerprints, in lower-case hexadecimal.
    Listed(BTreeSet<String>),
}

impl Vouched {
    /// Whether the certificate with this fingerprint, in lower-case hexadecimal, counts.
    #[must_use]
    pub fn counts(&self, fingerprint: &str) -> bool {
        match self {
            Self::Folder => true,
            Self::Listed(listed) => listed.contains(fingerprint),
        }
    }

    /// The listed fingerprints that are none of `found`.
    #[must_use]
    pub fn missing<'a>(&'a self, found: &'a BTreeSet<String>) -> Vec<&'a String> {
        match self {
            Self::Folder => Vec::new(),
            Self::Listed(listed) => listed.difference(found).collect(),
        }
    }
}

/// Whom the box believes about signers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    /// Trust anchors for S/MIME, of `trust/anchors`. Fingerprint: SHA-256 of the certificate in DER.
    pub anchors: Vouched,
    /// OpenPGP certificates, of `trust/openpgp`. Fingerprint: that of the primary key (RFC 9580, 5.5.4).
    pub openpgp: Vouched,
}

const ANCHORS: &str = "\"folder\" (every certificate in trust/anchors), or a list of the SHA-256 fingerprints of some of them, each \
                       64 digits of lower-case hexadecimal, without doubles";
const OPENPGP: &str = "\"folder\" (every certificate in trust/openpgp), or a list of the fingerprints of some of them, each 40 or 64 \
                       digits of lower-case hexadecimal, without doubles";

/// Reads the table.
pub(super) fn trust(item: &Item<'_>) -> Result<Trusted, PolicyError> {
    let mut section = item.section()?;
    let trusted = Trusted {
        anchors: vouched(section.take("anchors").as_ref(), ANCHORS, &[64])?,
        openpgp: vouched(section.take("openpgp").as_ref(), OPENPGP, &[40, 64])?,
    };
    section.end()?;
    Ok(trusted)
}

fn vouched(
    item: Option<&Item<'_>>,
    allowed: &str,
    lengths: &[usize],
) -> Result<Vouched, PolicyError> {
    let Some(item) = item else {
        return Ok(Vouched::Folder);
    };
    match item.text(allowed) {
        Ok("folder") => return Ok(Vouched::Folder),
        Ok(other) => return Err(item.refuse(format!("is {:?}", shortened(other)), allowed)),
        Err(_) => {}
    }
    let mut listed = BTreeSet::new();
    for entry in item.items(allowed)? {
        let text = entry.text(allowed)?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !lengths.contains(&text.len()) || !text.bytes().all(is_hex) {
            return Err(entry.refuse(format!("is {:?}", shortened(text)), allowed));
        }
        if !listed.insert(text.to_owned()) {
            return Err(entry.refuse("is there twice", allowed));
        }
    }
    Ok(Vouched::Listed(listed))
}
