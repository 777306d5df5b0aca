//! Small plain mails: those of the r-devel list where they are at hand, else such as they are.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use strongroom::mail::mbox;

/// Folder with the list's monthly mbox files.
const R_DEVEL: &str = "STRONGROOM_R_DEVEL";
/// Bytes of a mail's text, on average.
const MEAN: usize = 2400;

/// Mails, as they are imported: in mbox files.
pub struct Mails {
    /// The files.
    pub files: Vec<PathBuf>,
    mails: Vec<Vec<u8>>,
}

impl Mails {
    /// So many mails, all different; `folder` gets what has to be generated.
    pub fn gather(folder: &Path, count: usize) -> Self {
        let mut this = Self {
            files: Vec::new(),
            mails: Vec::new(),
        };
        for path in list_files() {
            let bytes = fs::read(&path).expect("a file of the list");
            let messages = mbox::messages(&bytes);
            if this.mails.len() + messages.len() > count {
                break;
            }
            this.mails.extend(messages.iter().map(|mail| mail.to_vec()));
            this.files.push(path);
        }
        let mut random = StdRng::seed_from_u64(1);
        let made: Vec<Vec<u8>> = (this.mails.len()..count)
            .map(|number| generated(&mut random, number))
            .collect();
        let path = folder.join("generated.mbox");
        fs::write(&path, as_mbox(&made)).expect("written");
        this.mails.extend(made);
        this.files.push(path);
        this
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.mails.iter().map(Vec::as_slice)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.mails.len()
    }

    /// Bytes of one, on average.
    pub fn mean(&self) -> usize {
        self.mails.iter().map(Vec::len).sum::<usize>() / self.count().max(1)
    }
}

fn list_files() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os(R_DEVEL) else {
        eprintln!("{R_DEVEL} is not set: the mails are generated");
        return Vec::new();
    };
    let entries = fs::read_dir(folder).expect("the list's folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

/// A mail of the usual kind: some header fields, text of common and rare words.
pub fn generated(random: &mut StdRng, number: usize) -> Vec<u8> {
    let mut mail = format!(
        "From: Person {} <person{}@example.net>\nTo: list@example.org\nSubject: {}\n\
         Date: {}, {} Mar 20{:02} 1{}:0{}:27 +0100\nMessage-ID: <{number}.{:x}@example.net>\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n",
        number % 997,
        number % 997,
        words(random, 50),
        ["Mon", "Tue", "Wed", "Thu"][number % 4],
        1 + number % 28,
        number % 24,
        number % 10,
        number % 7,
        random.random::<u64>(),
    );
    let length = random.random_range(MEAN / 4..MEAN * 7 / 4);
    mail.push_str(&words(random, length));
    mail.push('\n');
    mail.into_bytes()
}

/// About so many bytes of words: frequent ones are short, rare ones many.
fn words(random: &mut StdRng, length: usize) -> String {
    let mut text = String::with_capacity(length + 20);
    let mut line = 0;
    while text.len() < length {
        let rank = (1.0 / random.random_range(0.000_02..1.0f64)) as u32;
        let _ = match rank {
            0..30 => write!(
                text,
                "{} ",
                ["the", "of", "and", "a", "in", "is"][rank as usize % 6]
            ),
            30..5000 => write!(
                text,
                "{}s ",
                data_encoding::BASE32_NOPAD
                    .encode(&rank.to_le_bytes()[..2])
                    .to_lowercase()
            ),
            _ => write!(text, "{rank:x} "),
        };
        line += 1;
        if line % 12 == 0 {
            text.push('\n');
        }
    }
    text
}

/// The mails as one mbox file.
pub fn as_mbox(mails: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for mail in mails {
        out.extend_from_slice(b"From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n");
        out.extend_from_slice(mail);
        out.extend_from_slice(b"\n\n");
    }
    out
}
