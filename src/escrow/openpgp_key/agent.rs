//! The key files of GnuPG's agent (`private-keys-v1.d/*.key`; agent/keyformat.txt in GnuPG): bare S-expressions, the
//! extended form of names and values, and either of them armored. They hold numbers and no identity: what the key is
//! called and for, only a certificate says (see [`super::pairing`]).

use super::sexp::{Sexp, parse};
use super::unprotect;
use crate::mail::openpgp::armor;
use crate::secret::SecretBytes;
use zeroize::Zeroizing;

/// Most keys in one file, or in files joined to one.
const MOST_KEYS: usize = 4096;
/// Most expressions that are tried and not understood.
const MOST_MALFORMED: usize = 64;

/// A private key as the agent keeps it.
pub(super) struct AgentKey {
    /// `(rsa (n …)(e …)…)`: public parameters, and the secret ones unless they are protected.
    pub numbers: Sexp,
    /// Seconds since 1970, where the file says so.
    pub created: Option<u32>,
    pub state: State,
}

/// Where the secret numbers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Clear,
    /// Under a passphrase.
    Protected,
    /// On a smartcard.
    Shadowed,
}

/// The families of algorithms that the agent names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    ElGamal,
    Dsa,
    Curve,
    Kyber,
}

impl AgentKey {
    pub(super) fn family(&self) -> Option<Family> {
        let name = self.numbers.name()?.to_ascii_lowercase();
        Some(match name.as_slice() {
            b"rsa" | b"openpgp-rsa" | b"oid.1.2.840.113549.1.1.1" => Family::Rsa,
            b"elg" | b"elgamal" | b"openpgp-elg" | b"openpgp-elg-sig" => Family::ElGamal,
            b"dsa" | b"openpgp-dsa" => Family::Dsa,
            b"ecc" | b"ecdh" | b"ecdsa" | b"eddsa" => Family::Curve,
            b"kyber768" | b"kyber1024" => Family::Kyber,
            _ => return None,
        })
    }

    /// A parameter, its leading zeros taken off where it is a number.
    pub(super) fn number(&self, name: &str) -> Option<&[u8]> {
        let value = self.numbers.value(name)?;
        let zeros = value.iter().take_while(|b| **b == 0).count();
        Some(&value[zeros..])
    }

    /// The key with its secret numbers in the clear; `None` if no passphrase fits (the empty one is tried too).
    pub(super) fn unlocked(&self, passphrases: &[SecretBytes]) -> Option<AgentKey> {
        let numbers = match self.state {
            State::Clear => self.numbers.clone(),
            State::Shadowed => return None,
            State::Protected => passphrases
                .iter()
                .chain([&SecretBytes::new(Vec::new())])
                .find_map(|passphrase| unprotect::unprotected(&self.numbers, passphrase))?,
        };
        Some(AgentKey {
            numbers,
            created: self.created,
            state: State::Clear,
        })
    }
}

/// Whether `bytes` is a key file of the agent.
pub(super) fn is_agent_file(bytes: &[u8]) -> bool {
    !keys(bytes).is_empty()
}

/// Several files as one; armor comes off.
pub(super) fn joined<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    for content in files.into_iter().flat_map(contents) {
        all.extend_from_slice(&content);
        all.push(b'\n');
    }
    all
}

/// All keys in a file, or in several joined end to end.
pub(super) fn keys(bytes: &[u8]) -> Vec<AgentKey> {
    let mut keys = Vec::new();
    for content in contents(bytes) {
        let entries = Entries {
            rest: &content,
            created: None,
            malformed: 0,
        };
        keys.extend(entries.filter_map(|entry| agent_key(&entry)));
    }
    keys.truncate(MOST_KEYS);
    keys
}

/// The file itself, or what is in its armored blocks (`gpg --enarmor`), where a key expression is in it.
fn contents(bytes: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let armored = armor::blocks(bytes)
        .filter(|block| block.label == "MESSAGE")
        .map(|block| Zeroizing::new(block.bytes));
    let mut all: Vec<_> = armored.collect();
    if all.is_empty()
        && (bytes.starts_with(b"(") || bytes.first().is_some_and(u8::is_ascii_alphabetic))
    {
        all.push(Zeroizing::new(bytes.to_vec()));
    }
    all.retain(|content| armor::find(content, b"private-key").is_some());
    all
}

/// A key's expression and what was said beside it.
struct Entry {
    expression: Sexp,
    created: Option<u32>,
}

/// The keys of a text: bare expressions, and names and values of which one is called `Key`. What cannot be read is passed
/// over by the line.
struct Entries<'a> {
    rest: &'a [u8],
    created: Option<u32>,
    malformed: usize,
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if *self.rest.first()? == b'(' {
                let Some((expression, size)) = parse(self.rest) else {
                    self.malformed += 1;
                    let next = armor::line(self.rest, 0).1;
                    self.rest = self
                        .rest
                        .get(next..)
                        .filter(|_| self.malformed < MOST_MALFORMED)?;
                    continue;
                };
                self.rest = &self.rest[size..];
                let created = expression.value("created-at").and_then(time);
                return Some(Entry {
                    expression,
                    created,
                });
            }
            let (name, value, after) = named_value(self.rest);
            self.rest = after;
            match name.to_ascii_lowercase().as_slice() {
                b"created" => self.created = time(value.trim_ascii()),
                b"key" => {
                    let created = self.created.take();
                    if let Some((expression, _)) = parse(value.trim_ascii_start()) {
                        return Some(Entry {
                            expression,
                            created,
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

/// `Name: value` with its continuation lines, whose first blank belongs to the folding.
fn named_value(text: &[u8]) -> (&[u8], Zeroizing<Vec<u8>>, &[u8]) {
    let (first, mut at) = armor::line(text, 0);
    let colon = first.iter().position(|b| *b == b':').unwrap_or(first.len());
    let (name, value) = first.split_at(colon);
    let mut value = Zeroizing::new(value.get(1..).unwrap_or_default().to_vec());
    while matches!(text.get(at), Some(b' ' | b'\t')) {
        let (more, next) = armor::line(text, at);
        value.extend_from_slice(&more[1..]);
        at = next;
    }
    (name, value, &text[at..])
}

fn agent_key(entry: &Entry) -> Option<AgentKey> {
    let state = match entry.expression.name()? {
        b"private-key" => State::Clear,
        b"protected-private-key" => State::Protected,
        b"shadowed-private-key" => State::Shadowed,
        _ => return None,
    };
    let numbers = entry.expression.items().get(1)?;
    numbers.name()?;
    Some(AgentKey {
        numbers: numbers.clone(),
        created: entry.created,
        state,
    })
}

/// Seconds since 1970, or `yyyymmddThhmmss` in UTC.
fn time(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let Some((date, clock)) = text.split_once('T') else {
        return text.parse().ok();
    };
    let digits = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (
        digits(date, 0, 4)?,
        digits(date, 4, 6)?,
        digits(date, 6, 8)?,
    );
    let (hour, minute, second) = (
        digits(clock, 0, 2)?,
        digits(clock, 2, 4)?,
        digits(clock, 4, 6)?,
    );
    // Days since 1970 in a calendar that starts in March, so that the leap day comes last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    u32::try_from((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_form_and_files_joined_to_one() {
        let bare = b"(11:private-key(3:rsa(1:n2:\x00\xc1)(1:e1:\x03))(10:created-at10:1713530956))";
        let extended =
            b"Created: 20240419T124916\nLabel: x\n  y\nKey: (protected-private-key (elg (p #C1\n  D2#)(\n y #03#)))\n";
        let joined = [
            &bare[..],
            b"\n",
            extended,
            b"Key: (broken\nLabel: z\n(2:x\n",
            bare,
        ]
        .concat();
        let keys = keys(&joined);
        assert_eq!(keys.len(), 3);
        assert_eq!(
            (keys[0].family(), keys[0].created, keys[0].number("n")),
            (Some(Family::Rsa), Some(1_713_530_956), Some(&[0xc1][..]))
        );
        assert_eq!(
            (keys[1].family(), keys[1].created, keys[1].number("p")),
            (
                Some(Family::ElGamal),
                Some(1_713_530_956),
                Some(&[0xc1, 0xd2][..])
            )
        );
        assert!(keys[1].state == State::Protected && keys[1].number("y") == Some(&[3]));
        let armored = armor::armored("ARMORED FILE", bare);
        assert_eq!(super::keys(armored.as_bytes()).len(), 1);
        assert!(!is_agent_file(
            b"My private-key:\n-----BEGIN PGP PRIVATE KEY BLOCK-----\n"
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(Key: |Created: 2|\n|\n |\\(|\\)|private-key|[0-9]:|rsa|n|#00#){0,30}") {
            for key in keys(text.as_bytes()) {
                key.family();
                let _ = key.unlocked(&[]);
            }
        }
    }
}
