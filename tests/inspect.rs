//! `strongroom inspect` from outside: the shape of its JSON, its exit statuses, and that one bad file stops nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::Serialize;
use sequoia_openpgp::serialize::stream::{Encryptor, LiteralWriter, Message};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom::id::Digest;

const INNER: &str = "Content-Type: text/plain\r\n\r\nsecret\r\n";

/// A folder with `key` (locked by "pass"), `mail.pgp`, `two.mbox` and `plain.eml`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (cert, _) = CertBuilder::general_purpose(Some("a@example.org"))
        .set_password(Some("pass".into()))
        .generate()
        .unwrap();
    let mut key = Vec::new();
    cert.as_tsk().serialize(&mut key).unwrap();
    std::fs::write(folder.path().join("key"), key).unwrap();
    let policy = StandardPolicy::new();
    let recipients = cert
        .keys()
        .with_policy(&policy, None)
        .for_transport_encryption();
    let mut mail = Vec::new();
    let message = Encryptor::for_recipients(Message::new(&mut mail), recipients)
        .build()
        .unwrap();
    let mut literal = LiteralWriter::new(message).build().unwrap();
    literal.write_all(INNER.as_bytes()).unwrap();
    literal.finalize().unwrap();
    std::fs::write(folder.path().join("mail.pgp"), mail).unwrap();
    let mbox = "From a@x Mon\nFrom: a@x\nSubject: 1\n\none\n\nFrom b@x Tue\nFrom: b@x\nSubject: 2\n\ntwo\n";
    std::fs::write(folder.path().join("two.mbox"), mbox).unwrap();
    std::fs::write(
        folder.path().join("plain.eml"),
        "From: a@x\nSubject: s\n\nhello\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("wrong"), "no\n").unwrap();
    std::fs::write(folder.path().join("right"), "no\npass\n").unwrap();
    folder
}

/// Exit status and the JSON lines.
fn inspect(folder: &Path, arguments: &[&str]) -> (i32, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .current_dir(folder)
        .args(["inspect", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (output.status.code().unwrap(), lines.collect())
}

#[test]
fn a_message_is_opened_and_its_layers_are_named() {
    let folder = folder();
    let (status, lines) = inspect(
        folder.path(),
        &[
            "--keys",
            "key",
            "--passphrase-file",
            "right",
            "--rendition",
            "out.eml",
            "mail.pgp",
        ],
    );
    assert_eq!((status, lines.len()), (0, 1));
    let line = &lines[0];
    assert_eq!(
        (line["path"].as_str(), line["index"].as_u64()),
        (Some("mail.pgp"), Some(1))
    );
    assert_eq!(
        (line["outcome"].as_str(), &line["reason"]),
        (Some("opened"), &Value::Null)
    );
    let layer = &line["layers"][0];
    assert_eq!(
        (layer["format"].as_str(), layer["kind"].as_str()),
        (Some("openpgp"), Some("encrypted"))
    );
    assert_eq!(
        (layer["depth"].as_u64(), layer["integrity"].as_str()),
        (Some(0), Some("authenticated"))
    );
    assert_eq!(
        layer["plaintext_sha256"],
        Digest::of(INNER.as_bytes()).to_string()
    );
    assert_eq!(
        layer["plaintext_lf_sha256"],
        Digest::of(INNER.replace("\r\n", "\n").as_bytes()).to_string()
    );
    assert!(
        layer["key"].is_string()
            && layer["algorithms"].is_array()
            && layer["recipients"].is_array()
    );
    let rendition = std::fs::read(folder.path().join("out.eml")).unwrap();
    assert_eq!(line["rendition_sha256"], Digest::of(&rendition).to_string());
}

#[test]
fn what_is_not_opened_says_why_by_outcome_and_status() {
    let folder = folder();
    let outcome = |arguments: &[&str]| {
        let (status, lines) = inspect(folder.path(), arguments);
        (status, lines[0]["outcome"].as_str().unwrap().to_owned())
    };
    assert_eq!(outcome(&["mail.pgp"]), (2, "no-key".to_owned()));
    assert_eq!(
        outcome(&["--keys", "key", "--passphrase-file", "wrong", "mail.pgp"]),
        (2, "locked-key".to_owned())
    );
    assert_eq!(outcome(&["plain.eml"]), (0, "not-encrypted".to_owned()));
}

#[test]
fn passphrases_are_read_as_windows_writes_them() {
    let folder = folder();
    std::fs::write(folder.path().join("list"), "\u{feff}pass\r\n").unwrap();
    let arguments = ["--keys", "key", "--passphrase-file", "list", "mail.pgp"];
    assert_eq!(inspect(folder.path(), &arguments).0, 0);
}

#[test]
fn files_that_give_nothing_are_named() {
    let folder = folder();
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .current_dir(folder.path())
        .args([
            "inspect",
            "--keys",
            "wrong",
            "--certs",
            "right",
            "plain.eml",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for wanted in ["no key taken from wrong:", "nothing taken from right:"] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn each_message_has_its_line_and_a_bad_file_stops_nothing() {
    let folder = folder();
    let (status, lines) = inspect(folder.path(), &["absent", "two.mbox", "plain.eml"]);
    assert_eq!(status, 2);
    let shown: Vec<(String, u64)> = lines
        .iter()
        .map(|line| {
            (
                line["path"].as_str().unwrap().to_owned(),
                line["index"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("absent", 1),
        ("two.mbox", 1),
        ("two.mbox", 2),
        ("plain.eml", 1),
    ];
    assert_eq!(
        shown,
        expected.map(|(path, index)| (path.to_owned(), index))
    );
    assert_eq!(
        inspect(folder.path(), &["--keys", "absent", "plain.eml"]).0,
        2
    );
}

#[test]
fn renditions_of_several_messages_go_into_a_folder() {
    let folder = folder();
    let (status, _) = inspect(folder.path(), &["--rendition", "out", "two.mbox"]);
    assert_eq!(status, 0);
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder.path().join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    assert_eq!(found.len(), 2);
    assert_eq!(
        std::fs::read_to_string(&found[1]).unwrap(),
        "From: b@x\nSubject: 2\n\ntwo\n"
    );
}

#[test]
fn renditions_of_files_with_one_name_do_not_overwrite_each_other() {
    let folder = folder();
    for (directory, text) in [("sa", "one"), ("sb", "two")] {
        let directory = folder.path().join(directory);
        std::fs::create_dir(&directory).unwrap();
        let mail = format!("From: a@x\nSubject: s\n\n{text}\n");
        std::fs::write(directory.join("mail.eml"), mail).unwrap();
    }
    let (status, _) = inspect(
        folder.path(),
        &["--rendition", "out", "sa/mail.eml", "sb/mail.eml"],
    );
    assert_eq!(status, 0);
    for (name, text) in [("mail-1.eml", "one\n"), ("mail-1-2.eml", "two\n")] {
        let written = std::fs::read_to_string(folder.path().join("out").join(name)).unwrap();
        assert!(written.ends_with(text), "{name}: {written}");
    }
}

#[test]
fn compressed_files_are_unpacked() {
    let folder = folder();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&read("two.mbox")).unwrap();
    write("two.mbox.gz", &gzip.finish().unwrap());
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(&read("plain.eml")).unwrap();
    write("plain.bz2", &bzip2.finish().unwrap());
    let mut xz = std::process::Command::new("xz");
    let packed = xz.arg("plain.eml").arg("--keep").current_dir(folder.path());
    assert!(packed.status().unwrap().success());
    let zstd = zstd::encode_all(&*read("mail.pgp"), 3).unwrap();
    write("mail.zst", &zstd);
    write("cut.zst", &zstd[..zstd.len() - 9]);
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..513 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    write("bomb.zst", &bomb.finish().unwrap());
    let fine = ["two.mbox.gz", "plain.bz2", "plain.eml.xz"];
    let (status, lines) = inspect(folder.path(), &fine);
    assert_eq!((status, lines.len()), (0, 4));
    assert_eq!(lines[2]["outcome"], lines[3]["outcome"]);
    let keys = ["--keys", "key", "--passphrase-file", "right"];
    let (status, lines) = inspect(folder.path(), &[&keys[..], &["mail.zst"]].concat());
    assert_eq!((status, &lines[0]["outcome"]), (0, &"opened".into()));
    let (status, lines) = inspect(folder.path(), &["cut.zst", "bomb.zst"]);
    assert_eq!((status, lines.len()), (2, 2));
    assert!(
        lines
            .iter()
            .all(|line| line["outcome"] == "damaged" && line["layers"] == serde_json::json!([]))
    );
    let reason = lines[1]["reason"].as_str().unwrap();
    assert!(
        reason.contains("bounds.expanded_bytes = 536870912"),
        "{reason}"
    );
}

#[test]
fn files_of_kinds_that_are_not_read_are_no_mail_without_encryption() {
    let folder = folder();
    for (name, file, reason) in [
        (
            "takeout.zip",
            &b"PK\x03\x04\x14\0"[..],
            "the file is a ZIP archive: unpack it first",
        ),
        (
            "RMAIL",
            b"BABYL OPTIONS:\nVersion: 5\n",
            "the file is a Babyl mailbox (Rmail): convert it in Emacs with unrmail",
        ),
    ] {
        std::fs::write(folder.path().join(name), file).unwrap();
        let (status, lines) = inspect(folder.path(), &["--keys", "key", name]);
        assert_ne!(status, 0);
        assert_eq!(lines[0]["outcome"], "damaged");
        assert_eq!(lines[0]["reason"], reason);
    }
}

#[test]
fn a_hyphen_is_standard_input() {
    let folder = folder();
    let plain = std::fs::File::open(folder.path().join("plain.eml")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .current_dir(folder.path())
        .args(["inspect", "--json", "-"])
        .stdin(plain)
        .output()
        .unwrap();
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["outcome"], "not-encrypted");
}

/// A folder with `cert`, self-signed for a@x.example, in several containers, and mails signed with two digests; `None`
/// without an `openssl` that does this.
fn signed_folder() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let run = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(folder.path())
            .output();
        run.is_ok_and(|output| output.status.success())
    };
    std::fs::write(folder.path().join("text"), "hello\n").unwrap();
    let identity = |name: &str| {
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -noenc -keyout {name}.key -out {name} -days 30 -subj /emailAddress=a@x.example"
        )) && openssl(&format!("x509 -in {name} -outform DER -out {name}.der"))
    };
    let signed = |digest: &str| {
        openssl(&format!(
            "cms -sign -md {digest} -from a@x.example -in text -signer cert -inkey cert.key -nocerts -out {digest}"
        ))
    };
    let made = identity("cert")
        && identity("other")
        && signed("sha1")
        && signed("sha256")
        && openssl("crl2pkcs7 -nocrl -certfile cert -outform DER -out bundle.p7b");
    if !made {
        eprintln!("SKIPPED: no openssl that signs");
        return None;
    }
    let ders =
        ["other.der", "cert.der"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    std::fs::write(folder.path().join("both.der"), ders.concat()).unwrap();
    Some(folder)
}

#[test]
fn signatures_are_rated_by_the_default_policy() {
    let Some(folder) = signed_folder() else {
        return;
    };
    let (_, lines) = inspect(folder.path(), &["--certs", "cert", "sha1", "sha256"]);
    let [weak, strong] = [0, 1].map(|at: usize| &lines[at]["signatures"][0]);
    assert_eq!(weak["verdict"], "valid-but");
    assert_eq!(weak["reason"], "weak: SHA-1");
    assert_eq!(strong["verdict"], "valid");
}

#[test]
fn certificates_come_in_many_containers() {
    let Some(folder) = signed_folder() else {
        return;
    };
    for container in ["cert", "cert.der", "both.der", "bundle.p7b"] {
        let (_, lines) = inspect(folder.path(), &["--certs", container, "sha256"]);
        assert_eq!(lines[0]["signatures"][0]["verdict"], "valid", "{container}");
    }
}
