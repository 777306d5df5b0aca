//! Hostile input: whatever the bytes, an answer and no panic.

use super::{Ring, open_with};
use crate::mail::context::Trust;
use crate::mail::smime::ber::{der, tag};
use crate::mail::smime::{decode_container, oids};
use proptest::prelude::*;

fn content_info(kind: &const_oid::ObjectIdentifier, content: &[u8]) -> Vec<u8> {
    let kind = der(tag::OID, kind.as_bytes());
    der(
        tag::SEQUENCE,
        &[kind, der(tag::context(0), content)].concat(),
    )
}

/// A small well-formed message of each type, for mutation.
fn sample(kind: usize) -> Vec<u8> {
    let kind = oids::CMS_TYPES[kind % oids::CMS_TYPES.len()];
    let version = der(tag::INTEGER, &[0]);
    let algorithm = der(tag::SEQUENCE, &der(tag::OID, oids::RSA.as_bytes()));
    let name = der(tag::SEQUENCE, &[]);
    let id = der(tag::SEQUENCE, &[name, der(tag::INTEGER, &[1])].concat());
    let recipient = [
        version.clone(),
        id,
        algorithm.clone(),
        der(tag::OCTET_STRING, &[7; 32]),
    ]
    .concat();
    let recipients = der(tag::SET, &der(tag::SEQUENCE, &recipient));
    let cipher = const_oid::ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
    let cipher = [
        der(tag::OID, cipher.as_bytes()),
        der(tag::OCTET_STRING, &[1; 16]),
    ]
    .concat();
    let cipher = der(tag::SEQUENCE, &cipher);
    let inner = [
        der(tag::OID, oids::DATA.as_bytes()),
        cipher,
        der(tag::primitive(0), &[9; 32]),
    ]
    .concat();
    let body = [
        version,
        recipients,
        der(tag::SEQUENCE, &inner),
        der(tag::OCTET_STRING, &[3; 16]),
    ]
    .concat();
    content_info(&kind, &der(tag::SEQUENCE, &body))
}

proptest! {
    #[test]
    fn arbitrary_content_never_panics(kind in 0_usize..8, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let whole = content_info(&oids::CMS_TYPES[kind], &bytes);
        let _ = open_with(&Ring::default(), &Trust::default(), &whole, Some(b"x"));
        let _ = open_with(&Ring::default(), &Trust::default(), &bytes, None);
        let _ = decode_container(&bytes);
    }

    #[test]
    fn altered_messages_never_panic(kind in 0_usize..8, at in any::<usize>(), by in 1_u8.., cut in any::<usize>()) {
        let mut message = sample(kind);
        let at = at % message.len();
        message[at] ^= by;
        let _ = open_with(&Ring::default(), &Trust::default(), &message, None);
        message.truncate(cut % (message.len() + 1));
        let _ = open_with(&Ring::default(), &Trust::default(), &message, None);
    }

    #[test]
    fn arbitrary_key_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for result in crate::escrow::smime_key::load(&bytes, &[], &[]).named {
            prop_assert!(result.is_err());
        }
    }
}
