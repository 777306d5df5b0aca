//! OpenPGP armor inside text: the oldest way to send it, and what copies and gateways leave of the newer ones.

use super::bare::{BYTE_ORDER_MARK, Object};
use super::splice::{Found, Inner, Splices, is_typed, may_have_objects, objects_in};
use super::{Place, Spot, Walk};
use crate::mail::context::Unwrapped;
use crate::mail::mime::Part;
use crate::mail::model::{Format, SignatureMath, Verdict};
use crate::mail::openpgp::{self, altered, armor, cleartext};
use crate::mail::rendition::{Edits, as_entity, replace_text};
use crate::mail::text::html;
use crate::mail::{charset, rtf, sniff, transfer};
use std::borrow::Cow;
use std::ops::Range;

impl Walk<'_> {
    /// Opens the armored blocks in a text part and puts their plaintext in their place. Text that is nothing but
    /// one encrypted MIME entity is replaced by that entity.
    pub(super) fn inline_part(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        if spot.part.content_type.is("text/html") || is_rich(spot) {
            return self.markup_part(spot, edits);
        }
        let place = &spot.place_in_text();
        let spot = Spot { place, ..spot };
        let Some(text) = text_with_objects(spot.body(), spot.encoding()) else {
            return;
        };
        if let Some(packets) = only_block(&text, &["MESSAGE"]) {
            let Some(plaintext) = self.only_message(spot, packets, edits) else {
                return;
            };
            let plaintext = in_known_charset(plaintext, &text, charset_of(spot.part));
            replace_text(spot.bytes, spot.part, &plaintext, edits);
        } else if let Some(Found { object, name, .. }) = only_object(&text) {
            match object {
                Object::Cms(ber) => self.cms_part(spot, ber.into_owned(), edits),
                Object::OpenPgp(packets) => {
                    self.pgp_attachment(spot, packets.into_owned(), &name, edits);
                }
            }
        } else {
            let splices = self.splices(&text, charset_of(spot.part), spot.place);
            splices.put(spot, &text, edits);
        }
    }

    /// Opens what is in a file that is text by its content: one block, which is all of it, or several objects with text
    /// around them, which stays. False if it is no such file.
    pub(super) fn text_file(&mut self, spot: Spot<'_>, edits: &mut Edits) -> bool {
        let start = transfer::beginning(spot.body(), spot.encoding(), sniff::WINDOW);
        if !sniff::is_text(&start) && !altered::is_armored_utf16(&start) {
            return false;
        }
        drop(start);
        if is_rich(spot) {
            self.markup_part(spot, edits);
            return true;
        }
        let Some(text) = text_with_objects(spot.body(), spot.encoding()) else {
            return false;
        };
        if let Some(packets) = only_block(&text, &["MESSAGE"]) {
            self.pgp_attachment(spot, packets, spot.part.file_name(), edits);
            return true;
        }
        let is_object = |block: armor::Block| match block.label.as_str() {
            armor::SIGNED_MESSAGE => true,
            label => label.starts_with("MESSAGE") && sniff::is_openpgp_armor(&block.bytes),
        };
        let found = armor::blocks(&text).any(is_object) || !objects_in(&text).is_empty();
        if found {
            self.inline_part(spot, edits);
        }
        found
    }

    /// Opens the message that is all of a text part. Returns the text in it; an entity is put in the part's place.
    fn only_message(
        &mut self,
        spot: Spot<'_>,
        packets: Vec<u8>,
        edits: &mut Edits,
    ) -> Option<Vec<u8>> {
        let before = self.signatures.len();
        let (plaintext, count) = self.open_pgp(packets, spot.place)?;
        let is_entity = is_typed(&plaintext);
        if spot.is_message && is_entity {
            self.compare_senders(before, &plaintext);
        }
        let inside = spot.place.inside(count);
        if is_entity {
            let inner = self.inside_entity(plaintext, &inside);
            spot.replace(inner, edits);
            return None;
        }
        Some(self.inside_text(plaintext, &inside))
    }

    /// As [`Walk::inline_part`] for HTML or rich text that a program made of the text: what was opened becomes plain text.
    /// HTML that was encrypted itself stays HTML.
    fn markup_part(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        if !may_have_objects(spot.body(), spot.encoding()) {
            return;
        }
        // Pictures and style sheets show more than the text that we see, and hide it.
        let place = &spot.place.part();
        let spot = Spot { place, ..spot };
        let body = spot.decoded();
        let charset = charset_of(spot.part);
        let text = if is_rich(spot) {
            rtf::to_text(&body)
        } else {
            self.text_of(&charset::decode(&body, charset), place)
        };
        let text = altered::restored(text.as_bytes()).unwrap_or_else(|| text.into_bytes());
        if let Some(packets) = only_block(&text, &["MESSAGE"]) {
            match self.only_message(spot, packets, edits) {
                Some(html) if is_markup(&html) => {
                    replace_text(spot.bytes, spot.part, &html, edits);
                }
                Some(text) => spot.replace(as_entity(text), edits),
                None => {}
            }
            return;
        }
        let before = self.signatures.len();
        let splices = self.splices(&text, None, spot.place);
        for signature in &mut self.signatures[before..] {
            if signature.depth == place.depth && signature.math == SignatureMath::Bad {
                "html: the text was made HTML of, and its lines are lost"
                    .clone_into(&mut signature.reason);
                signature.math = SignatureMath::Unchecked;
                signature.verdict = Verdict::UnknownSigner;
            }
        }
        if let Some(changed) = splices.into_entity(&text, None, spot) {
            spot.replace(changed, edits);
        }
    }

    /// The text of HTML; of clear-signed text in it, of which HTML was made, the lines for which the signature fits.
    fn text_of(&self, html: &str, place: &Place) -> String {
        let text = html::to_text(html);
        if clear_signed_in(&text).is_none() {
            return text;
        }
        let fits = |text: &String| {
            clear_signed_in(text).is_some_and(|block| {
                let result = openpgp::open_clear_signed(block.as_bytes(), &self.context(place));
                result.is_ok_and(|opened| opened.is_well_signed())
            })
        };
        let forms = [false, true].map(|raw| html::to_lines(html, raw));
        forms.into_iter().find(fits).unwrap_or(text)
    }

    /// What was opened where text is due, opened further: text, or a binary message.
    pub(super) fn inside_text(&mut self, plaintext: Vec<u8>, place: &Place) -> Vec<u8> {
        if !sniff::is_text(&plaintext) && sniff::is_openpgp(&plaintext) {
            self.inside_bare(plaintext, place)
        } else {
            let splices = self.splices(&plaintext, None, place);
            splices.into_text(&plaintext, None).unwrap_or(plaintext)
        }
    }

    /// What the encrypted and opaque objects in a text hold; clear-signed blocks are verified and stay. `charset` is what
    /// the text says it is in.
    pub(super) fn splices(&mut self, text: &[u8], charset: Option<&str>, place: &Place) -> Splices {
        let mut splices = Splices::default();
        if place.nesting >= self.policy.bounds.depth {
            return splices;
        }
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
                label if label.starts_with("MESSAGE") && sniff::is_openpgp_armor(&block.bytes) => {
                    let place = place_of(&block.span, &content, place);
                    if let Some((plaintext, count)) = self.open_pgp(block.bytes, &place) {
                        let inner = match self.inner(plaintext, "", &place.inside(count)) {
                            Inner::Text(inner) => {
                                let armor = &text[block.span.clone()];
                                Inner::Text(in_known_charset(inner, armor, charset))
                            }
                            entity @ Inner::Entity(_) => entity,
                        };
                        splices.push(block.span, inner);
                    }
                }
                _ => {}
            }
        }
        // Announced by the first line of the text, and the signature is cut off: nobody signed it.
        if let Some(start) = signed_from.filter(|start| *start == content.start) {
            self.clear_signed(&text[start..], place);
        }
        self.splice_objects(text, place, &mut splices);
        splices
    }

    fn clear_signed(&mut self, text: &[u8], place: &Place) {
        let place = if cleartext::shows_more(text) {
            place.part()
        } else {
            place.clone()
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

/// Whether a part is rich text by its content.
fn is_rich(spot: Spot<'_>) -> bool {
    const BEGIN: &[u8] = b"{\\rtf";
    transfer::beginning(spot.body(), spot.encoding(), BEGIN.len()).starts_with(BEGIN)
}

/// The first clear-signed block in a text.
fn clear_signed_in(text: &str) -> Option<&str> {
    let mut blocks = armor::blocks(text.as_bytes());
    let start = blocks.find(|block| block.label == armor::SIGNED_MESSAGE)?;
    let end = blocks.find(|block| block.label == "SIGNATURE")?;
    text.get(start.span.start..end.span.end)
}

/// The part's text if there is armor or another object in it, by the declared transfer encoding or by the one it really
/// has.
fn text_with_objects<'b>(body: &'b [u8], encoding: &str) -> Option<Cow<'b, [u8]>> {
    let has_armor = |text: &[u8]| armor::next_block(text, 0).is_some();
    let start = transfer::beginning(body, encoding, sniff::WINDOW);
    let mentioned = may_have_objects(body, encoding) || altered::is_armored_utf16(&start);
    if mentioned {
        let declared = transfer::decode(body, encoding);
        let declared = altered::restored(&declared).map_or(declared, Cow::Owned);
        if has_armor(&declared) || !objects_in(&declared).is_empty() {
            return Some(declared);
        }
    }
    (encoding == "base64" && has_armor(body)).then_some(Cow::Borrowed(body))
}

/// The one object that is all of a text.
pub(super) fn only_object(text: &[u8]) -> Option<Found> {
    let mut objects = objects_in(text);
    let only = objects.pop()?;
    holds_all(&only.span, &content_of(text)).then_some(only)
}

/// The packets of the one block, labelled with one of `labels`, that is all the text.
pub(super) fn only_block(text: &[u8], labels: &[&str]) -> Option<Vec<u8>> {
    let block = armor::next_block(text, 0)?;
    let fits = labels.iter().any(|label| block.label.starts_with(label))
        && holds_all(&block.span, &content_of(text))
        && sniff::is_openpgp_armor(&block.bytes);
    fits.then_some(block.bytes)
}

pub(super) fn charset_of(part: &Part) -> Option<&str> {
    part.content_type.parameter("charset")
}

/// The plaintext of the armor in `text` as UTF-8 where the armor names another charset than is `declared`, or where it is
/// plainly ISO-2022-JP; else as it is.
fn in_known_charset(plaintext: Vec<u8>, text: &[u8], declared: Option<&str>) -> Vec<u8> {
    let declared = declared.unwrap_or_default();
    let named = armor::charset(text).filter(|named| !named.eq_ignore_ascii_case(declared));
    let is_japanese = armor::find(&plaintext, b"\x1b$").is_some()
        && !declared.to_ascii_lowercase().starts_with("iso-2022");
    if named.is_some() || is_japanese {
        charset::decode(&plaintext, named.as_deref()).into_bytes()
    } else {
        plaintext
    }
}

/// Whether a text is HTML from its first character to its last.
fn is_markup(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let begins = matches!(text, [b'<', next, ..] if next.is_ascii_alphabetic() || *next == b'!');
    begins && text.ends_with(b">") && armor::find(text, b"</").is_some()
}

/// Something stands before `at` in its line.
fn is_quoted(text: &[u8], at: usize) -> bool {
    let before = text[..at].rsplit(|byte| *byte == b'\n').next();
    before.is_some_and(|before| !before.trim_ascii().is_empty() && before != BYTE_ORDER_MARK)
}

/// Where the text lies that is no white space around it, nor a byte order mark.
pub(super) fn content_of(text: &[u8]) -> Range<usize> {
    let end = text.trim_ascii_end().len();
    let text = &text[..end];
    let unmarked = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    end - unmarked.trim_ascii_start().len()..end
}

pub(super) fn holds_all(span: &Range<usize>, content: &Range<usize>) -> bool {
    span.start <= content.start && content.end <= span.end
}

/// The place of a block that is all of the text, or a part of it.
pub(super) fn place_of(span: &Range<usize>, content: &Range<usize>, text: &Place) -> Place {
    if holds_all(span, content) {
        text.clone()
    } else {
        text.part()
    }
}

/// Whether a body is a text with S/MIME in it, and something to read around that.
pub(super) fn has_text_around_object(body: &[u8], encoding: &str) -> bool {
    let text = transfer::decode(body, encoding);
    let content = content_of(&text);
    let objects = objects_in(&text);
    !objects.is_empty() && !objects.iter().any(|found| holds_all(&found.span, &content))
}

/// Whether a body is a text with one armored message or more in it, and something to read around them.
pub(super) fn has_text_around(body: &[u8], encoding: &str) -> bool {
    let start = transfer::beginning(body, encoding, sniff::WINDOW);
    if !sniff::is_text(&start) || !sniff::mentions_armor(&start) {
        return false;
    }
    drop(start);
    let declared = transfer::decode(body, encoding);
    let text = altered::restored(&declared).map_or(declared, Cow::Owned);
    let is_mark = |byte: &u8| matches!(byte, b'>' | b'|') || byte.is_ascii_whitespace();
    let begin = armor::find(&text, b"-----BEGIN PGP ");
    let end = armor::find_last(&text, b"-----END PGP ");
    let before = begin.map_or(&[][..], |at| &text[..at]);
    let after = end.map_or(&[][..], |at| &text[armor::line(&text, at).1..]);
    let second = begin.and_then(|at| armor::find(&text[at + 1..], b"-----BEGIN PGP "));
    begin.is_some()
        && (second.is_some() || ![before, after].iter().all(|text| text.iter().all(is_mark)))
}
