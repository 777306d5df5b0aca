//! OpenPGP armor inside text: the oldest way to send it, and what copies and gateways leave of the newer ones.

use super::{Place, Spot, Walk};
use crate::mail::context::Unwrapped;
use crate::mail::mime::Part;
use crate::mail::model::Format;
use crate::mail::openpgp::{self, altered, armor, cleartext};
use crate::mail::rendition::{Edits, as_entity, replace_text};
use crate::mail::text::html;
use crate::mail::{charset, sniff, transfer};
use std::borrow::Cow;
use std::ops::Range;

impl Walk<'_> {
    /// Opens the armored blocks in a text part and puts their plaintext in their place. Text that is nothing but
    /// one encrypted MIME entity is replaced by that entity.
    pub(super) fn inline_part(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        if spot.part.content_type.is("text/html") {
            return self.html_part(spot, edits);
        }
        let Some(text) = armored_text(spot.body(), &spot.encoding()) else {
            return;
        };
        if let Some(packets) = only_block(&text, &["MESSAGE"]) {
            let before = self.signatures.len();
            let Some((plaintext, count)) = self.open_pgp(packets, spot.place) else {
                return;
            };
            if spot.is_message {
                self.compare_senders(before, &plaintext);
            }
            let inside = spot.place.inside(count);
            if sniff::is_entity(&plaintext) {
                let inner = self.inside_entity(plaintext, &inside);
                spot.replace(inner, edits);
            } else {
                let plaintext = self.inside_text(plaintext, &inside);
                let plaintext = in_known_charset(plaintext, &text, spot.part);
                replace_text(spot.bytes, spot.part, &plaintext, edits);
            }
        } else if let Some(changed) = self.inline_text(&text, spot.place) {
            replace_text(spot.bytes, spot.part, &changed, edits);
        }
    }

    /// As [`Walk::inline_part`] for HTML that a gateway made of the text: what was opened becomes plain text.
    fn html_part(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        let start = transfer::beginning(spot.body(), &spot.encoding(), sniff::WINDOW);
        if !sniff::mentions_armor(&start) {
            return;
        }
        let body = spot.decoded();
        let charset = spot.part.content_type.parameter("charset");
        let text = html::to_text(&charset::decode(&body, charset));
        let text = altered::restored(text.as_bytes()).unwrap_or_else(|| text.into_bytes());
        if let Some(changed) = self.inline_text(&text, spot.place) {
            spot.replace(as_entity(changed), edits);
        }
    }

    /// What was opened where text is due, opened further: text, or a binary message.
    fn inside_text(&mut self, plaintext: Vec<u8>, place: &Place) -> Vec<u8> {
        if !sniff::is_text(&plaintext) && sniff::is_openpgp(&plaintext) {
            self.inside_bare(plaintext, place)
        } else {
            self.inline_text(&plaintext, place).unwrap_or(plaintext)
        }
    }

    /// The text with its encrypted and opaque blocks replaced; clear-signed blocks are verified and stay.
    pub(super) fn inline_text(&mut self, text: &[u8], place: &Place) -> Option<Vec<u8>> {
        if place.nesting >= self.policy.bounds.depth {
            return None;
        }
        let mut edits = Edits::default();
        let mut signed_from = None;
        let content = content_of(text);
        for block in armor::blocks(text) {
            if let Err(failure) = self.budget.part(&self.policy.bounds) {
                self.failures.push(failure);
                break;
            }
            match block.label.as_str() {
                // What a reply quotes is nobody's signature any more.
                armor::SIGNED_MESSAGE if !is_quoted(text, block.span.start) => {
                    signed_from = Some(block.span.start);
                }
                // Behind a dash escape it is in the text that is signed.
                "SIGNATURE" if !text[..block.span.start].ends_with(b"\n- ") => {
                    if let Some(start) = signed_from.take() {
                        let span = start..block.span.end;
                        let place = place_of(&span, &content, place);
                        self.clear_signed(&text[span], &place);
                    }
                }
                label if label.starts_with("MESSAGE") && sniff::is_openpgp(&block.bytes) => {
                    let place = place_of(&block.span, &content, place);
                    if let Some((plaintext, count)) = self.open_pgp(block.bytes, &place) {
                        let inner = self.inside_text(plaintext, &place.inside(count));
                        edits.replace(block.span, inner);
                    }
                }
                _ => {}
            }
        }
        // Announced by the first line of the text, and the signature is cut off: nobody signed it.
        if let Some(start) = signed_from.filter(|start| *start == content.start) {
            self.clear_signed(&text[start..], place);
        }
        edits.apply(text)
    }

    fn clear_signed(&mut self, text: &[u8], place: &Place) {
        // What stands behind the dashes of the first line and in the header lines is shown, and signed by nobody.
        let first = armor::line(text, 0).0.trim_ascii_end();
        let place = if first.ends_with(b"-----") && !cleartext::has_telling_headers(text) {
            place.clone()
        } else {
            place.part()
        };
        let mut result = openpgp::open_clear_signed(text, &self.context(&place));
        if std::str::from_utf8(text).is_err()
            && !result.as_ref().is_ok_and(Unwrapped::is_well_signed)
        {
            // Signed as UTF-8, which a gateway made Latin-1 of.
            let utf8 = charset::decode(text, Some("windows-1252"));
            let again = openpgp::open_clear_signed(utf8.as_bytes(), &self.context(&place));
            if again.as_ref().is_ok_and(Unwrapped::is_well_signed) {
                result = again;
            }
        }
        self.settle_signature(result, Format::Openpgp, &place);
    }
}

/// The part's text if there is OpenPGP armor in it, by the declared transfer encoding or by the one it really has.
fn armored_text<'b>(body: &'b [u8], encoding: &str) -> Option<Cow<'b, [u8]>> {
    let has_armor = |text: &[u8]| armor::next_block(text, 0).is_some();
    let start = transfer::beginning(body, encoding, sniff::WINDOW);
    let mentioned =
        transfer::contains(body, encoding, &armor::MARKS) || altered::is_armored_utf16(&start);
    if mentioned {
        let declared = transfer::decode(body, encoding);
        let declared = altered::restored(&declared).map_or(declared, Cow::Owned);
        if has_armor(&declared) {
            return Some(declared);
        }
    }
    (encoding == "base64" && has_armor(body)).then_some(Cow::Borrowed(body))
}

/// The packets of the one block, labelled with one of `labels`, that is all the text.
pub(super) fn only_block(text: &[u8], labels: &[&str]) -> Option<Vec<u8>> {
    let block = armor::next_block(text, 0)?;
    let fits = labels.iter().any(|label| block.label.starts_with(label))
        && holds_all(&block.span, &content_of(text))
        && sniff::is_openpgp(&block.bytes);
    fits.then_some(block.bytes)
}

/// The plaintext of the armor in `text` as UTF-8 where the armor names another charset than the part, or where it is
/// plainly ISO-2022-JP; else as it is.
fn in_known_charset(plaintext: Vec<u8>, text: &[u8], part: &Part) -> Vec<u8> {
    let declared = part.content_type.parameter("charset").unwrap_or_default();
    let named = armor::charset(text).filter(|named| !named.eq_ignore_ascii_case(declared));
    let is_japanese = armor::find(&plaintext, b"\x1b$").is_some()
        && !declared.to_ascii_lowercase().starts_with("iso-2022");
    if named.is_some() || is_japanese {
        charset::decode(&plaintext, named.as_deref()).into_bytes()
    } else {
        plaintext
    }
}

/// Something stands before `at` in its line.
fn is_quoted(text: &[u8], at: usize) -> bool {
    let before = text[..at].rsplit(|byte| *byte == b'\n').next();
    before.is_some_and(|before| !before.trim_ascii().is_empty())
}

/// Where the text lies that is no white space around it.
fn content_of(text: &[u8]) -> Range<usize> {
    let end = text.trim_ascii_end().len();
    end - text[..end].trim_ascii_start().len()..end
}

fn holds_all(span: &Range<usize>, content: &Range<usize>) -> bool {
    span.start <= content.start && content.end <= span.end
}

/// The place of a block that is all of the text, or a part of it.
fn place_of(span: &Range<usize>, content: &Range<usize>, text: &Place) -> Place {
    if holds_all(span, content) {
        text.clone()
    } else {
        text.part()
    }
}
