//! What is said over the import socket.
//!
//! The client sends, for each mail, a CBOR [`Offer`] and then exactly `length` bytes of mail; the
//! server answers each with a CBOR [`Answer`], in order, once the mail is synced in the spool. Each
//! CBOR item has its length in front (4 bytes, big-endian). The client need not wait for answers.

use crate::id::{Digest, SpoolId, TenantId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;

/// No offer or answer is longer.
pub const LONGEST: usize = 64 << 10;

/// A mail that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Whose archive; `None` for the intake's own choice by the mailbox's domain.
    pub tenant: Option<TenantId>,
    /// The mailbox it belongs to.
    pub mailbox: String,
    /// SHA-256 of the place it was found.
    pub origin: Digest,
    /// What the client remembers it by; with it, a mail that is offered again is not taken again.
    #[serde(default)]
    pub identity: Option<Digest>,
    /// Its bytes.
    pub length: u64,
}

/// What became of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is in the spool for good.
    Queued(SpoolId),
    /// It is not; the text says why. Trying again later may help.
    Refused(String),
}

/// The item in CBOR behind its length.
pub fn encode<T: Serialize>(item: &T) -> io::Result<Vec<u8>> {
    let mut out = vec![0; 4];
    ciborium::into_writer(item, &mut out).map_err(io::Error::other)?;
    let length = u32::try_from(out.len() - 4).map_err(io::Error::other)?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out)
}

/// Checks the length in front of an item.
pub fn length(bytes: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(bytes) as usize;
    if length > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("an item of {length} bytes, at most {LONGEST} may be"),
        ));
    }
    Ok(length)
}

/// Reads an item's CBOR.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    ciborium::from_reader(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn items_come_back() {
        let offer = Offer {
            tenant: None,
            mailbox: "a@b".into(),
            origin: Digest::of(b"x"),
            identity: Some(Digest::of(b"y")),
            length: 7,
        };
        let bytes = encode(&offer).expect("encode");
        assert_eq!(
            length(*bytes.first_chunk().expect("length")).expect("short"),
            bytes.len() - 4
        );
        assert_eq!(decode::<Offer>(&bytes[4..]).expect("decode"), offer);
        assert!(length([0, 1, 0, 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Offer>(&bytes);
            let _ = decode::<Answer>(&bytes);
        }
    }
}
