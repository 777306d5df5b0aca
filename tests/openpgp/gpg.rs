//! What gpg writes, we open and judge; what we write, gpg opens. Keys and messages are made at test time.

use crate::support::gpg::Gpg;
use crate::support::pgp::{Keys, context, context_from};
use std::path::PathBuf;
use strongroom::escrow::{KeyProblem, openpgp_key};
use strongroom::mail::context::{OpenPgpCertificate, Trust, TrustData, Unwrapped};
use strongroom::mail::model::{
    ClaimSource, Integrity, Outcome, Revocation, SignatureMath, Verdict,
};
use strongroom::mail::openpgp;
use strongroom::secret::SecretBytes;

const TEXT: &[u8] = b"Dear archive,\nkeep this readable.\n- with a dash\n";

struct Person {
    keys: Keys,
    trust: Trust,
}

/// The keys and certificates in a gpg home, as the archive would have them.
fn person(gpg: &Gpg) -> Person {
    let file: PathBuf = gpg.write(
        "secret.asc",
        &gpg.run(&["--armor", "--export-secret-keys"], b""),
    );
    let keys = Keys::load(&[file], &[SecretBytes::from("geheim".to_owned())]);
    let bytes = gpg.run(&["--export"], b"");
    let trust = Trust::from(TrustData {
        openpgp: vec![OpenPgpCertificate {
            bytes,
            source: "directory".to_owned(),
        }],
        ..TrustData::default()
    });
    Person { keys, trust }
}

fn open(person: &Person, data: &[u8]) -> Unwrapped {
    context(&person.keys, &person.trust, |ctx| {
        openpgp::open(data, None, ctx)
    })
    .expect("opens")
}

#[test]
fn every_key_algorithm_gpg_makes_opens_and_proves_possession() {
    for algorithm in [
        "rsa1024",
        "rsa2048",
        "rsa3072",
        "elg",
        "cv25519",
        "nistp256",
        "nistp384",
        "nistp521",
        "brainpoolP256r1",
        "brainpoolP384r1",
        "brainpoolP512r1",
        "secp256k1",
    ] {
        let gpg = Gpg::new();
        gpg.make_key("Alice <alice@example.org>", algorithm, "never");
        let alice = person(&gpg);
        let message = gpg.encrypt(&["-r", "alice@example.org", "--armor"], TEXT);
        let opened = open(&alice, &message);
        assert_eq!(opened.plaintext, TEXT, "{algorithm}");
        assert_eq!(opened.layers[0].integrity, Integrity::Authenticated);
        let secret = gpg.run(&["--export-secret-keys"], b"");
        let kept = openpgp_key::load_for_escrow(&secret, &[SecretBytes::from("geheim".to_owned())]);
        let key = kept
            .into_iter()
            .next()
            .unwrap()
            .unwrap_or_else(|e| panic!("{algorithm}: {e}"));
        assert!(!key.info().dual_use, "{algorithm}");
        let again = openpgp_key::load(key.to_secret_bytes().expose(), &[]);
        let keys = Keys {
            keys: again.into_iter().flatten().collect(),
            locked: Vec::new(),
            passphrases: Vec::new(),
        };
        let reopened = context(&keys, &alice.trust, |ctx| {
            openpgp::open(&message, None, ctx)
        });
        assert_eq!(
            reopened.expect("opens with the stored form").plaintext,
            TEXT,
            "{algorithm}"
        );
    }
}

#[test]
fn every_cipher_and_compression_gpg_writes_opens() {
    let gpg = Gpg::new();
    let passphrase = Person {
        keys: Keys {
            keys: Vec::new(),
            locked: Vec::new(),
            passphrases: vec![SecretBytes::from("geheim".to_owned())],
        },
        trust: Trust::default(),
    };
    for cipher in [
        "IDEA",
        "3DES",
        "CAST5",
        "BLOWFISH",
        "AES",
        "AES192",
        "AES256",
        "TWOFISH",
        "CAMELLIA128",
        "CAMELLIA192",
        "CAMELLIA256",
    ] {
        for compression in ["zip", "zlib", "bzip2", "none"] {
            let options = [
                "--symmetric",
                "--cipher-algo",
                cipher,
                "--compress-algo",
                compression,
            ];
            let opened = open(&passphrase, &gpg.run(&options, TEXT));
            assert_eq!(opened.plaintext, TEXT, "{cipher} {compression}");
        }
        let unprotected = [
            "--symmetric",
            "--cipher-algo",
            cipher,
            "--rfc2440",
            "--disable-mdc",
        ];
        let opened = open(&passphrase, &gpg.run(&unprotected, TEXT));
        assert_eq!(opened.plaintext, TEXT, "{cipher} {:?}", opened.layers);
    }
}

#[test]
fn signatures_of_a_vouched_key_are_valid_however_they_come() {
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let alice = person(&gpg);
    let sealed = gpg.encrypt(&["-r", "alice@example.org", "--sign"], TEXT);
    for message in [
        sealed,
        gpg.run(&["--sign"], TEXT),
        gpg.run(&["--sign", "--textmode"], TEXT),
    ] {
        let opened = open(&alice, &message);
        let signature = &opened.signatures[0];
        assert_eq!(
            (signature.verdict, signature.math),
            (Verdict::Valid, SignatureMath::Good),
            "{signature:?}"
        );
        assert_eq!(signature.signer, "alice@example.org");
        assert_eq!(
            opened.layers.last().map(|layer| layer.kind.as_str()),
            Some("signed")
        );
    }
    let clear = gpg.run(&["--clear-sign"], TEXT);
    let opened = open(&alice, &clear);
    assert_eq!(
        (opened.plaintext.as_slice(), opened.signatures[0].verdict),
        (TEXT, Verdict::Valid)
    );

    let mime = b"Content-Type: text/plain\n\nhello \n";
    let detached = gpg.run(&["--detach-sign", "--armor"], mime);
    let crlf = b"Content-Type: text/plain\r\n\r\nhello \r\n";
    for (signed, verdict) in [
        (&mime[..], Verdict::ValidBut),
        (crlf, Verdict::ValidBut),
        (b"other", Verdict::Invalid),
    ] {
        let checked = context(&alice.keys, &alice.trust, |ctx| {
            openpgp::open(&detached, Some(signed), ctx)
        })
        .unwrap();
        assert_eq!(
            checked.signatures[0].verdict, verdict,
            "{:?}",
            checked.signatures
        );
    }
    let detached = gpg.run(&["--detach-sign"], crlf);
    let checked = context(&alice.keys, &alice.trust, |ctx| {
        openpgp::open(&detached, Some(mime), ctx)
    })
    .unwrap();
    assert_eq!(
        checked.signatures[0].verdict,
        Verdict::Valid,
        "{:?}",
        checked.signatures
    );
}

#[test]
fn a_text_that_gpg_was_told_not_to_escape_is_checked_with_all_line_ends() {
    const AS_IT_IS: &[u8] = b"- dash\n-- \nFrom me  \n\n";
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let alice = person(&gpg);
    let clear = gpg.run(&["--clear-sign", "--not-dash-escaped"], AS_IT_IS);
    let sent = String::from_utf8(clear).unwrap().replace('\n', "\r\n");
    for text in [sent.replace('\r', ""), sent.clone()] {
        let opened = open(&alice, text.as_bytes());
        let signature = &opened.signatures[0];
        assert_eq!(signature.verdict, Verdict::Valid, "{signature:?}");
        assert!(opened.plaintext.starts_with(b"- dash"));
    }
    let altered = open(&alice, sent.replace("me  ", "me").as_bytes());
    assert_eq!(altered.signatures[0].verdict, Verdict::Invalid);
}

#[test]
fn a_key_from_the_mail_itself_is_never_trusted_and_a_foreign_from_is_told() {
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let mut alice = person(&gpg);
    let message = gpg.run(&["--sign"], TEXT);
    let mallory = context_from(&alice.keys, &alice.trust, &["boss@example.org"], |ctx| {
        openpgp::open(&message, None, ctx)
    });
    let signature = &mallory.unwrap().signatures[0];
    assert_eq!(
        (signature.verdict, signature.from_matches),
        (Verdict::UnknownSigner, Some(false))
    );
    assert!(
        signature.reason.starts_with("from-mismatch: "),
        "{}",
        signature.reason
    );

    alice.trust.openpgp[0].source = openpgp::FROM_MESSAGE.to_owned();
    let signature = &open(&alice, &message).signatures[0];
    assert_eq!(
        (signature.verdict, signature.math),
        (Verdict::UnknownSigner, SignatureMath::Good)
    );

    alice.trust.openpgp.clear();
    let signature = &open(&alice, &message).signatures[0];
    assert_eq!(
        (signature.verdict, signature.math),
        (Verdict::UnknownSigner, SignatureMath::Unchecked)
    );
}

#[test]
fn expired_and_revoked_keys_still_decrypt() {
    let gpg = Gpg::new().at("20200101T000000");
    gpg.make_key("Alice <alice@example.org>", "rsa2048", "1y");
    let sealed = gpg.encrypt(&["-r", "alice@example.org", "--sign"], TEXT);
    let alice = person(&gpg);
    let opened = open(&alice, &sealed);
    assert_eq!(
        (opened.plaintext.as_slice(), opened.layers[0].outcome),
        (TEXT, Outcome::Opened)
    );
    let signature = &opened.signatures[0];
    assert_eq!(signature.verdict, Verdict::ValidBut, "{}", signature.reason);
    assert!(
        signature.reason.starts_with("expired: "),
        "{}",
        signature.reason
    );
    // For the time that the signer claims it was valid; that is told beside the verdict.
    let claimed = signature.claimed.as_ref().unwrap();
    assert_eq!(
        (claimed.verdict, claimed.source, Some(claimed.time)),
        (Verdict::Valid, ClaimSource::SigningTime, signature.time)
    );

    gpg.revoke("alice@example.org");
    let alice = person(&gpg);
    let opened = open(&alice, &sealed);
    let signature = &opened.signatures[0];
    assert_eq!(opened.plaintext, TEXT);
    assert_eq!(
        (signature.verdict, signature.revocation),
        (Verdict::Invalid, Revocation::Revoked),
        "{signature:?}"
    );
}

#[test]
fn hidden_recipients_and_several_recipients_open() {
    let gpg = Gpg::new();
    gpg.make_key("Bob <bob@example.org>", "rsa2048", "never");
    let bob = person(&gpg);
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    for options in [
        &["-R", "bob@example.org"][..],
        &["-r", "alice@example.org", "-r", "bob@example.org"],
        &[
            "-R",
            "alice@example.org",
            "-R",
            "bob@example.org",
            "--compress-algo",
            "none",
        ],
        &["-r", "bob@example.org", "--symmetric"],
    ] {
        assert_eq!(
            open(&bob, &gpg.encrypt(options, TEXT)).plaintext,
            TEXT,
            "{options:?}"
        );
    }
}

#[test]
fn an_altered_message_gives_out_nothing() {
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let alice = person(&gpg);
    let message = gpg.encrypt(
        &["-r", "alice@example.org", "--compress-algo", "none"],
        TEXT,
    );
    for at in (message.len() - 60)..message.len() {
        let mut altered = message.clone();
        altered[at] ^= 0x20;
        let opened = context(&alice.keys, &alice.trust, |ctx| {
            openpgp::open(&altered, None, ctx)
        });
        let layers = opened.expect_err("must not open").layers;
        assert_eq!(
            (layers[0].outcome, layers[0].integrity),
            (Outcome::Damaged, Integrity::Broken),
            "octet {at}"
        );
    }
}

#[test]
fn escrow_refuses_wrong_passphrases_and_pure_signing_keys_and_drops_signing_parts() {
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let secret = gpg.run(&["--export-secret-keys"], b"");
    let wrong = openpgp_key::load_for_escrow(&secret, &[SecretBytes::from("falsch".to_owned())]);
    assert_eq!(wrong[0].as_ref().err(), Some(&KeyProblem::WrongPassphrase));
    let kept = openpgp_key::load_for_escrow(&secret, &[SecretBytes::from("geheim".to_owned())]);
    let stored = kept.into_iter().next().unwrap().unwrap().to_secret_bytes();
    let tags: Vec<u8> = openpgp::packets::packets(stored.expose())
        .flatten()
        .map(|p| p.tag)
        .collect();
    assert_eq!(
        (tags[0], tags.contains(&7), tags.contains(&5)),
        (6, true, false),
        "{tags:?}"
    );

    let signer = Gpg::new();
    signer.make_signing_key("Sig <sig@example.org>");
    let secret = signer.run(&["--export-secret-keys"], b"");
    let refused = openpgp_key::load_for_escrow(&secret, &[SecretBytes::from("geheim".to_owned())]);
    assert!(matches!(refused[0], Err(KeyProblem::SigningOnly(_))));
}

#[test]
fn gpg_reads_what_is_encrypted_for_a_new_certificate() {
    for algorithm in ["cv25519", "rsa2048", "nistp384"] {
        let gpg = Gpg::new();
        gpg.make_key("Alice <alice@example.org>", algorithm, "never");
        let certificate = gpg.run(&["--export"], b"");
        let mail = b"From: bob@example.org\r\nSubject: old\r\n mail\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n";
        let sealed = openpgp::encrypt_for(&certificate, mail).expect("encrypts");
        let text = String::from_utf8(sealed).unwrap();
        assert!(text.starts_with("From: bob@example.org\r\nSubject: ...\r\nMIME-Version: 1.0\r\nContent-Type: multipart/encrypted;"), "{text}");
        let opened = gpg.run(&["--decrypt"], text.as_bytes());
        assert_eq!(
            String::from_utf8(opened).unwrap(),
            "From: bob@example.org\r\nSubject: old\r\n mail\r\nContent-Type: text/html;\r\n protected-headers=\"v1\"\r\n\r\n<p>hi</p>\r\n"
        );
    }
}

// What is given as a new certificate goes to officers and into the receipt.
#[test]
fn nothing_is_encrypted_to_a_file_with_a_private_key() {
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let secret = gpg.run(&["--armor", "--export-secret-keys"], b"");
    let refused = openpgp::encrypt_for(&secret, b"From: bob@example.org\r\n\r\nhi\r\n");
    let said = refused.expect_err("a private key").to_string();
    assert!(said.contains("holds a private key"), "{said}");
}

#[test]
fn a_signature_that_cannot_be_checked_is_told_all_the_same() {
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let alice = person(&gpg);
    let signed = gpg.run(&["--sign", "--compress-algo", "none"], TEXT);
    let parts: Vec<Vec<u8>> = openpgp::packets::packets(&signed)
        .flatten()
        .map(|packet| openpgp::packets::framed(packet.tag, &packet.body()))
        .collect();
    let [one_pass, literal, signature] = &parts[..] else {
        panic!("{} packets", parts.len())
    };
    let told = |message: &[u8]| {
        let opened = context(&alice.keys, &alice.trust, |ctx| {
            openpgp::open(message, None, ctx)
        });
        let signatures = match &opened {
            Ok(opened) => &opened.signatures,
            Err(unopened) => &unopened.signatures,
        };
        let told = signatures.iter().map(|s| {
            (
                s.verdict,
                s.math,
                s.reason.split(':').next().unwrap().to_owned(),
            )
        });
        (opened.is_ok(), told.collect::<Vec<_>>())
    };
    let unchecked = |verdict, reason: &str| (verdict, SignatureMath::Unchecked, reason.to_owned());

    let unsigned = [&one_pass[..], literal].concat();
    let missing = unchecked(Verdict::Invalid, "missing");
    assert_eq!(told(&unsigned), (true, vec![missing]));

    let version = signature.iter().position(|octet| *octet == 4).unwrap();
    let mut future = signature.clone();
    future[version] = 9;
    let of_the_future = [&one_pass[..], literal, &future].concat();
    let unsupported = unchecked(Verdict::Invalid, "unsupported");
    assert_eq!(told(&of_the_future), (true, vec![unsupported]));

    let detached = unchecked(Verdict::UnknownSigner, "detached");
    assert_eq!(told(signature), (true, vec![detached]));

    let damaged = unchecked(Verdict::Invalid, "damaged");
    let twice = signed.repeat(2);
    assert_eq!(told(&twice), (false, vec![damaged]));
}
