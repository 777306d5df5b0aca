//! OpenPGP armor inside text: the oldest way to send it, and what copies and gateways leave of the newer ones.

use super::{Place, Spot, Walk};
use crate::mail::context::Unwrapped;
use crate::mail::mime::Part;
use crate::mail::model::Format;
use crate::mail::openpgp::{self, altered, armor, cleartext};
use crate::mail::rendition::{Edits, as_entity, replace_text};
use crate::mail::text::html;
use crate::mail::{charset, mime, sniff, transfer};
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
            let Some(plaintext) = self.only_message(spot, packets, edits) else {
                return;
            };
            let plaintext = in_known_charset(plaintext, &text, charset_of(spot.part));
            replace_text(spot.bytes, spot.part, &plaintext, edits);
        } else if let Some(changed) = self.inline_text(&text, charset_of(spot.part), spot.place) {
            replace_text(spot.bytes, spot.part, &changed, edits);
        }
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
        let is_entity = has_content_fields(&plaintext);
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

    /// As [`Walk::inline_part`] for HTML that a gateway made of the text: what was opened becomes plain text. HTML that
    /// was encrypted itself stays HTML.
    fn html_part(&mut self, spot: Spot<'_>, edits: &mut Edits) {
        let start = transfer::beginning(spot.body(), &spot.encoding(), sniff::WINDOW);
        if !sniff::mentions_armor(&start) {
            return;
        }
        let body = spot.decoded();
        let charset = charset_of(spot.part);
        let text = html::to_text(&charset::decode(&body, charset));
        let text = altered::restored(text.as_bytes()).unwrap_or_else(|| text.into_bytes());
        if let Some(packets) = only_block(&text, &["MESSAGE"]) {
            match self.only_message(spot, packets, edits) {
                Some(html) if is_markup(&html) => {
                    replace_text(spot.bytes, spot.part, &html, edits);
                }
                Some(text) => spot.replace(as_entity(text), edits),
                None => {}
            }
        } else if let Some(changed) = self.inline_text(&text, None, spot.place) {
            spot.replace(as_entity(changed), edits);
        }
    }

    /// What was opened where text is due, opened further: text, or a binary message.
    fn inside_text(&mut self, plaintext: Vec<u8>, place: &Place) -> Vec<u8> {
        if !sniff::is_text(&plaintext) && sniff::is_openpgp(&plaintext) {
            self.inside_bare(plaintext, place)
        } else {
            self.inline_text(&plaintext, None, place)
                .unwrap_or(plaintext)
        }
    }

    /// The text with its encrypted and opaque blocks replaced; clear-signed blocks are verified and stay. `charset` is what
    /// the text says it is in.
    fn inline_text(
        &mut self,
        text: &[u8],
        charset: Option<&str>,
        place: &Place,
    ) -> Option<Vec<u8>> {
        if place.nesting >= self.policy.bounds.depth {
            return None;
        }
        let mut opened: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
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
                "SIGNATURE" => {
                    if let Some(start) = signed_from.take() {
                        let span = start..block.span.end;
                        let place = place_of(&span, &content, place);
                        self.clear_signed(&text[span], &place);
                    }
                }
                label if label.starts_with("MESSAGE") && sniff::is_openpgp_armor(&block.bytes) => {
                    let place = place_of(&block.span, &content, place);
                    if let Some((plaintext, count)) = self.open_pgp(block.bytes, &place) {
                        let inside = place.inside(count);
                        let inner = if is_bare_entity(&plaintext) {
                            text_of(self.inside_entity(plaintext, &inside))
                        } else {
                            let inner = self.inside_text(plaintext, &inside);
                            in_known_charset(inner, &text[block.span.clone()], charset)
                        };
                        opened.push((block.span, inner));
                    }
                }
                _ => {}
            }
        }
        // Announced by the first line of the text, and the signature is cut off: nobody signed it.
        if let Some(start) = signed_from.filter(|start| *start == content.start) {
            self.clear_signed(&text[start..], place);
        }
        with_opened(text, opened, charset)
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

/// Whether there is armor in a part's text, and more than one block of it.
pub(super) fn has_text_around(body: &[u8], encoding: &str) -> bool {
    armored_text(body, encoding).is_some_and(|text| {
        let block = armor::next_block(&text, 0);
        block.is_some_and(|block| !holds_all(&block.span, &content_of(&text)))
    })
}

/// The packets of the one block, labelled with one of `labels`, that is all the text.
pub(super) fn only_block(text: &[u8], labels: &[&str]) -> Option<Vec<u8>> {
    let block = armor::next_block(text, 0)?;
    let fits = labels.iter().any(|label| block.label.starts_with(label))
        && holds_all(&block.span, &content_of(text))
        && sniff::is_openpgp_armor(&block.bytes);
    fits.then_some(block.bytes)
}

fn charset_of(part: &Part) -> Option<&str> {
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

/// The text with what was opened in it. Where the one is UTF-8 and the other is not, all of it becomes UTF-8.
fn with_opened(
    text: &[u8],
    opened: Vec<(Range<usize>, Vec<u8>)>,
    charset: Option<&str>,
) -> Option<Vec<u8>> {
    let pieces = opened.iter().map(|(_, inner)| inner.as_slice());
    if !in_one_charset(pieces.chain([text])) {
        let as_utf8 = |piece: &[u8]| match str::from_utf8(piece) {
            Ok(_) => piece.to_vec(),
            Err(_) => charset::decode(piece, charset).into_bytes(),
        };
        let mut whole = Vec::new();
        let mut at = 0;
        for (span, inner) in opened {
            whole.extend(as_utf8(&text[at..span.start]));
            whole.extend(as_utf8(&inner));
            at = span.end;
        }
        whole.extend(as_utf8(&text[at..]));
        return Some(whole);
    }
    let mut edits = Edits::default();
    for (span, inner) in opened {
        edits.replace(span, inner);
    }
    edits.apply(text)
}

/// Whether all that is not ASCII is UTF-8, or nothing is.
fn in_one_charset<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut are_utf8 = pieces
        .filter(|piece| !piece.is_ascii())
        .map(|piece| str::from_utf8(piece).is_ok());
    let first = are_utf8.next();
    first.is_none_or(|first| are_utf8.all(|is_utf8| is_utf8 == first))
}

/// Whether `bytes` are an entity that says that it is MIME. Text that begins with the header of a mail that it quotes
/// does not.
pub(super) fn has_content_fields(bytes: &[u8]) -> bool {
    sniff::is_entity(bytes) && field_names(bytes).any(|name| name.starts_with("content-"))
}

/// Whether `bytes` are a MIME entity whose header says nothing to a reader.
pub(super) fn is_bare_entity(bytes: &[u8]) -> bool {
    let is_technical = |name: String| name.starts_with("content-") || name == "mime-version";
    sniff::is_entity(bytes) && field_names(bytes).all(is_technical)
}

fn field_names(bytes: &[u8]) -> impl Iterator<Item = String> {
    let fields = mime::header_of(bytes).fields.into_iter();
    fields.map(|field| String::from_utf8_lossy(&bytes[field.name]).to_ascii_lowercase())
}

/// What a reader sees of a MIME entity that is plain text, to be put into a text; any other is put there as it is.
pub(super) fn text_of(entity: Vec<u8>) -> Vec<u8> {
    let part = mime::header_of(&entity);
    if !is_bare_entity(&entity) || !part.content_type.is("text/plain") {
        return entity;
    }
    let text = transfer::decode(&entity[part.body.start..], &part.encoding(&entity));
    let charset = part.content_type.parameter("charset");
    charset::decode(&text, charset).into_bytes()
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
