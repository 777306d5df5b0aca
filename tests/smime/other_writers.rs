//! Messages of writers that cannot be run in the tests, made once for this: PKI.js 3 (a GCM tag of 16 bytes behind the
//! ciphertext of EnvelopedData, AES key wrap under a password) and Bouncy Castle 1.72 (Ed448 with id-shake256-len, RC2 key wrap).

use std::path::{Path, PathBuf};
use std::process::Command;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/smime/data")
        .join(name)
}

/// What `strongroom inspect` says of a message, with these arguments.
fn inspect(arguments: &[&Path], message: &str) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(["inspect", "--json"])
        .args(arguments)
        .arg(data(message))
        .output()
        .expect("strongroom runs");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn pki_js_is_opened_by_key_and_by_password() {
    let key = data("pkijs.pem");
    let opened = inspect(&["--keys".as_ref(), &key], "pkijs-gcm.eml");
    assert_eq!(opened["outcome"], "opened", "{opened}");
    assert_eq!(opened["layers"][0]["integrity"], "authenticated");

    let folder = tempfile::tempdir().expect("a folder");
    let passphrases = folder.path().join("passphrases");
    std::fs::write(&passphrases, "wrong\nsecret\n").expect("a file");
    let opened = inspect(
        &["--passphrase-file".as_ref(), &passphrases],
        "pkijs-password.eml",
    );
    assert_eq!(opened["outcome"], "opened", "{opened}");
}

#[test]
fn bouncy_castles_rc2_wrap_is_opened_by_the_pre_shared_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let passphrases = folder.path().join("passphrases");
    std::fs::write(&passphrases, "wrong\nkkkkkkkkkkkkkkkk\n").expect("a file");
    let opened = inspect(
        &["--passphrase-file".as_ref(), &passphrases],
        "bouncycastle-rc2-wrap.eml",
    );
    assert_eq!(opened["outcome"], "opened", "{opened}");
    let algorithms = &opened["layers"][0]["algorithms"];
    assert_eq!(algorithms[0], "RC2-WRAP", "{algorithms}");
}

#[test]
fn bouncy_castles_ed448_signature_is_checked() {
    let found = inspect(&[], "bouncycastle-ed448.eml");
    assert_eq!(found["signatures"][0]["math"], "good", "{found}");
    assert_eq!(found["signatures"][0]["verdict"], "unknown-signer");
}
