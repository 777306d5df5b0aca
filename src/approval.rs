//! Statements that officers sign, and the counting of officers (not of signatures).
//!
//! A statement is one JSON text with its kind, the box, an expiry and a random nonce inside. What is signed is
//! `"strongroom statement/1\n" ‖ text`, so the officer's own tool can show exactly what it signs.

use crate::crypto::sign::VerifyingKey;
use crate::id::{BoxId, Digest};
use crate::time::Timestamp;
use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const CONTEXT: &str = "strongroom statement/1\n";
/// Longest statement, in bytes.
pub const LONGEST: usize = 64 * 1024;

/// A text for officers to sign. Kept as text, because the signature covers its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement(pub String);

/// What every statement says beside its subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framed<T> {
    /// What kind of statement this is ("people.set", "case").
    pub kind: String,
    /// The box it is for.
    pub box_id: BoxId,
    /// It counts for nothing after this time.
    pub expires: Timestamp,
    /// Makes each statement unlike any other.
    pub nonce: String,
    /// What it is about.
    pub subject: T,
}

/// Whether two names mean the same person: neither case nor blanks make another.
#[must_use]
pub fn same_name(one: &str, other: &str) -> bool {
    let folded = |name: &str| {
        name.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase()
    };
    folded(one) == folded(other)
}

/// One officer's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The officer's name, as in `officers.json`.
    pub officer: String,
    /// Base64 of the 64-byte ECDSA P-256 signature.
    pub signature: String,
}

/// Why approvals do not suffice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// The text is not a statement of the kind wanted.
    #[error("not a statement of kind {0:?} for this box")]
    NotThisKind(&'static str),
    /// It is too late.
    #[error("the statement expired at {0}; ask for a new one")]
    Expired(Timestamp),
    /// Too few officers signed.
    #[error("{valid} of {needed} officers have signed{}", rejected_text(rejected))]
    TooFew {
        /// Officers with a good signature.
        valid: usize,
        /// Officers needed.
        needed: usize,
        /// Signatures that do not count, with why.
        rejected: BTreeMap<String, Rejected>,
    },
}

impl NotApproved {
    /// What the caller says is to be done where officers are missing.
    #[must_use]
    pub fn hint(&self, what: &str) -> String {
        match self {
            Self::TooFew { .. } => format!("; {what}"),
            Self::NotThisKind(_) | Self::Expired(_) => String::new(),
        }
    }
}

/// Why one signature does not count. It stops nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No such officer.
    #[error("is not an officer of this box")]
    Unknown,
    /// The signature does not fit.
    #[error("the signature does not fit the statement and the officer's key")]
    BadSignature,
    /// The officer asked for it and does not count.
    #[error("made the request and does not count")]
    Requester,
}

fn rejected_text(rejected: &BTreeMap<String, Rejected>) -> String {
    rejected
        .iter()
        .map(|(officer, why)| format!("; {officer}: {why}"))
        .collect()
}

impl Statement {
    /// A new statement about `subject`.
    ///
    /// # Panics
    /// Never: our own types have a JSON form.
    #[allow(clippy::expect_used)]
    pub fn new<T: Serialize>(kind: &str, box_id: BoxId, expires: Timestamp, subject: T) -> Self {
        let nonce = data_encoding::HEXLOWER.encode(&crate::crypto::random::bytes::<16>());
        let framed = Framed {
            kind: kind.to_owned(),
            box_id,
            expires,
            nonce,
            subject,
        };
        Self(serde_json::to_string(&framed).expect("statements have a JSON form"))
    }

    /// Reads what it says, checking kind, box and expiry.
    pub fn read<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        box_id: BoxId,
        now: Timestamp,
    ) -> Result<Framed<T>, NotApproved> {
        let framed = self.read_at_any_time::<T>(kind, box_id)?;
        if framed.expires < now {
            return Err(NotApproved::Expired(framed.expires));
        }
        Ok(framed)
    }

    /// As [`Statement::read`] without a look at the expiry, for what was signed in time and goes on behind it.
    pub fn read_at_any_time<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        box_id: BoxId,
    ) -> Result<Framed<T>, NotApproved> {
        let wrong = NotApproved::NotThisKind(kind);
        if self.0.len() > LONGEST {
            return Err(wrong);
        }
        let framed: Framed<T> = serde_json::from_str(&self.0).map_err(|_| wrong.clone())?;
        if framed.kind != kind || framed.box_id != box_id {
            return Err(wrong);
        }
        Ok(framed)
    }

    /// SHA-256 of the signed bytes: what an officer compares.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.signed_bytes())
    }

    /// An officer's approval; `sign` signs with the officer's P-256 key.
    #[must_use]
    pub fn approve(&self, officer: &str, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Approval {
        let signature = BASE64.encode(&sign(&self.signed_bytes()));
        Approval {
            officer: officer.to_owned(),
            signature,
        }
    }

    /// Counts officers whose signature is good. `Ok` holds their names. `requester` are the names of whoever asked.
    pub fn approved_by(
        &self,
        approvals: &[Approval],
        officers: &BTreeMap<String, VerifyingKey>,
        requester: &[&str],
        needed: usize,
    ) -> Result<Vec<String>, NotApproved> {
        let mut valid = BTreeMap::new();
        let mut rejected = BTreeMap::new();
        for approval in approvals {
            match self.check(approval, officers, requester) {
                Ok(()) => drop(valid.insert(approval.officer.clone(), ())),
                Err(why) => drop(rejected.insert(approval.officer.clone(), why)),
            }
        }
        if valid.len() >= needed {
            Ok(valid.into_keys().collect())
        } else {
            Err(NotApproved::TooFew {
                valid: valid.len(),
                needed,
                rejected,
            })
        }
    }

    /// Checks one approval.
    pub fn check(
        &self,
        approval: &Approval,
        officers: &BTreeMap<String, VerifyingKey>,
        requester: &[&str],
    ) -> Result<(), Rejected> {
        let key = officers.get(&approval.officer).ok_or(Rejected::Unknown)?;
        if requester
            .iter()
            .any(|name| same_name(name, &approval.officer))
        {
            return Err(Rejected::Requester);
        }
        let signature = BASE64
            .decode(approval.signature.as_bytes())
            .map_err(|_| Rejected::BadSignature)?;
        key.verify(&self.signed_bytes(), &signature)
            .map_err(|_| Rejected::BadSignature)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        [CONTEXT.as_bytes(), self.0.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::SigningKey;

    fn three_officers() -> (BTreeMap<String, SigningKey>, BTreeMap<String, VerifyingKey>) {
        let keys: BTreeMap<_, _> = ["a", "b", "c"]
            .map(|name| (name.to_owned(), SigningKey::generate()))
            .into();
        let public = keys
            .iter()
            .map(|(name, key)| (name.clone(), key.verifying_key()))
            .collect();
        (keys, public)
    }

    fn statement() -> (Statement, BoxId) {
        let box_id = BoxId::random();
        (Statement::new("test", box_id, Timestamp(1000), "x"), box_id)
    }

    #[test]
    fn officers_count_not_signatures_and_a_bad_one_stops_nobody() {
        let (keys, officers) = three_officers();
        let (text, _) = statement();
        let a = text.approve("a", |bytes| keys["a"].sign(bytes));
        let forged = text.approve("c", |bytes| keys["a"].sign(bytes));
        let twice = [a.clone(), a.clone(), forged.clone()];
        let error = text
            .approved_by(&twice, &officers, &[], 2)
            .expect_err("one officer only");
        assert!(
            error
                .to_string()
                .contains("1 of 2 officers have signed; c: the signature"),
            "{error}"
        );
        let good = [
            a.clone(),
            forged,
            text.approve("b", |bytes| keys["b"].sign(bytes)),
        ];
        assert_eq!(
            text.approved_by(&good, &officers, &[], 2),
            Ok(vec!["a".into(), "b".into()])
        );
        assert!(
            text.approved_by(&good, &officers, &[" A"], 2).is_err(),
            "the requester does not count"
        );
        let stranger = Approval {
            officer: "z".into(),
            ..a
        };
        assert_eq!(
            text.check(&stranger, &officers, &[]),
            Err(Rejected::Unknown)
        );
    }

    #[test]
    fn an_approval_fits_one_text_one_kind_one_box_and_a_time() {
        let (keys, officers) = three_officers();
        let (text, box_id) = statement();
        let approval = text.approve("a", |bytes| keys["a"].sign(bytes));
        let other = Statement::new("test", box_id, Timestamp(1000), "x");
        assert!(
            other.check(&approval, &officers, &[]).is_err(),
            "the nonce differs"
        );
        assert!(text.read::<String>("test", box_id, Timestamp(999)).is_ok());
        assert!(
            text.read::<String>("test", box_id, Timestamp(1001))
                .is_err()
        );
        assert!(text.read::<String>("other", box_id, Timestamp(0)).is_err());
        assert!(
            text.read::<String>("test", BoxId::random(), Timestamp(0))
                .is_err()
        );
    }
}
