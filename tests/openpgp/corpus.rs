//! What the corpus has beside the rows that `tests/corpus.rs` walks: messages that the reference tool could not open, with
//! the keys that belong to them.

use crate::support::pgp::context;
use std::path::{Path, PathBuf};
use strongroom::escrow::keyholder::Keyholder;
use strongroom::escrow::{self, Certificates, Loaded, offer, openpgp_key};
use strongroom::mail::context::{Trust, Unwrapped};
use strongroom::mail::model::Integrity;
use strongroom::mail::openpgp;
use strongroom::secret::SecretBytes;

fn gnupg() -> Option<PathBuf> {
    let corpus = std::env::var_os("STRONGROOM_CORPUS");
    if corpus.is_none() {
        println!("skipped: STRONGROOM_CORPUS does not name the unpacked corpus");
    }
    Some(PathBuf::from(corpus?).join("gnupg-openpgp/orig/tests/openpgp"))
}

fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

fn opened(loaded: Loaded, passphrase: &str, message: &Path) -> Unwrapped {
    let mut keys = Keyholder::with_passphrases(vec![SecretBytes::from(passphrase.to_owned())]);
    keys.add_loaded(loaded);
    let message_bytes = std::fs::read(message).unwrap();
    context(&keys, &Trust::default(), |ctx| {
        openpgp::open(&message_bytes, None, ctx)
    })
    .unwrap_or_else(|unopened| panic!("{}: {}", message.display(), unopened.failure))
}

/// GnuPG 2.5: ML-KEM with Curve25519, X448 and the Brainpool curves, keys in two files each, packets of version 5.
#[test]
fn gnupgs_post_quantum_messages_open_and_their_keys_go_into_escrow() {
    let Some(gnupg) = gnupg() else { return };
    let files = contents(&gnupg.join("privkeys"));
    let keys = openpgp_key::joined_agent_files(files.iter().map(Vec::as_slice));
    let rings = contents(&gnupg.join("samplekeys"));
    let certificates: Vec<Vec<u8>> = rings
        .iter()
        .flat_map(|ring| openpgp_key::certificates_in(ring))
        .collect();
    let load = || {
        let certificates = Certificates {
            openpgp: certificates.clone(),
            ..Certificates::default()
        };
        escrow::load(keys.expose(), &[], &certificates)
    };
    let kept = offer::load_for_escrow(keys.expose(), &[], &rings);
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    for number in 1..=5 {
        let name = format!("pqc-sample-{number}");
        let message = gnupg.join("samplemsgs").join(format!("{name}.enc.asc"));
        let found = opened(load(), "", &message);
        assert_eq!(
            found.layers[0].integrity,
            Integrity::Authenticated,
            "{name}"
        );
        assert!(!found.plaintext.is_empty());
        let of_kept = kept.iter().find(|key| key.info().name == name);
        let key = of_kept.unwrap_or_else(|| panic!("{name} is not in escrow"));
        assert!(
            key.info().algorithm.starts_with("ML-KEM-"),
            "{}",
            key.info().algorithm
        );
        let again = openpgp_key::load(key.to_secret_bytes().expose(), &[]).into_iter();
        let stored = Loaded {
            keys: again.map(Result::unwrap).collect(),
            ..Loaded::default()
        };
        assert_eq!(
            opened(stored, "", &message).plaintext,
            found.plaintext,
            "{name}"
        );
    }
}

/// The manifest has another passphrase than the text around the message says.
#[test]
fn gnupgs_ocb_messages_open_with_the_passphrase_that_their_text_names() {
    let Some(gnupg) = gnupg() else { return };
    for name in ["enc-sym-ocb-1.asc", "enc-sym-ocb-2.asc"] {
        let found = opened(
            Loaded::default(),
            "password",
            &gnupg.join("samplemsgs").join(name),
        );
        assert_eq!(found.plaintext, b"Hello, world!\n", "{name}");
    }
}
