//! What search knows of a mail: header fields and the text of every readable part, decoded to UTF-8.

pub mod html;
mod invoice;
mod office;
mod pdf;
mod xml;

use super::bounds::Bounds;
use super::context::Budget;
use super::header;
use super::mime::{self, Part};
use super::model::{Mailbox, SearchText};
use super::{address, charset, date, transfer};

/// Takes the searchable text out of `message` (a rendition, or a mail that needed none), within
/// `bounds.text_bytes`. Never fails: a part whose text cannot be taken is named in the notes.
#[must_use]
pub fn search_text(message: &[u8], bounds: &Bounds) -> SearchText {
    let budget = Budget::default();
    let (root, over) = mime::parse(message, 0, bounds, &budget);
    let room = usize::try_from(bounds.text_bytes).unwrap_or(usize::MAX);
    let mut found = headers(message, &root);
    found.notes.extend(over.map(|failure| failure.to_string()));
    let mut collector = Collector {
        bounds,
        budget: &budget,
        room,
        found,
    };
    collector.part(message, &root, 0);
    collector.found
}

/// The fields of the message, those of protected headers first.
fn headers(bytes: &[u8], root: &Part) -> SearchText {
    let inner = protected(bytes, root);
    let first = |name: &str| {
        inner
            .and_then(|part| part.first(bytes, name))
            .or_else(|| root.first(bytes, name))
    };
    let all = |names: &[&str]| -> Vec<Mailbox> {
        let mut found: Vec<Mailbox> = Vec::new();
        for part in [inner, Some(root)].into_iter().flatten() {
            for name in names {
                let fields = part.all(bytes, name).flat_map(address::mailboxes);
                fields.for_each(|mailbox| {
                    if !found.contains(&mailbox) {
                        found.push(mailbox)
                    }
                });
            }
        }
        found
    };
    let message_id = first("message-id").map(|value| {
        let text = header::decode_words(value);
        text.trim_matches(['<', '>', ' ']).to_owned()
    });
    SearchText {
        message_id: message_id.filter(|id| !id.is_empty()),
        from: all(&["from"]),
        to: all(&["to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"]),
        subject: first("subject")
            .map(header::decode_words)
            .unwrap_or_default(),
        date: first("date").and_then(|value| date::parse(&header::decode_words(value))),
        ..SearchText::default()
    }
}

/// The part that carries protected headers (RFC 9788 `hp`, the draft's and Thunderbird's `protected-headers`, or
/// a wrapped message), looked for where the whole mail's content begins.
fn protected<'p>(bytes: &[u8], root: &'p Part) -> Option<&'p Part> {
    let mut part = root;
    loop {
        let marked = ["hp", "protected-headers"]
            .iter()
            .any(|name| part.content_type.parameter(name).is_some());
        if marked && part.first(bytes, "subject").is_some() {
            return Some(part);
        }
        let wraps = part.content_type.is_message();
        part = part.children.first()?;
        if wraps {
            return Some(part);
        }
    }
}

struct Collector<'b> {
    bounds: &'b Bounds,
    budget: &'b Budget,
    room: usize,
    found: SearchText,
}

impl Collector<'_> {
    fn part(&mut self, bytes: &[u8], part: &Part, nesting: u32) {
        let name = part.file_name(bytes);
        if !name.is_empty() {
            self.found.attachments.push(name.clone());
        }
        for child in &part.children {
            if part.content_type.is_message() {
                self.subject(bytes, child);
            }
            self.part(bytes, child, nesting + 1);
        }
        if !part.children.is_empty() {
            return;
        }
        let body = transfer::decode(&bytes[part.body.clone()], &part.encoding(bytes));
        let label = part.content_type.parameter("charset");
        let lower = name.to_lowercase();
        if lower.ends_with(".eml") || part.content_type.is_message() {
            return self.embedded(&body, nesting + 1);
        }
        match (
            part.content_type.kind.as_str(),
            part.content_type.subtype.as_str(),
        ) {
            ("text", "html") => self.add(&html::to_text(&charset::decode(&body, label))),
            (_, subtype) if subtype.ends_with("xml") && !office::is_archive(&body) => {
                self.xml(&name, &body)
            }
            _ if lower.ends_with(".xml") => self.xml(&name, &body),
            ("text", _) => self.add(&charset::decode(&body, label)),
            _ if office::is_archive(&body) => match office::to_text(&body) {
                Ok(text) => self.add(&text),
                Err(error) => self
                    .found
                    .notes
                    .push(format!("no text taken from {name:?}: {error}")),
            },
            _ if pdf::is_pdf(&body) => self.pdf(&name, &body),
            _ if lower.ends_with(".html") || lower.ends_with(".htm") => {
                self.add(&html::to_text(&charset::decode(&body, label)));
            }
            _ if lower.ends_with(".txt") || lower.ends_with(".csv") => {
                self.add(&charset::decode(&body, label))
            }
            _ => {}
        }
    }

    /// A message that lies encoded in an attachment.
    fn embedded(&mut self, message: &[u8], nesting: u32) {
        if nesting >= self.bounds.depth {
            return;
        }
        let (root, over) = mime::parse(message, nesting, self.bounds, self.budget);
        self.found
            .notes
            .extend(over.map(|failure| failure.to_string()));
        self.subject(message, &root);
        self.part(message, &root, nesting);
    }

    fn subject(&mut self, bytes: &[u8], root: &Part) {
        let subject = root.first(bytes, "subject").map(header::decode_words);
        self.add(&subject.unwrap_or_default());
    }

    fn pdf(&mut self, name: &str, body: &[u8]) {
        match pdf::read(body) {
            Ok(contents) => {
                self.add(&contents.text);
                for embedded in contents
                    .embedded
                    .iter()
                    .filter(|file| invoice::detect(file).is_some())
                {
                    self.xml(name, embedded);
                }
            }
            Err(error) => self
                .found
                .notes
                .push(format!("no text taken from {name:?}: {error}")),
        }
    }

    fn xml(&mut self, name: &str, body: &[u8]) {
        if let Some(format) = invoice::detect(body) {
            self.found.notes.push(format!("e-invoice {format}: {name}"));
        }
        self.add(&xml::fields(&charset::decode(body, None)));
    }

    /// Adds text within the bound.
    fn add(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() || self.room == 0 {
            return;
        }
        let mut end = text.len().min(self.room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if !self.found.body.is_empty() {
            self.found.body.push('\n');
        }
        self.found.body.push_str(&text[..end]);
        self.room = if end < text.len() { 0 } else { self.room - end };
    }
}
