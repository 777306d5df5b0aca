//! The commands as people use them, on a running box: importing old mail, bringing keys, making catalog and search
//! anew, backups, what `--json` gives.

use crate::support::{TestBox, numbered_mail, text};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn old_mail_of_every_kind_is_imported_once_and_found_also_after_a_rebuild() {
    let box_ = TestBox::running();
    let old = box_.file("old");
    fs::create_dir_all(old.join("Maildir/cur")).expect("a folder");
    for folder in ["new", "tmp"] {
        fs::create_dir(old.join("Maildir").join(folder)).expect("a folder");
    }
    fs::write(old.join("one.eml"), numbered_mail(1)).expect("a mail");
    fs::write(old.join("Maildir/cur/2:2,S"), numbered_mail(2)).expect("a mail");
    let mut mbox = Vec::new();
    for number in 3..=5 {
        mbox.extend(b"From sender@example.net Mon Jan  5 10:00:00 2015\n");
        mbox.extend(
            numbered_mail(number)
                .into_iter()
                .filter(|byte| *byte != b'\r'),
        );
        mbox.push(b'\n');
    }
    fs::write(old.join("archive.mbox"), mbox).expect("an mbox");

    let import = format!("import {} --mailbox anna@example.org --json", old.display());
    let first = box_.ok(&import);
    let sum: Value = serde_json::from_str(first.lines().last().expect("a sum")).expect("JSON");
    assert_eq!((&sum["imported"], &sum["failed"]), (&5.into(), &0.into()));
    let again = box_.ok(&import);
    let sum: Value = serde_json::from_str(again.lines().last().expect("a sum")).expect("JSON");
    assert_eq!(
        (&sum["imported"], &sum["already-there"]),
        (&0.into(), &5.into())
    );
    box_.wait_for_records(5);
    box_.wait_for_hits(5, "hippopotamus");

    assert_eq!(box_.json("rebuild --json")["records"], 5);
    box_.login();
    box_.wait_for_hits(5, "hippopotamus");
    assert_eq!(box_.json("search --json subject:crocodile")["total"], 5);
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
    assert_eq!(known, [&Value::Bool(true), &Value::Bool(false)]);
    assert_eq!(box_.status("escrowed_keys"), 2);
    assert_eq!(box_.json("verify --json")["damage"], Value::Array(vec![]));
}

// E2: a key that comes late opens what waits for it, whatever happens to the box meanwhile.
#[test]
fn waiting_mail_is_opened_also_when_the_keeper_dies_over_it() {
    let box_ = TestBox::running();
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    make_key(&keys, "anna");
    for number in 0..20 {
        box_.send(&encrypted(&keys, "anna", number));
    }
    box_.wait_for_records(20);
    assert_eq!(box_.json("worklist --json")[0]["mails"], 20);
    fs::write(box_.file("pass"), "secret\n").expect("a passphrase");
    box_.ok(&format!(
        "escrow add {} --passphrase-file {}",
        keys.join("anna.p12").display(),
        box_.file("pass").display()
    ));
    assert!(box_.kill("keeper"));
    box_.wait_until("the box is open again", || {
        box_.run("worklist --json").status.success()
    });
    box_.wait_until("all mail is opened", || {
        box_.json("worklist --json") == Value::Array(vec![])
    });
    box_.login();
    box_.wait_for_hits(20, "okapi");
    box_.assert_no_panic();
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
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(&home)
        .args(["--kill", "all"])
        .status();
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
    // The kind of PKCS#12 that every gpgsm reads.
    openssl(
        &keys,
        "pkcs12 -export -inkey anna.key.pem -in anna.crt -passout pass:secret -out old.p12 \
         -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
    );
    let mut gpgsm = Command::new("gpgsm");
    gpgsm
        .arg("--homedir")
        .arg(&home)
        .args(["--batch", "--quiet", "--disable-dirmngr"])
        .args(["--pinentry-mode", "loopback", "--passphrase-fd", "0"])
        .arg("--import")
        .arg(keys.join("old.p12"))
        .stdin(Stdio::piped());
    let mut running = gpgsm.spawn().expect("gpgsm");
    let mut stdin = running.stdin.take().expect("its input");
    stdin.write_all(b"secret\n").expect("a passphrase");
    drop(stdin);
    assert!(running.wait().expect("gpgsm").success());
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
    let _ = Command::new("gpgconf")
        .arg("--homedir")
        .arg(&home)
        .args(["--kill", "all"])
        .status();
}

#[test]
fn verify_names_an_altered_partial_tile_and_an_exchanged_key() {
    let mut box_ = TestBox::running();
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    make_key(&keys, "anna");
    fs::write(box_.file("pass"), "secret\n").expect("a passphrase");
    let add = format!(
        "escrow add {} --passphrase-file {}",
        keys.join("anna.p12").display(),
        box_.file("pass").display()
    );
    box_.ok(&add);
    box_.ok(&format!("backup {}", box_.file("backup").display()));
    let entries = box_.data().join("ledger/tile/entries/000.p");
    let newest = fs::read_dir(&entries).expect("partial tiles").flatten();
    let newest = newest.max_by_key(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().parse::<u64>().expect("a width")
    });
    let newest = newest.expect("one").path();
    let mut bytes = fs::read(&newest).expect("a tile");
    bytes[10] ^= 1;
    fs::write(&newest, bytes).expect("a tile");
    let found = box_.run("verify");
    assert!(!found.status.success());
    assert!(text(&found).contains("partial tile"), "{}", text(&found));

    box_.stop();
    let escrow = box_.data().join("escrow/main");
    let item = fs::read_dir(&escrow).expect("escrow").flatten().next();
    fs::remove_file(item.expect("one").path()).expect("removed");
    box_.start();
    let found = box_.run("verify");
    assert!(
        text(&found).contains("its file is missing"),
        "{}",
        text(&found)
    );
}

// A folder with somebody's files is not a backup, and is left alone.
#[test]
fn a_backup_is_written_into_no_other_folder_and_checks_with_sha256sum() {
    let box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    let other = box_.file("photos");
    fs::create_dir(&other).expect("a folder");
    fs::write(other.join("cat.jpg"), "meow").expect("a file");
    let refused = box_.run(&format!("backup {}", other.display()));
    assert!(!refused.status.success());
    assert!(text(&refused).contains("no backup"), "{}", text(&refused));
    assert_eq!(fs::read(other.join("cat.jpg")).expect("kept"), b"meow");

    let backup = box_.file("backup");
    for _ in 0..2 {
        let report = box_.json(&format!("backup {} --json", backup.display()));
        assert!(report["files"].as_u64() > Some(10));
        let check = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "backup.sha256"])
            .current_dir(&backup)
            .output()
            .expect("sha256sum");
        assert!(check.status.success(), "{}", text(&check));
        box_.send(&numbered_mail(2));
        box_.wait_for_records(2);
    }
}

#[test]
fn every_answer_has_a_form_for_machines_and_no_statement_has_a_password_hash() {
    let box_ = TestBox::running();
    let password = box_.file("anna.pass");
    box_.json("status --json");
    box_.json("worklist --json");
    box_.json("escrow list --json");
    let login = box_.json(&format!(
        "login anna --json --passphrase-file {}",
        password.display()
    ));
    assert_eq!(login["name"], "anna");
    assert_eq!(box_.json("case list --json"), Value::Array(vec![]));
    assert_eq!(
        box_.json("access --json")["entries"][0]["action"],
        "sign in"
    );
    let set = box_.run(&format!(
        "user set ben --json --mailbox ben@example.org --password-file {} {}",
        password.display(),
        box_.officers(2)
    ));
    let person: Value = serde_json::from_slice(&set.stdout).expect("JSON");
    assert_eq!(person["mailboxes"][0], "ben@example.org");
    assert!(text(&set).contains("to be signed"));
    assert!(!text(&set).contains("$argon2"), "{}", text(&set));
    let close = format!("user close ben --json {}", box_.officers(2));
    assert_eq!(box_.json(&close)["active"], false);
    assert_eq!(box_.json("logout --json")["signed_out"], true);
}

#[test]
fn what_is_noted_of_a_mails_text_is_shown_and_found() {
    let box_ = TestBox::running();
    let mails = box_.file("mails");
    fs::create_dir(&mails).expect("a folder");
    let mail = |name: &str, content_type: &str, content: &str| {
        let mail = format!(
            "From: a@example.net\r\nDate: Thu, 30 Dec 9999 21:00:00 -1200\r\nSubject: {name}\r\n\
             Content-Type: {content_type}; name={name}\r\n\r\n{content}\r\n"
        );
        fs::write(mails.join(format!("{name}.eml")), mail).expect("a mail");
    };
    mail(
        "invoice.xml",
        "application/xml",
        "<Invoice xmlns=\"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2\"><ID>4711</ID></Invoice>",
    );
    mail("broken.pdf", "application/pdf", "%PDF-1.4 broken");
    box_.ok(&format!(
        "import {} --mailbox anna@example.org",
        mails.display()
    ));
    box_.wait_for_hits(1, "4711");
    for (word, note) in [
        ("e-invoice", "e-invoice EN 16931 (UBL): invoice.xml"),
        ("damaged", "no text taken from \"broken.pdf\": "),
    ] {
        let found = box_.json(&format!("search --json {word}"));
        assert_eq!(found["total"], 1, "{word}");
        let id = found["hits"][0]["record"].as_str().expect("an id");
        let shown = box_.json(&format!("show {id} --json"));
        let noted = shown["notes"][0].as_str().expect("a note");
        assert!(noted.starts_with(note), "{noted}");
        assert!(box_.ok(&format!("show {id}")).contains(note));
    }
    // No date that anybody can write is left out of the list.
    assert!(box_.ok("search").contains("broken.pdf"));
    box_.assert_no_panic();
}

/// `NAME.p12` (passphrase "secret"), `NAME.key.pem` and `NAME.crt`, made by openssl.
fn make_key(folder: &Path, name: &str) {
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

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{}", text(&output));
}

/// A mail that openssl encrypted to `NAME.crt`.
fn encrypted(folder: &Path, name: &str, number: usize) -> Vec<u8> {
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

// A passphrase that is typed and a key that is opened reach no core file, and no swap where memory may be locked.
#[test]
fn a_command_that_holds_keys_locks_its_memory_and_leaves_no_core_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("passphrase");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(["officer", "new", "ada", "--out"])
        .arg(folder.path().join("ada.officer"))
        .arg("--passphrase-file")
        .arg(&pipe)
        .spawn()
        .expect("strongroom");
    let of_process = |name: &str| {
        let path = format!("/proc/{}/{name}", waiting.id());
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let no_core = |limits: &str| {
        limits.lines().any(|line| {
            line.starts_with("Max core file size") && line.split_whitespace().nth(4) == Some("0")
        })
    };
    let since = std::time::Instant::now();
    while !no_core(&of_process("limits")) {
        assert!(since.elapsed() < crate::support::PATIENCE, "a core limit");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let unlimited = nix::libc::RLIM_INFINITY;
    let limit = nix::sys::resource::Resource::RLIMIT_MEMLOCK;
    if nix::sys::resource::setrlimit(limit, unlimited, unlimited).is_ok() {
        let locked = |status: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
            line.is_some_and(|size| !size.trim().starts_with("0 "))
        };
        while !locked(&of_process("status")) {
            assert!(since.elapsed() < crate::support::PATIENCE, "locked memory");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    } else {
        eprintln!("SKIPPED: this user may not lock all memory");
    }
    waiting.kill().expect("ended");
    waiting.wait().expect("ended");
}
