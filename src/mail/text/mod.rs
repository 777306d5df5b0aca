//! What search knows of a mail: header fields and the text of every readable part, decoded to UTF-8.

mod attached;
mod entities;
mod font;
pub mod html;
mod invoice;
mod kind;
mod lines;
mod office;
mod page;
mod pdf;
mod uuencoded;
mod xml;

use super::bounds::Bounds;
use super::context::Budget;
use super::header::{self, ContentType};
use super::mime::{self, Part};
use super::model::{Mailbox, SearchText};
use super::{address, charset, date, msg, rendition, rtf, sniff, tnef, transfer};
use kind::Kind;
use std::borrow::Cow;
use std::collections::HashSet;

/// Bytes that all documents in one mail may unpack to: office XML is some ten times its text.
const MAX_UNPACKED: u64 = 64 << 20;
/// Addresses kept of the From fields, and of all recipients' fields.
const MAX_MAILBOXES: usize = 10_000;

/// Takes the searchable text out of `message` (a rendition, or a mail that needed none), within
/// `bounds.text_bytes`. Never fails: a part whose text cannot be taken is named in the notes.
#[must_use]
pub fn search_text(message: &[u8], bounds: &Bounds) -> SearchText {
    let (root, over) = mime::parse(message, 0, bounds, &Budget::default());
    let mut found = search_text_of(message, &root, bounds);
    found.notes.extend(over.map(|failure| failure.to_string()));
    found
}

/// As [`search_text`], of a message that is parsed already.
#[must_use]
pub fn search_text_of(message: &[u8], root: &Part, bounds: &Bounds) -> SearchText {
    let mut collector = Collector {
        bounds,
        budget: &Budget::default(),
        room: usize::try_from(bounds.text_bytes).unwrap_or(usize::MAX),
        unpackable: if bounds.documents { MAX_UNPACKED } else { 0 },
        savable: bounds.expanded_bytes,
        found: headers(message, root),
    };
    collector.part(message, root, None, 0);
    collector.found
}

/// The fields of the message, those of protected headers first.
fn headers(bytes: &[u8], root: &Part) -> SearchText {
    let inner = protected(bytes, root);
    let label = charset_of(root);
    let first = |name: &str| {
        let field = inner.and_then(|part| part.first(bytes, name));
        let value = field.or_else(|| root.first(bytes, name));
        value.map(|value| in_charset(value, label))
    };
    let all = |names: &[&str]| -> Vec<Mailbox> {
        let parts = [inner, Some(root)].into_iter().flatten();
        let fields = parts.flat_map(|part| names.iter().flat_map(|name| part.all(bytes, name)));
        let mut seen = HashSet::new();
        fields
            .flat_map(|value| address::mailboxes(&in_charset(value, label)))
            .filter(|mailbox| seen.insert(mailbox.clone()))
            .take(MAX_MAILBOXES)
            .collect()
    };
    let message_id = first("message-id").map(|value| {
        let text = header::decode_words(&value);
        text.trim_matches(['<', '>', ' ']).to_owned()
    });
    SearchText {
        message_id: message_id.filter(|id| !id.is_empty()),
        from: all(&["from"]),
        to: all(&["to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"]),
        subject: first("subject")
            .map(|value| header::decode_words(&value))
            .unwrap_or_default(),
        date: first("date").and_then(|value| date::parse(&header::decode_words(&value))),
        has_attachment: Some(false),
        ..SearchText::default()
    }
}

/// The charset that the first part to name one names: where a sender wrote header fields in eight bits, they are in it too.
fn charset_of(part: &Part) -> Option<&str> {
    let mut part = Some(part);
    while let Some(here) = part {
        let label = here.content_type.parameter("charset");
        // Nobody writes fields in those that are not ASCII with more.
        if label.is_some_and(|label| !label.to_ascii_lowercase().starts_with("utf-")) {
            return label;
        }
        part = here.children.first();
    }
    None
}

/// A field's value as text, where it is not ASCII or UTF-8 already.
fn in_charset<'v>(value: &'v [u8], label: Option<&str>) -> Cow<'v, [u8]> {
    let is_escaped = memchr::memmem::find(value, b"\x1b$").is_some();
    if !is_escaped && std::str::from_utf8(value).is_ok() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(charset::decode(value, label).into_bytes())
}

/// The part that carries protected headers (RFC 9788 `hp`, the draft's and Thunderbird's `protected-headers`, or
/// the message in a wrapper that says it is not forwarded: RFC 8551, 3.1), looked for where the whole mail's content
/// begins. A forwarded message keeps its header to itself.
fn protected<'p>(bytes: &[u8], root: &'p Part) -> Option<&'p Part> {
    let mut part = root;
    loop {
        let marked = ["hp", "protected-headers"]
            .iter()
            .any(|name| part.content_type.parameter(name).is_some());
        if marked && part.first(bytes, "subject").is_some() {
            return Some(part);
        }
        let is_message = part.content_type.is_message();
        let wraps = attached::is_wrapper(part);
        part = part.children.first()?;
        match (is_message, wraps) {
            (true, true) => return Some(part),
            (true, false) => return None,
            _ => {}
        }
    }
}

/// Bytes of plain text decoded for each byte of room: the widest charsets take four for a letter.
const PLAIN: usize = 4;
/// The same for HTML and XML, most of which may be markup.
const MARKUP: usize = 16;

/// A part's content, decoded only as far as it is wanted: attachments are large, and few of them are text.
struct Encoded<'p> {
    body: &'p [u8],
    encoding: &'p str,
    label: Option<&'p str>,
    room: usize,
}

impl<'p> Encoded<'p> {
    /// Enough to see what it is.
    fn start(&self) -> Cow<'p, [u8]> {
        transfer::beginning(self.body, self.encoding, sniff::WINDOW)
    }

    fn all(&self) -> Cow<'p, [u8]> {
        transfer::decode(self.body, self.encoding)
    }

    /// At least enough for `times` the room that is left for text.
    fn beginning(&self, times: usize) -> Cow<'p, [u8]> {
        let most = self.room.saturating_mul(times).max(sniff::WINDOW);
        transfer::beginning(self.body, self.encoding, most)
    }

    fn plain(&self) -> String {
        charset::decode(&self.beginning(PLAIN), self.label)
    }

    fn html(&self) -> String {
        html::to_text(&charset::decode_html(&self.beginning(MARKUP), self.label))
    }

    fn xml(&self) -> String {
        charset::decode_xml(&self.beginning(MARKUP), self.label)
    }
}

struct Collector<'b> {
    bounds: &'b Bounds,
    budget: &'b Budget,
    room: usize,
    /// Bytes that documents in the mail may still unpack to.
    unpackable: u64,
    /// Bytes of messages in files that are still looked at.
    savable: u64,
    found: SearchText,
}

impl Collector<'_> {
    fn part(&mut self, bytes: &[u8], part: &Part, parent: Option<&Part>, nesting: u32) {
        let name = part.file_name();
        if !name.is_empty() {
            self.found.attachments.push(name.to_owned());
        }
        let tnef = tnef_in(bytes, part);
        if tnef.is_none() && attached::is_attachment(part, name, parent) {
            self.found.has_attachment = Some(true);
        }
        for child in &part.children {
            if part.content_type.is_message() {
                self.subject(bytes, child);
            }
            self.part(bytes, child, Some(part), nesting + 1);
        }
        if let Some(entity) = tnef {
            self.embedded(&entity, nesting + 1);
        } else if part.children.is_empty() && !part.content_type.subtype.contains("pkcs7") {
            self.leaf(bytes, part, name, nesting);
        }
    }

    fn leaf(&mut self, bytes: &[u8], part: &Part, name: &str, nesting: u32) {
        let content = Encoded {
            body: &bytes[part.body.clone()],
            encoding: &part.encoding,
            label: part.content_type.parameter("charset"),
            room: self.room,
        };
        let lower = name.to_lowercase();
        if lower.ends_with(".eml") || part.content_type.is_message() {
            return self.embedded(&content.all(), nesting + 1);
        }
        let start = content.start();
        if msg::may_be(&start)
            && let Some(mail) = self.saved(&content)
        {
            return self.embedded(&mail, nesting + 1);
        }
        match kind::of(&part.content_type, &lower, &start) {
            Kind::Plain => self.plain(&part.content_type, &content, nesting),
            Kind::Card => self.add(&lines::of_card(&content.plain())),
            Kind::Rtf => self.add(&rtf::to_text(&content.beginning(MARKUP))),
            Kind::Html => self.add(&content.html()),
            Kind::Xml => self.xml(name, &content.xml(), false),
            Kind::FlatOffice => self.add(&xml::to_text(&content.xml())),
            Kind::Office => match office::to_text(&content.all(), &mut self.unpackable) {
                Ok(text) => self.add(&text),
                Err(error) => self.no_text(name, &error),
            },
            Kind::Pdf => self.pdf(name, &content.all()),
            Kind::Unread => {}
        }
    }

    fn plain(&mut self, content_type: &ContentType, content: &Encoded<'_>, nesting: u32) {
        let text = content.plain();
        let says = |name: &str, value: &str| {
            let said = content_type.parameter(name);
            said.is_some_and(|said| said.eq_ignore_ascii_case(value))
        };
        if says("format", "flowed") && says("delsp", "yes") {
            return self.add(&lines::joined(&text));
        }
        let mut at = 0;
        for file in uuencoded::files(&text) {
            self.add(&text[at..file.span.start]);
            self.embedded(&rendition::as_file(&file.content, file.name), nesting + 1);
            at = file.span.end;
        }
        self.add(&text[at..]);
    }

    /// The message that Outlook saved as a file, as a mail. One attachment can have many names in it, and be such a file too.
    fn saved(&mut self, content: &Encoded<'_>) -> Option<Vec<u8>> {
        self.savable = self.savable.checked_sub(content.body.len() as u64)?;
        msg::as_mail(&content.all())
    }

    fn no_text(&mut self, name: &str, error: &dyn std::error::Error) {
        let note = format!("no text taken from {name:?}: {error}");
        self.found.notes.push(note);
    }

    /// A message that lies encoded in an attachment.
    fn embedded(&mut self, message: &[u8], nesting: u32) {
        if nesting >= self.bounds.depth {
            return;
        }
        if let Err(over) = self.budget.decode(message.len() as u64) {
            self.found.notes.push(over.to_string());
            return;
        }
        let (root, over) = mime::parse(message, nesting, self.bounds, self.budget);
        self.found
            .notes
            .extend(over.map(|failure| failure.to_string()));
        self.subject(message, &root);
        self.part(message, &root, None, nesting);
    }

    fn subject(&mut self, bytes: &[u8], root: &Part) {
        let subject = root.first(bytes, "subject").map(|value| {
            let value = in_charset(value, charset_of(root));
            header::decode_words(&value)
        });
        self.add(&subject.unwrap_or_default());
    }

    fn pdf(&mut self, name: &str, body: &[u8]) {
        match pdf::read(body, &mut self.unpackable) {
            Ok(contents) => {
                self.add(&contents.text);
                for embedded in &contents.embedded {
                    let text = charset::decode_xml(embedded, None);
                    if invoice::detect(&text, true).is_some() {
                        self.xml(name, &text, true);
                    }
                }
            }
            Err(error) => self.no_text(name, &error),
        }
    }

    fn xml(&mut self, name: &str, text: &str, in_pdf: bool) {
        if let Some(format) = invoice::detect(text, in_pdf) {
            self.found.notes.push(format!("e-invoice {format}: {name}"));
        }
        self.add(&xml::fields(text));
    }

    /// Adds text within the bound.
    fn add(&mut self, text: &str) {
        let text = text.trim();
        let line_end = usize::from(!self.found.body.is_empty());
        if text.is_empty() || self.room <= line_end {
            return;
        }
        self.room -= line_end;
        let end = text.floor_char_boundary(self.room);
        if line_end > 0 {
            self.found.body.push('\n');
        }
        self.found.body.push_str(&text[..end]);
        self.room = if end < text.len() { 0 } else { self.room - end };
    }
}

/// What is in a part that is a `winmail.dat`, as an entity.
fn tnef_in(bytes: &[u8], part: &Part) -> Option<Vec<u8>> {
    let body = &bytes[part.body.clone()];
    let is_tnef =
        part.children.is_empty() && tnef::may_be(&transfer::beginning(body, &part.encoding, 8));
    let contents = is_tnef.then(|| tnef::parse(&transfer::decode(body, &part.encoding)))?;
    contents.map(|contents| tnef::as_entity(&contents))
}

#[cfg(test)]
mod tests;
