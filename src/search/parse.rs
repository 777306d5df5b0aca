//! The parser of the query language that [`super::query`] describes.

use super::query::{
    DEEPEST_QUERY, ENCRYPTED, LONGEST_QUERY, MOST_TERMS, Query, SIGNED, TEXT_FIELDS, TextField,
};
use super::words::{fold, words};
use jiff::ToSpan;
use jiff::civil::Date;

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position} of the query: {problem}")]
pub struct QueryError {
    /// Character (not byte) at which the problem lies, from 1.
    pub position: usize,
    /// See [`QueryProblem`].
    #[source]
    pub problem: QueryProblem,
}

/// See the texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryProblem {
    /// More than [`LONGEST_QUERY`].
    #[error("longer than {LONGEST_QUERY} bytes")]
    TooLong,
    /// More than [`DEEPEST_QUERY`].
    #[error("nested deeper than {DEEPEST_QUERY} levels")]
    TooDeep,
    /// More than [`MOST_TERMS`].
    #[error("more than {MOST_TERMS} words and conditions")]
    TooMany,
    /// A quotation mark without its partner.
    #[error("a closing quotation mark is missing")]
    OpenQuote,
    /// A parenthesis without its partner.
    #[error("a closing parenthesis is missing")]
    OpenParenthesis,
    /// A closing parenthesis too many.
    #[error("there is no opening parenthesis for this one")]
    StrayParenthesis,
    /// `OR`, `-`, `(` or the end where something to search for was expected.
    #[error("a word, a \"phrase\", a condition like from:anna or a parenthesis is expected here")]
    NothingHere,
    /// Nothing but signs.
    #[error("there is no letter or digit to search for")]
    NoWord,
    /// Not a field.
    #[error(
        "{0:?} is not a field; there are from, to, with, subject, body, attachment, date, before, after, has, \
         encrypted, signed and id (put text with a colon into quotation marks)"
    )]
    UnknownField(String),
    /// Not a value of this field.
    #[error("{field}: takes {allowed}")]
    BadValue {
        /// The field.
        field: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
}

impl std::str::FromStr for Query {
    type Err = QueryError;
    fn from_str(text: &str) -> Result<Self, QueryError> {
        if text.len() > LONGEST_QUERY {
            return Err(QueryError {
                position: 1,
                problem: QueryProblem::TooLong,
            });
        }
        let mut parser = Parser {
            text,
            at: 0,
            terms: 0,
        };
        parser.skip_space();
        if parser.rest().is_empty() {
            return Ok(Self::Everything);
        }
        let query = parser.any(0)?;
        match parser.rest().is_empty() {
            true => Ok(query),
            false => Err(parser.error(QueryProblem::StrayParenthesis)),
        }
    }
}

/// Recursive descent; `at` is always a character boundary.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    terms: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Query, QueryError> {
        let mut alternatives = vec![self.all(depth)?];
        while self.take_or() {
            alternatives.push(self.all(depth)?);
        }
        Ok(one_or(alternatives, Query::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Query, QueryError> {
        let mut parts = vec![self.one(depth)?];
        while !self.rest().is_empty() && !self.rest().starts_with(')') && !self.at_or() {
            parts.push(self.one(depth)?);
        }
        Ok(one_or(parts, Query::All))
    }

    fn one(&mut self, depth: usize) -> Result<Query, QueryError> {
        if depth > DEEPEST_QUERY {
            return Err(self.error(QueryProblem::TooDeep));
        }
        let query = if self.take('-') {
            Query::Not(Box::new(self.one(depth + 1)?))
        } else if self.rest().starts_with('(') {
            let opened = self.error(QueryProblem::OpenParenthesis);
            self.take('(');
            self.skip_space();
            let inner = self.any(depth + 1)?;
            if !self.take(')') {
                return Err(opened);
            }
            inner
        } else {
            self.term()?
        };
        self.skip_space();
        Ok(query)
    }

    fn term(&mut self) -> Result<Query, QueryError> {
        self.terms += 1;
        if self.terms > MOST_TERMS {
            return Err(self.error(QueryProblem::TooMany));
        }
        if self.at_or() {
            return Err(self.error(QueryProblem::NothingHere));
        }
        match self.take_field() {
            None => self.text_term(TextField::Anywhere),
            Some((at, field)) => self.field_term(at, &field),
        }
    }

    fn field_term(&mut self, at: usize, field: &str) -> Result<Query, QueryError> {
        if let Some((_, field)) = TEXT_FIELDS.iter().find(|(name, _)| *name == field) {
            return self.text_term(*field);
        }
        match field {
            "date" => self.value("date", DATE_HELP, date_range),
            "before" => self.value("before", DAY_HELP, |text| {
                let (first, _) = period(text)?;
                Some(Query::Dated {
                    from: None,
                    until: Some(first),
                })
            }),
            "after" => self.value("after", DAY_HELP, |text| {
                let (_, next) = period(text)?;
                Some(Query::Dated {
                    from: Some(next),
                    until: None,
                })
            }),
            "has" => self.value("has", "attachment", |text| {
                text.eq_ignore_ascii_case("attachment")
                    .then_some(Query::HasAttachment)
            }),
            "encrypted" => self.value("encrypted", "yes, no, smime or openpgp", |text| {
                one_of(&ENCRYPTED, text).map(Query::Encrypted)
            }),
            "signed" => self.value(
                "signed",
                "yes, no, valid, valid-but, unknown-signer or invalid",
                |text| one_of(&SIGNED, text).map(Query::Signed),
            ),
            "id" => self.value("id", "a record id or a Message-ID", id),
            _ => {
                self.at = at;
                Err(self.error(QueryProblem::UnknownField(field.to_owned())))
            }
        }
    }

    fn value(
        &mut self,
        field: &'static str,
        allowed: &'static str,
        read: impl FnOnce(&str) -> Option<Query>,
    ) -> Result<Query, QueryError> {
        let problem = self.error(QueryProblem::BadValue { field, allowed });
        read(self.word()).ok_or(problem)
    }

    fn text_term(&mut self, field: TextField) -> Result<Query, QueryError> {
        let (nothing, no_word) = (
            self.error(QueryProblem::NothingHere),
            self.error(QueryProblem::NoWord),
        );
        let open_quote = self.error(QueryProblem::OpenQuote);
        let (text, quoted) = if self.take('"') {
            let end = self.rest().find('"').ok_or(open_quote)?;
            let text = &self.rest()[..end];
            self.at += end + 1;
            (text, true)
        } else {
            (self.word(), false)
        };
        if text.is_empty() && !quoted {
            return Err(nothing);
        }
        let is_party = matches!(field, TextField::From | TextField::To | TextField::With);
        let folded = fold(text);
        if is_party && !quoted && is_address(&folded) {
            return Ok(Query::Address(field, folded));
        }
        match words(text) {
            words if words.is_empty() => Err(no_word),
            words => Ok(Query::Words(field, words)),
        }
    }

    /// A field name and its colon, with the place where the name began.
    fn take_field(&mut self) -> Option<(usize, String)> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic())?;
        if end == 0 || !rest[end..].starts_with(':') {
            return None;
        }
        let at = self.at;
        self.at += end + 1;
        Some((at, rest[..end].to_ascii_lowercase()))
    }

    /// Up to the next space, quotation mark or parenthesis; may be empty.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(ends_word).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn at_or(&self) -> bool {
        self.rest()
            .strip_prefix("OR")
            .is_some_and(|after| after.is_empty() || after.starts_with(ends_word))
    }

    fn take_or(&mut self) -> bool {
        let is_or = self.at_or();
        if is_or {
            self.at += 2;
            self.skip_space();
        }
        is_or
    }

    fn take(&mut self, c: char) -> bool {
        let is_there = self.rest().starts_with(c);
        if is_there {
            self.at += c.len_utf8();
        }
        is_there
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, problem: QueryProblem) -> QueryError {
        QueryError {
            position: self.text[..self.at].chars().count() + 1,
            problem,
        }
    }
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '(' | ')')
}

fn one_or(mut parts: Vec<Query>, many: impl FnOnce(Vec<Query>) -> Query) -> Query {
    if parts.len() == 1 {
        parts.swap_remove(0)
    } else {
        many(parts)
    }
}

fn one_of<T: Copy>(values: &[(&str, T)], text: &str) -> Option<T> {
    values
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, value)| *value)
}

/// `local@domain.tld`: compared as a whole. Anything less is a phrase of its parts.
fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !text.contains(ends_word)
            && !domain.contains('@')
            && domain.split('.').count() > 1
            && domain.split('.').all(|label| !label.is_empty())
    })
}

fn id(text: &str) -> Option<Query> {
    if let Ok(record) = text.parse() {
        return Some(Query::Record(record));
    }
    let inner = text
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or(text);
    let inner = fold(inner);
    (!inner.is_empty() && !inner.contains(ends_word)).then_some(Query::MessageId(inner))
}

const DAY_HELP: &str = "a year, month or day: 2024, 2024-03 or 2024-03-31";
const DATE_HELP: &str = "a year, month or day (2024, 2024-03, 2024-03-31) or a range of them (2024-01..2024-03, 2024.., ..2024)";

fn date_range(text: &str) -> Option<Query> {
    let (from, until) = match text.split_once("..") {
        None => period(text).map(|(first, next)| (Some(first), Some(next)))?,
        Some(("", "")) => return None,
        Some(("", last)) => (None, Some(period(last)?.1)),
        Some((first, "")) => (Some(period(first)?.0), None),
        Some((first, last)) => (Some(period(first)?.0), Some(period(last)?.1)),
    };
    Some(Query::Dated { from, until })
}

/// First day of the year, month or day, and the day after its last.
fn period(text: &str) -> Option<(Date, Date)> {
    let mut numbers = text.split('-').map(number);
    let year = numbers
        .next()?
        .filter(|(digits, year)| *digits == 4 && (1..=9998).contains(year))?
        .1;
    let (month, day) = (numbers.next(), numbers.next());
    if numbers.next().is_some() {
        return None;
    }
    let two_digits = |part: Option<Option<(usize, i16)>>| match part {
        None => Some(None),
        Some(Some((2, value))) => i8::try_from(value).ok().map(Some),
        Some(_) => None,
    };
    let (month, day) = (two_digits(month)?, two_digits(day)?);
    let first = Date::new(year, month.unwrap_or(1), day.unwrap_or(1)).ok()?;
    let span = match (month, day) {
        (None, _) => 1.year(),
        (_, None) => 1.month(),
        _ => 1.day(),
    };
    Some((first, first.checked_add(span).ok()?))
}

fn number(digits: &str) -> Option<(usize, i16)> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits
        .then(|| digits.parse().ok())
        .flatten()
        .map(|value| (digits.len(), value))
}
