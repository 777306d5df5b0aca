//! `strongroom inspect`: opens mail files with keys given on the command line. Stateless; the same code as in the
//! workers, under the default policy.

use super::keyfiles::{self, KeyFiles};
use crate::id::Digest;
use crate::intake::import::packed::Packing;
use crate::mail::context::OpenPolicy;
use crate::mail::model::{Claimed, Layer, Opened, Outcome, SearchText, Signature};
use crate::mail::{self, foreign, mbox};
use crate::policy::{DEFAULT, ValidPolicy};
use crate::time::{Clock, SystemClock};
use clap::Args;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Stack of the thread that opens mail: nesting is bounded, frames of unoptimised builds are not small.
const STACK: usize = 64 << 20;

/// The name of a file that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Arguments of `strongroom inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 if everything was opened or not encrypted, 2 otherwise.")]
pub struct Inspect {
    /// Private keys: a file or a directory (PKCS#12, PEM, DER, OpenPGP); may be repeated
    #[arg(long, value_name = "PATH")]
    keys: Vec<PathBuf>,
    /// Certificates, OpenPGP certificates, CRLs, OCSP responses and trust anchors (self-signed): a file or a directory; may be repeated
    #[arg(long, value_name = "PATH")]
    certs: Vec<PathBuf>,
    /// Passphrases to try, one a line
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// One JSON object a message and line
    #[arg(long)]
    json: bool,
    /// Where to write the readable mail: a file for one message, a directory for several
    #[arg(long, value_name = "OUT")]
    rendition: Option<PathBuf>,
    /// Mail (.eml, mbox, Outlook's .msg, Apple's .emlx), CMS or OpenPGP files, also compressed (gzip, bzip2, xz, zstd); `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Inspect {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        let work = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || self.all_files());
        match work.map(std::thread::JoinHandle::join) {
            Ok(Ok(true)) => ExitCode::SUCCESS,
            _ => ExitCode::from(2),
        }
    }

    /// True if all messages were opened or not encrypted.
    fn all_files(&self) -> bool {
        let keys = match self.read_keys() {
            Ok(keys) => keys,
            Err(error) => {
                if self.json {
                    println!("{}", json!({ "error": error.to_string() }));
                }
                eprintln!("strongroom inspect: {error}");
                return false;
            }
        };
        for note in &keys.notes {
            eprintln!("strongroom inspect: {note}");
        }
        let policy = match ValidPolicy::parse(DEFAULT, "default.toml") {
            Ok(policy) => OpenPolicy {
                folded_digests: true,
                ..policy.open().clone()
            },
            Err(error) => {
                eprintln!("strongroom inspect: the default policy: {error}");
                return false;
            }
        };
        let mut fine = true;
        let mut written = HashSet::new();
        for file in &self.files {
            fine &= self.one_file(file, &keys, &policy, &mut written);
        }
        fine
    }

    fn read_keys(&self) -> Result<KeyFiles, keyfiles::Unreadable> {
        let passphrases = match &self.passphrase_file {
            Some(path) => keyfiles::passphrases(path)?,
            None => Vec::new(),
        };
        keyfiles::read(&self.keys, &self.certs, passphrases)
    }

    /// As [`Inspect::all_files`], for one. `written` are the renditions so far.
    fn one_file(
        &self,
        path: &Path,
        keys: &KeyFiles,
        policy: &OpenPolicy,
        written: &mut HashSet<PathBuf>,
    ) -> bool {
        let bytes = match content(path, policy.bounds.expanded_bytes) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.report(path, 1, &failed(format!("cannot read the file: {error}")));
                return false;
            }
        };
        let messages = mbox::messages(&bytes);
        let several = messages.len() > 1 || self.files.len() > 1;
        let mut fine = true;
        for (index, message) in (1..).zip(&messages) {
            let opened = catch_unwind(AssertUnwindSafe(|| open(message, keys, policy)))
                .unwrap_or_else(|_| {
                    failed("the parser gave up; please report this message".into())
                });
            let opened = unless_foreign(message, opened);
            fine &= matches!(opened.outcome, Outcome::Opened | Outcome::NotEncrypted);
            self.report(path, index, &opened);
            let readable = opened.rendition.as_deref().unwrap_or(message);
            fine &= self.write_rendition(path, index, several, readable, written);
        }
        fine
    }

    fn report(&self, path: &Path, index: usize, opened: &Opened) {
        let text = if self.json {
            format!("{}\n", as_json(path, index, opened))
        } else {
            as_text(path, index, opened)
        };
        // A reader that has gone away (`| head`) is no reason to stop writing renditions.
        let _ = io::stdout().write_all(text.as_bytes());
    }

    fn write_rendition(
        &self,
        path: &Path,
        index: usize,
        several: bool,
        readable: &[u8],
        written: &mut HashSet<PathBuf>,
    ) -> bool {
        let Some(out) = &self.rendition else {
            return true;
        };
        let target = if several || out.is_dir() {
            free_name(out, path, index, written)
        } else {
            out.clone()
        };
        written.insert(target.clone());
        let parent = target
            .parent()
            .filter(|_| several)
            .map_or(Ok(()), fs::create_dir_all);
        match parent.and_then(|()| fs::write(&target, readable)) {
            Ok(()) => true,
            Err(error) => {
                let hint = if several && out.is_file() {
                    "; for several messages, --rendition names a folder"
                } else {
                    ""
                };
                eprintln!(
                    "strongroom inspect: cannot write {}: {error}{hint}",
                    target.display()
                );
                false
            }
        }
    }
}

/// The bytes of a file; of one that is compressed whole what is in it, which may be `most` bytes.
fn content(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new(STANDARD_INPUT) {
        io::stdin().read_to_end(&mut bytes)?;
    } else {
        bytes = fs::read(path)?;
    }
    let Some(packing) = Packing::of(&bytes) else {
        return Ok(bytes);
    };
    let mut unpacked = Vec::new();
    let content = packing.unpack(Cursor::new(bytes))?;
    content.take(most + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() as u64 > most {
        let text = format!("unpacks to more than bounds.expanded_bytes = {most}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(unpacked)
}

/// Where the rendition of a message goes in the folder `out`: by its file's name and its place in the file. Of files
/// with the same name in different folders the second has a number more.
fn free_name(out: &Path, path: &Path, index: usize, written: &HashSet<PathBuf>) -> PathBuf {
    let stem = if path == Path::new(STANDARD_INPUT) {
        "stdin".into()
    } else {
        path.file_stem().unwrap_or_default().to_string_lossy()
    };
    let first = out.join(format!("{stem}-{index}.eml"));
    let further = (2..).map(|number| out.join(format!("{stem}-{index}-{number}.eml")));
    let mut names = std::iter::once(first.clone()).chain(further);
    names.find(|name| !written.contains(name)).unwrap_or(first)
}

fn open(message: &[u8], keys: &KeyFiles, policy: &OpenPolicy) -> Opened {
    mail::open(message, &keys.keys, &keys.trust, policy, SystemClock.now())
}

/// Where nothing was found in a file of a kind that is not read, that is no answer.
fn unless_foreign(file: &[u8], opened: Opened) -> Opened {
    let nothing_found = opened.outcome == Outcome::NotEncrypted && opened.signatures.is_empty();
    let told = nothing_found.then(|| foreign::told(file)).flatten();
    match told {
        Some(told) => failed(format!("the file {told}")),
        None => opened,
    }
}

fn failed(reason: String) -> Opened {
    Opened {
        outcome: Outcome::Damaged,
        reason: Some(reason),
        layers: Vec::new(),
        signatures: Vec::new(),
        rendition: None,
        text: SearchText::default(),
        waiting_for: Vec::new(),
    }
}

fn as_json(path: &Path, index: usize, opened: &Opened) -> Value {
    json!({
        "path": path.to_string_lossy(),
        "index": index,
        "outcome": opened.outcome,
        "reason": opened.reason,
        "layers": opened.layers,
        "signatures": opened.signatures.iter().map(signature_json).collect::<Vec<_>>(),
        "rendition_sha256": opened.rendition.as_deref().map(Digest::of),
    })
}

fn signature_json(signature: &Signature) -> Value {
    json!({
        "depth": signature.depth,
        "format": signature.format,
        "verdict": signature.verdict,
        "math": signature.math,
        "reason": signature.reason,
        "signer": signature.signer,
        "fingerprint": signature.fingerprint,
        "scope": signature.scope,
        "time": signature.time.map(|time| time.to_string()),
        "algorithms": signature.algorithms,
        "key_source": signature.key_source,
        "revocation": signature.revocation,
        "revocation_source": signature.revocation_source,
        "from_matches": signature.from_matches,
        "claimed": signature.claimed.as_ref().map(claimed_json),
    })
}

fn claimed_json(claimed: &Claimed) -> Value {
    json!({
        "time": claimed.time.to_string(),
        "source": claimed.source,
        "verdict": claimed.verdict,
        "reason": claimed.reason,
        "revocation": claimed.revocation,
        "revocation_source": claimed.revocation_source,
    })
}

fn as_text(path: &Path, index: usize, opened: &Opened) -> String {
    let mut out = format!("{} [{index}]: {}", path.display(), word(&opened.outcome));
    if let Some(reason) = &opened.reason {
        let _ = write!(out, " ({})", printable(reason));
    }
    out.push('\n');
    for layer in &opened.layers {
        let _ = writeln!(out, "{}", layer_text(layer));
    }
    for signature in &opened.signatures {
        let _ = writeln!(out, "{}", signature_text(signature));
    }
    out
}

fn layer_text(layer: &Layer) -> String {
    let indent = "  ".repeat(layer.depth as usize + 1);
    let mut out = format!("{indent}{} {}", word(&layer.format), layer.kind);
    if layer.outcome != Outcome::NotEncrypted {
        let _ = write!(out, ": {}", word(&layer.outcome));
    }
    if !layer.algorithms.is_empty() {
        let _ = write!(out, "; {}", printable(&layer.algorithms.join(", ")));
    }
    if let Some(key) = &layer.key {
        let _ = write!(out, "; key {}", printable(key));
    } else if !layer.recipients.is_empty() {
        let _ = write!(out, "; for {}", printable(&layer.recipients.join(" | ")));
    }
    let integrity = word(&layer.integrity);
    if integrity != "none" {
        let _ = write!(out, "; {integrity}");
    }
    out
}

fn signature_text(signature: &Signature) -> String {
    let indent = "  ".repeat(signature.depth as usize + 1);
    let mut out = format!("{indent}signature: {}", word(&signature.verdict));
    if !signature.signer.is_empty() {
        let _ = write!(out, ", by {}", printable(&signature.signer));
    }
    let _ = write!(out, ", covers the {}", word(&signature.scope));
    if let Some(time) = signature.time {
        let _ = write!(out, ", {time}");
    }
    let _ = write!(out, "; {}", printable(&signature.reason));
    if let Some(claimed) = &signature.claimed {
        let verdict = word(&claimed.verdict);
        let _ = write!(out, "; on {}, as claimed: {verdict}", claimed.time);
    }
    out
}

/// The word that JSON uses for a value of a closed set.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Text from mail or keys, without control characters that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
