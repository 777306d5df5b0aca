//! Recovery to certificates that are odd and usable all the same, through the commands; what comes out is opened by the
//! programs that people have.

use crate::support::{TestBox, text};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MAIL: &[u8] = b"From: sender@example.net\r\nTo: anna@example.org\r\nSubject: Old papers\r\n\r\nThe axolotl is at home.\r\n";

#[test]
fn mail_is_released_to_odd_certificates() {
    let box_ = TestBox::running();
    box_.send(MAIL);
    box_.wait_for_records(1);
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");

    // A serial of 24 octets, where RFC 5280 allows 20.
    let long = "-set_serial 0x00f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566";
    let certificate = make_certificate(&keys, "long", long);
    smime_opens(&box_, "long", &certificate);
    // Not strict DER: TRUE is not 0xff, and the outer length is longer than it must be.
    let usage = "-addext keyUsage=critical,keyEncipherment";
    let certificate = make_certificate(&keys, "ber", usage);
    let mut der = der_of(&certificate);
    let boolean = b"\x55\x1d\x0f\x01\x01\xff";
    let at = der.windows(6).position(|window| window == boolean);
    der[at.expect("a key usage") + 5] = 1;
    let [0x30, 0x82, ..] = der[..] else {
        panic!("a length in two octets");
    };
    der.splice(1..2, [0x84, 0, 0]);
    fs::write(&certificate, &der).expect("a certificate");
    smime_opens(&box_, "ber", &certificate);

    // A key of 2012, bound by SHA-1.
    let gpg = Gpg::with_key_of_2012(&box_.file("gnupg"));
    let certificate = keys.join("old.pgp");
    fs::write(&certificate, gpg.run(&["--export"])).expect("a certificate");
    let mail = released(&box_, "old", &certificate);
    let opened = gpg.run(&["--decrypt", &mail.display().to_string()]);
    assert!(String::from_utf8_lossy(&opened).contains("axolotl"));
}

fn smime_opens(box_: &TestBox, name: &str, certificate: &Path) {
    let mail = released(box_, name, certificate);
    let folder = certificate.parent().expect("a folder");
    let output = Command::new("openssl")
        .args(["cms", "-decrypt", "-in"])
        .arg(mail)
        .args([
            "-inkey",
            &format!("{name}.key"),
            "-recip",
            &format!("{name}.crt"),
        ])
        .current_dir(folder)
        .output()
        .expect("openssl");
    assert!(
        text(&output).contains("axolotl"),
        "{name}: {}",
        text(&output)
    );
}

/// The one mail of a case that two officers approved, released to this certificate.
fn released(box_: &TestBox, name: &str, certificate: &Path) -> PathBuf {
    let case = box_.json(&format!(
        "case request --mailbox anna@example.org --purpose {name} --certificate {} --json",
        certificate.display()
    ));
    let case = case["case"].as_str().expect("a case").to_owned();
    box_.ok(&format!("case approve {case} {}", box_.officers(2)));
    let out = box_.file(&format!("released-{name}"));
    box_.ok(&format!("case release {case} --output {}", out.display()));
    box_.ok(&format!(
        "case check {} --officers {}",
        out.display(),
        box_.data().join("officers.json").display()
    ));
    let mut files = fs::read_dir(out).expect("the folder").flatten();
    let mail = files.find(|file| file.path().extension().is_some_and(|end| end == "eml"));
    mail.expect("a mail").path()
}

/// `NAME.crt` (PEM) and `NAME.key`, made by openssl; the path of a copy to alter.
fn make_certificate(folder: &Path, name: &str, more: &str) -> PathBuf {
    let arguments = format!(
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={name} -keyout {name}.key -out {name}.crt {more}"
    );
    crate::support::openssl(folder, &arguments);
    let copy = folder.join(format!("{name}.new"));
    fs::copy(folder.join(format!("{name}.crt")), &copy).expect("a copy");
    copy
}

fn der_of(pem: &Path) -> Vec<u8> {
    let pem = fs::read(pem).expect("a certificate");
    let certificate = openssl::x509::X509::from_pem(&pem).expect("PEM");
    certificate.to_der().expect("DER")
}

/// gpg with a home that goes with the box.
struct Gpg(PathBuf);

impl Gpg {
    fn with_key_of_2012(home: &Path) -> Self {
        fs::create_dir(home).expect("a folder");
        fs::set_permissions(home, fs::Permissions::from_mode(0o700)).expect("private");
        let gpg = Self(home.to_owned());
        let parameters = home.join("parameters");
        let lines = "%no-protection\nKey-Type: RSA\nKey-Length: 2048\nKey-Usage: sign,cert\nSubkey-Type: RSA\n\
                     Subkey-Length: 2048\nSubkey-Usage: encrypt\nName-Email: anna@example.org\nExpire-Date: 0\n%commit\n";
        fs::write(&parameters, lines).expect("parameters");
        gpg.run(&[
            "--faked-system-time",
            "20120301T120000",
            "--cert-digest-algo",
            "SHA1",
            "--gen-key",
            &parameters.display().to_string(),
        ]);
        gpg
    }

    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .arg("--homedir")
            .arg(&self.0)
            .args(["--batch", "--quiet"])
            .args(arguments)
            .output()
            .expect("gpg");
        assert!(output.status.success(), "{}", text(&output));
        output.stdout
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(&self.0)
            .args(["--kill", "all"])
            .status();
    }
}
