//! OpenPGP secret keys: read from any ring, unlocked, reduced to what decrypts, proven to work.
//!
//! `inspect` uses all that can decrypt; escrow keeps only encryption subkeys and public parts, because an
//! escrowed signing key would end the value of its signatures. Expired and revoked keys decrypt like others.

mod ecdh;
mod private;
mod ring;

use super::{KeyInfo, KeyProblem, UserKey};
use crate::mail::keyops::{KeyHint, KeyRefusal, SessionKey, Wrapped};
use crate::mail::openpgp::packets::tag;
use crate::mail::openpgp::{EveryAge, public_key_name};
use crate::secret::SecretBytes;
use crate::time::Timestamp;
use data_encoding::HEXLOWER;
use openpgp::Cert;
use openpgp::packet::UserID;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::parse::Parse;
use openpgp::types::KeyFlags;
use private::{Decrypting, rsa, take_mpi};
use ring::{RingPacket, Unlocked, old_public_size, unlock};
use sequoia_openpgp as openpgp;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// What a key packet says in public.
struct PublicFacts {
    key_id: Vec<u8>,
    fingerprint: Vec<u8>,
    algorithm: String,
    created: Timestamp,
    usage: Usage,
}

/// What a key is for, as far as its self-signatures tell.
#[derive(Clone, Copy)]
struct Usage {
    encrypts: bool,
    signs: bool,
}

/// All secret keys in `bytes` (armored or binary, whole rings), unlocked with the first passphrase that fits.
/// Every key that can decrypt is there, whatever its usage: this is for opening mail, not for keeping keys.
#[must_use]
pub fn load(
    bytes: &[u8],
    passphrases: &[SecretBytes],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    boxed(read(bytes, passphrases))
}

/// As [`load`], for escrow: each key is reduced by [`reduce_for_escrow`] and then proves that it opens what is
/// encrypted to it.
#[must_use]
pub fn load_for_escrow(
    bytes: &[u8],
    passphrases: &[SecretBytes],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    let reduced = read(bytes, passphrases)
        .into_iter()
        .map(|key| reduce_for_escrow(key?));
    boxed(
        reduced
            .map(|key| key.and_then(OpenPgpKey::proven))
            .collect(),
    )
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
        let mut fitting = self
            .decrypting
            .iter()
            .filter(|k| named.is_none_or(|id| k.public.is_named(id)))
            .peekable();
        if fitting.peek().is_none() {
            return Err(KeyRefusal::NoKey);
        }
        fitting
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
        SecretBytes::new(
            self.packets
                .iter()
                .flat_map(|packet| packet.bytes().to_vec())
                .collect(),
        )
    }
}

impl PublicFacts {
    fn is_named(&self, id: &[u8]) -> bool {
        id == self.key_id || id == self.fingerprint
    }
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

fn read(bytes: &[u8], passphrases: &[SecretBytes]) -> Vec<Result<OpenPgpKey, KeyProblem>> {
    let rings = ring::keys(bytes)
        .into_iter()
        .filter(|key| key.iter().any(RingPacket::is_secret));
    let keys: Vec<_> = rings
        .map(|packets| read_one(packets, passphrases))
        .collect();
    if keys.is_empty() {
        return vec![Err(KeyProblem::Unreadable(
            "no OpenPGP secret key in it".to_owned(),
        ))];
    }
    keys
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
    for (index, packet) in packets.iter_mut().enumerate() {
        if !packet.is_secret() {
            continue;
        }
        let Some(public) = public_facts(packet, &usages) else {
            unsupported = Some("unknown key version or algorithm".to_owned());
            continue;
        };
        let private = match unlock(packet, passphrases) {
            Unlocked::Key(key) => {
                if let Some(unlocked) = ring::repacked(packet, &key) {
                    *packet = unlocked;
                }
                Decrypting::new(&key)
            }
            Unlocked::OldRsa(unlocked) => {
                let private = old_rsa(&unlocked);
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

/// The facts without the unlocked keys' part.
fn facts_of(packets: &[RingPacket]) -> Option<KeyInfo> {
    let usages = Usages::of(packets);
    let primary = public_facts(packets.first()?, &usages)?;
    let user_ids: Vec<UserID> = packets
        .iter()
        .filter(|p| p.tag == tag::USER_ID)
        .map(|p| UserID::from(p.body.as_slice()))
        .collect();
    let mut addresses: Vec<String> = Vec::new();
    for address in user_ids
        .iter()
        .filter_map(|u| u.email().ok().flatten())
        .map(str::to_lowercase)
    {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let keys = packets
        .iter()
        .filter(|p| is_key(p))
        .filter_map(|p| public_facts(p, &usages));
    let hints = keys
        .filter(|k| k.usage.encrypts)
        .flat_map(|k| hints(&k))
        .collect();
    Some(KeyInfo {
        fingerprint: HEXLOWER.encode(&primary.fingerprint),
        format: "OpenPGP".to_owned(),
        algorithm: primary.algorithm,
        addresses,
        name: user_ids.first().map_or_else(
            || HEXLOWER.encode(&primary.key_id),
            |user_id| String::from_utf8_lossy(user_id.value()).into_owned(),
        ),
        valid_from: Some(primary.created),
        valid_until: usages.valid_until,
        dual_use: false,
        hints,
        certificate: certificate(packets),
    })
}

/// Fills in what depends on which subkeys decrypt.
fn describe(mut info: KeyInfo, decrypting: &[DecryptingKey]) -> KeyInfo {
    info.hints = decrypting.iter().flat_map(|k| hints(&k.public)).collect();
    info.dual_use = decrypting.iter().any(|k| k.public.usage.signs);
    if let Some(key) = decrypting
        .iter()
        .find(|k| k.public.usage.encrypts)
        .or(decrypting.first())
    {
        info.algorithm.clone_from(&key.public.algorithm);
    }
    info
}

fn hints(key: &PublicFacts) -> [KeyHint; 2] {
    [
        KeyHint::OpenPgp(key.key_id.clone()),
        KeyHint::OpenPgp(key.fingerprint.clone()),
    ]
}

fn is_key(packet: &RingPacket) -> bool {
    packet.is_secret() || matches!(packet.tag, tag::PUBLIC_KEY | tag::PUBLIC_SUBKEY)
}

/// The public half of a key packet.
fn public_part(packet: &RingPacket) -> Option<RingPacket> {
    let public_tag = if packet.tag == tag::SECRET_KEY {
        tag::PUBLIC_KEY
    } else {
        tag::PUBLIC_SUBKEY
    };
    let body = if matches!(packet.body.first(), Some(2 | 3)) {
        packet.body.get(..old_public_size(&packet.body)?)?.to_vec()
    } else {
        ring::public_body(packet)?
    };
    Some(RingPacket::new(public_tag, body))
}

/// The certificate: every secret packet replaced by its public half.
fn certificate(packets: &[RingPacket]) -> Vec<u8> {
    let public = packets.iter().filter_map(|p| {
        if p.is_secret() {
            public_part(p)
        } else {
            Some(p.clone())
        }
    });
    public.flat_map(|packet| packet.bytes().to_vec()).collect()
}

fn public_facts(packet: &RingPacket, usages: &Usages) -> Option<PublicFacts> {
    if matches!(packet.body.first(), Some(2 | 3)) {
        return old_public_facts(&packet.body);
    }
    let key = ring::public_key(packet)?;
    let fingerprint = key.fingerprint();
    let algorithm = public_key_name(key.pk_algo().into());
    let algorithm = match key.mpis().bits() {
        Some(bits) if matches!(algorithm.as_str(), "RSA" | "DSA" | "ElGamal") => {
            format!("{algorithm}-{bits}")
        }
        _ => ring::curve(&key).unwrap_or(algorithm),
    };
    Some(PublicFacts {
        key_id: key.keyid().as_bytes().to_vec(),
        usage: usages.of_key(&key),
        fingerprint: fingerprint.as_bytes().to_vec(),
        algorithm,
        created: Timestamp::from_seconds(
            key.creation_time()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        ),
    })
}

/// Version 3 (RFC 4880 §12.2): the key id is the modulus's end, the fingerprint an MD5; always RSA, for both uses.
fn old_public_facts(body: &[u8]) -> Option<PublicFacts> {
    let mut rest = body.get(8..old_public_size(body)?)?;
    let (n, e) = (take_mpi(&mut rest)?, take_mpi(&mut rest)?);
    let fingerprint =
        openssl::hash::hash(openssl::hash::MessageDigest::md5(), &[n, e].concat()).ok()?;
    Some(PublicFacts {
        key_id: n.get(n.len().checked_sub(8)?..)?.to_vec(),
        fingerprint: fingerprint.to_vec(),
        algorithm: format!("RSA-{}", n.len() * 8 - n.first()?.leading_zeros() as usize),
        created: Timestamp::from_seconds(u64::from(u32::from_be_bytes(
            body.get(1..5)?.try_into().ok()?,
        ))),
        usage: Usage {
            encrypts: body[7] != 3,
            signs: body[7] != 2,
        },
    })
}

/// Key flags by fingerprint, from the newest self-signatures, and the end of validity.
struct Usages {
    flags: Vec<(openpgp::Fingerprint, KeyFlags)>,
    valid_until: Option<Timestamp>,
}

impl Usages {
    fn of(packets: &[RingPacket]) -> Self {
        let mut usages = Self {
            flags: Vec::new(),
            valid_until: None,
        };
        let Ok(cert) = Cert::from_bytes(&certificate(packets)) else {
            return usages;
        };
        // Self-signatures lie in the past; what a certificate says last counts.
        let newest = cert
            .userids()
            .flat_map(|u| u.self_signatures())
            .chain(cert.primary_key().self_signatures());
        let newest = newest.chain(cert.keys().subkeys().flat_map(|k| k.self_signatures()));
        let at: Option<SystemTime> = newest.filter_map(|s| s.signature_creation_time()).max();
        let Some(Ok(valid)) = at.map(|at| cert.with_policy(&EveryAge, at)) else {
            return usages;
        };
        for key in valid.keys() {
            if let Some(flags) = key.key_flags() {
                usages.flags.push((key.key().fingerprint(), flags));
            }
        }
        let expiry = valid.primary_key().key_expiration_time();
        usages.valid_until = expiry
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map(|since| Timestamp::from_seconds(since.as_secs()));
        usages
    }

    /// Without flags the algorithm decides: RSA may do both.
    fn of_key(&self, key: &Key<PublicParts, UnspecifiedRole>) -> Usage {
        let (can_encrypt, can_sign) = (key.pk_algo().for_encryption(), key.pk_algo().for_signing());
        let fingerprint = key.fingerprint();
        match self.flags.iter().find(|(known, _)| *known == fingerprint) {
            Some((_, flags)) if can_sign => Usage {
                encrypts: can_encrypt
                    && (flags.for_transport_encryption() || flags.for_storage_encryption()),
                signs: flags.for_signing()
                    || flags.for_certification()
                    || flags.for_authentication(),
            },
            _ => Usage {
                encrypts: can_encrypt,
                signs: can_sign,
            },
        }
    }
}
