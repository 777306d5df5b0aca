//! The keyring file, which is the capsule too, and the static capsule. `docs/formats.md` has the bytes.
//!
//! The last 32 bytes are the SHA-256 of all before: damage is told apart from a wrong key without any key.

use super::{Keyring, body};
use crate::crypto::hpke::{ENCAPSULATED, HpkeError, OpeningKey, SealingKey};
use crate::crypto::kdf::{Label, derive};
use crate::crypto::stream::{self, StreamError};
use crate::crypto::wrap;
use crate::id::{BoxId, Digest};
use crate::secret::Key;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use zeroize::Zeroizing;

const KEYRING_MAGIC: &[u8; 8] = b"SRkeyrng";
const STATIC_MAGIC: &[u8; 8] = b"SRstatic";
const VERSION: u16 = 1;
const CAPSULE_INFO: &[u8] = b"strongroom/1 capsule";
const STATIC_INFO: &[u8] = b"strongroom/1 static capsule";
/// Magic, version, box id, generation.
const HEADER: usize = 8 + 2 + 16 + 8;
const BOX_WRAP: usize = 32 + wrap::OVERHEAD;
const CAPSULE: usize = ENCAPSULATED + 32 + 16;
const CHECKSUM: usize = 32;
/// Longest plaintext of a keyring, in bytes.
const LARGEST_BODY: u64 = 16 << 20;
/// Largest keyring or static capsule file, in bytes.
pub const LARGEST: u64 = 17 << 20;

/// Why a keyring or static capsule does not open.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Another kind of file.
    #[error("not a {expected}: the file begins with other bytes")]
    OtherFile {
        /// What was expected.
        expected: &'static str,
    },
    /// A newer format.
    #[error(
        "format version {0}; this program reads version {VERSION}: use the program that wrote it, or a newer one"
    )]
    OtherVersion(u16),
    /// Shorter than its fixed parts.
    #[error("cut short: {0} bytes; put a copy from a backup in its place")]
    Short(usize),
    /// The checksum at the end does not fit.
    #[error("damaged: its checksum does not fit; put a copy from a backup in its place")]
    Damaged,
    /// The key wrapped for the TPM does not open.
    #[error(
        "the box secret does not open it: the TPM's anchor has moved on since this copy was written (an older data folder was put back), or the TPM belongs to another box; the capsule in it still opens with the officers' shares (`strongroom ceremony restore`)"
    )]
    OtherBoxSecret,
    /// The capsule does not open.
    #[error(
        "the recovery key does not open the capsule: it belongs to another box or to an earlier recovery key"
    )]
    OtherRecoveryKey(#[source] HpkeError),
    /// The body does not open although its key did: the file was put together from two.
    #[error("the body does not open under its own key: the file was altered on purpose")]
    Body(#[source] StreamError),
    /// The content is not what this version writes.
    #[error("the content is not a keyring's")]
    Content(#[source] ciborium::de::Error<io::Error>),
    /// The content could not be written.
    #[error("the keyring could not be encoded")]
    Encode(#[source] ciborium::ser::Error<io::Error>),
    /// Sealing in memory failed.
    #[error("the keyring could not be sealed")]
    Seal(#[source] io::Error),
}

/// What a keyring file says without any key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The box it belongs to.
    pub box_id: BoxId,
    /// How often that box's keyring had been written.
    pub generation: u64,
}

impl Keyring {
    /// The keyring file: opens by `box_secret` and by the recovery key.
    pub fn seal(&self, box_secret: &Key) -> Result<Vec<u8>, KeyringError> {
        let content_key = crate::crypto::random::key();
        let mut out = header(KEYRING_MAGIC, self.box_id);
        out.extend(self.generation.to_be_bytes());
        let box_wrap = wrap::seal(
            &wrap_key(box_secret, self.box_id),
            &out,
            content_key.expose(),
        );
        let capsule = self.recovery.seal(CAPSULE_INFO, &out, content_key.expose());
        out.extend(box_wrap);
        out.extend(capsule);
        let sealed =
            stream::seal(&content_key, &out, &encode(self)?).map_err(KeyringError::Seal)?;
        out.extend(sealed);
        Ok(with_checksum(out))
    }

    /// Opens a keyring file as the box does at start.
    pub fn open_with_box_secret(file: &[u8], box_secret: &Key) -> Result<Self, KeyringError> {
        let parts = Parts::of(file)?;
        let key = wrap_key(box_secret, parts.description.box_id);
        let content_key = wrap::open_key(&key, parts.header, parts.box_wrap)
            .map_err(|_| KeyringError::OtherBoxSecret)?;
        parts.open(&content_key)
    }

    /// Opens a keyring file as a restore does.
    pub fn open_with_recovery_key(
        file: &[u8],
        recovery: &OpeningKey,
    ) -> Result<Self, KeyringError> {
        let parts = Parts::of(file)?;
        let opened = recovery
            .open(CAPSULE_INFO, parts.header, parts.capsule)
            .map_err(KeyringError::OtherRecoveryKey)?;
        let content_key = Key::from_slice(opened.expose()).ok_or(KeyringError::Damaged)?;
        parts.open(&content_key)
    }
}

/// Checks a keyring file as far as it goes without a key.
pub fn describe(file: &[u8]) -> Result<Description, KeyringError> {
    Parts::of(file).map(|parts| parts.description)
}

struct Parts<'a> {
    description: Description,
    header: &'a [u8],
    box_wrap: &'a [u8],
    capsule: &'a [u8],
    /// All of the above, which the body is bound to.
    front: &'a [u8],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(file: &'a [u8]) -> Result<Self, KeyringError> {
        let (content, box_id) = checked(file, KEYRING_MAGIC, "keyring")?;
        let short = || KeyringError::Short(file.len());
        let (header, rest) = content.split_at_checked(HEADER).ok_or_else(short)?;
        let (box_wrap, rest) = rest.split_at_checked(BOX_WRAP).ok_or_else(short)?;
        let (capsule, body) = rest.split_at_checked(CAPSULE).ok_or_else(short)?;
        let front = content
            .get(..HEADER + BOX_WRAP + CAPSULE)
            .ok_or_else(short)?;
        let generation = header
            .last_chunk::<8>()
            .map(|bytes| u64::from_be_bytes(*bytes))
            .ok_or_else(short)?;
        let description = Description { box_id, generation };
        Ok(Self {
            description,
            header,
            box_wrap,
            capsule,
            front,
            body,
        })
    }

    fn open(&self, content_key: &Key) -> Result<Keyring, KeyringError> {
        let plain = stream::open(content_key, self.front, self.body, LARGEST_BODY)
            .map_err(KeyringError::Body)?;
        decode(&Zeroizing::new(plain))
    }
}

/// What the TPM knows and a restore on the same TPM needs, sealed to the recovery key.
#[derive(Debug, Serialize, Deserialize)]
pub struct StaticCapsule {
    /// The TPM's owner authorisation.
    #[serde(with = "body::key")]
    pub owner_auth: Key,
    /// The TPM's lockout authorisation.
    #[serde(with = "body::key")]
    pub lockout_auth: Key,
}

impl StaticCapsule {
    /// The static capsule's file.
    pub fn seal(&self, box_id: BoxId, recovery: &SealingKey) -> Result<Vec<u8>, KeyringError> {
        let mut out = header(STATIC_MAGIC, box_id);
        let sealed = recovery.seal(STATIC_INFO, &out, &encode(self)?);
        out.extend(sealed);
        Ok(with_checksum(out))
    }

    /// Checks the file as far as it goes without a key; gives the box it belongs to.
    pub fn box_of(file: &[u8]) -> Result<BoxId, KeyringError> {
        checked(file, STATIC_MAGIC, "static capsule").map(|(_, box_id)| box_id)
    }

    /// Opens the file with the recovery key.
    pub fn open(file: &[u8], recovery: &OpeningKey) -> Result<(BoxId, Self), KeyringError> {
        let (content, box_id) = checked(file, STATIC_MAGIC, "static capsule")?;
        let header = header(STATIC_MAGIC, box_id);
        let sealed = content
            .get(header.len()..)
            .ok_or(KeyringError::Short(file.len()))?;
        let plain = recovery
            .open(STATIC_INFO, &header, sealed)
            .map_err(KeyringError::OtherRecoveryKey)?;
        Ok((box_id, decode(plain.expose())?))
    }
}

fn wrap_key(box_secret: &Key, box_id: BoxId) -> Key {
    derive(box_secret, Label::KeyringWrap, &[box_id.as_bytes()])
}

fn header(magic: &[u8; 8], box_id: BoxId) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend(VERSION.to_be_bytes());
    out.extend(box_id.as_bytes());
    out
}

fn with_checksum(mut out: Vec<u8>) -> Vec<u8> {
    let checksum = Digest::of(&out);
    out.extend(checksum.0);
    out
}

/// Checks magic, checksum and version; gives all but the checksum, and the box id.
fn checked<'a>(
    file: &'a [u8],
    magic: &[u8; 8],
    expected: &'static str,
) -> Result<(&'a [u8], BoxId), KeyringError> {
    if !file.starts_with(magic) {
        return Err(KeyringError::OtherFile { expected });
    }
    let short = || KeyringError::Short(file.len());
    let length = file.len().checked_sub(CHECKSUM).ok_or_else(short)?;
    let (content, checksum) = file.split_at_checked(length).ok_or_else(short)?;
    let (_, rest) = content.split_at_checked(8).ok_or_else(short)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let box_id = rest.first_chunk::<16>().ok_or_else(short)?;
    if Digest::of(content).0 != checksum {
        return Err(KeyringError::Damaged);
    }
    match u16::from_be_bytes(*version) {
        VERSION => Ok((content, BoxId::from_bytes(*box_id))),
        other => Err(KeyringError::OtherVersion(other)),
    }
}

/// CBOR into a buffer that never moves, so that no copy of a key stays behind in freed memory.
fn encode(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let mut length = Counter(0);
    ciborium::into_writer(value, &mut length).map_err(KeyringError::Encode)?;
    let mut out = Zeroizing::new(Vec::with_capacity(length.0));
    ciborium::into_writer(value, &mut *out).map_err(KeyringError::Encode)?;
    Ok(out)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, KeyringError> {
    ciborium::from_reader_with_buffer(bytes, &mut Zeroizing::new([0u8; 4096])[..])
        .map_err(KeyringError::Content)
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
