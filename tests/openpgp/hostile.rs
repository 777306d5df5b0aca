//! Hostile bytes: whatever comes, openers answer and never panic.

use crate::support::pgp::{Keys, context};
use proptest::prelude::*;
use strongroom::escrow::openpgp_key;
use strongroom::mail::context::Trust;
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
