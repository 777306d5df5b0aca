//! Keys and signers that a message names otherwise than their certificates do.

use crate::support::{Folder, MESSAGE, open, opens, passphrases};
use strongroom::mail::context::{Failure, Trust};
use strongroom::mail::model::{SignatureMath, Verdict};

/// The object with `from` replaced wherever it stands.
fn replaced(object: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut object = object.to_vec();
    let mut at = 0;
    let mut found = 0;
    while let Some(next) = memchr::memmem::find(&object[at..], from) {
        object[at + next..][..to.len()].copy_from_slice(to);
        at += next + to.len();
        found += 1;
    }
    assert!(found > 0);
    object
}

/// Certificates are renewed and keys kept; what was encrypted to the old certificate names no key that is here.
#[test]
fn a_renewed_certificate_opens_what_was_encrypted_to_the_former_one() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.identity("ec", "ec", "-pkeyopt ec_paramgen_curve:prime256v1");
    folder.identity("other", "rsa:2048", "");
    for (name, more) in [
        ("rsa", ""),
        ("rsa", "-keyopt rsa_padding_mode:oaep"),
        ("ec", ""),
    ] {
        folder.must(&format!(
            "cms -encrypt -aes-128-cbc -in message -outform DER -out out -recip {name}.crt {more}"
        ));
        folder.must(&format!(
            "req -x509 -key {name}.key -out renewed.crt -days 36500 -subj /CN=renewed"
        ));
        folder.write("renewed.key", &folder.read(&format!("{name}.key")));
        folder.bundle("renewed");
        let object = folder.read("out");
        opens(&folder.keys("renewed"), &object, &format!("{name} {more}"));
        let other = open(&folder.keys("other"), &Trust::default(), &object, None);
        let failure = other.unwrap_err().failure;
        assert!(matches!(failure, Failure::NoKey { .. }), "{failure}");
    }
}

/// A key of another name gives random bytes under RSA v1.5, and now and then they are a key. What it makes of the
/// content is taken only if it looks like content.
#[test]
fn what_a_key_of_another_name_makes_must_look_like_content() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.write("message", &[0xa5; 400]);
    folder.must("cms -encrypt -aes-128-cbc -binary -in message -outform DER -out out rsa.crt");
    folder.must("req -x509 -key rsa.key -out new.crt -days 36500 -subj /CN=new");
    folder.write("new.key", &folder.read("rsa.key"));
    folder.bundle("new");
    let opened = |name: &str| {
        open(
            &folder.keys(name),
            &Trust::default(),
            &folder.read("out"),
            None,
        )
    };
    assert!(opened("rsa").is_ok());
    assert!(opened("new").is_err());
}

#[test]
fn key_transport_by_the_name_of_a_signature_algorithm() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.must("cms -encrypt -aes-128-cbc -in message -outform DER -out out rsa.crt");
    let rsa = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    for last in [5, 11, 13] {
        let mut named = *rsa;
        named[8] = last;
        let object = replaced(&folder.read("out"), rsa, &named);
        opens(&folder.keys("rsa"), &object, &last.to_string());
    }
}

#[test]
fn text_under_the_type_of_signed_data_is_text() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.must("cms -encrypt -aes-128-cbc -in message -outform DER -out out rsa.crt");
    let data = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    let object = replaced(
        &folder.read("out"),
        data,
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02",
    );
    let opened = open(&folder.keys("rsa"), &Trust::default(), &object, None).unwrap();
    assert_eq!(opened.plaintext, MESSAGE);
    assert!(!opened.inner_is_cms);
}

#[test]
fn a_signer_whose_name_is_in_other_letters() {
    let folder = Folder::new();
    folder.identity("signer", "rsa:2048", "");
    folder.must(
        "cms -sign -nodetach -nocerts -in message -binary -outform DER -out out -signer signer.pem",
    );
    let object = replaced(&folder.read("out"), b"signer", b"SIGNER");
    let opened = open(&passphrases(&[]), &folder.trust("signer"), &object, None).unwrap();
    let signature = &opened.signatures[0];
    let judged = (signature.math, signature.verdict);
    assert_eq!(
        judged,
        (SignatureMath::Good, Verdict::Valid),
        "{}",
        signature.reason
    );
}
