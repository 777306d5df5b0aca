//! Archives with encrypted files or mails in them.

use super::{INNER, armored, open, packets, pgp_mime};
use std::io::{Cursor, Write};
use strongroom::mail::model::{Opened, Outcome};
use zip::write::SimpleFileOptions;

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// As the system's `xz` writes it, with this preset and check.
fn xz(preset: &str, check: &str, content: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let mut xz = std::process::Command::new("xz");
    xz.args([preset, &format!("--check={check}"), "--stdout"]);
    let made = xz.arg(file.path()).output().unwrap();
    assert!(made.status.success());
    made.stdout
}

/// The file with a first block that asks for 1 GiB, as no honest one of this size does.
fn with_huge_window(mut file: Vec<u8>) -> Vec<u8> {
    const BLOCK: usize = 12;
    let checksum = BLOCK + usize::from(file[BLOCK]) * 4;
    assert_eq!(file[BLOCK + 2..BLOCK + 4], [0x21, 1], "LZMA2");
    file[BLOCK + 4] = 36;
    let sum = crc32fast::hash(&file[BLOCK..checksum]);
    file[checksum..checksum + 4].copy_from_slice(&sum.to_le_bytes());
    file
}

/// As the system's `tar` writes it.
fn tar(format: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut tar = std::process::Command::new("tar");
    tar.args(["-c", "-C"]).arg(folder.path());
    let made = tar.args([&format!("--format={format}"), "."]).output();
    made.unwrap().stdout
}

fn open_attached(name: &str, file: &[u8]) -> Opened {
    let body = data_encoding::BASE64_MIME.encode(file);
    let mail = format!(
        "From: a@x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\n--b\nContent-Type: application/octet-stream; name=\"{name}\"\nContent-Transfer-Encoding: base64\n\n{body}\n--b--\n"
    );
    open(mail.as_bytes())
}

#[test]
fn encrypted_files_and_mails_in_archives_are_opened_and_the_others_stay() {
    let (binary, armor) = (packets("the secret word"), armored("the secret word"));
    let mail = format!("From: b@x\nSubject: packed\n{}", pgp_mime(INNER));
    for (name, content) in [
        ("a.txt.gpg", binary.as_slice()),
        ("folder/a.txt.asc", armor.as_bytes()),
        ("mail.eml", mail.as_bytes()),
    ] {
        let files = [("b.txt", &b"other words"[..]), (name, content)];
        let opened = open_attached("files.zip", &zip(&files));
        assert_eq!(opened.outcome, Outcome::Opened, "{name}");
        for words in ["hello", "other words", "the secret word"] {
            assert!(opened.text.body.contains(words), "{name}: {words}");
        }
        assert!(opened.text.attachments.contains(&"b.txt".to_owned()));
        let packed = format!("{name}.gz");
        let opened = open_attached(&packed, &gzip(content));
        assert_eq!(opened.outcome, Outcome::Opened, "{packed}");
        assert!(opened.text.body.contains("the secret word"));
    }
}

#[test]
fn encrypted_files_in_tar_and_in_archives_in_archives_are_opened() {
    let binary = packets("the secret word");
    let long = format!("{0}/{0}/a.txt.gpg", "folder".repeat(10));
    let files = [("b.txt", &b"other words"[..]), (&long, &binary)];
    let mut archives = vec![
        ("a.zip", zip(&[("inner.zip", &zip(&files))])),
        ("a.zip", zip(&[("a.zip", &zip(&[("b.zip", &zip(&files))]))])),
        ("a.zip", zip(&[("a.tgz", &gzip(&tar("gnu", &files)))])),
    ];
    for format in ["v7", "ustar", "gnu", "pax"] {
        let short = [files[0], ("folder/a.txt.gpg", &binary)];
        let packed = tar(format, if format == "v7" { &short } else { &files });
        archives.push(("a.tgz", gzip(&packed)));
        archives.push(("a.tar.bz2", bzip2(&packed)));
        archives.push(("a.tar.xz", xz("-6", "crc64", &packed)));
        archives.push(("a.tar", packed));
    }
    for (name, archive) in archives {
        let opened = open_attached(name, &archive);
        assert_eq!(opened.outcome, Outcome::Opened, "{name}");
        for words in ["hello", "other words", "the secret word"] {
            assert!(opened.text.body.contains(words), "{name}: {words}");
        }
        assert!(opened.text.attachments.contains(&"b.txt".to_owned()));
    }
    let opened = open_attached("a.txt.gpg.bz2", &bzip2(&binary));
    assert!(opened.text.body.contains("the secret word"));
    for preset in ["-0", "-9e"] {
        for check in ["none", "crc32", "crc64", "sha256"] {
            let opened = open_attached("a.txt.gpg.xz", &xz(preset, check, &binary));
            let body = &opened.text.body;
            assert!(body.contains("the secret word"), "{preset} {check}");
        }
    }
}

#[test]
fn archives_are_looked_into_so_deep_and_no_deeper() {
    let mut file = zip(&[("a.txt.gpg", &packets("the secret word"))]);
    let mut outcomes = Vec::new();
    for _ in 0..7 {
        outcomes.push(open_attached("a.zip", &file).outcome == Outcome::Opened);
        file = zip(&[("a.zip", &file)]);
    }
    assert_eq!(outcomes, [true, true, true, true, true, false, false]);
}

#[test]
fn archives_without_anything_encrypted_stay_as_they_are() {
    for file in [
        zip(&[("a.txt", b"words"), ("META-INF/A.RSA", b"words")]),
        gzip(b"words"),
        zip(&[("a.txt.gpg", &packets("word"))])[..60].to_vec(),
        gzip(&packets("word"))[..60].to_vec(),
        zip(&[("a.zip", &zip(&[("a.txt", b"words")]))]),
        gzip(&tar("gnu", &[("a.txt", b"words")])),
        bzip2(b"words"),
        xz("-6", "crc64", b"words"),
        xz("-6", "crc64", &packets("word"))[..60].to_vec(),
        with_huge_window(xz("-6", "crc64", &packets("word"))),
        // It unpacks to more than is unpacked for a look.
        gzip(&tar(
            "gnu",
            &[
                ("a.bin", &vec![0; 70 << 20]),
                ("a.txt.gpg", &packets("word")),
            ],
        )),
    ] {
        let opened = open_attached("a.zip", &file);
        assert_eq!(opened.outcome, Outcome::NotEncrypted);
        assert!(opened.rendition.is_none());
    }
}

#[test]
fn what_does_not_open_in_an_archive_is_told() {
    let foreign = super::encrypted(&super::THEIRS.cert, "word");
    let opened = open_attached("a.zip", &zip(&[("a.txt.gpg", &foreign)]));
    assert_eq!(opened.outcome, Outcome::NoKey);
    let bomb = [packets("word"), vec![0; 30 << 20]].concat();
    let opened = open_attached(
        "a.zip",
        &zip(&[("a.txt.gpg", &bomb), ("b", &vec![0; 30 << 20])]),
    );
    assert_eq!(opened.outcome, Outcome::Refused, "{:?}", opened.reason);
}

/// A ZIP file whose entries are all the same bytes, which are there once.
fn zip_of_one(content: &[u8], entries: usize, suffix: &str) -> Vec<u8> {
    let file = zip(&[(&format!("000.{suffix}"), content)]);
    let directory = file
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    let end = file
        .windows(4)
        .position(|four| four == b"PK\x05\x06")
        .unwrap();
    let entry = &file[directory..end];
    let mut out = file[..directory].to_vec();
    for number in 0..entries {
        let at = out.len() + 46;
        out.extend_from_slice(entry);
        out[at..at + 3].copy_from_slice(format!("{number:03}").as_bytes());
    }
    let mut tail = file[end..].to_vec();
    let count = u16::try_from(entries).unwrap().to_le_bytes();
    tail[8..10].copy_from_slice(&count);
    tail[10..12].copy_from_slice(&count);
    let length = u32::try_from(entry.len() * entries).unwrap();
    tail[12..16].copy_from_slice(&length.to_le_bytes());
    out.extend(tail);
    out
}

/// How long it takes to open a mail with so many copies of a file.
fn time_of(file: &[u8], copies: usize) -> std::time::Duration {
    let body = data_encoding::BASE64_MIME.encode(file);
    let part = format!(
        "--b\nContent-Type: application/octet-stream; name=a.zip\nContent-Transfer-Encoding: base64\n\n{body}\n"
    );
    let mail = format!(
        "From: a@x\nContent-Type: multipart/mixed; boundary=b\n\n{}--b--\n",
        part.repeat(copies)
    );
    let started = std::time::Instant::now();
    assert_eq!(open(mail.as_bytes()).outcome, Outcome::NotEncrypted);
    started.elapsed()
}

#[test]
fn many_looks_into_archives_are_bounded_together() {
    // A bomb in every entry, and one block of bzip2 in every entry, in many files each.
    let bomb = tar("gnu", &[("a.bin", &vec![0; 80 << 20])]);
    for file in [
        zip_of_one(&gzip(&bomb), 200, "tgz"),
        zip_of_one(&bzip2(&vec![0; 45 << 20]), 200, "bz2"),
    ] {
        let took = time_of(&file, 30);
        assert!(took.as_secs() < 60, "{took:?}");
    }
}

#[test]
fn an_entry_that_is_too_large_hides_no_other() {
    let inner = zip(&[("a.txt.gpg", &packets("the secret word"))]);
    let large = tar("gnu", &[("a.bin", &vec![0; 65 << 20])]);
    let file = zip(&[("large.tar", &large), ("small.zip", &inner)]);
    // All of it is too much to be unpacked; but it was seen that something in it is encrypted.
    assert_eq!(open_attached("a.zip", &file).outcome, Outcome::Refused);
}

#[test]
fn all_members_of_a_compressed_file_are_read() {
    let files = tar("gnu", &[("a.txt.gpg", &packets("the secret word"))]);
    let (front, back) = files.split_at(700);
    for file in [
        [gzip(front), gzip(back), vec![0; 512]].concat(),
        [bzip2(front), bzip2(back)].concat(),
    ] {
        let opened = open_attached("a.tar.gz", &file);
        assert!(opened.text.body.contains("the secret word"));
    }
}
