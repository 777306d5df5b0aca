//! Shares on their way to the officers and back: sealed to each officer's key, with the recovery key's
//! fingerprint on every one, and a salted digest in public to check each alone.

use super::CeremonyError;
use crate::crypto::hpke::SealingKey;
use crate::crypto::kdf::framed;
use crate::crypto::random;
use crate::crypto::shares::{self, Share};
use crate::id::{BoxId, Digest};
use crate::officer::{OfficerKey, OfficerPublic};
use crate::secret::{Key, SecretBytes};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const INFO: &[u8] = b"strongroom/1 share";

/// The public record of one share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dealing {
    /// The share's number, from 1.
    pub number: u8,
    /// Whom it was dealt to.
    pub officer: OfficerPublic,
    /// Salt of the digest.
    #[serde(with = "hexadecimal")]
    pub salt: [u8; 16],
    /// [`Share::salted_digest`].
    pub digest: Digest,
    /// The share, sealed to the officer; base64 in JSON.
    #[serde(with = "base64")]
    pub sealed: Vec<u8>,
}

impl Dealing {
    /// Whether `share` is the one that was dealt.
    pub fn check(&self, share: &Share) -> Result<(), CeremonyError> {
        if share.number() == self.number && share.salted_digest(&self.salt) == self.digest {
            Ok(())
        } else {
            Err(CeremonyError::BadShare(self.officer.name.clone()))
        }
    }
}

/// Splits `seed` and seals each share.
pub(super) fn deal(
    seed: &Key,
    recovery: &SealingKey,
    box_id: BoxId,
    required: u8,
    officers: &[OfficerPublic],
) -> Result<Vec<Dealing>, CeremonyError> {
    let count = u8::try_from(officers.len()).unwrap_or(u8::MAX);
    let shares = shares::split(seed, required, count)?;
    let sealed = |(officer, share): (&OfficerPublic, Share)| {
        let mut content = Zeroizing::new(Vec::with_capacity(32 + shares::SHARE));
        content.extend(recovery.fingerprint().0);
        content.extend(share.expose());
        let salt = random::bytes();
        Dealing {
            number: share.number(),
            officer: officer.clone(),
            salt,
            digest: share.salted_digest(&salt),
            sealed: officer.sealing.seal(
                INFO,
                &associated(box_id, officer, share.number()),
                &content,
            ),
        }
    };
    Ok(officers.iter().zip(shares).map(sealed).collect())
}

/// An officer opens the own share. This can be done on the officer's own device.
pub fn open_share(
    dealing: &Dealing,
    box_id: BoxId,
    recovery: &SealingKey,
    officer: &OfficerKey,
) -> Result<Share, CeremonyError> {
    let name = &dealing.officer.name;
    if dealing.officer != *officer.public() {
        return Err(CeremonyError::OtherKeys(name.clone()));
    }
    let associated = associated(box_id, officer.public(), dealing.number);
    let content = officer
        .opening()
        .open(INFO, &associated, &dealing.sealed)
        .map_err(|source| CeremonyError::SealedShare {
            officer: name.clone(),
            source,
        })?;
    let (fingerprint, share) = content
        .expose()
        .split_at_checked(32)
        .ok_or_else(|| CeremonyError::BadShare(name.clone()))?;
    if recovery.fingerprint().0 != fingerprint {
        return Err(CeremonyError::OtherRecoveryKey(name.clone()));
    }
    Share::from_bytes(SecretBytes::new(share.to_vec()))
        .map_err(|_| CeremonyError::BadShare(name.clone()))
}

/// `frame(box id) ‖ frame(officer's public part) ‖ number`.
fn associated(box_id: BoxId, officer: &OfficerPublic, number: u8) -> Vec<u8> {
    let mut out = framed(box_id.as_bytes());
    out.extend(framed(&officer.to_bytes()));
    out.push(number);
    out
}

mod hexadecimal {
    use data_encoding::HEXLOWER;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 16], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 16], D::Error> {
        let bytes = HEXLOWER
            .decode(String::deserialize(from)?.as_bytes())
            .map_err(D::Error::custom)?;
        bytes
            .try_into()
            .map_err(|_| D::Error::custom("a salt has 16 bytes"))
    }
}

mod base64 {
    use data_encoding::BASE64;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64
            .decode(String::deserialize(from)?.as_bytes())
            .map_err(D::Error::custom)
    }
}
