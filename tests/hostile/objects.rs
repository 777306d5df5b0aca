//! Encrypted and signed objects made to multiply work: recipients by keys, keys by content, fields by recipients.

use super::{SLOWEST, memory, open};
use data_encoding::BASE64_MIME;
use std::cell::Cell;
use std::time::Instant;
use strongroom::mail::context::{OpenPolicy, Trust};
use strongroom::mail::keyops::{KeyHint, KeyOps, KeyRefusal, SessionKey, Wrapped};
use strongroom::mail::smime::ber::{der, tag};
use strongroom::mail::{self, Opened};
use strongroom::secret::SecretBytes;
use strongroom::time::Timestamp;

const AES_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x02";
const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const ENVELOPED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
const SIGNED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const AUTHENTICATED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x02";
const HMAC_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x09";
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(tag::SEQUENCE, &parts.concat())
}

fn oid(body: &[u8]) -> Vec<u8> {
    der(tag::OID, body)
}

fn content_info(kind: &[u8], content: &[u8]) -> Vec<u8> {
    sequence(&[&oid(kind), &der(tag::context(0), content)])
}

/// Content whole (tag 0x80) or in pieces (0xa0).
fn enveloped(recipients: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let cipher = sequence(&[&oid(AES_CBC), &der(tag::OCTET_STRING, &[1; 16])]);
    let encrypted = sequence(&[&oid(DATA), &cipher, &der(kind, content)]);
    let version = der(tag::INTEGER, &[2]);
    let recipients = der(tag::SET, recipients);
    content_info(ENVELOPED, &sequence(&[&version, &recipients, &encrypted]))
}

/// A recipient by RSA v1.5 with this key identifier.
fn transport(number: u32) -> Vec<u8> {
    let id = der(0x80, &number.to_be_bytes());
    let algorithm = sequence(&[&oid(RSA), &[tag::NULL, 0]]);
    let wrapped = der(tag::OCTET_STRING, &[1; 32]);
    sequence(&[&der(tag::INTEGER, &[2]), &id, &algorithm, &wrapped])
}

fn part(object: &[u8]) -> String {
    format!(
        "Content-Type: application/pkcs7-mime; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        BASE64_MIME.encode(object)
    )
}

fn mixed(parts: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{parts}--b--\r\n")
}

/// Keys that give a wrong session key for what they are asked for by name, or for what they are not.
#[derive(Default)]
struct Wrong {
    named: bool,
    guesses: Cell<usize>,
}

fn wrong_key() -> SessionKey {
    SessionKey {
        key: SecretBytes::new(vec![7; 16]),
        cipher: None,
        opened_by: String::new(),
    }
}

impl KeyOps for Wrong {
    fn unwrap_session_key(
        &self,
        _: &KeyHint,
        _: &Wrapped,
        attempt: u32,
    ) -> Result<SessionKey, KeyRefusal> {
        if self.named && attempt == 0 {
            Ok(wrong_key())
        } else {
            Err(KeyRefusal::NoKey)
        }
    }

    fn has_named(&self, _: &KeyHint) -> bool {
        self.named
    }

    fn unwraps_of_all<'k>(
        &'k self,
        _: &'k Wrapped,
    ) -> Box<dyn Iterator<Item = Result<SessionKey, KeyRefusal>> + 'k> {
        Box::new(std::iter::from_fn(|| {
            self.guesses.set(self.guesses.get() + 1);
            Some(Err(KeyRefusal::DoesNotOpen)).filter(|_| !self.guesses.get().is_multiple_of(10))
        }))
    }
}

fn open_by(keys: &Wrong, message: &str) -> Opened {
    let started = Instant::now();
    let opened = mail::open(
        message.as_bytes(),
        keys,
        &Trust::default(),
        &OpenPolicy::default(),
        Timestamp::from_seconds(1_800_000_000),
    );
    assert!(started.elapsed() < SLOWEST, "{:?}", started.elapsed());
    opened
}

#[test]
fn keys_of_other_names_are_tried_so_often_in_a_mail() {
    let recipients: Vec<u8> = (0..100).flat_map(transport).collect();
    let object = format!("--b\r\n{}", part(&enveloped(&recipients, 0x80, &[0; 16])));
    let keys = Wrong::default();
    open_by(&keys, &mixed(&object.repeat(40)));
    assert!(keys.guesses.get() <= 1000, "{}", keys.guesses.get());
}

/// Content in the clear with a MAC (RFC 5652 §9) that is wrong.
fn authenticated(recipients: &[u8], content: &[u8]) -> Vec<u8> {
    let mac = sequence(&[&oid(HMAC_SHA256)]);
    let parts = [
        der(tag::INTEGER, &[0]),
        der(tag::SET, recipients),
        mac,
        content_info(DATA, &der(tag::OCTET_STRING, content)),
        der(tag::OCTET_STRING, &[0; 32]),
    ];
    content_info(AUTHENTICATED, &der(tag::SEQUENCE, &parts.concat()))
}

#[test]
fn what_is_done_with_wrong_keys_is_bounded() {
    let recipients: Vec<u8> = (0..60).flat_map(transport).collect();
    let content = vec![0x55; 4 << 20];
    let pieces = der(tag::OCTET_STRING, &[0x55; 64]).repeat(34_900);
    for object in [
        enveloped(&recipients, 0x80, &content),
        enveloped(&recipients, 0xa0, &pieces),
        authenticated(&recipients, &content),
    ] {
        let keys = Wrong {
            named: true,
            ..Wrong::default()
        };
        let opened = open_by(&keys, &part(&object));
        let reason = opened.layers[0].reason.clone().unwrap_or_default();
        assert!(reason.contains("key_operations"), "{reason}");
    }
}

#[test]
fn recipients_of_all_layers_are_counted() {
    let recipients: Vec<u8> = (0..400).flat_map(transport).collect();
    let object = format!("--b\r\n{}", part(&enveloped(&recipients, 0x80, &[0; 16])));
    let opened = open_by(&Wrong::default(), &mixed(&object.repeat(60)));
    let listed: usize = opened
        .layers
        .iter()
        .map(|layer| layer.recipients.len())
        .sum();
    assert_eq!(listed, 20_000);
    let reason = opened.layers.last().and_then(|layer| layer.reason.clone());
    let reason = reason.unwrap_or_default();
    assert!(reason.contains("recipients"), "{reason}");
}

/// Key agreement with so many recipients, who share the octets `ukm`.
fn agreement(recipients: u32, ukm: &[u8]) -> Vec<u8> {
    let entry = |number: u32| {
        let id = der(
            tag::context(0),
            &der(tag::OCTET_STRING, &number.to_be_bytes()),
        );
        sequence(&[&id, &der(tag::OCTET_STRING, &[1; 24])])
    };
    let entries: Vec<u8> = (0..recipients).flat_map(entry).collect();
    let key = [
        sequence(&[&oid(b"\x2a\x86\x48\xce\x3d\x02\x01")]),
        der(tag::BIT_STRING, &[&[0, 4][..], &[1; 64]].concat()),
    ];
    let originator = der(tag::context(0), &der(tag::context(1), &key.concat()));
    let wrap = sequence(&[&oid(b"\x60\x86\x48\x01\x65\x03\x04\x01\x05")]);
    let scheme = sequence(&[&oid(b"\x2b\x81\x04\x01\x0b\x01"), &wrap]);
    let parts = [
        der(tag::INTEGER, &[3]),
        originator,
        der(tag::context(1), &der(tag::OCTET_STRING, ukm)),
        scheme,
        der(tag::SEQUENCE, &entries),
    ];
    der(tag::context(1), &parts.concat())
}

#[test]
fn what_recipients_of_a_key_agreement_share_is_not_copied_for_each() {
    let shown = |recipients, ukm: &[u8]| {
        let opened = open(&part(&enveloped(
            &agreement(recipients, ukm),
            0x80,
            &[0; 16],
        )));
        opened.layers[0].recipients.len()
    };
    assert_eq!(shown(400, &[7; 512]), 400);
    // One that cannot be read.
    assert_eq!(shown(400, &vec![7; 1 << 20]), 1);
    assert_eq!(shown(60_000, b"ukm"), 500);
    assert!(memory() < 200, "{} MB", memory());
}

/// A certificate with an elliptic key and these extensions.
fn certificate(public: &[u8], extensions: &[u8], ending: u8) -> Vec<u8> {
    let algorithm = sequence(&[
        &oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"),
        &[tag::NULL, 0],
    ]);
    let name = sequence(&[&der(
        tag::SET,
        &sequence(&[&oid(b"\x55\x04\x03"), &der(0x0c, b"x")]),
    )]);
    let validity = sequence(&[&der(0x17, b"200101000000Z"), &der(0x17, b"400101000000Z")]);
    let to_be_signed = sequence(&[
        &der(tag::context(0), &der(tag::INTEGER, &[2])),
        &der(tag::INTEGER, &[1]),
        &algorithm,
        &name,
        &validity,
        &name,
        public,
        &der(tag::context(3), &der(tag::SEQUENCE, extensions)),
    ]);
    let signature = der(tag::BIT_STRING, &[&[0][..], &[ending; 256]].concat());
    sequence(&[&to_be_signed, &algorithm, &signature])
}

fn public_key() -> Vec<u8> {
    let key = openssl::pkey::PKey::ec_gen("P-256").unwrap();
    key.public_key_to_der().unwrap()
}

#[test]
fn certificates_in_a_message_are_read_up_to_a_size() {
    // The smallest names there are, each of which takes a hundred bytes once it is read.
    let names = der(tag::SEQUENCE, &[0x82, 0].repeat(3 << 20));
    let extension = sequence(&[&oid(b"\x55\x1d\x11"), &der(tag::OCTET_STRING, &names)]);
    let certificate = certificate(&public_key(), &extension, 1);
    let encapsulated = content_info(DATA, &der(tag::OCTET_STRING, b"hello"));
    let signed = sequence(&[
        &der(tag::INTEGER, &[1]),
        &der(tag::SET, b""),
        &encapsulated,
        &der(tag::context(0), &certificate),
        &der(tag::SET, b""),
    ]);
    open(&part(&content_info(SIGNED, &signed)));
    assert!(memory() < 200, "{} MB", memory());
}

#[test]
fn certificates_of_originators_are_read_once_for_all_recipients() {
    let public = public_key();
    let id = sequence(&[
        &oid(b"\x55\x1d\x0e"),
        &der(tag::OCTET_STRING, &der(tag::OCTET_STRING, b"id")),
    ]);
    // What is remembered of one has the ending of all others.
    let certificates: Vec<u8> = (0..200_u32)
        .flat_map(|number| {
            let odd = sequence(&[
                &oid(b"\x2a"),
                &der(tag::OCTET_STRING, &number.to_be_bytes()),
            ]);
            certificate(&public, &[&id[..], &odd.repeat(300)].concat(), 2)
        })
        .collect();
    let originator = der(tag::context(0), &der(0x80, b"id"));
    let wrap = sequence(&[&oid(b"\x60\x86\x48\x01\x65\x03\x04\x01\x05")]);
    let parts = [
        der(tag::INTEGER, &[3]),
        originator,
        sequence(&[&oid(b"\x2b\x81\x04\x01\x0b\x01"), &wrap]),
        der(
            tag::SEQUENCE,
            &sequence(&[
                &der(tag::context(0), &der(tag::OCTET_STRING, b"x")),
                &der(tag::OCTET_STRING, &[1; 24]),
            ]),
        ),
    ];
    let recipients = der(tag::context(1), &parts.concat()).repeat(500);
    let cipher = sequence(&[&oid(AES_CBC), &der(tag::OCTET_STRING, &[1; 16])]);
    let object = sequence(&[
        &der(tag::INTEGER, &[2]),
        &der(tag::context(0), &der(tag::context(0), &certificates)),
        &der(tag::SET, &recipients),
        &sequence(&[&oid(DATA), &cipher, &der(0x80, &[0; 16])]),
    ]);
    let opened = open(&part(&content_info(ENVELOPED, &object)));
    assert_eq!(opened.layers[0].recipients.len(), 500);
}
