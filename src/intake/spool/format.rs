//! The spool file's bytes: header, frames and the ratchet of their keys. Nothing here touches a disk.
//!
//! Each frame has a key of its own, and the chain key it came from is wiped as soon as the next one
//! is derived: who reads the writer's memory later cannot open frames written earlier.

use crate::crypto::hpke::{ENCAPSULATED, SealingKey};
use crate::crypto::kdf::{Label, Source};
use crate::id::{Digest, SpoolFileId};
use crate::intake::envelope::Envelope;
use crate::secret::Key;
use crate::time::Timestamp;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use serde::{Deserialize, Serialize};

/// The first bytes of every spool file; the last one is the version.
pub const MAGIC: [u8; 8] = *b"SRSPOOL1";
/// HPKE's `info` for the sealed chain key.
pub const INFO: &[u8] = b"strongroom spool";
/// Length of the header that is in the clear and bound to the sealed chain key.
pub const PREAMBLE: usize = 8 + 16 + 32 + 8;
/// Length of the whole header.
pub const HEADER: usize = PREAMBLE + ENCAPSULATED + 32 + TAG;
/// Length of a frame's head: kind, mail number, length.
pub const FRAME_HEAD: usize = 1 + 4 + 4;
/// Length of a frame's authentication tag.
pub const TAG: usize = 16;
/// Plaintext bytes in a full data frame; a mail up to this size is one frame.
pub const FULL_FRAME: usize = 1 << 20;
/// No frame's plaintext is longer than this (a closing frame with very many recipients).
pub const MAX_FRAME: usize = 16 << 20;

/// The header's public part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// The file; its name says the same.
    pub file: SpoolFileId,
    /// The spool key the file is sealed to.
    pub key: Digest,
    /// When the file was begun.
    pub created: Timestamp,
}

impl Preamble {
    /// The 64 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend(MAGIC);
        out.extend(self.file.as_bytes());
        out.extend(self.key.0);
        out.extend(self.created.0.to_be_bytes());
        out
    }

    /// Reads the 64 bytes; `None` if they are not a spool file's.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (file, rest) = rest.split_first_chunk::<16>()?;
        let (key, rest) = rest.split_first_chunk::<32>()?;
        let (created, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            file: SpoolFileId::from_bytes(*file),
            key: Digest(*key),
            created: Timestamp(u64::from_be_bytes(*created)),
        })
    }
}

/// A new file's header, and the ratchet for its frames.
#[must_use]
pub fn begin(preamble: &Preamble, key: &SealingKey) -> (Vec<u8>, Ratchet) {
    let chain = crate::crypto::random::key();
    let mut header = preamble.encode();
    let sealed = key.seal(INFO, &header, chain.expose());
    header.extend(sealed);
    (header, Ratchet::new(chain))
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of a mail.
    Data,
    /// [`Closing`]: the mail is whole.
    Close,
    /// The file is whole; no plaintext, the number is that of its mails.
    End,
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the frame holds.
    pub kind: Kind,
    /// The mail's number in the file.
    pub mail: u32,
    /// Length of ciphertext and tag.
    pub length: usize,
}

impl Head {
    fn encode(&self) -> [u8; FRAME_HEAD] {
        let mut out = [0; FRAME_HEAD];
        out[0] = match self.kind {
            Kind::Data => 1,
            Kind::Close => 2,
            Kind::End => 3,
        };
        out[1..5].copy_from_slice(&self.mail.to_be_bytes());
        // A frame's length is at most MAX_FRAME + TAG, far below 2^32.
        out[5..].copy_from_slice(&u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes());
        out
    }

    /// Bytes of the whole frame in the file.
    #[must_use]
    pub const fn span(&self) -> u64 {
        (FRAME_HEAD + self.length) as u64
    }

    /// Reads a head; `None` if no frame can begin so.
    #[must_use]
    pub fn decode(bytes: &[u8; FRAME_HEAD]) -> Option<Self> {
        let kind = match bytes[0] {
            1 => Kind::Data,
            2 => Kind::Close,
            3 => Kind::End,
            _ => return None,
        };
        let mail = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let length = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) as usize;
        (TAG..=MAX_FRAME + TAG)
            .contains(&length)
            .then_some(Self { kind, mail, length })
    }
}

/// A closing frame's plaintext, in CBOR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The envelope.
    pub envelope: Envelope,
    /// Bytes of the mail.
    pub length: u64,
    /// SHA-256 of the mail.
    pub sha256: Digest,
}

impl Closing {
    /// In CBOR; `None` where it is longer than a frame may be: no reader would get behind it.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        ciborium::into_writer(self, &mut out).ok()?;
        (out.len() <= MAX_FRAME).then_some(out)
    }

    /// From CBOR; `None` if it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        ciborium::from_reader(bytes).ok()
    }
}

/// The ciphertext is not what was sealed under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

/// The key of one frame.
pub struct FrameKey(Key);

impl FrameKey {
    fn seal(&self, kind: Kind, mail: u32, pieces: &[&[u8]], out: &mut Vec<u8>) {
        let plain: usize = pieces.iter().map(|piece| piece.len()).sum();
        let head = Head {
            kind,
            mail,
            length: plain + TAG,
        }
        .encode();
        out.reserve(FRAME_HEAD + plain + TAG);
        out.extend(head);
        let start = out.len();
        for piece in pieces {
            out.extend_from_slice(piece);
        }
        let tag = encrypt(&self.0, &head, &mut out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Decrypts the frame whose head is `head` in place and cuts off the tag.
    pub fn open(&self, head: &Head, body: &mut Vec<u8>) -> Result<(), NotAuthentic> {
        let plain = body.len().checked_sub(TAG).ok_or(NotAuthentic)?;
        let tag = Tag::try_from(&body[plain..]).map_err(|_| NotAuthentic)?;
        body.truncate(plain);
        // Every frame has a key of its own, so a fixed nonce never repeats under one key.
        Aes256Gcm::new(self.0.expose().into())
            .decrypt_inout_detached(
                &Nonce::default(),
                &head.encode(),
                body.as_mut_slice().into(),
                &tag,
            )
            .map_err(|_| NotAuthentic)
    }
}

#[allow(clippy::expect_used)]
fn encrypt(key: &Key, head: &[u8; FRAME_HEAD], place: &mut [u8]) -> Tag {
    Aes256Gcm::new(key.expose().into())
        .encrypt_inout_detached(&Nonce::default(), head, place.into())
        .expect("a frame is far shorter than AES-GCM's limit")
}

/// The chain of frame keys.
pub struct Ratchet(Key);

impl Ratchet {
    /// Begins with the file's chain key.
    #[must_use]
    pub const fn new(chain: Key) -> Self {
        Self(chain)
    }

    /// The next frame's key. The old chain key is wiped.
    pub fn next_key(&mut self) -> FrameKey {
        let source = Source::new(&self.0);
        let key = FrameKey(source.derive(Label::SpoolFrame, &[]));
        self.0 = source.derive(Label::SpoolRatchet, &[]);
        key
    }

    /// Seals the next frame onto `out`.
    pub fn seal(&mut self, kind: Kind, mail: u32, pieces: &[&[u8]], out: &mut Vec<u8>) {
        self.next_key().seal(kind, mail, pieces, out);
    }

    /// A second chain from the same place, to read a long mail again.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_open_in_order_under_their_own_keys_only() {
        let chain = crate::crypto::random::key();
        let (mut writer, mut reader) = (Ratchet::new(chain.duplicate()), Ratchet::new(chain));
        let mut out = Vec::new();
        writer.seal(Kind::Data, 7, &[b"one", b"two"], &mut out);
        let head = Head::decode(out[..FRAME_HEAD].try_into().expect("head")).expect("a frame");
        assert_eq!(
            head,
            Head {
                kind: Kind::Data,
                mail: 7,
                length: 6 + TAG
            }
        );
        let key = reader.next_key();
        let mut body = out[FRAME_HEAD..].to_vec();
        assert_eq!(
            key.open(&Head { mail: 8, ..head }, &mut body.clone()),
            Err(NotAuthentic)
        );
        assert_eq!(
            reader.next_key().open(&head, &mut body.clone()),
            Err(NotAuthentic)
        );
        assert_eq!(key.open(&head, &mut body), Ok(()));
        assert_eq!(body, b"onetwo");
    }

    proptest! {
        #[test]
        fn heads_and_preambles_never_panic_and_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(preamble) = Preamble::decode(&bytes) {
                prop_assert_eq!(Preamble::decode(&preamble.encode()), Some(preamble));
            }
            if let Some(head) = bytes.first_chunk().and_then(Head::decode) {
                prop_assert_eq!(head.encode().to_vec(), bytes[..FRAME_HEAD].to_vec());
            }
            let _ = Closing::decode(&bytes);
        }
    }
}
