//! What lies beside the encrypted part of a PGP/MIME mail: the version note, or more to read.

use super::{OURS, open, packets, rendition};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Signer};
use std::io::Write;
use strongroom::mail::Opened;
use strongroom::mail::model::{Outcome, Scope};
use strongroom::mail::openpgp::armor;

/// An entity that says `word`, signed and encrypted, in armor.
fn sealed(word: &str) -> String {
    let policy = StandardPolicy::new();
    let keys = || OURS.cert.keys().with_policy(&policy, None);
    let mut secret = keys().secret().filter(|key| key.for_signing());
    let pair = secret.next().unwrap().key().clone().into_keypair().unwrap();
    let mut out = Vec::new();
    let recipients = keys().for_transport_encryption();
    let message = Encryptor::for_recipients(Message::new(&mut out), recipients)
        .build()
        .unwrap();
    let message = Signer::new(message, pair).unwrap().build().unwrap();
    let mut literal = LiteralWriter::new(message).build().unwrap();
    let entity = format!("Content-Type: text/plain\n\n{word}\n");
    literal.write_all(entity.as_bytes()).unwrap();
    literal.finalize().unwrap();
    armor::armored("MESSAGE", &out).replace("\r\n", "\n")
}

fn mail(subtype: &str, parts: &[&str]) -> Opened {
    let parts: String = parts.iter().map(|part| format!("--m\n{part}\n")).collect();
    let head = format!("From: a@x\nContent-Type: multipart/{subtype}; boundary=m\n");
    let opened = open(format!("{head}\n{parts}--m--\n").as_bytes());
    assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
    opened
}

const CONTROL: &str = "Content-Type: application/pgp-encrypted\n\nVersion: 1\n";
const NOTE: &str = "Content-Type: text/plain; name=Version.txt\n\nVersion: 1";

const ATT: &str = "Content-Type: application/octet-stream; name=ATT00001.bin\nContent-Transfer-Encoding: base64\n\nVmVyc2lvbjogMQ0K";

fn octets(armor: &str) -> String {
    format!("Content-Type: application/octet-stream\n\n{armor}")
}

fn control(armor: &str) -> String {
    format!("Content-Type: application/pgp-encrypted; name=Message.pgp\n\n{armor}")
}

fn text(text: &str) -> String {
    format!("Content-Type: text/plain\n\n{text}")
}

#[test]
fn a_version_note_is_nothing_to_read() {
    let armor = sealed("the secret word");
    for (what, subtype, parts) in [
        ("RFC 3156", "encrypted", [CONTROL, &octets(&armor)]),
        ("PGP's server", "mixed", [NOTE, &control(&armor)]),
        ("Exchange", "mixed", [ATT, &octets(&armor)]),
        ("Google's groups", "mixed", [&text(&armor), CONTROL]),
    ] {
        let opened = mail(subtype, &parts);
        let text = rendition(&opened);
        assert!(
            text.trim_end().ends_with("\n\nthe secret word"),
            "{what}: {text}"
        );
        assert!(!text.contains("\nVersion: 1"), "{what}: {text}");
        let scopes: Vec<_> = opened.signatures.iter().map(|found| found.scope).collect();
        assert_eq!(scopes, [Scope::Whole], "{what}");
    }
}

#[test]
fn more_to_read_stays_and_nobody_signed_it() {
    let armor = sealed("the secret word");
    let footer = text("pay at once");
    let more = NOTE.replace("Version: 1", "Version: 1\npay at once");
    let around = text(&format!("pay at once\n{armor}"));
    let pdf = "Content-Type: application/pdf\n\npay at once";
    for (what, subtype, parts) in [
        (
            "behind",
            "encrypted",
            &[CONTROL, &octets(&armor), &footer][..],
        ),
        ("before", "encrypted", &[&footer, CONTROL, &octets(&armor)]),
        ("a file", "encrypted", &[CONTROL, &octets(&armor), pdf]),
        ("in the part", "encrypted", &[CONTROL, &around]),
        (
            "before an attached message",
            "mixed",
            &[&footer, &control(&armor)],
        ),
        ("a file before it", "mixed", &[pdf, &control(&armor)]),
        ("in the note", "mixed", &[&more, &control(&armor)]),
        (
            "in the control part",
            "encrypted",
            &[&control("pay at once"), &octets(&armor)],
        ),
        ("around the armor", "mixed", &[&around, CONTROL]),
    ] {
        let opened = mail(subtype, parts);
        let text = rendition(&opened);
        assert!(text.contains("the secret word"), "{what}: {text}");
        assert!(text.contains("pay at once"), "{what}: {text}");
        assert!(
            text.contains("Content-Type: multipart/mixed;"),
            "{what}: {text}"
        );
        let scopes: Vec<_> = opened.signatures.iter().map(|found| found.scope).collect();
        assert_eq!(scopes, [Scope::Part], "{what}");
    }
}

#[test]
fn of_two_encrypted_parts_both_are_opened() {
    let (one, two) = (sealed("the first"), sealed("the second"));
    let opened = mail("encrypted", &[CONTROL, &octets(&one), &octets(&two)]);
    let text = rendition(&opened);
    assert!(
        text.contains("the first") && text.contains("the second"),
        "{text}"
    );
    assert!(
        opened
            .signatures
            .iter()
            .all(|found| found.scope == Scope::Part)
    );
}

#[test]
fn a_file_that_is_all_of_the_mail_keeps_its_name() {
    let file = armor::armored("MESSAGE", &packets("\u{1}the secret word"));
    let opened = |name: &str| {
        let head = format!("From: a@x\nContent-Type: application/octet-stream; name={name}\n");
        let opened = open(format!("{head}\n{file}").as_bytes());
        assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
        rendition(&opened)
    };
    let named = opened("t.pdf.pgp");
    let file = "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"t.pdf\"\n\n";
    assert!(named.contains(file), "{named}");
    assert!(!opened("encrypted.asc").contains("filename"));
    // Nobody signed the name.
    let signed = format!(
        "Content-Type: application/pgp-encrypted; name=t.pdf.pgp\n\n{}",
        sealed("x")
    );
    let signed = open(format!("From: a@x\n{signed}").as_bytes());
    assert_eq!(signed.signatures[0].scope, Scope::Part);
}

#[test]
fn a_whole_mail_that_was_encrypted_as_a_file_is_an_attached_message() {
    let mail = "From: b@y\nSubject: inside\nContent-Type: text/plain\n\nthe secret word\n";
    let kept = mail.replace("text/plain", "text/plain; protected-headers=v1");
    for (entity, is_message) in [(mail, true), (kept.as_str(), false)] {
        let file = armor::armored("MESSAGE", &packets(entity)).replace("\r\n", "\n");
        let part = format!("Content-Type: application/octet-stream; name=message.asc\n\n{file}");
        let opened = self::mail("mixed", &[&text("see the file"), &part]);
        let text = rendition(&opened);
        assert!(text.contains("Subject: inside\n"), "{text}");
        assert_eq!(text.contains("message/rfc822"), is_message, "{text}");
        assert!(opened.text.body.contains("the secret word"), "{text}");
        assert_eq!(opened.text.subject, "");
    }
}
