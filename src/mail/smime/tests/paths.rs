//! Certificate policies along a chain, and lists of revoked certificates that others than the issuer's certificate signed.
//! The same code was held against NIST's PKITS by hand (docs/interop.md).

use super::trust::{Identity, NOW, authority, certify, judge, sign, trust};
use crate::mail::context::{Trust, TrustData};
use crate::mail::model::{Revocation, Verdict};
use crate::mail::smime::ber::{Element, der, tag};
use crate::mail::smime::certificates::issuer_serial;
use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::hash::MessageDigest;
use openssl::sign::Signer;
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509Builder, X509Extension};

const DAY: i64 = 86_400;
const HOLD: u8 = 6;
const COMPROMISE: u8 = 1;

fn extension(kind: &str, value: &[u8]) -> X509Extension {
    let kind = Asn1Object::from_str(kind).unwrap();
    let value = Asn1OctetString::new_from_bytes(value).unwrap();
    X509Extension::new_from_der(&kind, false, &value).unwrap()
}

fn with(builder: &mut X509Builder, kind: &str, value: &[u8]) {
    builder.append_extension(extension(kind, value)).unwrap();
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(tag::SEQUENCE, &parts.concat())
}

/// A certificate that may sign others, with more extensions.
fn middle(name: &str, issuer: &Identity, shape: impl FnOnce(&mut X509Builder)) -> Identity {
    certify(name, (-4000, 4000), Some(issuer), |builder| {
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(constraints).unwrap();
        let usage = KeyUsage::new().key_cert_sign().crl_sign().build().unwrap();
        builder.append_extension(usage).unwrap();
        shape(builder);
    })
}

fn name(of: &Identity) -> Vec<u8> {
    of.certificate.subject_name().to_der().unwrap()
}

/// An entry of a list. OpenSSL's builder knows no extensions of entries.
fn revoked(x509: &X509, reason: u8, issuer: Option<&Identity>) -> Vec<u8> {
    let (_, serial) = issuer_serial_of(x509);
    let mut extensions = vec![plain_extension(&[0x55, 0x1d, 0x15], &[0x0a, 1, reason])];
    extensions.extend(issuer.map(|issuer| {
        let names = sequence(&[der(0xa4, &name(issuer))]);
        plain_extension(&[0x55, 0x1d, 0x1d], &names)
    }));
    sequence(&[serial, utc(NOW - 5 * DAY), sequence(&extensions)])
}

fn issuer_serial_of(x509: &X509) -> (Vec<u8>, Vec<u8>) {
    let encoded = x509.to_der().unwrap();
    let (issuer, serial) = issuer_serial(&encoded).unwrap();
    (issuer.raw.to_vec(), serial.raw.to_vec())
}

fn plain_extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[der(tag::OID, oid), der(tag::OCTET_STRING, value)])
}

fn utc(seconds: i64) -> Vec<u8> {
    const UTC_TIME: u8 = 0x17;
    let time = jiff::Timestamp::from_second(seconds).unwrap();
    der(
        UTC_TIME,
        time.strftime("%y%m%d%H%M%SZ").to_string().as_bytes(),
    )
}

/// A list of `day`, signed by `by`, with this issuing distribution point.
fn list(by: &Identity, day: i64, entries: &[Vec<u8>], point: Option<&[u8]>) -> Vec<u8> {
    const ECDSA_WITH_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let algorithm = sequence(&[der(tag::OID, &ECDSA_WITH_SHA256)]);
    let mut fields = vec![
        der(tag::INTEGER, &[1]),
        algorithm.clone(),
        name(by),
        utc(NOW + day * DAY),
        utc(NOW + 9 * DAY),
    ];
    if !entries.is_empty() {
        fields.push(sequence(entries));
    }
    fields.extend(point.map(|point| {
        let point = plain_extension(&[0x55, 0x1d, 0x1c], point);
        der(tag::context(0), &sequence(&[point]))
    }));
    let list = sequence(&fields);
    let mut signer = Signer::new(MessageDigest::sha256(), &by.key).unwrap();
    let signature = signer.sign_oneshot_to_vec(&list).unwrap();
    let signature = der(tag::BIT_STRING, &[vec![0], signature].concat());
    sequence(&[list, algorithm, signature])
}

/// What is known of the revocation of `alice`, whose mail brings these certificates, from these lists.
fn found(
    root: &Identity,
    alice: &Identity,
    brought: &[&Identity],
    lists: &[Vec<u8>],
) -> Revocation {
    let trust = Trust::from(TrustData {
        crls: lists.iter().map(|list| list.clone().into()).collect(),
        ..TrustData::from(trust(root))
    });
    let judged = judge(&sign(alice, brought), &trust, "", 0);
    assert_eq!(judged.verdict, Verdict::Valid, "{}", judged.reason);
    judged.revocation
}

#[test]
fn another_key_of_the_authority_signs_its_lists() {
    let root = authority("Root", None);
    let ca = middle("CA", &root, |_| {});
    let lists = middle("CA", &root, |_| {});
    let alice = certify("Alice", (-10, 10), Some(&ca), |_| {});
    let empty = list(&lists, -1, &[], None);
    let full = |reason| {
        let entry = revoked(&alice.certificate, reason, None);
        list(&lists, -1, &[entry], None)
    };
    let both = [&ca, &lists];
    let empty = [empty];
    assert_eq!(found(&root, &alice, &both, &empty), Revocation::Good);
    let full = [full(COMPROMISE)];
    assert_eq!(found(&root, &alice, &both, &full), Revocation::Revoked);
    assert_eq!(found(&root, &alice, &[&ca], &full), Revocation::Unknown);
    // That key's own certificate is revoked, or by another root.
    let entry = revoked(&lists.certificate, COMPROMISE, None);
    let key_lost = [empty[0].clone(), list(&root, -1, &[entry], None)];
    assert_eq!(found(&root, &alice, &both, &key_lost), Revocation::Unknown);
    let forged = middle("CA", &authority("Root", None), |_| {});
    let by_forger = [list(&forged, -1, &[], None)];
    let brought = [&ca, &forged];
    assert_eq!(
        found(&root, &alice, &brought, &by_forger),
        Revocation::Unknown
    );
}

#[test]
fn a_list_by_another_issuer_counts_where_the_certificate_names_it() {
    let root = authority("Root", None);
    let lists = middle("Lists", &root, |_| {});
    let point = der(0xa2, &der(0xa4, &name(&lists)));
    let points = sequence(&[sequence(&[point])]);
    let names_it = certify("Alice", (-10, 10), Some(&root), |builder| {
        with(builder, "2.5.29.31", &points);
    });
    let names_none = certify("Alice", (-10, 10), Some(&root), |_| {});
    let indirect = sequence(&[vec![0x84, 1, 0xff]]);
    let indirect = Some(indirect.as_slice());
    let empty = [list(&lists, -1, &[], indirect)];
    let entry = |issuer| revoked(&names_it.certificate, COMPROMISE, issuer);
    let full = [list(&lists, -1, &[entry(Some(&root))], indirect)];
    let direct = [list(&lists, -1, &[], None)];
    let of_another = [list(&lists, -1, &[entry(None)], indirect)];
    for (alice, given, expected) in [
        (&names_it, &empty, Revocation::Good),
        (&names_it, &full, Revocation::Revoked),
        (&names_it, &of_another, Revocation::Good),
        (&names_it, &direct, Revocation::Unknown),
        (&names_none, &empty, Revocation::Unknown),
        (&names_none, &full, Revocation::Unknown),
    ] {
        assert_eq!(found(&root, alice, &[&lists], given), expected);
    }
}

#[test]
fn a_list_of_one_distribution_point_speaks_for_that_alone() {
    let root = authority("Root", None);
    let cn = |text: &str| {
        let text = der(tag::UTF8_STRING, text.as_bytes());
        sequence(&[der(tag::OID, &[0x55, 4, 3]), text])
    };
    let relative = |text: &str| der(0xa0, &der(0xa1, &cn(text)));
    let full = |text: &str| {
        let of_root = Element::only(&name(&root)).unwrap().body.to_vec();
        let whole = sequence(&[of_root, der(tag::SET, &cn(text))]);
        der(0xa0, &der(0xa0, &der(0xa4, &whole)))
    };
    let some_reasons = [vec![0x81, 2, 1, 0x60]].concat();
    for (own, listed, expected) in [
        (full("one"), full("one"), Revocation::Good),
        (relative("one"), full("one"), Revocation::Good),
        (full("one"), relative("one"), Revocation::Good),
        (full("one"), full("two"), Revocation::Unknown),
        (relative("two"), full("one"), Revocation::Unknown),
        (
            [full("one"), some_reasons].concat(),
            full("one"),
            Revocation::Unknown,
        ),
    ] {
        let points = sequence(&[sequence(&[own])]);
        let alice = certify("Alice", (-10, 10), Some(&root), |builder| {
            with(builder, "2.5.29.31", &points);
        });
        let given = [list(&root, -1, &[], Some(&sequence(&[listed])))];
        assert_eq!(found(&root, &alice, &[], &given), expected);
    }
}

#[test]
fn a_hold_ends_with_a_later_list_and_nothing_else_does() {
    let root = authority("Root", None);
    let alice = certify("Alice", (-10, 10), Some(&root), |_| {});
    let with_reason = |day, reason| {
        let entry = revoked(&alice.certificate, reason, None);
        list(&root, day, &[entry], None)
    };
    let empty = |day| list(&root, day, &[], None);
    for (lists, expected) in [
        ([with_reason(-3, HOLD), empty(-1)], Revocation::Good),
        ([empty(-3), with_reason(-1, HOLD)], Revocation::Revoked),
        (
            [with_reason(-3, COMPROMISE), empty(-1)],
            Revocation::Revoked,
        ),
    ] {
        assert_eq!(found(&root, &alice, &[], &lists), expected);
    }
}

#[test]
fn a_policy_is_demanded_only_where_an_authority_does() {
    const P1: [u8; 3] = [0x2a, 3, 1];
    const P2: [u8; 3] = [0x2a, 3, 2];
    const ANY: [u8; 4] = [0x55, 0x1d, 0x20, 0];
    let policies = |all: &[&[u8]]| {
        let all = all.iter().map(|one| sequence(&[der(tag::OID, one)]));
        ("2.5.29.32", sequence(&all.collect::<Vec<_>>()))
    };
    let mapped = |from: &[u8], to: &[u8]| {
        let pair = sequence(&[der(tag::OID, from), der(tag::OID, to)]);
        ("2.5.29.33", sequence(&[pair]))
    };
    let demand = || ("2.5.29.36", sequence(&[vec![0x80, 1, 0]]));
    let no_mapping = || ("2.5.29.36", sequence(&[vec![0x80, 1, 0], vec![0x81, 1, 0]]));
    let no_any = || ("2.5.29.54", vec![2, 1, 0]);
    let root = authority("Root", None);
    for (of_ca, of_alice, holds) in [
        (vec![policies(&[&P1])], vec![policies(&[&P2])], true),
        (vec![demand()], vec![], false),
        (vec![demand(), policies(&[&P1])], vec![], false),
        (vec![demand()], vec![policies(&[&P1])], false),
        (
            vec![demand(), policies(&[&P1])],
            vec![policies(&[&P1, &P2])],
            true,
        ),
        (
            vec![demand(), policies(&[&P1])],
            vec![policies(&[&P2])],
            false,
        ),
        (
            vec![demand(), policies(&[&ANY])],
            vec![policies(&[&P2])],
            true,
        ),
        (
            vec![demand(), policies(&[&P1])],
            vec![policies(&[&ANY])],
            true,
        ),
        (
            vec![demand(), policies(&[&P1]), no_any()],
            vec![policies(&[&ANY])],
            false,
        ),
        (
            vec![demand(), policies(&[&P1]), mapped(&P1, &P2)],
            vec![policies(&[&P2])],
            true,
        ),
        (
            vec![demand(), policies(&[&P1]), mapped(&P1, &P2)],
            vec![policies(&[&P1])],
            false,
        ),
        (
            vec![policies(&[&P1]), mapped(&P1, &ANY)],
            vec![policies(&[&P1])],
            false,
        ),
        (vec![], vec![demand()], false),
    ] {
        let put = |builder: &mut X509Builder, all: &[(&str, Vec<u8>)]| {
            all.iter()
                .for_each(|(kind, value)| with(builder, kind, value));
        };
        let ca = middle("CA", &root, |builder| put(builder, &of_ca));
        let alice = certify("Alice", (-10, 10), Some(&ca), |builder| {
            put(builder, &of_alice);
        });
        let judged = judge(&sign(&alice, &[&ca]), &trust(&root), "", 0);
        let expected = if holds {
            Verdict::Valid
        } else {
            Verdict::UnknownSigner
        };
        assert_eq!(
            judged.verdict, expected,
            "{of_ca:?} {of_alice:?} {judged:?}"
        );
        assert_eq!(
            judged.reason.contains("policy"),
            !holds,
            "{}",
            judged.reason
        );
    }
    // Mapping may be forbidden to the authorities below.
    let upper = middle("Upper", &root, |builder| {
        let (kind, value) = policies(&[&P1]);
        with(builder, kind, &value);
        let (kind, value) = no_mapping();
        with(builder, kind, &value);
    });
    let lower = middle("Lower", &upper, |builder| {
        for (kind, value) in [policies(&[&P1]), mapped(&P1, &P2)] {
            with(builder, kind, &value);
        }
    });
    let alice = certify("Alice", (-10, 10), Some(&lower), |builder| {
        let (kind, value) = policies(&[&P2]);
        with(builder, kind, &value);
    });
    let judged = judge(&sign(&alice, &[&lower, &upper]), &trust(&root), "", 0);
    assert_eq!(judged.verdict, Verdict::UnknownSigner);
}

#[test]
fn nobody_spoils_a_verdict_with_an_authority_of_the_same_name() {
    let [old_root, root] = [authority("Root", None), authority("Root", None)];
    let ca = middle("CA", &root, |_| {});
    let forged = middle("CA", &authority("Root", None), |_| {});
    let alice = certify("Alice", (-10, 10), Some(&ca), |_| {});
    for anchors in [[&old_root, &root], [&root, &old_root]] {
        let trust = Trust::from(TrustData {
            anchors: anchors
                .iter()
                .map(|root| root.certificate.to_der().unwrap().into())
                .collect(),
            ..TrustData::default()
        });
        for brought in [[&ca, &forged], [&forged, &ca]] {
            let judged = judge(&sign(&alice, &brought), &trust, "", 0);
            assert_eq!(judged.verdict, Verdict::Valid, "{}", judged.reason);
        }
    }
}
