//! CMS objects put together from the RFCs, for what no program here writes.

use super::MESSAGE;
use const_oid::ObjectIdentifier;
use openssl::aes::{AesKey, wrap_key};
use openssl::symm::{Cipher, encrypt};
use strongroom::mail::smime::ber::{der, tag};

/// The content-encryption key of everything built here.
pub const KEY: [u8; 16] = [0x42; 16];

pub fn oid(dotted: &str) -> Vec<u8> {
    der(tag::OID, ObjectIdentifier::new(dotted).unwrap().as_bytes())
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(tag::SEQUENCE, &parts.concat())
}

pub fn octets(bytes: &[u8]) -> Vec<u8> {
    der(tag::OCTET_STRING, bytes)
}

pub fn small(number: u8) -> Vec<u8> {
    der(tag::INTEGER, &[number])
}

pub fn content_info(kind: &str, content: &[u8]) -> Vec<u8> {
    sequence(&[&oid(kind), &der(tag::context(0), content)])
}

/// A recipient's key identifier, as all recipients here are named.
pub fn key_id(id: &[u8]) -> Vec<u8> {
    der(tag::primitive(0), id)
}

/// EnvelopedData of [`MESSAGE`] with [`KEY`] and AES-128-CBC for one recipient.
pub fn enveloped(recipient: &[u8]) -> Vec<u8> {
    enveloped_with(recipient, &[7; 16], &octets(&[7; 16]))
}

/// The same with this IV, and these parameters of the cipher.
pub fn enveloped_with(recipient: &[u8], iv: &[u8], parameters: &[u8]) -> Vec<u8> {
    let ciphertext = encrypt(Cipher::aes_128_cbc(), &KEY, Some(iv), MESSAGE).unwrap();
    let cipher = sequence(&[&oid("2.16.840.1.101.3.4.1.2"), parameters]);
    let content = sequence(&[
        &oid("1.2.840.113549.1.7.1"),
        &cipher,
        &der(tag::primitive(0), &ciphertext),
    ]);
    let enveloped = sequence(&[&small(3), &der(tag::SET, recipient), &content]);
    content_info("1.2.840.113549.1.7.3", &enveloped)
}

/// [`KEY`] under AES key wrap.
pub fn aes_wrapped(kek: &[u8]) -> Vec<u8> {
    let kek = AesKey::new_encrypt(kek).unwrap();
    let mut wrapped = vec![0; KEY.len() + 8];
    wrap_key(&kek, None, &mut wrapped, &KEY).unwrap();
    wrapped
}

/// [`KEY`] under the wrap of RFC 3394 §2.2.1 with any block cipher.
pub fn block_wrapped(cipher: Cipher, kek: &[u8]) -> Vec<u8> {
    let mut check = 0xa6a6_a6a6_a6a6_a6a6_u64;
    let mut registers: Vec<[u8; 8]> = KEY.chunks(8).map(|part| part.try_into().unwrap()).collect();
    let mut step = 0_u64;
    for _ in 0..6 {
        for register in &mut registers {
            step += 1;
            let block = [check.to_be_bytes(), *register].concat();
            let block = encrypt(cipher, kek, None, &block).unwrap();
            check = u64::from_be_bytes(block[..8].try_into().unwrap()) ^ step;
            register.copy_from_slice(&block[8..16]);
        }
    }
    [vec![check.to_be_bytes()], registers].concat().concat()
}

/// A `KeyAgreeRecipientInfo`.
pub fn agreement(
    originator: &[u8],
    scheme: &str,
    wrap: &str,
    id: &[u8],
    wrapped: &[u8],
) -> Vec<u8> {
    let algorithm = sequence(&[&oid(scheme), &sequence(&[&oid(wrap)])]);
    let id = der(tag::context(0), &octets(id));
    let entry = sequence(&[&id, &octets(wrapped)]);
    let body = [
        small(3),
        der(tag::context(0), &der(tag::context(1), originator)),
        algorithm,
        sequence(&[&entry]),
    ];
    der(tag::context(1), &body.concat())
}

/// An `OtherRecipientInfo` with a `KEMRecipientInfo`.
pub fn kem(
    kem: &str,
    id: &[u8],
    ciphertext: &[u8],
    kdf: &[u8],
    wrap: &str,
    wrapped: &[u8],
) -> Vec<u8> {
    let info = sequence(&[
        &small(0),
        &key_id(id),
        &sequence(&[&oid(kem)]),
        &octets(ciphertext),
        kdf,
        &small(16),
        &sequence(&[&oid(wrap)]),
        &octets(wrapped),
    ]);
    let body = [oid("1.2.840.113549.1.9.16.13.3"), info];
    der(tag::context(4), &body.concat())
}
