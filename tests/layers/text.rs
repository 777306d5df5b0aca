//! Objects that lie in a text, with something to read around them.

use super::{INNER, OURS, THEIRS, armored, encrypted, open, packets, pgp_mime, rendition};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::stream::{Message, Signer};
use std::io::Write;
use strongroom::mail::model::{Outcome, Scope, Verdict};
use strongroom::mail::openpgp::packets::{framed, packets as split};

/// The text with the signature of our key, in the cleartext framework.
fn clear_signed(text: &str) -> String {
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
