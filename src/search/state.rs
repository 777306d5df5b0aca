//! What the index says of itself: how far it got, and which partitions it has, so that a lost partition
//! is noticed instead of giving fewer hits.

use super::error::SearchError;
use crate::crypto::kdf::{Label, derive};
use crate::crypto::wrap;
use crate::durable;
use crate::secret::Key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

const FILE: &str = "state";
const LONGEST: u64 = 1 << 20;

/// The content of the file `state`: CBOR, sealed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// The count given to the last commit.
    pub applied: u64,
    /// The partitions that were committed, by folder name.
    pub partitions: BTreeSet<String>,
}

impl State {
    /// The state of the index in `folder`; that of an empty one where there is no file.
    pub fn read(folder: &Path, index_key: &Key) -> Result<Self, SearchError> {
        let path = folder.join(FILE);
        let Some(sealed) = durable::read_if_present(&path, LONGEST)? else {
            return Ok(Self::default());
        };
        wrap::open(&key(index_key), FILE.as_bytes(), &sealed)
            .ok()
            .and_then(|plain| ciborium::from_reader(plain.expose()).ok())
            .ok_or(SearchError::StateNeedsRebuild { path })
    }

    /// Replaces the state durably.
    pub fn write(&self, folder: &Path, index_key: &Key) -> Result<(), SearchError> {
        let path = folder.join(FILE);
        let mut plain = Vec::new();
        ciborium::into_writer(self, &mut plain)
            .map_err(|_| SearchError::StateNeedsRebuild { path: path.clone() })?;
        let sealed = wrap::seal(&key(index_key), FILE.as_bytes(), &plain);
        Ok(durable::replace(&path, &sealed)?)
    }
}

fn key(index_key: &Key) -> Key {
    derive(index_key, Label::IndexFile, &[FILE.as_bytes()])
}
