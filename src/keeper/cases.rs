//! Cases: requested → approved (m officers sign the case's statement; the requester does not count) → releasing →
//! released, or read by the requester until the date that was signed; or refused by an officer, withdrawn by the
//! requester, or expired. Kept sealed, for a case names a person.
//!
//! A change is made in two steps, so that the ledger can have it in between: [`Cases::request`] and the like give the
//! changed [`Case`], [`Cases::store`] makes it count.

mod error;
mod read;
mod statement;
#[cfg(test)]
mod tests;

pub use error::CaseError;
pub use statement::{
    CASE_SECONDS, CaseScope, CaseSubject, Grant, MOST_DAYS, READ, RELEASE, fingerprint,
};

use super::people::Person;
use super::protocol::{CaseView, MailScope, Wanted};
use crate::approval::{Approval, Statement, same_name};
use crate::crypto::kdf::{Label, derive};
use crate::crypto::sign::VerifyingKey;
use crate::crypto::wrap;
use crate::durable;
use crate::id::{BoxId, CaseId};
use crate::ledger::CaseStep;
use crate::secret::Key;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const LARGEST_FILE: u64 = 4 << 20;

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
pub struct Ended {
    at: Timestamp,
    /// An officer; none where the requester withdrew it.
    refused_by: Option<String>,
}

impl Ended {
    /// What a step in the ledger, taken at this time, says of the end; `None` where it was not the end.
    #[must_use]
    pub fn by_step(step: CaseStep, at: Timestamp) -> Option<Self> {
        let refused_by = match step {
            CaseStep::Refused => Some("an officer, as the ledger says".to_owned()),
            CaseStep::Closed => None,
            _ => return None,
        };
        Some(Self { at, refused_by })
    }
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

    /// Who asked.
    #[must_use]
    pub fn requester(&self) -> &str {
        &self.subject.requester
    }

    /// Which mail it is about.
    #[must_use]
    pub const fn scope(&self) -> &CaseScope {
        &self.subject.scope
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
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> CaseId {
        self.subject.case
    }

    /// Which mail, and what may be done with it.
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
    /// Those that the ledger ended, whatever a file says that was put back.
    ended: BTreeMap<CaseId, Ended>,
}

impl Cases {
    /// Cases in `folder`, sealed under a key derived from the keyring's people key; `needed` officers approve. The ledger
    /// has `ended` some of them.
    #[must_use]
    pub fn new(
        folder: &Path,
        people_key: &Key,
        box_id: BoxId,
        officers: BTreeMap<String, VerifyingKey>,
        needed: usize,
        ended: BTreeMap<CaseId, Ended>,
    ) -> Self {
        let key = derive(people_key, Label::PeopleFile, &[b"cases"]);
        Self {
            folder: folder.to_owned(),
            key,
            box_id,
            officers,
            needed,
            running: BTreeSet::new(),
            ended,
        }
    }

    /// A person asks. The caller has checked the scope; fingerprint and end of reading are made here.
    pub fn request(
        &self,
        requester: &Person,
        scope: MailScope,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Case, CaseError> {
        let (subject, statement, expires) =
            CaseSubject::new(requester, self.needed, (scope, wanted), self.box_id, now)?;
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
        let mut case: Case =
            ciborium::from_reader(plain.expose()).map_err(|_| CaseError::Altered(id))?;
        case.ended = case.ended.or_else(|| self.ended.get(&id).cloned());
        Ok(case)
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
        case.is_of(person) || self.is_officer(person)
    }

    /// Whether the person is one of the box's officers, by name or as other officers signed.
    #[must_use]
    pub fn is_officer(&self, person: &Person) -> bool {
        let officer = person.officer.as_ref().unwrap_or(&person.name);
        self.officers.keys().any(|name| same_name(name, officer))
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
        let kind = case.subject.scope.grant.kind();
        let framed = case.statement.read::<CaseSubject>(kind, self.box_id, now)?;
        framed.subject.check(kind)?;
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
        if case.subject.scope.grant.kind() != RELEASE {
            return Err(CaseError::OnlyRead(id));
        }
        let framed = case
            .statement
            .read::<CaseSubject>(RELEASE, self.box_id, now)?;
        framed.subject.check(RELEASE)?;
        self.signed(case, framed.subject)
    }

    /// The permission, if enough officers other than the requester have signed what the statement says.
    fn signed(&self, case: Case, subject: CaseSubject) -> Result<Approved, CaseError> {
        let needed = self.needed.max(subject.needed.unwrap_or(0));
        let approvals: Vec<Approval> = case.approvals.into_values().collect();
        let requesters = subject.requesters();
        case.statement
            .approved_by(&approvals, &self.officers, &requesters, needed)?;
        Ok(Approved {
            subject,
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
        let needed = match case.subject.needed {
            // A policy that came later asks nothing more of what is over.
            Some(asked) if case.over().is_some() => asked,
            asked => self.needed.max(asked.unwrap_or(0)),
        };
        let is_approved = case.approvals.len() >= needed;
        let grant = &case.subject.scope.grant;
        let last = match grant.read_until() {
            Some(read_until) if is_approved => read_until,
            _ => case.expires,
        };
        let state = if let Some(over) = case.over() {
            over
        } else if last < now {
            "expired"
        } else if case.releasing.is_some() {
            "releasing"
        } else if is_approved {
            "approved"
        } else {
            "requested"
        };
        CaseView {
            case: case.subject.case,
            kind: grant.kind().to_owned(),
            state: state.to_owned(),
            requester: case.subject.requester.clone(),
            requested: case.requested,
            expires: case.expires,
            read_until: grant.read_until(),
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

    /// Makes the end of a case count that the ledger has: at once, and durably.
    pub fn end(&mut self, case: &Case) -> Result<(), CaseError> {
        if let Some(ended) = &case.ended {
            self.ended.insert(case.id(), ended.clone());
        }
        self.store(case)
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
