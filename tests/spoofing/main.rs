//! Mail that makes a good signature look like somebody else's or like one of the whole mail ("Johnny, you are fired",
//! USENIX Security 2019). Signer and victim are both known and vouched for: only what is shown is forged.

#![allow(clippy::unwrap_used, clippy::expect_used)]

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

/// A multipart/signed by `signers` over the part, with all parts that are not the first one as `rest` makes them of the
/// armored signatures.
fn signed_with(signers: [&str; 2], rest: impl Fn(String, String) -> String) -> String {
    let [first, second] = signers.map(|signer| sign(signer, PART, "SIGNATURE"));
    let rest = rest(first, second);
    format!(
        "From: {BOSS}\r\nContent-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\r\n\r\n--s\r\n{PART}\r\n--s\r\n{rest}\r\n--s--\r\n"
    )
}

const SIGNATURE_TYPE: &str = "Content-Type: application/pgp-signature\r\n\r\n";

#[test]
fn each_of_several_signatures_is_judged() {
    let forms: [&dyn Fn(String, String) -> String; 3] = [
        &|first, second| format!("{SIGNATURE_TYPE}{first}{second}"),
        &|first, second| format!("{SIGNATURE_TYPE}{first}\r\n--s\r\n{SIGNATURE_TYPE}{second}"),
        &|first, second| {
            let inner =
                format!("--i\r\n{SIGNATURE_TYPE}{first}\r\n--i\r\n{SIGNATURE_TYPE}{second}");
            format!("Content-Type: multipart/mixed; boundary=i\r\n\r\n{inner}\r\n--i--\r\n")
        },
    ];
    for form in forms {
        for signers in [[BOSS, EVE], [EVE, BOSS]] {
            let message = signed_with(signers, form);
            let signatures = open(&message).signatures;
            let of = |signer: &str| {
                let mut all = signatures.iter();
                all.find(|one| one.signer == signer).map(|one| one.verdict)
            };
            assert_eq!(
                (signatures.len(), of(BOSS), of(EVE)),
                (2, Some(Verdict::Valid), Some(Verdict::UnknownSigner)),
                "{message}"
            );
        }
    }
}

#[test]
fn text_in_the_place_of_the_signature_makes_the_signed_text_a_part() {
    let one = |rest: &dyn Fn(&str) -> String| {
        verify(&signed_with([BOSS, BOSS], |signature, _| rest(&signature)))
    };
    let honest = one(&|signature| format!("{SIGNATURE_TYPE}{signature}"));
    assert_eq!(
        (honest.verdict, honest.scope),
        (Verdict::Valid, Scope::Whole)
    );
    let spoofs: [&dyn Fn(&str) -> String; 3] = [
        &|signature| {
            format!("Content-Type: text/html\r\n\r\n<p>Pay Eve.</p>\r\n<pre>\r\n{signature}</pre>")
        },
        &|signature| {
            let inner = format!("--i\r\n\r\nPay Eve.\r\n--i\r\n{SIGNATURE_TYPE}{signature}");
            format!("Content-Type: multipart/mixed; boundary=i\r\n\r\n{inner}\r\n--i--\r\n")
        },
        &|signature| {
            format!(
                "Content-Type: text/plain\r\n\r\nPay Eve.\r\n--s\r\n{SIGNATURE_TYPE}{signature}"
            )
        },
    ];
    for spoof in spoofs {
        let signature = one(spoof);
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part)
        );
    }
}

#[test]
fn what_is_shown_beside_the_signed_text_makes_it_a_part() {
    let text = sign(BOSS, "You are promoted.\n", "SIGNED MESSAGE");
    let (first, rest) = text.split_once('\n').unwrap();
    let head = format!("From: {BOSS}\nContent-Type: text/plain\n\n");
    assert_eq!(verify(&format!("{head}{text}")).scope, Scope::Whole);
    for spoof in [
        format!("{head}You are fired.\n\n{text}"),
        format!("{head}{text}\nYou are fired.\n"),
        format!("{head}{first} You are fired.\n{rest}"),
        format!("{head}{first}\nComment: You are fired.\n{rest}"),
        format!("{head}{first}\nHash: You are fired.\n{rest}"),
        format!("You are fired.\n\n{text}"),
        format!("{text}\nYou are fired.\n"),
    ] {
        let signature = verify(&spoof);
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part),
            "{spoof}"
        );
    }
}

#[test]
fn a_mail_of_two_types_is_not_signed_as_a_whole() {
    let entity = signed(BOSS, PART).replacen(
        "\r\n\r\n",
        "\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nYou are promoted.\r\n--m--\r\n",
        1,
    );
    let signature = verify(&format!("From: {BOSS}\r\n{entity}"));
    assert_eq!(
        (signature.verdict, signature.scope),
        (Verdict::Valid, Scope::Part)
    );
}

#[test]
fn a_mail_of_two_boundaries_is_not_signed_as_a_whole() {
    for second in ["boundary=m", "boundary*=''s", "boundary*0=\"s\""] {
        let entity = signed(BOSS, PART).replacen("boundary=s", &format!("boundary=s; {second}"), 1);
        let signature = verify(&format!("From: {BOSS}\r\n{entity}"));
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part),
            "{second}"
        );
    }
}

#[test]
fn a_mail_whose_boundary_is_not_declared_is_not_signed_as_a_whole() {
    for declared in ["", "; boundary=another"] {
        let entity = signed(BOSS, PART);
        let signature = verify(&format!(
            "From: {BOSS}\r\nContent-Type: multipart/mixed{declared}\r\n\r\nYou are promoted.\r\n--m\r\n{entity}\r\n--m--\r\n"
        ));
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part),
            "{declared}"
        );
    }
}

/// Who sends it again chooses the boundaries around it, and so where a reader of the rendition would see its end.
#[test]
fn what_is_signed_is_not_cut_off_at_a_boundary_around_it() {
    const LINE: &str = "-----Original Message-----";
    let text = format!("Content-Type: text/plain\r\n\r\nYou are fired.\r\n{LINE}\r\nNot you.\r\n");
    let message = sign(BOSS, &text, "MESSAGE");
    let (boundary, _) = LINE[2..].rsplit_once("--").unwrap();
    let inner = format!(
        "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain\r\n\r\n{message}\r\n--i--\r\n"
    );
    let forwarded = format!(
        "Content-Type: message/rfc822\r\n\r\nFrom: {BOSS}\r\nContent-Type: text/plain\r\n\r\n{message}"
    );
    for (part, scope) in [(inner, Scope::Whole), (forwarded, Scope::Part)] {
        let opened = open(&format!(
            "From: {BOSS}\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n{part}\r\n--{boundary}--\r\n"
        ));
        let body = &opened.text.body;
        assert!(
            body.contains("fired") && body.contains("Not you."),
            "{body}"
        );
        let [signature] = opened.signatures.try_into().unwrap();
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, scope)
        );
    }
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
fn a_signed_multipart_that_became_mixed_is_verified() {
    let entity = signed(BOSS, PART).replacen("multipart/signed", "multipart/mixed", 1);
    let head = format!("From: {BOSS}\r\n");
    assert_eq!(verify(&format!("{head}{entity}")).verdict, Verdict::Valid);
    // Over another content it may be the signature of a file that is not here.
    let other = verify(&format!("{head}{}", entity.replacen("fired", "hired", 1)));
    assert_eq!(other.verdict, Verdict::UnknownSigner, "{}", other.reason);
    assert!(other.reason.starts_with("detached: "), "{}", other.reason);
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

/// Files signed beside themselves, as clients without PGP/MIME send them: each signature is over a part of the mail.
#[test]
fn signature_files_are_checked_over_the_files_beside_them() {
    use strongroom::mail::model::SignatureMath;
    let file = "The house, the key.\r\n";
    let signature = sign(BOSS, file, "SIGNATURE");
    let mail = |parts: &str| {
        format!(
            "From: {BOSS}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}--b--\r\n"
        )
    };
    let attached = |name: &str, content: &str| {
        format!(
            "--b\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\n\
             Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{content}\r\n"
        )
    };
    let text = attached("note.txt", "Hello,\r\n");
    for (what, parts, math, verdict) in [
        (
            "by its name",
            [
                &text,
                &attached("a.pdf.sig", &signature),
                &attached("a.pdf", file),
            ]
            .map(String::as_str)
            .concat(),
            SignatureMath::Good,
            Verdict::Valid,
        ),
        (
            "behind the file",
            [
                &text,
                &attached("a.pdf", file),
                &attached("signature.asc", &signature),
            ]
            .map(String::as_str)
            .concat(),
            SignatureMath::Good,
            Verdict::Valid,
        ),
        (
            "altered",
            [
                &attached("a.pdf", "The house."),
                &attached("A.PDF.asc", &signature),
            ]
            .map(String::as_str)
            .concat(),
            SignatureMath::Bad,
            Verdict::Invalid,
        ),
        (
            "over nothing that is here",
            [&text, &attached("signature.asc", &signature)]
                .map(String::as_str)
                .concat(),
            SignatureMath::Unchecked,
            Verdict::UnknownSigner,
        ),
    ] {
        let found = verify(&mail(&parts));
        assert_eq!(
            (found.math, found.verdict),
            (math, verdict),
            "{what}: {}",
            found.reason
        );
        assert_eq!(found.scope, Scope::Part, "{what}");
    }
}

#[test]
fn html_shows_more_than_the_text_that_is_signed_in_it() {
    for kind in ["SIGNED MESSAGE", "MESSAGE"] {
        let text = sign(BOSS, "You are promoted.", kind);
        for html in [
            format!("<img src=\"https://evil.example/fired.png\"><pre>{text}</pre>"),
            format!(
                "<style>body::before{{content:'You are fired.'}} pre{{display:none}}</style><pre>{text}</pre>"
            ),
        ] {
            let mail = format!("From: {BOSS}\nContent-Type: text/html\n\n{html}\n");
            let found = verify(&mail);
            assert_eq!(
                (found.verdict, found.scope),
                (Verdict::Valid, Scope::Part),
                "{mail}"
            );
        }
    }
}

#[test]
fn a_name_or_a_description_that_nobody_signed_makes_the_content_a_part() {
    let opaque = sign(BOSS, "You are promoted.\n", "MESSAGE");
    let clear = sign(BOSS, "You are promoted.\n", "SIGNED MESSAGE");
    let alone = |fields: &str, text: &str| {
        let part = format!("--b\nContent-Type: {fields}\n\n{text}\n--b--\n");
        let head = format!("From: {BOSS}\nContent-Type: multipart/mixed; boundary=b\n");
        verify(&format!("{head}\n{part}")).scope
    };
    let file = "application/octet-stream; name=";
    for (fields, text, scope) in [
        (format!("{file}encrypted.asc"), &opaque, Scope::Whole),
        (format!("{file}\"You are fired.pgp\""), &opaque, Scope::Part),
        (
            format!("{file}encrypted.asc\nContent-Description: You are fired"),
            &opaque,
            Scope::Part,
        ),
        ("text/plain; name=msg.txt".to_owned(), &clear, Scope::Whole),
        (
            "text/plain; name=\"You are fired.txt\"".to_owned(),
            &clear,
            Scope::Part,
        ),
        (
            "text/plain\nContent-Description: You are fired".to_owned(),
            &clear,
            Scope::Part,
        ),
        (
            format!("{file}\"You are fired.pgp\"\nContent-Disposition: inline; filename=msg.pgp"),
            &opaque,
            Scope::Part,
        ),
    ] {
        assert_eq!(alone(&fields, text), scope, "{fields}");
    }
    for names in [
        "filename=msg.txt\nContent-Disposition: inline; filename=\"You are fired.txt\"",
        "filename=\"You are fired.txt\"; filename*=utf-8''msg.txt",
    ] {
        let fields = format!("text/plain\nContent-Disposition: inline; {names}");
        assert_eq!(alone(&fields, &clear), Scope::Part, "{names}");
    }
}

#[test]
fn a_part_that_clients_may_show_in_two_ways_is_not_signed_as_a_whole() {
    let clear = sign(BOSS, "You are promoted.\n", "SIGNED MESSAGE");
    let digits = data_encoding::BASE64.encode(clear.as_bytes());
    let mixed = "Content-Type: multipart/mixed; boundary=b\n\n--b\n";
    let two_types = format!("Content-Type: text/plain\nContent-Type: text/html\n\n{clear}\n");
    let encoding = "Content-Transfer-Encoding:";
    let two_encodings =
        format!("{encoding} base64\n{encoding} 7bit\n\n*** You are fired! ***\n\n{digits}\n");
    let slid = format!("\nContent-Type: text/plain; x=y\nX-Note: You are fired\n\n{clear}");
    for mail in [
        format!("{mixed}{two_types}--b--\n"),
        format!("{mixed}{two_encodings}--b--\n"),
        two_encodings,
        slid,
    ] {
        let signature = verify(&format!("From: {BOSS}\n{mail}"));
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part),
            "{mail}"
        );
    }
}
