//! Messages that Outlook saved as files (MS-OXMSG): a folder of properties in a compound file. What a reader would want of
//! one, as a mail: fields, text and attachments; messages in it are attachments.

use super::tnef::{self, Contents};
use super::{charset, header, mime, rtf, transfer};
use cfb::CompoundFile;
use std::cell::{Cell, RefCell};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// Attachments and recipients looked at in one message.
const MAX_ITEMS: usize = 1000;
/// Deepest message in messages.
const MAX_DEPTH: u32 = 8;
/// Bytes of a header field in an encoded word.
const WORD: usize = 42;
/// How many times its length may be read of a file: hostile ones have one chain of sectors under many names.
const MOST_READ: u64 = 3;
/// Most streams that are read: of each the whole chain is walked, whatever length it claims.
const MOST_STREAMS: u64 = 20_000;
/// Longest value of a header field that is made of a property.
const LONGEST_FIELD: usize = 4000;

const PROPERTIES: &str = "__properties_version1.0";
const ATTACHMENTS: &str = "__attach_version1.0_#";
const RECIPIENTS: &str = "__recip_version1.0_#";

// Properties (MS-OXPROPS) by their numbers.
const SUBJECT: u32 = 0x0037;
const INTERNET_HEADER: u32 = 0x007d;
/// Name, SMTP address and other address of the person in whose name it was sent, and of the sender.
const AUTHORS: [[u32; 3]; 2] = [[0x0042, 0x5d02, 0x0065], [0x0c1a, 0x5d01, 0x0c1f]];
const BODY: u32 = 0x1000;
const RICH: u32 = 0x1009;
const HTML: u32 = 0x1013;
const NAME: u32 = 0x3001;
const ADDRESS: u32 = 0x3003;
const SMTP_ADDRESS: u32 = 0x39fe;
const RECIPIENT_TYPE: u32 = 0x0c15_0003;
const SENT: u32 = 0x0039_0040;
const DATA: u32 = 0x3701;
const SHORT_FILE_NAME: u32 = 0x3704;
const FILE_NAME: u32 = 0x3707;
const MIME_TAG: u32 = 0x370e;
const EMBEDDED: &str = "__substg1.0_3701000D";

/// Whether a file that begins so may be a message of Outlook's.
#[must_use]
pub fn may_be(start: &[u8]) -> bool {
    start.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
}

/// The message as a mail; `None` if the file is none.
#[must_use]
pub fn as_mail(bytes: &[u8]) -> Option<Vec<u8>> {
    if !may_be(bytes) || !has_sane_tables(bytes) {
        return None;
    }
    let room = (bytes.len() as u64).saturating_mul(MOST_READ);
    let file = File {
        compound: RefCell::new(CompoundFile::open(Cursor::new(bytes)).ok()?),
        room: Cell::new(room),
        least: room / MOST_STREAMS,
    };
    let message = Message {
        file: &file,
        at: PathBuf::from("/"),
        depth: 0,
    };
    message.is_one().then(|| message.as_mail())
}

/// Whether the list of the file's allocation tables (MS-CFB 2.5, DIFAT) is no longer than its length allows: hostile ones name
/// one table again and again, and each time it would be read and kept.
fn has_sane_tables(bytes: &[u8]) -> bool {
    const LAST: u32 = 0xffff_fffa;
    let number = |at: usize| {
        let octets = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*octets))
    };
    let shift = bytes.get(30).copied().unwrap_or_default();
    if !matches!(shift, 9 | 12) {
        return false;
    }
    let sector = 1_usize << shift;
    let entries = sector / 4;
    // Each entry of the list stands for a table with an entry for each sector.
    let most = bytes.len() / sector / (entries * (entries - 1)) + 2;
    let mut next = number(68).unwrap_or(LAST);
    for _ in 0..most {
        if next > LAST {
            return true;
        }
        let at = (next as usize + 1).saturating_mul(sector);
        next = number(at.saturating_add(sector - 4)).unwrap_or(LAST);
    }
    next > LAST
}

/// A compound file, of which no more is read than a few times its length.
struct File<'a> {
    compound: RefCell<CompoundFile<Cursor<&'a [u8]>>>,
    room: Cell<u64>,
    /// What a stream is counted for at least.
    least: u64,
}

impl File<'_> {
    fn stream(&self, storage: &Path, name: &str) -> Option<Vec<u8>> {
        let mut compound = self.compound.try_borrow_mut().ok()?;
        let stream = compound.open_stream(storage.join(name)).ok()?;
        let room = self.room.get().checked_sub(stream.len().max(self.least))?;
        self.room.set(room);
        let mut out = Vec::new();
        let length = stream.len();
        stream.take(length).read_to_end(&mut out).ok()?;
        Some(out)
    }

    /// The storages in another whose names begin so.
    fn storages(&self, storage: &Path, prefix: &str) -> Vec<PathBuf> {
        let Ok(compound) = self.compound.try_borrow() else {
            return Vec::new();
        };
        let Ok(entries) = compound.read_storage(storage) else {
            return Vec::new();
        };
        let found = entries.filter(|entry| entry.is_storage() && entry.name().starts_with(prefix));
        found
            .take(MAX_ITEMS)
            .map(|entry| storage.join(entry.name()))
            .collect()
    }
}

/// A message in the file.
struct Message<'a> {
    file: &'a File<'a>,
    at: PathBuf,
    depth: u32,
}

impl Message<'_> {
    fn is_one(&self) -> bool {
        self.file.stream(&self.at, PROPERTIES).is_some()
    }

    fn as_mail(&self) -> Vec<u8> {
        let contents = Contents {
            subject: String::new(),
            text: self.text(&self.at, BODY).into_bytes(),
            html: self.octets(&self.at, HTML),
            rich: self.rich(),
            files: self.files(),
        };
        let mut out = self.fields();
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        out.extend(tnef::as_entity(&contents));
        out
    }

    /// The fields as the message had them on its way, or what the properties tell.
    fn fields(&self) -> Vec<u8> {
        let sent = self.text(&self.at, INTERNET_HEADER).into_bytes();
        let header = mime::header_of(&sent);
        let mut out = Vec::new();
        for field in &header.fields {
            let name = sent[field.name.clone()].to_ascii_lowercase();
            if !name.starts_with(b"content-") && name != b"mime-version" {
                let lines = sent[field.span.clone()].trim_ascii_end();
                out.extend_from_slice(lines);
                out.extend_from_slice(b"\r\n");
            }
        }
        let mut authors = AUTHORS.iter().map(|author| self.person(&self.at, *author));
        let from = authors.find(|author| !author.is_empty());
        if let Some(known) = header.first(&sent, "from") {
            // Outlook shows the property.
            if self.shows_another(known) {
                push_field("From", &from.unwrap_or_default(), &mut out);
            }
            return out;
        }
        out.clear();
        push_field("From", &from.unwrap_or_default(), &mut out);
        for (name, people) in ["To", "Cc", "Bcc"].into_iter().zip(self.recipients()) {
            push_field(name, &people.join(", "), &mut out);
        }
        push_field("Subject", &encoded(&self.text(&self.at, SUBJECT)), &mut out);
        push_field("Date", &self.date().unwrap_or_default(), &mut out);
        out
    }

    /// Whether the author by the properties has an address that this From has not.
    fn shows_another(&self, from: &[u8]) -> bool {
        let from = header::decode_words(&header::unfolded(from)).to_lowercase();
        let told = AUTHORS[0].map(|property| self.text(&self.at, property).to_lowercase());
        // Many words, each looked for in a long field, cost the product of both.
        if told.iter().any(|text| text.len() > LONGEST_FIELD) {
            return true;
        }
        let mut words = told
            .iter()
            .flat_map(|text| text.split(|c: char| c.is_whitespace() || "<>()[],;:\"'".contains(c)));
        words.any(|word| word.contains('@') && !from.contains(word))
    }

    /// Those of To, Cc and Bcc.
    fn recipients(&self) -> [Vec<String>; 3] {
        let mut all = [const { Vec::new() }; 3];
        for at in self.file.storages(&self.at, RECIPIENTS) {
            const HEADER: usize = 8;
            let kind = self.number(&at, RECIPIENT_TYPE, HEADER).unwrap_or(1);
            let place = (kind & 0xff).clamp(1, 3) as usize - 1;
            all[place].push(self.person(&at, [NAME, SMTP_ADDRESS, ADDRESS]));
        }
        all
    }

    /// A mailbox by its name, its SMTP address, and another address where that is missing.
    fn person(&self, at: &Path, [name, smtp, other]: [u32; 3]) -> String {
        let smtp = self.text(at, smtp);
        let address = match smtp.as_str() {
            "" => self.text(at, other),
            _ => smtp,
        };
        mailbox(&self.text(at, name), &address)
    }

    fn date(&self) -> Option<String> {
        const HEADERS: [usize; 2] = [32, 24];
        const TO_1970: i64 = 11_644_473_600;
        let header = HEADERS[usize::from(self.depth > 0)];
        let since_1601 = self.number(&self.at, SENT, header)?;
        let seconds = i64::try_from(since_1601 / 10_000_000).ok()? - TO_1970;
        let time = jiff::Timestamp::from_second(seconds).ok()?;
        jiff::fmt::rfc2822::to_string(&time.to_zoned(jiff::tz::TimeZone::UTC)).ok()
    }

    fn rich(&self) -> Vec<u8> {
        let packed = self.octets(&self.at, RICH);
        let text = rtf::unpacked(&packed).map(|rtf| rtf::to_text(&rtf));
        text.unwrap_or_default().into_bytes()
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let attachments = self.file.storages(&self.at, ATTACHMENTS).into_iter();
        attachments.map(|at| self.attached(&at)).collect()
    }

    fn attached(&self, at: &Path) -> (String, Vec<u8>) {
        let long = self.text(at, FILE_NAME);
        let name = match long.as_str() {
            "" => self.text(at, SHORT_FILE_NAME),
            _ => long,
        };
        if self.depth < MAX_DEPTH {
            let message = Message {
                file: self.file,
                at: at.join(EMBEDDED),
                depth: self.depth + 1,
            };
            if message.is_one() {
                let name = match name.as_str() {
                    "" => self.text(at, NAME),
                    _ => name,
                };
                return (format!("{name}.eml"), message.as_mail());
            }
        }
        let name = match name.as_str() {
            "" => tnef::name_by_type(&self.text(at, MIME_TAG)).to_owned(),
            _ => name,
        };
        (name, self.octets(at, DATA))
    }

    /// A property that is text.
    fn text(&self, at: &Path, property: u32) -> String {
        let stream = |kind: u32| self.file.stream(at, &stream_name(property, kind));
        if let Some(units) = stream(0x1f) {
            let text = charset::decode(&units, Some("utf-16le"));
            return text.trim_end_matches('\0').to_owned();
        }
        let octets = stream(0x1e).unwrap_or_default();
        charset::decode(&octets, None)
            .trim_end_matches('\0')
            .to_owned()
    }

    /// A property that is octets, or text all the same.
    fn octets(&self, at: &Path, property: u32) -> Vec<u8> {
        let octets = self.file.stream(at, &stream_name(property, 0x102));
        octets.unwrap_or_else(|| self.text(at, property).into_bytes())
    }

    /// A property of fixed size (MS-OXMSG 2.4.2.1), by its number and type.
    fn number(&self, at: &Path, tag: u32, header: usize) -> Option<u64> {
        let all = self.file.stream(at, PROPERTIES)?;
        let mut entries = all.get(header..)?.chunks_exact(16);
        let entry = entries.find(|entry| entry[..4] == tag.to_le_bytes())?;
        entry[8..].try_into().ok().map(u64::from_le_bytes)
    }
}

fn stream_name(property: u32, kind: u32) -> String {
    format!("__substg1.0_{property:04X}{kind:04X}")
}

/// A name and an address as a header field has them; Exchange's own kind of address is none.
fn mailbox(name: &str, address: &str) -> String {
    let name = encoded(name);
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | ',' | ';');
    let name = quoted(&name);
    if !address.contains('@') || !address.chars().all(is_plain) {
        return name;
    }
    format!("{name} <{address}>").trim_start().to_owned()
}

fn quoted(name: &str) -> String {
    if name.starts_with("=?") || name.is_empty() {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The text for a header field, in encoded words where it has to be.
pub(super) fn encoded(text: &str) -> String {
    let text: String = text.chars().take(LONGEST_FIELD).collect();
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.chars().all(is_plain) && !text.contains("=?") {
        return text;
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if word.len() + c.len_utf8() > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words = words.iter().map(|word| {
        let digits = transfer::to_base64(word.as_bytes(), "");
        format!("=?utf-8?B?{digits}?=")
    });
    words.collect::<Vec<_>>().join("\r\n ")
}

pub(super) fn push_field(name: &str, value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
}

#[cfg(test)]
mod tests;
