//! The query language: what a person types, parsed into a [`Query`] that says nothing about rights.
//!
//! ```text
//! any    := all ("OR" all)*
//! all    := one+
//! one    := "-" one | "(" any ")" | [field ":"] (word | "\"" words "\"")
//! fields: from to with subject body attachment   words or a phrase; from, to, with also a whole address
//!         date before after                      2024, 2024-03, 2024-03-31; date: also A..B, A.. and ..B
//!         has:attachment  encrypted:  signed:  id:
//! ```
//!
//! A word without a field is looked for in all texts. Words are compared as [`super::words`] has them.
//! Dates are days in UTC. `before:` and `after:` exclude the period they name, `date:` includes it.

use super::doc::{Encryption, Judgement};
pub use super::parse::{QueryError, QueryProblem};
use crate::id::RecordId;
use jiff::civil::Date;
use std::fmt;

/// Longest query, in bytes.
pub const LONGEST_QUERY: usize = 1000;
/// Deepest nesting of parentheses and negations.
pub const DEEPEST_QUERY: usize = 16;
/// Most words, phrases and conditions in one query.
pub const MOST_TERMS: usize = 64;

/// A parsed query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Everything (the empty query).
    Everything,
    /// These words, in this order without a gap. Never empty.
    Words(TextField, Vec<String>),
    /// A mail from or to exactly this address, folded.
    Address(TextField, String),
    /// Dated on or after the first day and before the second.
    Dated {
        /// First day.
        from: Option<Date>,
        /// Day after the last.
        until: Option<Date>,
    },
    /// With attachments.
    HasAttachment,
    /// As it was encrypted.
    Encrypted(EncryptedIs),
    /// As its signatures were judged.
    Signed(SignedIs),
    /// The record with this id.
    Record(RecordId),
    /// `Message-ID` without angle brackets, folded.
    MessageId(String),
    /// Not this.
    Not(Box<Query>),
    /// All of these, at least two.
    All(Vec<Query>),
    /// Any of these, at least two.
    Any(Vec<Query>),
}

/// Where words are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextField {
    /// All texts.
    Anywhere,
    /// Names and addresses of authors.
    From,
    /// Names and addresses of recipients.
    To,
    /// Either of the two.
    With,
    /// The subject.
    Subject,
    /// Text of the body and of readable attachments.
    Body,
    /// Names of attachments.
    Attachment,
}

/// Values of `encrypted:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncryptedIs {
    /// By either standard.
    Yes,
    /// Not encrypted.
    No,
    /// By this one.
    By(Encryption),
}

/// Values of `signed:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedIs {
    /// There is a signature, whatever its verdict.
    Any,
    /// There is none.
    No,
    /// There is one with this verdict.
    Judged(Judgement),
}

/// Fields of words, by name.
pub(super) const TEXT_FIELDS: [(&str, TextField); 6] = [
    ("from", TextField::From),
    ("to", TextField::To),
    ("with", TextField::With),
    ("subject", TextField::Subject),
    ("body", TextField::Body),
    ("attachment", TextField::Attachment),
];
/// What `encrypted:` takes.
pub(super) const ENCRYPTED: [(&str, EncryptedIs); 4] = [
    ("yes", EncryptedIs::Yes),
    ("no", EncryptedIs::No),
    ("smime", EncryptedIs::By(Encryption::Smime)),
    ("openpgp", EncryptedIs::By(Encryption::OpenPgp)),
];
/// What `signed:` takes.
pub(super) const SIGNED: [(&str, SignedIs); 7] = [
    ("any", SignedIs::Any),
    ("yes", SignedIs::Any),
    ("no", SignedIs::No),
    ("valid", SignedIs::Judged(Judgement::Valid)),
    ("valid-but", SignedIs::Judged(Judgement::ValidBut)),
    ("unknown-signer", SignedIs::Judged(Judgement::UnknownSigner)),
    ("invalid", SignedIs::Judged(Judgement::Invalid)),
];

/// The query as text that parses to the same query.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => Ok(()),
            Self::Words(field, words) => {
                write!(f, "{}", prefix(*field))?;
                match words.as_slice() {
                    [word] => f.write_str(word),
                    words => write!(f, "\"{}\"", words.join(" ")),
                }
            }
            Self::Address(field, address) => write!(f, "{}{address}", prefix(*field)),
            Self::Dated { from, until } => {
                let last = until.and_then(|day| day.yesterday().ok());
                write!(f, "date:{}..{}", shown(*from), shown(last))
            }
            Self::HasAttachment => f.write_str("has:attachment"),
            Self::Encrypted(value) => write!(f, "encrypted:{}", name_of(&ENCRYPTED, value)),
            Self::Signed(value) => write!(f, "signed:{}", name_of(&SIGNED, value)),
            Self::Record(record) => write!(f, "id:{record}"),
            Self::MessageId(id) => write!(f, "id:<{id}>"),
            Self::Not(inner) => write!(f, "-{}", Grouped(inner)),
            Self::All(parts) => write_joined(f, parts, " "),
            Self::Any(parts) => write_joined(f, parts, " OR "),
        }
    }
}

fn prefix(field: TextField) -> String {
    match name_of(&TEXT_FIELDS, &field) {
        "" => String::new(),
        name => format!("{name}:"),
    }
}

fn shown(day: Option<Date>) -> String {
    day.map(|day| day.to_string()).unwrap_or_default()
}

fn write_joined(f: &mut fmt::Formatter<'_>, parts: &[Query], with: &str) -> fmt::Result {
    for (number, part) in parts.iter().enumerate() {
        write!(f, "{}{}", if number > 0 { with } else { "" }, Grouped(part))?;
    }
    Ok(())
}

struct Grouped<'a>(&'a Query);

impl fmt::Display for Grouped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Query::All(_) | Query::Any(_) => write!(f, "({})", self.0),
            other => write!(f, "{other}"),
        }
    }
}

fn name_of<T: PartialEq>(values: &[(&'static str, T)], value: &T) -> &'static str {
    values
        .iter()
        .find(|(_, other)| other == value)
        .map_or("", |(name, _)| *name)
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
