//! What `inspect` and the workers do with one mail, against the bare primitive: opening, verifying. One core.

use super::reference::by_turns;
use super::table::{Row, Target};
use super::{Scale, rate_of};
use serde_bytes::ByteBuf;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom::escrow::{self, keyholder::Keyholder};
use strongroom::mail::context::{OpenPgpCertificate, OpenPolicy, Trust};
use strongroom::mail::model::{Opened, Outcome, Verdict};
use strongroom::time::{Clock as _, SystemClock};

/// Keys and mails, made by openssl and gpg.
struct Kit {
    folder: tempfile::TempDir,
    keys: Keyholder,
    trust: Trust,
}

/// Everything that is per core.
pub fn run(scale: &Scale, rows: &mut Vec<Row>) {
    strongroom::mail::warm_up();
    let mut kit = Kit::new();
    for (name, algorithm, primitive, target) in [
        ("RSA-2048", "rsa:2048", "rsa2048", 0.7),
        (
            "P-256",
            "ec -pkeyopt ec_paramgen_curve:P-256",
            "ecdhp256",
            0.3,
        ),
    ] {
        kit.identity(name, algorithm);
        let mail = kit.openssl(&format!("cms -encrypt -aes256 -in inner.eml {name}.crt"));
        let (rate, primitives) = by_turns(
            scale,
            primitive,
            |speed| speed.private,
            |time| rate_of(time, || kit.opens(&mail)),
        );
        rows.push(
            Row::rate(format!("open S/MIME, {name}"), rate)
                .against("private operations", Some(primitives))
                .target(Target::Ratio(target)),
        );
    }
    for (name, primitive) in [("rsa2048", Some("rsa2048")), ("cv25519", None)] {
        kit.gpg_key(name);
        let mail = kit.pgp_mime_encrypted(name);
        let rate = |time| rate_of(time, || kit.opens(&mail));
        let row = |rate| Row::rate(format!("open OpenPGP, {name}"), rate);
        rows.push(match primitive {
            Some(primitive) => {
                let (rate, primitives) = by_turns(scale, primitive, |speed| speed.private, rate);
                row(rate)
                    .against("private operations", Some(primitives))
                    .target(Target::Ratio(0.6))
            }
            None => row(rate(scale.measure)).target(Target::Rate(4000.0)),
        });
    }
    for (format, name, primitive) in [
        ("S/MIME", "RSA-2048", "rsa2048"),
        ("S/MIME", "P-256", "ecdsap256"),
        ("OpenPGP", "rsa2048", "rsa2048"),
        ("OpenPGP", "cv25519", "ed25519"),
    ] {
        let mail = match format {
            "S/MIME" => kit.openssl(&format!("cms -sign -in inner.eml -signer {name}.pem")),
            _ => kit.pgp_mime_signed(name),
        };
        let (rate, primitives) = by_turns(
            scale,
            primitive,
            |speed| speed.public,
            |time| rate_of(time, || kit.verifies(&mail)),
        );
        rows.push(
            Row::rate(format!("verify {format}, {name}"), rate)
                .against("verifications", Some(primitives))
                .target(Target::Ratio(0.5)),
        );
    }
}

impl Kit {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).expect("a mode");
        let line = "The hippopotamus is at home and reads its mail in peace.\r\n";
        let inner = format!("Content-Type: text/plain\r\n\r\n{}", line.repeat(50));
        fs::write(folder.path().join("inner.eml"), inner).expect("written");
        Self {
            folder,
            keys: Keyholder::default(),
            trust: Trust::default(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).expect("a file")
    }

    /// Runs openssl; gives the mail it writes, with a sender.
    fn openssl(&self, arguments: &str) -> Vec<u8> {
        let mut mail = b"From: anna@example.org\r\n".to_vec();
        mail.extend(output("openssl", self.folder.path(), arguments));
        mail
    }

    /// A key with a certificate of a root that is trusted.
    fn identity(&mut self, name: &str, algorithm: &str) {
        self.openssl(&format!(
            "req -x509 -newkey {algorithm} -noenc -keyout root.key -out root.crt -days 30 -subj /CN=root-{name} \
             -addext keyUsage=critical,keyCertSign"
        ));
        self.openssl(&format!(
            "req -x509 -newkey {algorithm} -noenc -keyout {name}.key -out {name}.crt -days 30 -CA root.crt \
             -CAkey root.key -subj /CN={name} -addext subjectAltName=email:anna@example.org \
             -addext basicConstraints=CA:FALSE \
             -addext keyUsage=digitalSignature,keyEncipherment,keyAgreement -addext extendedKeyUsage=emailProtection"
        ));
        let both = [
            self.read(&format!("{name}.key")),
            self.read(&format!("{name}.crt")),
        ]
        .concat();
        fs::write(self.at(&format!("{name}.pem")), &both).expect("written");
        self.keys
            .add_loaded(escrow::load(&both, &[], &escrow::Certificates::default()));
        let root = openssl::x509::X509::from_pem(&self.read("root.crt")).expect("PEM");
        self.trust
            .anchors
            .push(ByteBuf::from(root.to_der().expect("DER")));
    }

    fn gpg(&self, arguments: &str) -> Vec<u8> {
        let home = self.folder.path().display();
        let quiet = "--batch --yes --no-tty --quiet --trust-model always --pinentry-mode loopback --passphrase";
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let mut gpg = Command::new("gpg");
        gpg.arg(format!("--homedir={home}"))
            .args(quiet.split(' '))
            .arg("")
            .args(arguments)
            .current_dir(self.folder.path());
        let output = gpg.output().expect("gpg is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// A key pair with a subkey for encryption; its certificate is trusted.
    fn gpg_key(&mut self, name: &str) {
        let (primary, subkey) = match name {
            "cv25519" => ("ed25519", "cv25519"),
            other => (other, other),
        };
        let user = format!("{name}@example.org");
        self.gpg(&format!("--quick-generate-key {user} {primary} sign never"));
        let listing = String::from_utf8(self.gpg(&format!("--with-colons --list-keys {user}")))
            .expect("text");
        let fingerprint = listing
            .lines()
            .find_map(|line| line.strip_prefix("fpr:::::::::"));
        let fingerprint = fingerprint
            .expect("a fingerprint")
            .trim_end_matches(':')
            .to_owned();
        self.gpg(&format!(
            "--quick-add-key {fingerprint} {subkey} encr never"
        ));
        let secret = self.gpg(&format!("--export-secret-keys {user}"));
        self.keys
            .add_loaded(escrow::load(&secret, &[], &escrow::Certificates::default()));
        let bytes = self.gpg(&format!("--export {user}"));
        self.trust.openpgp.push(OpenPgpCertificate {
            bytes,
            source: "directory".to_owned(),
        });
    }

    fn pgp_mime_encrypted(&self, name: &str) -> Vec<u8> {
        let armored = self.gpg(&format!(
            "--armor --recipient {name}@example.org --encrypt --output - inner.eml"
        ));
        let head = "From: anna@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/encrypted; \
             protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n--b\r\n\
             Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--b\r\n\
             Content-Type: application/octet-stream\r\n\r\n";
        [head.as_bytes(), &armored, b"\r\n--b--\r\n"].concat()
    }

    fn pgp_mime_signed(&self, name: &str) -> Vec<u8> {
        let armored = self.gpg(&format!(
            "--armor --local-user {name}@example.org --detach-sign --output - inner.eml"
        ));
        let head = format!(
            "From: {name}@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; micalg=pgp-sha512; \
             protocol=\"application/pgp-signature\"; boundary=b\r\n\r\n--b\r\n"
        );
        let between = b"\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n";
        [
            head.as_bytes(),
            &self.read("inner.eml"),
            between,
            &armored,
            b"\r\n--b--\r\n",
        ]
        .concat()
    }

    fn open(&self, mail: &[u8]) -> Opened {
        let now = SystemClock.now();
        strongroom::mail::open(mail, &self.keys, &self.trust, &OpenPolicy::default(), now)
    }

    fn opens(&self, mail: &[u8]) {
        let opened = self.open(mail);
        assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
    }

    fn verifies(&self, mail: &[u8]) {
        let opened = self.open(mail);
        let signature = opened.signatures.first().expect("a signature");
        assert_eq!(signature.verdict, Verdict::Valid, "{}", signature.reason);
    }
}

fn output(program: &str, folder: &Path, arguments: &str) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {said}");
    output.stdout
}
