//! Raw OpenPGP messages of other projects' test suites, against what their reference tools say. The corpus may not be
//! copied here; `STRONGROOM_CORPUS` names the folder it was unpacked to.

use crate::support::corpus::{Row, rows};
use crate::support::pgp::{Keys, certificates_below, context};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use strongroom::mail::context::Trust;
use strongroom::mail::model::SignatureMath;
use strongroom::mail::openpgp;
use strongroom::secret::SecretBytes;

/// Rows where we and the reference tool differ, and why we are content with that.
const EXPLAINED: &[(&str, &str)] = &[
    (
        "dsa-15360-512-sign.gpg",
        "OpenSSL checks DSA up to 10,000 bits and the sizes of FIPS 186",
    ),
    (
        "dsa-7680-384-sign.gpg",
        "OpenSSL checks DSA up to 10,000 bits and the sizes of FIPS 186",
    ),
    (
        "mime_pgpMessage",
        "the second signature is in the MIME inside, which the whole-mail walker checks",
    ),
    ("scenario_02.asc", "as above"),
    ("scenario_03.asc", "as above"),
    ("scenario_10.asc", "as above"),
    ("scenario_12.asc", "as above"),
    ("scenario_13.asc", "as above"),
    ("scenario_20.asc", "as above"),
    ("scenario_23.asc", "as above"),
    (
        "two_signed.asc",
        "two messages in one: damaged here, a bad signature for gpg",
    ),
    (
        "pgp6/hello.msg",
        "a mail of PGP 6 without integrity protection, which the reference tool had no key for",
    ),
    (
        "polyglot.armor",
        "the armor reads as different packets; there is no right answer",
    ),
    (
        "text_signature_normalization.msg",
        "a text signature over mixed line ends: good after RFC 9580 normalisation, bad for gpg",
    ),
    (
        "manifesto.txt.ed25519.sig.two-keys",
        "a detached signature alone: nothing to check it over",
    ),
    ("enc-sym-ocb-1.asc", "the reference tool wrote nothing out"),
    ("enc-sym-ocb-2.asc", "the reference tool wrote nothing out"),
];

/// Keys in GnuPG's agent form have no certificate with them and are not keys of a message.
const AGENT_KEYS: &str = "/privkeys/";

#[test]
fn corpus_rows_open_and_verify_as_their_reference_tools_say() {
    let Some(corpus) = std::env::var_os("STRONGROOM_CORPUS") else {
        eprintln!("skipped: STRONGROOM_CORPUS does not name the unpacked corpus");
        return;
    };
    let mut wrong = Vec::new();
    let mut right = 0;
    let rows = rows(Path::new(&corpus));
    let mut sources: HashMap<PathBuf, Source> = HashMap::new();
    for row in rows.iter().filter(|row| row.container == "raw-pgp") {
        let source = sources
            .entry(row.folder.clone())
            .or_insert_with(|| Source::of(&row.folder, &rows));
        match differs(row, source) {
            None => right += 1,
            Some(how)
                if EXPLAINED.iter().any(|(path, _)| row.path.ends_with(path))
                    || row.keys.contains(AGENT_KEYS) =>
            {
                println!("explained  {} {}: {how}", row.source, row.path);
            }
            Some(how) => wrong.push(format!(
                "{} {} [{}]: {how}",
                row.source, row.path, row.expected
            )),
        }
    }
    println!("{right} rows agree");
    assert!(
        wrong.is_empty(),
        "{} rows differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What all rows of one source share.
struct Source {
    trust: Trust,
    passphrases: Vec<SecretBytes>,
}

impl Source {
    fn of(folder: &Path, rows: &[Row]) -> Self {
        let mine = rows.iter().filter(|row| row.folder == folder);
        let mut passphrases: Vec<&str> = mine
            .map(|row| row.passphrase.as_str())
            .filter(|p| !p.is_empty())
            .collect();
        passphrases.sort_unstable();
        passphrases.dedup();
        Self {
            trust: certificates_below(&folder.join("orig")),
            passphrases: passphrases
                .into_iter()
                .map(|p| SecretBytes::from(p.to_owned()))
                .collect(),
        }
    }

    /// The row's keys; some rows leave out a passphrase that others name.
    fn keys(&self, row: &Row) -> Keys {
        let mut keys = Keys::load(&row.key_files(), &self.passphrases);
        if row.passphrase.is_empty() {
            keys.passphrases.clear();
        }
        keys
    }
}

fn differs(row: &Row, source: &Source) -> Option<String> {
    let data = std::fs::read(row.file()).ok()?;
    let opened = context(&source.keys(row), &source.trust, |ctx| {
        openpgp::open(&data, None, ctx)
    });
    let decrypts = row.expected.starts_with("decrypts");
    match (&opened, decrypts || row.expected.starts_with("sig:")) {
        (Err(unopened), true) => return Some(format!("not opened: {}", unopened.failure)),
        (Ok(_), false) if row.expected != "-" => {
            return Some("opened, though it must not".to_owned());
        }
        (Err(_), false) => return None,
        (Ok(_), _) => {}
    }
    let opened = opened.ok()?;
    let digest = openpgp_digest(&opened.layers);
    if !row.plaintext_lf.is_empty() && digest != row.plaintext_lf {
        return Some(format!("plaintext {digest}, expected {}", row.plaintext_lf));
    }
    let (_, expected) = row.expected.split_once("sig:")?;
    let mut expected: Vec<&str> = expected
        .split([',', '+'])
        .map(|one| one.split('(').next().unwrap_or(one))
        .collect();
    let mut got: Vec<&str> = opened
        .signatures
        .iter()
        .map(|s| match s.math {
            SignatureMath::Good => "good",
            SignatureMath::Bad => "bad",
            SignatureMath::Unchecked => "unknown",
        })
        .collect();
    // The manifest names each kind of result once.
    for results in [&mut expected, &mut got] {
        results.sort_unstable();
        results.dedup();
    }
    let reasons: Vec<_> = opened
        .signatures
        .iter()
        .map(|s| s.reason.as_str())
        .collect();
    (expected != got).then(|| format!("signatures {got:?}, expected {expected:?}: {reasons:?}"))
}

fn openpgp_digest(layers: &[strongroom::mail::Layer]) -> String {
    let digest = layers.first().and_then(|layer| layer.plaintext_lf_sha256);
    digest
        .map(|d| d.to_string()[..16].to_owned())
        .unwrap_or_default()
}
