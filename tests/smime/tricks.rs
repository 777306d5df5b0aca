//! Signed messages made to be taken for something else: put together from the RFC, since no program writes them.

use crate::support::build::{content_info, octets, oid, sequence, small};
use crate::support::{Folder, open, open_by, passphrases};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use strongroom::mail::context::{OpenPolicy, Trust, TrustData};
use strongroom::mail::model::{Signature, SignatureMath, Verdict};
use strongroom::mail::smime::ber::{der, tag};
use strongroom::mail::smime::certificates::issuer_serial;

const DATA: &str = "1.2.840.113549.1.7.1";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";
const MD5_WITH_RSA: &str = "1.2.840.113549.1.1.4";

fn attribute(kind: &str, value: &[u8]) -> Vec<u8> {
    sequence(&[&oid(kind), &der(tag::SET, value)])
}

/// The attributes that must be there, for this content, and others.
fn attributes(content: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let digest = openssl::sha::sha256(content);
    let needed = [
        attribute("1.2.840.113549.1.9.3", &oid(DATA)),
        attribute("1.2.840.113549.1.9.4", &octets(&digest)),
    ];
    let mut all = [&needed[..], others].concat();
    all.sort();
    all.concat()
}

/// The signature by `name` over these bytes.
fn sign(folder: &Folder, name: &str, digest: MessageDigest, bytes: &[u8]) -> Vec<u8> {
    let key = PKey::private_key_from_pem(&folder.read(&format!("{name}.key"))).unwrap();
    let mut signer = Signer::new(digest, &key).unwrap();
    signer.sign_oneshot_to_vec(bytes).unwrap()
}

/// SignedData by `name`, its digest called SHA-256.
fn signed(
    folder: &Folder,
    name: &str,
    content: &[u8],
    attributes: Option<&[u8]>,
    algorithm: &str,
    signature: &[u8],
) -> Vec<u8> {
    let certificate = folder.certificate(name).to_der().unwrap();
    let (issuer, serial) = issuer_serial(&certificate).unwrap();
    let attributes = attributes.map(|all| der(tag::context(0), all));
    let digest = sequence(&[&oid(SHA256)]);
    let info = sequence(&[
        &small(1),
        &sequence(&[issuer.raw, serial.raw]),
        &digest,
        &attributes.unwrap_or_default(),
        &sequence(&[&oid(algorithm), &[5, 0]]),
        &octets(signature),
    ]);
    let content = sequence(&[&oid(DATA), &der(tag::context(0), &octets(content))]);
    let signed = sequence(&[
        &small(1),
        &der(tag::SET, &digest),
        &content,
        &der(tag::context(0), &certificate),
        &der(tag::SET, &info),
    ]);
    content_info("1.2.840.113549.1.7.2", &signed)
}

/// The same with SHA-256 and the attributes that must be there and `others`.
fn with_attributes(folder: &Folder, name: &str, others: &[Vec<u8>]) -> Vec<u8> {
    let all = attributes(b"Hi", others);
    let signature = sign(folder, name, MessageDigest::sha256(), &der(tag::SET, &all));
    signed(folder, name, b"Hi", Some(&all), RSA, &signature)
}

fn judged(message: &[u8], trust: &Trust) -> Signature {
    let opened = open(&passphrases(&[]), trust, message, None).unwrap();
    opened.signatures.into_iter().next().unwrap()
}

#[track_caller]
fn assert_judged(judged: &Signature, math: SignatureMath, verdict: Verdict, reason: &str) {
    assert_eq!(
        (judged.math, judged.verdict),
        (math, verdict),
        "{}",
        judged.reason
    );
    assert!(judged.reason.starts_with(reason), "{}", judged.reason);
}

#[test]
fn signed_attributes_are_no_content() {
    let folder = Folder::new();
    folder.identity("alice", "rsa:2048", "");
    let all = der(tag::SET, &attributes(b"Hi", &[]));
    let signature = sign(&folder, "alice", MessageDigest::sha256(), &all);
    let message = signed(&folder, "alice", &all, None, RSA, &signature);
    let taken = judged(&message, &folder.trust("alice"));
    assert_judged(&taken, SignatureMath::Good, Verdict::Invalid, "ambiguous: ");
    let text = b"1 is a number";
    let signature = sign(&folder, "alice", MessageDigest::sha256(), text);
    let message = signed(&folder, "alice", text, None, RSA, &signature);
    let honest = judged(&message, &folder.trust("alice"));
    assert_eq!(honest.verdict, Verdict::Valid, "{}", honest.reason);
}

#[test]
fn a_signature_for_another_certificate_is_not_taken() {
    let folder = Folder::new();
    folder.identity("alice", "rsa:2048", "");
    folder.identity("other", "rsa:2048", "");
    for kind in ["1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"] {
        let named = |name: &str| {
            let certificate = folder.certificate(name).to_der().unwrap();
            let digest = if kind.ends_with("12") {
                openssl::sha::sha1(&certificate).to_vec()
            } else {
                openssl::sha::sha256(&certificate).to_vec()
            };
            let list = sequence(&[&sequence(&[&octets(&digest)])]);
            let named = attribute(kind, &sequence(&[&list]));
            judged(
                &with_attributes(&folder, "alice", &[named]),
                &folder.trust("alice"),
            )
        };
        assert_judged(&named("alice"), SignatureMath::Good, Verdict::Valid, "");
        assert_judged(
            &named("other"),
            SignatureMath::Good,
            Verdict::Invalid,
            "certificate-mismatch: ",
        );
    }
}

#[test]
fn the_digest_that_fits_is_rated() {
    let folder = Folder::new();
    folder.identity("alice", "rsa:2048", "");
    let all = attributes(b"Hi", &[]);
    let signature = sign(&folder, "alice", MessageDigest::md5(), &der(tag::SET, &all));
    let message = signed(
        &folder,
        "alice",
        b"Hi",
        Some(&all),
        MD5_WITH_RSA,
        &signature,
    );
    assert_weak(&folder.trust("alice"), &message, "weak: MD5");
}

#[track_caller]
fn assert_weak(trust: &Trust, message: &[u8], reason: &str) {
    let weak = ["MD5", "SHA-1", "RSA-1536", "EC-223", "prime192v1"];
    let policy = OpenPolicy {
        weak: weak.map(str::to_owned).into(),
        ..OpenPolicy::default()
    };
    let opened = open_by(&policy, &passphrases(&[]), trust, message).unwrap();
    let judged = &opened.signatures[0];
    assert_judged(judged, SignatureMath::Good, Verdict::ValidBut, reason);
    assert!(
        judged.rated.iter().any(|rated| rated.weak),
        "{:?}",
        judged.rated
    );
}

#[test]
fn short_keys_and_certificates_with_old_digests_are_weak() {
    let folder = Folder::new();
    for (algorithm, options, reason) in [
        ("rsa:1280", "", "weak: RSA-1280"),
        ("rsa:1025", "", "weak: RSA-1025"),
        (
            "ec",
            "-pkeyopt ec_paramgen_curve:prime192v1",
            "weak: prime192v1",
        ),
    ] {
        folder.identity("small", algorithm, options);
        folder.must("cms -sign -binary -nodetach -in message -outform DER -out out -signer small.crt -inkey small.key");
        assert_weak(&folder.trust("small"), &folder.read("out"), reason);
    }
    folder.identity("ca", "rsa:2048", "");
    for digest in ["sha1", "md5"] {
        folder.must("req -new -newkey rsa:2048 -noenc -keyout leaf.key -out req -subj /CN=leaf");
        folder.must(&format!(
            "x509 -req -in req -{digest} -CA ca.crt -CAkey ca.key -set_serial 9 -days 1000 -out leaf.crt"
        ));
        folder.must("cms -sign -binary -nodetach -in message -outform DER -out out -signer leaf.crt -inkey leaf.key");
        assert_weak(&folder.trust("ca"), &folder.read("out"), "weak: ");
    }
}

#[test]
fn another_certificate_of_the_same_name_spoils_nothing() {
    let folder = Folder::new();
    let issue = |name: &str| {
        folder.must(&format!(
            "req -new -newkey rsa:2048 -noenc -keyout {name}.key -out req -subj /CN={name}"
        ));
        folder.must(&format!(
            "x509 -req -in req -CA ca.crt -CAkey ca.key -set_serial 9 -days 1000 -out {name}.crt"
        ));
    };
    folder.identity("ca", "rsa:2048", "");
    issue("decoy");
    let decoy = folder.certificate("decoy").to_der().unwrap();
    folder.identity("ca", "rsa:2048", "");
    issue("alice");
    folder.must("cms -sign -binary -nodetach -in message -outform DER -out out -signer alice.crt -inkey alice.key");
    let trust = Trust::from(TrustData {
        certificates: vec![decoy.into()],
        ..TrustData::from(folder.trust("ca"))
    });
    let message = folder.read("out");
    assert_judged(
        &judged(&message, &trust),
        SignatureMath::Good,
        Verdict::Valid,
        "",
    );
    let mut altered = message;
    *altered.last_mut().unwrap() ^= 1;
    assert_judged(
        &judged(&altered, &trust),
        SignatureMath::Bad,
        Verdict::Invalid,
        "bad: ",
    );
}

#[test]
fn a_time_that_cannot_be_is_told() {
    let folder = Folder::new();
    folder.identity("alice", "rsa:2048", "");
    for (time, reason) in [
        ("310101000000Z", "future: "),
        ("200101000000Z", "predates: "),
    ] {
        let claimed = attribute("1.2.840.113549.1.9.5", &der(0x17, time.as_bytes()));
        let message = with_attributes(&folder, "alice", &[claimed]);
        assert_judged(
            &judged(&message, &folder.trust("alice")),
            SignatureMath::Good,
            Verdict::ValidBut,
            reason,
        );
    }
}
