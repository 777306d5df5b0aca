//! What of one ledger entry a reader of the access log is told.
//!
//! Words that a person searched for in the own mail are told to nobody else, and that a person read the own copy of a mail
//! only to those who share the mailbox: the log shows who reads whose mail, not how people work (requirement P3).

use super::ACTION;
use crate::approval::{Framed, same_name};
use crate::id::{CaseId, RecordId, TenantId};
use crate::keeper::cases::Cases;
use crate::keeper::core::{Core, CoreError, lock};
use crate::keeper::detail::{
    ACCESS, AccessDetail, AnyCaseDetail, CASE, CaseDetail, PEOPLE, SESSION,
};
use crate::keeper::protocol::{AccessFilter, AccessRow};
use crate::keeper::rights::LogWarrant;
use crate::ledger::{CaseStep, Event, Recorded};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What looking up a record or a case costs beside passing an entry.
const LOOKUP: u64 = 20;

/// What is told of an entry.
pub enum Told {
    /// This.
    Row(Box<AccessRow>),
    /// That its detail does not open.
    Damaged,
    /// Nothing: it is of another kind, not asked for, or not for this reader.
    Nothing,
}

/// What a statement about a person says, in every version.
#[derive(Deserialize)]
struct ChangedPerson {
    name: String,
    tenant: TenantId,
    active: bool,
}

/// Tells one reader's view of ledger entries.
pub struct Teller<'a> {
    core: &'a Core,
    warrant: &'a LogWarrant,
    filter: &'a AccessFilter,
    /// People whose sign-ins the reader sees.
    people: BTreeSet<String>,
    /// In which of the reader's mailboxes a record lies.
    mine: BTreeMap<RecordId, BTreeSet<String>>,
    cost: u64,
}

impl<'a> Teller<'a> {
    /// For a reader and what is asked for.
    pub fn new(core: &'a Core, warrant: &'a LogWarrant, filter: &'a AccessFilter) -> Self {
        let tenant = warrant.own().tenant();
        let people = if warrant.covers_all_of(tenant) {
            lock(&core.people).names_of(tenant)
        } else {
            BTreeSet::new()
        };
        Self {
            core,
            warrant,
            filter,
            people,
            mine: BTreeMap::new(),
            cost: 0,
        }
    }

    /// What is told of this entry, and what that cost.
    pub fn tell(&mut self, recorded: &Recorded) -> Result<(Told, u64), CoreError> {
        self.cost = 1;
        let time = recorded.entry.time;
        if self.filter.until.is_some_and(|until| until < time) {
            return Ok((Told::Nothing, self.cost));
        }
        let told = match &recorded.entry.event {
            Event::Access {
                tenant,
                record,
                case,
                sealed,
            } => self.access(tenant, *record, *case, sealed)?,
            Event::Case {
                case, step, sealed, ..
            } => self.case(*case, *step, sealed),
            Event::Session { admitted, sealed } => self.session(*admitted, sealed),
            Event::PeopleChanged { sealed, .. } => self.people_changed(sealed),
            _ => Told::Nothing,
        };
        let told = match told {
            Told::Row(row) if self.is_wanted(&row) => Told::Row(Box::new(AccessRow {
                entry: recorded.index,
                time,
                ..*row
            })),
            Told::Row(_) => Told::Nothing,
            other => other,
        };
        Ok((told, self.cost))
    }

    fn is_wanted(&self, row: &AccessRow) -> bool {
        let filter = self.filter;
        let is_by_or_about = |name: &String| {
            same_name(&row.who, name) || row.person.as_ref().is_some_and(|of| same_name(of, name))
        };
        filter.case.is_none_or(|case| row.case == Some(case))
            && filter.record.is_none_or(|id| row.records.contains(&id))
            && filter.person.as_ref().is_none_or(is_by_or_about)
    }

    fn access(
        &mut self,
        tenant: &TenantId,
        record: Option<RecordId>,
        case: Option<CaseId>,
        sealed: &str,
    ) -> Result<Told, CoreError> {
        let Some(detail) = self.open::<AccessDetail>(ACCESS, sealed) else {
            return Ok(Told::Damaged);
        };
        let (own, all) = (
            self.warrant.is_of(&detail.who),
            self.warrant.covers_all_of(tenant),
        );
        let mut records = Vec::new();
        for id in record.iter().chain(&detail.records) {
            if own || all || self.concerns(*id, case, &detail.through)? {
                records.push(*id);
            }
        }
        if records.is_empty() && !own && !all {
            return Ok(Told::Nothing);
        }
        let is_for_auditors = case.is_some() || detail.action == ACTION;
        let query = detail.query.filter(|_| own || (all && is_for_auditors));
        Ok(Told::Row(Box::new(AccessRow {
            purpose: detail.purpose,
            records,
            case,
            query,
            ..row(detail.who, detail.action)
        })))
    }

    /// Whether the record is mail that the reader of the log may read themselves, and was read under a case, or through
    /// a mailbox that the two share.
    fn concerns(
        &mut self,
        record: RecordId,
        case: Option<CaseId>,
        through: &BTreeSet<String>,
    ) -> Result<bool, CoreError> {
        if !self.mine.contains_key(&record) {
            self.cost += LOOKUP;
            let meta = self.core.catalog().record(&record)?;
            let own = self.warrant.own();
            let mine = meta.iter().flat_map(|meta| own.through(meta)).cloned();
            self.mine.insert(record, mine.collect());
        }
        let mine = &self.mine[&record];
        let is_third_party = case.is_some() || through.is_empty();
        Ok(if is_third_party {
            !mine.is_empty()
        } else {
            !mine.is_disjoint(through)
        })
    }

    fn case(&mut self, case: CaseId, step: CaseStep, sealed: &str) -> Told {
        let Some(detail) = self.open::<AnyCaseDetail>(CASE, sealed) else {
            return Told::Damaged;
        };
        let (who, of_case) = match detail {
            AnyCaseDetail::Whole(detail) => (detail.who.clone(), Some(detail)),
            AnyCaseDetail::Who(who) => (who, self.case_of_old(case, None)),
            AnyCaseDetail::Released(who, mails) => (who, self.case_of_old(case, Some(mails))),
        };
        let visible = match &of_case {
            Some(detail) => {
                self.warrant.covers_all_of(&detail.tenant) || self.warrant.is_of(&detail.requester)
            }
            // Its file is gone, which must not hide from auditors that there was a case.
            None => self.warrant.covers_all_of(self.warrant.own().tenant()),
        };
        if !visible && !self.warrant.is_of(&who) {
            return Told::Nothing;
        }
        Told::Row(Box::new(AccessRow {
            purpose: of_case
                .as_ref()
                .map(|detail| detail.purpose.clone())
                .unwrap_or_default(),
            case: Some(case),
            mails: of_case.and_then(|detail| detail.mails),
            ..row(who, step_in_words(step).to_owned())
        }))
    }

    /// What entries of earlier versions leave to the case's file.
    fn case_of_old(&mut self, id: CaseId, mails: Option<u64>) -> Option<CaseDetail> {
        self.cost += LOOKUP;
        let cases: &Cases = &lock(&self.core.cases);
        let case = cases.case(id).ok()?;
        Some(CaseDetail {
            mails,
            ..CaseDetail::of(case.requester(), case.scope(), "")
        })
    }

    fn session(&mut self, admitted: bool, sealed: &str) -> Told {
        let Some(name) = self.open::<String>(SESSION, sealed) else {
            return Told::Damaged;
        };
        if !self.warrant.is_of(&name) && !self.people.contains(&name) {
            return Told::Nothing;
        }
        let action = if admitted {
            "sign in"
        } else {
            "sign in refused"
        };
        Told::Row(Box::new(row(name, action.to_owned())))
    }

    fn people_changed(&mut self, sealed: &str) -> Told {
        let Some((officers, statement)) = self.open::<(Vec<String>, String)>(PEOPLE, sealed) else {
            return Told::Damaged;
        };
        let Ok(framed) = serde_json::from_str::<Framed<ChangedPerson>>(&statement) else {
            return Told::Damaged;
        };
        let person = framed.subject;
        if !self.warrant.covers_all_of(&person.tenant) && !self.warrant.is_of(&person.name) {
            return Told::Nothing;
        }
        let action = if person.active {
            "person set"
        } else {
            "account closed"
        };
        Told::Row(Box::new(AccessRow {
            person: Some(person.name),
            ..row(officers.join(", "), action.to_owned())
        }))
    }

    fn open<T: serde::de::DeserializeOwned>(&mut self, kind: &str, sealed: &str) -> Option<T> {
        self.cost += 1;
        self.core.open_detail(kind, sealed)
    }
}

/// A row that says only who did what; number and time come with the entry.
pub(super) fn row(who: String, action: String) -> AccessRow {
    AccessRow {
        entry: 0,
        time: crate::time::Timestamp(0),
        who,
        purpose: String::new(),
        action,
        records: Vec::new(),
        case: None,
        person: None,
        mails: None,
        query: None,
    }
}

const fn step_in_words(step: CaseStep) -> &'static str {
    match step {
        CaseStep::Requested => "case requested",
        CaseStep::Approved => "case approved",
        CaseStep::Refused => "case refused",
        CaseStep::Released => "case released",
        CaseStep::Closed => "case withdrawn",
        CaseStep::Expired => "case expired",
    }
}
