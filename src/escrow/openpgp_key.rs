//! OpenPGP secret keys: read from any ring, unlocked, reduced to what decrypts, proven to work.
//!
//! `inspect` uses all that can decrypt; escrow keeps only encryption subkeys and public parts, because an
//! escrowed signing key would end the value of its signatures. Expired and revoked keys decrypt like others.

mod agent;
mod ecdh;
mod exchange;
mod facts;
mod keybox;
mod keybox_db;
mod kyber;
mod lazy;
mod nameless;
mod native;
mod pairing;
mod pkey;
mod private;
mod public_body;
mod ring;
mod sexp;
mod unprotect;
mod v5;

use super::{KeyInfo, KeyProblem, Loaded, UserKey};
use crate::mail::keyops::{KeyRefusal, SessionKey, Wrapped};
use crate::mail::openpgp::armor;
use crate::secret::SecretBytes;
use agent::State;
use data_encoding::HEXLOWER;
use facts::{PublicFacts, Usages, describe, facts_of, public_facts, public_part};
use lazy::Lazy;
use nameless::Nameless;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use pairing::{Paired, Pairing};
use private::{Decrypting, rsa, take_mpi};
use ring::{RingPacket, Unlocked, old_public_size, unlock};
use std::sync::Arc;

/// A user's OpenPGP key, unlocked.
pub struct OpenPgpKey {
    info: KeyInfo,
    packets: Vec<RingPacket>,
    decrypting: Vec<DecryptingKey>,
}

/// One key or subkey that decrypts.
struct DecryptingKey {
    private: Decrypting,
    public: PublicFacts,
    /// Its place among the packets.
    index: usize,
}

/// All secret keys in `bytes` (armored or binary, whole rings), unlocked with the first passphrase that fits when they are
/// needed. Every key that can decrypt is there, whatever its usage: this is for opening mail, not for keeping keys.
#[must_use]
pub fn load(
    bytes: &[u8],
    passphrases: &[SecretBytes],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    let shared: Arc<[SecretBytes]> = passphrases.iter().map(SecretBytes::duplicate).collect();
    each(bytes, |packets| match Lazy::of(&packets, &shared) {
        Some(key) => Ok(Box::new(key)),
        None => read_one(packets, &[]).map(|key| Box::new(key) as Box<dyn UserKey>),
    })
}

/// As [`load`], for escrow: each key is reduced by [`reduce_for_escrow`] and then proves that it opens what is
/// encrypted to it.
#[must_use]
pub fn load_for_escrow(
    bytes: &[u8],
    passphrases: &[SecretBytes],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    each(bytes, |packets| {
        let key = escrowable(read_one(packets, passphrases))?;
        Ok(Box::new(key))
    })
}

/// Whether `bytes` is a key file of GnuPG's agent (`private-keys-v1.d/*.key`), bare or armored.
#[must_use]
pub fn is_agent_file(bytes: &[u8]) -> bool {
    agent::is_agent_file(bytes)
}

/// Key files of GnuPG's agent as one, which the loaders take: a certificate may have its keys in several files.
pub fn joined_agent_files<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> SecretBytes {
    SecretBytes::new(agent::joined(files))
}

/// Those of `certificates` (as [`certificates_in`] gives them) that name a key in a file of GnuPG's agent.
#[must_use]
pub fn naming(bytes: &[u8], certificates: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let keys = agent::keys(bytes);
    let rings = certificates.iter().flat_map(|bytes| ring::keys(bytes));
    rings
        .filter(|ring| pairing::names_any(ring, &keys))
        .map(|ring| facts::certificate(&ring))
        .collect()
}

/// The keys in a file of GnuPG's agent, named by those of `certificates` (as [`certificates_in`] gives them) that have
/// their public numbers. Without a certificate a key is nameless.
#[must_use]
pub fn load_agent_file(
    bytes: &[u8],
    passphrases: &[SecretBytes],
    certificates: &[Vec<u8>],
) -> Loaded {
    let pairing = paired(bytes, passphrases, certificates);
    let mut loaded = Loaded::default();
    for Paired { packets, locked } in pairing.paired {
        let info = facts_of(&packets);
        match read_paired(packets, locked) {
            Ok(key) => loaded.keys.push(Box::new(key)),
            Err(problem) => {
                loaded.locked.extend(info.filter(|_| locked));
                loaded.problems.push(problem);
            }
        }
    }
    for key in &pairing.left {
        match Nameless::new(key) {
            Some(key) => loaded.nameless.push(Box::new(key)),
            None => loaded.problems.push(without_certificate(key)),
        }
    }
    loaded
}

/// As [`load_agent_file`], for escrow: only keys with their certificate, reduced and proven as by [`load_for_escrow`]. Keys
/// that one of `x509` names are gpgsm's, see [`agent_pkeys`].
#[must_use]
pub fn load_agent_file_for_escrow(
    bytes: &[u8],
    passphrases: &[SecretBytes],
    certificates: &[Vec<u8>],
    x509: &[X509],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    let pairing = paired(bytes, passphrases, certificates);
    let keys = pairing.paired.into_iter();
    let mut results: Vec<_> = keys
        .map(|paired| escrowable(read_paired(paired.packets, paired.locked)))
        .collect();
    let left = pairing.left.iter();
    let nobodys = left.filter(|key| key.state != State::Clear || !pkey::is_named(key, x509));
    results.extend(nobodys.map(|key| Err(without_certificate(key))));
    boxed(results)
}

/// The unlocked keys in a file of GnuPG's agent that one of `certificates` names, as S/MIME has them: gpgsm's lie among
/// gpg's.
#[must_use]
pub(super) fn agent_pkeys(
    bytes: &[u8],
    passphrases: &[SecretBytes],
    certificates: &[X509],
) -> Vec<PKey<Private>> {
    let keys = agent::keys(bytes).into_iter();
    keys.filter(|key| pkey::is_named(key, certificates))
        .filter_map(|key| key.unlocked(passphrases))
        .filter_map(|key| pkey::pkey(&key))
        .collect()
}

/// Those of `certificates` that name a key in a file of GnuPG's agent.
#[must_use]
pub fn x509_naming(bytes: &[u8], mut certificates: Vec<X509>) -> Vec<X509> {
    let keys = agent::keys(bytes);
    certificates.retain(|certificate| pkey::names_any(certificate, &keys));
    certificates
}

/// As [`x509_naming`], of the keys that are under a passphrase.
pub(super) fn x509_naming_protected(bytes: &[u8], certificates: &[X509]) -> Vec<X509> {
    let mut keys = agent::keys(bytes);
    keys.retain(|key| key.state == State::Protected);
    let named = |certificate: &&X509| pkey::names_any(certificate, &keys);
    certificates.iter().filter(named).cloned().collect()
}

fn paired(bytes: &[u8], passphrases: &[SecretBytes], certificates: &[Vec<u8>]) -> Pairing {
    let rings = certificates.iter().flat_map(|bytes| ring::keys(bytes));
    pairing::pair(agent::keys(bytes), rings.collect(), passphrases)
}

fn read_paired(packets: Vec<RingPacket>, locked: bool) -> Result<OpenPgpKey, KeyProblem> {
    read_one(packets, &[]).map_err(|problem| {
        if locked {
            KeyProblem::WrongPassphrase
        } else {
            problem
        }
    })
}

/// What to say of an agent key that no certificate names.
fn without_certificate(key: &agent::AgentKey) -> KeyProblem {
    let algorithm = nameless::info(key).map_or_else(|| "unknown".to_owned(), |info| info.algorithm);
    match key.state {
        State::Shadowed => {
            KeyProblem::Unsupported(format!("the {algorithm} key is on a smartcard"))
        }
        State::Protected => KeyProblem::WrongPassphrase,
        State::Clear => KeyProblem::NoOpenPgpCertificate(algorithm),
    }
}

/// OpenPGP certificates in a file: armored, binary, GnuPG's keybox or its database. Secret keys count by their public
/// part.
#[must_use]
pub fn certificates_in(bytes: &[u8]) -> Vec<Vec<u8>> {
    let kept = keybox::certificates(bytes).or_else(|| keybox_db::certificates(bytes));
    if let Some(found) = kept {
        return found;
    }
    let armored: Vec<Vec<u8>> = armor::blocks(bytes)
        .filter(|block| block.label.ends_with("KEY BLOCK"))
        .map(|block| block.bytes)
        .collect();
    if armored.is_empty() && matches!(bytes.first(), Some(0x94..=0x9b | 0xc5 | 0xc6)) {
        return vec![bytes.to_vec()];
    }
    armored
}

/// The X.509 certificates in GnuPG's keybox or its database, DER.
#[must_use]
pub fn x509_in_keybox(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = keybox::x509_certificates(bytes);
    found.extend(keybox_db::x509_certificates(bytes));
    found
}

/// The public facts of every secret key in `bytes`, locked or not, so that mail to a locked key can be told from
/// mail to an unknown one.
#[must_use]
pub fn facts(bytes: &[u8]) -> Vec<KeyInfo> {
    ring::keys(bytes)
        .iter()
        .filter(|key| key.iter().any(RingPacket::is_secret))
        .filter_map(|key| facts_of(key))
        .collect()
}

/// Drops every secret part that is not for encryption. A key without any is a pure signing key and refused.
pub fn reduce_for_escrow(key: OpenPgpKey) -> Result<OpenPgpKey, KeyProblem> {
    let OpenPgpKey {
        info,
        mut packets,
        decrypting,
    } = key;
    let keep: Vec<DecryptingKey> = decrypting
        .into_iter()
        .filter(|k| k.public.usage.encrypts)
        .collect();
    if keep.is_empty() {
        return Err(KeyProblem::SigningOnly(info.name));
    }
    for (index, packet) in packets.iter_mut().enumerate() {
        if packet.is_secret() && !keep.iter().any(|k| k.index == index) {
            *packet = public_part(packet).ok_or_else(|| {
                KeyProblem::Unsupported(
                    "a secret key packet without a readable public part".to_owned(),
                )
            })?;
        }
    }
    Ok(OpenPgpKey {
        info: describe(info, &keep),
        packets,
        decrypting: keep,
    })
}

fn escrowable(key: Result<OpenPgpKey, KeyProblem>) -> Result<OpenPgpKey, KeyProblem> {
    key.and_then(reduce_for_escrow).and_then(OpenPgpKey::proven)
}

impl OpenPgpKey {
    fn proven(self) -> Result<Self, KeyProblem> {
        let works = self
            .decrypting
            .iter()
            .all(|key| key.private.proves_possession());
        if works {
            Ok(self)
        } else {
            Err(KeyProblem::ProofFailed)
        }
    }
}

impl UserKey for OpenPgpKey {
    fn info(&self) -> &KeyInfo {
        &self.info
    }

    fn unwrap_session_key(&self, wrapped: &Wrapped) -> Result<SessionKey, KeyRefusal> {
        let Wrapped::OpenPgpPkesk {
            body,
            cipher_inside,
        } = wrapped
        else {
            return Err(KeyRefusal::NoKey);
        };
        let named = named_key(body);
        let is_named = |key: &&DecryptingKey| named.is_none_or(|id| key.public.is_named(id));
        if self.decrypting.is_empty() {
            return Err(KeyRefusal::NoKey);
        }
        // Some senders name the primary key and encrypt to a subkey: the others are tried after the named one.
        let others = self.decrypting.iter().filter(|key| !is_named(key));
        self.decrypting
            .iter()
            .filter(is_named)
            .chain(others)
            .find_map(|key| {
                let (session_key, cipher) = key.private.unwrap(body, *cipher_inside)?;
                let opened_by = HEXLOWER.encode(&key.public.fingerprint);
                Some(SessionKey {
                    key: session_key,
                    cipher,
                    opened_by,
                })
            })
            .ok_or(KeyRefusal::DoesNotOpen)
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        secret_bytes(&self.packets)
    }
}

fn secret_bytes(packets: &[RingPacket]) -> SecretBytes {
    let bytes = packets.iter().flat_map(|packet| packet.bytes().to_vec());
    SecretBytes::new(bytes.collect())
}

/// The key id or fingerprint in a PKESK's body; `None` if the recipient is hidden.
fn named_key(body: &[u8]) -> Option<&[u8]> {
    match body.first()? {
        6 => body.get(3..2 + usize::from(*body.get(1)?)),
        _ => body.get(1..9).filter(|id| id.iter().any(|b| *b != 0)),
    }
}

fn boxed(keys: Vec<Result<OpenPgpKey, KeyProblem>>) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    keys.into_iter()
        .map(|key| key.map(|key| Box::new(key) as Box<dyn UserKey>))
        .collect()
}

/// What `read` makes of each secret key in `bytes`.
fn each(
    bytes: &[u8],
    read: impl Fn(Vec<RingPacket>) -> Result<Box<dyn UserKey>, KeyProblem>,
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    let (rings, public): (Vec<_>, Vec<_>) = ring::keys(bytes)
        .into_iter()
        .partition(|key| key.iter().any(RingPacket::is_secret));
    if !rings.is_empty() {
        return rings.into_iter().map(read).collect();
    }
    vec![Err(if public.iter().any(|key| facts_of(key).is_some()) {
        KeyProblem::PublicKeyAlone
    } else {
        KeyProblem::Unreadable("no OpenPGP secret key in it".to_owned())
    })]
}

/// Unlocks what it can; a key counts as locked only if nothing that decrypts came free.
fn read_one(
    mut packets: Vec<RingPacket>,
    passphrases: &[SecretBytes],
) -> Result<OpenPgpKey, KeyProblem> {
    let info = facts_of(&packets)
        .ok_or_else(|| KeyProblem::Unreadable("damaged OpenPGP key".to_owned()))?;
    let usages = Usages::of(&packets);
    let (mut decrypting, mut locked, mut unsupported) = (Vec::new(), false, None);
    let mut passphrases: Vec<&SecretBytes> = passphrases.iter().collect();
    for (index, packet) in packets.iter_mut().enumerate() {
        if !packet.is_secret() || !ring::may_decrypt(packet) {
            continue;
        }
        let Some(public) = public_facts(packet, &usages) else {
            unsupported = Some("unknown key version or algorithm".to_owned());
            continue;
        };
        let private = match unlock(packet, &mut passphrases) {
            Unlocked::Key(key) => {
                if let Some(unlocked) = ring::repacked(packet, &key) {
                    *packet = unlocked;
                }
                Decrypting::new(&key)
            }
            Unlocked::Packet(unlocked) => {
                let private = if unlocked.body.first() == Some(&5) {
                    v5::decrypting(&unlocked)
                } else {
                    old_rsa(&unlocked)
                };
                *packet = unlocked;
                private
            }
            Unlocked::Locked => {
                locked = true;
                continue;
            }
            Unlocked::Absent => continue,
            Unlocked::Unsupported => {
                unsupported = Some(public.algorithm);
                continue;
            }
        };
        decrypting.extend(private.map(|private| DecryptingKey {
            private,
            public,
            index,
        }));
    }
    match (decrypting.is_empty(), locked, unsupported) {
        (false, ..) => Ok(OpenPgpKey {
            info: describe(info, &decrypting),
            packets,
            decrypting,
        }),
        (true, true, _) => Err(KeyProblem::WrongPassphrase),
        (true, false, Some(what)) => Err(KeyProblem::Unsupported(what)),
        (true, false, None) => Err(KeyProblem::SigningOnly(info.name)),
    }
}

fn old_rsa(packet: &RingPacket) -> Option<Decrypting> {
    let public = old_public_size(&packet.body)?;
    let (mut first, mut second) = (packet.body.get(8..public)?, packet.body.get(public + 1..)?);
    let (n, e) = (take_mpi(&mut first)?, take_mpi(&mut first)?);
    let mut next = || take_mpi(&mut second);
    let (d, p, q, u) = (next()?, next()?, next()?, next()?);
    rsa([n, e, d, p, q, u]).ok().map(Decrypting::Rsa)
}
