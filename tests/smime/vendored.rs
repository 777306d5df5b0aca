//! What only the OpenSSL inside this program writes: ML-KEM recipients (RFC 9629, RFC 9936), for keys with and
//! without their seed.

use crate::support::{MESSAGE, opens};
use openssl::asn1::Asn1Time;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::hash::MessageDigest;
use openssl::pkey::{KeyType, PKey, Private};
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::extension::SubjectKeyIdentifier;
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use strongroom::escrow::keyholder::Keyholder;
use strongroom::escrow::smime_key;
use strongroom::mail::smime::encrypt::encrypt_for;

/// A certificate for `key`, signed by another key where it cannot sign itself.
fn certify(key: &PKey<Private>, by: &PKey<Private>) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "new").unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(1_000_000_000).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_unix(2_000_000_000).unwrap())
        .unwrap();
    builder.set_pubkey(key).unwrap();
    let id = SubjectKeyIdentifier::new();
    let id = id.build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(id).unwrap();
    builder.sign(by, MessageDigest::sha256()).unwrap();
    builder.build()
}

fn holder(key: &PKey<Private>, certificate: &X509) -> Keyholder {
    let mut pem = key.private_key_to_pem_pkcs8().unwrap();
    pem.extend(certificate.to_pem().unwrap());
    let mut holder = Keyholder::default();
    for loaded in smime_key::load(&pem, &[], &[]).named {
        let loaded = loaded.unwrap();
        // As escrow keeps it and takes it out again.
        let kept = loaded.to_secret_bytes();
        let again = smime_key::SmimeKey::from_secret_bytes(kept.expose()).unwrap();
        holder.add(Box::new(again));
    }
    holder
}

#[test]
fn ml_kem_recipients_with_and_without_a_seed() {
    let by = PKey::ec_gen("P-256").unwrap();
    for (kind, name) in [
        (KeyType::ML_KEM_512, "ML-KEM-512"),
        (KeyType::ML_KEM_768, "ML-KEM-768"),
        (KeyType::ML_KEM_1024, "ML-KEM-1024"),
    ] {
        let key = PKey::private_key_from_seed(None, kind, None, &[7; 64]).unwrap();
        let expanded = key.raw_private_key().unwrap();
        let seedless = PKey::private_key_from_raw_bytes_ex(None, kind, None, &expanded).unwrap();
        let certificate = certify(&key, &by);
        let mut recipients = Stack::new().unwrap();
        recipients.push(certificate.clone()).unwrap();
        for options in [
            CMSOptions::BINARY,
            CMSOptions::BINARY | CMSOptions::USE_KEYID,
        ] {
            for cipher in [Cipher::aes_128_cbc(), Cipher::aes_256_gcm()] {
                let made = CmsContentInfo::encrypt(&recipients, MESSAGE, cipher, options).unwrap();
                let object = made.to_der().unwrap();
                for (key, form) in [(&key, "seed"), (&seedless, "expanded")] {
                    let opened = opens(
                        &holder(key, &certificate),
                        &object,
                        &format!("{name} {form}"),
                    );
                    assert_eq!(opened.layers[0].algorithms[0], name);
                }
            }
        }
        let released = encrypt_for(&certificate.to_der().unwrap(), b"A: b\r\n\r\nx").unwrap();
        assert!(released.starts_with(b"Subject: ...\r\nMIME-Version"));
    }
}
