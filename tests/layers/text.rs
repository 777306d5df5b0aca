//! Objects that lie in a text, with something to read around them.

use super::{INNER, OURS, THEIRS, armored, encrypted, open, packets, pgp_mime, rendition};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::stream::{Message, Signer};
use std::io::Write;
use strongroom::mail::model::{Format, Outcome, Scope, Verdict};
use strongroom::mail::openpgp::armor;
use strongroom::mail::openpgp::packets::{framed, packets as split, tag};

/// The text with the signature of our key, in the cleartext framework.
pub(super) fn clear_signed(text: &str) -> String {
    let policy = StandardPolicy::new();
    let mut keys = OURS.cert.keys().with_policy(&policy, None).secret();
    let key = keys.by_ref().find(|key| key.for_signing()).unwrap();
    let pair = key.key().clone().into_keypair().unwrap();
    let mut out = Vec::new();
    let mut signer = Signer::new(Message::new(&mut out), pair)
        .unwrap()
        .cleartext()
        .build()
        .unwrap();
    signer.write_all(text.as_bytes()).unwrap();
    signer.finalize().unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn text_around_a_block_stays_wherever_it_was_found() {
    let text = format!("before\n\n{}\nafter\n", armored("the secret word\n"));
    let wide: Vec<u8> = "\u{feff}"
        .encode_utf16()
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let mail = format!("From: a@x\n{}", pgp_mime(&text));
    let inner = armored(&text);
    for (what, message) in [
        ("a file", text.as_bytes()),
        ("a file in UTF-16", &wide),
        ("inside a message", mail.as_bytes()),
        ("inside a bare message", inner.as_bytes()),
    ] {
        let opened = open(message);
        assert_eq!(opened.outcome, Outcome::Opened, "{what}");
        let text = rendition(&opened);
        for word in ["before", "the secret word", "after"] {
            assert!(text.contains(word), "{what}: {text}");
            assert!(opened.text.body.contains(word), "{what}");
        }
    }
    let two = armored("the first\n") + &armored("the second\n");
    for message in [two.clone(), pgp_mime(&two)] {
        let text = rendition(&open(message.as_bytes()));
        assert!(
            text.contains("the first") && text.contains("the second"),
            "{text}"
        );
    }
}

#[test]
fn clear_signed_text_inside_is_told_once_with_what_it_covers() {
    let signed = clear_signed("the signed words\n");
    let around = format!("pay somebody else\n\n{signed}\nthanks\n");
    for (text, scope) in [(&signed, Scope::Whole), (&around, Scope::Part)] {
        for message in [text.clone(), pgp_mime(text), armored(text)] {
            let opened = open(message.as_bytes());
            let scopes: Vec<Scope> = opened.signatures.iter().map(|found| found.scope).collect();
            assert_eq!(scopes, [scope], "{message}");
        }
    }
    let (cut, _) = signed.split_once("-----BEGIN PGP SIGNATURE").unwrap();
    let opened = open(cut.as_bytes());
    assert_eq!(opened.signatures[0].verdict, Verdict::Invalid);
}

#[test]
fn a_long_list_of_other_recipients_costs_nothing() {
    let first = |message: &[u8]| {
        let packet = split(message).next().unwrap().unwrap();
        framed(packet.tag, &packet.body())
    };
    let others = first(&encrypted(&THEIRS.cert, INNER)).repeat(200);
    let opened = open(&[others, packets(INNER)].concat());
    assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
}

#[test]
fn an_object_inside_that_does_not_open_is_told_once() {
    let closed = armored_for_them();
    let opened = open(pgp_mime(&closed).as_bytes());
    let outcomes: Vec<Outcome> = opened.layers.iter().map(|layer| layer.outcome).collect();
    assert_eq!(outcomes, [Outcome::Opened, Outcome::NoKey]);
}

fn armored_for_them() -> String {
    strongroom::mail::openpgp::armor::armored("MESSAGE", &encrypted(&THEIRS.cert, INNER))
}

const STUB: &[u8] = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80";

#[test]
fn smime_in_pem_is_found_in_text() {
    let base64 = data_encoding::BASE64.encode(STUB);
    for label in ["PKCS7", "CMS", "PKCS #7 SIGNED DATA"] {
        let pem = format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n");
        for text in [pem.clone(), format!("see:\n{pem}bye\n")] {
            let opened = open(format!("Content-Type: text/plain\n\n{text}").as_bytes());
            let formats: Vec<_> = opened.layers.iter().map(|layer| layer.format).collect();
            assert_eq!(formats, [Format::Smime], "{text}");
        }
    }
}

#[test]
fn fields_that_slid_into_the_body_are_read() {
    let message = format!("From: a@x\nSubject: s\n\n{}", pgp_mime(INNER));
    let opened = open(message.as_bytes());
    assert_eq!(
        rendition(&opened),
        "From: a@x\nSubject: s\nMIME-Version: 1.0\nContent-Type: text/plain\n\nthe secret word\n"
    );
}

#[test]
fn a_mail_saved_as_utf_16_is_opened() {
    let message = format!("\u{feff}From: a@x\nSubject: s\n{}", pgp_mime(INNER));
    for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        for message in [&message, message.trim_start_matches('\u{feff}')] {
            let wide: Vec<u8> = message.encode_utf16().flat_map(to_bytes).collect();
            let opened = open(&wide);
            assert_eq!(opened.outcome, Outcome::Opened);
            assert_eq!(opened.text.subject, "s");
            let body = data_encoding::BASE64_MIME.encode(&wide);
            let file = format!(
                "Content-Type: application/octet-stream; name=a.eml\nContent-Transfer-Encoding: base64\n\n{body}"
            );
            assert_eq!(open(file.as_bytes()).outcome, Outcome::Opened);
        }
    }
}

#[test]
fn a_part_that_is_smime_by_its_name_only() {
    let part = |body: &str| {
        format!(
            "From: a@x\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\nhi\n--m\nContent-Type: application/pkcs7-mime; name=smime.p7m\n\n{body}\n--m--\n"
        )
    };
    // As Outlook keeps a clear-signed mail in TNEF: the whole entity.
    let opened = open(part(&pgp_mime(INNER)).as_bytes());
    assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
    let opened = open(part("The attachment was removed.").as_bytes());
    assert_eq!(opened.outcome, Outcome::NotEncrypted, "{:?}", opened.reason);
    let opened = open(b"From: a@x\nContent-Type: application/pkcs7-mime\n\nnothing\n");
    assert_eq!(opened.outcome, Outcome::Damaged);
}

/// A mail with this file, named as a signature, beside its text.
fn with_file(file: &str) -> String {
    format!(
        "From: a@x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/octet-stream; name=a.asc\r\n\r\n{file}\r\n--b--\r\n"
    )
}

/// A signature packet of this type, in armor.
fn block(kind: u8, label: &str) -> String {
    let packet = framed(tag::SIGNATURE, &[4, kind, 1, 8, 0, 0, 0, 0, 0x12, 0x34]);
    armor::armored(label, &packet)
}

const DOCUMENT: u8 = 0x00;

#[test]
fn a_revocation_beside_the_text_is_no_signature_over_it() {
    const KEY_REVOCATION: u8 = 0x20;
    let told = |file: &str| open(with_file(file).as_bytes()).signatures.len();
    assert_eq!(told(&block(DOCUMENT, "SIGNATURE")), 1);
    for label in ["SIGNATURE", "PUBLIC KEY BLOCK"] {
        assert_eq!(told(&block(KEY_REVOCATION, label)), 0, "{label}");
    }
}

#[test]
fn a_signature_file_may_hold_several_blocks() {
    let file = block(DOCUMENT, "SIGNATURE").repeat(2);
    let opened = open(with_file(&file).as_bytes());
    assert_eq!(opened.signatures.len(), 2);
}
