//! Hostile bytes: whatever comes, openers answer and never panic.

use crate::support::pgp::{Keys, context};
use proptest::prelude::*;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::serialize::stream::{LiteralWriter, Message, Signer};
use std::io::Write;
use strongroom::escrow::openpgp_key;
use strongroom::mail::context::{OpenPgpCertificate, TOO_MANY, Trust, TrustData};
use strongroom::mail::keyops::{KeyHint, KeyOps, KeyRefusal, SessionKey, Wrapped};
use strongroom::mail::model::SignatureMath;
use strongroom::mail::openpgp::packets::tag;
use strongroom::mail::openpgp::{self, packets::framed};
use strongroom::secret::SecretBytes;

fn survive(data: &[u8], detached: Option<&[u8]>) {
    let keys = Keys {
        keys: Vec::new(),
        locked: Vec::new(),
        passphrases: vec![SecretBytes::from("x".to_owned())],
    };
    // The guard of `open` turns a panic into this reason: a test must not be content with that.
    let opened = context(&keys, &Trust::default(), |ctx| {
        openpgp::open(data, detached, ctx)
    });
    if let Err(unopened) = opened {
        assert!(
            !unopened.failure.to_string().contains("parser give up"),
            "panicked inside"
        );
    }
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(vec![]),
        Just(vec![1]),
        Just(vec![2, 9, 2, 6]),
        Just(vec![3, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        Just(vec![4, 7, 3, 2]),
        Just(vec![4, 0, 1, 8, 0, 0]),
        Just(vec![5, 9, 1, 3, 8]),
        Just(vec![6, 26, 9, 2, 28, 3]),
        Just(vec![b'b', 0, 0, 0, 0, 0]),
    ];
    let body = (start, proptest::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(start, rest)| [start, rest].concat());
    (1u8..64, body).prop_map(|(tag, body)| framed(tag, &body))
}

/// Gives the same wrong session key for every name.
struct Wrong;

impl KeyOps for Wrong {
    fn unwrap_session_key(
        &self,
        _: &KeyHint,
        _: &Wrapped,
        attempt: u32,
    ) -> Result<SessionKey, KeyRefusal> {
        if attempt > 0 {
            return Err(KeyRefusal::NoKey);
        }
        Ok(SessionKey {
            key: SecretBytes::new(vec![7; 32]),
            cipher: Some(9),
            opened_by: String::new(),
        })
    }
}

#[test]
fn what_wrong_session_keys_decrypt_is_bounded() {
    let recipients =
        (1..=60_u8).flat_map(|id| framed(tag::PKESK, &[3, 0, 0, 0, 0, 0, 0, 0, id, 1, 0, 1, 1]));
    // GnuPG's packet: AES-256, OCB, one chunk.
    let container = [&[1, 9, 2, 56][..], &[1; 15], &vec![0; 4 << 20]].concat();
    let message: Vec<u8> = recipients
        .chain(framed(tag::GNUPG_AEAD, &container))
        .collect();
    let opened = context(&Wrong, &Trust::default(), |ctx| {
        openpgp::open(&message, None, ctx)
    });
    let failure = opened.unwrap_err().failure.to_string();
    assert!(failure.contains("key_operations"), "{failure}");
}

#[test]
fn a_signature_beyond_what_may_be_hashed_is_unchecked() {
    let (cert, _) = CertBuilder::general_purpose(Some("a@example.org"))
        .generate()
        .unwrap();
    let mut message = Vec::new();
    let policy = StandardPolicy::new();
    let key = cert.keys().secret().with_policy(&policy, None);
    let key = key.for_signing().next().unwrap().key().clone();
    let signing = Signer::new(Message::new(&mut message), key.into_keypair().unwrap()).unwrap();
    let mut literal = LiteralWriter::new(signing.build().unwrap())
        .build()
        .unwrap();
    literal.write_all(b"text").unwrap();
    literal.finalize().unwrap();
    let trust = Trust::from(TrustData {
        openpgp: vec![OpenPgpCertificate {
            bytes: cert.to_vec().unwrap(),
            source: "directory".to_owned(),
        }],
        ..TrustData::default()
    });
    for (spent, expected) in [
        (0, SignatureMath::Good),
        (u64::MAX, SignatureMath::Unchecked),
    ] {
        let signature = context(&Wrong, &trust, |ctx| {
            assert!(ctx.budget.hash(spent));
            let opened = openpgp::open(&message, None, ctx).unwrap();
            opened.signatures.into_iter().next().unwrap()
        });
        assert_eq!(signature.math, expected, "{}", signature.reason);
        assert_eq!(
            signature.reason == TOO_MANY,
            spent > 0,
            "{}",
            signature.reason
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        survive(&data, None);
        survive(&data, Some(b"signed"));
        let _ = openpgp_key::load(&data, &[SecretBytes::from("x".to_owned())]);
    }

    #[test]
    fn any_packets_are_survived(packets in proptest::collection::vec(packet(), 0..6)) {
        let data = packets.concat();
        survive(&data, None);
        survive(&data, Some(b"signed"));
        let _ = openpgp_key::load(&data, &[SecretBytes::from("x".to_owned())]);
    }

    #[test]
    fn any_text_is_survived(text in "(-----BEGIN PGP (SIGNED MESSAGE|MESSAGE|SIGNATURE)-----\n|Hash: SHA1\n|\n|- |[a-zA-Z0-9+/]{4,40}\n|=abcd\n|-----END PGP MESSAGE-----\n){0,12}") {
        survive(text.as_bytes(), None);
        survive(text.as_bytes(), Some(b"signed"));
    }
}
