//! Signatures that say for whom they were made (RFC 9580 §5.2.3.36), which GnuPG writes since 2.3 and Sequoia always.

use crate::support::pgp::{Keys, context};
use openpgp::armor::Kind;
use openpgp::cert::{Cert, CertBuilder};
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message, Signer};
use openpgp::serialize::{Serialize, SerializeInto};
use sequoia_openpgp as openpgp;
use std::io::Write;
use strongroom::escrow::openpgp_key;
use strongroom::mail::context::{OpenPgpCertificate, OpenPolicy, Trust, TrustData};
use strongroom::mail::model::{Signature, SignatureMath, Verdict};
use strongroom::time::{Clock, SystemClock};

fn made(name: &str) -> Cert {
    let user = format!("{name} <{name}@example.org>");
    CertBuilder::general_purpose(Some(user))
        .generate()
        .unwrap()
        .0
}

/// Signed by `signer` for the owner of `intended`, and encrypted to `recipient`, if to anybody.
fn message(signer: &Cert, intended: &Cert, recipient: Option<&Cert>) -> Vec<u8> {
    let policy = StandardPolicy::new();
    let mut out = Vec::new();
    let mut writer = Message::new(&mut out);
    if let Some(recipient) = recipient {
        let keys = recipient.keys().with_policy(&policy, None);
        let encryptor = Encryptor::for_recipients(writer, keys.for_transport_encryption());
        writer = encryptor.build().unwrap();
    }
    let keys = signer.keys().secret().with_policy(&policy, None);
    let key = keys.for_signing().next().unwrap().key().clone();
    let signing = Signer::new(writer, key.into_keypair().unwrap()).unwrap();
    let signing = signing.add_intended_recipient(intended).build().unwrap();
    let mut literal = LiteralWriter::new(signing).build().unwrap();
    literal.write_all(b"You are dismissed.\n").unwrap();
    literal.finalize().unwrap();
    out
}

/// The signature, as the owner of both `keys` finds it.
fn judged(message: &[u8], owner: &Cert, known: &[&Cert]) -> Signature {
    let opened = context(&keys(owner), &trust(known), |ctx| {
        strongroom::mail::openpgp::open(message, None, ctx)
    });
    opened.expect("opens").signatures.remove(0)
}

/// The only signature in a mail, as the owner of both keys finds it.
fn judged_in_mail(mail: &[u8], owner: &Cert, known: &[&Cert]) -> Signature {
    let (keys, trust, now) = (keys(owner), trust(known), SystemClock.now());
    let opened = strongroom::mail::open(mail, &keys, &trust, &OpenPolicy::default(), now);
    let [signature] = <[Signature; 1]>::try_from(opened.signatures).expect("one signature");
    signature
}

fn keys(owner: &Cert) -> Keys {
    let mut secret = Vec::new();
    owner.as_tsk().serialize(&mut secret).unwrap();
    let keys = openpgp_key::load(&secret, &[]).into_iter();
    Keys {
        keys: keys.map(Result::unwrap).collect(),
        locked: Vec::new(),
        passphrases: Vec::new(),
    }
}

fn trust(known: &[&Cert]) -> Trust {
    let vouched = known.iter().map(|cert| OpenPgpCertificate {
        bytes: cert.to_vec().unwrap(),
        source: "directory".to_owned(),
    });
    Trust::from(TrustData {
        openpgp: vouched.collect(),
        ..TrustData::default()
    })
}

const ENTITY: &str = "Content-Type: text/plain\r\n\r\nYou are dismissed.\r\n";

/// The signature over `ENTITY` out of a message for the owner of `intended`, as whoever opens that can take it.
fn taken(signer: &Cert, intended: &Cert, clear: bool) -> Vec<u8> {
    let policy = StandardPolicy::new();
    let keys = signer.keys().secret().with_policy(&policy, None);
    let key = keys.for_signing().next().unwrap().key().clone();
    let mut out = Vec::new();
    let mut writer = Message::new(&mut out);
    if !clear {
        writer = Armorer::new(writer).kind(Kind::Signature).build().unwrap();
    }
    let signing = Signer::new(writer, key.into_keypair().unwrap()).unwrap();
    let signing = signing.add_intended_recipient(intended);
    let signing = if clear {
        signing.cleartext()
    } else {
        signing.detached()
    };
    let mut signing = signing.build().unwrap();
    signing.write_all(ENTITY.as_bytes()).unwrap();
    signing.finalize().unwrap();
    out
}

fn multipart_signed(signature: &[u8]) -> String {
    let signature = String::from_utf8_lossy(signature).replace('\n', "\r\n");
    format!(
        "Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\r\n\r\n--b\r\n{ENTITY}\r\n--b\r\n\
         Content-Type: application/pgp-signature\r\n\r\n{signature}\r\n--b--\r\n"
    )
}

/// `entity` encrypted to `recipient`, as PGP/MIME.
fn encrypted(entity: &str, recipient: &Cert) -> String {
    let policy = StandardPolicy::new();
    let mut out = Vec::new();
    let writer = Armorer::new(Message::new(&mut out)).build().unwrap();
    let keys = recipient.keys().with_policy(&policy, None);
    let encryptor = Encryptor::for_recipients(writer, keys.for_transport_encryption());
    let mut literal = LiteralWriter::new(encryptor.build().unwrap())
        .build()
        .unwrap();
    literal.write_all(entity.as_bytes()).unwrap();
    literal.finalize().unwrap();
    let armored = String::from_utf8(out).unwrap().replace('\n', "\r\n");
    format!(
        "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=e\r\n\r\n--e\r\n\
         Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--e\r\n\
         Content-Type: application/octet-stream\r\n\r\n{armored}\r\n--e--\r\n"
    )
}

#[test]
fn a_signed_message_that_was_encrypted_anew_for_somebody_else_is_no_message_to_him() {
    let [boss, alice, bob] = ["boss", "alice", "bob"].map(made);
    let known = [&boss, &alice, &bob];
    let signature = judged(&message(&boss, &alice, Some(&alice)), &alice, &known);
    assert_eq!(signature.verdict, Verdict::Valid, "{}", signature.reason);

    let forwarded = message(&boss, &alice, Some(&bob));
    let signature = judged(&forwarded, &bob, &known);
    assert_eq!(signature.math, SignatureMath::Good);
    assert_eq!(signature.verdict, Verdict::Invalid);
    let reason = &signature.reason;
    assert!(reason.starts_with("not-intended: "), "{reason}");
    // Whose key opened it, nobody vouches for.
    let signature = judged(&forwarded, &bob, &[&boss]);
    assert_eq!(signature.verdict, Verdict::Valid, "{}", signature.reason);

    let signature = judged(&message(&boss, &alice, None), &bob, &known);
    assert_eq!(signature.verdict, Verdict::ValidBut);
    let reason = &signature.reason;
    assert!(reason.starts_with("not-intended: "), "{reason}");
}

// Who opened a message has its signature too, and can put it beside or around the same text in a mail of any form.
#[test]
fn a_signature_that_is_taken_out_of_its_message_is_told_by_whom_it_was_made_for() {
    let [boss, alice, bob] = ["boss", "alice", "bob"].map(made);
    let known = [&boss, &alice, &bob];
    let header = "From: boss@example.org\r\nTo: bob@example.org\r\nMIME-Version: 1.0\r\n";
    let clear = taken(&boss, &alice, true);
    let clear = format!(
        "Content-Type: text/plain\r\n\r\n{}",
        String::from_utf8_lossy(&clear).replace('\n', "\r\n")
    );
    let detached = multipart_signed(&taken(&boss, &alice, false));
    for entity in [&clear, &detached] {
        let mail = format!("{header}{entity}");
        let signature = judged_in_mail(mail.as_bytes(), &bob, &known);
        assert_eq!(signature.math, SignatureMath::Good, "{}", signature.reason);
        assert_eq!(signature.verdict, Verdict::ValidBut, "{mail}");
        assert!(signature.reason.contains("not-intended: "), "{signature:?}");

        let mail = format!("{header}{}", encrypted(entity, &bob));
        let signature = judged_in_mail(mail.as_bytes(), &bob, &known);
        assert_eq!(signature.math, SignatureMath::Good, "{}", signature.reason);
        assert_eq!(signature.verdict, Verdict::Invalid, "{mail}");
        assert!(
            signature.reason.starts_with("not-intended: "),
            "{signature:?}"
        );

        let mail = format!("{header}{}", encrypted(entity, &alice));
        let signature = judged_in_mail(mail.as_bytes(), &alice, &known);
        assert!(!signature.reason.contains("not-intended"), "{signature:?}");
    }
}
