//! Private keys where GnuPG has them: the agent's key files beside the keybox.

use crate::support::gpg::Gpg;
use crate::support::pgp::context;
use proptest::prelude::*;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::serialize::SerializeInto;
use std::path::PathBuf;
use strongroom::escrow::keyholder::Keyholder;
use strongroom::escrow::{self, Certificates, KeyProblem, Loaded, offer, openpgp_key};
use strongroom::mail::context::{Failure, Trust, Unopened, Unwrapped};
use strongroom::mail::openpgp;
use strongroom::secret::SecretBytes;

const TEXT: &[u8] = b"for the archive\n";

fn key_files(gpg: &Gpg) -> SecretBytes {
    let folder = std::fs::read_dir(gpg.home().join("private-keys-v1.d")).unwrap();
    let files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    let contents: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    assert!(
        contents
            .iter()
            .all(|content| openpgp_key::is_agent_file(content))
    );
    openpgp_key::joined_agent_files(contents.iter().map(Vec::as_slice))
}

type MakeHome = fn() -> Gpg;

/// An agent that writes bare S-expressions, CBC under the passphrase.
fn canonical() -> Gpg {
    Gpg::new().with_agent_options(&["disable-extended-key-format"])
}

fn keybox(gpg: &Gpg) -> Vec<u8> {
    std::fs::read(gpg.home().join("pubring.kbx")).unwrap()
}

fn load(gpg: &Gpg, passphrase: &str, certificates: Vec<Vec<u8>>) -> Loaded {
    let certificates = Certificates {
        openpgp: certificates,
        ..Certificates::default()
    };
    let passphrases = [SecretBytes::from(passphrase.to_owned())];
    escrow::load(key_files(gpg).expose(), &passphrases, &certificates)
}

fn open(loaded: Loaded, message: &[u8]) -> Result<Unwrapped, Unopened> {
    let mut keys = Keyholder::default();
    keys.add_loaded(loaded);
    context(&keys, &Trust::default(), |ctx| {
        openpgp::open(message, None, ctx)
    })
}

/// The agent's key opens the message with its passphrase; with another it is told as locked.
fn opens_with_the_passphrase_alone(
    gpg: &Gpg,
    algorithm: &str,
    certificates: &[Vec<u8>],
    message: &[u8],
) {
    let loaded = load(gpg, "geheim", certificates.to_vec());
    assert_eq!(
        (loaded.keys.len(), loaded.nameless.len()),
        (1, 0),
        "{algorithm}: {:?}",
        loaded.problems
    );
    let opened = open(loaded, message).unwrap_or_else(|e| panic!("{algorithm}: {e:?}"));
    assert_eq!(opened.plaintext, TEXT, "{algorithm}");

    let loaded = load(gpg, "falsch", certificates.to_vec());
    assert_eq!(
        loaded.problems,
        [KeyProblem::WrongPassphrase],
        "{algorithm}"
    );
    let failure = open(loaded, message).expect_err("locked").failure;
    assert_eq!(failure, Failure::Locked, "{algorithm}");
}

#[test]
fn keys_in_the_agents_files_open_mail_and_go_into_escrow() {
    let (extended, canonical) = (Gpg::new as fn() -> Gpg, canonical as fn() -> Gpg);
    let homes: [(&str, MakeHome); 7] = [
        ("cv25519", extended),
        ("rsa2048", extended),
        ("secp256k1", extended),
        ("elg", canonical),
        ("cv25519", canonical),
        ("nistp521", canonical),
        ("brainpoolP384r1", canonical),
    ];
    for (algorithm, home) in homes {
        let gpg = home();
        gpg.make_key("Alice <alice@example.org>", algorithm, "never");
        let message = gpg.encrypt(&["-r", "alice@example.org"], TEXT);
        let certificates = openpgp_key::certificates_in(&keybox(&gpg));
        assert_eq!(certificates.len(), 1, "{algorithm}");

        opens_with_the_passphrase_alone(&gpg, algorithm, &certificates, &message);

        let keys = key_files(&gpg);
        let passphrases = [SecretBytes::from("geheim".to_owned())];
        let kept = offer::load_for_escrow(keys.expose(), &passphrases, &[keybox(&gpg)]);
        let kept: Vec<_> = kept.into_iter().map(Result::unwrap).collect();
        assert_eq!(kept.len(), 1, "{algorithm}");
        assert_eq!(kept[0].info().addresses, ["alice@example.org"]);
        let stored = kept[0].to_secret_bytes();
        let again = openpgp_key::load(stored.expose(), &[]).into_iter();
        let loaded = Loaded {
            keys: again.map(Result::unwrap).collect(),
            ..Loaded::default()
        };
        assert_eq!(
            open(loaded, &message).unwrap().plaintext,
            TEXT,
            "{algorithm}"
        );

        let refused = offer::load_for_escrow(keys.expose(), &passphrases, &[]);
        let named = |problem: &KeyProblem| matches!(problem, KeyProblem::NoOpenPgpCertificate(_));
        let problems: Vec<_> = refused.into_iter().filter_map(Result::err).collect();
        assert!(
            problems.len() == 2 && problems.iter().all(named),
            "{problems:?}"
        );
    }
}

#[test]
fn without_a_certificate_a_key_opens_what_it_can() {
    for algorithm in ["rsa2048", "cv25519", "nistp384"] {
        let gpg = Gpg::new();
        gpg.make_key("Alice <alice@example.org>", algorithm, "never");
        for to in ["-r", "-R"] {
            let message = gpg.encrypt(&[to, "alice@example.org"], TEXT);
            let loaded = load(&gpg, "geheim", Vec::new());
            assert!(
                loaded.keys.is_empty() && !loaded.nameless.is_empty(),
                "{algorithm}"
            );
            let opened = open(loaded, &message).unwrap_or_else(|e| panic!("{algorithm}: {e:?}"));
            assert_eq!(opened.plaintext, TEXT, "{algorithm} {to}");
        }
    }
    let bare = canonical();
    bare.make_key("Alice <alice@example.org>", "cv25519", "never");
    let message = bare.encrypt(&["-r", "alice@example.org"], TEXT);
    let unopened = open(load(&bare, "geheim", Vec::new()), &message);
    let failure = unopened.expect_err("ECDH needs the fingerprint").failure;
    assert!(matches!(failure, Failure::NoKey { .. }), "{failure:?}");
}

/// `gpg --batch --import` of a protected key cannot ask for the passphrase: the agent keeps it as it came.
#[test]
fn imported_keys_that_are_still_protected_as_in_openpgp_open_mail() {
    for algorithm in ["cv25519", "rsa2048", "elg", "nistp384", "brainpoolP512r1"] {
        let origin = Gpg::new();
        origin.make_key("Alice <alice@example.org>", algorithm, "never");
        let export = [
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "geheim",
            "--export-secret-keys",
        ];
        let secret = origin.run(&export, b"");
        let message = origin.encrypt(&["-r", "alice@example.org"], TEXT);

        let gpg = Gpg::new();
        gpg.run(&["--import"], &secret);
        let keys = key_files(&gpg);
        let text = String::from_utf8_lossy(keys.expose()).into_owned();
        assert!(text.contains("openpgp-native"), "{algorithm}");
        let certificates = openpgp_key::certificates_in(&keybox(&gpg));
        opens_with_the_passphrase_alone(&gpg, algorithm, &certificates, &message);
    }
}

/// Keys that GnuPG wrote in 1999 (Blowfish, RIPEMD-160, a sum for a check), and one without a passphrase.
#[test]
fn old_and_clear_keys_are_read_as_gpg_imported_them() {
    let (cert, _) = CertBuilder::general_purpose(Some("Bob <bob@example.org>"))
        .generate()
        .unwrap();
    let mut imports = vec![(cert.as_tsk().to_vec().unwrap(), "none", 1)];
    if let Some(corpus) = std::env::var_os("STRONGROOM_CORPUS") {
        let file = "gnupg-openpgp/orig/tests/openpgp/secdemo.asc";
        let secdemo = std::fs::read(PathBuf::from(corpus).join(file)).expect(file);
        imports.push((secdemo, "BLOWFISH", 26));
    } else {
        println!("without the old keys: STRONGROOM_CORPUS does not name the corpus");
    }
    for (secret, protection, count) in imports {
        let gpg = Gpg::new();
        gpg.run(&["--import"], &secret);
        let keys = key_files(&gpg);
        assert!(String::from_utf8_lossy(keys.expose()).contains(protection));
        let loaded = load(&gpg, "abc", openpgp_key::certificates_in(&keybox(&gpg)));
        assert_eq!(loaded.problems, [], "{protection}");
        assert_eq!(loaded.keys.len(), count, "{protection}");
    }
}

/// `inspect` with a GnuPG home, and with one key file that lies in it.
#[test]
fn inspect_finds_the_certificates_of_a_gnupg_home() {
    let gpg = Gpg::new().with_agent_options(&["disable-extended-key-format"]);
    gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
    let mail = gpg.write("mail.pgp", &gpg.encrypt(&["-r", "alice@example.org"], TEXT));
    let passphrases = gpg.write("passphrases", b"geheim\n");
    let folder = gpg.home().join("private-keys-v1.d");
    let files = std::fs::read_dir(&folder).unwrap();
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    let opens = |keys: &PathBuf| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(["inspect", "--passphrase-file"])
            .arg(&passphrases)
            .arg("--keys")
            .arg(keys)
            .arg(&mail)
            .output()
            .unwrap();
        output.status.success()
    };
    assert!(opens(&gpg.home().to_owned()));
    assert!(opens(&folder));
    let alone: Vec<bool> = files.iter().map(opens).collect();
    assert_eq!(
        alone.iter().filter(|opened| **opened).count(),
        1,
        "{alone:?}"
    );
}

proptest! {
    #[test]
    fn any_key_file_is_survived(
        text in "(Key: |Created: 20200101T000000|\n|\n |\\(|\\)|(protected-)?private-key|rsa|ecc|kyber768|curve|Ed25519|protected|n|q|d|#[0-9A-F]{2,6}#|[0-9]:x){0,30}",
        certificate in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let framed = openpgp::packets::framed(14, &certificate);
        let _ = openpgp_key::load_agent_file(text.as_bytes(), &[], &[framed.clone(), certificate]);
        let _ = openpgp_key::load_agent_file_for_escrow(text.as_bytes(), &[], &[framed], &[]);
    }
}
