//! Who may see and fetch what: people, officers, whoever has only the socket.

use crate::reading::{enter, sign_in};
use crate::support::{TestBox, openssl, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A certificate of `NAME@example.org` that names this address; made once.
pub fn certificate(box_: &TestBox, name: &str) -> PathBuf {
    let folder = box_.file("certificates");
    fs::create_dir_all(&folder).expect("a folder");
    openssl(
        &folder,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={name}/emailAddress={name}@example.org -keyout {name}.key -out {name}.crt"
        ),
    );
    folder.join(format!("{name}.crt"))
}

/// A mail to anna with a protected subject, encrypted to the certificate `NAME`.
pub fn sealed(box_: &TestBox, name: &str, subject: &str) -> Vec<u8> {
    let folder = box_.file("certificates");
    let inner = format!(
        "Content-Type: text/plain; hp=\"cipher\"\r\nFrom: sender@example.net\r\nTo: anna@example.org\r\n\
         Subject: {subject}\r\nHP-Outer: To: anna@example.org\r\nHP-Outer: Subject: ...\r\n\r\nThe quokka text.\r\n"
    );
    fs::write(folder.join("inner"), inner).expect("a file");
    let body = openssl(
        &folder,
        &format!("cms -encrypt -aes256 -binary -outform SMIME -in inner {name}.crt"),
    );
    let head = "From: sender@example.net\r\nTo: anna@example.org\r\nSubject: ...\r\n";
    let text = format!("{head}{}", String::from_utf8_lossy(&body));
    let lines: Vec<&str> = text.lines().collect();
    (lines.join("\r\n") + "\r\n").into_bytes()
}

/// Gives the key of `certificate(box_, "old")` into escrow.
fn escrow_old_key(box_: &TestBox) {
    let pem = old_key(box_);
    box_.ok(&format!("escrow add {}", pem.display()));
}

/// A certificate named "old" with its key, in one file.
pub fn old_key(box_: &TestBox) -> PathBuf {
    certificate(box_, "old");
    let pem = box_.file("certificates/old.pem");
    let both = ["old.key", "old.crt"]
        .map(|name| fs::read_to_string(box_.file("certificates").join(name)).expect("PEM"));
    fs::write(&pem, both.concat()).expect("a key");
    pem
}

fn request(box_: &TestBox, more: &str, certificate: &Path) -> String {
    let case = box_.json(&format!(
        "case request --purpose test --certificate {} --json {more}",
        certificate.display()
    ));
    case["case"].as_str().expect("a case").to_owned()
}

// D: what comes out is what officers approved, encrypted to whom they read, and nothing of it shows outside.
#[test]
fn a_release_is_fetched_once_shows_no_protected_subject_and_its_receipt_cannot_be_forged() {
    let box_ = TestBox::running();
    let new = certificate(&box_, "new");
    escrow_old_key(&box_);
    box_.send(&sealed(&box_, "old", "Merger"));
    box_.wait_for_records(1);
    box_.wait_for_hits(1, "subject:merger");

    let mine = "--mailbox anna@example.org";
    let bad = [
        "--mailbox nobody",
        "--mailbox anna@example.org --tenant other",
        "--mailbox anna@example.org --from 2025-01-02 --until 2024-01-01",
    ];
    for more in bad {
        let asked = format!(
            "case request --purpose x --certificate {} {more}",
            new.display()
        );
        assert!(!box_.run(&asked).status.success(), "{more}");
    }
    let nothing = request(&box_, "--mailbox stranger@example.org", &new);
    let case = request(&box_, mine, &new);
    let release = |case: &str, out: &str| {
        box_.run(&format!(
            "case release {case} --output {}",
            box_.file(out).display()
        ))
    };
    assert!(!release(&case, "early").status.success());
    assert!(!box_.file("early").exists(), "nothing was approved");
    for case in [&case, &nothing] {
        let approved = box_.run(&format!("case approve {case} {}", box_.officers(2)));
        assert!(approved.status.success(), "{}", text(&approved));
        assert!(
            text(&approved).contains("readable by"),
            "{}",
            text(&approved)
        );
    }
    let said = text(&release(&nothing, "nothing"));
    assert!(said.contains("case stays as it is"), "{said}");
    assert_eq!(
        box_.json(&format!("case show {nothing} --json"))["state"],
        "approved"
    );
    box_.ok(&format!("case withdraw {nothing}"));

    fs::create_dir(box_.file("full")).expect("a folder");
    fs::write(box_.file("full/receipt.json"), "{}").expect("a file");
    assert!(text(&release(&case, "full")).contains("not empty"));
    let said = release(&case, "out");
    assert!(said.status.success(), "{}", text(&said));
    assert!(text(&release(&case, "again")).contains("is released"));

    let out = box_.file("out");
    let files = fs::read_dir(&out).expect("the folder").flatten();
    let mut mails = files.map(|file| file.path());
    let mail = mails
        .find(|path| path.extension().is_some_and(|end| end == "eml"))
        .expect("a mail");
    let outside = fs::read_to_string(&mail).expect("a mail");
    assert!(!outside.contains("Merger") && outside.contains("\r\nSubject: ...\r\n"));
    let command = format!(
        "cms -decrypt -in {} -inkey new.key -recip new.crt",
        mail.display()
    );
    let inside = openssl(&box_.file("certificates"), &command);
    assert!(String::from_utf8_lossy(&inside).contains("Subject: Merger"));

    let check = format!(
        "case check {} --officers {}",
        out.display(),
        box_.data().join("officers.json").display()
    );
    box_.ok(&check);
    let receipt = out.join("receipt.json");
    let genuine = fs::read(&receipt).expect("a receipt");
    let mut forged: Value = serde_json::from_slice(&genuine).expect("JSON");
    forged["mails"] = Value::Array(Vec::new());
    fs::write(&receipt, forged.to_string()).expect("a receipt");
    let said = box_.run(&check);
    assert!(
        !said.status.success() && text(&said).contains("altered"),
        "{}",
        text(&said)
    );
    fs::write(&receipt, genuine).expect("a receipt");

    let refused = request(&box_, mine, &new);
    box_.ok(&format!("case refuse {refused} {}", box_.officers(1)));
    let said = text(&box_.run(&format!("case approve {refused} {}", box_.officers(2))));
    assert!(said.contains("is refused"), "{said}");
    box_.assert_no_panic();
}

// A: a reader learns of nobody's blind copy, and gets the copy that was the reader's own.
#[test]
fn blind_copies_stay_blind_and_everybody_gets_the_own_copy() {
    let mut box_ = TestBox::running();
    fs::write(box_.file("bert.pass"), "bert's password\n").expect("a password");
    let set = |officers: usize| {
        format!(
            "user set bert --mailbox bert@example.org --password-file {} {}",
            box_.file("bert.pass").display(),
            box_.officers(officers)
        )
    };
    assert!(
        !box_.run(&set(1)).status.success(),
        "one officer is not enough"
    );
    box_.ok(&set(2));
    let mail = |way: &str| {
        format!(
            "Received: by {way}\r\nFrom: sender@example.net\r\nTo: anna@example.org\r\nSubject: Numbat\r\n\r\nText.\r\n"
        )
    };
    let mut client = box_.smtp().expect("a connection");
    client
        .mail("anna@example.org", mail("first").as_bytes())
        .expect("a reply");
    box_.wait_for_records(1);
    client
        .mail("bert@example.org", mail("second").as_bytes())
        .expect("a reply");
    drop(client);
    box_.wait_for_hits(1, "numbat");
    let login = format!(
        "login bert --passphrase-file {}",
        box_.file("bert.pass").display()
    );
    box_.ok(&login);
    box_.wait_for_hits(1, "numbat");
    let hit = box_.json("search --json numbat");
    let id = hit["hits"][0]["record"].as_str().expect("a hit").to_owned();
    let copy = box_.ok(&format!("get {id} --original"));
    assert!(
        copy.contains("by second") && !copy.contains("by first"),
        "{copy}"
    );
    let shown = box_.json(&format!("show --json {id}"));
    assert_eq!(
        shown["arrivals"][0]["recipients"],
        serde_json::json!(["bert@example.org"])
    );

    // The readable form has no trace of the first copy's way either, which can name a blind copy's recipient.
    escrow_old_key(&box_);
    let sealed = sealed(&box_, "old", "Wombat");
    let mut client = box_.smtp().expect("a connection");
    for (records, name) in [(2, "boss"), (2, "bert")] {
        let trace = format!("Delivered-To: {name}@example.org\r\n");
        let copy = [trace.as_bytes(), &sealed].concat();
        client
            .mail(&format!("{name}@example.org"), &copy)
            .expect("a reply");
        box_.wait_for_records(records);
    }
    drop(client);
    box_.wait_for_hits(1, "subject:wombat");
    let hit = box_.json("search --json subject:wombat");
    let id = hit["hits"][0]["record"].as_str().expect("a hit").to_owned();
    let readable = box_.ok(&format!("get {id} --rendition"));
    assert!(readable.starts_with("Delivered-To: bert@"), "{readable}");
    assert!(!readable.contains("boss") && readable.contains("quokka"));

    // An older people file gives nobody a right.
    let people = box_.data().join("people");
    let old = fs::read(&people).expect("the people file");
    box_.ok(&format!("user close bert {}", box_.officers(2)));
    box_.stop();
    fs::write(&people, old).expect("put back");
    box_.start();
    assert!(!box_.run(&login).status.success());
    assert!(box_.ok("status").contains("people file"));
    box_.assert_no_panic();
}

#[test]
fn whose_keys_are_in_escrow_is_told_to_officers_and_of_the_own() {
    let box_ = TestBox::running();
    escrow_old_key(&box_);
    enter(
        &box_,
        "clara",
        "--mailbox clara@example.org --is-officer carol",
    );
    enter(&box_, "old", "--mailbox old@example.org");
    let tells = |list: &str| {
        let said = box_.ok(list);
        (
            said.contains("of old@example.org"),
            said.contains("old.pem"),
        )
    };
    assert_eq!(tells("escrow list"), (false, false), "to root");
    assert_eq!(tells("escrow list --mine"), (false, false), "to anna");
    for name in ["clara", "old"] {
        sign_in(&box_, name);
        assert_eq!(tells("escrow list --mine"), (true, true), "to {name}");
    }
}
