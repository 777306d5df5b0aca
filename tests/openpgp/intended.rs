//! Signatures that say for whom they were made (RFC 9580 §5.2.3.36), which GnuPG writes since 2.3 and Sequoia always.

use crate::support::pgp::{Keys, context};
use openpgp::cert::{Cert, CertBuilder};
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Signer};
use openpgp::serialize::{Serialize, SerializeInto};
use sequoia_openpgp as openpgp;
use std::io::Write;
use strongroom::escrow::openpgp_key;
use strongroom::mail::context::{OpenPgpCertificate, Trust, TrustData};
use strongroom::mail::model::{Signature, SignatureMath, Verdict};

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
    let mut secret = Vec::new();
    owner.as_tsk().serialize(&mut secret).unwrap();
    let keys = openpgp_key::load(&secret, &[]).into_iter();
    let keys = Keys {
        keys: keys.map(Result::unwrap).collect(),
        locked: Vec::new(),
        passphrases: Vec::new(),
    };
    let vouched = known.iter().map(|cert| OpenPgpCertificate {
        bytes: cert.to_vec().unwrap(),
        source: "directory".to_owned(),
    });
    let trust = Trust::from(TrustData {
        openpgp: vouched.collect(),
        ..TrustData::default()
    });
    let opened = context(&keys, &trust, |ctx| {
        strongroom::mail::openpgp::open(message, None, ctx)
    });
    opened.expect("opens").signatures.remove(0)
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
