//! How a fact becomes a row on disk: its name is a PRF output, its value is sealed under a key of its
//! own, so that the files tell neither what is stored nor whether a guess is right.

use crate::crypto::kdf::{Label, Source};
use crate::crypto::wrap;
use crate::secret::Key;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The kinds of rows. The number is the first byte of a row's key and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// State of the catalog itself.
    State = 0,
    /// Record id to its facts.
    Record = 1,
    /// Record id and number to one arrival.
    Arrival = 2,
    /// Tenant and join hash to record id.
    Content = 3,
    /// Queue id to record id.
    Spool = 4,
    /// Tenant and Message-ID, then record id, to record id.
    MessageId = 5,
    /// Tenant and hint, then record id, to record id.
    Waiting = 6,
    /// Tenant, then hint, to the hint.
    Hint = 7,
    /// Tenant and record id, then hint, to the hint.
    WaitsFor = 8,
    /// Fingerprint of an escrowed key to how many mails it opened.
    Opened = 9,
}

/// Bytes of a PRF output in a row's key.
pub const NAME: usize = 16;

/// The value is not what was stored under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a value does not open: altered, or sealed under another key")]
pub struct Unreadable;

/// Names and seals rows under the catalog key.
pub struct Rows(Source);

impl Rows {
    /// Uses the tenant-independent catalog key of the keyring.
    #[must_use]
    pub fn new(catalog_key: &Key) -> Self {
        Self(Source::new(catalog_key))
    }

    /// `table[1] ‖ PRF[16]` of what the row is found by.
    #[must_use]
    pub fn key(&self, table: Table, found_by: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + 2 * NAME);
        key.push(table as u8);
        key.extend(self.name(table, found_by));
        key
    }

    /// A row below [`Rows::key`] of `above`: that key, then the PRF output of `below`.
    #[must_use]
    pub fn key_below(&self, table: Table, above: &[&[u8]], below: &[u8]) -> Vec<u8> {
        let mut key = self.key(table, above);
        key.extend(self.name(table, &[b"below", below]));
        key
    }

    fn name(&self, table: Table, of: &[&[u8]]) -> [u8; NAME] {
        let table = [table as u8];
        let mut context: Vec<&[u8]> = vec![&table];
        context.extend(of);
        self.0.derive_bytes(Label::CatalogName, &context)
    }

    /// Seals `value` for the row with this key.
    #[must_use]
    pub fn seal(&self, row: &[u8], value: &[u8]) -> Vec<u8> {
        wrap::seal(&self.value_key(row), row, value)
    }

    /// Opens what [`Rows::seal`] made for the same row.
    pub fn open(&self, row: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let plain = wrap::open(&self.value_key(row), row, sealed).map_err(|_| Unreadable)?;
        Ok(plain.expose().to_vec())
    }

    /// As [`Rows::seal`], of a structure in CBOR.
    pub fn seal_cbor<T: Serialize>(&self, row: &[u8], value: &T) -> Result<Vec<u8>, Unreadable> {
        let mut plain = Vec::with_capacity(512);
        ciborium::into_writer(value, &mut plain).map_err(|_| Unreadable)?;
        Ok(self.seal(row, &plain))
    }

    /// Opens what [`Rows::seal_cbor`] made.
    pub fn open_cbor<T: DeserializeOwned>(
        &self,
        row: &[u8],
        sealed: &[u8],
    ) -> Result<T, Unreadable> {
        ciborium::from_reader(self.open(row, sealed)?.as_slice()).map_err(|_| Unreadable)
    }

    fn value_key(&self, row: &[u8]) -> Key {
        self.0.derive(Label::CatalogValue, &[row])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_in_its_own_row_only() {
        let rows = Rows::new(&crate::crypto::random::key());
        let one = rows.key(Table::Spool, &[b"a"]);
        let other = rows.key(Table::Spool, &[b"b"]);
        let sealed = rows.seal(&one, b"value");
        assert_eq!(rows.open(&one, &sealed), Ok(b"value".to_vec()));
        assert_eq!(rows.open(&other, &sealed), Err(Unreadable));
    }

    #[test]
    fn rows_of_different_tables_and_levels_have_different_names() {
        let rows = Rows::new(&crate::crypto::random::key());
        assert_ne!(
            rows.key(Table::Spool, &[b"a"])[1..],
            rows.key(Table::Content, &[b"a"])[1..]
        );
        let below = rows.key_below(Table::Hint, &[b"t"], b"h");
        assert!(below.starts_with(&rows.key(Table::Hint, &[b"t"])));
        assert_eq!(below.len(), 1 + 2 * NAME);
    }
}
