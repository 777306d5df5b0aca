//! Mail made to keep the box busy: what it costs must grow with its length, not with the square of it, and what it makes
//! the box remember is bounded. Each of these took minutes, or memory without end, before it was bounded.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "hostile/objects.rs"]
mod objects;

use std::fmt::Write;
use std::time::{Duration, Instant};
use strongroom::escrow::keyholder::Keyholder;
use strongroom::mail::context::{OpenPgpCertificate, OpenPolicy, Trust, TrustData};
use strongroom::mail::openpgp::armor;
use strongroom::mail::openpgp::packets::{framed, tag};
use strongroom::mail::{self, Bounds, Opened, text};
use strongroom::time::Timestamp;

/// Longest that one of them may take, in an unoptimised build on a busy machine.
const SLOWEST: Duration = Duration::from_secs(15);

fn open_with(trust: &Trust, message: &str) -> Opened {
    let started = Instant::now();
    let opened = mail::open(
        message.as_bytes(),
        &Keyholder::default(),
        trust,
        &OpenPolicy::default(),
        Timestamp::from_seconds(1_800_000_000),
    );
    let took = started.elapsed();
    assert!(took < SLOWEST, "{} bytes took {took:?}", message.len());
    opened
}

fn open(message: &str) -> Opened {
    open_with(&Trust::default(), message)
}

fn literal(content: &str) -> Vec<u8> {
    framed(tag::LITERAL, &[b"b\0\0\0\0\0", content.as_bytes()].concat())
}

#[test]
fn blocks_in_a_text_are_counted_as_parts() {
    let blanks = "\r\n".repeat(4 << 20);
    let blocks = armor::armored("MESSAGE", &literal("x")).repeat(4000);
    let opened = open(&format!("Subject: x\r\n\r\n.{blanks}{blocks}"));
    let most = Bounds::default().parts as usize;
    assert!(opened.layers.len() <= most, "{}", opened.layers.len());
    assert!(opened.reason.is_some_and(|reason| reason.contains("parts")));
}

#[test]
fn white_space_around_blocks_is_not_searched_for_each() {
    let blanks = "\r\n".repeat(16 << 20);
    let blocks = armor::armored("MESSAGE", &literal("x")).repeat(1500);
    let opened = open(&format!("Subject: x\r\n\r\n{blanks}{blocks}"));
    assert_eq!(opened.layers.len(), 1500);
}

#[test]
fn addresses_of_a_mail_are_bounded() {
    let mut message = String::new();
    for field in 0..40 {
        message.push_str("To: ");
        for number in 0..1999 {
            write!(message, "{number:04}.{field:02}@x.example,").unwrap();
        }
        message.push_str("z@x.example\r\n");
    }
    let started = Instant::now();
    let found = text::search_text(message.as_bytes(), &Bounds::default());
    assert!(started.elapsed() < SLOWEST, "{:?}", started.elapsed());
    assert_eq!(found.to.len(), 10_000);
}

#[test]
fn a_header_inside_is_matched_with_the_outer_one_in_one_go() {
    let fields =
        |value: &str| -> String { (0..20_000).map(|n| format!("X-{n}: {value}\r\n")).collect() };
    let inner = format!(
        "Content-Type: text/plain\r\n{}\r\nhello\r\n",
        fields("inner")
    );
    let message = format!(
        "{}Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n{}\r\n--b--\r\n",
        fields("outer"),
        armor::armored("MESSAGE", &literal(&inner)),
    );
    let rendition = open(&message).rendition.unwrap();
    let rendition = String::from_utf8(rendition).unwrap();
    assert!(rendition.contains("HP-Outer: X-19999: outer\r\n"));
    assert!(rendition.contains("\r\nX-19999: inner\r\n"));
}

#[test]
fn of_the_keys_that_a_signature_names_a_few_are_looked_for() {
    let issuers: Vec<u8> = (0..6000_u64)
        .flat_map(|id| [&[9, 16][..], &(id << 20 | 0xfe).to_be_bytes()].concat())
        .collect();
    let length = u16::try_from(issuers.len()).unwrap().to_be_bytes();
    // Version 4, binary, EdDSA, SHA-256, nothing hashed, the issuers, the digest's start, two numbers.
    let body = [
        &[4, 0, 22, 8, 0, 0][..],
        &length,
        &issuers,
        &[0, 0, 0, 1, 1, 0, 1, 1],
    ]
    .concat();
    let signatures = framed(tag::SIGNATURE, &body).repeat(8);
    let certificates = (0..16_u8).map(|number| OpenPgpCertificate {
        bytes: vec![number; 1 << 20],
        source: "directory".to_owned(),
    });
    let trust = Trust::from(TrustData {
        openpgp: certificates.collect(),
        ..TrustData::default()
    });
    let message = format!(
        "Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n{}\r\n--b--\r\n",
        armor::armored("SIGNATURE", &signatures),
    );
    assert_eq!(open_with(&trust, &message).signatures.len(), 8);
}

/// The most memory that this process has taken, in MB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.unwrap().trim().parse::<u64>().unwrap() >> 10
}

#[test]
fn messages_that_lie_encoded_in_each_other_are_counted() {
    let head =
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    let text = format!("{}\r\n", "x".repeat(70)).repeat(100_000);
    let mail = format!("{}Subject: x\r\n\r\n=41{text}", head.repeat(48));
    let opened = open(&mail);
    let reason = opened.reason.unwrap_or_default();
    assert!(reason.contains("decoded_bytes"), "{reason}");
    let told = |note: &String| note.contains("decoded_bytes");
    assert!(
        opened.text.notes.iter().any(told),
        "{:?}",
        opened.text.notes
    );
    assert!(memory() < 400, "{} MB", memory());
}

#[test]
fn a_card_of_line_ends_takes_little_memory() {
    let lines = "\n".repeat(12 << 20);
    let mail = format!("Content-Type: text/vcard\r\n\r\nBEGIN:VCARD\r\n{lines}END:VCARD\r\n");
    open(&mail);
    assert!(memory() < 200, "{} MB", memory());
}
