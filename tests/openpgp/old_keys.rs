//! Signatures by keys of versions 3 and 5, and of versions 3, 4 and 5 over documents.

use crate::support::old_keys::{MD5, Making, OldKey, SHA256, SHA512};
use crate::support::pgp::Keys;
use std::path::PathBuf;
use strongroom::mail::context::{
    Budget, Context, OpenPgpCertificate, OpenPolicy, Trust, TrustData,
};
use strongroom::mail::model::{Revocation, Signature, SignatureMath, Verdict};
use strongroom::mail::openpgp::packets::{framed, packets};
use strongroom::mail::openpgp::{self, armor};
use strongroom::time::Timestamp;

const MADE: u32 = 1_000_000_000;
const SIGNED: u32 = 1_100_000_000;
const TEXT: &[u8] = b"Content-Type: text/plain\r\n\r\nHello\r\n";
const ANNA: &str = "Anna <anna@example.org>";

/// What GnuPG's author sent to the working group's list as a sample of version 5, secret part in the clear:
/// <https://mailarchive.ietf.org/arch/msg/openpgp/9SheW_LENE0Kxf7haNllovPyAdY>.
const EMMA: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----

lGEFXJH05BYAAAAtCSsGAQQB2kcPAQEHQFhZlVcVVtwf+21xNQPX+ecMJJBL0MPd
fj75iux+my8QAAAAAAAiAQCHZ1SnSUmWqxEsoI6facIVZQu6mph3cBFzzTvcm5lA
Ng5ctBhlbW1hLmdvbGRtYW5AZXhhbXBsZS5uZXSIlgUTFggASCIhBRk0e8mHJGQC
X5nfPsLgAA7ZiEiS4fez6kyUAJFZVptUBQJckfTkAhsDBQsJCAcCAyICAQYVCgkI
CwIEFgIDAQIeBwIXgAAA9cAA/jiR3yMsZMeEQ40u6uzEoXa6UXeV/S3wwJAXRJy9
M8s0AP9vuL/7AyTfFXwwzSjDnYmzS0qAhbLDQ643N+MXGBJ2BZxmBVyR9OQSAAAA
MgorBgEEAZdVAQUBAQdA+nysrzml2UCweAqtpDuncSPlvrcBWKU0yfU0YvYWWAoD
AQgHAAAAAAAiAP9OdAPppjU1WwpqjIItkxr+VPQRT8Zm/Riw7U3F6v3OiBFHiHoF
GBYIACwiIQUZNHvJhyRkAl+Z3z7C4AAO2YhIkuH3s+pMlACRWVabVAUCXJH05AIb
DAAAOSQBAP4BOOIR/sGLNMOfeb5fPs/02QMieoiSjIBnijhob2U5AQC+RtOHCHx7
TcIYl5/Uyoi+FOvPLcNw4hOv2nwUzSSVAw==
=IiS2
-----END PGP PRIVATE KEY BLOCK-----
";

/// By OpenPGP.js 6.3 with Emma's key: text "Hello\nEmma" in a literal packet with a file's name and date.
const ENCLOSED: &str = "-----BEGIN PGP MESSAGE-----

xA0DAQoWGTR7yYckZAIByxZ1BWEudHh0ZjIuwEhlbGxvDQpFbW1hwr0FARYK
AG8FgmYyLsBFFAAAAAAAHAAgc2FsdEBub3RhdGlvbnMub3BlbnBncGpzLm9y
Z/2lmeX1jtfCEXMqTpi2Zh91CtsBZMEVRtrN+FHWlLpCIqEFGTR7yYckZAJf
md8+wuAADtmISJLh97PqTJQAkVlWm1QAANr0AQCW9ajQ4erHaRYFK0Tpz6/a
tXLFIqk//17siJixBA1/SAEArS+De/a/nAwnSlptpd+H6lap3Yv6QoiOdOPr
MGsO2gg=
=rhZZ
-----END PGP MESSAGE-----
";

/// The same text, detached.
const DETACHED: &str = "-----BEGIN PGP SIGNATURE-----

wr0FARYKAG8FgmYyLsBFFAAAAAAAHAAgc2FsdEBub3RhdGlvbnMub3BlbnBn
cGpzLm9yZ/XhGIZV0A8pgibCnpar+pfCtbFIdu2f88sOIWlIKOviIqEFGTR7
yYckZAJfmd8+wuAADtmISJLh97PqTJQAkVlWm1QAADbHAP4m4d9oEbOvCJ3E
j3/MjpjCSYTNPBvY2fg9/cEmy9+lzQD+PN4NOAyHdro3R3UKqWg16qKT1Wyh
iV9ad/SIsjFYvAM=
=Llrp
-----END PGP SIGNATURE-----
";

/// The same text, in the clear.
const CLEAR: &str = "-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

Hello
Emma
-----BEGIN PGP SIGNATURE-----

wr0FARYKAG8FgmYyLsBFFAAAAAAAHAAgc2FsdEBub3RhdGlvbnMub3BlbnBn
cGpzLm9yZ4rxbtKG99qOiayIcAscyV7zh8YAj3Uqe+qfoMbZqBsPIqEFGTR7
yYckZAJfmd8+wuAADtmISJLh97PqTJQAkVlWm1QAAOBAAQDXETva871DEXgV
6PcB+7K11E8U2uJ9Sxo/TgXSCVuxNQEAn1KpaJUO+9MhWGH0ZImYNxnAGAB0
9mIGvvilet+H4wA=
=DIm8
-----END PGP SIGNATURE-----
";

/// The signatures of a message or of a detached signature, with this certificate from the directory.
fn checked(certificate: &[u8], from: &str, message: &[u8], detached: Option<&[u8]>) -> Signature {
    checked_from("directory", certificate, from, message, detached)
}

fn checked_from(
    source: &str,
    certificate: &[u8],
    from: &str,
    message: &[u8],
    detached: Option<&[u8]>,
) -> Signature {
    let keys = Keys::load(&[], &[]);
    let trust = Trust::from(TrustData {
        openpgp: vec![OpenPgpCertificate {
            bytes: certificate.to_vec(),
            source: source.to_owned(),
        }],
        ..TrustData::default()
    });
    let policy = OpenPolicy {
        weak: ["MD5", "v3-key"].map(str::to_owned).into(),
        ..OpenPolicy::default()
    };
    let ctx = Context {
        keys: &keys,
        trust: &trust,
        attached: &[],
        policy: &policy,
        arrived: Timestamp::from_seconds(1_750_000_000),
        around: None,
        date: None,
        from: vec![from.to_owned()],
        budget: &Budget::default(),
    };
    let opened = openpgp::open(message, detached, &ctx).expect("opens");
    assert_eq!(opened.signatures.len(), 1);
    opened.signatures.into_iter().next().unwrap()
}

fn detached(key: &OldKey, version: u8, digest: u8) -> Vec<u8> {
    framed(2, &key.sign(Making::new(version, 0, digest, SIGNED), TEXT))
}

fn emma() -> (OldKey, Vec<u8>) {
    let ring = armor::blocks(EMMA.as_bytes()).next().unwrap().bytes;
    let secret = packets(&ring).next().unwrap().unwrap();
    (OldKey::from_secret(&secret.body()), ring)
}

fn anna_3() -> (OldKey, Vec<u8>) {
    let key = OldKey::version_3(MADE);
    let certificate = key.certificate(ANNA, Making::new(3, 0x10, MD5, MADE));
    (key, certificate)
}

#[test]
fn a_version_3_key_signs_in_versions_3_and_4() {
    let (key, certificate) = anna_3();
    let fingerprint: String = key
        .fingerprint()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    for (version, digest, reason) in [
        (3, MD5, "weak: MD5; weak: v3-key"),
        (3, SHA256, "weak: v3-key"),
        (4, SHA256, "weak: v3-key"),
    ] {
        let signature = detached(&key, version, digest);
        let good = checked(&certificate, "anna@example.org", &signature, Some(TEXT));
        assert_eq!(good.math, SignatureMath::Good);
        assert_eq!(
            (good.verdict, &good.reason[..]),
            (Verdict::ValidBut, reason)
        );
        assert_eq!(good.signer, "anna@example.org");
        assert_eq!(good.fingerprint.as_deref(), Some(&fingerprint[..]));
        assert_eq!(good.time, Some(Timestamp::from_seconds(SIGNED.into())));
        let bad = checked(&certificate, "anna@example.org", &signature, Some(b"other"));
        assert_eq!(
            (bad.verdict, bad.math),
            (Verdict::Invalid, SignatureMath::Bad)
        );
    }
}

#[test]
fn nobody_vouches_for_a_key_without_a_self_signature_or_from_the_mail() {
    let (key, certificate) = anna_3();
    let signature = detached(&key, 3, MD5);
    let bare = [framed(6, &key.body), framed(13, ANNA.as_bytes())].concat();
    let unbound = checked(&bare, "anna@example.org", &signature, Some(TEXT));
    assert_eq!(
        (unbound.verdict, unbound.math),
        (Verdict::Invalid, SignatureMath::Good)
    );
    assert!(unbound.reason.contains("unbound"), "{}", unbound.reason);
    // Anna's own signature does not cover another name.
    let mut forged = certificate.clone();
    let at = forged.windows(5).position(|w| w == b"anna@").unwrap();
    forged[at] = b'h';
    let forged = checked(&forged, "hnna@example.org", &signature, Some(TEXT));
    assert_eq!(
        (forged.verdict, forged.from_matches),
        (Verdict::Invalid, Some(false))
    );
    let carried = checked_from(
        "message",
        &certificate,
        "anna@example.org",
        &signature,
        Some(TEXT),
    );
    assert_eq!(
        (carried.verdict, carried.math),
        (Verdict::UnknownSigner, SignatureMath::Good)
    );
    let (_, other) = anna_3();
    let unknown = checked(&other, "anna@example.org", &signature, Some(TEXT));
    assert_eq!(unknown.math, SignatureMath::Unchecked);
}

#[test]
fn a_revoked_version_3_key_signs_nothing() {
    let (key, certificate) = anna_3();
    let revocation = key.sign(Making::new(3, 0x20, MD5, SIGNED), &key.hashed());
    let key_packet = framed(6, &key.body);
    let rest = &certificate[key_packet.len()..];
    let revoked = [&key_packet, &framed(2, &revocation), rest].concat();
    let signature = detached(&key, 3, MD5);
    let judged = checked(&revoked, "anna@example.org", &signature, Some(TEXT));
    assert_eq!(
        (judged.verdict, judged.revocation),
        (Verdict::Invalid, Revocation::Revoked)
    );
}

#[test]
fn a_version_5_key_signs_documents_with_their_header() {
    let (key, ring) = emma();
    let from = "emma.goldman@example.net";
    let signature = framed(2, &key.sign(Making::new(5, 0, SHA256, 1_600_000_000), TEXT));
    let good = checked(&ring, from, &signature, Some(TEXT));
    assert_eq!(
        (good.verdict, good.math),
        (Verdict::Valid, SignatureMath::Good),
        "{}",
        good.reason
    );
    assert_eq!(
        good.fingerprint.as_deref(),
        Some("19347bc9872464025f99df3ec2e0000ed9884892e1f7b3ea4c94009159569b54")
    );
    let bad = checked(&ring, from, &signature, Some(b"other"));
    assert_eq!(
        (bad.verdict, bad.math),
        (Verdict::Invalid, SignatureMath::Bad)
    );

    let header = b"b\x03a.b\x5f\x5e\x10\x00";
    let one_pass = [&[3, 0, SHA256, 22], &key.key_id()[..], &[1]].concat();
    let message = |literal: &[u8]| {
        let making = Making {
            header,
            ..Making::new(5, 0, SHA256, 1_600_000_000)
        };
        let literal = framed(11, &[literal, TEXT].concat());
        let signature = framed(2, &key.sign(making, TEXT));
        [framed(4, &one_pass), literal, signature].concat()
    };
    let good = checked(&ring, from, &message(header), None);
    assert_eq!(
        (good.verdict, good.math),
        (Verdict::Valid, SignatureMath::Good),
        "{}",
        good.reason
    );
    // The file's name is signed too.
    let renamed = checked(&ring, from, &message(b"b\x03a.c\x5f\x5e\x10\x00"), None);
    assert_eq!(renamed.math, SignatureMath::Bad);
}

#[test]
fn a_version_5_key_signs_clear_text() {
    let (key, ring) = emma();
    let body = key.sign(Making::new(5, 1, SHA256, 1_600_000_000), b"Hello\r\nEmma");
    let base64 = openssl::base64::encode_block(&framed(2, &body));
    let text = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nHello\nEmma\n-----BEGIN PGP SIGNATURE-----\n\n{base64}\n-----END PGP SIGNATURE-----\n"
    );
    let good = checked(&ring, "emma.goldman@example.net", text.as_bytes(), None);
    assert_eq!(
        (good.verdict, good.math),
        (Verdict::Valid, SignatureMath::Good),
        "{}",
        good.reason
    );
}

#[test]
fn version_5_signatures_of_another_program_are_good() {
    let (_, ring) = emma();
    for (message, detached) in [
        (ENCLOSED, None),
        (DETACHED, Some(&b"Hello\nEmma"[..])),
        (CLEAR, None),
    ] {
        let judged = checked(
            &ring,
            "emma.goldman@example.net",
            message.as_bytes(),
            detached,
        );
        assert_eq!(
            (judged.verdict, judged.math),
            (Verdict::Valid, SignatureMath::Good),
            "{}",
            judged.reason
        );
    }
    let changed = CLEAR.replace("Hello", "Hallo");
    let judged = checked(&ring, "emma.goldman@example.net", changed.as_bytes(), None);
    assert_eq!(judged.math, SignatureMath::Bad);
}

#[test]
fn a_version_5_subkey_signs_only_if_it_says_whose_it_is() {
    let (primary, subkey) = (OldKey::version_5(MADE), OldKey::version_5(MADE));
    let certificate = primary.certificate(ANNA, Making::new(5, 0x13, SHA512, MADE));
    let content = [primary.hashed(), subkey.hashed()].concat();
    let back = subkey.sign(Making::new(5, 0x19, SHA256, MADE), &content);
    let embedded = [&[u8::try_from(back.len()).unwrap() + 1, 32], &back[..]].concat();
    for (embedded, verdict) in [(embedded, Verdict::Valid), (Vec::new(), Verdict::Invalid)] {
        let binding = Making {
            subpackets: [&[2, 27, 2], &embedded[..]].concat(),
            ..Making::new(5, 0x18, SHA256, MADE)
        };
        let binding = framed(2, &primary.sign(binding, &content));
        let ring = [&certificate[..], &framed(14, &subkey.body), &binding].concat();
        let signature = detached(&subkey, 5, SHA512);
        let judged = checked(&ring, "anna@example.org", &signature, Some(TEXT));
        assert_eq!(
            (judged.verdict, judged.math),
            (verdict, SignatureMath::Good),
            "{}",
            judged.reason
        );
    }
}

/// Certificates that others made (PGP 2.6.3 and 6, GnuPG 2.3), and documents signed here with their secret keys.
#[test]
fn self_signatures_of_real_old_keys_hold() {
    let Some(corpus) = std::env::var_os("STRONGROOM_CORPUS").map(PathBuf::from) else {
        println!("skipped: STRONGROOM_CORPUS does not name the corpus");
        return;
    };
    for (secret, public, version, digest) in [
        (
            "gnupg-openpgp/orig/tests/openpgp/pgp263-test.sec.asc",
            "gnupg-openpgp/orig/tests/openpgp/pgp263-test.pub.asc",
            3,
            MD5,
        ),
        (
            "rpgp/orig/tests/pgp6/alice.sec.asc",
            "rpgp/orig/tests/pgp6/alice.sec.asc",
            3,
            MD5,
        ),
        (
            "gnupg-openpgp/orig/tests/openpgp/samplekeys/v5-sample-1-sec.asc",
            "gnupg-openpgp/orig/tests/openpgp/samplekeys/v5-sample-1-pub.asc",
            5,
            SHA256,
        ),
    ] {
        let ring = |file: &str| {
            let bytes = std::fs::read(corpus.join(file)).expect(file);
            armor::blocks(&bytes).next().expect("armored").bytes
        };
        let (secret, ring) = (ring(secret), ring(public));
        let all: Vec<_> = packets(&ring).flatten().collect();
        let secret = packets(&secret).next().unwrap().unwrap();
        let key = OldKey::from_secret(&secret.body());
        let user_id = String::from_utf8_lossy(&all[1].body()).into_owned();
        let address = user_id.rsplit('<').next().unwrap().trim_end_matches('>');
        let time = 1_690_000_000 + 1_000_000;
        let message = framed(2, &key.sign(Making::new(version, 0, digest, time), TEXT));
        let judged = checked(&ring, address, &message, Some(TEXT));
        assert_eq!(
            judged.math,
            SignatureMath::Good,
            "{public}: {}",
            judged.reason
        );
        assert!(
            !judged.reason.contains("unbound"),
            "{public}: {}",
            judged.reason
        );
    }
}
