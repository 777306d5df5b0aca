//! The readable form of a mail: each opened layer replaced in place, every other byte as it was.
//!
//! Where an opened part brings header fields of its own (protected headers: RFC 9788, the drafts before it,
//! Thunderbird's), these become the message's fields, and the outer field of the same name stays as
//! `HP-Outer: Name: value`, so that both can be read from a message that is valid with one `Subject`.

use super::mime::{Field, Part};
use super::{sniff, transfer};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Replacements in one entity's bytes.
#[derive(Debug, Default)]
pub struct Edits(Vec<Edit>);

/// One replacement: `head`, then `body` from `from` on. The body is kept as it came, so that a large one is not copied.
#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    head: Vec<u8>,
    body: Vec<u8>,
    from: usize,
}

impl Edits {
    /// Puts `bytes` in place of `range`. Ranges do not overlap.
    pub fn replace(&mut self, range: Range<usize>, bytes: Vec<u8>) {
        self.replace_long(range, Vec::new(), bytes, 0);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The texts that are put into this range.
    pub fn put_into(&self, range: &Range<usize>) -> impl Iterator<Item = &[u8]> {
        let edits = self.0.iter();
        let within = edits.filter(|edit| range.contains(&edit.range.start));
        within.flat_map(|edit| {
            [
                &edit.head[..],
                edit.body.get(edit.from..).unwrap_or_default(),
            ]
        })
    }

    /// Takes back what was put into this range; gives the last of it.
    fn take_back(&mut self, range: &Range<usize>) -> Option<Vec<u8>> {
        let taken = self
            .0
            .extract_if(.., |edit| range.contains(&edit.range.start));
        taken.last().map(|edit| edit.body)
    }

    /// Puts `head` and `body[from..]` in place of `range`.
    fn replace_long(&mut self, range: Range<usize>, head: Vec<u8>, body: Vec<u8>, from: usize) {
        self.0.push(Edit {
            range,
            head,
            body,
            from,
        });
    }

    /// The changed bytes; `None` if nothing was replaced. A replacement that is most of the result becomes the
    /// result, in its own memory.
    #[must_use]
    pub fn apply(mut self, original: &[u8]) -> Option<Vec<u8>> {
        self.0
            .sort_by_key(|edit| (edit.range.start, edit.range.end));
        let length = |edit: &Edit| edit.body.len().saturating_sub(edit.from);
        let largest = (0..self.0.len()).max_by_key(|&at| length(&self.0[at]))?;
        let behind = self.0.split_off(largest + 1);
        let edit = self.0.pop()?;
        let before = original.len().min(edit.range.start);
        let mut prefix = Vec::new();
        let mut at = 0;
        write(original, &mut at, &self.0, before, &mut prefix);
        prefix.extend_from_slice(&edit.head);
        at = at.max(edit.range.end);
        let mut suffix = Vec::new();
        let large = length(&edit) > original.len() / 2;
        if large {
            write(original, &mut at, &behind, original.len(), &mut suffix);
            return Some(around(&prefix, edit.body, edit.from, &suffix));
        }
        prefix.extend_from_slice(edit.body.get(edit.from..).unwrap_or_default());
        write(original, &mut at, &behind, original.len(), &mut prefix);
        Some(prefix)
    }
}

/// Appends the original from `at` to `end`, changed by `edits`, which lie in between.
fn write(original: &[u8], at: &mut usize, edits: &[Edit], end: usize, out: &mut Vec<u8>) {
    for edit in edits {
        out.extend_from_slice(original.get(*at..edit.range.start).unwrap_or_default());
        out.extend_from_slice(&edit.head);
        out.extend_from_slice(edit.body.get(edit.from..).unwrap_or_default());
        *at = (*at).max(edit.range.end);
    }
    out.extend_from_slice(original.get(*at..end).unwrap_or_default());
    *at = (*at).max(end);
}

/// `prefix`, `body[from..]`, `suffix`, in the memory of `body`.
fn around(prefix: &[u8], mut body: Vec<u8>, from: usize, suffix: &[u8]) -> Vec<u8> {
    let (start, old) = (prefix.len(), body.len());
    let kept = old.saturating_sub(from);
    let total = start + kept + suffix.len();
    body.reserve_exact(total.saturating_sub(old));
    body.resize(old.max(start + kept), 0);
    body.copy_within(from.min(old)..old, start);
    body.truncate(start + kept);
    body[..start].copy_from_slice(prefix);
    body.extend_from_slice(suffix);
    body
}

/// Replaces `part` of `bytes` by the entity `inner`: the content fields and the body are the inner one's. With
/// `message`, the part is a whole message, whose own fields give way to the inner ones of the same name.
pub fn replace_entity(bytes: &[u8], part: &Part, inner: Vec<u8>, message: bool, edits: &mut Edits) {
    let inner_part = super::mime::header_of(&inner);
    let line_end = line_end_of(&bytes[part.span.start..part.body.start]);
    let name = |bytes: &[u8], field: &Field| {
        String::from_utf8_lossy(&bytes[field.name.clone()]).to_ascii_lowercase()
    };
    let outer_version = part
        .fields
        .iter()
        .any(|field| name(bytes, field) == "mime-version");
    let mut brought: HashMap<String, HashSet<&[u8]>> = HashMap::new();
    for field in &inner_part.fields {
        let values = brought.entry(name(&inner, field)).or_default();
        values.insert(inner[field.value.clone()].trim_ascii());
    }
    for field in &part.fields {
        let field_name = name(bytes, field);
        if field_name.starts_with("content-") {
            edits.replace(field.span.clone(), Vec::new());
        } else if message && field_name != "mime-version" {
            let value = bytes[field.value.clone()].trim_ascii();
            match brought.get(&field_name) {
                Some(same) if same.contains(value) => {
                    edits.replace(field.span.clone(), Vec::new());
                }
                Some(_) => {
                    edits.replace(field.span.start..field.span.start, b"HP-Outer: ".to_vec());
                }
                None => {}
            }
        }
    }
    let mut tail = Vec::new();
    if message && !outer_version {
        tail.extend_from_slice(b"MIME-Version: 1.0");
        tail.extend_from_slice(line_end.as_bytes());
    }
    for field in &inner_part.fields {
        if name(&inner, field) != "mime-version" {
            push_lines(&inner[field.span.clone()], line_end, &mut tail);
        }
    }
    tail.extend_from_slice(line_end.as_bytes());
    edits.replace_long(
        part.head_end..part.body.end,
        tail,
        inner,
        inner_part.body.start,
    );
}

/// Gives a multipart another subtype; the rest of the field stays as it is.
pub fn replace_subtype(bytes: &[u8], part: &Part, subtype: &str, edits: &mut Edits) {
    for field in named(bytes, part, "content-type") {
        let value = &bytes[field.value.clone()];
        let old = part.content_type.subtype.as_bytes();
        let at = value
            .windows(old.len())
            .position(|word| word.eq_ignore_ascii_case(old));
        if let Some(at) = at {
            let start = field.value.start + at;
            edits.replace(start..start + old.len(), subtype.as_bytes().to_vec());
        }
    }
}

/// Declares a multipart's boundary anew, in a field that has the other parameters as they were understood.
pub fn declare_boundary(bytes: &[u8], part: &Part, boundary: &str, edits: &mut Edits) {
    let Some(field) = named(bytes, part, "content-type").next() else {
        return;
    };
    let subtype = edits.take_back(&field.span);
    let subtype = subtype.and_then(|subtype| String::from_utf8(subtype).ok());
    let subtype = subtype.unwrap_or_else(|| part.content_type.subtype.clone());
    let is_name = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let mut value = format!("multipart/{subtype}; boundary=\"{boundary}\"");
    for (name, parameter) in &part.content_type.parameters {
        if name != "boundary" && is_name(name) {
            value.push_str(&name_parameter(name, parameter));
        }
    }
    let line_end = line_end_of(&bytes[part.span.start..part.body.start]);
    let field = field.span.clone();
    edits.replace(
        field,
        format!("Content-Type: {value}{line_end}").into_bytes(),
    );
}

/// Replaces the decoded body of a leaf by `body`, in base64.
pub fn replace_attachment(bytes: &[u8], part: &Part, body: &[u8], edits: &mut Edits) {
    let line_end = line_end_of(&bytes[part.span.start..part.body.start]);
    set_encoding(bytes, part, "base64", line_end, edits);
    edits.replace(
        part.body.clone(),
        transfer::to_base64(body, line_end).into_bytes(),
    );
}

/// Replaces the text of a leaf by `text`. Its charset stays unless the text is plainly in another: what was
/// encrypted inline is UTF-8 more often than the part around it says.
pub fn replace_text(bytes: &[u8], part: &Part, text: &[u8], edits: &mut Edits) {
    let line_end = line_end_of(&bytes[part.span.start..part.body.start]);
    let is_utf8 = std::str::from_utf8(text).is_ok();
    let label = part
        .content_type
        .parameter("charset")
        .unwrap_or("us-ascii")
        .to_ascii_lowercase();
    let label_fits = match label.as_str() {
        "us-ascii" => text.is_ascii(),
        "utf-8" => is_utf8,
        wide if wide.starts_with("utf-16") => false,
        _ => text.is_ascii() || !is_utf8,
    };
    let seven_bit = transfer::is_seven_bit(text);
    if !label_fits {
        for field in named(bytes, part, "content-type") {
            edits.replace(field.span.clone(), Vec::new());
        }
        let essence = if part.content_type.kind == "text" {
            part.content_type.essence()
        } else {
            "text/plain".into()
        };
        let charset = if is_utf8 { "utf-8" } else { "windows-1252" };
        let name = part.content_type.parameter("name").unwrap_or_default();
        let name = name_parameter("name", name);
        let field = format!("Content-Type: {essence}; charset={charset}{name}{line_end}");
        edits.replace(part.head_end..part.head_end, field.into_bytes());
    }
    set_encoding(
        bytes,
        part,
        if seven_bit { "7bit" } else { "base64" },
        line_end,
        edits,
    );
    let body = if seven_bit {
        text.to_vec()
    } else {
        transfer::to_base64(text, line_end).into_bytes()
    };
    edits.replace(part.body.clone(), body);
}

fn set_encoding(bytes: &[u8], part: &Part, encoding: &str, line_end: &str, edits: &mut Edits) {
    let declared = part.first(bytes, "content-transfer-encoding");
    if declared.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(encoding.as_bytes())) {
        return;
    }
    for field in named(bytes, part, "content-transfer-encoding") {
        edits.replace(field.span.clone(), Vec::new());
    }
    let mut field = format!("Content-Transfer-Encoding: {encoding}{line_end}");
    if part.head_end == part.body.start {
        field.push_str(line_end);
    }
    edits.replace(part.head_end..part.head_end, field.into_bytes());
}

/// The fields of a part that are called so.
pub fn named<'p>(
    bytes: &'p [u8],
    part: &'p Part,
    name: &'p str,
) -> impl Iterator<Item = &'p Field> {
    part.fields
        .iter()
        .filter(move |field| bytes[field.name.clone()].eq_ignore_ascii_case(name.as_bytes()))
}

/// A MIME entity for plaintext that should be one. Senders that encrypt bare text or files get a header.
#[must_use]
pub fn as_entity(plaintext: Vec<u8>) -> Vec<u8> {
    if sniff::is_entity(&plaintext)
        || plaintext.starts_with(b"\n")
        || plaintext.starts_with(b"\r\n")
    {
        return plaintext;
    }
    if sniff::is_text(&plaintext) || is_utf16(&plaintext) {
        as_text(&plaintext, None)
    } else {
        as_file(&plaintext, "")
    }
}

/// A MIME entity of this text, whatever it begins with; in `charset` if it is given, else in what it looks like.
#[must_use]
pub fn as_text(text: &[u8], charset: Option<&str>) -> Vec<u8> {
    let named = charset
        .filter(|charset| is_charset_name(charset))
        .map(|charset| format!("text/plain; charset={charset}"));
    let kind = named.unwrap_or_else(|| type_of_text(text).to_owned());
    let mut out = format!("Content-Type: {kind}\r\n").into_bytes();
    if transfer::is_seven_bit(text) {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(text);
    } else {
        out.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n\r\n");
        out.extend_from_slice(transfer::to_base64(text, "\r\n").as_bytes());
    }
    out
}

/// Whether what a parameter says of a charset may be written into a field: percent encoding brings line ends along.
#[must_use]
pub fn is_charset_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// A MIME entity that holds `mail` as an attached message, made of the file called `name`.
#[must_use]
pub fn as_message(mail: Vec<u8>, name: &str) -> Vec<u8> {
    let mut out = b"Content-Type: message/rfc822\r\nContent-Disposition: attachment".to_vec();
    out.extend_from_slice(name_parameter("filename", name).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend(mail);
    out
}

/// A `multipart/mixed` of these entities.
#[must_use]
pub fn as_mixed(parts: &[Vec<u8>]) -> Vec<u8> {
    let digest = crate::id::Digest::of(&parts.concat()).to_string();
    let boundary = format!("=_opened_{}", &digest[..32]);
    let mut out =
        format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n").into_bytes();
    for part in parts {
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

/// Whether text begins with the mark of UTF-16, as Windows saves it.
fn is_utf16(text: &[u8]) -> bool {
    matches!(text, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) && text.len().is_multiple_of(2)
}

/// The media type of text that nobody named. XML says itself in which charset it is.
fn type_of_text(text: &[u8]) -> &'static str {
    let unmarked = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if unmarked.starts_with(b"<?xml") {
        "application/xml"
    } else if is_utf16(text) {
        "text/plain; charset=utf-16"
    } else if std::str::from_utf8(text).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "text/plain; charset=windows-1252"
    }
}

/// A MIME entity that holds `content` as an attached file called `name` (or nothing).
#[must_use]
pub fn as_file(content: &[u8], name: &str) -> Vec<u8> {
    file_as(type_of(name, content), content, name, "attachment")
}

/// The same with a media type that is known.
#[must_use]
pub fn as_file_of(media_type: &str, content: &[u8], name: &str) -> Vec<u8> {
    file_as(media_type, content, name, "attachment")
}

fn file_as(media_type: &str, content: &[u8], name: &str, disposition: &str) -> Vec<u8> {
    let mut out = format!("Content-Type: {media_type}\r\n");
    out.push_str("Content-Transfer-Encoding: base64\r\nContent-Disposition: ");
    out.push_str(disposition);
    out.push_str(&name_parameter("filename", name));
    out.push_str("\r\n\r\n");
    out.push_str(&transfer::to_base64(content, "\r\n"));
    out.into_bytes()
}

/// As [`as_file`] in the place of `part`, with what HTML beside it and readers know that part by.
#[must_use]
pub fn as_same_file(bytes: &[u8], part: &Part, content: &[u8], name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for known in ["content-id", "content-description"] {
        for field in named(bytes, part, known) {
            push_lines(&bytes[field.span.clone()], "\r\n", &mut out);
        }
    }
    let disposition = part.disposition.as_ref();
    let inline = disposition.is_some_and(|disposition| disposition.kind == "inline");
    let kind = if inline { "inline" } else { "attachment" };
    out.extend(file_as(type_of(name, content), content, name, kind));
    out
}

/// `; filename="…"` with this `key`, by RFC 2231 where the name is not plain ASCII; empty without a name.
fn name_parameter(key: &str, name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    if name
        .bytes()
        .all(|byte| (32..127).contains(&byte) && byte != b'"' && byte != b'\\')
    {
        return format!("; {key}=\"{name}\"");
    }
    let encoded: String = name
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("; {key}*=utf-8''{encoded}")
}

/// The media type of a file by its name, else by whether it is text.
fn type_of(name: &str, content: &[u8]) -> &'static str {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase())
        .unwrap_or_default();
    let is_utf8 = std::str::from_utf8(content).is_ok();
    match extension.as_str() {
        "txt" | "text" | "log" | "md" if is_utf8 => "text/plain; charset=utf-8",
        "txt" | "text" | "log" | "md" => "text/plain; charset=windows-1252",
        "csv" if is_utf8 => "text/csv; charset=utf-8",
        "csv" => "text/csv; charset=windows-1252",
        "htm" | "html" => "text/html",
        "xml" => "application/xml",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "eml" => "application/octet-stream",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "zip" => "application/zip",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "odt" => "application/vnd.oasis.opendocument.text",
        "p7m" => "application/pkcs7-mime",
        "" if !content.is_empty() && sniff::is_text(content) => "text/plain",
        _ => "application/octet-stream",
    }
}

/// CR LF if the header block uses it, else LF.
#[must_use]
pub fn line_end_of(header: &[u8]) -> &'static str {
    match header.iter().position(|&byte| byte == b'\n') {
        Some(at) if at == 0 || header[at - 1] != b'\r' => "\n",
        _ => "\r\n",
    }
}

fn push_lines(field: &[u8], line_end: &str, out: &mut Vec<u8>) {
    for line in field.split_inclusive(|&byte| byte == b'\n') {
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(content.strip_suffix(b"\r").unwrap_or(content));
        out.extend_from_slice(line_end.as_bytes());
    }
}
