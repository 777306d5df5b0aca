//! From a parsed query and a scope to tantivy's query. The scope is a condition beside the person's
//! query, never part of its text, so no syntax can lead out of it.

use super::doc::{ATTACHMENT_MARK, Encryption, Fields, Judgement, owner_term};
use super::negation::not;
use super::query::{EncryptedIs, Query, SignedIs, TextField};
use crate::id::TenantId;
use crate::time::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::ops::Bound;
use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, PhraseQuery, RangeQuery, TermQuery};
use tantivy::schema::{Field, IndexRecordOption};

type Compiled = Box<dyn tantivy::query::Query>;

/// What a person may find, decided by the keeper.
#[derive(Debug, Clone)]
pub struct Scope {
    /// In this tenant only.
    pub tenant: TenantId,
    /// Mail of one of these mailboxes; `None`: of all. An empty list finds nothing.
    pub owners: Option<Vec<String>>,
    /// Dated at this time or later.
    pub from: Option<Timestamp>,
    /// Dated before this time.
    pub until: Option<Timestamp>,
}

/// `query` within `scope`.
#[must_use]
pub fn compile(fields: &Fields, query: &Query, scope: &Scope) -> Compiled {
    let mut conditions = vec![exact(fields.tenant, scope.tenant.as_str())];
    if let Some(owners) = &scope.owners {
        conditions.push(any(owners
            .iter()
            .map(|owner| exact(fields.owner, &owner_term(owner)))));
    }
    conditions.push(dated(fields, scope.from, scope.until));
    conditions.push(wanted(fields, query));
    all(conditions)
}

fn wanted(fields: &Fields, query: &Query) -> Compiled {
    match query {
        Query::Everything => Box::new(AllQuery),
        Query::Words(field, words) => any(texts(fields, *field)
            .iter()
            .map(|field| phrase(*field, words))),
        Query::Address(field, address) => any(addresses(fields, *field)
            .iter()
            .map(|field| exact(*field, address))),
        Query::Dated { from, until } => dated(fields, from.map(start_of), until.map(start_of)),
        Query::HasAttachment => exact(fields.mark, ATTACHMENT_MARK),
        Query::Encrypted(EncryptedIs::By(how)) => exact(fields.mark, how.mark()),
        Query::Encrypted(EncryptedIs::Yes) => is_encrypted(fields),
        Query::Encrypted(EncryptedIs::No) => not(is_encrypted(fields)),
        Query::Signed(SignedIs::Judged(judgement)) => exact(fields.mark, judgement.mark()),
        Query::Signed(SignedIs::Any) => is_signed(fields),
        Query::Signed(SignedIs::No) => not(is_signed(fields)),
        Query::Record(record) => term(fields.record_term(record)),
        Query::MessageId(id) => exact(fields.message_id, id),
        Query::Not(inner) => not(wanted(fields, inner)),
        Query::All(parts) => all(parts.iter().map(|part| wanted(fields, part)).collect()),
        Query::Any(parts) => any(parts.iter().map(|part| wanted(fields, part))),
    }
}

fn texts(fields: &Fields, field: TextField) -> Vec<Field> {
    match field {
        TextField::Anywhere => {
            vec![
                fields.from,
                fields.to,
                fields.subject,
                fields.body,
                fields.attachment,
            ]
        }
        TextField::From => vec![fields.from],
        TextField::To => vec![fields.to],
        TextField::With => vec![fields.from, fields.to],
        TextField::Subject => vec![fields.subject],
        TextField::Body => vec![fields.body],
        TextField::Attachment => vec![fields.attachment],
    }
}

fn addresses(fields: &Fields, field: TextField) -> Vec<Field> {
    match field {
        TextField::From => vec![fields.from_address],
        TextField::To => vec![fields.to_address],
        _ => vec![fields.from_address, fields.to_address],
    }
}

fn is_encrypted(fields: &Fields) -> Compiled {
    any(Encryption::ALL
        .iter()
        .map(|how| exact(fields.mark, how.mark())))
}

fn is_signed(fields: &Fields) -> Compiled {
    any(Judgement::ALL
        .iter()
        .map(|judgement| exact(fields.mark, judgement.mark())))
}

fn phrase(field: Field, words: &[String]) -> Compiled {
    match words {
        [] => Box::new(EmptyQuery),
        [word] => exact(field, word),
        words => {
            let terms = words
                .iter()
                .map(|word| Term::from_field_text(field, word))
                .collect();
            Box::new(PhraseQuery::new(terms))
        }
    }
}

fn dated(fields: &Fields, from: Option<Timestamp>, until: Option<Timestamp>) -> Compiled {
    let term = |time: Timestamp| Term::from_field_u64(fields.date, time.0);
    if from.is_none() && until.is_none() {
        return Box::new(AllQuery);
    }
    let lower = from.map_or(Bound::Unbounded, |time| Bound::Included(term(time)));
    let upper = until.map_or(Bound::Unbounded, |time| Bound::Excluded(term(time)));
    Box::new(RangeQuery::new(lower, upper))
}

/// Midnight UTC; days before 1970 count as 1970.
fn start_of(day: Date) -> Timestamp {
    let midnight = TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0));
    let milliseconds = midnight.map_or(i64::MAX, jiff::Timestamp::as_millisecond);
    Timestamp(u64::try_from(milliseconds).unwrap_or(0))
}

fn exact(field: Field, text: &str) -> Compiled {
    term(Term::from_field_text(field, text))
}

fn term(term: Term) -> Compiled {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn all(parts: Vec<Compiled>) -> Compiled {
    Box::new(BooleanQuery::intersection(parts))
}

fn any(parts: impl Iterator<Item = Compiled>) -> Compiled {
    Box::new(BooleanQuery::union(parts.collect()))
}
