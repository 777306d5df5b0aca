//! Homes of GnuPG 2.4.1 and later, whose certificates lie in keyboxd's database. It is written here by SQLite itself.

use crate::support::gpg::Gpg;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use strongroom::escrow::openpgp_key::{certificates_in, x509_in_keybox};

/// Rows of kind and certificate in hexadecimal, one a line, after GnuPG's kbx/backend-sqlite.c.
const WRITE: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('pragma page_size = ' + sys.argv[2])
db.execute('create table config (name text not null unique, value text not null)')
db.execute('create table pubkey (ubid blob not null primary key, type integer not null, ephemeral integer not null default 0,'
    ' revoked integer not null default 0, keyblob blob not null)')
for nth, line in enumerate(sys.stdin):
    kind, blob = line.split()
    db.execute('insert into pubkey (ubid, type, keyblob) values (?, ?, ?)', (b'%020d' % nth, int(kind), bytes.fromhex(blob)))
db.commit()
";

fn write_database(path: &Path, page_size: u32, rows: &[(u8, Vec<u8>)]) {
    let _ = std::fs::remove_file(path);
    let mut python = Command::new("python3")
        .args(["-c", WRITE])
        .arg(path)
        .arg(page_size.to_string())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    for (kind, blob) in rows {
        writeln!(input, "{kind} {}", data_encoding::HEXLOWER.encode(blob)).unwrap();
    }
    drop(input);
    assert!(python.wait().unwrap().success());
}

/// Rows of all lengths around those where SQLite begins to spread a row over further pages, in tables of several levels.
#[test]
fn rows_of_every_length_are_read() {
    let folder = Gpg::new();
    let path = folder.home().join("pubring.db");
    let lengths = (1..700).chain([4000, 4061, 4062, 4100, 65_400, 65_536, 300_000]);
    let rows: Vec<(u8, Vec<u8>)> = lengths
        .map(|length: usize| ((length % 3) as u8, vec![length as u8; length]))
        .collect();
    let of_kind = |kind: u8| -> Vec<Vec<u8>> {
        let rows = rows.iter().filter(|(of, _)| *of == kind);
        rows.map(|(_, blob)| blob.clone()).collect()
    };
    for page_size in [512, 4096, 65_536] {
        write_database(&path, page_size, &rows);
        let database = std::fs::read(&path).unwrap();
        assert!(certificates_in(&database) == of_kind(1), "{page_size}");
        assert!(x509_in_keybox(&database) == of_kind(2), "{page_size}");
        // Cut off at any page, it gives what is left.
        for pages in 1..database.len().div_ceil(page_size as usize).min(40) {
            let cut = certificates_in(&database[..pages * page_size as usize]);
            assert!(
                cut.iter().all(|found| of_kind(1).contains(found)),
                "{pages}"
            );
        }
    }
}

#[test]
fn a_home_with_such_a_database_is_all_that_inspect_needs() {
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let message = gpg.encrypt(&["-r", "alice@example.org"], b"for the archive\n");
    let message = gpg.write("message", &message);
    let passphrases = gpg.write("passphrases", b"geheim\n");
    let keybox = gpg.home().join("pubring.kbx");
    let certificate = certificates_in(&std::fs::read(&keybox).unwrap()).remove(0);
    std::fs::remove_file(keybox).unwrap();
    std::fs::create_dir(gpg.home().join("public-keys.d")).unwrap();
    let database = gpg.home().join("public-keys.d/pubring.db");
    write_database(&database, 4096, &[(1, certificate)]);
    for keys in ["private-keys-v1.d", "."] {
        let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(["inspect", "--passphrase-file"])
            .arg(&passphrases)
            .arg("--keys")
            .arg(gpg.home().join(keys))
            .arg(&message)
            .output()
            .unwrap();
        assert!(output.status.success(), "{keys}: {output:?}");
    }
}
