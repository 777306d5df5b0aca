//! Finds every cryptographic object in a message, opens it, and looks into what came out, until nothing is left.
//!
//! S/MIME and OpenPGP nest in each other and in forwarded messages, attachments and TNEF. Each object is opened by
//! its format's module; this one decides what is an object, what its plaintext replaces, and how deep to go.

mod archive;
mod bare;
mod cms;
mod detached;
mod file;
mod inline;
mod multipart;
mod parts;
mod pgp;
mod result;
mod sender;
mod splice;

use super::context::{Budget, Context, Failure, OpenPgpCertificate, OpenPolicy, Trust};
use super::keyops::{KeyHint, KeyOps};
use super::mime::{self, Part};
use super::model::{Layer, Opened, Scope, Signature};
use super::rendition::{Edits, replace_entity};
use super::{charset, collision, date, emlx, header, journal, msg, sniff, text, transfer};
use crate::time::Timestamp;
use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

/// Opens `message`: a mail, or a bare CMS or OpenPGP object. Never fails: what does not open is named in the
/// result. `arrived` is when the mail was received; verdicts are computed for that time.
#[must_use]
pub fn open(
    message: &[u8],
    keys: &dyn KeyOps,
    trust: &Trust,
    policy: &OpenPolicy,
    arrived: Timestamp,
) -> Opened {
    let budget = Budget::default();
    let mut walk = Walk {
        keys,
        trust,
        attached: Vec::new(),
        policy,
        arrived,
        budget: &budget,
        tried: Cell::new(0),
        looked_at: Cell::new(0),
        layers: Vec::new(),
        signatures: Vec::new(),
        waiting_for: Vec::new(),
        failures: Vec::new(),
    };
    let limit = policy.bounds.message_bytes;
    if message.len() as u64 > limit {
        walk.failures.push(Failure::OverBound {
            bound: "message_bytes",
            limit,
        });
        let text = text::search_text(without_preamble(message), &policy.bounds);
        return walk.into_opened(None, text);
    }
    let saved = msg::as_mail(message);
    let message = in_bytes(saved.as_deref().unwrap_or(message));
    let message = without_preamble(&message);
    // Outlook shows other properties of the message than the header that we read.
    let place = Place {
        whole: saved.is_none(),
        ..Place::default()
    };
    if let Some(object) = bare::find(message) {
        let rendition = walk.bare(object, &place);
        let readable = rendition.as_deref().unwrap_or(message);
        let text = text::search_text(readable, &policy.bounds);
        return walk.into_opened(rendition, text);
    }
    let message = with_line_feeds(message);
    let root = walk.parsed(&message, &place);
    let rendition = walk.parsed_entity(&message, &root, &place);
    let mut text = match &rendition {
        Some(changed) => text::search_text(changed, &policy.bounds),
        None => text::search_text_of(&message, &root, &policy.bounds),
    };
    if journal::is_marked(&message, &root) {
        text.notes.push(journal::NOT_UNWRAPPED.to_owned());
    }
    walk.into_opened(rendition, text)
}

/// Where in the tree an entity lies.
#[derive(Debug, Clone)]
struct Place {
    /// Cryptographic layers around it.
    depth: u32,
    /// MIME parts and cryptographic layers around it.
    nesting: u32,
    /// Nothing else of the message is visible beside it.
    whole: bool,
    /// Addresses in From, lower case: the mail's own, or nobody's where it shows none, and those that protected headers
    /// put in its place.
    from: Vec<String>,
    /// It is in a mail, not only in a MIME entity or a bare object.
    is_mail: bool,
    /// The nearest Date.
    date: Option<Timestamp>,
}

impl Default for Place {
    /// The whole message.
    fn default() -> Self {
        Self {
            depth: 0,
            nesting: 0,
            whole: true,
            from: Vec::new(),
            is_mail: false,
            date: None,
        }
    }
}

impl Place {
    fn inside(&self, layers: u32) -> Self {
        Self {
            depth: self.depth + layers,
            nesting: self.nesting + layers.max(1),
            ..self.clone()
        }
    }

    fn part(&self) -> Self {
        Self {
            whole: false,
            ..self.clone()
        }
    }

    /// For a message in the mail: its sender and date are its own.
    fn forwarded(&self) -> Self {
        Self {
            from: Vec::new(),
            is_mail: false,
            date: None,
            ..self.clone()
        }
    }
}

/// A part that is looked into: where it lies in its entity's bytes, and where the entity lies in the tree.
#[derive(Clone, Copy)]
struct Spot<'a> {
    bytes: &'a [u8],
    part: &'a Part,
    /// The part is the root of a message, so that its header is the message's.
    is_message: bool,
    place: &'a Place,
}

impl<'a> Spot<'a> {
    /// The body as it stands, in its transfer encoding.
    fn body(&self) -> &'a [u8] {
        &self.bytes[self.part.body.clone()]
    }

    fn encoding(&self) -> &'a str {
        &self.part.encoding
    }

    /// The body without its transfer encoding.
    fn decoded(&self) -> Cow<'a, [u8]> {
        transfer::decode(self.body(), self.encoding())
    }

    /// Puts the entity `inner` in the part's place.
    fn replace(&self, inner: Vec<u8>, edits: &mut Edits) {
        replace_entity(self.bytes, self.part, inner, self.is_message, edits);
    }

    /// A part inside this one, in `place`.
    fn child<'c>(&self, part: &'c Part, place: &'c Place) -> Spot<'c>
    where
        'a: 'c,
    {
        Spot {
            bytes: self.bytes,
            part,
            is_message: false,
            place,
        }
    }
}

/// What has been found so far.
struct Walk<'a> {
    keys: &'a dyn KeyOps,
    trust: &'a Trust,
    attached: Vec<OpenPgpCertificate>,
    policy: &'a OpenPolicy,
    arrived: Timestamp,
    budget: &'a Budget,
    /// Bytes that signatures were tried on which may be over something else.
    tried: Cell<u64>,
    /// Bytes that archives were unpacked to for a look.
    looked_at: Cell<u64>,
    layers: Vec<Layer>,
    signatures: Vec<Signature>,
    waiting_for: Vec<KeyHint>,
    failures: Vec<Failure>,
}

impl Walk<'_> {
    fn context<'c>(&'c self, place: &Place) -> Context<'c> {
        Context {
            keys: self.keys,
            trust: self.trust,
            attached: &self.attached,
            policy: self.policy,
            arrived: self.arrived,
            from: place.from.clone(),
            date: place.date,
            around: self.encryption_around(place),
            budget: self.budget,
        }
    }

    /// The innermost encryption around a place that is looked into now: all that was found since is inside of it.
    fn encryption_around(&self, place: &Place) -> Option<&Layer> {
        let mut depth = place.depth;
        self.layers.iter().rev().find(|layer| {
            let is_around = layer.depth < depth;
            depth = depth.min(layer.depth);
            is_around && result::is_encryption(layer)
        })
    }

    /// Looks into one MIME entity. Returns its changed bytes, or `None` if nothing in it was opened.
    fn entity(&mut self, bytes: &[u8], place: &Place) -> Option<Vec<u8>> {
        let bounds = &self.policy.bounds;
        if place.nesting >= bounds.depth {
            self.failures.push(Failure::OverBound {
                bound: "depth",
                limit: u64::from(bounds.depth),
            });
            return None;
        }
        let root = self.parsed(bytes, place);
        self.parsed_entity(bytes, &root, place)
    }

    fn parsed(&mut self, bytes: &[u8], place: &Place) -> Part {
        let (root, over) = mime::parse(bytes, place.nesting, &self.policy.bounds, self.budget);
        self.failures.extend(over);
        root
    }

    /// As [`Walk::entity`], of one that is parsed already.
    fn parsed_entity(&mut self, bytes: &[u8], root: &Part, place: &Place) -> Option<Vec<u8>> {
        self.collect_keys(bytes, root);
        let mut edits = Edits::default();
        self.message(bytes, root, place, &mut edits);
        collision::set_apart(bytes, root, &mut edits);
        edits.apply(bytes)
    }

    /// Looks into the root of a message or of a plaintext entity.
    fn message(&mut self, bytes: &[u8], root: &Part, place: &Place, edits: &mut Edits) {
        let mut place = place.clone();
        let mut shown = sender::shown(bytes, root);
        let is_mail = sender::is_mail(bytes, root);
        if is_mail && !place.is_mail && shown.is_empty() {
            shown.push(sender::NOBODY.to_owned());
        }
        place.from.extend(shown);
        place.from.sort();
        place.from.dedup();
        place.from = sender::bounded(place.from);
        place.is_mail |= is_mail;
        let date = root.first(bytes, "date").map(header::decode_words);
        place.date = date.and_then(|date| date::parse(&date)).or(place.date);
        let spot = Spot {
            bytes,
            part: root,
            is_message: true,
            place: &place,
        };
        self.part(spot, edits);
    }
}

/// A mail that was saved as UTF-16, which Notepad calls Unicode, as it came.
fn in_bytes(message: &[u8]) -> Cow<'_, [u8]> {
    let charset = match message {
        [0xff, 0xfe, ..] => "utf-16le",
        [0xfe, 0xff, ..] => "utf-16be",
        [first, 0, second, 0, ..] if first.is_ascii_graphic() && second.is_ascii() => "utf-16le",
        [0, first, 0, second, ..] if first.is_ascii_graphic() && second.is_ascii() => "utf-16be",
        _ => return Cow::Borrowed(message),
    };
    let text = charset::decode(message, Some(charset));
    let text = text.trim_start_matches('\u{feff}').as_bytes().to_vec();
    if sniff::is_entity(&text) {
        Cow::Owned(text)
    } else {
        Cow::Borrowed(message)
    }
}

/// The message in a file of Apple Mail.
fn in_emlx(file: &[u8]) -> Option<&[u8]> {
    let Range { start, end } = emlx::message(file, file.len() as u64)?;
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    let (message, behind) = (&file[start..end], &file[end..]);
    (behind.starts_with(b"<?xml") && sniff::is_entity(message)).then_some(message)
}

/// The message without the byte order mark or the blank lines that some exports put before the header, or what Apple Mail puts
/// around it.
fn without_preamble(message: &[u8]) -> &[u8] {
    if let Some(message) = in_emlx(message) {
        return message;
    }
    let unmarked = message
        .strip_prefix(bare::BYTE_ORDER_MARK)
        .unwrap_or(message);
    let blanks = unmarked
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    let trimmed = &unmarked[blanks..];
    if blanks > 0 && sniff::is_entity(trimmed) {
        trimmed
    } else {
        unmarked
    }
}

/// The message with line feeds where it has only carriage returns, as old Macintosh software left it.
fn with_line_feeds(message: &[u8]) -> Cow<'_, [u8]> {
    if message.contains(&b'\n') || !message.contains(&b'\r') {
        return Cow::Borrowed(message);
    }
    Cow::Owned(
        message
            .iter()
            .map(|&byte| if byte == b'\r' { b'\n' } else { byte })
            .collect(),
    )
}

const fn scope(place: &Place) -> Scope {
    if place.whole {
        Scope::Whole
    } else {
        Scope::Part
    }
}
