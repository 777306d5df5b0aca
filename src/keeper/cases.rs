//! Recovery cases: requested → approved (m officers sign the case's statement; the requester does not count) →
//! released, or refused or expired. Kept sealed, for a case names a person.

use super::protocol::{CaseScope, CaseView};
use crate::approval::{Approval, NotApproved, Rejected, Statement};
use crate::crypto::kdf::{Label, derive};
use crate::crypto::sign::VerifyingKey;
use crate::crypto::wrap;
use crate::durable::{self, FileError};
use crate::id::{BoxId, CaseId};
use crate::secret::Key;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How long officers have to sign.
pub const CASE_SECONDS: u64 = 14 * 24 * 3600;
/// The statement kind of cases.
pub const KIND: &str = "case.mail";
const LARGEST_FILE: u64 = 4 << 20;
const PURPOSE_BYTES: usize = 2000;

/// What went wrong with a case.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No such case.
    #[error("there is no case {0}; `strongroom case list` names them")]
    Unknown(CaseId),
    /// Altered.
    #[error("case {0} is altered on disk, or of another box")]
    Altered(CaseId),
    /// Not enough signatures, or too late.
    #[error(transparent)]
    NotApproved(#[from] NotApproved),
    /// One signature does not count.
    #[error("{officer} {why}")]
    Rejected {
        /// Who.
        officer: String,
        /// Why.
        why: Rejected,
    },
    /// Released once already.
    #[error("case {0} was released already; a further release needs a new case")]
    Released(CaseId),
    /// No purpose, or too long a one.
    #[error("a case needs a purpose of at most 2000 bytes")]
    Purpose,
}

/// What officers sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseSubject {
    /// The case.
    pub case: CaseId,
    /// Who asks.
    pub requester: String,
    /// For what.
    pub scope: CaseScope,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Case {
    subject: CaseSubject,
    requested: Timestamp,
    expires: Timestamp,
    statement: Statement,
    approvals: BTreeMap<String, Approval>,
    released: Option<Timestamp>,
}

/// A case that enough officers approved; only [`Cases::approved`] makes one.
pub struct Approved {
    subject: CaseSubject,
    statement: Statement,
    approvals: Vec<Approval>,
}

impl Approved {
    /// What may be released.
    #[must_use]
    pub const fn scope(&self) -> &CaseScope {
        &self.subject.scope
    }

    /// Who asked.
    #[must_use]
    pub fn requester(&self) -> &str {
        &self.subject.requester
    }

    /// The signed text.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The signatures, for the receipt.
    #[must_use]
    pub fn approvals(&self) -> &[Approval] {
        &self.approvals
    }
}

/// All cases of a box.
pub struct Cases {
    folder: PathBuf,
    key: Key,
    box_id: BoxId,
    officers: BTreeMap<String, VerifyingKey>,
    needed: usize,
}

impl Cases {
    /// Cases in `folder`, sealed under a key derived from the keyring's people key; `needed` officers approve.
    #[must_use]
    pub fn new(
        folder: &Path,
        people_key: &Key,
        box_id: BoxId,
        officers: BTreeMap<String, VerifyingKey>,
        needed: usize,
    ) -> Self {
        let key = derive(people_key, Label::PeopleFile, &[b"cases"]);
        Self {
            folder: folder.to_owned(),
            key,
            box_id,
            officers,
            needed,
        }
    }

    /// A person asks.
    pub fn request(
        &self,
        requester: &str,
        scope: CaseScope,
        now: Timestamp,
    ) -> Result<CaseView, CaseError> {
        if scope.purpose.trim().is_empty() || scope.purpose.len() > PURPOSE_BYTES {
            return Err(CaseError::Purpose);
        }
        let subject = CaseSubject {
            case: CaseId::random(),
            requester: requester.to_owned(),
            scope,
        };
        let expires = now.plus_seconds(CASE_SECONDS);
        let statement = Statement::new(KIND, self.box_id, expires, &subject);
        let approvals = BTreeMap::new();
        let case = Case {
            subject,
            requested: now,
            expires,
            statement,
            approvals,
            released: None,
        };
        self.store(&case)?;
        Ok(self.view(&case, now))
    }

    /// One case as officers see it.
    pub fn show(&self, id: CaseId, now: Timestamp) -> Result<CaseView, CaseError> {
        Ok(self.view(&self.load(id)?, now))
    }

    /// All cases, newest first, without statements.
    pub fn list(&self, now: Timestamp) -> Result<Vec<CaseView>, CaseError> {
        let mut views = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(views),
            Err(error) => return Err(durable::at("read", &self.folder)(error).into()),
        };
        for entry in entries.flatten() {
            if let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                views.push(CaseView {
                    statement: None,
                    ..self.show(id, now)?
                });
            }
        }
        views.sort_by_key(|view| std::cmp::Reverse(view.requested));
        Ok(views)
    }

    /// Takes an officer's signature. A bad one is named and changes nothing.
    pub fn approve(
        &self,
        id: CaseId,
        approval: Approval,
        now: Timestamp,
    ) -> Result<CaseView, CaseError> {
        let mut case = self.load(id)?;
        case.statement.read::<CaseSubject>(KIND, self.box_id, now)?;
        let requester = Some(case.subject.requester.as_str());
        case.statement
            .check(&approval, &self.officers, requester)
            .map_err(|why| CaseError::Rejected {
                officer: approval.officer.clone(),
                why,
            })?;
        case.approvals.insert(approval.officer.clone(), approval);
        self.store(&case)?;
        Ok(self.view(&case, now))
    }

    /// The case as a permission, if enough officers have signed and it was not released yet.
    pub fn approved(&self, id: CaseId, now: Timestamp) -> Result<Approved, CaseError> {
        let case = self.load(id)?;
        if case.released.is_some() {
            return Err(CaseError::Released(id));
        }
        let framed = case.statement.read::<CaseSubject>(KIND, self.box_id, now)?;
        let approvals: Vec<Approval> = case.approvals.into_values().collect();
        let requester = Some(framed.subject.requester.as_str());
        case.statement
            .approved_by(&approvals, &self.officers, requester, self.needed)?;
        Ok(Approved {
            subject: framed.subject,
            statement: case.statement,
            approvals,
        })
    }

    /// Closes a case whose content went out.
    pub fn released(&self, id: CaseId, now: Timestamp) -> Result<(), CaseError> {
        let case = Case {
            released: Some(now),
            ..self.load(id)?
        };
        self.store(&case)
    }

    fn view(&self, case: &Case, now: Timestamp) -> CaseView {
        let state = if case.released.is_some() {
            "released"
        } else if case.expires < now {
            "expired"
        } else if case.approvals.len() >= self.needed {
            "approved"
        } else {
            "requested"
        };
        CaseView {
            case: case.subject.case,
            state: state.to_owned(),
            requester: case.subject.requester.clone(),
            requested: case.requested,
            statement: Some(case.statement.clone()),
            approvals: case.approvals.keys().cloned().collect(),
            needed: self.needed,
        }
    }

    fn load(&self, id: CaseId) -> Result<Case, CaseError> {
        let sealed = durable::read_if_present(&self.path(id), LARGEST_FILE)?
            .ok_or(CaseError::Unknown(id))?;
        let plain =
            wrap::open(&self.key, id.as_bytes(), &sealed).map_err(|_| CaseError::Altered(id))?;
        ciborium::from_reader(plain.expose()).map_err(|_| CaseError::Altered(id))
    }

    fn store(&self, case: &Case) -> Result<(), CaseError> {
        let id = case.subject.case;
        let mut plain = Vec::new();
        ciborium::into_writer(case, &mut plain).map_err(|_| CaseError::Altered(id))?;
        durable::create_folder(&self.folder)?;
        Ok(durable::replace(
            &self.path(id),
            &wrap::seal(&self.key, id.as_bytes(), &plain),
        )?)
    }

    fn path(&self, id: CaseId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random;
    use crate::crypto::sign::SigningKey;

    fn scope() -> CaseScope {
        CaseScope {
            tenant: "main".parse().expect("tenant"),
            mailbox: "anna@example.org".into(),
            from: None,
            until: None,
            purpose: "lost card".into(),
            output_certificate: String::new(),
            output_fingerprint: "ab".into(),
        }
    }

    #[test]
    fn a_case_needs_m_officers_other_than_the_requester_and_is_released_once() {
        let folder = tempfile::tempdir().expect("folder");
        let keys: BTreeMap<String, SigningKey> = ["a", "b", "c"]
            .map(|name| (name.to_owned(), SigningKey::generate()))
            .into();
        let officers = keys
            .iter()
            .map(|(name, key)| (name.clone(), key.verifying_key()))
            .collect();
        let cases = Cases::new(
            &folder.path().join("cases"),
            &random::key(),
            BoxId::random(),
            officers,
            2,
        );
        let now = Timestamp::from_seconds(1000);
        let view = cases.request("c", scope(), now).expect("request");
        let statement = view.statement.expect("text");
        let sign = |name: &str| statement.approve(name, |bytes| keys[name].sign(bytes));
        assert!(matches!(
            cases.approve(view.case, sign("c"), now),
            Err(CaseError::Rejected { .. })
        ));
        cases.approve(view.case, sign("a"), now).expect("a");
        cases.approve(view.case, sign("a"), now).expect("a again");
        assert!(
            cases.approved(view.case, now).is_err(),
            "one officer twice is one"
        );
        assert_eq!(
            cases.approve(view.case, sign("b"), now).expect("b").state,
            "approved"
        );
        let late = now.plus_seconds(CASE_SECONDS + 1);
        assert!(cases.approved(view.case, late).is_err(), "approvals expire");
        assert_eq!(
            cases.approved(view.case, now).expect("permission").scope(),
            &scope()
        );
        cases.released(view.case, now).expect("close");
        assert!(matches!(
            cases.approved(view.case, now),
            Err(CaseError::Released(_))
        ));
        let raw =
            std::fs::read(folder.path().join("cases").join(view.case.to_string())).expect("file");
        assert!(
            !raw.windows(4).any(|bytes| bytes == b"anna"),
            "no address in the clear"
        );
    }
}
