//! Keys as people bring them, and which of them are taken.

use crate::support::{TestBox, openssl, text};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

// E2: mail names a renewed certificate of which only the key, under the former one, is in escrow.
#[test]
fn a_renewed_certificate_opens_mail_with_the_key_that_is_in_escrow() {
    let mut box_ = TestBox::running();
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    make_key(&keys, "anna");
    make_key(&keys, "stranger");
    for name in ["second", "third"] {
        openssl(
            &keys,
            &format!("req -x509 -new -key anna.key.pem -days 60 -subj /CN={name} -out {name}.crt"),
        );
    }
    fs::write(box_.file("pass"), "secret\n").expect("a passphrase");
    let add = |file: &str| {
        box_.run(&format!(
            "escrow add {} --json --passphrase-file {}",
            keys.join(file).display(),
            box_.file("pass").display()
        ))
    };
    let alone = text(&add("second.crt"));
    assert!(alone.contains("a certificate alone"), "{alone}");
    assert!(add("anna.p12").status.success());
    for (number, name) in (1..).zip(["second", "third"]) {
        box_.send(&encrypted(&keys, name, number));
    }
    box_.wait_for_records(2);
    let waiting = |box_: &TestBox| box_.json("worklist --json").as_array().map(Vec::len);
    assert_eq!(waiting(&box_), Some(2));
    let list = box_.ok("worklist");
    let named = ["second", "third"].map(|issuer| list.contains(issuer));
    assert!(list.contains("serial") && named == [false; 2], "{list}");

    let rows: Value = serde_json::from_slice(&add("second.crt").stdout).expect("JSON");
    assert_eq!(
        (&rows[0]["known"], &rows[0]["problem"]),
        (&false.into(), &Value::Null)
    );
    box_.wait_until("the second one's is opened", || waiting(&box_) == Some(1));
    let again: Value = serde_json::from_slice(&add("second.crt").stdout).expect("JSON");
    assert_eq!(again[0]["known"], true);
    assert!(text(&add("stranger.crt")).contains("a certificate alone"));

    let trusted = box_.data().join("trust/certificates");
    fs::create_dir_all(&trusted).expect("a folder");
    fs::copy(keys.join("third.crt"), trusted.join("third.crt")).expect("copied");
    box_.wait_until("the third one's is opened", || waiting(&box_) == Some(0));
    box_.stop();
    box_.start();
    for (number, name) in (3..).zip(["second", "third"]) {
        box_.send(&encrypted(&keys, name, number));
    }
    box_.wait_for_records(4);
    box_.login();
    box_.wait_for_hits(4, "okapi");
    box_.ok("verify");
    box_.assert_no_panic();
}

#[test]
fn keys_that_cannot_be_taken_are_named_and_stop_no_other() {
    let box_ = TestBox::running();
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    for name in ["anna", "ben", "dora"] {
        make_key(&keys, name);
    }
    let whole = fs::read(keys.join("ben.p12")).expect("a file");
    fs::write(keys.join("ben.p12"), &whole[..whole.len() / 2]).expect("a file");
    fs::rename(keys.join("anna.key.pem"), box_.file("anna.key.pem")).expect("moved");
    fs::remove_file(keys.join("ben.key.pem")).expect("removed");
    // Dora's key beside Ben's certificate.
    fs::rename(keys.join("dora.key.pem"), keys.join("mixed.pem")).expect("moved");
    fs::rename(keys.join("ben.crt"), keys.join("mixed.crt")).expect("moved");
    for name in ["anna.crt", "dora.crt"] {
        fs::remove_file(keys.join(name)).expect("removed");
    }
    let list = box_.file("list.csv");
    fs::write(&list, "anna.p12,secret\nben.p12,secret\ndora.p12,wrong\n").expect("a list");

    let add = format!(
        "escrow add {} --passphrases {} --json",
        keys.display(),
        list.display()
    );
    let output = box_.run(&add);
    assert!(!output.status.success(), "three keys were not taken");
    let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problem = |source: &str| {
        let rows = rows.as_array().expect("rows");
        let row = rows.iter().find(|row| row["source"] == source);
        row.expect(source)["problem"].as_str().map(str::to_owned)
    };
    assert_eq!(problem("anna.p12"), None);
    let says = |source: &str, word: &str| {
        let problem = problem(source).expect("a problem");
        assert!(problem.contains(word), "{source}: {problem}");
    };
    says("ben.p12", "PKCS#12");
    says("dora.p12", "passphrase");
    says("mixed.pem", "certificate");

    fs::write(&list, "anna.p12,secret\ndora.p12,secret\n").expect("a list");
    fs::remove_file(keys.join("ben.p12")).expect("removed");
    fs::remove_file(keys.join("mixed.pem")).expect("removed");
    let rows = box_.json(&add);
    let known: Vec<_> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| &row["known"])
        .collect();
    // Ben's certificate is left, of no key that is there.
    assert_eq!(known, [true, false, false]);
    assert_eq!(rows[2]["passed_over"], true, "{rows}");
    assert_eq!(box_.status("escrowed_keys"), 2);
    assert_eq!(box_.json("verify --json")["damage"], Value::Array(vec![]));
}

// E1: a locked key stops none behind it, also where nobody can be asked for its passphrase.
#[test]
fn without_a_terminal_locked_keys_are_told_and_the_others_taken() {
    let box_ = TestBox::running();
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    for name in ["anna", "ben"] {
        make_key(&keys, name);
    }
    let parts = ["ben.key.pem", "ben.crt"].map(|part| fs::read(keys.join(part)).expect("a file"));
    fs::write(keys.join("ben.pem"), parts.concat()).expect("a key");
    let add = |options: &str| {
        let keys = keys.display();
        box_.run_in_shell(&format!(
            "setsid -w \"$STRONGROOM\" escrow add {keys}/anna.p12 {keys}/ben.pem {options}"
        ))
    };
    let output = add("");
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    for wanted in [
        "anna.p12: not taken: it needs a passphrase",
        "give --passphrase-file FILE",
        "1 new key in escrow, 0 there already, 1 not taken",
        "1 key was not taken",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(box_.status("escrowed_keys"), 1);
    let rows: Value = serde_json::from_slice(&add("--json").stdout).expect("one array");
    assert_eq!(rows[1]["known"], true, "{rows}");
}

// E1: people bring their keys as they have them.
#[test]
fn a_gnupg_home_is_taken_as_it_lies_and_opens_mail() {
    let box_ = TestBox::running();
    let home = box_.file("gnupg");
    fs::create_dir(&home).expect("a folder");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("private");
    let gpg = |arguments: &[&str]| {
        let output = Command::new("gpg")
            .arg("--homedir")
            .arg(&home)
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback"])
            .args(["--passphrase", "secret", "--trust-model", "always"])
            .args(arguments)
            .output()
            .expect("gpg");
        assert!(output.status.success(), "{}", text(&output));
        output.stdout
    };
    gpg(&[
        "--quick-gen-key",
        "Anna <anna@example.org>",
        "future-default",
        "default",
        "never",
    ]);
    let inner = box_.file("inner");
    fs::write(&inner, "Content-Type: text/plain\r\n\r\nA capybara.\r\n").expect("a file");
    let inner = inner.display().to_string();
    let armored = gpg(&["-a", "-e", "-r", "anna@example.org", "-o", "-", &inner]);
    fs::write(box_.file("pass"), "secret\n").expect("a passphrase");
    let rows = box_.json(&format!(
        "escrow add {} --passphrase-file {} --json",
        home.display(),
        box_.file("pass").display()
    ));
    assert_eq!(rows.as_array().expect("rows").len(), 1, "{rows}");
    assert_eq!(rows[0]["algorithm"], "Curve25519", "{rows}");
    assert_eq!(rows[0]["dual_use"], false, "the signing key stays outside");
    let armored = String::from_utf8(armored)
        .expect("armor")
        .replace('\n', "\r\n");
    let mail = format!(
        "From: sender@example.net\r\nTo: anna@example.org\r\nSubject: Sealed\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n\
         --b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n\
         --b\r\nContent-Type: application/octet-stream\r\n\r\n{armored}\r\n--b--\r\n"
    );
    box_.send(mail.as_bytes());
    box_.wait_for_records(1);
    box_.login();
    box_.wait_for_hits(1, "capybara");
    assert_eq!(box_.json("escrow list --json")[0]["opened"], 1);
    end_agent(&home);
}

/// Whether gpgsm imports anna's key from a PKCS#12 file of the kind that every gpgsm reads.
fn gpgsm_takes_key(home: &Path, keys: &Path) -> bool {
    openssl(
        keys,
        "pkcs12 -export -inkey anna.key.pem -in anna.crt -passout pass:secret -out old.p12 \
         -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
    );
    let mut gpgsm = Command::new("gpgsm");
    gpgsm
        .arg("--homedir")
        .arg(home)
        .args(["--batch", "--quiet", "--disable-dirmngr"])
        .args(["--pinentry-mode", "loopback", "--passphrase-fd", "0"])
        .arg("--import")
        .arg(keys.join("old.p12"))
        .stdin(Stdio::piped());
    let mut running = gpgsm.spawn().expect("gpgsm");
    let mut stdin = running.stdin.take().expect("its input");
    stdin.write_all(b"secret\n").expect("a passphrase");
    drop(stdin);
    running.wait().expect("gpgsm").success()
}

#[test]
fn a_gpgsm_home_is_taken_as_it_lies_and_opens_mail() {
    let box_ = TestBox::running();
    let (home, keys) = (box_.file("gpgsm"), box_.file("keys"));
    for folder in [&home, &keys] {
        fs::create_dir(folder).expect("a folder");
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("private");
    make_key(&keys, "anna");
    // gpgsm 2.2 takes one PKCS#12 file of a hundred for one with a wrong passphrase, by its random salt.
    assert!((0..4).any(|_| gpgsm_takes_key(&home, &keys)));
    // Another's key, which no certificate names.
    let left =
        "(11:private-key(3:rsa(1:n1:\x07)(1:e1:\x03)(1:d1:\x03)(1:p1:\x03)(1:q1:\x05)(1:u1:\x02)))";
    fs::write(home.join("private-keys-v1.d/0.key"), left).expect("a key file");

    let add = |passphrase: &str| {
        fs::write(box_.file("pass"), passphrase).expect("a passphrase");
        let output = box_.run(&format!(
            "escrow add {} --passphrase-file {} --json",
            home.display(),
            box_.file("pass").display()
        ));
        let rows: Value = serde_json::from_slice(&output.stdout).expect("rows");
        rows.as_array().expect("rows").clone()
    };
    let problem = |row: &Value| row["problem"].as_str().unwrap_or_default().to_owned();
    let locked = add("wrong\n");
    assert!(
        locked.iter().any(|row| problem(row).contains("passphrase")),
        "{locked:?}"
    );
    let rows = add("secret\n");
    assert_eq!(rows.len(), 2, "{rows:?}");
    let taken = rows.iter().find(|row| problem(row).is_empty());
    let taken = taken.expect("gpgsm's key");
    assert_eq!(taken["format"], "S/MIME");
    assert_eq!(taken["addresses"][0], "anna@example.org");
    assert!(
        rows.iter()
            .any(|row| problem(row).contains("without its certificate"))
    );
    box_.send(&encrypted(&keys, "anna", 1));
    box_.wait_for_records(1);
    box_.login();
    box_.wait_for_hits(1, "okapi");
    end_agent(&home);
}

/// Makes a key that only signs with its certificate, as PKCS#8 in PEM and DER and as PKCS#12, each in a folder of its own.
fn make_signing_key(keys: &Path, name: &str, generate: &str, extensions: &str) {
    openssl(keys, &generate.replace("OUT", &format!("{name}.generated")));
    openssl(
        keys,
        &format!("pkcs8 -topk8 -nocrypt -in {name}.generated -out {name}.pem"),
    );
    openssl(
        keys,
        &format!(
            "req -x509 -new -key {name}.pem -days 30 -subj /CN={name} {extensions} -out {name}.crt"
        ),
    );
    openssl(
        keys,
        &format!("pkcs8 -topk8 -nocrypt -outform DER -in {name}.pem -out {name}-der.pk8"),
    );
    fs::copy(
        keys.join(format!("{name}.crt")),
        keys.join(format!("{name}-der.crt")),
    )
    .expect("a copy");
    openssl(
        keys,
        &format!("pkcs12 -export -inkey {name}.pem -in {name}.crt -passout pass: -out {name}.p12"),
    );
    fs::remove_file(keys.join(format!("{name}.generated"))).expect("removed");
}

// B: a signature proves nothing any more once its key lies in an archive.
#[test]
fn keys_that_only_sign_are_refused_by_name_whatever_their_kind_and_container() {
    let box_ = TestBox::running();
    let (keys, home) = (box_.file("keys"), box_.file("gnupg"));
    for folder in [&keys, &home] {
        fs::create_dir(folder).expect("a folder");
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("private");
    let lies = "-addext keyUsage=critical,keyEncipherment,keyAgreement";
    let says = "-addext keyUsage=critical,digitalSignature,nonRepudiation";
    let kinds = [
        ("ed25519", "genpkey -algorithm ed25519 -out OUT", ""),
        ("ed25519-lies", "genpkey -algorithm ed25519 -out OUT", lies),
        ("ed448", "genpkey -algorithm ed448 -out OUT", ""),
        ("ed448-lies", "genpkey -algorithm ed448 -out OUT", lies),
        ("dsa", "dsaparam -genkey -noout -out OUT 2048", ""),
        ("dsa-lies", "dsaparam -genkey -noout -out OUT 2048", lies),
        ("rsa-says", "genrsa -out OUT 2048", says),
        (
            "ec-says",
            "ecparam -name prime256v1 -genkey -noout -out OUT",
            says,
        ),
    ];
    let mut expected = Vec::new();
    for (name, generate, extensions) in kinds {
        make_signing_key(&keys, name, generate, extensions);
        let files = [".pem", "-der.pk8", ".p12"];
        expected.extend(files.map(|end| (format!("{name}{end}"), name.to_owned())));
    }
    for algorithm in ["ed25519", "dsa2048", "rsa2048", "nistp256"] {
        let name = format!("gpg-{algorithm}");
        let address = format!("{name}@example.org");
        gpg(
            &home,
            &["--quick-gen-key", &address, algorithm, "sign", "never"],
        );
        let key = gpg(&home, &["--export-secret-keys", &address]);
        fs::write(keys.join(format!("{name}.gpg")), key).expect("a key");
        expected.push((format!("{name}.gpg"), name));
    }
    let rows = refused_rows(&box_, &keys);
    for (file, name) in &expected {
        let row = rows.iter().find(|row| row["source"] == *file);
        assert_signs_only(row.expect(file), name);
    }
    assert_eq!(rows.len(), expected.len(), "{rows:?}");
    let rows = refused_rows(&box_, &home);
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in rows {
        assert_signs_only(&row, "gpg-");
    }
    assert_eq!(box_.status("escrowed_keys"), 0);
    assert_eq!(box_.json("escrow list --json"), Value::Array(vec![]));
    end_agent(&home);
}

/// What `escrow add` says of keys of which it takes not one.
fn refused_rows(box_: &TestBox, keys: &Path) -> Vec<Value> {
    fs::write(box_.file("pass"), "\n").expect("no passphrase");
    let output = box_.run(&format!(
        "escrow add {} --passphrase-file {} --json",
        keys.display(),
        box_.file("pass").display()
    ));
    assert!(!output.status.success());
    serde_json::from_slice(&output.stdout).expect("rows")
}

fn assert_signs_only(row: &Value, name: &str) {
    let problem = row["problem"].as_str().unwrap_or_default();
    let is_named =
        problem.starts_with("a pure signing key is not escrowed") && problem.contains(name);
    assert!(is_named, "{name}: {row}");
}

/// gpg with keys that have no passphrase.
fn gpg(home: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("gpg")
        .arg("--homedir")
        .arg(home)
        .args(["--batch", "--quiet", "--pinentry-mode", "loopback"])
        .args(["--passphrase", "", "--trust-model", "always"])
        .args(arguments)
        .output()
        .expect("gpg");
    assert!(output.status.success(), "{}", text(&output));
    output.stdout
}

fn end_agent(home: &Path) {
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(home)
        .args(["--kill", "all"])
        .status();
}

/// `NAME.p12` (passphrase "secret"), `NAME.key.pem` and `NAME.crt`, made by openssl.
pub fn make_key(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={name}/emailAddress={name}@example.org \
             -keyout {name}.key.pem -out {name}.crt"
        ),
    );
    openssl(
        folder,
        &format!(
            "pkcs12 -export -inkey {name}.key.pem -in {name}.crt -passout pass:secret -out {name}.p12"
        ),
    );
}

/// A mail that openssl encrypted to `NAME.crt`.
pub fn encrypted(folder: &Path, name: &str, number: usize) -> Vec<u8> {
    let inner = folder.join("inner");
    fs::write(
        &inner,
        format!("Content-Type: text/plain\r\n\r\nAn okapi, number {number}.\r\n"),
    )
    .expect("a file");
    let output = Command::new("openssl")
        .args([
            "cms",
            "-encrypt",
            "-aes-256-cbc",
            "-outform",
            "SMIME",
            "-in",
        ])
        .arg(&inner)
        .arg(folder.join(format!("{name}.crt")))
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{}", text(&output));
    let header = format!(
        "From: sender@example.net\r\nTo: {name}@example.org\r\nSubject: Sealed {number}\r\n"
    );
    let body = String::from_utf8(output.stdout).expect("text");
    let body = body.replace("\r\n", "\n").replace('\n', "\r\n");
    [header.as_bytes(), body.as_bytes()].concat()
}
