//! What gpg can write, key by cipher, with compression, integrity protection, recipients and signatures turning along so
//! that each meets each: opened and compared. The other way, what we encrypt opens in gpg and sq.

use crate::support::gpg::Gpg;
use crate::support::pgp::{Keys, context};
use crate::support::sq::Sq;
use strongroom::mail::context::{OpenPgpCertificate, Trust, TrustData, Unwrapped};
use strongroom::mail::model::{Integrity, SignatureMath, Verdict};
use strongroom::mail::openpgp;
use strongroom::secret::SecretBytes;

const TEXT: &[u8] = b"Dear archive,\nkeep this readable, keep this readable.\n- with a dash\n";
const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

const CIPHERS: [&str; 11] = [
    "AES",
    "3DES",
    "CAST5",
    "BLOWFISH",
    "TWOFISH",
    "CAMELLIA128",
    "AES192",
    "CAMELLIA192",
    "AES256",
    "CAMELLIA256",
    "IDEA",
];
const COMPRESSIONS: [&str; 4] = ["none", "zip", "zlib", "bzip2"];
const RECIPIENTS: [&[&str]; 5] = [
    &["-r", ALICE],
    &["-R", ALICE],
    &["-r", BOB, "-r", ALICE],
    &["-r", ALICE, "--symmetric"],
    &["-R", BOB, "-R", ALICE],
];
/// Integrity protection: how to ask for it, and what we must say of it.
const PROTECTIONS: [(&str, Integrity); 3] = [
    ("--gnupg", Integrity::Authenticated),
    ("--rfc4880", Integrity::Authenticated),
    ("--rfc2440", Integrity::Unauthenticated),
];

fn keys_of(gpg: &Gpg, user_id: &str) -> Keys {
    let secret = gpg.run(&["--export-secret-keys", user_id], b"");
    let file = gpg.write("secret.pgp", &secret);
    Keys::load(&[file], &[SecretBytes::from("geheim".to_owned())])
}

fn vouched(certificates: Vec<u8>) -> Trust {
    Trust::from(TrustData {
        openpgp: vec![OpenPgpCertificate {
            bytes: certificates,
            source: "directory".to_owned(),
        }],
        ..TrustData::default()
    })
}

fn open(keys: &Keys, trust: &Trust, message: &[u8], what: &str) -> Unwrapped {
    let opened = context(keys, trust, |ctx| openpgp::open(message, None, ctx));
    opened.unwrap_or_else(|unopened| panic!("{what}: {}", unopened.failure))
}

/// Every cipher to one kind of key.
fn row(algorithm: &str, turn: usize) {
    let gpg = Gpg::new();
    gpg.make_key(&format!("Alice <{ALICE}>"), algorithm, "never");
    gpg.make_key(&format!("Bob <{BOB}>"), "cv25519", "never");
    let alice = keys_of(&gpg, ALICE);
    let trust = vouched(gpg.run(&["--export"], b""));
    for (index, cipher) in CIPHERS.iter().enumerate() {
        let turn = index + turn;
        let (protection, integrity) = PROTECTIONS[turn % PROTECTIONS.len()];
        let compression = COMPRESSIONS[turn % COMPRESSIONS.len()];
        let mut options = vec![protection, "--cipher-algo", cipher];
        options.extend(["--compress-algo", compression, "--default-key", ALICE]);
        options.extend(RECIPIENTS[turn % RECIPIENTS.len()]);
        let signed = turn % 7 < 3;
        if signed {
            options.extend(["--sign", "--digest-algo", "SHA512"]);
        }
        let what = format!("{algorithm} {options:?}");
        let opened = open(&alice, &trust, &gpg.encrypt(&options, TEXT), &what);
        assert_eq!(opened.plaintext, TEXT, "{what}");
        assert_eq!(opened.layers[0].integrity, integrity, "{what}");
        let verdicts: Vec<_> = opened
            .signatures
            .iter()
            .map(|s| (s.math, s.verdict))
            .collect();
        let expected = [(SignatureMath::Good, Verdict::Valid)];
        assert_eq!(verdicts, expected[..usize::from(signed)], "{what}");
    }
}

#[test]
fn every_cipher_to_rsa_and_elgamal() {
    let keys = ["rsa2048", "rsa3072", "rsa4096", "elg"];
    keys.iter()
        .zip([0, 5, 17, 26])
        .for_each(|(key, turn)| row(key, turn));
}

#[test]
fn every_cipher_to_curve25519_and_nist_curves() {
    let keys = ["cv25519", "nistp256", "nistp384", "nistp521"];
    keys.iter()
        .zip([3, 8, 16, 31])
        .for_each(|(key, turn)| row(key, turn));
}

#[test]
fn every_cipher_to_brainpool_and_secp256k1() {
    let keys = [
        "brainpoolP256r1",
        "brainpoolP384r1",
        "brainpoolP512r1",
        "secp256k1",
    ];
    keys.iter()
        .zip([1, 13, 22, 34])
        .for_each(|(key, turn)| row(key, turn));
}

#[test]
fn every_signature_form_and_digest_of_gpg_verifies() {
    let all = &["SHA1", "SHA224", "SHA256", "SHA384", "SHA512", "RIPEMD160"][..];
    for (algorithm, digests) in [
        ("rsa2048", all),
        ("cv25519", &all[2..]),
        ("elg", all),
        // gpg makes no shorter digest fit.
        ("nistp521", &["SHA512"]),
    ] {
        let gpg = Gpg::new();
        gpg.make_key(&format!("Alice <{ALICE}>"), algorithm, "never");
        let (alice, trust) = (keys_of(&gpg, ALICE), vouched(gpg.run(&["--export"], b"")));
        let forms: [&[&str]; 5] = [
            &["--sign"],
            &["--sign", "--textmode"],
            &["--clear-sign"],
            &["--detach-sign"],
            &["--detach-sign", "--textmode", "--armor"],
        ];
        for (index, form) in forms.into_iter().enumerate() {
            let digest = digests[index % digests.len()];
            let options = [form, &["--digest-algo", digest]].concat();
            let what = format!("{algorithm} {options:?}");
            let message = gpg.run(&options, TEXT);
            let detached = form[0] == "--detach-sign";
            let judged = context(&alice, &trust, |ctx| {
                openpgp::open(&message, detached.then_some(TEXT), ctx)
            });
            let judged = judged
                .unwrap_or_else(|e| panic!("{what}: {}", e.failure))
                .signatures;
            let [signature] = &judged[..] else {
                panic!("{what}: {judged:?}")
            };
            assert_eq!(signature.math, SignatureMath::Good, "{what}: {signature:?}");
            assert_eq!(
                signature.verdict,
                Verdict::Valid,
                "{what}: {}",
                signature.reason
            );
        }
    }
}

#[test]
fn what_sq_writes_opens() {
    let sq = Sq::new();
    for suite in ["cv25519", "rsa3k"] {
        let (key, certificate) = sq.make_key(ALICE, suite);
        let keys = Keys::load(std::slice::from_ref(&key), &[]);
        let trust = vouched(std::fs::read(&certificate).unwrap());
        let (key, cert) = (key.to_str().unwrap(), certificate.to_str().unwrap());
        for compression in ["none", "pad", "zip", "zlib", "bzip2"] {
            let options = [
                "encrypt",
                "--compression",
                compression,
                "--recipient-cert",
                cert,
            ];
            let signed = [&options[..], &["--signer-key", key]].concat();
            let what = format!("{suite} {compression}");
            let opened = open(&keys, &trust, &sq.run(&signed, TEXT), &what);
            assert_eq!(opened.plaintext, TEXT, "{what}");
            assert_eq!(opened.signatures[0].verdict, Verdict::Valid, "{what}");
        }
        for form in ["--cleartext-signature", "--binary"] {
            let message = sq.run(&["sign", form, "--signer-key", key], TEXT);
            let opened = open(&keys, &trust, &message, form);
            assert_eq!(
                opened.signatures[0].verdict,
                Verdict::Valid,
                "{suite} {form}"
            );
        }
        let detached = sq.run(&["sign", "--detached", "--signer-key", key], TEXT);
        let judged = context(&keys, &trust, |ctx| {
            openpgp::open(&detached, Some(TEXT), ctx)
        });
        assert_eq!(
            judged.unwrap().signatures[0].verdict,
            Verdict::Valid,
            "{suite}"
        );
    }
}

#[test]
fn what_we_encrypt_opens_in_gpg_and_sq() {
    let mail =
        b"From: bob@example.org\r\nSubject: old mail\r\nContent-Type: text/plain\r\n\r\nhi\r\n";
    let inside = b"From: bob@example.org\r\nSubject: old mail\r\nContent-Type: text/plain;\r\n protected-headers=\"v1\"\r\n\r\nhi\r\n";
    for algorithm in [
        "rsa3072",
        "nistp256",
        "nistp521",
        "brainpoolP256r1",
        "brainpoolP512r1",
    ] {
        let gpg = Gpg::new();
        gpg.make_key(&format!("Alice <{ALICE}>"), algorithm, "never");
        let sealed = openpgp::encrypt_for(&gpg.run(&["--export"], b""), mail);
        let sealed = sealed.unwrap_or_else(|e| panic!("{algorithm}: {e}"));
        assert_eq!(gpg.run(&["--decrypt"], &sealed), inside, "{algorithm}");
    }
    let sq = Sq::new();
    for suite in ["cv25519", "rsa3k"] {
        let (key, certificate) = sq.make_key(ALICE, suite);
        let sealed = openpgp::encrypt_for(&std::fs::read(certificate).unwrap(), mail).unwrap();
        let at = sealed
            .windows(15)
            .position(|w| w == b"-----BEGIN PGP ")
            .unwrap();
        let opened = sq.run(
            &["decrypt", "--recipient-key", key.to_str().unwrap()],
            &sealed[at..],
        );
        assert_eq!(opened, inside, "{suite}");
    }
}
