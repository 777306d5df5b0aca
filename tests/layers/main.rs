//! Where encrypted objects lie in real mail, and what the rendition makes of them. The messages are made here, by
//! Sequoia, with a key made for the run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod archives;
mod beside;
mod bounds;
mod files;
mod signed_text;
mod text;
mod unopened;
mod winmail;

use proptest::prelude::*;
use sequoia_openpgp::cert::{Cert, CertBuilder, CipherSuite};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::Serialize;
use sequoia_openpgp::serialize::stream::{Encryptor, LiteralWriter, Message};
use std::io::Write;
use std::sync::LazyLock;
use strongroom::escrow::{keyholder::Keyholder, openpgp_key};
use strongroom::id::Digest;
use strongroom::mail::context::{OpenPolicy, Trust};
use strongroom::mail::model::{Format, Outcome};
use strongroom::mail::openpgp::armor;
use strongroom::mail::{self, Opened};
use strongroom::time::Timestamp;

struct Pair {
    secret: Vec<u8>,
    cert: Cert,
}

fn pair(address: &str) -> Pair {
    let (cert, _) = CertBuilder::general_purpose(Some(address))
        .generate()
        .unwrap();
    let mut secret = Vec::new();
    cert.as_tsk().serialize(&mut secret).unwrap();
    Pair { secret, cert }
}

static OURS: LazyLock<Pair> = LazyLock::new(|| pair("ours@example.org"));
static THEIRS: LazyLock<Pair> = LazyLock::new(|| pair("theirs@example.org"));

fn open(message: &[u8]) -> Opened {
    open_with(&OURS.secret, message)
}

fn open_with(secret: &[u8], message: &[u8]) -> Opened {
    let mut keys = Keyholder::default();
    for key in openpgp_key::load(secret, &[]) {
        keys.add(key.unwrap());
    }
    mail::open(
        message,
        &keys,
        &Trust::default(),
        &OpenPolicy::default(),
        Timestamp::from_seconds(1_800_000_000),
    )
}

fn packets(plaintext: &str) -> Vec<u8> {
    encrypted(&OURS.cert, plaintext)
}

fn encrypted(cert: &Cert, plaintext: &str) -> Vec<u8> {
    let policy = StandardPolicy::new();
    let recipients = cert
        .keys()
        .with_policy(&policy, None)
        .for_transport_encryption();
    let mut out = Vec::new();
    let message = Encryptor::for_recipients(Message::new(&mut out), recipients)
        .build()
        .unwrap();
    let mut literal = LiteralWriter::new(message).build().unwrap();
    literal.write_all(plaintext.as_bytes()).unwrap();
    literal.finalize().unwrap();
    out
}

fn armored(plaintext: &str) -> String {
    armor::armored("MESSAGE", &packets(plaintext)).replace("\r\n", "\n")
}

fn rendition(opened: &Opened) -> String {
    String::from_utf8(opened.rendition.clone().expect("a rendition")).unwrap()
}

const INNER: &str = "Content-Type: text/plain\n\nthe secret word\n";

fn pgp_mime(inner: &str) -> String {
    format!(
        "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=e\n\n--e\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n--e\nContent-Type: application/octet-stream\n\n{}\n--e--\n",
        armored(inner)
    )
}

#[test]
fn an_encrypted_message_is_replaced_and_its_header_stays() {
    let head = "From: A <a@x>\nX-Odd:   kept  as it is\nSubject: outer\n";
    let opened = open(format!("{head}{}", pgp_mime(INNER)).as_bytes());
    assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
    assert_eq!(
        rendition(&opened),
        format!("{head}MIME-Version: 1.0\nContent-Type: text/plain\n\nthe secret word\n")
    );
    assert_eq!(
        opened.layers[0].plaintext_sha256,
        Some(Digest::of(INNER.as_bytes()))
    );
    assert!(opened.text.body.contains("secret word"));
}

#[test]
fn what_was_encoded_twice_is_opened() {
    let encode = |bytes: &[u8]| data_encoding::BASE64_MIME.encode(bytes);
    for once in [encode(armored(INNER).as_bytes()), encode(&packets(INNER))] {
        let message = format!(
            "From: a@x\nContent-Type: multipart/encrypted; boundary=e\n\n--e\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--e\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n{}\n--e--\n",
            encode(once.as_bytes())
        );
        let opened = open(message.as_bytes());
        assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
        assert!(opened.text.body.contains("the secret word"));
    }
}

#[test]
fn of_protected_headers_both_are_kept_and_the_inner_is_searched() {
    let inner =
        "Content-Type: text/plain; protected-headers=\"v1\"\nSubject: inner\nFrom: a@x\n\nword\n";
    let opened = open(format!("From: a@x\nSubject: ...\nTo: b@y\n{}", pgp_mime(inner)).as_bytes());
    let text = rendition(&opened);
    assert!(
        text.starts_with("HP-Outer: Subject: ...\nTo: b@y\nMIME-Version: 1.0\n"),
        "{text}"
    );
    assert_eq!(text.matches("\nSubject: inner\n").count(), 1);
    assert_eq!(text.matches("From: a@x").count(), 1);
    assert_eq!(opened.text.subject, "inner");
}

#[test]
fn what_gateways_and_lists_make_of_a_message_opens_too() {
    let armor = armored(INNER);
    let base64 = data_encoding::BASE64.encode(armor.as_bytes());
    let binary = data_encoding::BASE64_MIME.encode(&packets(INNER));
    let octets = "Content-Type: application/octet-stream; name=\"encrypted.asc\"\n";
    let variants = [
        (
            "mixed-up by Exchange",
            format!(
                "Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: text/plain\n\n\n--m\nContent-Type: application/pgp-encrypted\nContent-Transfer-Encoding: base64\n\nVmVyc2lvbjogMQ==\n--m\n{octets}\n{armor}\n--m--\n"
            ),
        ),
        (
            "without the version part",
            format!(
                "Content-Type: multipart/encrypted; boundary=m\n\n--m\n{octets}\n{armor}\n--m--\n"
            ),
        ),
        (
            "parts in the wrong order",
            format!(
                "Content-Type: multipart/encrypted; boundary=m\n\n--m\n{octets}\n{armor}\n--m\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--m--\n"
            ),
        ),
        (
            "armor in base64",
            format!(
                "Content-Type: multipart/encrypted; boundary=m\n\n--m\n{octets}Content-Transfer-Encoding: base64\n\n{base64}\n--m--\n"
            ),
        ),
        (
            "wrong transfer encoding",
            format!(
                "Content-Type: multipart/encrypted; boundary=m\n\n--m\n{octets}Content-Transfer-Encoding: base64\n\n{armor}\n--m--\n"
            ),
        ),
        (
            "binary in base64",
            format!(
                "Content-Type: multipart/mixed; boundary=m\n\n--m\n{octets}Content-Transfer-Encoding: base64\n\n{binary}\n--m--\n"
            ),
        ),
        (
            "a wrong boundary",
            pgp_mime(INNER).replacen("boundary=e", "boundary=other", 1),
        ),
        ("no last boundary", pgp_mime(INNER).replace("--e--\n", "")),
        (
            "inline, nothing else",
            format!("Content-Type: text/plain\n\n{armor}"),
        ),
        ("inline without MIME", format!("Subject: s\n\n{armor}")),
        (
            "inline on one line",
            format!("Content-Type: text/plain\n\n{}", armor.replace('\n', " ")),
        ),
        (
            "inline, quoted-printable that nobody declares",
            format!("Content-Type: text/plain\n\n{}", armor.replace('=', "=3D")),
        ),
        (
            "a single pgp part",
            format!("Content-Type: application/pgp; x-action=encrypt\n\n{armor}"),
        ),
        (
            "html",
            format!(
                "Content-Type: text/html\n\n<p>{}</p>",
                armor.replace('\n', "<br>\n")
            ),
        ),
        (
            "forwarded",
            format!(
                "Content-Type: message/rfc822\n\nSubject: x\n{}",
                pgp_mime(INNER)
            ),
        ),
        (
            "attached as base64",
            format!(
                "Content-Type: application/octet-stream; name=a.eml\nContent-Transfer-Encoding: base64\n\n{}",
                data_encoding::BASE64.encode(pgp_mime(INNER).as_bytes())
            ),
        ),
        (
            "whole multipart in base64",
            format!(
                "Content-Type: multipart/encrypted; boundary=e\nContent-Transfer-Encoding: base64\n\n{}",
                data_encoding::BASE64_MIME
                    .encode(pgp_mime(INNER).split_once("\n\n").unwrap().1.as_bytes())
            ),
        ),
    ];
    for (what, message) in variants {
        let message = format!("From: a@x\nMIME-Version: 1.0\n{message}");
        for message in [message.clone(), message.replace('\n', "\r\n")] {
            let opened = open(message.as_bytes());
            assert_eq!(
                opened.outcome,
                Outcome::Opened,
                "{what}: {:?}",
                opened.reason
            );
            assert!(
                opened.text.body.contains("the secret word"),
                "{what}: {:?}\n{}",
                opened.text,
                rendition(&opened)
            );
        }
    }
    let carriage_returns = format!("From: a@x\n{}", pgp_mime(INNER)).replace('\n', "\r");
    assert_eq!(open(carriage_returns.as_bytes()).outcome, Outcome::Opened);
}

#[test]
fn smime_is_found_in_text_that_lost_its_type() {
    let stub = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80";
    let base64 = data_encoding::BASE64.encode(stub);
    for head in [
        "Subject: s\n",
        "Content-Type: text/plain\n",
        "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n",
        "Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: quoted-printable\n",
    ] {
        let opened = open(format!("{head}\n{base64}\n").as_bytes());
        let formats: Vec<_> = opened.layers.iter().map(|layer| layer.format).collect();
        assert_eq!(formats, [Format::Smime], "{head}");
    }
}

#[test]
fn a_list_footer_around_the_encrypted_part_stays() {
    let message = format!(
        "From: a@x\nContent-Type: multipart/mixed; boundary=l\n\n--l\n{}\n--l\nContent-Type: text/plain\n\nlist footer\n--l--\n",
        pgp_mime(INNER)
    );
    let opened = open(message.as_bytes());
    assert_eq!(
        rendition(&opened),
        "From: a@x\nContent-Type: multipart/mixed; boundary=l\n\n--l\nContent-Type: text/plain\n\nthe secret word\n\n--l\nContent-Type: text/plain\n\nlist footer\n--l--\n"
    );
}

#[test]
fn armor_says_what_charset_is_in_it() {
    // 日本 in ISO-2022-JP, which is ASCII by its bytes.
    let armor = armored("\x1b$BF|K\\\x1b(B\n");
    let named = armor.replacen('\n', "\nCharset: ISO-2022-JP\n", 1);
    for (charset, armor) in [
        ("utf-8", &named),
        ("utf-8", &armor),
        ("iso-2022-jp", &armor),
    ] {
        let head = format!("Content-Type: text/plain; charset={charset}\n\n");
        let opened = open(format!("{head}{armor}").as_bytes());
        assert!(opened.text.body.contains("日本"), "{:?}", opened.text.body);
    }
}

#[test]
fn text_around_an_inline_message_stays() {
    let opened = open(format!("Subject: s\n\nhello\n{}\nbye\n", armored("größe\n")).as_bytes());
    assert_eq!(opened.outcome, Outcome::Opened);
    assert_eq!(opened.text.body, "hello\ngröße\n\nbye");
}

#[test]
fn an_encrypted_file_becomes_the_file() {
    let body = data_encoding::BASE64_MIME.encode(&packets("a;b\n1;2\n"));
    let message = format!(
        "Content-Type: multipart/mixed; boundary=m\n\n--m\n\nhi\n--m\nContent-Type: application/octet-stream; name=\"t.csv.gpg\"\nContent-Transfer-Encoding: base64\n\n{body}\n--m--\n"
    );
    let opened = open(message.as_bytes());
    let text = rendition(&opened);
    assert!(
        text.contains("text/csv") && text.contains("filename=\"t.csv\""),
        "{text}"
    );
    assert!(opened.text.body.contains("1;2"), "{:?}", opened.text);
}

#[test]
fn a_text_file_names_its_charset() {
    let label = |content: &[u8]| {
        let file = strongroom::mail::rendition::as_file(content, "notes.txt");
        String::from_utf8(file).unwrap()
    };
    assert!(label("für\n".as_bytes()).contains("charset=utf-8"));
    assert!(label(b"f\xfcr\n").contains("charset=windows-1252"));
}

#[test]
fn a_message_that_names_the_primary_key_is_opened_by_the_subkey() {
    let (cert, _) = CertBuilder::general_purpose(Some("rsa@example.org"))
        .set_cipher_suite(CipherSuite::RSA2k)
        .generate()
        .unwrap();
    let mut secret = Vec::new();
    cert.as_tsk().serialize(&mut secret).unwrap();
    let mut message = encrypted(&cert, INNER);
    let primary = cert.primary_key().key().keyid();
    for id in cert.keys().subkeys().map(|key| key.key().keyid()) {
        let at = message.windows(8).position(|bytes| bytes == id.as_bytes());
        if let Some(at) = at {
            message[at..at + 8].copy_from_slice(primary.as_bytes());
        }
    }
    let opened = open_with(&secret, &message);
    assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
}

#[test]
fn layers_nest_and_count() {
    let innermost = pgp_mime(INNER);
    let opened = open(pgp_mime(&pgp_mime(&innermost)).as_bytes());
    assert_eq!(
        opened
            .layers
            .iter()
            .map(|layer| layer.depth)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert!(rendition(&opened).ends_with("the secret word\n"));
}

#[test]
fn plain_mail_is_not_encrypted_and_has_no_rendition() {
    let talk =
        "From: a@x\nSubject: how to\n\nPut it between -----BEGIN PGP MESSAGE----- and the end.\n";
    let opened = open(talk.as_bytes());
    assert_eq!(
        (opened.outcome, opened.rendition, opened.layers.len()),
        (Outcome::NotEncrypted, None, 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn never_panics(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(b"Content-Type: multipart/signed; boundary=b\n".to_vec()),
                Just(b"Content-Type: multipart/encrypted; boundary=b\n".to_vec()),
                Just(b"Content-Type: application/pkcs7-mime\n".to_vec()),
                Just(b"Content-Type: application/ms-tnef\n".to_vec()),
                Just(b"Content-Type: message/rfc822\n".to_vec()),
                Just(b"Content-Transfer-Encoding: base64\n".to_vec()),
                Just(b"\n".to_vec()), Just(b"--b\n".to_vec()), Just(b"--b--\n".to_vec()),
                Just(b"-----BEGIN PGP MESSAGE-----\n\nhQEM\n-----END PGP MESSAGE-----\n".to_vec()),
                Just(b"-----BEGIN PGP SIGNED MESSAGE-----\n".to_vec()),
                Just(b"-----BEGIN PGP SIGNATURE-----\n\niQ\n".to_vec()),
                Just(b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80".to_vec()),
                Just(b"MIAGCSqGSIb3DQEHA6CA\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..40),
            ],
            0..30,
        ),
    ) {
        let _ = open(&pieces.concat());
    }
}
