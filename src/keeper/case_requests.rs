//! What people and officers ask about cases. Each step is in the ledger before it counts.

use super::cases::{Case, CaseError};
use super::core::{Core, CoreError, lock};
use super::detail::{CASE, CaseDetail};
use super::people::Person;
use super::pool::Mail;
use super::protocol::{CaseAct, CaseView, MailScope, Wanted};
use crate::approval::{Approval, Statement};
use crate::id::{CaseId, Digest};
use crate::ledger::{CaseStep, Event};
use data_encoding::BASE64;
use std::io::Read;

/// The statement kind by which an officer asks to see a case.
pub const VIEW: &str = "case.view";
/// The statement kind of an officer's no.
pub const REFUSE: &str = "case.refuse";
/// How long such a statement counts: an officer signs it at once.
const ACT_SECONDS: u64 = 15 * 60;
/// A mail to try a certificate with.
const TRIAL: &[u8] = b"From: trial@localhost\r\n\r\n\r\n";

/// What an officer signs to see or refuse a case.
pub fn statement(core: &Core, kind: &str, case: CaseId) -> Statement {
    let expires = core.now().plus_seconds(ACT_SECONDS);
    Statement::new(kind, core.box_id(), expires, CaseAct { case })
}

/// A person asks.
pub fn request(
    core: &Core,
    person: &Person,
    scope: MailScope,
    wanted: Wanted,
) -> Result<CaseView, CoreError> {
    check(core, &scope)?;
    if let Wanted::Release { certificate } = &wanted {
        check_certificate(core, certificate)?;
    }
    let (cases, now) = (lock(&core.cases), core.now());
    let case = cases.request(person, scope, wanted, now)?;
    let document = case.statement().digest();
    note(core, &case, CaseStep::Requested, document, &person.name)?;
    cases.store(&case)?;
    Ok(cases.view(&case, now))
}

/// Refuses what is no mailbox and no period of this box.
fn check(core: &Core, scope: &MailScope) -> Result<(), CoreError> {
    if !core.tenants().any(|tenant| *tenant == scope.tenant) {
        return Err(CoreError::NoTenant(scope.tenant.clone()));
    }
    if !is_address(&scope.mailbox) {
        return no("the mailbox is not one address, as anna@example.org");
    }
    if let (Some(from), Some(until)) = (scope.from, scope.until)
        && from > until
    {
        return no("the first day is after the last");
    }
    Ok(())
}

/// Refuses what nothing could be released to.
fn check_certificate(core: &Core, certificate: &str) -> Result<(), CoreError> {
    let Ok(certificate) = BASE64.decode(certificate.as_bytes()) else {
        return no("the certificate is not base64");
    };
    let bytes = || Box::new(TRIAL) as Box<dyn Read>;
    let trial = Mail {
        length: TRIAL.len() as u64,
        arrived: core.now(),
        bytes: &bytes,
    };
    match lock(&core.reading).encrypt(&trial, &certificate) {
        Ok(_) => Ok(()),
        Err(error) => no(&format!("nothing can be encrypted to it: {error}")),
    }
}

fn no(why: &str) -> Result<(), CoreError> {
    Err(CoreError::Case(CaseError::Scope(why.to_owned())))
}

fn is_address(text: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';');
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !text.contains(bad)
    })
}

/// All cases: in numbers, and with names where the person may see them.
pub fn list(core: &Core, person: Option<&Person>) -> Result<Vec<CaseView>, CoreError> {
    let (cases, now) = (lock(&core.cases), core.now());
    let view = |case: &Case| {
        let view = cases.view(case, now);
        if person.is_some_and(|person| cases.may_see(case, person)) {
            CaseView {
                statement: None,
                ..view
            }
        } else {
            view.in_numbers()
        }
    };
    Ok(cases.all()?.iter().map(view).collect())
}

/// One case: all of it where the person may see it, else in numbers.
pub fn show(core: &Core, person: Option<&Person>, id: CaseId) -> Result<CaseView, CoreError> {
    let (cases, now) = (lock(&core.cases), core.now());
    let case = cases.case(id)?;
    let view = cases.view(&case, now);
    Ok(match person {
        Some(person) if cases.may_see(&case, person) => view,
        _ => view.in_numbers(),
    })
}

/// All of one case, for an officer who signed to see it.
pub fn open(
    core: &Core,
    statement: &Statement,
    approval: &Approval,
) -> Result<CaseView, CoreError> {
    let (cases, now) = (lock(&core.cases), core.now());
    let act = statement.read::<CaseAct>(VIEW, core.box_id(), now)?;
    cases.check(statement, approval, &[])?;
    let case = cases.case(act.subject.case)?;
    Ok(cases.view(&case, now))
}

/// An officer's signature.
pub fn approve(core: &Core, id: CaseId, approval: Approval) -> Result<CaseView, CoreError> {
    let (cases, now) = (lock(&core.cases), core.now());
    let officer = approval.officer.clone();
    let case = cases.approve(id, approval, now)?;
    let document = case.statement().digest();
    note(core, &case, CaseStep::Approved, document, &officer)?;
    cases.store(&case)?;
    Ok(cases.view(&case, now))
}

/// An officer's no.
pub fn refuse(
    core: &Core,
    statement: &Statement,
    approval: &Approval,
) -> Result<CaseView, CoreError> {
    let (mut cases, now) = (lock(&core.cases), core.now());
    let act = statement.read::<CaseAct>(REFUSE, core.box_id(), now)?;
    let case = cases.refuse(act.subject.case, statement, approval, now)?;
    let step = CaseStep::Refused;
    note(core, &case, step, statement.digest(), &approval.officer)?;
    cases.end(&case)?;
    Ok(cases.view(&case, now))
}

/// The requester wants it no more.
pub fn withdraw(core: &Core, person: &Person, id: CaseId) -> Result<CaseView, CoreError> {
    let (mut cases, now) = (lock(&core.cases), core.now());
    let case = cases.withdraw(id, person, now)?;
    let document = case.statement().digest();
    note(core, &case, CaseStep::Closed, document, &person.name)?;
    cases.end(&case)?;
    Ok(cases.view(&case, now))
}

/// Whoever fetched a release has all of it.
pub fn released(core: &Core, person: &Person, id: CaseId) -> Result<CaseView, CoreError> {
    let (cases, now) = (lock(&core.cases), core.now());
    let case = cases.case(id)?;
    if !cases.may_see(&case, person) {
        return Err(CaseError::NotYours(id).into());
    }
    let case = cases.released(id, now)?;
    Ok(cases.view(&case, now))
}

fn note(
    core: &Core,
    case: &Case,
    step: CaseStep,
    document: Digest,
    who: &str,
) -> Result<(), CoreError> {
    let sealed = core.sealed_detail(CASE, &CaseDetail::of(case.requester(), case.scope(), who));
    core.record(&[Event::Case {
        case: case.id(),
        step,
        document,
        sealed,
    }])?;
    Ok(())
}
