//! The reverse: what we encrypt for somebody's certificate opens in openssl, in gpgsm, and here.

use crate::support::gpgsm::{Gpgsm, knows_curves};
use crate::support::{ARRIVED, Folder};
use strongroom::mail::context::{OpenPolicy, Trust};
use strongroom::mail::model::Outcome;
use strongroom::mail::smime::{decode_container, encrypt::encrypt_for};

const MAIL: &[u8] = b"From: A <a@example.org>\r\nSubject: Greetings,\r\n of a kind\r\nX-Secret: inner\r\n\r\nBody.\r\n";

#[test]
fn what_we_encrypt_opens_elsewhere() {
    let folder = Folder::new();
    let names = ["rsa", "p256", "p521", "brainpool"];
    folder.identity("rsa", "rsa:2048", "");
    for (name, curve) in [
        ("p256", "prime256v1"),
        ("p521", "secp521r1"),
        ("brainpool", "brainpoolP256r1"),
    ] {
        folder.identity(name, "ec", &format!("-pkeyopt ec_paramgen_curve:{curve}"));
    }
    let for_gpgsm = if knows_curves() {
        &names[..]
    } else {
        &names[..1]
    };
    let gpgsm = Gpgsm::with(&folder, for_gpgsm);
    for name in names {
        let certificate = folder.certificate(name).to_der().unwrap();
        let message = encrypt_for(&certificate, MAIL).unwrap();
        let text = String::from_utf8(message.clone()).unwrap();
        assert!(text.starts_with("From: A <a@example.org>\r\nSubject: ...\r\nMIME-Version"));
        assert!(!text.contains("X-Secret") && !text.contains("Greetings"));
        folder.write("encrypted.eml", &message);
        folder.must(&format!(
            "cms -decrypt -in encrypted.eml -inkey {name}.key -recip {name}.crt -binary -out opened"
        ));
        assert!(folder.read("opened").ends_with(MAIL), "openssl, {name}");
        if let Some(gpgsm) = gpgsm.as_ref().filter(|_| for_gpgsm.contains(&name)) {
            let body = text.split_once("\r\n\r\n").unwrap().1;
            let object = decode_container(body.as_bytes()).unwrap();
            let opened = gpgsm.run(&["--decrypt"], &object).expect(name);
            assert!(opened.ends_with(MAIL), "gpgsm, {name}");
        }
        let policy = OpenPolicy::default();
        let keys = folder.keys(name);
        let opened = strongroom::mail::open(&message, &keys, &Trust::default(), &policy, ARRIVED);
        assert_eq!(opened.outcome, Outcome::Opened, "{name}");
    }
}

#[test]
fn a_certificate_that_only_signs_gets_nothing() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "-addext keyUsage=digitalSignature");
    let certificate = folder.certificate("rsa").to_der().unwrap();
    let refused = encrypt_for(&certificate, MAIL).unwrap_err().to_string();
    assert!(refused.contains("key usage"), "{refused}");
    let refused = encrypt_for(b"no certificate", MAIL)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("not a readable"), "{refused}");
}

/// What real CAs issued against RFC 5280 and openssl takes all the same.
#[test]
fn a_strange_certificate_is_encrypted_to_all_the_same() {
    let folder = Folder::new();
    let long = "0x00f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566";
    for (name, algorithm, more) in [
        ("long", "rsa:2048", format!("-set_serial {long}")),
        (
            "long-ec",
            "ec",
            format!("-pkeyopt ec_paramgen_curve:P-256 -set_serial {long}"),
        ),
        ("negative", "rsa:2048", "-set_serial -0x80aa55".to_owned()),
        ("small-negative", "rsa:2048", "-set_serial -128".to_owned()),
        ("zero", "rsa:2048", "-set_serial 0".to_owned()),
        ("nameless", "rsa:2048", "-set_serial 7 -subj /".to_owned()),
        (
            "multi",
            "rsa:2048",
            "-multivalue-rdn -subj /O=Z+CN=A+UID=q/C=DE".to_owned(),
        ),
    ] {
        folder.identity(name, algorithm, &more);
        opens(&folder, name, &folder.certificate(name).to_der().unwrap());
    }
    // T61String and BMPString names, by the mask of string types.
    for mask in ["MASK:0x4", "MASK:0x800"] {
        folder.write(
            "names.cnf",
            format!(
                "[req]\nstring_mask={mask}\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=Caf\\xe9\n"
            )
            .as_bytes(),
        );
        folder.identity(
            "old-string",
            "rsa:2048",
            "-config names.cnf -subj /CN=J\u{f6}rg",
        );
        opens(
            &folder,
            "old-string",
            &folder.certificate("old-string").to_der().unwrap(),
        );
    }
}

/// Octets changed after signing: nobody checks the CA's signature when encrypting, and the CA that erred signed the error.
#[test]
fn malformed_octets_in_a_certificate_do_not_hinder() {
    let folder = Folder::new();
    folder.identity(
        "rsa",
        "rsa:2048",
        "-addext keyUsage=critical,keyEncipherment",
    );
    let der = folder.certificate("rsa").to_der().unwrap();
    let at = |needle: &[u8]| der.windows(needle.len()).position(|w| w == needle).unwrap();
    // BOOLEAN TRUE that is not 0xff, UTF-8 in what should be printable, bytes behind the end.
    let boolean = at(&[0x55, 0x1d, 0x0f, 1, 1, 0xff]) + 5;
    let string = at(b"\x0c\x03rsa");
    let mut changed = der.clone();
    changed[boolean] = 1;
    opens(&folder, "rsa", &changed);
    let mut changed = der.clone();
    changed[string..string + 5].copy_from_slice(b"\x13\x03a\xc3\xa4");
    let mut behind = der.clone();
    behind.extend_from_slice(b"\r\n\0");
    // A length in four octets.
    let mut wide = der.clone();
    wide.splice(1..2, [0x84, 0, 0]);
    opens(&folder, "rsa", &wide);
    for certificate in [changed, behind] {
        encrypt_for(&certificate, MAIL).unwrap();
    }
}

fn opens(folder: &Folder, name: &str, certificate: &[u8]) {
    let message = encrypt_for(certificate, MAIL).expect(name);
    folder.write("encrypted.eml", &message);
    folder.must(&format!(
        "cms -decrypt -in encrypted.eml -inkey {name}.key -recip {name}.crt -binary -out opened"
    ));
    assert!(folder.read("opened").ends_with(MAIL), "openssl, {name}");
    let (keys, policy) = (folder.keys(name), OpenPolicy::default());
    let opened = strongroom::mail::open(&message, &keys, &Trust::default(), &policy, ARRIVED);
    assert_eq!(opened.outcome, Outcome::Opened, "{name}");
}
