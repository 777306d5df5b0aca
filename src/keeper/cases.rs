//! Recovery cases: requested → approved (m officers sign the case's statement; the requester does not count) →
//! releasing → released; or refused by an officer, withdrawn by the requester, or expired. Kept sealed, for a case
//! names a person.
//!
//! A change is made in two steps, so that the ledger can have it in between: [`Cases::request`] and the like give the
//! changed [`Case`], [`Cases::store`] makes it count.

use super::people::Person;
use super::protocol::{CaseScope, CaseView};
use crate::approval::{Approval, LONGEST, NotApproved, Rejected, Statement, same_name};
use crate::crypto::kdf::{Label, derive};
use crate::crypto::sign::VerifyingKey;
use crate::crypto::wrap;
use crate::durable::{self, FileError};
use crate::id::{BoxId, CaseId, Digest};
use crate::secret::Key;
use crate::time::Timestamp;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// It is over, or on its way out.
    #[error("case {0} is {1}; ask for a new one with `strongroom case request`")]
    Over(CaseId, &'static str),
    /// Two at once.
    #[error("case {0} is being released to somebody else right now; try again later")]
    Busy(CaseId),
    /// Somebody else's.
    #[error("case {0} is not yours: sign in as the person who asked, or as an officer")]
    NotYours(CaseId),
    /// It could never be released.
    #[error("the case is not taken: {0}")]
    Scope(String),
    /// No purpose, or too long a one.
    #[error("a case needs a purpose of at most 2000 bytes")]
    Purpose,
    /// The certificate makes the statement too long.
    #[error(
        "the certificate is too large: the statement for the officers would have more than 64 KiB; give the person's certificate alone \
         (`gpg --export-options export-minimal --export`)"
    )]
    Certificate,
    /// The fingerprint is not that of the certificate.
    #[error("case {0} names another certificate's fingerprint; nobody may sign it")]
    Fingerprint(CaseId),
}

/// What officers sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseSubject {
    /// The case.
    pub case: CaseId,
    /// Who asks.
    pub requester: String,
    /// The officer who the requester is; earlier statements do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_officer: Option<String>,
    /// How many officers must sign; earlier statements do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<usize>,
    /// For what.
    pub scope: CaseScope,
}

impl CaseSubject {
    /// The names whose signature does not count.
    #[must_use]
    pub fn requesters(&self) -> Vec<&str> {
        std::iter::once(self.requester.as_str())
            .chain(self.requester_officer.as_deref())
            .collect()
    }
}

/// The fingerprint that officers compare: SHA-256 of the certificate's bytes; `None` where they are not base64.
#[must_use]
pub fn fingerprint(output_certificate: &str) -> Option<String> {
    let bytes = BASE64.decode(output_certificate.as_bytes()).ok()?;
    Some(Digest::of(&bytes).to_string())
}

/// A case as its file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    subject: CaseSubject,
    requested: Timestamp,
    expires: Timestamp,
    statement: Statement,
    approvals: BTreeMap<String, Approval>,
    released: Option<Timestamp>,
    #[serde(default)]
    releasing: Option<Timestamp>,
    #[serde(default)]
    ended: Option<Ended>,
}

/// How a case ended without a release.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ended {
    at: Timestamp,
    /// An officer; none where the requester withdrew it.
    refused_by: Option<String>,
}

impl Case {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> CaseId {
        self.subject.case
    }

    /// What officers sign.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Whether this person asked.
    #[must_use]
    pub fn is_of(&self, person: &Person) -> bool {
        same_name(&self.subject.requester, &person.name)
    }

    /// In one word, why nothing can be done with it any more.
    fn over(&self) -> Option<&'static str> {
        match &self.ended {
            _ if self.released.is_some() => Some("released"),
            Some(Ended {
                refused_by: Some(_),
                ..
            }) => Some("refused"),
            Some(_) => Some("withdrawn"),
            None => None,
        }
    }
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
    /// Those whose mails go out at this moment.
    running: BTreeSet<CaseId>,
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
            running: BTreeSet::new(),
        }
    }

    /// A person asks. The caller has checked the scope; the fingerprint is made here.
    pub fn request(
        &self,
        requester: &Person,
        scope: CaseScope,
        now: Timestamp,
    ) -> Result<Case, CaseError> {
        if scope.purpose.trim().is_empty() || scope.purpose.len() > PURPOSE_BYTES {
            return Err(CaseError::Purpose);
        }
        let case = CaseId::random();
        let output_fingerprint =
            fingerprint(&scope.output_certificate).ok_or(CaseError::Fingerprint(case))?;
        let subject = CaseSubject {
            case,
            requester: requester.name.clone(),
            requester_officer: requester.officer.clone(),
            needed: Some(self.needed),
            scope: CaseScope {
                output_fingerprint,
                ..scope
            },
        };
        let expires = now.plus_seconds(CASE_SECONDS);
        let statement = Statement::new(KIND, self.box_id, expires, &subject);
        if statement.0.len() > LONGEST {
            return Err(CaseError::Certificate);
        }
        Ok(Case {
            subject,
            requested: now,
            expires,
            statement,
            approvals: BTreeMap::new(),
            released: None,
            releasing: None,
            ended: None,
        })
    }

    /// One case.
    pub fn case(&self, id: CaseId) -> Result<Case, CaseError> {
        let sealed = durable::read_if_present(&self.path(id), LARGEST_FILE)?
            .ok_or(CaseError::Unknown(id))?;
        let plain =
            wrap::open(&self.key, id.as_bytes(), &sealed).map_err(|_| CaseError::Altered(id))?;
        ciborium::from_reader(plain.expose()).map_err(|_| CaseError::Altered(id))
    }

    /// All cases, newest first.
    pub fn all(&self) -> Result<Vec<Case>, CaseError> {
        let mut cases = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(cases),
            Err(error) => return Err(durable::at("read", &self.folder)(error).into()),
        };
        for entry in entries.flatten() {
            if let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                cases.push(self.case(id)?);
            }
        }
        cases.sort_by_key(|case| std::cmp::Reverse(case.requested));
        Ok(cases)
    }

    /// Whether the person may see all of a case and fetch its mails: the requester, and people who are officers.
    #[must_use]
    pub fn may_see(&self, case: &Case, person: &Person) -> bool {
        let officer = person.officer.as_ref().unwrap_or(&person.name);
        case.is_of(person) || self.officers.keys().any(|name| same_name(name, officer))
    }

    /// With an officer's signature. A bad one is named and changes nothing.
    pub fn approve(
        &self,
        id: CaseId,
        approval: Approval,
        now: Timestamp,
    ) -> Result<Case, CaseError> {
        let mut case = self.open_case(id)?;
        if case.releasing.is_some() {
            return Err(CaseError::Over(id, "being released"));
        }
        let framed = case.statement.read::<CaseSubject>(KIND, self.box_id, now)?;
        fits(&framed.subject)?;
        self.check(&case.statement, &approval, &framed.subject.requesters())?;
        case.approvals.insert(approval.officer.clone(), approval);
        Ok(case)
    }

    /// With an officer's no, who has signed `statement`: one is enough, and it is final.
    pub fn refuse(
        &self,
        id: CaseId,
        statement: &Statement,
        approval: &Approval,
        now: Timestamp,
    ) -> Result<Case, CaseError> {
        let case = self.open_case(id)?;
        self.check(statement, approval, &[])?;
        Ok(Case {
            ended: Some(Ended {
                at: now,
                refused_by: Some(approval.officer.clone()),
            }),
            ..case
        })
    }

    /// Without the requester's wish.
    pub fn withdraw(&self, id: CaseId, person: &Person, now: Timestamp) -> Result<Case, CaseError> {
        let case = self.open_case(id)?;
        if !case.is_of(person) {
            return Err(CaseError::NotYours(id));
        }
        Ok(Case {
            ended: Some(Ended {
                at: now,
                refused_by: None,
            }),
            ..case
        })
    }

    /// Whether an officer of this box signed it.
    pub fn check(
        &self,
        statement: &Statement,
        approval: &Approval,
        requester: &[&str],
    ) -> Result<(), CaseError> {
        let checked = statement.check(approval, &self.officers, requester);
        checked.map_err(|why| CaseError::Rejected {
            officer: approval.officer.clone(),
            why,
        })
    }

    /// Takes up a release: the case as a permission, if enough officers have signed and nobody else fetches it. The
    /// caller ends it with [`Cases::rest`]. A release that was cut off can be taken up again until the case expires.
    pub fn start(&mut self, id: CaseId, now: Timestamp) -> Result<Approved, CaseError> {
        let approved = self.approved(id, now)?;
        if !self.running.insert(id) {
            return Err(CaseError::Busy(id));
        }
        Ok(approved)
    }

    /// Remembers, before the first mail goes out, that mails go out.
    pub fn releasing(&self, id: CaseId, now: Timestamp) -> Result<(), CaseError> {
        let case = self.open_case(id)?;
        self.store(&Case {
            releasing: case.releasing.or(Some(now)),
            ..case
        })
    }

    /// Nobody fetches it any more.
    pub fn rest(&mut self, id: CaseId) {
        self.running.remove(&id);
    }

    fn approved(&self, id: CaseId, now: Timestamp) -> Result<Approved, CaseError> {
        let case = self.open_case(id)?;
        let framed = case.statement.read::<CaseSubject>(KIND, self.box_id, now)?;
        fits(&framed.subject)?;
        let needed = self.needed.max(framed.subject.needed.unwrap_or(0));
        let approvals: Vec<Approval> = case.approvals.into_values().collect();
        let requesters = framed.subject.requesters();
        case.statement
            .approved_by(&approvals, &self.officers, &requesters, needed)?;
        Ok(Approved {
            subject: framed.subject,
            statement: case.statement,
            approvals,
        })
    }

    /// Closes a case whose content went out, all of it.
    pub fn released(&self, id: CaseId, now: Timestamp) -> Result<Case, CaseError> {
        let case = self.open_case(id)?;
        if case.releasing.is_none() {
            return Err(CaseError::Over(id, "not being released"));
        }
        let case = Case {
            released: Some(now),
            ..case
        };
        self.store(&case)?;
        Ok(case)
    }

    /// All of a case.
    #[must_use]
    pub fn view(&self, case: &Case, now: Timestamp) -> CaseView {
        let needed = self.needed.max(case.subject.needed.unwrap_or(0));
        let state = if let Some(over) = case.over() {
            over
        } else if case.expires < now {
            "expired"
        } else if case.releasing.is_some() {
            "releasing"
        } else if case.approvals.len() >= needed {
            "approved"
        } else {
            "requested"
        };
        CaseView {
            case: case.subject.case,
            state: state.to_owned(),
            requester: case.subject.requester.clone(),
            requested: case.requested,
            expires: case.expires,
            ended: case.released.or(case.ended.as_ref().map(|ended| ended.at)),
            refused_by: case.ended.as_ref().and_then(|e| e.refused_by.clone()),
            statement: Some(case.statement.clone()),
            approvals: case.approvals.keys().cloned().collect(),
            signed: case.approvals.len(),
            needed,
        }
    }

    fn open_case(&self, id: CaseId) -> Result<Case, CaseError> {
        let case = self.case(id)?;
        match case.over() {
            Some(over) => Err(CaseError::Over(id, over)),
            None => Ok(case),
        }
    }

    /// Makes a changed case count, durably.
    pub fn store(&self, case: &Case) -> Result<(), CaseError> {
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

/// What officers compare must be what the mail is encrypted to.
fn fits(subject: &CaseSubject) -> Result<(), CaseError> {
    let own = fingerprint(&subject.scope.output_certificate);
    if own.as_ref() == Some(&subject.scope.output_fingerprint) {
        Ok(())
    } else {
        Err(CaseError::Fingerprint(subject.case))
    }
}

#[cfg(test)]
mod tests;
