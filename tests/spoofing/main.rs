//! Mail that makes a good signature look like somebody else's or like one of the whole mail ("Johnny, you are fired",
//! USENIX Security 2019). Signer and victim are both known and vouched for: only what is shown is forged.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod beside;
mod multiparts;

use sequoia_openpgp::cert::{Cert, CertBuilder};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::Serialize;
use sequoia_openpgp::serialize::stream::{LiteralWriter, Message, Signer};
use sequoia_openpgp::types::HashAlgorithm;
use std::io::Write;
use std::sync::LazyLock;
use strongroom::escrow::keyholder::Keyholder;
use strongroom::mail::context::{OpenPgpCertificate, OpenPolicy, Trust, TrustData};
use strongroom::mail::model::{Scope, Signature, Verdict};
use strongroom::mail::openpgp::armor;
use strongroom::mail::{self, Opened};
use strongroom::time::{Clock, SystemClock};

const BOSS: &str = "boss@big.example";
const EVE: &str = "eve@evil.example";

static KEYS: LazyLock<[Cert; 2]> = LazyLock::new(|| [BOSS, EVE].map(key));

fn key(address: &str) -> Cert {
    CertBuilder::general_purpose(Some(address))
        .generate()
        .unwrap()
        .0
}

fn verify(message: &str) -> Signature {
    let [signature] = open(message).signatures.try_into().expect("one signature");
    signature
}

fn open(message: &str) -> Opened {
    open_bytes(message.as_bytes())
}

fn open_bytes(message: &[u8]) -> Opened {
    let certificates = KEYS.iter().map(|cert| {
        let mut bytes = Vec::new();
        cert.serialize(&mut bytes).unwrap();
        OpenPgpCertificate {
            bytes,
            source: "directory".into(),
        }
    });
    let trust = Trust::from(TrustData {
        openpgp: certificates.collect(),
        ..TrustData::default()
    });
    mail::open(
        message,
        &Keyholder::default(),
        &trust,
        &OpenPolicy::default(),
        SystemClock.now(),
    )
}

fn sign(address: &str, content: &str, kind: &str) -> String {
    let cert = KEYS.iter().find(|cert| {
        cert.userids()
            .any(|u| u.userid().value() == address.as_bytes())
    });
    let policy = StandardPolicy::new();
    let pair = cert
        .unwrap()
        .keys()
        .with_policy(&policy, None)
        .secret()
        .for_signing()
        .next()
        .unwrap()
        .key()
        .clone()
        .into_keypair()
        .unwrap();
    let mut out = Vec::new();
    let signer = Signer::new(Message::new(&mut out), pair).unwrap();
    let signer = signer.hash_algo(HashAlgorithm::SHA512).unwrap();
    match kind {
        "SIGNATURE" => {
            let mut signer = signer.detached().build().unwrap();
            signer.write_all(content.as_bytes()).unwrap();
            signer.finalize().unwrap();
        }
        "SIGNED MESSAGE" => {
            let mut signer = signer.cleartext().build().unwrap();
            signer.write_all(content.as_bytes()).unwrap();
            signer.finalize().unwrap();
            return String::from_utf8(out).unwrap();
        }
        _ => {
            let signer = signer.build().unwrap();
            let mut literal = LiteralWriter::new(signer).build().unwrap();
            literal.write_all(content.as_bytes()).unwrap();
            literal.finalize().unwrap();
        }
    }
    armor::armored(kind, &out)
}

/// A multipart/signed entity by `address` over `part`.
fn signed(address: &str, part: &str) -> String {
    format!(
        "Content-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\r\n\r\n--s\r\n{part}\r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\n{}\r\n--s--\r\n",
        sign(address, part, "SIGNATURE")
    )
}

const PART: &str = "Content-Type: text/plain\r\n\r\nYou are fired.\r\n";

#[test]
fn a_sender_that_the_signer_is_not_is_no_valid_one() {
    let honest = verify(&format!(
        "From: Eve <{EVE}>\r\nSubject: x\r\n{}",
        signed(EVE, PART)
    ));
    assert_eq!(
        (honest.verdict, honest.scope, honest.from_matches),
        (Verdict::Valid, Scope::Whole, Some(true)),
        "{}",
        honest.reason
    );
    for header in [
        format!("From: {BOSS}"),
        format!("From: {BOSS}\r\nSender: {EVE}"),
        format!("From: {BOSS} <{EVE}>"),
        format!("From: \"{BOSS}\" <{EVE}>"),
        format!("From: =?utf-8?q?{}?= <{EVE}>", BOSS.replace('@', "=40")),
        format!("From: <{BOSS}> <{EVE}>"),
        format!("From: {BOSS}:{EVE};"),
        format!("From: ({BOSS}) {EVE}"),
        format!("From: {EVE}, {BOSS}"),
        format!("From: {EVE}\r\nFrom: {BOSS}"),
        format!("From: \r\nReply-To: {BOSS}"),
        format!("From: The boss\r\nReply-To: {BOSS}"),
        format!("To: us@big.example\r\nReply-To: {BOSS}"),
    ] {
        let signature = verify(&format!("{header}\r\nSubject: x\r\n{}", signed(EVE, PART)));
        assert_eq!(
            (signature.verdict, signature.from_matches),
            (Verdict::UnknownSigner, Some(false)),
            "{header}"
        );
        assert!(signature.reason.starts_with("from-mismatch: "), "{header}");
    }
}

#[test]
fn a_signed_entity_without_a_sender_is_judged_by_its_key_alone() {
    let signature = verify(&format!("MIME-Version: 1.0\r\n{}", signed(EVE, PART)));
    assert_eq!(
        (signature.verdict, signature.from_matches),
        (Verdict::Valid, None)
    );
}

#[test]
fn the_sender_in_protected_headers_counts_too() {
    let inner = |from: &str| {
        format!("From: {from}\r\nContent-Type: text/plain; hp=\"clear\"\r\n\r\nYou are fired.\r\n")
    };
    for (outer, inside, verdict) in [
        (EVE, EVE, Verdict::Valid),
        (EVE, BOSS, Verdict::UnknownSigner),
        (BOSS, EVE, Verdict::UnknownSigner),
    ] {
        let detached = verify(&format!("From: {outer}\r\n{}", signed(EVE, &inner(inside))));
        assert_eq!(detached.verdict, verdict, "detached, {outer}, {inside}");
        for mark in ["", "\u{feff}"] {
            let opaque = sign(EVE, &(mark.to_owned() + &inner(inside)), "MESSAGE");
            let opaque = verify(&format!(
                "From: {outer}\r\nContent-Type: text/plain\r\n\r\n{opaque}"
            ));
            assert_eq!(opaque.verdict, verdict, "opaque, {outer}, {inside}");
        }
    }
}

#[test]
fn the_sender_of_a_wrapped_message_counts_too() {
    let wrapped = |forwarded: &str| {
        format!(
            "Content-Type: message/rfc822{forwarded}\r\n\r\nFrom: {BOSS}\r\nSubject: x\r\n\r\nYou are fired.\r\n"
        )
    };
    for (kind, verdict) in [
        ("; forwarded=no", Verdict::UnknownSigner),
        ("", Verdict::Valid),
    ] {
        let signature = verify(&format!("From: {EVE}\r\n{}", signed(EVE, &wrapped(kind))));
        assert_eq!(signature.verdict, verdict, "{kind}");
    }
}

#[test]
fn a_replayed_message_is_not_signed_by_who_sends_it_again() {
    // Once signed by the boss; now in a message of somebody whose name is all that is shown.
    let old = format!("From: {BOSS}\r\nSubject: x\r\n{}", signed(BOSS, PART));
    let wrapped = |kind: &str| {
        let message = format!("Content-Type: message/rfc822{kind}\r\n\r\n{old}");
        let secret = sign(EVE, &message, "MESSAGE");
        let mail = format!("From: The boss\r\nContent-Type: text/plain\r\n\r\n{secret}");
        open(&mail).signatures.pop().unwrap()
    };
    let forwarded = wrapped("");
    assert_eq!(
        (forwarded.verdict, forwarded.scope),
        (Verdict::Valid, Scope::Part)
    );
    let claimed = wrapped("; forwarded=No");
    assert_eq!(
        (claimed.verdict, claimed.from_matches),
        (Verdict::UnknownSigner, Some(false))
    );
}

#[test]
fn certificates_alone_are_no_signature() {
    // SignedData without content, certificates and signers (RFC 5652, section 5.2).
    let nobody =
        b"\x30\x23\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x16\x30\x14\x02\x01\x01\x31\x00\
        \x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\x31\x00";
    let base64 = data_encoding::BASE64.encode(nobody);
    let signature = verify(&format!(
        "From: {BOSS}\r\nContent-Type: multipart/signed; boundary=s; protocol=\"application/pkcs7-signature\"\r\n\r\n--s\r\n{PART}\r\n--s\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n{base64}\r\n--s--\r\n"
    ));
    assert_eq!(signature.verdict, Verdict::Invalid);
    assert!(
        signature.reason.starts_with("missing: "),
        "{}",
        signature.reason
    );
}

#[test]
fn an_old_signature_under_a_new_date_is_told() {
    let now = jiff::Timestamp::from_second(SystemClock.now().seconds() as i64).unwrap();
    let dated = |hours: i64, zone: i8| {
        let there = jiff::tz::TimeZone::fixed(jiff::tz::offset(zone));
        let date = (now + jiff::SignedDuration::from_hours(hours)).to_zoned(there);
        let date = jiff::fmt::rfc2822::to_string(&date).unwrap();
        verify(&format!(
            "From: {EVE}\r\nDate: {date}\r\n{}",
            signed(EVE, PART)
        ))
    };
    for (hours, zone) in [(0, 0), (0, 13), (-20, -11), (20, 13)] {
        assert_eq!(dated(hours, zone).verdict, Verdict::Valid, "{hours}");
    }
    for hours in [-30, 30, 4000] {
        let judged = dated(hours, 2);
        assert_eq!(judged.verdict, Verdict::ValidBut, "{hours}");
        assert!(judged.reason.starts_with("time-mismatch: "), "{hours}");
    }
}

#[test]
fn clear_signed_text_in_another_charset_or_under_the_old_type() {
    let text = sign(BOSS, "für dich\n", "SIGNED MESSAGE");
    let head = format!("From: {BOSS}\nContent-Type: text/plain; charset=iso-8859-1\n\n");
    let latin: Vec<u8> = format!("{head}{text}")
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    let old = format!("From: {BOSS}\nContent-Type: application/pgp; x-action=sign\n\n{text}");
    for mail in [latin.as_slice(), old.as_bytes()] {
        let [signature] = open_bytes(mail).signatures.try_into().unwrap();
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Whole),
            "{}",
            signature.reason
        );
    }
}

#[test]
fn a_quoted_signature_is_nobodys() {
    let text = sign(BOSS, "You are promoted.\n", "SIGNED MESSAGE").replace('\n', "\n> ");
    let head = format!("From: {EVE}\nContent-Type: text/plain\n\n");
    assert!(
        open(&format!("{head}Boss wrote:\n> {text}"))
            .signatures
            .is_empty()
    );
}
