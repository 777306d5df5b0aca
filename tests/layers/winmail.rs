//! `winmail.dat`, by whatever name and type it comes, and the messages in it.

use super::{INNER, armored, open, packets};
use strongroom::mail::model::Outcome;

fn attribute(id: u32, data: &[u8]) -> Vec<u8> {
    let mut out = vec![2];
    out.extend(id.to_le_bytes());
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend_from_slice(data);
    out.extend([0, 0]);
    out
}

/// A message with this text and this file.
fn tnef(text: &[u8], file: &[u8], content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x9f, 0x3e, 0x22, 1, 0];
    out.extend(attribute(0x0001_8004, b"the subject\0"));
    out.extend(attribute(0x0002_800c, text));
    out.extend(attribute(0x0006_9002, &[0; 14]));
    out.extend(attribute(0x0001_8010, file));
    out.extend(attribute(0x0006_800f, content));
    out
}

/// A message with another one attached, as `PidTagAttachDataObject` has it: behind an interface's identifier.
fn with_message(inner: &[u8]) -> Vec<u8> {
    let length = u32::try_from(inner.len() + 16).unwrap();
    let head = [1, 0x3701_000d, 1, length].map(u32::to_le_bytes).concat();
    let mut properties = [&head, &[0; 16][..], inner].concat();
    properties.resize(properties.len().next_multiple_of(4), 0);
    let mut out = vec![0x78, 0x9f, 0x3e, 0x22, 1, 0];
    out.extend(attribute(0x0002_800c, b"see the message\0"));
    out.extend(attribute(0x0006_9002, &[0; 14]));
    out.extend(attribute(0x0001_8010, b"Message\0"));
    out.extend(attribute(0x0006_9005, &properties));
    out
}

fn mail(content_type: &str, tnef: &[u8]) -> Vec<u8> {
    let body = data_encoding::BASE64_MIME.encode(tnef);
    let mail = format!(
        "From: a@x\nContent-Type: {content_type}\nContent-Transfer-Encoding: base64\n\n{body}"
    );
    mail.into_bytes()
}

const TYPES: [&str; 4] = [
    "application/ms-tnef; name=winmail.dat",
    "application/octet-stream; name=\"winmail (2).dat\"",
    "application/octet-stream; name=ATT00001.dat",
    "application/octet-stream",
];

#[test]
fn tnef_with_an_encrypted_attachment_is_taken_apart() {
    let tnef = tnef(b"see the attachment\0", b"mail.pgp\0", &packets(INNER));
    for content_type in TYPES {
        let opened = open(&mail(content_type, &tnef));
        assert_eq!(opened.outcome, Outcome::Opened, "{content_type}");
        let text = &opened.text.body;
        assert!(text.contains("see the attachment") && text.contains("the secret word"));
    }
}

#[test]
fn a_message_in_tnef_is_a_forwarded_one() {
    let words = "the secret word";
    for (inner, read) in [
        (
            tnef(b"around\0", b"a.txt.asc\0", armored(words).as_bytes()),
            words,
        ),
        (tnef(b"around\0", b"a.txt\0", b"plain words"), "plain words"),
    ] {
        let outer = with_message(&inner);
        for content_type in TYPES {
            let opened = open(&mail(content_type, &with_message(&outer)));
            assert_eq!(opened.outcome == Outcome::Opened, read == words);
            let text = &opened.text.body;
            for words in ["see the message", "the subject", "around", read] {
                assert!(text.contains(words), "{words}: {text}");
            }
        }
    }
}
