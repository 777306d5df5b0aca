//! Certificates as they lie among users' keys: with the keys, renewed, alone, of others.

use crate::keys::{encrypted, make_key};
use crate::support::{TestBox, openssl, text};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

/// `NAME.ENDING` for a key that has another certificate.
fn renew(folder: &Path, key: &str, name: &str, ending: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -new -key {key}.key.pem -days 60 -subj /CN={name} -out {name}.{ending}"
        ),
    );
}

/// Anna's key, a folder with three renewed certificates of hers and one of a stranger's.
fn box_with_renewed() -> (TestBox, std::path::PathBuf) {
    let box_ = TestBox::running();
    let (keys, renewed) = (box_.file("keys"), box_.file("renewed"));
    for folder in [&keys, &renewed] {
        fs::create_dir(folder).expect("a folder");
    }
    fs::write(box_.file("pass"), "secret\n").expect("a passphrase");
    make_key(&keys, "anna");
    make_key(&keys, "stranger");
    for (name, ending) in [("first", "crt"), ("second", "pem"), ("third", "crt")] {
        renew(&keys, "anna", name, ending);
    }
    openssl(
        &keys,
        "pkcs12 -export -nokeys -in third.crt -passout pass:secret -out third.p12",
    );
    openssl(
        &keys,
        "crl2pkcs7 -nocrl -certfile first.crt -certfile stranger.crt -outform DER -out first.p7b",
    );
    for name in ["second.pem", "third.p12", "first.p7b", "stranger.crt"] {
        fs::copy(keys.join(name), renewed.join(name)).expect("a copy");
    }
    (box_, keys)
}

fn add(box_: &TestBox, path: &Path, more: &str) -> Output {
    let pass = box_.file("pass");
    box_.run(&format!(
        "escrow add {} --passphrase-file {} {more}",
        path.display(),
        pass.display()
    ))
}

fn rows(output: &Output) -> Vec<Value> {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)))
}

// A folder is as good as its files named one by one, and a certificate of nobody's fails it not.
#[test]
fn a_folder_of_renewed_certificates_is_taken_and_a_strangers_passed_over() {
    let (box_, keys) = box_with_renewed();
    assert!(add(&box_, &keys.join("anna.p12"), "").status.success());
    fs::copy(keys.join("second.pem"), keys.join("second.crt")).expect("a copy");
    for (number, name) in (1..).zip(["first", "second", "third"]) {
        box_.send(&encrypted(&keys, name, number));
    }
    box_.wait_for_records(3);
    let added = add(&box_, &box_.file("renewed"), "--json");
    assert!(added.status.success(), "{}", text(&added));
    let rows = rows(&added);
    let of = |source: &str| {
        let row = rows.iter().find(|row| row["source"] == source);
        row.unwrap_or_else(|| panic!("{source}: {rows:?}"))
    };
    for source in ["first.p7b", "second.pem", "third.p12"] {
        assert_eq!(of(source)["problem"], Value::Null, "{source}");
    }
    assert_eq!(of("stranger.crt")["passed_over"], true);
    let why = of("stranger.crt")["problem"].as_str().expect("a reason");
    assert!(why.contains("a certificate alone"), "{why}");
    assert_eq!(rows.len(), 4, "{rows:?}");
    box_.login();
    box_.wait_for_hits(3, "okapi");

    let again = text(&add(&box_, &box_.file("renewed"), ""));
    assert!(again.contains("stranger.crt: passed over: "), "{again}");
    let sum = "0 new keys in escrow, 3 there already, 0 not taken, 1 passed over";
    assert!(again.contains(sum), "{again}");
    let named = add(&box_, &keys.join("stranger.crt"), "--json");
    assert!(!named.status.success(), "it was to be taken");
    box_.ok("verify");
}

// The order of the names says nothing, and a certificate beside its key is not told twice.
#[test]
fn a_certificate_is_taken_with_the_key_that_comes_after_it() {
    let (box_, keys) = box_with_renewed();
    let folder = box_.file("all");
    fs::create_dir(&folder).expect("a folder");
    for (from, to) in [
        ("first.crt", "1-renewed.cer"),
        ("anna.p12", "anna.p12"),
        ("anna.crt", "anna.crt"),
    ] {
        fs::copy(keys.join(from), folder.join(to)).expect("a copy");
    }
    let rows = rows(&add(&box_, &folder, "--json"));
    let sources: Vec<_> = rows.iter().map(|row| row["source"].as_str()).collect();
    assert_eq!(sources, [Some("anna.p12"), Some("1-renewed.cer")]);
    assert!(
        rows.iter()
            .all(|row| row["known"] == false && row["problem"].is_null()),
        "{rows:?}"
    );
    assert_eq!(box_.status("escrowed_keys"), 2);
}

// What is in escrow by then is told, though the rest of the answer cannot be had.
#[test]
fn an_addition_that_is_cut_short_tells_what_was_done_and_why_it_ended() {
    let (box_, keys) = box_with_renewed();
    fs::copy(keys.join("anna.crt"), keys.join("anna.key.crt")).expect("a copy");
    let (open, locked) = (keys.join("anna.key.pem"), keys.join("stranger.p12"));
    let cut = box_.run_in_shell(&format!(
        "STRONGROOM_PASSPHRASE_FILE=/absent \"$STRONGROOM\" escrow add --json {} {}",
        open.display(),
        locked.display()
    ));
    assert!(!cut.status.success());
    let answers = serde_json::Deserializer::from_slice(&cut.stdout).into_iter::<Value>();
    let answers: Vec<Value> = answers.map(|answer| answer.expect("JSON")).collect();
    let [rows, error] = &answers[..] else {
        panic!("{}", text(&cut));
    };
    assert_eq!(rows[0]["source"], "anna.key.pem");
    assert_eq!(rows[0]["problem"], Value::Null);
    let why = error["error"].as_str().expect("why");
    assert!(why.contains("cannot read /absent"), "{why}");
    assert_eq!(box_.status("escrowed_keys"), 1);
}
