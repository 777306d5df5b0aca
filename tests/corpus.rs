//! Walks the manifests of a corpus of real encrypted mail by other authors and compares every row with what
//! `strongroom inspect` says. The corpus is not part of the project: `STRONGROOM_CORPUS` names the folder that
//! holds `<source>/manifest.tsv`; without it the test says that it was skipped.
//!
//! Run with `--nocapture` it prints the table source × right/expected, and every row that disagrees.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// What is reached must not be lost again: rows that agree, of all rows of the category.
const FLOORS: [(Category, usize); 4] = [
    (Category::Opened, 392),
    (Category::MustFail, 81),
    (Category::Signed, 252),
    (Category::Plain, 1339),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Category {
    /// The reference tool opened it: so do we, to the same plaintext.
    Opened,
    /// It must fail, or there is no key for it.
    MustFail,
    /// Signatures: the bare check agrees.
    Signed,
    /// Nothing encrypted in it: nothing is claimed to be.
    Plain,
}

struct Row {
    source: String,
    path: String,
    index: usize,
    kind: String,
    keys: String,
    passphrase: String,
    expected: String,
    digests: Vec<String>,
}

fn rows(corpus: &Path) -> Vec<Row> {
    let mut sources: Vec<PathBuf> = std::fs::read_dir(corpus)
        .expect("corpus folder")
        .map(|entry| entry.unwrap().path())
        .collect();
    sources.sort();
    let mut rows = Vec::new();
    for source in sources {
        let Ok(manifest) = std::fs::read(source.join("manifest.tsv")) else {
            continue;
        };
        let manifest = String::from_utf8_lossy(&manifest).into_owned();
        let mut lines = manifest.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        for line in lines {
            let cells: BTreeMap<&str, &str> = names.iter().copied().zip(line.split('\t')).collect();
            let cell = |name: &str| (*cells.get(name).unwrap_or(&"")).to_owned();
            let whole = cell("path");
            let (path, index) = match whole.rsplit_once('#') {
                Some((path, number)) if number.parse::<usize>().is_ok() => {
                    (path.to_owned(), number.parse().unwrap())
                }
                _ => (whole.clone(), 1),
            };
            rows.push(Row {
                source: source.file_name().unwrap().to_string_lossy().into_owned(),
                path,
                index,
                kind: cell("kind"),
                keys: cell("keys"),
                passphrase: cell("passphrase"),
                expected: cell("expected"),
                digests: ["plaintext_sha256_16", "plaintext_lf_sha256_16"]
                    .map(cell)
                    .into_iter()
                    .filter(|digest| !digest.is_empty())
                    .collect(),
            });
        }
    }
    rows
}

/// `inspect` of the row's file; the line of the row's message.
fn inspect(corpus: &Path, row: &Row) -> Result<serde_json::Value, String> {
    let folder = corpus.join(&row.source);
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.arg("inspect").arg("--json");
    if !row.keys.is_empty() && row.keys != "(password)" {
        command.arg("--keys").arg(folder.join(&row.keys));
    }
    let passphrases = tempfile::NamedTempFile::new().unwrap();
    if !row.passphrase.is_empty() {
        std::fs::write(passphrases.path(), format!("{}\n", row.passphrase)).unwrap();
        command.arg("--passphrase-file").arg(passphrases.path());
    }
    if row.expected.contains("sig:") {
        command.arg("--certs").arg(folder.join("orig"));
    }
    command.arg(folder.join(&row.path));
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines
        .into_iter()
        .find(|line| line["index"] == row.index)
        .ok_or_else(|| {
            format!(
                "no such message; {}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
}

fn category(row: &Row) -> Category {
    match row.expected.split(' ').next().unwrap_or_default() {
        word if word.starts_with("decrypts") => Category::Opened,
        "must-fail" | "no-key" | "locked-key" => Category::MustFail,
        word if word.starts_with("sig:") => Category::Signed,
        _ => Category::Plain,
    }
}

/// Why the row disagrees, if it does.
fn compare(row: &Row, found: &serde_json::Value) -> Option<String> {
    let outcome = found["outcome"].as_str().unwrap_or_default();
    let layers = found["layers"].as_array().cloned().unwrap_or_default();
    let wrong = match category(row) {
        Category::Opened => {
            let wanted = if row.expected.starts_with("decrypts-partly") {
                "partly"
            } else {
                "opened"
            };
            let digest_fits = row.digests.is_empty()
                || layers.iter().any(|layer| {
                    let have = [&layer["plaintext_sha256"], &layer["plaintext_lf_sha256"]];
                    have.into_iter()
                        .filter_map(|digest| digest.as_str())
                        .any(|digest| {
                            row.digests
                                .iter()
                                .any(|want| digest.starts_with(want.as_str()))
                        })
                });
            let unprotected = layers
                .iter()
                .any(|layer| layer["integrity"] == "unauthenticated");
            if outcome != wanted {
                Some(format!("outcome {outcome}"))
            } else if !digest_fits {
                Some("other plaintext".to_owned())
            } else if row.expected.contains("no-integrity") && !unprotected {
                Some("integrity claimed".to_owned())
            } else {
                None
            }
        }
        Category::MustFail => {
            matches!(outcome, "opened" | "not-encrypted").then(|| format!("outcome {outcome}"))
        }
        Category::Signed => (outcome != "not-encrypted").then(|| format!("outcome {outcome}")),
        Category::Plain if row.kind == "plain" => {
            (outcome != "not-encrypted").then(|| format!("outcome {outcome}"))
        }
        Category::Plain => (outcome == "opened").then(|| "opened".to_owned()),
    };
    wrong.or_else(|| compare_signatures(row, found))
}

fn compare_signatures(row: &Row, found: &serde_json::Value) -> Option<String> {
    let (_, expected) = row.expected.split_once("sig:")?;
    let signatures = found["signatures"].as_array().cloned().unwrap_or_default();
    let mut have: Vec<Vec<&serde_json::Value>> = Vec::new();
    for signature in &signatures {
        match have
            .last_mut()
            .filter(|layer| layer[0]["depth"] == signature["depth"])
        {
            Some(layer) => layer.push(signature),
            None => have.push(vec![signature]),
        }
    }
    let expected: Vec<Vec<&str>> = expected
        .split(',')
        .map(|layer| layer.split('+').collect())
        .collect();
    let layer_fits = |want: &Vec<&str>, layer: &Vec<&serde_json::Value>| {
        layer
            .iter()
            .all(|signature| want.iter().any(|want| fits(want, signature)))
    };
    let lenient = expected
        .iter()
        .flatten()
        .all(|want| want.starts_with("unknown"));
    let same = expected.len() == have.len()
        && expected
            .iter()
            .zip(&have)
            .all(|(want, layer)| layer_fits(want, layer));
    (!same && !lenient).then(|| {
        let shown: Vec<String> = signatures
            .iter()
            .map(|s| format!("{}/{}: {}", s["math"], s["verdict"], s["reason"]))
            .collect();
        format!("signatures {shown:?}")
    })
}

/// Whether a signature is what the manifest expects: the bare check, whatever the trust.
fn fits(want: &str, signature: &serde_json::Value) -> bool {
    let math = signature["math"].as_str().unwrap_or_default();
    let noncanonical = signature["reason"]
        .as_str()
        .is_some_and(|reason| reason.contains("noncanonical"));
    match want {
        want if want.starts_with("unknown") => true,
        "good(noncanonical)" => math == "good" && noncanonical,
        want if want.starts_with("good") => math == "good",
        _ => math == "bad",
    }
}

#[test]
fn every_row_of_the_corpus() {
    let Some(corpus) = std::env::var_os("STRONGROOM_CORPUS").map(PathBuf::from) else {
        println!("skipped: STRONGROOM_CORPUS does not name a corpus");
        return;
    };
    let rows = rows(&corpus);
    let results = Mutex::new(Vec::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(row) =
                    rows.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
                {
                    let wrong = match inspect(&corpus, row) {
                        Ok(found) => {
                            compare(row, &found).map(|why| format!("{why}; {}", found["reason"]))
                        }
                        Err(error) => Some(error),
                    };
                    results.lock().unwrap().push((row, wrong));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(row, _)| (&row.source, &row.path, row.index));
    let mut table: BTreeMap<(String, Category), (usize, usize)> = BTreeMap::new();
    for (row, wrong) in &results {
        let category = category(row);
        for source in [row.source.clone(), "all".to_owned()] {
            let cell = table.entry((source, category)).or_default();
            cell.0 += usize::from(wrong.is_none());
            cell.1 += 1;
        }
        if let Some(why) = wrong {
            println!(
                "{} {}#{} [{}]: {why}",
                row.source, row.path, row.index, row.expected
            );
        }
    }
    print_table(&table);
    for (category, floor) in FLOORS {
        let (right, of) = table
            .get(&("all".to_owned(), category))
            .copied()
            .unwrap_or_default();
        assert!(
            right >= floor,
            "{category:?}: {right} of {of} rows agree, {floor} did before"
        );
    }
}

fn print_table(table: &BTreeMap<(String, Category), (usize, usize)>) {
    let categories = [
        Category::Opened,
        Category::MustFail,
        Category::Signed,
        Category::Plain,
    ];
    println!(
        "{:24}{:>14}{:>14}{:>14}{:>14}",
        "source", "opened", "must fail", "signed", "plain"
    );
    let mut sources: Vec<&String> = table.keys().map(|(source, _)| source).collect();
    sources.sort_by_key(|source| (source.as_str() == "all", source.as_str()));
    sources.dedup();
    for source in sources {
        print!("{source:24}");
        for category in categories {
            let cell = table
                .get(&(source.clone(), category))
                .map(|(right, of)| format!("{right}/{of}"));
            print!("{:>14}", cell.unwrap_or_default());
        }
        println!();
    }
}
