//! Permission as a value: whoever reads content holds a [`Warrant`], and only a person's session or an approved
//! case makes one. Its fields are private, so forging one does not compile.

use super::cases::Approved;
use super::people::Person;
use crate::catalog::RecordMeta;
use crate::id::{CaseId, TenantId};
use crate::time::Timestamp;

/// The right to read certain mail, and the words for the ledger.
pub struct Warrant {
    tenant: TenantId,
    mailboxes: Vec<String>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    who: String,
    purpose: String,
    right: Right,
}

/// What a warrant rests on.
#[derive(Clone, Copy)]
enum Right {
    OwnMail,
    Release(CaseId),
    Reading(CaseId),
}

impl Warrant {
    /// A person reads the mail of the mailboxes that officers signed for.
    #[must_use]
    pub fn of_person(person: &Person) -> Self {
        Self {
            tenant: person.tenant.clone(),
            mailboxes: person
                .mailboxes
                .iter()
                .map(|mailbox| mailbox.to_lowercase())
                .collect(),
            from: None,
            until: None,
            who: person.name.clone(),
            purpose: "own mail".to_owned(),
            right: Right::OwnMail,
        }
    }

    /// Enough officers approved that mail goes out; this person fetches it.
    #[must_use]
    pub(super) fn of_release(approved: &Approved, person: &Person) -> Self {
        Self::of_case(approved, &person.name, Right::Release(approved.id()))
    }

    /// Enough officers approved that the requester reads, and the keeper has seen that the requester does.
    #[must_use]
    pub(super) fn of_reading(approved: &Approved) -> Self {
        Self::of_case(
            approved,
            approved.requester(),
            Right::Reading(approved.id()),
        )
    }

    fn of_case(approved: &Approved, who: &str, right: Right) -> Self {
        let scope = approved.scope();
        Self {
            tenant: scope.tenant.clone(),
            mailboxes: vec![scope.mailbox.to_lowercase()],
            from: scope.from,
            until: scope.until,
            who: who.to_owned(),
            purpose: format!("case {}: {}", approved.id(), scope.purpose),
            right,
        }
    }

    /// The case that it rests on.
    #[must_use]
    pub const fn case(&self) -> Option<CaseId> {
        match self.right {
            Right::OwnMail => None,
            Right::Release(case) | Right::Reading(case) => Some(case),
        }
    }

    /// The case that lets its requester read, which may end at any moment.
    #[must_use]
    pub const fn reading_case(&self) -> Option<CaseId> {
        match self.right {
            Right::Reading(case) => Some(case),
            Right::OwnMail | Right::Release(_) => None,
        }
    }

    /// Whose archive.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Mailboxes, lower case.
    #[must_use]
    pub fn mailboxes(&self) -> &[String] {
        &self.mailboxes
    }

    /// First and last moment covered, of the mail's own date.
    #[must_use]
    pub const fn period(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.from, self.until)
    }

    /// Who reads, for the ledger.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Why, for the ledger.
    #[must_use]
    pub fn purpose(&self) -> &str {
        &self.purpose
    }

    /// Whether an arrival of this tenant with these owners may be read, if its mail is of the [`Warrant::period`].
    #[must_use]
    pub fn covers(&self, tenant: &TenantId, owners: &[String]) -> bool {
        *tenant == self.tenant && owners.iter().any(|owner| self.mailboxes.contains(owner))
    }

    /// Those of the mailboxes in which a record lies.
    pub fn through<'a>(&'a self, meta: &'a RecordMeta) -> impl Iterator<Item = &'a String> {
        let own = meta.tenant == self.tenant;
        let owners = meta.arrivals.iter().flat_map(|arrival| &arrival.owners);
        owners.filter(move |owner| own && self.mailboxes.contains(owner))
    }

    /// Whether a mail of this date is of the period.
    #[must_use]
    pub fn covers_date(&self, date: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= date) && self.until.is_none_or(|until| date <= until)
    }
}

/// The right to read the access log: an auditor or an officer reads all of the own tenant's, everybody else what is by
/// them or about mail that they may read.
pub struct LogWarrant {
    own: Warrant,
    all: bool,
}

impl LogWarrant {
    /// A person's.
    #[must_use]
    pub fn of_person(person: &Person, is_officer: bool) -> Self {
        let all = person.auditor || is_officer;
        let purpose = if all { "audit" } else { "own access log" };
        Self {
            own: Warrant {
                purpose: purpose.to_owned(),
                ..Warrant::of_person(person)
            },
            all,
        }
    }

    /// The person's right to mail, and the words for the ledger.
    #[must_use]
    pub const fn own(&self) -> &Warrant {
        &self.own
    }

    /// Whether all entries about this tenant may be read.
    #[must_use]
    pub fn covers_all_of(&self, tenant: &TenantId) -> bool {
        self.all && *tenant == self.own.tenant
    }

    /// Whether an entry is about what the person themselves did.
    #[must_use]
    pub fn is_of(&self, who: &str) -> bool {
        self.own.who == who
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::people::StoredPassword;

    fn anna() -> Person {
        Person {
            name: "anna".into(),
            tenant: "main".parse().expect("tenant"),
            mailboxes: vec!["Anna@Example.org".into()],
            password: StoredPassword::default(),
            active: true,
            officer: None,
            auditor: false,
        }
    }

    #[test]
    fn a_person_reads_only_own_mailboxes_of_the_own_tenant() {
        let person = anna();
        let warrant = Warrant::of_person(&person);
        let owners = |address: &str| vec![address.to_owned()];
        let (main, other) = (person.tenant.clone(), "other".parse().expect("tenant"));
        assert!(warrant.covers(&main, &owners("anna@example.org")));
        assert!(!warrant.covers(&main, &owners("bert@example.org")));
        assert!(!warrant.covers(&other, &owners("anna@example.org")));
        assert!(!warrant.covers(&main, &[]));
    }

    #[test]
    fn only_auditors_and_officers_read_all_of_the_access_log_and_of_the_own_tenant() {
        let auditor = Person {
            auditor: true,
            mailboxes: Vec::new(),
            ..anna()
        };
        let (main, other) = (anna().tenant, "other".parse().expect("tenant"));
        for (person, is_officer, all) in [
            (anna(), false, false),
            (anna(), true, true),
            (auditor, false, true),
        ] {
            let warrant = LogWarrant::of_person(&person, is_officer);
            assert_eq!(warrant.covers_all_of(&main), all);
            assert!(!warrant.covers_all_of(&other));
            assert!(warrant.is_of("anna") && !warrant.is_of("Anna"));
        }
    }
}
