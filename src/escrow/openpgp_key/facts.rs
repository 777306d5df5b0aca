//! What a key says in public: names, algorithms, usage, validity, and the hints by which messages name it.

use super::DecryptingKey;
use super::private::take_mpi;
use super::public_body::{Material, PublicBody, key_id};
use super::ring::{self, RingPacket, old_public_size};
use crate::escrow::KeyInfo;
use crate::mail::keyops::KeyHint;
use crate::mail::openpgp::packets::tag;
use crate::mail::openpgp::{EveryAge, public_key_name};
use crate::time::Timestamp;
use data_encoding::HEXLOWER;
use openpgp::Cert;
use openpgp::packet::UserID;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::parse::Parse;
use openpgp::types::KeyFlags;
use sequoia_openpgp as openpgp;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a key packet says in public.
pub(super) struct PublicFacts {
    pub key_id: Vec<u8>,
    pub fingerprint: Vec<u8>,
    pub algorithm: String,
    pub created: Timestamp,
    pub usage: Usage,
}

/// What a key is for, as far as its self-signatures tell.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    pub encrypts: bool,
    pub signs: bool,
}

impl PublicFacts {
    pub(super) fn is_named(&self, id: &[u8]) -> bool {
        id == self.key_id || id == self.fingerprint
    }
}

/// The facts without the unlocked keys' part.
pub(super) fn facts_of(packets: &[RingPacket]) -> Option<KeyInfo> {
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
pub(super) fn describe(mut info: KeyInfo, decrypting: &[DecryptingKey]) -> KeyInfo {
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

pub(super) fn hints(key: &PublicFacts) -> [KeyHint; 2] {
    [
        KeyHint::OpenPgp(key.key_id.clone()),
        KeyHint::OpenPgp(key.fingerprint.clone()),
    ]
}

fn is_key(packet: &RingPacket) -> bool {
    packet.is_secret() || matches!(packet.tag, tag::PUBLIC_KEY | tag::PUBLIC_SUBKEY)
}

/// The public half of a key packet.
pub(super) fn public_part(packet: &RingPacket) -> Option<RingPacket> {
    let public_tag = if packet.tag == tag::SECRET_KEY {
        tag::PUBLIC_KEY
    } else {
        tag::PUBLIC_SUBKEY
    };
    let body = match packet.body.first()? {
        2 | 3 => packet.body.get(..old_public_size(&packet.body)?)?.to_vec(),
        5 => PublicBody::read(&packet.body)?.bytes.to_vec(),
        _ => ring::public_body(packet)?,
    };
    Some(RingPacket::new(public_tag, body))
}

/// The certificate: every secret packet replaced by its public half.
pub(super) fn certificate(packets: &[RingPacket]) -> Vec<u8> {
    let public = packets.iter().filter_map(|p| {
        if p.is_secret() {
            public_part(p)
        } else {
            Some(p.clone())
        }
    });
    public.flat_map(|packet| packet.bytes().to_vec()).collect()
}

pub(super) fn public_facts(packet: &RingPacket, usages: &Usages) -> Option<PublicFacts> {
    if matches!(packet.body.first(), Some(2 | 3)) {
        return old_public_facts(&packet.body);
    }
    if packet.body.first() == Some(&5) {
        return v5_public_facts(&packet.body);
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

/// Version 5 (LibrePGP), which Sequoia does not read: the algorithm decides on the usage.
fn v5_public_facts(body: &[u8]) -> Option<PublicFacts> {
    let public = PublicBody::read(body)?;
    let fingerprint = public.fingerprint()?;
    let (encrypts, signs) = match public.material {
        Material::Rsa { .. } => (true, true),
        Material::ElGamal { .. } | Material::Kyber { .. } => (true, false),
        Material::Dsa { .. } => (false, true),
        Material::Curve { kdf, .. } => (kdf.is_some(), kdf.is_none()),
    };
    Some(PublicFacts {
        key_id: key_id(&fingerprint)?.to_vec(),
        algorithm: public.algorithm_name(),
        created: Timestamp::from_seconds(u64::from(public.created)),
        usage: Usage { encrypts, signs },
        fingerprint,
    })
}

/// Key flags by fingerprint, from the newest self-signatures, and the end of validity.
pub(super) struct Usages {
    flags: Vec<(openpgp::Fingerprint, KeyFlags)>,
    valid_until: Option<Timestamp>,
}

impl Usages {
    pub(super) fn of(packets: &[RingPacket]) -> Self {
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
