//! Verdicts: chains, times, purposes, addresses, revocation. A small PKI is made with the `openssl` crate, the
//! signatures too; what is tested is our judgement of them.

use super::{ARRIVED, Ring, open_with_from, open_within};
use crate::mail::context::{Budget, TOO_MANY, Trust, TrustData};
use crate::mail::model::{Revocation, Signature, SignatureMath, Verdict};
use crate::mail::smime::ber::{Element, der, tag};
use crate::mail::smime::certificates::issuer_serial;
use crate::time::Timestamp;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use openssl::stack::Stack;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Builder, X509CrlBuilder, X509NameBuilder, X509RevokedBuilder};

const DAY: i64 = 86_400;
/// 2027-01-01.
pub(super) const NOW: i64 = 1_798_761_600;

pub(super) struct Identity {
    pub(super) key: PKey<Private>,
    pub(super) certificate: X509,
}

fn time(seconds: i64) -> Asn1Time {
    Asn1Time::from_unix(seconds).unwrap()
}

/// A certificate `name`, valid for `days` around [`NOW`], issued by `issuer` or itself; `shape` adds extensions.
pub(super) fn certify(
    name: &str,
    days: (i64, i64),
    issuer: Option<&Identity>,
    shape: impl FnOnce(&mut X509Builder),
) -> Identity {
    certify_key(PKey::ec_gen("P-256").unwrap(), name, days, issuer, shape)
}

fn certify_key(
    key: PKey<Private>,
    name: &str,
    days: (i64, i64),
    issuer: Option<&Identity>,
    shape: impl FnOnce(&mut X509Builder),
) -> Identity {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let key_itself = key.public_key_to_der().unwrap();
    let serial = key_itself.iter().fold(0, |sum: u32, byte| {
        sum.wrapping_mul(31).wrapping_add((*byte).into())
    });
    let serial = Asn1Integer::from_bn(&BigNum::from_u32(serial).unwrap()).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    let issuer_name = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder.set_not_before(&time(NOW + days.0 * DAY)).unwrap();
    builder.set_not_after(&time(NOW + days.1 * DAY)).unwrap();
    builder.set_pubkey(&key).unwrap();
    shape(&mut builder);
    let signing = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signing, MessageDigest::sha256()).unwrap();
    Identity {
        certificate: builder.build(),
        key,
    }
}

pub(super) fn authority(name: &str, issuer: Option<&Identity>) -> Identity {
    certify(name, (-4000, 4000), issuer, |builder| {
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        builder
            .append_extension(KeyUsage::new().key_cert_sign().crl_sign().build().unwrap())
            .unwrap();
    })
}

fn alternative_name(builder: &mut X509Builder, address: &str) {
    let context = builder.x509v3_context(None, None);
    let name = SubjectAlternativeName::new()
        .email(address)
        .build(&context)
        .unwrap();
    builder.append_extension(name).unwrap();
}

fn signer(days: (i64, i64), issuer: &Identity) -> Identity {
    certify("Alice", days, Some(issuer), |builder| {
        alternative_name(builder, "Alice@example.org");
        builder
            .append_extension(KeyUsage::new().digital_signature().build().unwrap())
            .unwrap();
        builder
            .append_extension(ExtendedKeyUsage::new().email_protection().build().unwrap())
            .unwrap();
    })
}

pub(super) fn sign(by: &Identity, with: &[&Identity]) -> Vec<u8> {
    let mut more = Stack::new().unwrap();
    for identity in with {
        more.push(identity.certificate.clone()).unwrap();
    }
    // Without attributes: OpenSSL would say its own time.
    let options = CMSOptions::BINARY | CMSOptions::NOATTR;
    let signed = CmsContentInfo::sign(
        Some(&by.certificate),
        Some(&by.key),
        Some(&more),
        Some(b"Hi"),
        options,
    );
    signed.unwrap().to_der().unwrap()
}

/// SignedData over "Hi" with SHA-512 and signed attributes, put together from the RFC: OpenSSL's command does not
/// sign with these keys everywhere.
fn sign_by_hand(by: &Identity) -> Vec<u8> {
    let oid = |dotted: &str| {
        der(
            tag::OID,
            const_oid::ObjectIdentifier::new_unwrap(dotted).as_bytes(),
        )
    };
    let sequence = |parts: &[Vec<u8>]| der(tag::SEQUENCE, &parts.concat());
    let attribute = |dotted: &str, value: Vec<u8>| sequence(&[oid(dotted), der(tag::SET, &value)]);
    let sha512 = sequence(&[oid("2.16.840.1.101.3.4.2.3")]);
    let data = oid("1.2.840.113549.1.7.1");
    let digest = der(tag::OCTET_STRING, &openssl::sha::sha512(b"Hi"));
    let attributes = [
        attribute("1.2.840.113549.1.9.3", data.clone()),
        attribute("1.2.840.113549.1.9.4", digest),
    ]
    .concat();
    let mut signer = Signer::new_without_digest(&by.key).unwrap();
    let signature = signer
        .sign_oneshot_to_vec(&der(tag::SET, &attributes))
        .unwrap();
    let certificate = by.certificate.to_der().unwrap();
    let (issuer, serial) = issuer_serial(&certificate).unwrap();
    let sid = sequence(&[issuer.raw.to_vec(), serial.raw.to_vec()]);
    let public = by.key.public_key_to_der().unwrap();
    let algorithm = Element::only(&public)
        .unwrap()
        .inside()
        .next()
        .unwrap()
        .unwrap()
        .raw
        .to_vec();
    let version = der(tag::INTEGER, &[1]);
    let signed_attributes = der(tag::context(0), &attributes);
    let signature = der(tag::OCTET_STRING, &signature);
    let info = sequence(&[
        version.clone(),
        sid,
        sha512.clone(),
        signed_attributes,
        algorithm,
        signature,
    ]);
    let content = sequence(&[data, der(tag::context(0), &der(tag::OCTET_STRING, b"Hi"))]);
    let certificates = der(tag::context(0), &certificate);
    let signed = sequence(&[
        version,
        der(tag::SET, &sha512),
        content,
        certificates,
        der(tag::SET, &info),
    ]);
    sequence(&[oid("1.2.840.113549.1.7.2"), der(tag::context(0), &signed)])
}

pub(super) fn trust(anchor: &Identity) -> Trust {
    Trust::from(TrustData {
        anchors: vec![anchor.certificate.to_der().unwrap().into()],
        ..TrustData::default()
    })
}

pub(super) fn judge(message: &[u8], trust: &Trust, from: &str, days: i64) -> Signature {
    let arrived = Timestamp::from_seconds(u64::try_from(NOW + days * DAY).unwrap());
    let from = if from.is_empty() {
        Vec::new()
    } else {
        vec![from.to_owned()]
    };
    let opened = open_with_from(&Ring::default(), trust, message, None, arrived, from).unwrap();
    assert_eq!(opened.plaintext, b"Hi");
    opened.signatures.into_iter().next().unwrap()
}

#[test]
fn valid_only_with_an_anchor_given_beforehand() {
    let root = authority("Root", None);
    let middle = authority("Middle", Some(&root));
    let alice = signer((-10, 10), &middle);
    let message = sign(&alice, &[&middle, &root]);

    let valid = judge(&message, &trust(&root), "alice@example.org", 0);
    assert_eq!(
        (valid.verdict, valid.math),
        (Verdict::Valid, SignatureMath::Good),
        "{}",
        valid.reason
    );
    assert_eq!(valid.from_matches, Some(true));
    assert_eq!(valid.chain.len(), 3);
    assert_eq!(
        (valid.signer.as_str(), valid.key_source.as_deref()),
        ("alice@example.org", Some("message"))
    );
    assert_eq!(valid.revocation, Revocation::Unknown);

    // E6: the whole chain in the mail, the root too, is no reason to trust it.
    let unknown = judge(&message, &Trust::default(), "alice@example.org", 0);
    assert_eq!(unknown.verdict, Verdict::UnknownSigner);
    let other = judge(
        &message,
        &trust(&authority("Root", None)),
        "alice@example.org",
        0,
    );
    assert_eq!(other.verdict, Verdict::UnknownSigner);
    // The chain is remembered, but not beyond its validity.
    let late = judge(&message, &trust(&root), "alice@example.org", 11);
    assert_ne!(late.verdict, Verdict::Valid);
}

#[test]
fn algorithms_without_a_digest_of_their_own() {
    let root = authority("Root", None);
    let ml_dsa = |kind| PKey::private_key_from_seed(None, kind, None, &[7; 32]).unwrap();
    let keys = [
        PKey::generate_ed25519().unwrap(),
        PKey::generate_ed448().unwrap(),
        ml_dsa(openssl::pkey::KeyType::ML_DSA_44),
        ml_dsa(openssl::pkey::KeyType::ML_DSA_65),
        ml_dsa(openssl::pkey::KeyType::ML_DSA_87),
    ];
    for key in keys {
        let signer = certify_key(key, "Alice", (-1, 1), Some(&root), |_| {});
        let mut message = sign_by_hand(&signer);
        let judged = judge(&message, &trust(&root), "", 0);
        assert_eq!(
            judged.verdict,
            Verdict::Valid,
            "{:?} {}",
            judged.algorithms,
            judged.reason
        );
        *message.last_mut().unwrap() ^= 1;
        assert_eq!(
            judge(&message, &trust(&root), "", 0).math,
            SignatureMath::Bad
        );
    }
}

// What is not hashed, for the signatures before cost all that one mail may, is neither good nor bad.
#[test]
fn a_signature_beyond_what_may_be_hashed_is_unchecked() {
    let root = authority("Root", None);
    let alice = signer((-10, 10), &root);
    let spent = Budget::default();
    assert!(spent.hash(u64::MAX));
    for message in [sign(&alice, &[&root]), sign_by_hand(&alice)] {
        let whose = (ARRIVED, Vec::new());
        let opened = open_within(
            &spent,
            &Ring::default(),
            &trust(&root),
            &message,
            None,
            whose,
        );
        let signature = &opened.unwrap().signatures[0];
        assert_eq!(
            signature.math,
            SignatureMath::Unchecked,
            "{}",
            signature.reason
        );
        assert!(signature.reason.contains(TOO_MANY), "{}", signature.reason);
    }
}

#[test]
fn a_from_that_is_not_the_signer() {
    let root = authority("Root", None);
    let message = sign(&signer((-10, 10), &root), &[]);
    let judged = judge(&message, &trust(&root), "boss@example.org", 0);
    assert_eq!(
        (judged.verdict, judged.from_matches),
        (Verdict::UnknownSigner, Some(false))
    );
    assert!(
        judged.reason.starts_with("from-mismatch"),
        "{}",
        judged.reason
    );
}

#[test]
fn certificates_that_may_not_sign_mail() {
    let root = authority("Root", None);
    let encrypting = certify("Alice", (-10, 10), Some(&root), |builder| {
        builder
            .append_extension(KeyUsage::new().key_encipherment().build().unwrap())
            .unwrap();
    });
    let server = certify("Alice", (-10, 10), Some(&root), |builder| {
        builder
            .append_extension(ExtendedKeyUsage::new().server_auth().build().unwrap())
            .unwrap();
    });
    for wrong in [encrypting, server] {
        let message = sign(&wrong, &[]);
        let judged = judge(&message, &trust(&root), "", 0);
        assert_eq!(judged.verdict, Verdict::Invalid, "{}", judged.reason);
        assert!(
            judged.reason.starts_with("wrong-purpose"),
            "{}",
            judged.reason
        );
    }
    // A signer's certificate is not an authority, whatever it has signed.
    let alice = signer((-10, 10), &root);
    let forged = signer((-10, 10), &alice);
    let judged = judge(&sign(&forged, &[&alice]), &trust(&root), "", 0);
    assert_ne!(judged.verdict, Verdict::Valid);
}

#[test]
fn revocation_is_beside_the_verdict() {
    let root = authority("Root", None);
    let alice = signer((-1000, 1000), &root);
    let crl = |revoked, days, by: &Identity| with_crl(&root, &alice, revoked, days, by, false);
    let good = crl(false, (-1, 1), &root);
    assert_eq!(
        (good.verdict, good.revocation),
        (Verdict::Valid, Revocation::Good)
    );
    let revoked = crl(true, (-1, 1), &root);
    assert_eq!(
        (revoked.verdict, revoked.revocation),
        (Verdict::Valid, Revocation::Revoked)
    );
    assert!(revoked.revocation_source.unwrap().starts_with("CRL of"));
    assert_eq!(crl(false, (-9, -2), &root).revocation, Revocation::Stale);
    // A list that another signed in the issuer's name is no evidence.
    assert_eq!(
        crl(true, (-1, 1), &authority("Root", None)).revocation,
        Revocation::Unknown
    );
}

#[test]
fn lists_that_must_not_be_used_say_nothing() {
    let root = authority("Root", None);
    let alice = signer((-1000, 1000), &root);
    let strange = with_crl(&root, &alice, false, (-1, 1), &root, true);
    assert_eq!(strange.revocation, Revocation::Unknown);
    let root = certify("Root", (-4000, 4000), None, |builder| {
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        builder
            .append_extension(KeyUsage::new().key_cert_sign().build().unwrap())
            .unwrap();
    });
    let alice = signer((-1000, 1000), &root);
    let unfit = with_crl(&root, &alice, false, (-1, 1), &root, false);
    assert_eq!(
        (unfit.verdict, unfit.revocation),
        (Verdict::Valid, Revocation::Unknown)
    );
}

#[test]
fn an_address_beyond_ascii_is_compared() {
    let root = authority("Root", None);
    let mailbox = der(tag::UTF8_STRING, "jörg@bücher.example".as_bytes());
    let kind = const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.9");
    let other = [
        der(tag::OID, kind.as_bytes()),
        der(tag::context(0), &mailbox),
    ]
    .concat();
    let names = der(tag::SEQUENCE, &der(tag::context(0), &other));
    let joerg = certify("Joerg", (-10, 10), Some(&root), |builder| {
        let kind = openssl::asn1::Asn1Object::from_str("2.5.29.17").unwrap();
        let value = openssl::asn1::Asn1OctetString::new_from_bytes(&names).unwrap();
        let extension = openssl::x509::X509Extension::new_from_der(&kind, false, &value).unwrap();
        builder.append_extension(extension).unwrap();
    });
    let from = "jörg@xn--bcher-kva.example";
    let judged = judge(&sign(&joerg, &[]), &trust(&root), from, 0);
    assert_eq!(judged.verdict, Verdict::Valid, "{}", judged.reason);
}

/// The judgement of a message by `alice`, whose issuer is `root`, with a list of revoked certificates that `by` signed;
/// a `strange` one sets a condition that nobody knows.
fn with_crl(
    root: &Identity,
    alice: &Identity,
    revoked: bool,
    days: (i64, i64),
    by: &Identity,
    strange: bool,
) -> Signature {
    let message = sign(alice, &[]);
    let mut builder = X509CrlBuilder::new().unwrap();
    builder
        .set_issuer_name(root.certificate.subject_name())
        .unwrap();
    builder.set_last_update(&time(NOW + days.0 * DAY)).unwrap();
    builder.set_next_update(&time(NOW + days.1 * DAY)).unwrap();
    if revoked {
        let mut entry = X509RevokedBuilder::new().unwrap();
        entry
            .set_serial_number(alice.certificate.serial_number())
            .unwrap();
        entry.set_revocation_date(&time(NOW - 5 * DAY)).unwrap();
        builder.add_revoked(entry.build()).unwrap();
    }
    for (kind, critical, value) in [
        ("2.5.29.35", false, [0x30, 3, 0x80, 1, 1].as_slice()),
        ("2.5.29.20", false, &[2, 1, 1]),
        ("1.2.3.4", strange, &[5, 0]),
    ] {
        let kind = openssl::asn1::Asn1Object::from_str(kind).unwrap();
        let value = openssl::asn1::Asn1OctetString::new_from_bytes(value).unwrap();
        let extension =
            openssl::x509::X509Extension::new_from_der(&kind, critical, &value).unwrap();
        builder.append_extension(extension).unwrap();
    }
    builder.sort().unwrap();
    builder.sign(&by.key, MessageDigest::sha256()).unwrap();
    let trust = Trust::from(TrustData {
        crls: vec![builder.build().unwrap().to_der().unwrap().into()],
        ..TrustData::from(trust(root))
    });
    judge(&message, &trust, "", 0)
}
