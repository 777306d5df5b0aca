//! What the ledger's sealed details say: who, why and what in words. JSON under the ledger detail key, bound to the
//! entry's kind; entries of earlier versions stay readable.

use super::cases::CaseScope;
use super::core::Core;
use crate::crypto::wrap;
use crate::id::{RecordId, TenantId};
use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::PoisonError;

/// Kind of entries about reading.
pub const ACCESS: &str = "access";
/// Kind of entries about cases.
pub const CASE: &str = "case";
/// Kind of entries about signing in; the detail is the name.
pub const SESSION: &str = "session";
/// Kind of entries about changed people; the detail is the officers who signed, and the statement.
pub const PEOPLE: &str = "people";

/// Detail of an access entry.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessDetail {
    /// Who.
    pub who: String,
    /// Why.
    pub purpose: String,
    /// What was done.
    pub action: String,
    /// What was searched for.
    pub query: Option<String>,
    /// The records that a search listed; entries of earlier versions do not say.
    #[serde(default)]
    pub records: Vec<RecordId>,
    /// The reader's mailboxes in which the records lie; empty where they are too many, and in earlier versions.
    #[serde(default)]
    pub through: BTreeSet<String>,
}

/// Detail of a case entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseDetail {
    /// Who acted.
    pub who: String,
    /// Who asked for the case.
    pub requester: String,
    /// Whose archive.
    pub tenant: TenantId,
    /// Why.
    pub purpose: String,
    /// How many mails were released; nothing in other steps.
    pub mails: Option<u64>,
}

impl CaseDetail {
    /// A step that `who` took.
    #[must_use]
    pub fn of(requester: &str, scope: &CaseScope, who: &str) -> Self {
        Self {
            who: who.to_owned(),
            requester: requester.to_owned(),
            tenant: scope.tenant.clone(),
            purpose: scope.purpose.clone(),
            mails: None,
        }
    }
}

/// A case entry's detail in every form that was written.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum AnyCaseDetail {
    /// Of today.
    Whole(CaseDetail),
    /// Of earlier versions: who.
    Who(String),
    /// Of earlier versions: who fetched how many mails.
    Released(String, u64),
}

impl Core {
    /// A detail for the ledger.
    pub(super) fn sealed_detail<T: Serialize>(&self, kind: &str, detail: &T) -> String {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_vec(detail).unwrap_or_default();
        BASE64.encode(&wrap::seal(&keyring.ledger_detail, kind.as_bytes(), &text))
    }

    /// What such a detail says; `None` where it is not one that this box sealed for an entry of this kind.
    pub(super) fn open_detail<T: DeserializeOwned>(&self, kind: &str, sealed: &str) -> Option<T> {
        let bytes = BASE64.decode(sealed.as_bytes()).ok()?;
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let text = wrap::open(&keyring.ledger_detail, kind.as_bytes(), &bytes).ok()?;
        serde_json::from_slice(text.expose()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_earlier_versions_are_read() {
        let read = |text| serde_json::from_str::<AnyCaseDetail>(text).expect("a detail");
        assert_eq!(read(r#""alice""#), AnyCaseDetail::Who("alice".into()));
        let released = AnyCaseDetail::Released("anna".into(), 7);
        assert_eq!(read(r#"["anna",7]"#), released);
        let detail = CaseDetail {
            who: "alice".into(),
            requester: "anna".into(),
            tenant: "main".parse().expect("a tenant"),
            purpose: "audit".into(),
            mails: None,
        };
        let text = serde_json::to_string(&detail).expect("JSON");
        assert_eq!(read(&text), AnyCaseDetail::Whole(detail));
        let old = r#"{"who":"anna","purpose":"own mail","action":"search","query":"x"}"#;
        let old: AccessDetail = serde_json::from_str(old).expect("a detail");
        assert!(old.records.is_empty() && old.through.is_empty());
    }

    // What a page of hits names fits into an entry of the ledger, whatever was asked.
    #[test]
    fn the_longest_search_fits_into_a_ledger_entry() {
        let detail = AccessDetail {
            who: "a".repeat(200),
            purpose: "\u{1}".repeat(2000),
            action: "search".into(),
            query: Some("\u{1}".repeat(crate::search::query::LONGEST_QUERY)),
            records: (0..500).map(|_| RecordId::random()).collect(),
            through: BTreeSet::from(["a".repeat(crate::keeper::reading::MOST_THROUGH)]),
        };
        let text = serde_json::to_vec(&detail).expect("JSON");
        let sealed = BASE64.encode_len(text.len() + wrap::OVERHEAD);
        assert!(sealed + 400 < crate::ledger::MAX_ENTRY, "{sealed}");
    }
}
