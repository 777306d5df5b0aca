//! Every combination that the `openssl` on this machine can write, opened and compared.

use super::{Ring, open_with};
use crate::escrow::UserKey;
use crate::escrow::smime_load::{load, load_nameless};
use crate::mail::context::{Failure, Trust, Unopened, Unwrapped};
use crate::mail::model::{Integrity, Outcome, SignatureMath, Verdict};
use crate::secret::SecretBytes;
use std::path::Path;
use std::process::Command;

const MESSAGE: &[u8] = b"Content-Type: text/plain\r\n\r\nStreng geheime Botschaft.\r\n";

/// Runs `openssl` in `folder`; false if it refuses.
fn openssl(folder: &Path, arguments: &str) -> bool {
    let run = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output();
    run.is_ok_and(|output| output.status.success())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("message"), MESSAGE).unwrap();
    folder
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

/// A self-signed certificate NAME.crt with NAME.key, in one container NAME.pem.
fn identity(folder: &Path, name: &str, algorithm: &str, more: &str) {
    let made = openssl(
        folder,
        &format!(
            "req -x509 -newkey {algorithm} -noenc -keyout {name}.key -out {name}.crt -days 36500 -subj \
             /CN={name}/emailAddress={name}@example.org {more}"
        ),
    );
    assert!(made, "{algorithm}");
    let both = [
        read(folder, &format!("{name}.key")),
        read(folder, &format!("{name}.crt")),
    ]
    .concat();
    std::fs::write(folder.join(format!("{name}.pem")), both).unwrap();
}

fn ring(folder: &Path, name: &str) -> Ring {
    let loaded = load(&read(folder, &format!("{name}.pem")), &[], &[]);
    Ring {
        keys: loaded.into_iter().map(Result::unwrap).collect(),
        passphrases: Vec::new(),
    }
}

fn opens(ring: &Ring, folder: &Path, what: &str) -> Unwrapped {
    let opened = open_with(ring, &Trust::default(), &read(folder, "out"), None);
    let opened = opened.unwrap_or_else(|unopened| panic!("{what}: {unopened:?}"));
    assert_eq!(opened.plaintext, MESSAGE, "{what}");
    assert_eq!(opened.layers[0].outcome, Outcome::Opened, "{what}");
    opened
}

const CIPHERS: &str = "aes-128-cbc aes-192-cbc aes-256-cbc aes-128-gcm aes-192-gcm aes-256-gcm des3 des-cbc rc2-40-cbc \
     rc2-64-cbc rc2-cbc cast5-cbc camellia-128-cbc camellia-192-cbc camellia-256-cbc seed-cbc bf-cbc aria-128-cbc \
     aria-256-cbc aria-256-gcm sm4-cbc aes-128-cfb aes-256-cfb aes-128-ofb rc4";

#[test]
fn every_cipher() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "");
    let ring = ring(folder, "rsa");
    for cipher in CIPHERS.split_whitespace() {
        for form in ["-outform DER", "-stream -outform DER"] {
            let written = openssl(
                folder,
                &format!(
                    "cms -encrypt -{cipher} -provider legacy -provider default -binary -in message {form} -out out rsa.crt"
                ),
            );
            assert!(written, "openssl does not write {cipher}");
            let opened = opens(&ring, folder, cipher);
            let authenticated = opened.layers[0].integrity == Integrity::Authenticated;
            assert_eq!(authenticated, cipher.ends_with("gcm"), "{cipher}");
        }
    }
}

#[test]
fn every_key_transport() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:1024", "");
    let ring = ring(folder, "rsa");
    for digest in ["sha1", "sha224", "sha256", "sha384"] {
        for mgf in ["sha1", "sha256"] {
            let options = format!(
                "-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:{digest} -keyopt rsa_mgf1_md:{mgf} -keyopt \
                 rsa_oaep_label:0102"
            );
            let write = format!(
                "cms -encrypt -aes128 -binary -in message -outform DER -out out -recip rsa.crt {options}"
            );
            assert!(openssl(folder, &write), "{options}");
            opens(&ring, folder, &options);
        }
    }
    assert!(openssl(
        folder,
        "cms -encrypt -aes256 -binary -keyid -in message -outform DER -out out rsa.crt"
    ));
    opens(&ring, folder, "by key identifier");
}

#[test]
fn every_key_agreement() {
    let folder = folder();
    let folder = folder.path();
    let curves =
        "prime256v1 secp384r1 secp521r1 brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 secp256k1";
    for curve in curves.split_whitespace() {
        identity(
            folder,
            curve,
            "ec",
            &format!("-pkeyopt ec_paramgen_curve:{curve}"),
        );
        let ring = ring(folder, curve);
        for options in [
            "",
            "-keyopt ecdh_kdf_md:sha256",
            "-keyopt ecdh_kdf_md:sha512 -keyopt ecdh_cofactor_mode:1",
        ] {
            for cipher in ["aes-128-cbc", "aes-256-gcm", "des3"] {
                let write = format!(
                    "cms -encrypt -{cipher} -binary -in message -outform DER -out out -recip {curve}.crt {options}"
                );
                assert!(openssl(folder, &write), "{write}");
                opens(&ring, folder, &write);
            }
        }
    }
}

#[test]
fn passwords_and_pre_shared_keys() {
    let folder = folder();
    let folder = folder.path();
    let hex = "000102030405060708090a0b0c0d0e0f";
    let ring = Ring {
        passphrases: vec!["wrong".into(), "geheim".into(), hex.into()],
        ..Ring::default()
    };
    for cipher in ["aes-128-cbc", "aes-256-cbc", "des3", "camellia-256-cbc"] {
        let write = format!(
            "cms -encrypt -{cipher} -binary -in message -outform DER -out out -pwri_password geheim"
        );
        assert!(openssl(folder, &write));
        opens(&ring, folder, &write);
    }
    let write = format!(
        "cms -encrypt -aes-128-cbc -binary -in message -outform DER -out out -secretkey {hex} -secretkeyid c0fee0"
    );
    assert!(openssl(folder, &write));
    opens(&ring, folder, "pre-shared key");
    let write = format!(
        "cms -EncryptedData_encrypt -aes-128-cbc -binary -in message -outform DER -out out -secretkey {hex}"
    );
    assert!(openssl(folder, &write));
    opens(&ring, folder, "EncryptedData");
}

#[test]
fn a_wrong_key_fails_cleanly() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "-set_serial 7");
    let right = read(folder, "rsa.crt");
    for _ in 0..3 {
        // The same name and serial number, another key.
        identity(folder, "rsa", "rsa:2048", "-set_serial 7");
        let ring = ring(folder, "rsa");
        std::fs::write(folder.join("right.crt"), &right).unwrap();
        assert!(openssl(
            folder,
            "cms -encrypt -aes128 -binary -in message -outform DER -out out right.crt"
        ));
        let unopened = open_with(&ring, &Trust::default(), &read(folder, "out"), None).unwrap_err();
        assert!(
            matches!(unopened.failure, Failure::NoKey { .. }),
            "{:?}",
            unopened.failure
        );
    }
}

#[test]
fn altered_content_is_damaged() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "");
    let ring = ring(folder, "rsa");
    assert!(openssl(
        folder,
        "cms -encrypt -aes-256-gcm -binary -in message -outform DER -out out rsa.crt"
    ));
    let mut altered = read(folder, "out");
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let Unopened {
        failure, layers, ..
    } = open_with(&ring, &Trust::default(), &altered, None).unwrap_err();
    assert!(matches!(failure, Failure::Damaged(_)));
    assert_eq!(layers[0].integrity, Integrity::Broken);
}

fn signature(
    folder: &Path,
    trust: &Trust,
    detached: Option<&[u8]>,
) -> crate::mail::model::Signature {
    let opened = open_with(&Ring::default(), trust, &read(folder, "out"), detached).unwrap();
    if detached.is_none() {
        assert_eq!(opened.plaintext, MESSAGE);
    }
    opened.signatures.into_iter().next().unwrap()
}

#[test]
fn every_signature() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "");
    identity(
        folder,
        "p256",
        "ec",
        "-pkeyopt ec_paramgen_curve:prime256v1",
    );
    identity(
        folder,
        "brainpool",
        "ec",
        "-pkeyopt ec_paramgen_curve:brainpoolP384r1",
    );
    let pss = "-keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen";
    let cases = [
        ("rsa", "-md sha1".to_owned()),
        ("rsa", "-md md5".to_owned()),
        ("rsa", "-md sha256".to_owned()),
        ("rsa", "-md sha3-256".to_owned()),
        ("rsa", "-md ripemd160".to_owned()),
        ("rsa", format!("-md sha256 {pss}:0")),
        ("rsa", format!("-md sha512 {pss}:20")),
        ("rsa", format!("-md sha384 {pss}:-1")),
        (
            "rsa",
            format!("-md sha256 {pss}:-1 -keyopt rsa_mgf1_md:sha1"),
        ),
        ("rsa", "-noattr".to_owned()),
        ("p256", "-md sha256".to_owned()),
        ("p256", "-md sha512 -noattr".to_owned()),
        ("brainpool", "-md sha384".to_owned()),
    ];
    for (signer, options) in cases {
        for form in ["-nodetach", "-nodetach -stream", ""] {
            let write = format!(
                "cms -sign -binary -in message -outform DER -out out -signer {signer}.crt -inkey {signer}.key {options} {form}"
            );
            if !openssl(folder, &write) {
                assert!(
                    write.contains("pss") && write.ends_with("-stream"),
                    "{write}"
                );
                continue; // OpenSSL 3.0 does not stream PSS.
            }
            let detached = form.is_empty().then_some(MESSAGE);
            let judged = signature(folder, &Trust::default(), detached);
            assert_eq!(
                judged.math,
                SignatureMath::Good,
                "{write}: {}",
                judged.reason
            );
            // A certificate that came with the mail is not trusted by that.
            assert_eq!(judged.verdict, Verdict::UnknownSigner, "{write}");
            if let Some(content) = detached {
                let altered = [content, b"x"].concat();
                assert_eq!(
                    signature(folder, &Trust::default(), Some(&altered)).math,
                    SignatureMath::Bad
                );
            }
        }
    }
}

#[test]
fn line_ends_changed_on_the_way_are_named() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "");
    assert!(openssl(
        folder,
        "cms -sign -binary -in message -outform DER -out out -signer rsa.crt -inkey rsa.key"
    ));
    let anchor = openssl::x509::X509::from_pem(&read(folder, "rsa.crt")).unwrap();
    let trust = Trust {
        anchors: vec![anchor.to_der().unwrap().into()],
        ..Trust::default()
    };
    let whole = signature(folder, &trust, Some(MESSAGE));
    assert_eq!(
        (whole.verdict, whole.key_source.as_deref()),
        (Verdict::Valid, Some("anchors")),
        "{}",
        whole.reason
    );
    // Stored with LF: still as it was sent.
    let unix = String::from_utf8(MESSAGE.to_vec())
        .unwrap()
        .replace("\r\n", "\n");
    assert_eq!(
        signature(folder, &trust, Some(unix.as_bytes())).verdict,
        Verdict::Valid
    );
    // Signed with LF, which no transport keeps.
    std::fs::write(folder.join("message"), &unix).unwrap();
    let sign = "cms -sign -binary -in message -outform DER -out out -signer rsa.crt -inkey rsa.key";
    assert!(openssl(folder, sign));
    for content in [unix.as_bytes(), MESSAGE] {
        let judged = signature(folder, &trust, Some(content));
        assert_eq!(
            (judged.math, judged.verdict),
            (SignatureMath::Good, Verdict::ValidBut)
        );
        assert!(
            judged.reason.starts_with("noncanonical"),
            "{}",
            judged.reason
        );
    }
}

#[test]
fn content_inside_a_detached_signature_does_not_count() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "");
    let sign = "cms -sign -nodetach -binary -in message -outform DER -out out -signer rsa.crt -inkey rsa.key";
    assert!(openssl(folder, sign));
    assert_eq!(
        signature(folder, &Trust::default(), Some(b"Another text")).math,
        SignatureMath::Bad
    );
    assert_eq!(
        signature(folder, &Trust::default(), Some(MESSAGE)).math,
        SignatureMath::Good
    );
}

#[test]
fn compressed_and_digested_content() {
    let folder = folder();
    let folder = folder.path();
    assert!(openssl(
        folder,
        "cms -digest_create -md sha256 -binary -in message -outform DER -out out"
    ));
    let opened = open_with(
        &Ring::default(),
        &Trust::default(),
        &read(folder, "out"),
        None,
    )
    .unwrap();
    assert_eq!(opened.plaintext, MESSAGE);
    assert_eq!(opened.layers[0].integrity, Integrity::Unauthenticated);
}

fn problems(bytes: &[u8], passphrases: &[&str]) -> Vec<String> {
    let passphrases: Vec<_> = passphrases
        .iter()
        .map(|p| SecretBytes::new(p.as_bytes().to_vec()))
        .collect();
    let results = load(bytes, &passphrases, &[]);
    results
        .into_iter()
        .map(|result| result.map_or_else(|p| p.to_string(), |key| key.info().name.clone()))
        .collect()
}

#[test]
fn keys_from_every_container() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "");
    identity(folder, "ec", "ec", "-pkeyopt ec_paramgen_curve:prime256v1");
    let good = "CN=rsa, emailAddress=rsa@example.org";
    let wrong = "the passphrase does not open it";
    let containers = [
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p",
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p -legacy",
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p -legacy -keypbe PBE-SHA1-RC2-40 -certpbe PBE-SHA1-RC2-40 -macalg sha1",
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p -keypbe NONE -certpbe NONE",
    ];
    for container in containers {
        assert!(openssl(folder, container), "{container}");
        let bytes = read(folder, "p");
        assert_eq!(problems(&bytes, &["no", "geheim"]), [good], "{container}");
        assert_eq!(problems(&bytes, &["no"]), [wrong], "{container}");
        assert!(
            problems(&bytes[..bytes.len() / 2], &["geheim"])[0].starts_with("not a PKCS#12"),
            "{container}"
        );
    }
    let certificate = read(folder, "rsa.crt");
    let with_certificate = |name: &str| [certificate.clone(), read(folder, name)].concat();
    let keys = [
        "rsa -in rsa.key -traditional -out k",
        "rsa -in rsa.key -traditional -aes256 -passout pass:geheim -out k",
        "rsa -in rsa.key -traditional -des3 -passout pass:geheim -out k",
        "pkcs8 -in rsa.key -topk8 -v2 aes-256-cbc -passout pass:geheim -out k",
        "pkcs8 -in rsa.key -topk8 -v1 PBE-SHA1-3DES -passout pass:geheim -out k",
    ];
    for key in keys {
        assert!(openssl(folder, key), "{key}");
        assert_eq!(
            problems(&with_certificate("k"), &["no", "geheim"]),
            [good],
            "{key}"
        );
        if key.contains("pass:") {
            assert_eq!(problems(&with_certificate("k"), &["no"]), [wrong], "{key}");
        }
    }
    assert!(openssl(folder, "ec -in ec.key -out k"));
    assert_eq!(
        problems(&with_certificate("k"), &[])[0],
        format!("the private key does not belong to the certificate {good}")
    );
    let several = [read(folder, "rsa.pem"), read(folder, "ec.pem")].concat();
    assert_eq!(
        problems(&several, &[]),
        [good, "CN=ec, emailAddress=ec@example.org"]
    );
    assert!(
        problems(&read(folder, "rsa.key"), &[])[0]
            .starts_with("a private key without its certificate")
    );
}

#[test]
fn a_key_without_its_certificate_is_nameless() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "");
    identity(folder, "other", "rsa:2048", "");
    let other = openssl::x509::X509::from_pem(&read(folder, "other.crt")).unwrap();
    let nameless = load_nameless(&read(folder, "rsa.key"), &[], &[other]);
    assert_eq!(nameless.len(), 1);
    assert!(nameless[0].info().hints.is_empty());
    assert!(load_nameless(&read(folder, "rsa.pem"), &[], &[]).is_empty());
}

#[test]
fn stored_keys_come_back() {
    let folder = folder();
    let folder = folder.path();
    identity(folder, "rsa", "rsa:2048", "");
    let ring = ring(folder, "rsa");
    let stored = ring.keys[0].to_secret_bytes();
    let again = crate::escrow::smime_key::SmimeKey::from_secret_bytes(stored.expose()).unwrap();
    assert_eq!(again.info(), ring.keys[0].info());
    assert!(again.info().dual_use);
}

#[test]
fn what_we_encrypt_opens_elsewhere() {
    let folder = folder();
    let folder = folder.path();
    let mail = b"From: A <a@example.org>\r\nSubject: Greetings,\r\n of a kind\r\nX-Secret: inner\r\n\r\nBody.\r\n";
    for (name, algorithm, more) in [
        ("rsa", "rsa:2048", ""),
        ("ec", "ec", "-pkeyopt ec_paramgen_curve:brainpoolP256r1"),
    ] {
        identity(folder, name, algorithm, more);
        let certificate =
            openssl::x509::X509::from_pem(&read(folder, &format!("{name}.crt"))).unwrap();
        let message =
            crate::mail::smime::encrypt::encrypt_for(&certificate.to_der().unwrap(), mail).unwrap();
        let text = String::from_utf8(message.clone()).unwrap();
        assert!(text.starts_with(
            "From: A <a@example.org>\r\nSubject: Greetings,\r\n of a kind\r\nMIME-Version"
        ));
        assert!(!text.contains("X-Secret"));
        std::fs::write(folder.join("encrypted.eml"), message).unwrap();
        let open = format!(
            "cms -decrypt -in encrypted.eml -inkey {name}.key -recip {name}.crt -binary -out opened"
        );
        assert!(openssl(folder, &open));
        assert!(read(folder, "opened").ends_with(mail));
    }
}
