//! What each MIME part is, and where it goes.

use super::multipart::is_encrypted;
use super::{Place, Walk};
use crate::mail::mime::Part;
use crate::mail::rendition::{Edits, replace_attachment, replace_entity};
use crate::mail::{sniff, tnef, transfer};

impl Walk<'_> {
    /// Looks into `part`. `is_message`: it is the root of a message, so that its header is the message's.
    pub(super) fn part(
        &mut self,
        bytes: &[u8],
        part: &Part,
        is_message: bool,
        place: &Place,
        edits: &mut Edits,
    ) {
        if part.is_multipart() && !part.children.is_empty() {
            if part.content_type.subtype == "signed" {
                return self.signed_multipart(bytes, part, place, edits);
            }
            if is_encrypted(bytes, part)
                && self.encrypted_multipart(bytes, part, is_message, place, edits)
            {
                return;
            }
            let inside = if part.children.len() == 1 {
                place.clone()
            } else {
                place.part()
            };
            for child in &part.children {
                self.part(bytes, child, false, &inside, edits);
            }
        } else if part.is_multipart() {
            self.encoded_multipart(bytes, part, is_message, place, edits);
        } else if let [message] = part.children.as_slice() {
            // Outside encryption a forwarded message is a part of what a reader sees, even if it is all of it.
            let whole = place.whole && place.depth > 0;
            let inside = Place {
                whole,
                from: Vec::new(),
                date: None,
                ..place.clone()
            };
            self.message(bytes, message, &inside, edits);
        } else {
            self.leaf(bytes, part, is_message, place, edits);
        }
    }

    fn leaf(
        &mut self,
        bytes: &[u8],
        part: &Part,
        is_message: bool,
        place: &Place,
        edits: &mut Edits,
    ) {
        let body = &bytes[part.body.clone()];
        let encoding = part.encoding(bytes);
        let name = part.file_name(bytes);
        let lower = name.to_lowercase();
        let essence = part.content_type.essence();
        let ends_with = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));

        if is_cms_type(&essence) || ends_with(&[".p7m", ".p7s", ".p7z", ".p7c"]) {
            let found = sniff::cms_in(body, &encoding);
            let declared = is_cms_type(&essence) && !body.trim_ascii().is_empty();
            let or_anything = || declared.then(|| transfer::decode(body, &encoding).into_owned());
            if let Some(ber) = found.or_else(or_anything) {
                return if essence.ends_with("-signature") || ends_with(&[".p7s"]) {
                    self.lone_signature((bytes, part), ber, is_message, place, edits)
                } else {
                    self.cms_part((bytes, part), ber, is_message, place, edits)
                };
            }
        }
        if matches!(
            essence.as_str(),
            "application/ms-tnef" | "application/vnd.ms-tnef"
        ) || lower == "winmail.dat"
        {
            return self.tnef_part(bytes, part, place, edits);
        }
        if part.content_type.is_message() || ends_with(&[".eml"]) {
            let message = transfer::decode(body, &encoding);
            let inside = Place {
                whole: false,
                from: Vec::new(),
                date: None,
                nesting: place.nesting + 1,
                ..place.clone()
            };
            if let Some(changed) = self.entity(&message, &inside) {
                replace_attachment(bytes, part, &changed, edits);
            }
            return;
        }
        if is_key_or_signature(&essence) {
            return;
        }
        if ends_with(&[".gpg", ".pgp", ".asc"]) || essence.starts_with("application/pgp") {
            if let Some(packets) = sniff::openpgp_in(body, &encoding, "MESSAGE") {
                return self.pgp_attachment(
                    (bytes, part),
                    packets,
                    is_message,
                    &name,
                    place,
                    edits,
                );
            }
        } else if part.content_type.kind != "text" && part.content_type.kind != "image" {
            let start = transfer::beginning(body, &encoding, sniff::WINDOW);
            if sniff::is_cms(&start) {
                return self.cms_part(
                    (bytes, part),
                    transfer::decode(body, &encoding).into_owned(),
                    is_message,
                    place,
                    edits,
                );
            }
            let mentioned = sniff::mentions_armor(&start) || sniff::is_surely_openpgp(&start);
            drop(start);
            if mentioned
                && let content = transfer::decode(body, &encoding)
                && let Some(packets) = sniff::openpgp_in(&content, "", "MESSAGE")
            {
                return self.pgp_attachment(
                    (bytes, part),
                    packets,
                    is_message,
                    &name,
                    place,
                    edits,
                );
            }
        }
        if is_read_as_text(&part.content_type.kind) || is_message || ends_with(&[".asc", ".txt"]) {
            self.inline_part(bytes, part, is_message, place, edits);
        }
    }

    /// A multipart without parts: some gateways encode the whole body, which no standard allows. What is no
    /// multipart at all is looked at as a leaf.
    fn encoded_multipart(
        &mut self,
        bytes: &[u8],
        part: &Part,
        is_message: bool,
        place: &Place,
        edits: &mut Edits,
    ) {
        let encoding = part.encoding(bytes);
        let body = &bytes[part.body.clone()];
        let Some(boundary) = part
            .content_type
            .parameter("boundary")
            .filter(|_| encoding == "base64" || encoding == "quoted-printable")
        else {
            return self.leaf(bytes, part, is_message, place, edits);
        };
        let essence = part.content_type.essence();
        let mut entity =
            format!("Content-Type: {essence}; boundary=\"{boundary}\"\r\n\r\n").into_bytes();
        entity.extend_from_slice(&transfer::decode(body, &encoding));
        let inside = Place {
            nesting: place.nesting + 1,
            ..place.clone()
        };
        if let Some(changed) = self.entity(&entity, &inside) {
            replace_entity(bytes, part, changed, is_message, edits);
        }
    }

    fn pgp_attachment(
        &mut self,
        (bytes, part): (&[u8], &Part),
        packets: Vec<u8>,
        is_message: bool,
        name: &str,
        place: &Place,
        edits: &mut Edits,
    ) {
        if is_message {
            self.pgp_entity((bytes, part), packets, true, place, edits);
        } else {
            self.pgp_file((bytes, part), packets, name, place, edits);
        }
    }

    /// Opens what lies encrypted in a `winmail.dat`. If something was, the part becomes a multipart of its text
    /// and attachments.
    fn tnef_part(&mut self, bytes: &[u8], part: &Part, place: &Place, edits: &mut Edits) {
        let body = transfer::decode(&bytes[part.body.clone()], &part.encoding(bytes));
        let Some(contents) = tnef::parse(&body) else {
            return;
        };
        let entity = tnef::as_entity(&contents);
        let inside = Place {
            nesting: place.nesting + 1,
            ..place.part()
        };
        if let Some(changed) = self.entity(&entity, &inside) {
            replace_entity(bytes, part, changed, false, edits);
        }
    }
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

/// Top-level types that readers show as text: text itself and whatever nobody knows.
fn is_read_as_text(kind: &str) -> bool {
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
