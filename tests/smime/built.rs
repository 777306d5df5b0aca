//! What no program here writes, put together from the RFCs with independent means: X25519 and X448 (RFC 8418), RSA-KEM
//! (RFC 9690), Camellia and SEED wraps (RFC 3657, RFC 4010), AuthenticatedData, CompressedData, ChaCha20-Poly1305 and
//! CCM content; and that what is not supported is refused by its name.

use crate::support::build::{
    KEY, aes_wrapped, agreement, block_wrapped, content_info, enveloped, enveloped_with, kem,
    key_id, octets, oid, sequence, small,
};
use crate::support::{MESSAGE, open, opens, passphrases};
use hkdf::Hkdf;
use openssl::derive::Deriver;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::symm::Cipher;
use sha2::{Digest, Sha256, Sha512};
use std::io::Write;
use strongroom::escrow::keyholder::Keyholder;
use strongroom::escrow::smime_key::load;
use strongroom::mail;
use strongroom::mail::context::{Failure, OpenPolicy, Trust};
use strongroom::mail::model::{Integrity, Outcome};
use strongroom::mail::smime::ber::{Element, der, tag};
use strongroom::time::Timestamp;

const AES_128_WRAP: &str = "2.16.840.1.101.3.4.1.5";
const AES_256_WRAP: &str = "2.16.840.1.101.3.4.1.45";

fn holder(key: &PKey<Private>) -> Keyholder {
    let mut holder = Keyholder::default();
    for key in load(&key.private_key_to_pkcs8().unwrap(), &[], &[]).nameless {
        holder.add(key);
    }
    holder
}

#[test]
fn x25519_and_x448() {
    let x25519 = (
        PKey::generate_x25519().unwrap(),
        PKey::generate_x25519().unwrap(),
    );
    let x448 = (
        PKey::generate_x448().unwrap(),
        PKey::generate_x448().unwrap(),
    );
    for ((own, theirs), kind, with_sha512) in
        [(x25519, "1.3.101.110", false), (x448, "1.3.101.111", true)]
    {
        let public = PKey::public_key_from_der(&own.public_key_to_der().unwrap()).unwrap();
        let mut deriver = Deriver::new(&theirs).unwrap();
        deriver.set_peer(&public).unwrap();
        let secret = deriver.derive_to_vec().unwrap();
        let bits = [vec![0, 0, 1, 0], vec![0, 0, 0, 0x80]];
        let (wrap, scheme, length, bits) = if with_sha512 {
            (AES_256_WRAP, "1.2.840.113549.1.9.16.3.21", 32, &bits[0])
        } else {
            (AES_128_WRAP, "1.2.840.113549.1.9.16.3.19", 16, &bits[1])
        };
        let info = sequence(&[
            &sequence(&[&oid(wrap)]),
            &der(tag::context(2), &octets(bits)),
        ]);
        let mut kek = vec![0; length];
        if with_sha512 {
            Hkdf::<Sha512>::new(None, &secret)
                .expand(&info, &mut kek)
                .unwrap();
        } else {
            Hkdf::<Sha256>::new(None, &secret)
                .expand(&info, &mut kek)
                .unwrap();
        }
        let bits = [vec![0], theirs.raw_public_key().unwrap()].concat();
        let originator = [sequence(&[&oid(kind)]), der(tag::BIT_STRING, &bits)].concat();
        let recipient = agreement(&originator, scheme, wrap, b"id", &aes_wrapped(&kek));
        opens(&holder(&own), &enveloped(&recipient), kind);
    }
}

/// KDF3 of X9.44 with SHA-256, one block.
fn kdf3(secret: &[u8], info: &[u8]) -> Vec<u8> {
    let hash = Sha256::new()
        .chain_update([0, 0, 0, 1])
        .chain_update(secret);
    hash.chain_update(info).finalize()[..16].to_vec()
}

#[test]
fn rsa_kem() {
    let rsa = Rsa::generate(2048).unwrap();
    let mut z = vec![0x17; 256];
    z[0] = 0;
    let mut ciphertext = vec![0; 256];
    rsa.public_encrypt(&z, &mut ciphertext, Padding::NONE)
        .unwrap();
    let info = sequence(&[&sequence(&[&oid(AES_128_WRAP)]), &small(16)]);
    let kek = kdf3(&kdf3(&z, b""), &info);
    let kdf = sequence(&[
        &oid("1.3.133.16.840.9.44.1.2"),
        &sequence(&[&oid("2.16.840.1.101.3.4.2.1")]),
    ]);
    let wrapped = aes_wrapped(&kek);
    let recipient = kem(
        "1.0.18033.2.2.4",
        b"id",
        &ciphertext,
        &kdf,
        AES_128_WRAP,
        &wrapped,
    );
    let keys = holder(&PKey::from_rsa(rsa).unwrap());
    let opened = opens(&keys, &enveloped(&recipient), "RSA-KEM");
    assert_eq!(opened.layers[0].algorithms[0], "RSA-KEM");
}

fn kek_recipient(wrap: &str, wrapped: &[u8]) -> Vec<u8> {
    let id = sequence(&[&octets(b"id")]);
    let body = [small(4), id, sequence(&[&oid(wrap)]), octets(wrapped)];
    der(tag::context(2), &body.concat())
}

#[test]
fn wraps_that_openssl_lacks() {
    strongroom::mail::legacy::enable();
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    for (nid, wrap, length) in [
        (Nid::CAMELLIA_128_ECB, "1.2.392.200011.61.1.1.3.2", 16),
        (Nid::CAMELLIA_192_ECB, "1.2.392.200011.61.1.1.3.3", 24),
        (Nid::CAMELLIA_256_ECB, "1.2.392.200011.61.1.1.3.4", 32),
        (Nid::SEED_ECB, "1.2.410.200004.7.1.1.1", 16),
        (Nid::AES_128_ECB, AES_128_WRAP, 16),
    ] {
        let spelt = &hex[..length * 2];
        let kek = data_encoding::HEXLOWER.decode(spelt.as_bytes()).unwrap();
        let mut wrapped = block_wrapped(Cipher::from_nid(nid).unwrap(), &kek);
        let object = enveloped(&kek_recipient(wrap, &wrapped));
        opens(&passphrases(&[spelt]), &object, wrap);
        wrapped[3] ^= 1;
        let object = enveloped(&kek_recipient(wrap, &wrapped));
        let unopened = open(&passphrases(&[spelt]), &Trust::default(), &object, None).unwrap_err();
        assert!(matches!(unopened.failure, Failure::NoKey { .. }));
    }
}

#[test]
fn a_cipher_without_its_iv_has_one_of_zeros() {
    let recipient = kek_recipient(AES_128_WRAP, &aes_wrapped(&[5; 16]));
    let keys = passphrases(&["05050505050505050505050505050505"]);
    for parameters in [&[][..], &der(tag::NULL, &[])] {
        let object = enveloped_with(&recipient, &[0; 16], parameters);
        opens(&keys, &object, &format!("{parameters:?}"));
    }
}

/// AuthenticatedData of [`MESSAGE`] with [`KEY`] for a key-encryption key of 16 bytes.
fn authenticated(kek: &[u8], with_attributes: bool, content: &[u8]) -> Vec<u8> {
    let data = oid("1.2.840.113549.1.7.1");
    let attribute = |kind: &str, value: &[u8]| sequence(&[&oid(kind), &der(tag::SET, value)]);
    let attributes = [
        attribute("1.2.840.113549.1.9.3", &data),
        attribute("1.2.840.113549.1.9.4", &octets(&Sha256::digest(MESSAGE))),
    ]
    .concat();
    let sha256 = sequence(&[&oid("2.16.840.1.101.3.4.2.1")]);
    let covered = if with_attributes {
        der(tag::SET, &attributes)
    } else {
        MESSAGE.to_vec()
    };
    let key = PKey::hmac(&KEY).unwrap();
    let mut signer =
        openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &key).unwrap();
    let mac = signer.sign_oneshot_to_vec(&covered).unwrap();
    let recipient = kek_recipient(AES_128_WRAP, &aes_wrapped(kek));
    let mut parts = vec![
        small(0),
        der(tag::SET, &recipient),
        sequence(&[&oid("1.2.840.113549.2.9")]),
    ];
    if with_attributes {
        parts.push(der(tag::context(1), &oid("2.16.840.1.101.3.4.2.1")));
    }
    let _ = sha256;
    parts.push(sequence(&[&data, &der(tag::context(0), &octets(content))]));
    if with_attributes {
        parts.push(der(tag::context(2), &attributes));
    }
    parts.push(octets(&mac));
    content_info(
        "1.2.840.113549.1.9.16.1.2",
        &der(tag::SEQUENCE, &parts.concat()),
    )
}

#[test]
fn authenticated_data() {
    let hex = "000102030405060708090a0b0c0d0e0f";
    let kek = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    for with_attributes in [false, true] {
        for (content, keys, integrity) in [
            (MESSAGE, passphrases(&[hex]), Integrity::Authenticated),
            (
                b"another".as_slice(),
                passphrases(&[hex]),
                Integrity::Broken,
            ),
            (MESSAGE, passphrases(&[]), Integrity::None),
        ] {
            let object = authenticated(&kek, with_attributes, content);
            let opened = open(&keys, &Trust::default(), &object, None).unwrap();
            assert_eq!(opened.plaintext, content);
            let layer = &opened.layers[0];
            assert_eq!(
                (layer.kind.as_str(), layer.integrity),
                ("authenticated", integrity)
            );
            assert_eq!(layer.outcome, Outcome::NotEncrypted);
            assert_eq!(
                layer.reason.is_some(),
                integrity != Integrity::Authenticated
            );
        }
    }
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let content = sequence(&[&oid("1.2.840.113549.1.7.1"), &der(tag::context(0), content)]);
    let algorithm = sequence(&[&oid("1.2.840.113549.1.9.16.3.8")]);
    let compressed = sequence(&[&small(0), &algorithm, &content]);
    content_info("1.2.840.113549.1.9.16.1.9", &compressed)
}

fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(plain).unwrap();
    zlib.finish().unwrap()
}

#[test]
fn compressed_data() {
    let deflated = deflated(MESSAGE);
    let streamed: Vec<u8> = deflated.chunks(1).flat_map(octets).collect();
    let cut = &deflated[..deflated.len() - 4];
    for content in [
        octets(&deflated),
        der(tag::OCTET_STRING | tag::CONSTRUCTED, &streamed),
        octets(cut),
    ] {
        let object = compressed(&content);
        let opened = open(&passphrases(&[]), &Trust::default(), &object, None).unwrap();
        assert_eq!(opened.plaintext, MESSAGE);
        assert_eq!(opened.layers[0].kind, "compressed");
    }
}

#[test]
fn compressed_data_that_is_damaged_or_a_bomb_is_not_opened() {
    let mut damaged = deflated(MESSAGE);
    *damaged.last_mut().unwrap() ^= 1;
    let bomb = deflated(&vec![0; 64 << 20]);
    for (content, outcome) in [(damaged, Outcome::Damaged), (bomb, Outcome::Refused)] {
        let object = compressed(&octets(&content));
        let unopened = open(&passphrases(&[]), &Trust::default(), &object, None).unwrap_err();
        assert_eq!(unopened.layers[0].outcome, outcome);
    }
}

#[test]
fn authenticated_ciphers_with_every_length_of_tag() {
    use openssl::cipher::Cipher as Evp;
    use openssl::cipher_ctx::CipherCtx;
    let hex = "42424242424242424242424242424242";
    let key = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    for (cipher, kind, nonce, tags) in [
        (Evp::aes_128_gcm(), "2.16.840.1.101.3.4.1.6", 12, 12..=16_u8),
        (Evp::aes_128_ccm(), "2.16.840.1.101.3.4.1.7", 8, 8..=16),
        (
            Evp::chacha20_poly1305(),
            "1.2.840.113549.1.9.16.3.18",
            12,
            16..=16,
        ),
    ] {
        for tag_length in tags.filter(|length| nonce != 8 || length % 2 == 0) {
            let key = if key.len() == cipher.key_length() {
                key.clone()
            } else {
                key.repeat(2)
            };
            let iv = vec![9; nonce];
            let mut context = CipherCtx::new().unwrap();
            context.encrypt_init(Some(cipher), None, None).unwrap();
            context.set_iv_length(nonce).unwrap();
            if nonce == 8 {
                context.set_tag_length(tag_length.into()).unwrap();
            }
            context.encrypt_init(None, Some(&key), Some(&iv)).unwrap();
            let mut ciphertext = Vec::new();
            if nonce == 8 {
                context.set_data_len(MESSAGE.len()).unwrap();
            }
            context.cipher_update_vec(MESSAGE, &mut ciphertext).unwrap();
            context.cipher_final_vec(&mut ciphertext).unwrap();
            let mut mac = vec![0; tag_length.into()];
            context.tag(&mut mac).unwrap();
            let parameters = match kind {
                "1.2.840.113549.1.9.16.3.18" => octets(&iv),
                _ => sequence(&[&octets(&iv), &small(tag_length)]),
            };
            let content = sequence(&[
                &oid("1.2.840.113549.1.7.1"),
                &sequence(&[&oid(kind), &parameters]),
                &der(tag::primitive(0), &ciphertext),
            ]);
            let wrapped = {
                let kek = openssl::aes::AesKey::new_encrypt(&[5; 16]).unwrap();
                let mut wrapped = vec![0; key.len() + 8];
                openssl::aes::wrap_key(&kek, None, &mut wrapped, &key).unwrap();
                wrapped
            };
            let recipient = kek_recipient(AES_128_WRAP, &wrapped);
            let parts = [small(0), der(tag::SET, &recipient), content, octets(&mac)];
            let body = der(tag::SEQUENCE, &parts.concat());
            let object = content_info("1.2.840.113549.1.9.16.1.23", &body);
            let keys = passphrases(&["05050505050505050505050505050505"]);
            let opened = opens(&keys, &object, &format!("{kind}, tag of {tag_length}"));
            assert_eq!(opened.layers[0].integrity, Integrity::Authenticated);
        }
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let hex = "42424242424242424242424242424242";
    let transport = |algorithm: &str| {
        let body = [
            small(2),
            key_id(b"id"),
            sequence(&[&oid(algorithm)]),
            octets(&[1; 64]),
        ];
        der(tag::SEQUENCE, &body.concat())
    };
    let originator = [
        sequence(&[&oid("1.2.840.10045.2.1")]),
        der(tag::BIT_STRING, &[0, 4, 1]),
    ]
    .concat();
    let kdf = sequence(&[&oid("1.2.840.113549.1.9.16.3.28")]);
    for (recipient, name) in [
        (transport("1.2.643.7.1.1.1.1"), "GOST"),
        (transport("1.2.3.4"), "1.2.3.4"),
        (
            agreement(&originator, "1.3.132.1.15.1", AES_128_WRAP, b"id", &[1; 24]),
            "ECMQV",
        ),
        (
            agreement(
                &originator,
                "1.3.132.1.11.1",
                "2.16.840.1.101.2.1.1.24",
                b"id",
                &[1; 24],
            ),
            "Skipjack wrap",
        ),
        (
            kem("1.2.3.5", b"id", &[1; 64], &kdf, AES_128_WRAP, &[1; 24]),
            "1.2.3.5",
        ),
        (kek_recipient("1.2.3.6", &[1; 24]), "1.2.3.6"),
        (
            der(tag::context(4), &[oid("1.2.3.7"), small(1)].concat()),
            "1.2.3.7",
        ),
    ] {
        let keys = passphrases(&[hex]);
        let unopened = open(&keys, &Trust::default(), &enveloped(&recipient), None).unwrap_err();
        let Failure::Refused(why) = &unopened.failure else {
            panic!("{name}: {:?}", unopened.failure);
        };
        assert!(
            why.starts_with("unsupported: ") && why.contains(name),
            "{why}"
        );
        assert_eq!(unopened.layers[0].outcome, Outcome::Refused);
    }
}

/// As some writers put EnvelopedData into SignedData: without a ContentInfo of its own.
#[test]
fn an_object_in_a_signature_that_does_not_open_is_told_once() {
    let recipient = sequence(&[
        &small(2),
        &key_id(b"nobody's"),
        &sequence(&[&oid("1.2.840.113549.1.1.1")]),
        &octets(&[1; 256]),
    ]);
    let inner = enveloped(&recipient);
    let inner = Element::only(&inner).unwrap().inside().nth(1).unwrap();
    let content = inner.unwrap().inside().next().unwrap().unwrap();
    let none = der(tag::SET, b"");
    let wrapped = sequence(&[
        &oid("1.2.840.113549.1.7.3"),
        &der(tag::context(0), &octets(content.raw)),
    ]);
    let signed = sequence(&[&small(3), &none, &wrapped, &none]);
    let object = content_info("1.2.840.113549.1.7.2", &signed);
    let base64 = data_encoding::BASE64_MIME.encode(&object);
    let head = "Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64";
    let mail = format!("From: a@x\n{head}\n\n{base64}\n").into_bytes();
    for message in [object, mail] {
        let opened = mail::open(
            &message,
            &Keyholder::default(),
            &Trust::default(),
            &OpenPolicy::default(),
            Timestamp::from_seconds(1_800_000_000),
        );
        let kinds: Vec<&str> = opened
            .layers
            .iter()
            .map(|layer| layer.kind.as_str())
            .collect();
        assert_eq!(kinds, ["signed", "enveloped"]);
    }
}
