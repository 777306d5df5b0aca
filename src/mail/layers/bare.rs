//! Objects that come without a mail around them: CMS and OpenPGP files, armored or binary.

use super::inline::{only_block, only_object};
use super::{Place, Walk};
use crate::mail::openpgp::{altered, armor};
use crate::mail::{mime, rendition, sniff, transfer};
use std::borrow::Cow;

/// What Windows puts before text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The plaintext without the byte order mark that some programs write before the header of an entity.
pub(super) fn without_mark(mut plaintext: Vec<u8>) -> Vec<u8> {
    let entity = plaintext.strip_prefix(BYTE_ORDER_MARK);
    if entity.is_some_and(sniff::is_entity) {
        plaintext.drain(..BYTE_ORDER_MARK.len());
    }
    plaintext
}

/// A bare object.
pub(super) enum Object<'a> {
    /// CMS, BER.
    Cms(Cow<'a, [u8]>),
    /// OpenPGP packets.
    OpenPgp(Cow<'a, [u8]>),
}

impl Object<'_> {
    fn into_owned(self) -> Object<'static> {
        let owned = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Self::Cms(ber) => Object::Cms(owned(ber)),
            Self::OpenPgp(packets) => Object::OpenPgp(owned(packets)),
        }
    }
}

/// The object that `bytes` are, if they are no mail, and no text with objects in it.
pub(super) fn find(bytes: &[u8]) -> Option<Object<'_>> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let start = bytes.trim_ascii_start();
    if sniff::is_cms(start) {
        return Some(Object::Cms(Cow::Borrowed(start)));
    }
    if sniff::is_entity(bytes) {
        return None;
    }
    if is_base64_cms(start) {
        return sniff::cms_in(bytes, "").map(|ber| Object::Cms(Cow::Owned(ber)));
    }
    if start.starts_with(b"-----BEGIN ") && !start.starts_with(b"-----BEGIN PGP ") {
        return only_object(bytes).map(|found| found.object);
    }
    let start_of_armor = start.starts_with(b"-----");
    if !start_of_armor
        && !mime::header_of(&bytes[..bytes.len().min(1000)])
            .fields
            .is_empty()
    {
        return None;
    }
    match altered::restored(bytes) {
        Some(text) => in_armor(&text).map(Object::into_owned),
        None => in_armor(bytes),
    }
}

/// The binary message, or the armored block that is all of the text. What stands around a block is there to be read,
/// and clear-signed text is text: both are looked into as text is (`inline`).
fn in_armor(bytes: &[u8]) -> Option<Object<'_>> {
    if !sniff::is_text(bytes) && sniff::is_openpgp(bytes) {
        return Some(Object::OpenPgp(Cow::Borrowed(bytes)));
    }
    only_block(bytes, &["MESSAGE", "SIGNATURE"]).map(|packets| Object::OpenPgp(Cow::Owned(packets)))
}

fn is_base64_cms(start: &[u8]) -> bool {
    start.starts_with(b"M") && sniff::is_cms(&transfer::base64(&start[..start.len().min(400)]))
}

/// Text with OpenPGP armor somewhere in it.
fn is_armored_text(bytes: &[u8]) -> bool {
    altered::mentions(bytes, armor::MARK)
        && (sniff::is_text(bytes) || altered::restored(bytes).is_some())
}

impl Walk<'_> {
    /// Opens a bare object and what is in it. Returns the plaintext, its own layers replaced.
    pub(super) fn bare(&mut self, object: Object<'_>, place: &Place) -> Option<Vec<u8>> {
        let before = self.signatures.len();
        let (plaintext, count, closed) = match object {
            Object::Cms(ber) => {
                let peeled = self.open_cms(ber, place)?;
                (peeled.plaintext, peeled.layers, peeled.closed)
            }
            Object::OpenPgp(packets) => {
                let (plaintext, count) = self.open_pgp(packets.into_owned(), place)?;
                (plaintext, count, false)
            }
        };
        self.compare_senders(before, &plaintext);
        if closed {
            return Some(plaintext);
        }
        Some(self.inside_bare(plaintext, &place.inside(count)))
    }

    /// What a bare object had inside, its own layers replaced.
    pub(super) fn inside_bare(&mut self, plaintext: Vec<u8>, place: &Place) -> Vec<u8> {
        if self.too_deep(place) {
            return plaintext;
        }
        let changed = match find(&plaintext) {
            Some(object) => self.bare(object, place),
            None if sniff::is_entity(&plaintext) || is_armored_text(&plaintext) => {
                self.entity(&plaintext, place)
            }
            None => None,
        };
        changed.unwrap_or(plaintext)
    }

    /// Opens an entity's plaintext further and gives it as a MIME entity. An object that does not open stays as it is.
    pub(super) fn inside_entity(&mut self, plaintext: Vec<u8>, place: &Place) -> Vec<u8> {
        let object = if self.too_deep(place) {
            None
        } else {
            find(&plaintext)
        };
        if let Some(object) = object {
            let inner = self.bare(object, place);
            return rendition::as_entity(inner.unwrap_or(plaintext));
        }
        let restored = if sniff::is_text(&plaintext) {
            None
        } else {
            altered::restored(&plaintext)
        };
        let entity = rendition::as_entity(restored.unwrap_or(plaintext));
        self.entity(&entity, place).unwrap_or(entity)
    }

    fn too_deep(&mut self, place: &Place) -> bool {
        let limit = self.policy.bounds.depth;
        let deep = place.nesting >= limit;
        if deep {
            let failure = crate::mail::context::Failure::OverBound {
                bound: "depth",
                limit: u64::from(limit),
            };
            self.failures.push(failure);
        }
        deep
    }
}
