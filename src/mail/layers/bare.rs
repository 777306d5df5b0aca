//! Objects that come without a mail around them: CMS and OpenPGP files, armored or binary.

use super::{Place, Walk};
use crate::mail::model::Format;
use crate::mail::openpgp::{self, altered, armor};
use crate::mail::{mime, rendition, sniff, transfer};
use std::borrow::Cow;

/// A bare object.
pub(super) enum Object<'a> {
    /// CMS, BER.
    Cms(Cow<'a, [u8]>),
    /// OpenPGP packets.
    OpenPgp(Cow<'a, [u8]>),
    /// Text of the cleartext signature framework, armor included, with what stands around it.
    ClearSigned(Cow<'a, [u8]>),
}

impl Object<'_> {
    fn into_owned(self) -> Object<'static> {
        let owned = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Self::Cms(ber) => Object::Cms(owned(ber)),
            Self::OpenPgp(packets) => Object::OpenPgp(owned(packets)),
            Self::ClearSigned(text) => Object::ClearSigned(owned(text)),
        }
    }
}

/// The object that `bytes` are, if they are no mail.
pub(super) fn find(bytes: &[u8]) -> Option<Object<'_>> {
    if sniff::is_cms(bytes) {
        return Some(Object::Cms(Cow::Borrowed(bytes)));
    }
    if sniff::is_entity(bytes) {
        return None;
    }
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"-----BEGIN ") && !start.starts_with(b"-----BEGIN PGP ")
        || is_base64_cms(start)
    {
        return sniff::cms_in(bytes, "").map(|ber| Object::Cms(Cow::Owned(ber)));
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

fn in_armor(bytes: &[u8]) -> Option<Object<'_>> {
    let block = armor::next_block(bytes, 0);
    match block {
        Some(block) if block.label == armor::SIGNED_MESSAGE => {
            Some(Object::ClearSigned(Cow::Borrowed(bytes)))
        }
        Some(block) if block.label.starts_with("MESSAGE") || block.label == "SIGNATURE" => {
            sniff::is_openpgp(&block.bytes).then_some(Object::OpenPgp(Cow::Owned(block.bytes)))
        }
        Some(_) => None,
        None => (!sniff::is_text(bytes) && sniff::is_openpgp(bytes))
            .then_some(Object::OpenPgp(Cow::Borrowed(bytes))),
    }
}

fn is_base64_cms(start: &[u8]) -> bool {
    start.starts_with(b"M") && sniff::is_cms(&transfer::base64(&start[..start.len().min(400)]))
}

impl Walk<'_> {
    /// Opens a bare object and what is in it. Returns the plaintext, its own layers replaced.
    pub(super) fn bare(&mut self, object: Object<'_>, place: &Place) -> Option<Vec<u8>> {
        let before = self.signatures.len();
        let (plaintext, count) = match object {
            Object::Cms(ber) => self.open_cms(ber, place)?,
            Object::OpenPgp(packets) => self.open_pgp(packets.into_owned(), place)?,
            Object::ClearSigned(text) => {
                let changed = self.inline_text(&text, place);
                if self.signatures.len() == before {
                    let result = openpgp::open_clear_signed(&text, &self.context(place));
                    self.settle_signature(result, Format::Openpgp, place);
                }
                return changed;
            }
        };
        self.compare_senders(before, &plaintext);
        Some(self.inside_bare(plaintext, &place.inside(count)))
    }

    fn inside_bare(&mut self, plaintext: Vec<u8>, place: &Place) -> Vec<u8> {
        if self.too_deep(place) {
            return plaintext;
        }
        let changed = match find(&plaintext) {
            Some(object) => self.bare(object, place),
            None if sniff::is_entity(&plaintext) => self.entity(&plaintext, place),
            None => None,
        };
        changed.unwrap_or(plaintext)
    }

    /// Opens an entity's plaintext further and gives it as a MIME entity.
    pub(super) fn inside_entity(&mut self, plaintext: Vec<u8>, place: &Place) -> Vec<u8> {
        let object = if self.too_deep(place) {
            None
        } else {
            find(&plaintext)
        };
        if let Some(inner) = object.and_then(|object| self.bare(object, place)) {
            return rendition::as_entity(inner);
        }
        let entity = rendition::as_entity(plaintext);
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
