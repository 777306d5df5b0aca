//! Evidence of revocation and time: OCSP responses made by `openssl ocsp`, carried in each of the places where a mail
//! can have them or supplied beside it, and verdicts for the time that a mail claims.

use crate::support::build::{oid, sequence};
use crate::support::{Folder, context, open_at, passphrases};
use strongroom::mail::context::{Budget, OpenPolicy, Trust, TrustData};
use strongroom::mail::model::{ClaimSource, Revocation, Signature, SignatureMath, Verdict};
use strongroom::mail::smime::ber::{Element, Reader, der, tag};
use strongroom::time::{Clock, SystemClock, Timestamp};

const DAY: u64 = 86_400;

/// An authority `ca`, its responder `ocsp`, a stranger's responder `wrong`, and the signer `alice` with serial 7.
fn folder(days: u32) -> Folder {
    let folder = Folder::new();
    folder.identity("ca", "rsa:2048", "");
    let issue = |name: &str, serial: u32, extensions: &str| {
        folder.write("extensions", extensions.as_bytes());
        folder.must(&format!(
            "req -new -newkey rsa:2048 -noenc -keyout {name}.key -out req -subj /CN={name}"
        ));
        folder.must(&format!(
            "x509 -req -in req -CA ca.crt -CAkey ca.key -set_serial {serial} -days {days} -extfile extensions -out {name}.crt"
        ));
    };
    issue(
        "alice",
        7,
        "keyUsage=digitalSignature\nsubjectAltName=email:alice@example.org\n",
    );
    issue("ocsp", 8, "extendedKeyUsage=OCSPSigning\n");
    issue("stranger", 9, "keyUsage=digitalSignature\n");
    folder.must("cms -sign -binary -nodetach -in message -outform DER -out out -signer alice.crt -inkey alice.key");
    folder.must("ocsp -issuer ca.crt -cert alice.crt -reqout ocsp.req");
    folder
}

/// A response for `alice`, signed by `by`.
fn response(folder: &Folder, by: &str, revoked: bool) -> Vec<u8> {
    let state = if revoked {
        "R\t361231235959Z\t200101000000Z,keyCompromise\t07\tunknown\t/CN=alice\n"
    } else {
        "V\t361231235959Z\t\t07\tunknown\t/CN=alice\n"
    };
    folder.write("index", state.as_bytes());
    folder.must(&format!(
        "ocsp -index index -CA ca.crt -rsigner {by}.crt -rkey {by}.key -reqin ocsp.req -ndays 7 -respout response"
    ));
    folder.read("response")
}

/// The parts of the SignedData in `object`.
fn parts(object: &[u8]) -> Vec<Vec<u8>> {
    let content = Element::only(object)
        .unwrap()
        .inside()
        .nth(1)
        .unwrap()
        .unwrap();
    let signed = content.inside().next().unwrap().unwrap();
    signed
        .inside()
        .map(|part| part.unwrap().raw.to_vec())
        .collect()
}

fn put_together(parts: &[Vec<u8>]) -> Vec<u8> {
    let signed = der(tag::SEQUENCE, &parts.concat());
    sequence(&[&oid("1.2.840.113549.1.7.2"), &der(tag::context(0), &signed)])
}

/// With the response among the SignedData's revocation information (RFC 5940).
fn among_choices(object: &[u8], response: &[u8]) -> Vec<u8> {
    let mut parts = parts(object);
    let other = [oid("1.3.6.1.5.5.7.16.2"), response.to_vec()].concat();
    let choices = der(tag::context(1), &der(tag::context(1), &other));
    parts.insert(parts.len() - 1, choices);
    put_together(&parts)
}

/// With the response in an unsigned attribute of the signer.
fn in_attribute(object: &[u8], kind: &str, response: &[u8]) -> Vec<u8> {
    let mut parts = parts(object);
    let responses = der(tag::context(1), &sequence(&[response]));
    let values = der(tag::SET, &sequence(&[&responses]));
    let attribute = sequence(&[&oid(kind), &values]);
    let infos = parts.pop().unwrap();
    let info = Element::only(&infos)
        .unwrap()
        .inside()
        .next()
        .unwrap()
        .unwrap();
    let info = [info.body, &der(tag::context(1), &attribute)].concat();
    parts.push(der(tag::SET, &der(tag::SEQUENCE, &info)));
    put_together(&parts)
}

/// The `BasicOCSPResponse` in an `OCSPResponse`.
fn basic(response: &[u8]) -> Vec<u8> {
    let explicit = Element::only(response)
        .unwrap()
        .inside()
        .nth(1)
        .unwrap()
        .unwrap();
    let bytes = explicit.inside().next().unwrap().unwrap();
    let octets = Reader::new(bytes.body).nth(1).unwrap().unwrap();
    octets.body.to_vec()
}

fn judged(object: &[u8], trust: &Trust, days: u64) -> Signature {
    let arrived = SystemClock.now().plus_seconds(days * DAY + 60);
    let opened = open_at(&passphrases(&[]), trust, object, None, arrived).unwrap();
    opened.signatures.into_iter().next().unwrap()
}

#[test]
fn responses_in_every_place() {
    let folder = folder(1000);
    let trust = folder.trust("ca");
    let plain = folder.read("out");
    assert_eq!(judged(&plain, &trust, 0).revocation, Revocation::Unknown);
    for (by, revoked, days, expected) in [
        ("ocsp", false, 0, Revocation::Good),
        ("ca", false, 0, Revocation::Good),
        ("ocsp", true, 0, Revocation::Revoked),
        ("ocsp", true, 30, Revocation::Revoked),
        ("ocsp", false, 30, Revocation::Stale),
        ("stranger", false, 0, Revocation::Unknown),
        ("stranger", true, 0, Revocation::Unknown),
    ] {
        let response = response(&folder, by, revoked);
        let supplied = Trust::from(TrustData {
            ocsp: vec![response.clone().into()],
            ..TrustData::clone(&trust)
        });
        let adobe = in_attribute(&plain, "1.2.840.113583.1.1.8", &response);
        let cades = in_attribute(&plain, "1.2.840.113549.1.9.16.2.24", &basic(&response));
        for (object, trust, place) in [
            (&among_choices(&plain, &response), &trust, "choices"),
            (&adobe, &trust, "Adobe's attribute"),
            (&cades, &trust, "CAdES' attribute"),
            (&plain, &supplied, "supplied"),
        ] {
            let judged = judged(object, trust, days);
            let what = format!("{place}, by {by}, revoked {revoked}, after {days} days");
            // Evidence of its own: the verdict does not say it.
            assert_eq!(judged.verdict, Verdict::Valid, "{what}: {}", judged.reason);
            assert_eq!(judged.revocation, expected, "{what}");
            let source = judged.revocation_source.unwrap_or_default();
            let from = if place == "supplied" {
                "supplied"
            } else {
                "message"
            };
            let named = source.starts_with("OCSP response of") && source.contains(from);
            assert_eq!(named, expected != Revocation::Unknown, "{what}: {source}");
        }
    }
}

#[test]
fn responses_are_checked_only_as_far_as_the_mail_may_cost() {
    let folder = folder(1000);
    let trust = folder.trust("ca");
    let response = response(&folder, "ocsp", false);
    let object = among_choices(&folder.read("out"), &response);
    let (keys, policy) = (passphrases(&[]), OpenPolicy::default());
    for (spent, expected) in [(90_000, Revocation::Good), (99_900, Revocation::Unknown)] {
        let budget = Budget::default();
        assert!(budget.chain(30 * spent));
        let ctx = context(&policy, &budget, &keys, &trust, SystemClock.now());
        let opened = strongroom::mail::smime::open(&object, None, &ctx).unwrap();
        let signature = &opened.signatures[0];
        assert_eq!(signature.verdict, Verdict::Valid, "{}", signature.reason);
        assert_eq!(signature.revocation, expected);
    }
}

/// The signature of `mail` as it is judged on arriving in so many days.
fn of_mail(mail: &[u8], trust: &Trust, days: u64) -> Signature {
    let arrived = SystemClock.now().plus_seconds(days * DAY);
    let keys = passphrases(&[]);
    let opened = strongroom::mail::open(mail, &keys, trust, &OpenPolicy::default(), arrived);
    opened.signatures.into_iter().next().unwrap()
}

#[test]
fn imported_mail_is_judged_for_the_claimed_time_too() {
    let folder = folder(100);
    let trust = folder.trust("ca");
    let now = SystemClock.now();
    let date = jiff::Timestamp::from_second(now.seconds().try_into().unwrap()).unwrap();
    let date = date.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let mail = |options: &str| {
        folder.must(&format!(
            "cms -sign {options} -in message -out signed -signer alice.crt -inkey alice.key"
        ));
        let head = format!("From: alice@example.org\r\nDate: {date}\r\n");
        [head.as_bytes(), &folder.read("signed")].concat()
    };
    let close = |time: Timestamp| time.seconds().abs_diff(now.seconds()) < 600;

    let fresh = of_mail(&mail(""), &trust, 0);
    assert_eq!((fresh.verdict, fresh.claimed), (Verdict::Valid, None));

    let timed = of_mail(&mail(""), &trust, 1000);
    assert_eq!(timed.verdict, Verdict::ValidBut, "{}", timed.reason);
    assert!(timed.reason.starts_with("expired"), "{}", timed.reason);
    let claimed = timed.claimed.clone().unwrap();
    assert_eq!(
        (claimed.verdict, claimed.source),
        (Verdict::Valid, ClaimSource::SigningTime)
    );
    assert!(close(claimed.time));

    let untimed = of_mail(&mail("-noattr"), &trust, 1000);
    assert_eq!(untimed.math, SignatureMath::Good);
    assert_eq!(
        untimed.verdict,
        Verdict::UnknownSigner,
        "{}",
        untimed.reason
    );
    let claimed = untimed.claimed.unwrap();
    assert_eq!(
        (claimed.verdict, claimed.source),
        (Verdict::Valid, ClaimSource::Date)
    );
    assert!(close(claimed.time));

    // A claim makes nobody trusted.
    let claimed = of_mail(&mail(""), &Trust::default(), 1000).claimed.unwrap();
    assert_eq!(claimed.verdict, Verdict::UnknownSigner);
    let altered = String::from_utf8(mail(""))
        .unwrap()
        .replace("geheime", "gemeine");
    assert_eq!(of_mail(altered.as_bytes(), &trust, 1000).claimed, None);

    // Manifests from before have no such field.
    let mut json = serde_json::to_value(&timed).unwrap();
    json.as_object_mut().unwrap().remove("claimed").unwrap();
    let old: Signature = serde_json::from_value(json).unwrap();
    assert_eq!((old.verdict, old.claimed), (Verdict::ValidBut, None));
}
