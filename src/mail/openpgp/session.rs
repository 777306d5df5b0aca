//! From the wrapped session keys of a message to an opened container: asks [`KeyOps`] for each public-key
//! wrap, tries passphrases on the others, and says what is missing if nothing fits.

use super::aead;
use super::container::{Container, NotOpened, cipher_name};
use super::packets::tag;
use crate::mail::context::{Context, Failure};
use crate::mail::keyops::{KeyHint, KeyRefusal, Wrapped};
use crate::secret::SecretBytes;
use data_encoding::HEXLOWER;
use pgp::composed::{PlainSessionKey, decrypt_session_key_with_password};
use pgp::crypto::{aead::AeadAlgorithm, sym::SymmetricKeyAlgorithm};
use pgp::packet::{PacketHeader, SymKeyEncryptedSessionKey};
use pgp::types::{Password, StringToKey, Tag};

/// Packet bodies of the encrypted session keys before a container.
#[derive(Debug, Default)]
pub struct SessionKeys {
    pkesks: Vec<Vec<u8>>,
    skesks: Vec<Vec<u8>>,
}

/// A container opened.
pub struct Unlocked {
    /// The packets inside.
    pub plaintext: Vec<u8>,
    /// The key that opened it, `None` for a passphrase.
    pub key: Option<String>,
    /// The cipher, where the wrap named it.
    pub cipher: Option<String>,
}

/// How a public-key wrap names its key and algorithm.
struct Addressee {
    hint: KeyHint,
    version: u8,
    algorithm: u8,
}

impl SessionKeys {
    /// Keeps a wrapped session key for the container that follows.
    pub fn push(&mut self, packet_tag: u8, body: Vec<u8>) {
        if packet_tag == tag::PKESK {
            &mut self.pkesks
        } else {
            &mut self.skesks
        }
        .push(body);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pkesks.len() + self.skesks.len()
    }

    /// Recipients as the layer shows them: key id or fingerprint in hex, `hidden`, `passphrase`.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        let named = self
            .pkesks
            .iter()
            .filter_map(|body| addressee(body))
            .map(|a| match a.hint {
                KeyHint::OpenPgp(id) => HEXLOWER.encode(&id),
                _ => "hidden".to_owned(),
            });
        named
            .chain(self.skesks.iter().map(|_| "passphrase".to_owned()))
            .collect()
    }

    /// Names of the wrapping algorithms, each once.
    #[must_use]
    pub fn algorithms(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for addressee in self.pkesks.iter().filter_map(|body| addressee(body)) {
            let name = public_key_name(addressee.algorithm);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Tries every wrap until the container opens.
    pub fn open(&self, container: &Container, ctx: &Context) -> Result<Unlocked, Failure> {
        let mut search = Search {
            container,
            ctx,
            broken: None,
            locked: false,
            waiting_for: Vec::new(),
        };
        for body in &self.pkesks {
            if let Some(unlocked) = search.with_keys(body)? {
                return Ok(unlocked);
            }
        }
        let passphrases = ctx.keys.passphrases();
        let skesks = affordable(&self.skesks);
        if !passphrases.is_empty() && skesks.len() < self.skesks.len() {
            let what = "Argon2 derivation: it takes too much memory".to_owned();
            search.broken = search.broken.or(Some(NotOpened::Unsupported(what)));
        }
        for passphrase in &passphrases {
            let rounds = skesks.iter().map(|body| rounds(body).unwrap_or(0));
            let rounds = rounds.fold(0, u32::saturating_add);
            ctx.budget.rounds(rounds, &ctx.policy.bounds)?;
            for key in self.passphrase_keys(&skesks, container, passphrase) {
                if let Some(plaintext) = search.attempt(key.bytes.expose(), key.cipher, false)? {
                    let cipher = key.cipher.map(cipher_name);
                    return Ok(Unlocked {
                        plaintext,
                        key: None,
                        cipher,
                    });
                }
            }
        }
        if !self.skesks.is_empty() || self.len() == 0 {
            search.waiting_for.push(KeyHint::Passphrase);
        }
        Err(search.failure())
    }

    /// Session keys that a passphrase gives. Without any wrap, PGP 2 used IDEA under the passphrase's MD5 (RFC 4880 §5.7).
    fn passphrase_keys(
        &self,
        skesks: &[&[u8]],
        container: &Container,
        passphrase: &SecretBytes,
    ) -> Vec<PassphraseKey> {
        if self.len() == 0 && container.cipher_inside() {
            let digest =
                openssl::hash::hash(openssl::hash::MessageDigest::md5(), passphrase.expose());
            let bytes = digest.map(|d| SecretBytes::new(d.to_vec())).ok();
            return bytes
                .map(|bytes| PassphraseKey {
                    bytes,
                    cipher: Some(1),
                })
                .into_iter()
                .collect();
        }
        skesks
            .iter()
            .filter_map(|body| from_passphrase(body, passphrase))
            .collect()
    }
}

/// The wraps whose derivation this machine is given to: Argon2 with the 2 GiB that RFC 9106 names first for one of them,
/// with at most half of that for others, with more for none.
fn affordable(skesks: &[Vec<u8>]) -> Vec<&[u8]> {
    let mut large_ones = 0;
    let fits = |body: &&[u8]| {
        let memory = argon2_memory(body).unwrap_or(0);
        large_ones += u32::from(memory == LARGEST_MEMORY);
        memory < LARGEST_MEMORY || memory == LARGEST_MEMORY && large_ones == 1
    };
    skesks.iter().map(Vec::as_slice).filter(fits).collect()
}

/// How Argon2's `m` says 2 GiB: as the exponent of a number of KiB.
const LARGEST_MEMORY: u8 = 21;

fn argon2_memory(skesk: &[u8]) -> Option<u8> {
    match s2k(skesk)? {
        [4, rest @ ..] => rest.get(18).copied(),
        _ => None,
    }
}

fn s2k(skesk: &[u8]) -> Option<&[u8]> {
    match skesk.first()? {
        4 => skesk.get(2..),
        5 => skesk.get(3..),
        6 => skesk.get(5..),
        _ => None,
    }
}

/// What it costs to derive a key from a passphrase, counted as rounds of PBKDF2: by the octets hashed, or for Argon2 by
/// the KiB written (RFC 9580 §3.7.1). `None` for what is quick or cannot be read.
fn rounds(skesk: &[u8]) -> Option<u32> {
    match s2k(skesk)? {
        [3, _, rest @ ..] => {
            let count = u32::from(*rest.get(8)?);
            Some(((16 + (count & 15)) << ((count >> 4) + 6)) / 64)
        }
        [4, rest @ ..] => {
            let [passes, _, memory] = *rest.get(16..19)? else {
                return None;
            };
            let kibibytes = 1_u32.checked_shl(memory.into()).unwrap_or(u32::MAX);
            Some(kibibytes.saturating_mul(passes.into()))
        }
        _ => None,
    }
}

struct PassphraseKey {
    bytes: SecretBytes,
    cipher: Option<u8>,
}

fn from_passphrase(skesk: &[u8], passphrase: &SecretBytes) -> Option<PassphraseKey> {
    if skesk.first() == Some(&5) {
        return from_passphrase_v5(&skesk[1..], passphrase);
    }
    let header = PacketHeader::new_fixed(
        Tag::SymKeyEncryptedSessionKey,
        u32::try_from(skesk.len()).ok()?,
    );
    let packet = SymKeyEncryptedSessionKey::try_from_reader(header, skesk).ok()?;
    let password = Password::from(passphrase.expose());
    let unwrapped = decrypt_session_key_with_password(&packet, &password).ok()?;
    let (PlainSessionKey::V3_4 { key, .. }
    | PlainSessionKey::V5 { key }
    | PlainSessionKey::V6 { key }) = &unwrapped;
    let cipher = unwrapped.sym_algorithm().map(u8::from);
    Some(PassphraseKey {
        bytes: SecretBytes::new(key.as_ref().to_vec()),
        cipher,
    })
}

/// The version between RFCs, with which GnuPG 2.3 and drafts of RFC 9580 wrote EAX and OCB; rPGP reads OCB only.
fn from_passphrase_v5(mut fields: &[u8], passphrase: &SecretBytes) -> Option<PassphraseKey> {
    let header = [0xc3, 5, *fields.first()?, *fields.get(1)?];
    let (cipher, mode) = (
        SymmetricKeyAlgorithm::from(header[2]),
        AeadAlgorithm::from(header[3]),
    );
    fields = &fields[2..];
    let s2k = StringToKey::try_from_reader(&mut fields).ok()?;
    let (nonce, sealed) = fields.split_at_checked(mode.iv_size())?;
    let key = s2k
        .derive_key(passphrase.expose(), cipher.key_size())
        .ok()?;
    let opened = aead::open(cipher, mode, key.as_ref(), nonce, &header, sealed)?;
    Some(PassphraseKey {
        bytes: SecretBytes::new(opened.to_vec()),
        cipher: None,
    })
}

/// The state of one search: what has been tried decides what is reported at the end.
struct Search<'a, 'c> {
    container: &'a Container,
    ctx: &'a Context<'c>,
    broken: Option<NotOpened>,
    locked: bool,
    waiting_for: Vec<KeyHint>,
}

impl Search<'_, '_> {
    /// All keys that fit one public-key wrap, in turn.
    fn with_keys(&mut self, body: &[u8]) -> Result<Option<Unlocked>, Failure> {
        let Some(addressee) = addressee(body) else {
            return Ok(None);
        };
        let cipher_inside = self.container.cipher_inside();
        if cipher_inside == (addressee.version == 6) {
            return Ok(None);
        }
        let wrapped = Wrapped::OpenPgpPkesk {
            body: body.to_vec(),
            cipher_inside,
        };
        let bounds = &self.ctx.policy.bounds;
        for attempt in 0.. {
            let answer = self
                .ctx
                .keys
                .unwrap_session_key(&addressee.hint, &wrapped, attempt);
            // To ask for a key that is not here is no operation: most recipients of a long list are others.
            if !matches!(answer, Err(KeyRefusal::NoKey)) {
                self.ctx.budget.key_operation(bounds)?;
            }
            match answer {
                Ok(found) => {
                    let named = addressee.hint != KeyHint::Hidden;
                    if let Some(plaintext) =
                        self.attempt(found.key.expose(), found.cipher, named)?
                    {
                        let cipher = found.cipher.map(cipher_name);
                        return Ok(Some(Unlocked {
                            plaintext,
                            key: Some(found.opened_by),
                            cipher,
                        }));
                    }
                }
                Err(KeyRefusal::TooMany) => {
                    return Err(Failure::OverBound {
                        bound: "key_operations",
                        limit: u64::from(bounds.key_operations),
                    });
                }
                Err(refusal) => {
                    self.locked |= refusal == KeyRefusal::Locked;
                    if !self.waiting_for.contains(&addressee.hint) {
                        self.waiting_for.push(addressee.hint);
                    }
                    break;
                }
            }
        }
        Ok(None)
    }

    /// One session key. A key that the message names must fit; one that was guessed need not.
    fn attempt(
        &mut self,
        key: &[u8],
        cipher: Option<u8>,
        named: bool,
    ) -> Result<Option<Vec<u8>>, Failure> {
        match self.container.decrypt(key, cipher) {
            Ok(plaintext) => return Ok(Some(plaintext)),
            Err(NotOpened::WrongKey) if !named => {}
            Err(NotOpened::Broken) => {
                self.broken = Some(NotOpened::Broken);
                let (bytes, bounds) = (self.container.size(), &self.ctx.policy.bounds);
                self.ctx.budget.in_vain(bytes as u64, bounds)?;
            }
            Err(other) => {
                self.broken.get_or_insert(other);
            }
        }
        Ok(None)
    }

    fn failure(self) -> Failure {
        match self.broken {
            Some(NotOpened::Unsupported(what)) => Failure::Refused(format!("unsupported {what}")),
            Some(other) => Failure::Damaged(other.to_string()),
            None if self.locked => Failure::Locked,
            None => Failure::NoKey {
                waiting_for: self.waiting_for,
            },
        }
    }
}

/// Reads the fixed fields of a PKESK (RFC 9580 §5.1; version 2 is PGP 2's number for version 3).
fn addressee(body: &[u8]) -> Option<Addressee> {
    match *body.first()? {
        version @ (2 | 3) => {
            let id = body.get(1..9)?;
            let hidden = id.iter().all(|b| *b == 0);
            let hint = if hidden {
                KeyHint::Hidden
            } else {
                KeyHint::OpenPgp(id.to_vec())
            };
            Some(Addressee {
                hint,
                version,
                algorithm: *body.get(9)?,
            })
        }
        6 => {
            let named = usize::from(*body.get(1)?);
            let id = body.get(2..2 + named)?;
            let hint = id
                .get(1..)
                .map_or(KeyHint::Hidden, |id| KeyHint::OpenPgp(id.to_vec()));
            Some(Addressee {
                hint,
                version: 6,
                algorithm: *body.get(2 + named)?,
            })
        }
        _ => None,
    }
}

/// The usual name of a public-key algorithm (RFC 9580 §9.1, and the post-quantum draft).
#[must_use]
pub fn public_key_name(number: u8) -> String {
    let name = match number {
        1..=3 => "RSA",
        8 => "Kyber-GnuPG",
        16 | 20 => "ElGamal",
        17 => "DSA",
        18 => "ECDH",
        19 => "ECDSA",
        22 => "EdDSA",
        25 => "X25519",
        26 => "X448",
        27 => "Ed25519",
        28 => "Ed448",
        30 => "ML-DSA-65+Ed25519",
        31 => "ML-DSA-87+Ed448",
        32 => "SLH-DSA-SHAKE-128s",
        33 => "SLH-DSA-SHAKE-128f",
        34 => "SLH-DSA-SHAKE-256s",
        35 => "ML-KEM-768+X25519",
        36 => "ML-KEM-1024+X448",
        other => return format!("public-key algorithm {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{affordable, rounds};
    use proptest::prelude::*;

    #[test]
    fn what_a_passphrase_costs() {
        let iterated = [&[4, 9, 3, 8], &[0x55; 8][..], &[0xff]].concat();
        assert_eq!(rounds(&iterated), Some(65_011_712 / 64));
        let argon2 = [&[6, 0, 9, 2, 20, 4], &[0x55; 16][..], &[3, 4, 16]].concat();
        assert_eq!(rounds(&argon2), Some(3 << 16));
        assert_eq!(rounds(&[4, 9, 0, 2]), None);
    }

    #[test]
    fn gigabytes_of_memory_are_taken_once() {
        let argon2 = |memory| [&[6, 0, 9, 2, 20, 4], &[0x55; 16][..], &[1, 4, memory]].concat();
        let wraps = [22, 21, 20, 21, 31, 20].map(argon2);
        let memory: Vec<u8> = affordable(&wraps).iter().map(|wrap| wrap[24]).collect();
        assert_eq!(memory, [21, 20, 20]);
    }

    proptest! {
        #[test]
        fn any_packet_is_survived(version in 3_u8..8, rest in proptest::collection::vec(any::<u8>(), 0..40)) {
            let body = [&[version], &rest[..]].concat();
            let _ = (rounds(&body), affordable(&[body]));
        }
    }
}
