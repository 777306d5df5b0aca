//! `winmail.dat`: Outlook's Transport Neutral Encapsulation (MS-OXTNEF). Only what a reader would want: the text
//! and the attachments. A bounded reader of flat attribute streams. A message in it is a stream of its own, in an attachment.

use super::rendition::{as_file, as_message, as_mixed};
use super::{msg, rtf};

/// Attachments and properties looked at in one file.
const MAX_ITEMS: usize = 1000;

/// Deepest message in messages that is put together at once; the one in it stays a file, which is looked into in its turn.
const MAX_DEPTH: u32 = 3;

/// What is in a `winmail.dat`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The subject of a message that is attached.
    pub subject: String,
    /// Plain text body, in UTF-8.
    pub text: Vec<u8>,
    /// HTML body.
    pub html: Vec<u8>,
    /// The text of a rich text body, in UTF-8.
    pub rich: Vec<u8>,
    /// Attached files: name and content.
    pub files: Vec<(String, Vec<u8>)>,
}

const SIGNATURE: u32 = 0x223e_9f78;
const ATT_CODE_PAGE: u32 = 0x0006_9007;
const ATT_SUBJECT: u32 = 0x0001_8004;
const ATT_BODY: u32 = 0x0002_800c;
const ATT_MESSAGE_PROPERTIES: u32 = 0x0006_9003;
const ATT_ATTACH_REND_DATA: u32 = 0x0006_9002;
const ATT_ATTACH_TITLE: u32 = 0x0001_8010;
const ATT_ATTACH_DATA: u32 = 0x0006_800f;
const ATT_ATTACHMENT: u32 = 0x0006_9005;

/// Whether a file that begins so may be a TNEF stream, whatever it is called.
#[must_use]
pub fn may_be(start: &[u8]) -> bool {
    start.starts_with(&SIGNATURE.to_le_bytes())
}

/// Reads a TNEF stream as far as it goes; `None` if it is none.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Contents> {
    let mut reader = Reader(bytes);
    if reader.u32()? != SIGNATURE {
        return None;
    }
    reader.take(2)?;
    let mut contents = Contents::default();
    let mut charset = Charset::default();
    for _ in 0..MAX_ITEMS * 10 {
        let Some((id, data)) = attribute(&mut reader) else {
            break;
        };
        match id {
            ATT_CODE_PAGE => charset = Charset::of(data),
            ATT_SUBJECT => contents.subject = charset.text(data),
            ATT_BODY => contents.text = charset.text(data).into_bytes(),
            ATT_MESSAGE_PROPERTIES => message_properties(data, &charset, &mut contents),
            ATT_ATTACH_REND_DATA if contents.files.len() < MAX_ITEMS => {
                contents.files.push(Default::default())
            }
            _ => {
                if let Some(file) = contents.files.last_mut() {
                    attachment_attribute(id, data, &charset, file);
                }
            }
        }
    }
    contents
        .files
        .retain(|(name, content)| !name.is_empty() || !content.is_empty());
    Some(contents)
}

/// The contents as a `multipart/mixed`. Of a body that is there as rich text alone, it has the text.
#[must_use]
pub fn as_entity(contents: &Contents) -> Vec<u8> {
    entity(contents, MAX_DEPTH)
}

/// An attachment; a message is one that is forwarded, as far as `depth` goes.
fn attached(name: &str, content: &[u8], depth: u32) -> Vec<u8> {
    let message = (may_be(content) && depth > 0)
        .then(|| parse(content))
        .flatten();
    let Some(message) = message else {
        return as_file(content, name);
    };
    let mut mail = Vec::new();
    msg::push_field("Subject", &msg::encoded(&message.subject), &mut mail);
    mail.extend_from_slice(b"MIME-Version: 1.0\r\n");
    mail.extend(entity(&message, depth - 1));
    as_message(mail, name)
}

fn entity(contents: &Contents, depth: u32) -> Vec<u8> {
    let mut parts = Vec::new();
    let plain = match contents.html.as_slice() {
        [] if contents.text.is_empty() => &contents.rich,
        _ => &contents.text,
    };
    if !plain.is_empty() {
        parts.push(super::rendition::as_entity(
            [b"\r\n", plain.as_slice()].concat(),
        ));
    }
    if !contents.html.is_empty() {
        let mut part =
            b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
        part.extend_from_slice(super::transfer::to_base64(&contents.html, "\r\n").as_bytes());
        parts.push(part);
    }
    parts.extend(
        contents
            .files
            .iter()
            .map(|(name, content)| attached(name, content, depth)),
    );
    as_mixed(&parts)
}

/// One attribute: level, id, length, data, checksum.
fn attribute<'a>(reader: &mut Reader<'a>) -> Option<(u32, &'a [u8])> {
    reader.take(1)?;
    let id = reader.u32()?;
    let length = reader.u32()? as usize;
    let data = reader.take(length)?;
    let _checksum = reader.take(2);
    Some((id, data))
}

/// The charset of text that is not in UTF-16.
#[derive(Default)]
struct Charset(Option<String>);

impl Charset {
    /// That of the code page at the beginning of `data`.
    fn of(data: &[u8]) -> Self {
        let page = Reader(data).u32().filter(|page| *page > 0);
        Self(page.map(|page| match page {
            65001 => "utf-8".to_owned(),
            page => format!("cp{page}"),
        }))
    }

    fn text(&self, bytes: &[u8]) -> String {
        super::charset::decode(without_nul(bytes), self.0.as_deref())
    }
}

fn attachment_attribute(id: u32, data: &[u8], charset: &Charset, file: &mut (String, Vec<u8>)) {
    let text_of = |tag, value: &[u8]| text_of(tag, value, charset);
    match id {
        ATT_ATTACH_TITLE if file.0.is_empty() => file.0 = charset.text(data),
        ATT_ATTACH_DATA => file.1 = data.to_vec(),
        ATT_ATTACHMENT => properties(data, |tag, value| match tag >> 16 {
            0x3707 => file.0 = text_of(tag, value),
            0x3704 if file.0.is_empty() => file.0 = text_of(tag, value),
            0x370e if file.0.is_empty() => file.0 = name_by_type(&text_of(tag, value)).to_owned(),
            0x3701 if file.1.is_empty() => file.1 = value.to_vec(),
            _ => {}
        }),
        _ => {}
    }
}

/// The name of an attachment that has none: Outlook keeps the content of a message that is signed or encrypted so, whole.
#[must_use]
pub fn name_by_type(media_type: &str) -> &'static str {
    let media_type = media_type.to_ascii_lowercase();
    let secured = ["pkcs7-mime", "multipart/signed", "multipart/encrypted"];
    if secured.iter().any(|known| media_type.contains(known)) {
        "smime.p7m"
    } else {
        ""
    }
}

fn message_properties(data: &[u8], charset: &Charset, contents: &mut Contents) {
    let text_of = |tag, value: &[u8]| text_of(tag, value, charset);
    properties(data, |tag, value| match tag >> 16 {
        0x0037 => contents.subject = text_of(tag, value),
        0x1000 if contents.text.is_empty() => contents.text = text_of(tag, value).into_bytes(),
        0x1009 => {
            let text = rtf::unpacked(value).map(|rtf| rtf::to_text(&rtf));
            contents.rich = text.unwrap_or_default().into_bytes();
        }
        0x1013 => {
            contents.html = if tag & 0xffff == 0x1f {
                text_of(tag, value).into_bytes()
            } else {
                value.to_vec()
            }
        }
        _ => {}
    });
}

/// Walks a MAPI property list (MS-OXTNEF 2.1.3.4): each property's tag and first value.
fn properties(data: &[u8], mut each: impl FnMut(u32, &[u8])) {
    let mut reader = Reader(data);
    let count = reader.u32().unwrap_or(0).min(5000);
    for _ in 0..count {
        if property(&mut reader, &mut each).is_none() {
            return;
        }
    }
}

fn property(reader: &mut Reader<'_>, each: &mut impl FnMut(u32, &[u8])) -> Option<()> {
    let tag = reader.u32()?;
    if tag >> 16 >= 0x8000 {
        reader.take(16)?;
        if reader.u32()? == 0 {
            reader.take(4)?;
        } else {
            let length = reader.u32()? as usize;
            reader.take_padded(length)?;
        }
    }
    let kind = tag & 0x0fff;
    let variable = matches!(kind, 0x0d | 0x1e | 0x1f | 0x102);
    let fixed = match kind {
        2 | 3 | 4 | 0xa | 0xb | 1 => 4,
        5 | 6 | 7 | 0x14 | 0x40 => 8,
        0x48 => 16,
        _ if variable => 0,
        _ => return None,
    };
    let multiple = tag & 0x1000 != 0;
    let values = if multiple || variable {
        reader.u32()?
    } else {
        1
    };
    for index in 0..values.min(5000) {
        let value = if variable {
            let length = reader.u32()? as usize;
            reader.take_padded(length)?
        } else {
            reader.take_padded(fixed)?
        };
        if index == 0 {
            let value = if kind == 0x0d {
                value.get(16..).unwrap_or_default()
            } else {
                value
            };
            each(tag, value);
        }
    }
    Some(())
}

fn text_of(tag: u32, value: &[u8], charset: &Charset) -> String {
    if tag & 0xffff == 0x1f {
        let units = value
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let text: String = char::decode_utf16(units)
            .map(|unit| unit.unwrap_or('\u{fffd}'))
            .collect();
        return text.trim_end_matches('\0').to_owned();
    }
    charset.text(value)
}

fn without_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    &bytes[..end]
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes `length` bytes and the padding to a multiple of four.
    fn take_padded(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.take(length)?;
        let padding = (4 - length % 4) % 4;
        self.0 = self.0.get(padding..).unwrap_or_default();
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute_bytes(id: u32, data: &[u8]) -> Vec<u8> {
        let mut out = vec![2];
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&(data.len() as u32).to_le_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(&[0, 0]);
        out
    }

    #[test]
    fn text_and_attachments_come_out() {
        let mut tnef = SIGNATURE.to_le_bytes().to_vec();
        tnef.extend_from_slice(&[1, 0]);
        tnef.extend(attribute_bytes(ATT_BODY, b"hello\0"));
        tnef.extend(attribute_bytes(ATT_ATTACH_REND_DATA, &[0; 14]));
        tnef.extend(attribute_bytes(ATT_ATTACH_TITLE, b"smime.p7m\0"));
        tnef.extend(attribute_bytes(ATT_ATTACH_DATA, b"content"));
        tnef.extend(attribute_bytes(ATT_ATTACH_REND_DATA, &[0; 14]));
        tnef.extend(attribute_bytes(ATT_ATTACH_TITLE, b"empty.txt\0"));
        tnef.extend(attribute_bytes(ATT_ATTACH_DATA, b""));
        tnef.extend(attribute_bytes(ATT_ATTACH_REND_DATA, &[0; 14]));
        let contents = parse(&tnef).unwrap();
        assert_eq!(contents.text, b"hello");
        assert_eq!(
            contents.files,
            [
                ("smime.p7m".to_owned(), b"content".to_vec()),
                ("empty.txt".to_owned(), Vec::new()),
            ]
        );
    }

    #[test]
    fn text_is_in_the_code_page_that_the_message_names() {
        let mut tnef = SIGNATURE.to_le_bytes().to_vec();
        tnef.extend_from_slice(&[1, 0]);
        tnef.extend(attribute_bytes(
            ATT_CODE_PAGE,
            &[1251_u32.to_le_bytes(), [0; 4]].concat(),
        ));
        tnef.extend(attribute_bytes(ATT_SUBJECT, b"\xcf\xf0\0"));
        tnef.extend(attribute_bytes(ATT_BODY, b"\xcf\xf0\0"));
        tnef.extend(attribute_bytes(ATT_ATTACH_REND_DATA, &[0; 14]));
        tnef.extend(attribute_bytes(ATT_ATTACH_TITLE, b"\xcf\xf0.txt\0"));
        let contents = parse(&tnef).unwrap();
        assert_eq!(
            (contents.subject.as_str(), contents.text.as_slice()),
            ("Пр", "Пр".as_bytes())
        );
        assert_eq!(contents.files[0].0, "Пр.txt");
    }

    #[test]
    fn a_body_of_rich_text_alone_comes_out_as_text() {
        let mut rich = b"\0\0\0\0\x0f\0\0\0MELA\0\0\0\0{\\rtf1\\b words}".to_vec();
        let length = u32::try_from(rich.len()).unwrap();
        rich.resize(rich.len().next_multiple_of(4), 0);
        let head = [1_u32, 0x1009_0102, 1, length].map(u32::to_le_bytes);
        let mut tnef = [&SIGNATURE.to_le_bytes()[..], &[1, 0]].concat();
        let properties = [head.concat(), rich].concat();
        tnef.extend(attribute_bytes(ATT_MESSAGE_PROPERTIES, &properties));
        let entity = String::from_utf8(as_entity(&parse(&tnef).unwrap())).unwrap();
        assert!(entity.contains("\r\nwords\r\n"), "{entity}");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut tnef = SIGNATURE.to_le_bytes().to_vec();
            tnef.extend_from_slice(&bytes);
            let _ = parse(&tnef).map(|contents| as_entity(&contents));
            properties(&bytes, |_, _| {});
        }
    }
}
