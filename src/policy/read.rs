//! Reading TOML so that every complaint names file, line, key and what is allowed. Each table is a
//! [`Section`]; what is left in it at its end is an unknown key, and an error.

use super::PolicyError;
use super::names::nearest;
use crate::id::is_mail_address;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text, to turn places into line numbers.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// An error at byte `at` about `key`.
    pub(super) fn error(
        &self,
        at: usize,
        key: &str,
        problem: String,
        allowed: &str,
    ) -> PolicyError {
        let before = self.text.as_bytes().iter().take(at);
        PolicyError {
            file: self.file.to_owned(),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
            key: key.to_owned(),
            problem,
            allowed: allowed.to_owned(),
        }
    }
}

/// One value and where it stands.
pub(super) struct Item<'a> {
    source: Source<'a>,
    pub(super) key: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl Item<'_> {
    pub(super) fn refuse(&self, problem: impl Into<String>, allowed: &str) -> PolicyError {
        self.source
            .error(self.value.span().start, &self.key, problem.into(), allowed)
    }

    fn wrong_type(&self, allowed: &str) -> PolicyError {
        self.refuse(format!("is {}", self.value.get_ref().type_str()), allowed)
    }

    pub(super) fn text(&self, allowed: &str) -> Result<&str, PolicyError> {
        self.value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.wrong_type(allowed))
    }

    /// A mail address, in lower case.
    pub(super) fn mail_address(&self, allowed: &str) -> Result<String, PolicyError> {
        let address = self.text(allowed)?;
        if !is_mail_address(address) {
            return Err(self.refuse(format!("is {:?}", shortened(address)), allowed));
        }
        Ok(address.to_lowercase())
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Result<u64, PolicyError> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(integer) = self.value.get_ref().as_integer() else {
            return Err(self.wrong_type(&allowed));
        };
        let value = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        value
            .filter(|value| range.contains(value))
            .ok_or_else(|| self.refuse(format!("is {}", shortened(integer.as_str())), &allowed))
    }

    /// Whether it is an array.
    pub(super) fn is_array(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// The elements of an array, each named `key[index]`.
    pub(super) fn items(&self, allowed: &str) -> Result<Vec<Item<'_>>, PolicyError> {
        let Some(array) = self.value.get_ref().as_array() else {
            return Err(self.wrong_type(allowed));
        };
        let named = |(index, value)| Item {
            source: self.source,
            key: format!("{}[{index}]", self.key),
            value,
        };
        Ok(array.iter().enumerate().map(named).collect())
    }

    pub(super) fn section(&self) -> Result<Section<'_>, PolicyError> {
        match self.value.get_ref().as_table() {
            Some(table) => Ok(Section::new(
                self.source,
                self.key.clone(),
                self.value.span().start,
                table,
            )),
            None => Err(self.wrong_type("a table")),
        }
    }
}

/// A table whose keys are taken one by one.
pub(super) struct Section<'a> {
    source: Source<'a>,
    path: String,
    at: usize,
    table: &'a DeTable<'a>,
    known: BTreeSet<String>,
}

impl<'a> Section<'a> {
    pub(super) fn new(source: Source<'a>, path: String, at: usize, table: &'a DeTable<'a>) -> Self {
        Self {
            source,
            path,
            at,
            table,
            known: BTreeSet::new(),
        }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The value of `key`, if it is there.
    pub(super) fn take(&mut self, key: &str) -> Option<Item<'a>> {
        self.known.insert(key.to_owned());
        let value = self.table.get(key)?;
        Some(Item {
            source: self.source,
            key: self.full(key),
            value,
        })
    }

    /// The value of `key`, which must be there.
    pub(super) fn require(&mut self, key: &str, allowed: &str) -> Result<Item<'a>, PolicyError> {
        self.take(key).ok_or_else(|| self.missing(key, allowed))
    }

    /// A key that nobody took and that is nearly this one is its line, misspelt.
    fn missing(&self, key: &str, allowed: &str) -> PolicyError {
        let others = self
            .table
            .keys()
            .filter(|other| !self.known.contains(other.get_ref().as_ref()));
        let misspelt = others
            .into_iter()
            .find(|other| nearest(other.get_ref(), std::iter::once(key)).is_some());
        if let Some(misspelt) = misspelt {
            return self.source.error(
                misspelt.span().start,
                &self.full(&shortened(misspelt.get_ref())),
                format!("is not known here; is {key} meant?"),
                &format!("{key} = {allowed}"),
            );
        }
        self.source
            .error(self.at, &self.full(key), "is missing".to_owned(), allowed)
    }

    /// An integer, or `default` where the key is absent.
    pub(super) fn integer(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, PolicyError> {
        self.take(key)
            .map_or(Ok(default), |item| item.integer(range))
    }

    /// As [`Section::integer`], where the number must fit 32 bits.
    pub(super) fn small(
        &mut self,
        key: &str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, PolicyError> {
        let wide = u64::from(*range.start())..=u64::from(*range.end());
        let value = self.integer(key, wide, u64::from(default))?;
        Ok(u32::try_from(value).unwrap_or(*range.end()))
    }

    /// All keys of a table whose keys are names.
    pub(super) fn take_all(&mut self) -> Vec<(String, Item<'a>)> {
        let names: Vec<String> = self
            .table
            .keys()
            .map(|key| key.get_ref().to_string())
            .collect();
        let with_item = |name: String| self.take(&name).map(|item| (name, item));
        names.into_iter().filter_map(with_item).collect()
    }

    /// Complains about the first key that nobody took.
    pub(super) fn end(self) -> Result<(), PolicyError> {
        let unknown = self
            .table
            .keys()
            .find(|key| !self.known.contains(key.get_ref().as_ref()));
        let Some(key) = unknown else { return Ok(()) };
        let allowed = self
            .known
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let path = self.full(&shortened(key.get_ref()));
        Err(self.source.error(
            key.span().start,
            &path,
            "is not known here".to_owned(),
            &allowed,
        ))
    }
}

/// At most 80 characters of a foreign text, for an error message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
