//! Guards the arrows between modules (docs/architecture.md): who may name whom. Files of unit tests may name anybody.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that all others may use.
const BASICS: [&str; 5] = ["id", "time", "secret", "durable", "crypto"];

/// A module and what it may use beside the basics. `*` is everything.
const ARROWS: [(&str, &[&str]); 28] = [
    ("id", &[]),
    ("time", &[]),
    ("secret", &[]),
    ("durable", &[]),
    ("crypto", &[]),
    ("frame", &[]),
    ("approval", &[]),
    ("mail", &[]),
    ("escrow", &["mail"]),
    ("officer", &[]),
    ("policy", &["mail", "retention"]),
    ("keyring", &["officer"]),
    ("ceremony", &["keyring", "policy", "officer", "ledger"]),
    (
        "boxfiles",
        &["approval", "keyring", "officer", "policy", "tpm", "intake"],
    ),
    ("tpm", &[]),
    ("tpm_link", &[]),
    ("vault", &[]),
    ("ledger", &[]),
    ("catalog", &[]),
    ("search", &[]),
    ("intake", &["mail"]),
    ("allocator", &[]),
    ("sandbox", &[]),
    ("worker", &["frame", "keeper", "mail", "sandbox"]),
    (
        "keeper",
        &[
            "approval", "boxfiles", "catalog", "ceremony", "escrow", "frame", "intake", "keyring",
            "ledger", "mail", "policy", "sandbox", "search", "tpm_link", "vault",
        ],
    ),
    ("daemon", &["*"]),
    ("cli", &["*"]),
    ("lib", &["*"]),
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules named by `crate::…` paths, comments aside.
fn named_modules(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let group = rest
            .strip_prefix('{')
            .map(|inner| inner.split('}').next().unwrap_or(""));
        let firsts: Vec<&str> = match group {
            Some(list) => list.split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for first in firsts {
            let name: String = first
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            if !name.is_empty() {
                names.insert(name);
            }
        }
    }
    names
}

#[test]
fn arrows_point_one_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&source).expect("below src");
        let first = relative
            .components()
            .next()
            .expect("a name")
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        if module == "main" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{module} is in no row of ARROWS"));
            continue;
        };
        let of_tests = relative
            .iter()
            .any(|part| part == "tests" || part == "tests.rs");
        if allowed.contains(&"*") || of_tests {
            continue;
        }
        let text = fs::read_to_string(&file).expect("source file");
        for name in named_modules(&text) {
            let known = ARROWS.iter().any(|(module, _)| *module == name);
            let fine = name == module
                || BASICS.contains(&name.as_str())
                || allowed.contains(&name.as_str());
            if known && !fine {
                wrong.push(format!("{} uses {name}", relative.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that are not allowed:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn intake_cannot_name_an_opening_key() {
    let intake = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/intake");
    let mut files = Vec::new();
    rust_files(&intake, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).expect("source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        let is_test = file.to_string_lossy().contains("test");
        assert!(
            is_test || !code.contains("OpeningKey"),
            "{} names an opening key",
            file.display()
        );
    }
}

#[test]
fn unsafe_code_is_only_where_it_must_be() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).expect("source file");
        if text.contains("allow(unsafe_code)") {
            let name = file
                .strip_prefix(&source)
                .expect("below src")
                .to_string_lossy()
                .into_owned();
            assert!(
                ALLOWED_UNSAFE.contains(&name.as_str()),
                "{name} allows unsafe code"
            );
        }
    }
}

/// The raw TPM calls, the sandbox's signal dispositions, and the allocator.
const ALLOWED_UNSAFE: [&str; 4] = ["tpm/raw.rs", "tpm/mod.rs", "sandbox.rs", "allocator.rs"];
