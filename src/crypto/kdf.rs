//! Key derivation: HKDF-SHA256 (RFC 5869) with every label in one enum and a length-framed `info`,
//! so that no two uses can ever derive the same key.

use crate::secret::Key;
use hkdf::Hkdf;
use sha2::Sha256;

/// What a derived key is for. The text is part of the on-disk format and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Sealed secret and anchor to box secret.
    BoxSecret,
    /// Box secret to the key that wraps the keyring's content key.
    KeyringWrap,
    /// Record key and part salt to chunk key.
    PartKey,
    /// Record key and part salt to nonce prefix and key commitment.
    PartCommitment,
    /// Tenant archive key to the key that wraps segment keys.
    SegmentWrap,
    /// Segment key to the key that wraps record keys in slots.
    SlotWrap,
    /// Catalog key to the key of one value.
    CatalogValue,
    /// Catalog key to the PRF that names its keys.
    CatalogName,
    /// Index key to the key of one file of the search index.
    IndexFile,
    /// Join key to the PRF that finds equal content within a tenant.
    JoinHash,
    /// Tenant escrow key to the key of one escrowed user key.
    EscrowItem,
    /// Spool chain key to the next one.
    SpoolRatchet,
    /// Spool chain key to one frame's key.
    SpoolFrame,
    /// Keyring to the secret of sessions' tokens.
    SessionToken,
    /// Keyring to the key of the people file.
    PeopleFile,
    /// Passphrase-derived key of an officer's file.
    OfficerFile,
    /// Keyring to the seed of the ledger's Ed25519 note key.
    NoteKey,
    /// Sealed secret or keyring to the authorisation value of TPM objects.
    TpmAuth,
    /// Recovery key's seed to the check that travels with it through the shares.
    ShareCheck,
}

impl Label {
    const fn text(self) -> &'static str {
        match self {
            Self::BoxSecret => "box secret",
            Self::KeyringWrap => "keyring wrap",
            Self::PartKey => "part key",
            Self::PartCommitment => "part commitment",
            Self::SegmentWrap => "segment wrap",
            Self::SlotWrap => "slot wrap",
            Self::CatalogValue => "catalog value",
            Self::CatalogName => "catalog name",
            Self::IndexFile => "index file",
            Self::JoinHash => "join hash",
            Self::EscrowItem => "escrow item",
            Self::SpoolRatchet => "spool ratchet",
            Self::SpoolFrame => "spool frame",
            Self::SessionToken => "session token",
            Self::PeopleFile => "people file",
            Self::OfficerFile => "officer file",
            Self::NoteKey => "note key",
            Self::TpmAuth => "tpm auth",
            Self::ShareCheck => "share check",
        }
    }
}

/// A key from which several others are derived: HKDF's first half is done once.
pub struct Source(Hkdf<Sha256>);

impl Source {
    /// Takes the key in.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self(Hkdf::new(None, key.expose()))
    }

    /// See [`derive`].
    #[must_use]
    pub fn derive(&self, label: Label, context: &[&[u8]]) -> Key {
        Key::filled_by(|place| expand(&self.0, label, context, place))
    }

    /// See [`derive_bytes`].
    #[must_use]
    pub fn derive_bytes<const N: usize>(&self, label: Label, context: &[&[u8]]) -> [u8; N] {
        let mut out = [0; N];
        expand(&self.0, label, context, &mut out);
        out
    }
}

/// Derives one 256-bit key: HKDF-SHA256 with an empty salt and
/// `info = frame("strongroom/1") ‖ frame(label) ‖ frame(context[0]) ‖ …`, where
/// `frame(x)` is x's length as 4 bytes, big-endian, then x.
#[must_use]
pub fn derive(from: &Key, label: Label, context: &[&[u8]]) -> Key {
    Source::new(from).derive(label, context)
}

/// As [`derive`], into public bytes (a PRF output, a nonce prefix, a commitment).
#[must_use]
pub fn derive_bytes<const N: usize>(from: &Key, label: Label, context: &[&[u8]]) -> [u8; N] {
    Source::new(from).derive_bytes(label, context)
}

/// As [`derive`], from two secrets: their concatenation is HKDF's input keying material.
#[must_use]
pub fn derive_from_two(first: &Key, second: &Key, label: Label) -> Key {
    let mut both = zeroize::Zeroizing::new([0u8; 64]);
    both[..32].copy_from_slice(first.expose());
    both[32..].copy_from_slice(second.expose());
    let source = Hkdf::new(None, both.as_slice());
    Key::filled_by(|place| expand(&source, label, &[], place))
}

#[allow(clippy::expect_used)]
fn expand(source: &Hkdf<Sha256>, label: Label, context: &[&[u8]], out: &mut [u8]) {
    let mut info = Vec::with_capacity(256);
    let label = label.text().as_bytes();
    for part in [b"strongroom/1", label].iter().chain(context) {
        frame_onto(&mut info, part);
    }
    source
        .expand(&info, out)
        .expect("HKDF-SHA256 gives up to 8160 bytes, all callers ask for fewer");
}

/// `part` behind its length (4 bytes, big-endian): concatenations of framed parts are unambiguous.
#[must_use]
pub fn framed(part: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + part.len());
    frame_onto(&mut out, part);
    out
}

#[allow(clippy::expect_used)]
fn frame_onto(out: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("framed parts are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_cannot_be_shifted_into_each_other() {
        let key = Key::copy_from(&[7; 32]);
        let one = derive(&key, Label::PartKey, &[b"ab", b"c"]);
        let other = derive(&key, Label::PartKey, &[b"a", b"bc"]);
        assert_ne!(one.expose(), other.expose());
        let third = derive(&key, Label::SlotWrap, &[b"ab", b"c"]);
        assert_ne!(one.expose(), third.expose());
    }
}
