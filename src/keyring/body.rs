//! Keys as byte strings inside the keyring's sealed body, and nowhere else.

use crate::secret::{Key, SecretBytes};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};
use serde_bytes::ByteBuf;

fn taken<E: serde::de::Error>(bytes: ByteBuf) -> Result<Key, E> {
    let bytes = SecretBytes::new(bytes.into_vec());
    Key::from_slice(bytes.expose()).ok_or_else(|| E::custom("a key has 32 bytes"))
}

/// `#[serde(with = "body::key")]` on a `Key`.
pub(super) mod key {
    use super::*;

    pub(in crate::keyring) fn serialize<S: Serializer>(
        key: &Key,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(key.expose())
    }

    pub(in crate::keyring) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Key, D::Error> {
        taken(ByteBuf::deserialize(from)?)
    }
}

/// `#[serde(with = "body::keys")]` on keys by epoch.
pub(super) mod keys {
    use super::*;
    use std::collections::BTreeMap;

    pub(in crate::keyring) fn serialize<S: Serializer>(
        keys: &BTreeMap<u32, Key>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(
            keys.iter()
                .map(|(epoch, key)| (epoch, serde_bytes::Bytes::new(key.expose()))),
        )
    }

    pub(in crate::keyring) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<u32, Key>, D::Error> {
        let raw = BTreeMap::<u32, ByteBuf>::deserialize(from)?;
        if raw.is_empty() {
            return Err(D::Error::custom("a tenant has at least one archive key"));
        }
        raw.into_iter()
            .map(|(epoch, bytes)| Ok((epoch, taken(bytes)?)))
            .collect()
    }
}
