//! Reading under a case. Officers sign in the statement's time; the reading goes on until the moment that stands in the
//! statement, or until an officer refuses the case or the requester withdraws it.

use super::{Approved, CaseError, CaseSubject, Cases, READ};
use crate::approval::NotApproved;
use crate::id::CaseId;
use crate::time::Timestamp;

impl Cases {
    /// The case as a permission for the person of this name to read at this time. It holds for one request: whoever
    /// reads on asks again.
    pub fn reading(&self, id: CaseId, reader: &str, now: Timestamp) -> Result<Approved, CaseError> {
        let case = self.case(id)?;
        // Exactly: another account whose name looks alike is another person.
        if case.subject.requester != reader {
            return Err(CaseError::NotTheReader(id));
        }
        if case.subject.scope.grant.kind() != READ {
            return Err(CaseError::OnlyReleased(id));
        }
        if let Some(over) = case.over() {
            return Err(CaseError::Over(id, over));
        }
        let framed = case
            .statement
            .read_at_any_time::<CaseSubject>(READ, self.box_id)?;
        let granted = framed.subject.scope.grant.read_until();
        let read_until = granted.ok_or(CaseError::OtherKind(id))?;
        if read_until < now {
            return Err(CaseError::ReadToEnd(id, read_until));
        }
        // Signatures were taken only in the statement's time: see `Cases::approve`.
        let expires = framed.expires;
        self.signed(case, framed.subject)
            .map_err(|error| match error {
                CaseError::NotApproved(NotApproved::TooFew { .. }) if expires < now => {
                    NotApproved::Expired(expires).into()
                }
                other => other,
            })
    }
}
