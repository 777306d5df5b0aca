//! What each MIME part is, and where it goes.

use super::inline::has_text_around_object;
use super::multipart::is_encrypted;
use super::{Place, Spot, Walk, in_bytes, sender};
use crate::mail::mime::Part;
use crate::mail::openpgp::{altered, armor};
use crate::mail::rendition::{Edits, as_message, replace_attachment, replace_entity};
use crate::mail::{collision, mime, msg, sniff, tnef, transfer};

impl Walk<'_> {
    /// Looks into a part and all parts in it.
    pub(super) fn part(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        let part = spot.part;
        let place = if self::is_ambiguous(spot.bytes, part) {
            &spot.place.part()
        } else {
            spot.place
        };
        let spot = Spot { place, ..spot };
        if part.is_multipart() && !part.children.is_empty() {
            if part.content_type.subtype == "signed" {
                return self.signed_multipart(spot, edits);
            }
            if part.content_type.subtype == "mixed" && self.signed_mixed(spot, edits) {
                return;
            }
            if is_encrypted(spot.bytes, part) && self.encrypted_multipart(spot, edits) {
                return;
            }
            let signatures = self.detached_files(spot);
            let inside = if part.children.len() == 1 {
                place.clone()
            } else {
                place.part()
            };
            let others = part.children.iter().enumerate();
            for (_, child) in others.filter(|(at, _)| !signatures.contains(at)) {
                self.part(spot.child(child, &inside), edits);
            }
        } else if part.is_multipart() {
            self.encoded_multipart(spot, edits);
        } else if let [message] = part.children.as_slice() {
            // Only a message that says that it protects this one's header is this one (RFC 8551 §3.1); any other is
            // a forwarded one, a part of what a reader sees, even if it is all of it: old mail could be replayed.
            let inside = if sender::is_protected(part) {
                Place {
                    whole: place.whole && place.depth > 0,
                    ..place.clone()
                }
            } else {
                place.part().forwarded()
            };
            self.message(spot.bytes, message, &inside, edits);
        } else {
            self.leaf(spot, edits);
        }
    }

    fn leaf(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        let (body, encoding) = (spot.body(), spot.encoding());
        let content_type = &spot.part.content_type;
        let name = spot.part.file_name();
        let lower = name.to_lowercase();
        let essence = content_type.essence();
        let ends_with = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));

        if is_cms_type(&essence) || ends_with(&[".p7m", ".p7s", ".p7z", ".p7c"]) {
            let declared = is_cms_type(&essence) && !body.trim_ascii().is_empty();
            let is_signature = essence.ends_with("-signature") || ends_with(&[".p7s"]);
            let found = sniff::cms_in(body, encoding);
            if found.is_none() && !is_signature && self.mislabelled(spot, declared, edits) {
                return;
            }
            let or_anything = || declared.then(|| spot.decoded().into_owned());
            if let Some(ber) = found.or_else(or_anything) {
                return if is_signature {
                    self.lone_signature(spot, ber, edits)
                } else {
                    self.cms_part(spot, ber, edits)
                };
            }
        }
        if sniff::is_cms_text(body, encoding)
            && !(content_type.kind == "text" && has_text_around_object(body, encoding))
            && let Some(ber) = sniff::cms_in(body, encoding)
        {
            return self.cms_part(spot, ber, edits);
        }
        if content_type.kind == "text"
            && let Some(packets) = sniff::openpgp_text(body, encoding)
        {
            return self.pgp_attachment(spot, packets, name, edits);
        }
        if spot.is_message && self.slid_header(spot, edits) {
            return;
        }
        let start = transfer::beginning(body, encoding, 8);
        if tnef::may_be(&start) {
            return self.tnef_part(spot, edits);
        }
        if msg::may_be(&start) && self.msg_part(spot, edits) {
            return;
        }
        let is_text_file = content_type.kind == "text" && !name.is_empty() && !spot.is_message;
        if self.archive_part(spot, edits) {
            return;
        }
        if content_type.is_message()
            || ends_with(&[".eml"])
            || is_text_file && is_attached_mail(&transfer::beginning(body, encoding, sniff::WINDOW))
        {
            return self.encoded_message(spot, edits);
        }
        if is_key_or_signature(&essence) {
            return;
        }
        if essence == "application/pgp" && armor::next_block(&spot.decoded(), 0).is_some() {
            // From before RFC 2015: armored text, signed or encrypted.
            return self.inline_part(spot, edits);
        }
        if ends_with(&[".gpg", ".pgp", ".asc"]) || essence.starts_with("application/pgp") {
            if self.text_file(spot, edits) {
                return;
            }
            if let Some(packets) = sniff::openpgp_in(body, encoding, "MESSAGE") {
                return self.pgp_attachment(spot, packets, name, edits);
            }
        } else if content_type.kind != "text"
            && content_type.kind != "image"
            && self.undeclared(spot, name, edits)
        {
            return;
        }
        if is_read_as_text(&content_type.kind) || spot.is_message || ends_with(&[".asc", ".txt"]) {
            self.inline_part(spot, edits);
        }
    }

    /// Opens an object that neither type nor name announces; false if there is none.
    fn undeclared(&mut self, spot: Spot<'_>, name: &str, edits: &mut Edits) -> bool {
        let start = transfer::beginning(spot.body(), spot.encoding(), sniff::WINDOW);
        if is_attached_mail(&start) {
            drop(start);
            self.encoded_message(spot, edits);
            return true;
        }
        let may_be_text = altered::mentions(&start, armor::MARK);
        let mentioned = sniff::mentions_armor(&start) || sniff::is_surely_openpgp(&start);
        drop(start);
        if may_be_text && self.text_file(spot, edits) {
            return true;
        }
        if !mentioned {
            return false;
        }
        let packets = sniff::openpgp_in(&spot.decoded(), "", "MESSAGE");
        let found = packets.is_some();
        if let Some(packets) = packets {
            self.pgp_attachment(spot, packets, name, edits);
        }
        found
    }

    /// A part that is CMS by its name or type, and whose body is not. Outlook puts a whole MIME entity there, in TNEF;
    /// others leave a word on what was taken away where CMS was `declared`. False for what is neither.
    fn mislabelled(&mut self, spot: Spot<'_>, declared: bool, edits: &mut Edits) -> bool {
        let body = spot.decoded();
        if sniff::is_entity(&body) {
            if !self.may_decode(spot) {
                return true;
            }
            let inside = Place {
                nesting: spot.place.nesting + 1,
                ..spot.place.clone()
            };
            let entity = self.entity(&body, &inside);
            spot.replace(entity.unwrap_or_else(|| body.into_owned()), edits);
            return true;
        }
        declared && !spot.is_message && sniff::is_text(&body)
    }

    /// A message whose MIME fields lie below a blank line, so that they are in its body. False if they do not.
    fn slid_header(&mut self, spot: Spot<'_>, edits: &mut Edits) -> bool {
        let body = spot.body().trim_ascii_start();
        let begins = |name: &[u8]| {
            body.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        let declared = spot.part.first(spot.bytes, "content-type").is_some();
        if declared || !(begins(b"content-") || begins(b"mime-version:")) || !sniff::is_entity(body)
        {
            return false;
        }
        // Readers who keep to the blank line show these fields.
        let inside = Place {
            nesting: spot.place.nesting + 1,
            ..spot.place.part()
        };
        if let Some(changed) = self.entity(body, &inside) {
            spot.replace(changed, edits);
        }
        true
    }

    /// Counts the part's content, which is a message: those in it are decoded too while it is in memory. False if that is too
    /// much for one mail.
    fn may_decode(&mut self, spot: Spot<'_>) -> bool {
        let counted = self.budget.decode(spot.body().len() as u64);
        let over = counted.err();
        let is_within = over.is_none();
        self.failures.extend(over);
        is_within
    }

    /// A message that lies encoded in an attachment.
    fn encoded_message(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        if !self.may_decode(spot) {
            return;
        }
        let inside = Place {
            whole: false,
            nesting: spot.place.nesting + 1,
            ..spot.place.forwarded()
        };
        let body = spot.decoded();
        if let Some(changed) = self.entity(&in_bytes(&body), &inside) {
            replace_attachment(spot.bytes, spot.part, &changed, edits);
        }
    }

    /// A multipart without parts: some gateways encode the whole body, which no standard allows. What is no
    /// multipart at all is looked at as a leaf.
    fn encoded_multipart(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        let encoding = spot.encoding();
        let content_type = &spot.part.content_type;
        let Some(boundary) = content_type
            .parameter("boundary")
            .filter(|_| encoding == "base64" || encoding == "quoted-printable")
        else {
            return self.leaf(spot, edits);
        };
        if !self.may_decode(spot) {
            return;
        }
        let essence = content_type.essence();
        let mut entity =
            format!("Content-Type: {essence}; boundary=\"{boundary}\"\r\n\r\n").into_bytes();
        entity.extend_from_slice(&spot.decoded());
        let inside = Place {
            nesting: spot.place.nesting + 1,
            ..spot.place.clone()
        };
        if let Some(changed) = self.entity(&entity, &inside) {
            spot.replace(changed, edits);
        }
    }

    /// Opens what lies encrypted in a `winmail.dat`. If something was, the part becomes a multipart of its text
    /// and attachments.
    fn tnef_part(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        if !self.may_decode(spot) {
            return;
        }
        // What it was put together from is not kept while all that is in it is looked into.
        let contents = tnef::parse(&spot.decoded());
        let Some(entity) = contents.map(|contents| tnef::as_entity(&contents)) else {
            return;
        };
        let inside = Place {
            nesting: spot.place.nesting + 1,
            ..spot.place.part()
        };
        if let Some(changed) = self.entity(&entity, &inside) {
            replace_entity(spot.bytes, spot.part, changed, false, edits);
        }
    }
}

impl Walk<'_> {
    /// Opens what lies encrypted in a message that Outlook saved as a file. If something was, the part becomes a
    /// forwarded message. False for what is no such file.
    fn msg_part(&mut self, spot: Spot<'_>, edits: &mut Edits) -> bool {
        // One attachment can have many names in it, and be such a file too.
        if !self.may_decode(spot) {
            return true;
        }
        let Some(mail) = msg::as_mail(&spot.decoded()) else {
            return false;
        };
        let inside = Place {
            nesting: spot.place.nesting + 1,
            ..spot.place.part().forwarded()
        };
        if let Some(changed) = self.entity(&mail, &inside) {
            let message = as_message(changed, spot.part.file_name());
            replace_entity(spot.bytes, spot.part, message, spot.is_message, edits);
        }
        true
    }
}

/// Whether clients may show a part in another way than we do. Of two types, encodings or boundaries they take the one or the
/// other; a boundary that is declared in a strange way, or not at all, they may not find, and show all as text.
fn is_ambiguous(bytes: &[u8], part: &Part) -> bool {
    let twice = |name: &str| part.all(bytes, name).nth(1).is_some();
    let boundary = part.is_multipart()
        && (part.content_type.is_ambiguous("boundary") || !collision::is_declared(bytes, part));
    boundary || twice("content-type") || twice("content-transfer-encoding")
}

fn is_cms_type(essence: &str) -> bool {
    matches!(
        essence,
        "application/pkcs7-mime"
            | "application/x-pkcs7-mime"
            | "application/pkcs7-signature"
            | "application/x-pkcs7-signature"
    )
}

/// Whether a file that begins so is a mail, or what GpgOL and others keep of one as a file: the entity that was signed or
/// encrypted.
fn is_attached_mail(start: &[u8]) -> bool {
    let is_secured = || {
        let content_type = mime::header_of(start).content_type;
        let essence = content_type.essence();
        matches!(essence.as_str(), "multipart/signed" | "multipart/encrypted")
            || is_cms_type(&essence)
    };
    sniff::is_mail(start) || sniff::is_entity(start) && is_secured()
}

/// Top-level types that readers show as text: text itself and whatever nobody knows.
pub(super) fn is_read_as_text(kind: &str) -> bool {
    !matches!(
        kind,
        "application" | "image" | "audio" | "video" | "model" | "font"
    )
}

fn is_key_or_signature(essence: &str) -> bool {
    matches!(
        essence,
        "application/pgp-keys" | "application/pgp-signature"
    )
}
