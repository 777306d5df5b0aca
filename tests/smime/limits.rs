//! What opening costs: a large mail takes less than three times its size of memory, in every format and form.

use crate::support::Folder;
use openpgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message};
use sequoia_openpgp as openpgp;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Bytes of the attachment in the encrypted mail. The C library returns freed memory at once only above 32 MB.
const ATTACHMENT: usize = 32 << 20;
/// What a mail may take beyond what the program takes anyway, in times of its size. With the program's own 25 MB a mail
/// of 100 MB stays below three times its size.
const MOST: f64 = 2.7;

/// A mail with a large attachment.
fn inner() -> Vec<u8> {
    let mut random = vec![0; ATTACHMENT];
    openssl::rand::rand_bytes(&mut random).unwrap();
    let mut mail = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSee below.\r\n\
        --b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        .to_vec();
    let text = data_encoding::BASE64.encode(&random);
    for line in text.as_bytes().chunks(76) {
        mail.extend_from_slice(line);
        mail.extend_from_slice(b"\r\n");
    }
    mail.extend_from_slice(b"--b--\r\n");
    mail
}

/// Opens FILE and returns the highest resident memory, in bytes.
fn memory(folder: &Folder, key: &str, file: &str) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .current_dir(folder.path())
        .args(["inspect", "--keys", key, "--rendition", "readable", file])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut highest = 0;
    let exit = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        highest = highest.max(kilobytes.unwrap_or(0_u64));
        match child.try_wait().unwrap() {
            Some(exit) => break exit,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    assert!(exit.success(), "{file} does not open");
    highest * 1024
}

fn pgp_mime(folder: &Folder, content: &[u8]) {
    let (cert, _) = openpgp::cert::CertBuilder::general_purpose(Some("a@example.org"))
        .generate()
        .unwrap();
    let mut key = Vec::new();
    openpgp::serialize::Serialize::serialize(&cert.as_tsk(), &mut key).unwrap();
    folder.write("pgp.key", &key);
    let policy = openpgp::policy::StandardPolicy::new();
    let recipients = cert
        .keys()
        .with_policy(&policy, None)
        .for_transport_encryption();
    let mut mail = b"From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/encrypted; boundary=o;\r\n \
        protocol=\"application/pgp-encrypted\"\r\n\r\n--o\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\
        --o\r\nContent-Type: application/octet-stream\r\n\r\n"
        .to_vec();
    let message = Armorer::new(Message::new(&mut mail)).build().unwrap();
    let message = Encryptor::for_recipients(message, recipients)
        .build()
        .unwrap();
    let mut literal = LiteralWriter::new(message).build().unwrap();
    literal.write_all(content).unwrap();
    literal.finalize().unwrap();
    mail.extend_from_slice(b"\r\n--o--\r\n");
    folder.write("pgp.eml", &mail);
}

#[test]
fn a_large_smime_mail_takes_less_than_three_times_its_size() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    let content = inner();
    folder.write("inner", &content);
    drop(content);
    let encrypt = "cms -encrypt -binary -aes-256-cbc -in inner";
    folder.must(&format!("{encrypt} -out der.eml rsa.crt"));
    folder.must(&format!("{encrypt} -stream -out ber.eml rsa.crt"));
    folder.must(&format!(
        "{encrypt} -stream -outform DER -out ber.p7m rsa.crt"
    ));
    folder.must("cms -encrypt -binary -aes-256-gcm -in inner -outform DER -out gcm.p7m rsa.crt");
    check(
        &folder,
        "rsa.pem",
        &["der.eml", "ber.eml", "ber.p7m", "gcm.p7m"],
    );
}

fn check(folder: &Folder, key: &str, files: &[&str]) {
    let own = memory(folder, key, "message");
    for file in files {
        let size = std::fs::metadata(folder.path().join(file)).unwrap().len();
        let times = memory(folder, key, file).saturating_sub(own) as f64 / size as f64;
        eprintln!("{file}: {size} bytes, {times:.2} times its size");
        assert!(times < MOST, "{file}: {times:.2} times its size");
        let readable = std::fs::metadata(folder.path().join("readable")).unwrap();
        assert!(readable.len() as usize > ATTACHMENT, "{file}");
    }
}

#[test]
fn a_large_pgp_mime_mail_takes_less_than_three_times_its_size() {
    let folder = Folder::new();
    pgp_mime(&folder, &inner());
    check(&folder, "pgp.key", &["pgp.eml"]);
}
