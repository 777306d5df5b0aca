//! What gpgsm encrypts and signs, in each of its forms.

use crate::support::gpgsm::{Gpgsm, knows_curves};
use crate::support::{Folder, MESSAGE, open, opens, passphrases};
use std::process::Command;
use strongroom::mail::model::{SignatureMath, Verdict};
use strongroom::mail::smime::decode_container;

const FORMS: [&str; 3] = ["--no-armor", "--armor", "--base64"];

fn folder() -> Folder {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    for (name, curve) in [
        ("p256", "prime256v1"),
        ("p384", "secp384r1"),
        ("brainpool", "brainpoolP256r1"),
    ] {
        folder.identity(name, "ec", &format!("-pkeyopt ec_paramgen_curve:{curve}"));
    }
    folder
}

fn names() -> &'static [&'static str] {
    if knows_curves() {
        &["rsa", "p256", "p384", "brainpool"]
    } else {
        &["rsa"]
    }
}

#[test]
fn every_cipher_key_and_form() {
    let folder = folder();
    let Some(gpgsm) = Gpgsm::with(&folder, names()) else {
        return;
    };
    for &name in names() {
        let keys = folder.keys(name);
        for cipher in [
            "3DES",
            "AES128",
            "AES192",
            "AES256",
            "CAMELLIA128",
            "SEED",
            "RFC2268_40",
        ] {
            for form in FORMS {
                let options = [
                    "--encrypt",
                    form,
                    "--cipher-algo",
                    cipher,
                    "-r",
                    &format!("{name}@example.org"),
                ];
                let Some(written) = gpgsm.run(&options, MESSAGE) else {
                    let unusual = !cipher.starts_with("AES") && cipher != "3DES";
                    assert!(unusual, "gpgsm does not write {cipher} for {name}");
                    continue;
                };
                opens(&keys, &written, &format!("{name} {cipher} {form}"));
            }
        }
    }
}

#[test]
fn its_home_is_all_that_inspect_needs() {
    let folder = folder();
    let Some(gpgsm) = Gpgsm::with(&folder, names()) else {
        return;
    };
    for &name in names() {
        let user = format!("{name}@example.org");
        let written = gpgsm.run(&["--encrypt", "-r", &user], MESSAGE).unwrap();
        folder.write("mail", &written);
        let home = gpgsm.home();
        std::fs::write(home.join("passphrases"), "x\n").unwrap();
        // The keybox lies beside the folder of keys, where it is looked for.
        let inspected = |passphrases: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
                .args(["inspect", "--json"])
                .args(passphrases)
                .arg("--keys")
                .arg(home.join("private-keys-v1.d"))
                .arg(folder.path().join("mail"))
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let file = home.join("passphrases").display().to_string();
        let said = inspected(&["--passphrase-file", &file]);
        assert!(said.contains("\"outcome\":\"opened\""), "{name}: {said}");
        let said = inspected(&[]);
        assert!(
            said.contains("\"outcome\":\"locked-key\""),
            "{name}: {said}"
        );
    }
}

#[test]
fn every_signature() {
    let folder = folder();
    let Some(gpgsm) = Gpgsm::with(&folder, names()) else {
        return;
    };
    for &name in names() {
        let trust = folder.trust(name);
        for digest in ["SHA1", "SHA256", "SHA384", "SHA512"] {
            for (kind, form) in ["--sign", "--detach-sign"]
                .into_iter()
                .zip(FORMS.into_iter().cycle())
            {
                let user = format!("{name}@example.org");
                let options = [kind, form, "--digest-algo", digest, "-u", &user];
                let written = gpgsm.run(&options, MESSAGE).unwrap();
                let detached = (kind == "--detach-sign").then_some(MESSAGE);
                let object = decode_container(&written).unwrap();
                let opened = open(&passphrases(&[]), &trust, &object, detached).unwrap();
                let signature = &opened.signatures[0];
                assert_eq!(
                    (signature.math, signature.verdict),
                    (SignatureMath::Good, Verdict::Valid),
                    "{name} {digest} {kind}: {}",
                    signature.reason
                );
            }
        }
    }
}
