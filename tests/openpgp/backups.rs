//! Private keys that lie in a message under a setup code (Autocrypt Setup Message), made by gpg.

use crate::support::gpg::Gpg;
use crate::support::pgp::context;
use strongroom::escrow::keyholder::Keyholder;
use strongroom::escrow::{self, Certificates, KeyProblem, offer};
use strongroom::mail::context::Trust;
use strongroom::mail::openpgp;
use strongroom::secret::SecretBytes;

const CODE: &str = "1729-4104-9999-0816-2357-1113-1719-2329-3137";

/// What a client writes into the armor above the digits.
fn marked(armored: &[u8]) -> String {
    let armored = String::from_utf8(armored.to_vec()).unwrap();
    let begin = "-----BEGIN PGP MESSAGE-----\n";
    let headers = "Passphrase-Format: numeric9x4\nPassphrase-Begin: 17\n";
    armored.replacen(begin, &format!("{begin}{headers}"), 1)
}

fn passphrases(given: &[&str]) -> Vec<SecretBytes> {
    let secret = |text: &&str| SecretBytes::from((*text).to_owned());
    given.iter().map(secret).collect()
}

#[test]
fn keys_under_a_setup_code_open_mail_and_go_into_escrow() {
    let gpg = Gpg::new();
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let text = b"for the archive\n";
    let message = gpg.encrypt(&["-r", "alice@example.org"], text);
    let options = ["--passphrase", "geheim", "--armor", "--export-secret-keys"];
    let keys = gpg.run(&options, b"");
    let options = ["--passphrase", CODE, "--armor", "--symmetric"];
    let backup = marked(&gpg.run(&options, &keys));
    let page = format!("<html><body><p>Key backup.</p>\n<pre>\n{backup}</pre></body></html>\n");
    let plain = CODE.replace('-', "");
    let spaced = CODE.replace('-', " ");
    for file in [&backup, &backup.replace('\n', "\r\n"), &page] {
        for code in [CODE, &plain, &spaced] {
            let given = passphrases(&["falsch", code, "geheim"]);
            let loaded = escrow::load(file.as_bytes(), &given, &Certificates::default());
            assert_eq!(loaded.keys.len(), 1, "{:?}", loaded.problems);
            let mut ring = Keyholder::default();
            ring.add_loaded(loaded);
            let opened = context(&ring, &Trust::default(), |ctx| {
                openpgp::open(&message, None, ctx)
            });
            assert_eq!(opened.unwrap().plaintext, text);
            let kept = offer::load_for_escrow(file.as_bytes(), &given, &[]);
            let kept: Vec<_> = kept.into_iter().map(Result::unwrap).collect();
            assert_eq!(kept[0].info().addresses, ["alice@example.org"]);
        }
    }
    let given = passphrases(&["geheim"]);
    let loaded = escrow::load(backup.as_bytes(), &given, &Certificates::default());
    assert_eq!(loaded.problems, [KeyProblem::WrongPassphrase]);
    assert!(loaded.sealed);
    let kept = offer::load_for_escrow(backup.as_bytes(), &given, &[]);
    assert!(matches!(kept[..], [Err(KeyProblem::WrongPassphrase)]));
}

/// Other messages beside keys are not tried, whatever their passphrase.
#[test]
fn a_message_that_is_no_backup_is_no_key_file() {
    let gpg = Gpg::new();
    let options = ["--passphrase", CODE, "--armor", "--symmetric"];
    for (file, sealed) in [
        (gpg.run(&options, b"text"), false),
        (marked(&gpg.run(&options, b"text")).into_bytes(), true),
    ] {
        let loaded = escrow::load(&file, &passphrases(&[CODE]), &Certificates::default());
        assert!(loaded.keys.is_empty());
        assert_eq!(loaded.sealed, sealed);
    }
}
