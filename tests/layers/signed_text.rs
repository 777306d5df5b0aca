//! Signatures over text: in the cleartext framework, and in files beside it.

use super::{OURS, armored, open, pgp_mime};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::Serialize;
use sequoia_openpgp::serialize::stream::{Message, Signer};
use std::io::Write;
use strongroom::mail::model::{Scope, SignatureMath, Verdict};
use strongroom::mail::openpgp::armor;
use strongroom::mail::openpgp::packets::{framed, tag};

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
fn clear_signed_text_inside_is_told_once_with_what_it_covers() {
    let signed = clear_signed("the signed words\n");
    let around = format!("pay somebody else\n\n{signed}\nthanks\n");
    for (text, scope) in [(&signed, Scope::Whole), (&around, Scope::Part)] {
        let marked = format!("Content-Type: text/plain\n\n\u{feff}{text}");
        for message in [text.clone(), pgp_mime(text), armored(text), marked] {
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
fn a_clear_signed_text_that_is_signed_again_is_judged_by_the_outer_signature() {
    let inner = clear_signed("the signed words\n");
    let outer = clear_signed(&inner);
    assert!(
        outer.contains("\n- -----BEGIN PGP SIGNATURE-----"),
        "{outer}"
    );
    for text in [outer.clone(), outer.replace('\n', "\r\n")] {
        let found = open(text.as_bytes()).signatures;
        let told: Vec<_> = found.iter().map(|one| (one.verdict, one.scope)).collect();
        // Checked, were the key here.
        assert_eq!(told, [(Verdict::UnknownSigner, Scope::Whole)], "{text}");
    }
}

#[test]
fn clear_signed_text_of_which_html_was_made_is_checked_as_it_is_shown() {
    let text = clear_signed("first  words\n\n- third & last\n");
    let escaped = text.replace('&', "&amp;");
    let spaced = escaped.replace("  ", "&nbsp; ");
    let divs = |line: &str| match line {
        "" => "<div><br></div>".to_owned(),
        line => format!("<div>{line}</div>\n"),
    };
    let mut key = Vec::new();
    OURS.cert.armored().serialize(&mut key).unwrap();
    let key = String::from_utf8(key).unwrap();
    let checked = |html: &str| {
        let mail = format!(
            "From: ours@example.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<html><body>{html}</body></html>\n--b\nContent-Type: application/pgp-keys\n\n{key}\n--b--\n"
        );
        let found = open(mail.as_bytes()).signatures;
        assert_eq!(found.len(), 1, "{html}");
        assert_eq!(found[0].scope, Scope::Part);
        assert_eq!(found[0].verdict, Verdict::UnknownSigner);
        (found[0].math, found[0].reason.clone())
    };
    for html in [
        format!("<pre>{escaped}</pre>"),
        spaced.replace('\n', "<br>\n"),
        spaced.lines().map(divs).collect(),
        format!("<p style=\"white-space: pre-wrap\">{escaped}</p>"),
    ] {
        assert_eq!(checked(&html).0, SignatureMath::Good, "{html}");
    }
    let (math, reason) = checked(&spaced.replace("words", "wor<br>ds").replace('\n', "<br>\n"));
    assert_eq!(math, SignatureMath::Unchecked);
    assert!(reason.starts_with("html: "), "{reason}");
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

#[test]
fn a_signature_in_armor_of_pgp_2() {
    let mail = with_file(&block(DOCUMENT, "MESSAGE")).replace("octet-stream", "pgp-signature");
    assert_eq!(open(mail.as_bytes()).signatures.len(), 1);
}
