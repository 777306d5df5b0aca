//! `multipart/signed` and `multipart/encrypted`, and what gateways made of them.

use super::parts::is_read_as_text;
use super::{Place, Spot, Walk, inline, sender};
use crate::mail::context::{Failure, Unopened, Unwrapped};
use crate::mail::mime::Part;
use crate::mail::model::Format;
use crate::mail::openpgp::{self, armor};
use crate::mail::rendition::{Edits, replace_subtype};
use crate::mail::{smime, sniff, transfer};

impl Walk<'_> {
    /// Verifies the detached signature of a `multipart/signed`, then looks into the signed part. The parts stay
    /// as they are, so that the signature can be verified from the rendition too.
    pub(super) fn signed_multipart(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        let Spot { bytes, part, .. } = spot;
        let [content, rest @ ..] = part.children.as_slice() else {
            return;
        };
        let Beside {
            signatures,
            others,
            is_shown,
        } = beside(bytes, part, rest);
        let place = if is_shown {
            spot.place.part()
        } else {
            spot.place.clone()
        };
        let senders = sender::shown(bytes, content);
        let before = self.signatures.len();
        let mut layers = 0;
        for (format, signature) in signatures {
            let signed = &bytes[content.span.clone()];
            let result = self.detached(format, &signature, signed, &place);
            layers = layers.max(self.settle_signature(result, format, &place));
        }
        if layers == 0 {
            let failure = Failure::Damaged("multipart/signed without a signature in it".into());
            layers = self.settle_signature(Err(unreadable(failure)), format_of(part), &place);
        }
        if self.signatures.len() == before {
            self.nobody_signed(format_of(part), &place);
        }
        self.compare_with(before, &senders);
        self.part(spot.child(content, &place.inside(layers)), edits);
        for other in others {
            self.part(spot.child(other, &place.part()), edits);
        }
    }

    pub(super) fn detached(
        &self,
        format: Format,
        signature: &[u8],
        signed: &[u8],
        place: &Place,
    ) -> Result<Unwrapped, Unopened> {
        let context = self.context(place);
        match format {
            Format::Smime => smime::open(signature, Some(signed), &context),
            Format::Openpgp => openpgp::open(signature, Some(signed), &context),
        }
    }

    /// Exchange and mailing lists make `multipart/mixed` of `multipart/signed`. True if the part's second half is a
    /// signature that fits the first: else it may be one over an attached file, or the content was changed with the type.
    pub(super) fn signed_mixed(&mut self, spot: Spot<'_>, edits: &mut Edits) -> bool {
        let Spot {
            bytes, part, place, ..
        } = spot;
        let [content, candidate] = part.children.as_slice() else {
            return false;
        };
        let is_declared = candidate.content_type.subtype.ends_with("-signature");
        if !is_declared && !may_be_signature(bytes, candidate) {
            return false;
        }
        let Some((format, signature)) = signature_in(bytes, candidate, part) else {
            return false;
        };
        // What does not say that it is a signature is shown as a file of its own.
        let place = if is_declared { place } else { &place.part() };
        let signed = &bytes[content.span.clone()];
        if !self.may_try(signed) {
            return false;
        }
        let result = self.detached(format, &signature, signed, place);
        if !result.as_ref().is_ok_and(Unwrapped::is_well_signed) {
            return false;
        }
        let before = self.signatures.len();
        let layers = self.settle_signature(result, format, place);
        self.compare_with(before, &sender::shown(bytes, content));
        self.part(spot.child(content, &place.inside(layers)), edits);
        true
    }

    /// Opens a `multipart/encrypted` (RFC 3156), or the `multipart/mixed` that Exchange makes of one. False if no
    /// OpenPGP message is in it.
    pub(super) fn encrypted_multipart(&mut self, spot: Spot<'_>, edits: &mut Edits) -> bool {
        let Spot { bytes, part, .. } = spot;
        if !is_alone(bytes, part) {
            return self.encrypted_among_others(spot, edits);
        }
        let mut parts = part.children.iter().rev();
        match parts.find_map(|child| Payload::of(bytes, child)) {
            Some(payload) => {
                self.payload(spot, payload, edits);
                return true;
            }
            None if part.content_type.subtype == "encrypted" => self.nothing_encrypted(spot.place),
            None => {}
        }
        false
    }

    /// As [`Walk::encrypted_multipart`] where gateways or others put parts beside the encrypted one: each stays in its
    /// place, and what is left is no `multipart/encrypted` any more.
    fn encrypted_among_others(&mut self, spot: Spot<'_>, edits: &mut Edits) -> bool {
        let Spot { bytes, part, .. } = spot;
        let place = spot.place.part();
        let mut found = false;
        let before = edits.count();
        for child in &part.children {
            let spot = spot.child(child, &place);
            let payload = Payload::of(bytes, child);
            found |= payload.is_some();
            match payload {
                Some(payload) if !has_text_around(bytes, child) => {
                    self.payload(spot, payload, edits);
                }
                _ => self.part(spot, edits),
            }
        }
        if !found {
            self.nothing_encrypted(spot.place);
        }
        if edits.count() > before {
            replace_subtype(bytes, part, "mixed", edits);
        }
        true
    }

    fn payload(&mut self, spot: Spot<'_>, payload: Payload, edits: &mut Edits) {
        match payload {
            Payload::Cms(ber) => self.cms_part(spot, ber, edits),
            Payload::Packets(packets) => self.pgp_entity(spot, packets, edits),
        }
    }

    fn nothing_encrypted(&mut self, place: &Place) {
        let what = "multipart/encrypted without an encrypted message in it";
        let failure = unreadable(Failure::Damaged(what.into()));
        self.absorb_failure(failure, Format::Openpgp, place);
    }
}

/// What a `multipart/encrypted` carries.
enum Payload {
    Packets(Vec<u8>),
    Cms(Vec<u8>),
}

impl Payload {
    /// That of a part that has no parts.
    fn of(bytes: &[u8], part: &Part) -> Option<Self> {
        if !part.children.is_empty() {
            return None;
        }
        let body = &bytes[part.body.clone()];
        let encoding = part.encoding.as_str();
        let cms = || sniff::cms_in(body, encoding).map(Self::Cms);
        sniff::openpgp_in(body, encoding, "MESSAGE")
            .map(Self::Packets)
            .or_else(cms)
    }
}

fn unreadable(failure: Failure) -> Unopened {
    Unopened {
        failure,
        layers: Vec::new(),
        signatures: Vec::new(),
    }
}

/// True for a multipart that is PGP/MIME by its type, or by its parts.
pub(super) fn is_encrypted(bytes: &[u8], part: &Part) -> bool {
    match part.content_type.subtype.as_str() {
        "encrypted" => true,
        "alternative" | "related" => false,
        _ => {
            let announced = |child| is_control(child) || says_version(bytes, child);
            part.children.iter().any(announced) && is_alone(bytes, part)
        }
    }
}

/// Whether a multipart holds one message at most, and nothing beside it that a reader would see.
fn is_alone(bytes: &[u8], part: &Part) -> bool {
    let mut contents = part.children.iter().filter(|child| !is_note(bytes, child));
    let Some(first) = contents.next() else {
        return true;
    };
    contents.next().is_none() && !has_text_around(bytes, first)
}

fn is_control(part: &Part) -> bool {
    part.content_type.is("application/pgp-encrypted")
}

/// Longest encoded body that may be no more than `Version: 1`.
const LONGEST_NOTE: usize = 200;

/// An empty part, or the one that says `Version: 1`. Its type does not make a part one: that may hold anything.
fn is_note(bytes: &[u8], part: &Part) -> bool {
    let is_empty = || bytes[part.body.clone()].trim_ascii().is_empty();
    part.children.is_empty() && (is_empty() || says_version(bytes, part))
}

fn says_version(bytes: &[u8], part: &Part) -> bool {
    let body = bytes[part.body.clone()].trim_ascii();
    body.len() <= LONGEST_NOTE
        && transfer::decode(body, &part.encoding)
            .trim_ascii()
            .eq_ignore_ascii_case(b"Version: 1")
}

/// Whether a reader sees text beside the armor in a part.
fn has_text_around(bytes: &[u8], part: &Part) -> bool {
    part.children.is_empty() && inline::has_text_around(&bytes[part.body.clone()], &part.encoding)
}

/// The format by the protocol of a `multipart/signed`.
fn format_of(signed: &Part) -> Format {
    let protocol = signed
        .content_type
        .parameter("protocol")
        .unwrap_or_default();
    if protocol.to_ascii_lowercase().contains("pgp") {
        Format::Openpgp
    } else {
        Format::Smime
    }
}

/// What lies behind the signed part of a `multipart/signed`.
#[derive(Default)]
struct Beside<'a> {
    /// OpenPGP signatures of several parts are one behind the other.
    signatures: Vec<(Format, Vec<u8>)>,
    others: Vec<&'a Part>,
    /// A reader sees more than the signed part: clients that know no signatures show all parts (RFC 1847 §1).
    is_shown: bool,
}

/// Largest part without the type of one that is looked at as a signature.
const LARGEST_SIGNATURE: usize = 64 << 10;
/// Parts with signatures that are looked at in one `multipart/signed`.
const MOST_SIGNATURE_PARTS: usize = 8;

/// The signatures behind the signed part. There is to be one part (RFC 1847 §2.1); who signs what was signed already, as
/// mailing lists do, adds another, or makes a multipart of the signatures.
fn beside<'a>(bytes: &[u8], signed: &Part, rest: &'a [Part]) -> Beside<'a> {
    let mut found = Beside {
        is_shown: rest.len() > 1,
        ..Beside::default()
    };
    for candidate in rest {
        found.add(bytes, signed, candidate);
    }
    found
}

impl<'a> Beside<'a> {
    fn add(&mut self, bytes: &[u8], signed: &Part, candidate: &'a Part) {
        if candidate.is_multipart() && !candidate.children.is_empty() {
            for child in &candidate.children {
                self.add(bytes, signed, child);
            }
            return;
        }
        let has_room = self.signatures.len() < MOST_SIGNATURE_PARTS;
        let is_leaf = candidate.children.is_empty();
        let signature = if has_room && is_leaf {
            signature_in(bytes, candidate, signed)
        } else {
            None
        };
        self.is_shown |= signature.is_none() || is_read_as_text(&candidate.content_type.kind);
        let Some((format, signature)) = signature else {
            return self.others.push(candidate);
        };
        match self.signatures.last_mut() {
            Some((Format::Openpgp, before)) if format == Format::Openpgp => {
                before.extend(signature);
            }
            _ => self.signatures.push((format, signature)),
        }
    }
}

/// A part that lost its type and begins as a signature does.
fn may_be_signature(bytes: &[u8], part: &Part) -> bool {
    let body = &bytes[part.body.clone()];
    if !part.children.is_empty() || body.len() > LARGEST_SIGNATURE {
        return false;
    }
    let encoding = part.encoding.as_str();
    let start = transfer::beginning(body, encoding, sniff::WINDOW);
    sniff::is_cms_text(body, encoding)
        || armor::next_block(&start, 0).is_some_and(|block| block.label == "SIGNATURE")
}

/// The signature in the second part of a `multipart/signed`, by its type, the protocol, or its content.
fn signature_in(bytes: &[u8], part: &Part, signed: &Part) -> Option<(Format, Vec<u8>)> {
    let body = &bytes[part.body.clone()];
    let encoding = part.encoding.as_str();
    let declared = |what: &str| {
        part.content_type.subtype.contains(what)
            || signed
                .content_type
                .parameter("protocol")
                .is_some_and(|protocol| protocol.to_ascii_lowercase().contains(what))
    };
    let cms = || sniff::cms_in(body, encoding).map(|ber| (Format::Smime, ber));
    let pgp = || {
        sniff::openpgp_signatures_in(body, encoding)
            .or_else(|| sniff::openpgp_in(body, encoding, "MESSAGE"))
            .map(|packets| (Format::Openpgp, packets))
    };
    let is_signature = part.content_type.subtype.contains("signature");
    if declared("pkcs7") {
        cms()
            .or_else(pgp)
            .or_else(|| is_signature.then(|| (Format::Smime, Vec::new())))
    } else if declared("pgp") {
        pgp()
            .or_else(cms)
            .or_else(|| is_signature.then(|| (Format::Openpgp, Vec::new())))
    } else {
        cms().or_else(pgp)
    }
}
