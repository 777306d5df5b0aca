//! The commands as people use them, on a running box: importing old mail, making catalog and search anew, backups, what
//! `--json` gives.

use crate::keys::make_key;
use crate::support::{TestBox, numbered_mail, text};
use serde_json::Value;
use std::fs;
use std::process::Command;

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
    // The same files for another mailbox are another import.
    let others = import.replace("anna@", "bert@");
    let sum = box_.ok(&others);
    let sum: Value = serde_json::from_str(sum.lines().last().expect("a sum")).expect("JSON");
    assert_eq!(sum["imported"], 5);
    box_.wait_until("they are archived", || box_.status("spooled") == 0);
    let nobodys = box_.run(&import.replace("anna@example.org", "anna"));
    assert!(text(&nobodys).contains("not an address"));

    assert_eq!(box_.json("rebuild --json")["records"], 5);
    let log = box_.log();
    assert!(!log.contains("ERROR") && !log.contains('\u{1b}'), "{log}");
    box_.login();
    box_.wait_for_hits(5, "hippopotamus");
    assert_eq!(box_.json("search --json subject:crocodile")["total"], 5);
    box_.assert_no_panic();
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
    let again = text(&box_.run(&close));
    assert!(again.contains("nobody has an account"), "{again}");
    assert_eq!(box_.json("logout --json")["signed_out"], true);
}

// Of a failure too a machine gets one JSON object, whatever the command is, and people their line.
#[test]
fn every_failure_has_a_form_for_machines() {
    let box_ = TestBox::running();
    let broken = box_.file("broken.toml");
    fs::write(&broken, "no policy").expect("a file");
    let broken = broken.display();
    let fails = |arguments: &str, status: i32| {
        let output = box_.run(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments}");
        let answer = String::from_utf8_lossy(&output.stdout);
        let answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|_| panic!("{arguments}: {}", text(&output)));
        let error = answer["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{arguments}"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(error), "{arguments}: {told}");
    };
    for arguments in [
        "show --json aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "search --json before:never",
        "case show --json aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "escrow add --json --passphrase-file /nowhere /nowhere",
        "escrow list --json --data /nowhere",
        "status --json --data /nowhere",
        "worklist --json --data /nowhere",
        "verify --json --checkpoint /nowhere",
        "rebuild --json --data /nowhere",
        "officer show --json /nowhere",
        &format!("policy check --json {broken}"),
        &format!("backup --json {}", box_.data().display()),
        &format!(
            "ceremony found --json --policy {broken} --tpm x --data /nowhere --officer /nowhere"
        ),
    ] {
        fails(arguments, 1);
    }
    let pass = box_.file("anna.pass").display().to_string();
    fails("import --json --mailbox anna@example.org /nowhere", 2);
    fails(&format!("inspect --json --keys /nowhere {pass}"), 2);
    // What the answer itself tells is not said twice.
    fs::write(box_.file("no.key"), "no key").expect("a file");
    let not_taken = box_.run(&format!(
        "escrow add --json {}",
        box_.file("no.key").display()
    ));
    let rows: Value = serde_json::from_slice(&not_taken.stdout).expect("one JSON array");
    assert!(rows[0]["problem"].is_string() && !not_taken.status.success());
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
