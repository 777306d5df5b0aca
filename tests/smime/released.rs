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
        assert!(text.starts_with(
            "From: A <a@example.org>\r\nSubject: Greetings,\r\n of a kind\r\nMIME-Version"
        ));
        assert!(!text.contains("X-Secret"));
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
