//! Keys from the containers that people have, as openssl writes them.

use crate::support::build::{content_info, octets, oid, sequence, small};
use crate::support::{Folder, open};
use strongroom::escrow::UserKey;
use strongroom::escrow::keyholder::Keyholder;
use strongroom::escrow::smime_key::{SmimeKey, load};
use strongroom::mail::context::Trust;
use strongroom::mail::smime::ber::{der, tag};
use strongroom::secret::SecretBytes;

fn problems(bytes: &[u8], passphrases: &[&str]) -> Vec<String> {
    let passphrases: Vec<_> = passphrases
        .iter()
        .map(|p| SecretBytes::new(p.as_bytes().to_vec()))
        .collect();
    let results = load(bytes, &passphrases, &[]).named;
    results
        .into_iter()
        .map(|result| result.map_or_else(|p| p.to_string(), |key| key.info().name.clone()))
        .collect()
}

#[test]
fn keys_from_every_container() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.identity("ec", "ec", "-pkeyopt ec_paramgen_curve:prime256v1");
    let good = "CN=rsa, emailAddress=rsa@example.org";
    let wrong = "no passphrase that was given opens it";
    let containers = [
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p",
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p -legacy",
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p -legacy -keypbe PBE-SHA1-RC2-40 -certpbe PBE-SHA1-RC2-40 -macalg sha1",
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p -keypbe NONE -certpbe NONE",
    ];
    for container in containers {
        folder.must(container);
        let bytes = folder.read("p");
        assert_eq!(problems(&bytes, &["no", "geheim"]), [good], "{container}");
        assert_eq!(problems(&bytes, &["no"]), [wrong], "{container}");
        assert!(
            problems(&bytes[..bytes.len() / 2], &["geheim"])[0].starts_with("not a PKCS#12"),
            "{container}"
        );
    }
    let certificate = folder.read("rsa.crt");
    let with_certificate = |name: &str| [certificate.clone(), folder.read(name)].concat();
    let keys = [
        "rsa -in rsa.key -traditional -out k",
        "rsa -in rsa.key -traditional -aes256 -passout pass:geheim -out k",
        "rsa -in rsa.key -traditional -des3 -passout pass:geheim -out k",
        "pkcs8 -in rsa.key -topk8 -v2 aes-256-cbc -passout pass:geheim -out k",
        "pkcs8 -in rsa.key -topk8 -v1 PBE-SHA1-3DES -passout pass:geheim -out k",
    ];
    for key in keys {
        folder.must(key);
        assert_eq!(
            problems(&with_certificate("k"), &["no", "geheim"]),
            [good],
            "{key}"
        );
        if key.contains("pass:") {
            assert_eq!(problems(&with_certificate("k"), &["no"]), [wrong], "{key}");
        }
    }
    folder.must("ec -in ec.key -out k");
    assert_eq!(
        problems(&with_certificate("k"), &[])[0],
        format!("the private key does not belong to the certificate {good}")
    );
    let several = [folder.read("rsa.pem"), folder.read("ec.pem")].concat();
    assert_eq!(
        problems(&several, &[]),
        [good, "CN=ec, emailAddress=ec@example.org"]
    );
    assert!(
        problems(&folder.read("rsa.key"), &[])[0]
            .starts_with("a private key without its certificate")
    );
}

#[test]
fn a_key_under_the_label_of_another_kind_is_read() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    let certificate = folder.read("rsa.crt");
    for (key, label, other) in [
        ("rsa -traditional", "RSA PRIVATE KEY", "PRIVATE KEY"),
        ("rsa -traditional", "RSA PRIVATE KEY", "EC PRIVATE KEY"),
        ("pkey", "PRIVATE KEY", "RSA PRIVATE KEY"),
        (
            "pkcs8 -topk8 -passout pass:geheim",
            "ENCRYPTED PRIVATE KEY",
            "PRIVATE KEY",
        ),
    ] {
        folder.must(&format!("{key} -in rsa.key -out k"));
        let pem = String::from_utf8(folder.read("k")).unwrap();
        let relabelled = pem.replace(&format!(" {label}--"), &format!(" {other}--"));
        assert_ne!(pem, relabelled);
        let file = [certificate.clone(), relabelled.into_bytes()].concat();
        assert_eq!(
            problems(&file, &["no", "geheim"]),
            ["CN=rsa, emailAddress=rsa@example.org"],
            "{label} as {other}"
        );
    }
}

#[test]
fn a_key_without_its_certificate_is_nameless() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.identity("other", "rsa:2048", "");
    let other = openssl::x509::X509::from_pem(&folder.read("other.crt")).unwrap();
    let nameless = load(&folder.read("rsa.key"), &[], &[other]).nameless;
    assert_eq!(nameless.len(), 1);
    assert!(nameless[0].info().hints.is_empty());
    assert!(load(&folder.read("rsa.pem"), &[], &[]).nameless.is_empty());
}

#[test]
fn a_key_that_spells_its_curve_out_is_read() {
    let folder = Folder::new();
    folder.must("ecparam -name prime256v1 -param_enc explicit -genkey -noout -out sec1.key");
    folder.must("pkcs8 -topk8 -nocrypt -in sec1.key -out pkcs8.key");
    folder.must("pkcs8 -topk8 -in sec1.key -passout pass:geheim -out locked.key");
    let passphrases = [SecretBytes::new(b"geheim".to_vec())];
    for name in ["sec1.key", "pkcs8.key", "locked.key"] {
        let found = load(&folder.read(name), &passphrases, &[]);
        assert_eq!(found.nameless.len(), 1, "{name}");
    }
}

#[test]
fn a_costly_derivation_is_done_once_for_each_passphrase() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder
        .must("pkcs8 -topk8 -in rsa.key -v2 aes-256-cbc -iter 1000000 -passout pass:geheim -out k");
    let passphrases = [SecretBytes::new(b"geheim".to_vec())];
    let locked = folder.read("k");
    // Processor time of this thread, which other programs do not stretch, in ticks.
    let now = || -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        fields
            .skip(11)
            .take(2)
            .map(|t| t.parse::<u64>().unwrap())
            .sum()
    };
    let spent = |work: &dyn Fn()| {
        let start = now();
        work();
        now() - start
    };
    let once = spent(&|| {
        let mut key = [0; 32];
        let digest = openssl::hash::MessageDigest::sha256();
        openssl::pkcs5::pbkdf2_hmac(b"geheim", b"saltsalt", 1_000_000, digest, &mut key).unwrap();
    });
    let whole = spent(&|| {
        let loaded = strongroom::escrow::load(&locked, &passphrases, &Default::default());
        assert_eq!(loaded.nameless.len(), 1);
    });
    assert!(
        whole < once * 4,
        "{whole} ticks where one derivation takes {once}"
    );
}

#[test]
fn a_file_that_asks_for_absurd_work_is_refused() {
    let iterations = der(tag::INTEGER, &[0x7f, 0xff, 0xff, 0xff]);
    let salt = octets(b"saltsalt");
    let algorithm = sequence(&[
        &oid("1.2.840.113549.1.12.1.3"),
        &sequence(&[&salt, &iterations]),
    ]);
    let key = sequence(&[&algorithm, &octets(&[1; 64])]);
    let digest = sequence(&[&sequence(&[&oid("1.3.14.3.2.26")]), &octets(&[1; 20])]);
    let pfx = sequence(&[
        &small(3),
        &content_info("1.2.840.113549.1.7.1", &octets(&sequence(&[]))),
        &sequence(&[&digest, &salt, &iterations]),
    ]);
    let pem = format!(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{}\n-----END ENCRYPTED PRIVATE KEY-----\n",
        data_encoding::BASE64.encode(&key)
    );
    for file in [&key[..], &pfx, pem.as_bytes()] {
        let problem = problems(file, &["geheim"]).remove(0);
        assert!(problem.contains("costs 2147483647 rounds"), "{problem}");
    }
}

#[test]
fn keys_without_a_certificate_that_do_not_fit_are_no_key_of_that_name() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.identity("other", "rsa:2048", "");
    folder.must("cms -encrypt -aes-128-cbc -in message -outform DER -out out rsa.crt");
    let mut keys = Keyholder::default();
    for key in load(&folder.read("other.key"), &[], &[]).nameless {
        keys.add(key);
    }
    let unopened = open(&keys, &Trust::default(), &folder.read("out"), None).unwrap_err();
    let reason = unopened.layers[0].reason.as_deref();
    assert_eq!(
        reason,
        Some("no escrowed key opens it: none of the keys without a certificate opens it")
    );
}

#[test]
fn stored_keys_come_back() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    let ring = folder.keys("rsa");
    let stored = ring.keys().next().unwrap().to_secret_bytes();
    let again = SmimeKey::from_secret_bytes(stored.expose()).unwrap();
    assert_eq!(again.info(), ring.keys().next().unwrap().info());
    assert!(again.info().dual_use);
}

/// The names of the keys that `inspect` and that escrow take, the problems where there is none.
fn taken(file: &[u8]) -> [Vec<String>; 2] {
    let passphrases = || vec![SecretBytes::from("geheim".to_owned())];
    let loaded = strongroom::escrow::load(file, &passphrases(), &Default::default());
    let keys = loaded.keys.iter().map(|key| key.info().name.clone());
    let problems = loaded.problems.iter().map(ToString::to_string);
    let escrowed = strongroom::escrow::offer::load_for_escrow(file, &passphrases(), &[]);
    let escrowed = escrowed.into_iter().map(|result| {
        result.map_or_else(|problem| problem.to_string(), |key| key.info().name.clone())
    });
    [keys.chain(problems).collect(), escrowed.collect()]
}

#[test]
fn keys_are_read_as_text_software_leaves_them() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.must("pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p");
    folder.must("pkcs12 -in p -nodes -passin pass:geheim -out bags");
    let base64 = data_encoding::BASE64_MIME.encode(&folder.read("p"));
    let framed =
        |label: &str| format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n");
    let mut files = vec![base64.clone(), base64.replace("\r\n", "")];
    files.extend(
        [
            "PKCS12",
            "PKCS #12",
            "PFX",
            "CERTIFICATE",
            "ENCRYPTED PRIVATE KEY",
        ]
        .map(framed),
    );
    files.push(framed("PFX").replace("END PFX", "END PKCS12"));
    let pem = String::from_utf8(folder.read("bags")).unwrap();
    for pem in [pem, String::from_utf8(folder.read("rsa.pem")).unwrap()] {
        files.push(pem.replace('\n', "\r"));
        files.extend(["> ", "   "].map(|mark| {
            let lines = pem.lines().map(|line| format!("{mark}{line}\n"));
            lines.collect()
        }));
        files.push(pem);
    }
    let good = ["CN=rsa, emailAddress=rsa@example.org".to_owned()];
    for file in files {
        let wide = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let marked = format!("\u{feff}{file}");
            marked.encode_utf16().flat_map(unit).collect()
        };
        for bytes in [
            file.clone().into_bytes(),
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
        ] {
            assert_eq!(taken(&bytes), [&good, &good], "{file}");
        }
    }
}

/// A PKCS#12 file without a MAC: all of the keys and certificates in one safe, under PBES2 over these octets.
fn pfx_in_one_safe(folder: &Folder, names: &[&str], secret: &[u8]) -> Vec<u8> {
    const BAG: &str = "1.2.840.113549.1.12.10.1";
    let bag = |kind: u8, value: &[u8]| {
        sequence(&[&oid(&format!("{BAG}.{kind}")), &der(tag::context(0), value)])
    };
    let mut bags = Vec::new();
    for name in names {
        let key = openssl::pkey::PKey::private_key_from_pem(&folder.read(&format!("{name}.key")));
        bags.push(bag(1, &key.unwrap().private_key_to_pkcs8().unwrap()));
        let certificate = openssl::x509::X509::from_pem(&folder.read(&format!("{name}.crt")));
        let certificate = octets(&certificate.unwrap().to_der().unwrap());
        let x509 = oid("1.2.840.113549.1.9.22.1");
        bags.push(bag(
            3,
            &sequence(&[&x509, &der(tag::context(0), &certificate)]),
        ));
    }
    let bags = sequence(&bags.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (algorithm, ciphertext) = pbes2(secret, &bags);
    let data = oid("1.2.840.113549.1.7.1");
    let info = sequence(&[&data, &algorithm, &der(tag::primitive(0), &ciphertext)]);
    let safe = content_info("1.2.840.113549.1.7.6", &sequence(&[&small(0), &info]));
    pfx(&safe)
}

/// One key in a shroud of its own, under PBES2 over these octets, and its certificate beside it.
fn pfx_with_shroud(folder: &Folder, name: &str, secret: &[u8]) -> Vec<u8> {
    let key = openssl::pkey::PKey::private_key_from_pem(&folder.read(&format!("{name}.key")));
    let (algorithm, ciphertext) = pbes2(secret, &key.unwrap().private_key_to_pkcs8().unwrap());
    let shroud = sequence(&[&algorithm, &octets(&ciphertext)]);
    let bag = sequence(&[
        &oid("1.2.840.113549.1.12.10.1.2"),
        &der(tag::context(0), &shroud),
    ]);
    let safe = octets(&sequence(&[&bag]));
    pfx(&content_info("1.2.840.113549.1.7.1", &safe))
}

fn pfx(safe: &[u8]) -> Vec<u8> {
    let safes = octets(&sequence(&[safe]));
    sequence(&[&small(3), &content_info("1.2.840.113549.1.7.1", &safes)])
}

fn pbes2(secret: &[u8], plaintext: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (salt, iv, mut key) = ([1; 8], [2; 16], [0; 32]);
    let sha1 = openssl::hash::MessageDigest::sha1();
    openssl::pkcs5::pbkdf2_hmac(secret, &salt, 2000, sha1, &mut key).unwrap();
    let aes = openssl::symm::Cipher::aes_256_cbc();
    let ciphertext = openssl::symm::encrypt(aes, &key, Some(&iv), plaintext).unwrap();
    let rounds = der(tag::INTEGER, &2000_u16.to_be_bytes());
    let derivation = sequence(&[
        &oid("1.2.840.113549.1.5.12"),
        &sequence(&[&octets(&salt), &rounds]),
    ]);
    let cipher = sequence(&[&oid("2.16.840.1.101.3.4.1.42"), &octets(&iv)]);
    let algorithm = sequence(&[
        &oid("1.2.840.113549.1.5.13"),
        &sequence(&[&derivation, &cipher]),
    ]);
    (algorithm, ciphertext)
}

#[test]
fn pbes2_over_other_octets_than_utf8_opens() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.identity("ec", "ec", "-pkeyopt ec_paramgen_curve:prime256v1");
    let passphrase = "Straße";
    let wide = |end: &[u8]| -> Vec<u8> {
        let units = passphrase.encode_utf16().flat_map(u16::to_be_bytes);
        units.chain(end.iter().copied()).collect()
    };
    let written = [
        passphrase.as_bytes().to_vec(),
        b"Stra\xdfe".to_vec(),
        wide(b""),
        wide(b"\0\0"),
    ];
    let good = |name: &str| format!("CN={name}, emailAddress={name}@example.org");
    for secret in written {
        let file = pfx_in_one_safe(&folder, &["rsa", "ec"], &secret);
        assert_eq!(
            problems(&file, &["no", passphrase]),
            [good("rsa"), good("ec")],
            "{secret:?}"
        );
        assert_eq!(
            problems(&file, &["no", "Strasse"]),
            ["no passphrase that was given opens it"]
        );
        let file = pfx_with_shroud(&folder, "rsa", &secret);
        let passphrases = [SecretBytes::from(passphrase.to_owned())];
        assert_eq!(
            load(&file, &passphrases, &[]).nameless.len(),
            1,
            "{secret:?}"
        );
    }
}

#[test]
fn a_passphrase_opens_pkcs12_in_the_charset_that_its_writer_took_it_for() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    // (given to openssl, given to us): OpenSSL before 1.1 took the octets of UTF-8 for characters.
    for (written, given) in [
        ("Stra\u{c3}\u{9f}e", "Straße".as_bytes()),
        ("Straße", b"Stra\xdfe"),
    ] {
        for more in ["", " -legacy"] {
            let export = "pkcs12 -export -inkey rsa.key -in rsa.crt -out p -passout";
            folder.must(&format!("{export} pass:{written}{more}"));
            let passphrases = [SecretBytes::new(given.to_vec())];
            let found = load(&folder.read("p"), &passphrases, &[]).named;
            assert!(found.len() == 1 && found[0].is_ok(), "{written}{more}");
        }
    }
}

#[test]
fn certificates_alone_in_pkcs12_are_told_as_such() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.must("pkcs12 -export -nokeys -in rsa.crt -passout pass:geheim -out p");
    assert!(problems(&folder.read("p"), &["geheim"])[0].starts_with("a certificate alone"));
}

#[test]
fn a_passphrase_with_a_nul_is_a_wrong_one() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    for make in [
        "pkcs8 -topk8 -in rsa.key -passout pass:geheim -out p",
        "pkcs8 -topk8 -in rsa.key -passout pass:geheim -outform DER -out p",
        "pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim -out p",
    ] {
        folder.must(make);
        let told = problems(&folder.read("p"), &["ge\0heim"]);
        assert_eq!(told, ["no passphrase that was given opens it"], "{make}");
    }
}

#[test]
fn keys_in_configuration_profiles_of_apple_are_read() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.must("pkcs12 -export -inkey rsa.key -in rsa.crt -passout pass:geheim&Co -out p");
    let base64 = data_encoding::BASE64_MIME.encode(&folder.read("p"));
    let profile = |inside: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict><key>PayloadContent</key><array><dict>\n{inside}<key>PayloadContent</key>\n<data>\n{base64}\n</data><key>PayloadType</key><string>com.apple.security.pkcs12</string></dict></array></dict></plist>\n"
        )
    };
    let good = ["CN=rsa, emailAddress=rsa@example.org"];
    let password = "<key>Password</key>\n\t<string>geheim&amp;Co</string>";
    assert_eq!(problems(profile(password).as_bytes(), &[]), good);
    assert_eq!(problems(profile("").as_bytes(), &["geheim&Co"]), good);
    let wrong = problems(profile("").as_bytes(), &["no"]);
    assert_eq!(wrong, ["no passphrase that was given opens it"]);
    folder.write("profile", profile(password).as_bytes());
    folder.must("cms -sign -nodetach -binary -in profile -outform DER -out signed -signer rsa.crt -inkey rsa.key");
    assert_eq!(taken(&folder.read("signed"))[0], good);
    let none = profile(password).replace("security.pkcs12", "mail.managed");
    assert!(problems(none.as_bytes(), &[])[0].starts_with("not a PKCS#12"));
}

#[test]
fn stores_of_other_programs_are_refused_by_name() {
    for (file, part) in [
        (
            &b"\xfe\xed\xfe\xed\0\0\0\x02"[..],
            "keytool -importkeystore",
        ),
        (b"\xce\xce\xce\xce\0\0\0\x02", "keytool -importkeystore"),
        (b"kych\0\x01\0\0", "macOS"),
        (b"SQLite format 3\0 CREATE TABLE nssPrivate", "Thunderbird"),
    ] {
        for told in taken(file) {
            assert!(told.len() == 1 && told[0].contains(part), "{told:?}");
        }
    }
}

#[test]
fn ssh_keys_are_refused_by_name() {
    for file in [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        "PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\nComment: a\r\n",
        "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/56wAAAf==\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\n",
    ] {
        let reason = "unsupported: an SSH key, which is for no mail".to_owned();
        assert_eq!(taken(file.as_bytes()), [[reason.clone()], [reason]]);
    }
}
