//! Key rings as packets: split into keys, each key's secret parts unlocked one by one.

use super::private::take_mpi;
use super::v5;
use crate::mail::openpgp::armor;
use crate::mail::openpgp::packets::{framed, packets, tag};
use crate::secret::SecretBytes;
use openpgp::crypto::S2K;
use openpgp::crypto::mpi::PublicKey;
use openpgp::packet::Packet;
use openpgp::packet::key::{Key, PublicParts, SecretKeyMaterial, SecretParts, UnspecifiedRole};
use openpgp::parse::Parse;
use openpgp::serialize::SerializeInto;
use openpgp::types::Curve;
use pgp::crypto::sym::SymmetricKeyAlgorithm as Cipher;
use pgp::packet::{PacketHeader, SecretKey, SecretSubkey};
use pgp::ser::Serialize;
use pgp::types::{Password, Tag};
use sequoia_openpgp as openpgp;
use zeroize::Zeroizing;

/// A packet that may hold secrets.
#[derive(Clone)]
pub(super) struct RingPacket {
    pub tag: u8,
    pub body: Zeroizing<Vec<u8>>,
}

impl RingPacket {
    pub(super) fn new(packet_tag: u8, body: Vec<u8>) -> Self {
        Self {
            tag: packet_tag,
            body: Zeroizing::new(body),
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self.tag, tag::SECRET_KEY | tag::SECRET_SUBKEY)
    }

    /// With its header, as on disk.
    pub(super) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(framed(self.tag, &self.body))
    }

    /// As Sequoia reads it.
    pub(super) fn parsed(&self) -> Option<Packet> {
        Packet::from_bytes(&self.bytes()).ok()
    }
}

/// The keys of a ring, armored (any number of blocks) or binary; each starts with its primary key packet.
pub(super) fn keys(bytes: &[u8]) -> Vec<Vec<RingPacket>> {
    let armored: Zeroizing<Vec<u8>> = Zeroizing::new(
        armor::blocks(bytes)
            .filter(|b| b.label.ends_with("KEY BLOCK"))
            .flat_map(|b| b.bytes)
            .collect(),
    );
    let mut keys: Vec<Vec<RingPacket>> = Vec::new();
    for packet in packets(if armored.is_empty() { bytes } else { &armored }).flatten() {
        let packet = RingPacket::new(packet.tag, packet.body().into_owned());
        if matches!(packet.tag, tag::SECRET_KEY | tag::PUBLIC_KEY) {
            keys.push(vec![packet]);
        } else if let Some(key) = keys.last_mut()
            && packet.tag != tag::TRUST
        {
            key.push(packet);
        }
    }
    keys
}

/// What became of a secret key packet.
pub(super) enum Unlocked {
    /// Readable by Sequoia, and unlocked.
    Key(Box<Key<SecretParts, UnspecifiedRole>>),
    /// Of a version that Sequoia lacks (2, 3 and 5), its secret part in the clear.
    Packet(RingPacket),
    /// No passphrase fits.
    Locked,
    /// The secret part is elsewhere (a smartcard, another file).
    Absent,
    /// Nothing here reads it.
    Unsupported,
}

/// Whether a passphrase locks the secret part.
pub(super) fn is_locked(packet: &RingPacket) -> bool {
    if !packet.is_secret() {
        return false;
    }
    match packet.body.first() {
        Some(2 | 3) => old_public_size(&packet.body)
            .and_then(|public| packet.body.get(public))
            .is_some_and(|protection| *protection != 0),
        Some(5) => v5::is_locked(packet),
        _ => match secret_key(packet).map(|key| key.secret().clone()) {
            Some(SecretKeyMaterial::Encrypted(encrypted)) => !is_elsewhere(encrypted.s2k()),
            _ => false,
        },
    }
}

/// Whether a key of this algorithm can decrypt, whatever its certificate says of its use.
pub(super) fn may_decrypt(packet: &RingPacket) -> bool {
    if packet.body.first() == Some(&5) {
        return true;
    }
    public_key(packet).is_none_or(|key| {
        let algorithm = key.pk_algo();
        algorithm.for_encryption() || !algorithm.for_signing()
    })
}

/// Unlocks one secret key packet with the first passphrase that fits, which is then the first for the key's other packets;
/// the empty one is tried too.
pub(super) fn unlock(packet: &RingPacket, passphrases: &mut [&SecretBytes]) -> Unlocked {
    if matches!(packet.body.first(), Some(2 | 3)) {
        return unlock_old(packet, passphrases);
    }
    if packet.body.first() == Some(&5) {
        return v5::unlock(packet, passphrases);
    }
    let Some(key) = secret_key(packet) else {
        return Unlocked::Unsupported;
    };
    match key.secret() {
        SecretKeyMaterial::Unencrypted(_) => return Unlocked::Key(Box::new(key)),
        SecretKeyMaterial::Encrypted(encrypted) if is_elsewhere(encrypted.s2k()) => {
            return Unlocked::Absent;
        }
        SecretKeyMaterial::Encrypted(encrypted) if !is_affordable(encrypted.s2k()) => {
            return Unlocked::Unsupported;
        }
        SecretKeyMaterial::Encrypted(_) => {}
    }
    let by_sequoia =
        |passphrase: &SecretBytes| key.clone().decrypt_secret(&passphrase.expose().into()).ok();
    let found = first_that_fits(passphrases, &by_sequoia).or_else(|| {
        first_that_fits(passphrases, &|passphrase| {
            unlock_by_rpgp(packet, passphrase)
        })
    });
    found.map_or(Unlocked::Locked, |key| Unlocked::Key(Box::new(key)))
}

/// What the first passphrase that fits unlocks. It is moved to the front.
fn first_that_fits<T>(
    passphrases: &mut [&SecretBytes],
    unlock: &dyn Fn(&SecretBytes) -> Option<T>,
) -> Option<T> {
    for at in 0..passphrases.len() {
        if let Some(unlocked) = unlock(passphrases[at]) {
            passphrases[..=at].rotate_right(1);
            return Some(unlocked);
        }
    }
    unlock(&SecretBytes::new(Vec::new()))
}

fn secret_key(packet: &RingPacket) -> Option<Key<SecretParts, UnspecifiedRole>> {
    let key = match packet.parsed()? {
        Packet::SecretKey(key) => key.role_into_unspecified(),
        Packet::SecretSubkey(key) => key.role_into_unspecified(),
        _ => return None,
    };
    Some(key)
}

/// GnuPG's marks for "no secret here" and "on a card" (S2K type 101).
fn is_elsewhere(s2k: &S2K) -> bool {
    matches!(s2k, S2K::Private { tag: 101, .. })
}

/// Whether a derivation is one that this machine is given to: Argon2 with up to the 2 GiB that RFC 9106 names first, written
/// four times at most.
fn is_affordable(s2k: &S2K) -> bool {
    const LARGEST_MEMORY: u8 = 21;
    const MOST_WRITTEN: u64 = 4 << LARGEST_MEMORY;
    match s2k {
        S2K::Argon2 { t, m, .. } => *m <= LARGEST_MEMORY && u64::from(*t) << *m <= MOST_WRITTEN,
        _ => true,
    }
}

/// Old ciphers and digests under the passphrase that Sequoia's build lacks, and secret parts that it finds malformed.
fn unlock_by_rpgp(
    packet: &RingPacket,
    passphrase: &SecretBytes,
) -> Option<Key<SecretParts, UnspecifiedRole>> {
    let password = Password::from(passphrase.expose());
    let size = u32::try_from(packet.body.len()).ok()?;
    let body = if packet.tag == tag::SECRET_KEY {
        let header = PacketHeader::new_fixed(Tag::SecretKey, size);
        let mut key = SecretKey::try_from_reader(header, packet.body.as_slice()).ok()?;
        key.remove_password(&password).ok()?;
        key.to_bytes().ok()?
    } else {
        let header = PacketHeader::new_fixed(Tag::SecretSubkey, size);
        let mut key = SecretSubkey::try_from_reader(header, packet.body.as_slice()).ok()?;
        key.remove_password(&password).ok()?;
        key.to_bytes().ok()?
    };
    let key = secret_key(&RingPacket::new(packet.tag, body))?;
    key.has_unencrypted_secret().then_some(key)
}

/// Version 3 (PGP 2): the numbers are encrypted one by one, under IDEA and the passphrase's MD5 (RFC 4880 §5.5.3).
fn unlock_old(packet: &RingPacket, passphrases: &[&SecretBytes]) -> Unlocked {
    let Some(public) = old_public_size(&packet.body) else {
        return Unlocked::Unsupported;
    };
    match packet.body.get(public) {
        Some(0) => Unlocked::Packet(packet.clone()),
        Some(cipher @ 1..=13) => passphrases
            .iter()
            .find_map(|passphrase| {
                unlock_old_with(packet, public, Cipher::from(*cipher), passphrase)
            })
            .map_or(Unlocked::Locked, Unlocked::Packet),
        _ => Unlocked::Unsupported,
    }
}

/// Octets of a version 3 key's public part.
pub(super) fn old_public_size(body: &[u8]) -> Option<usize> {
    const FIXED: usize = 1 + 4 + 2 + 1;
    let mut rest = body.get(FIXED..).filter(|_| matches!(body[7], 1..=3))?;
    take_mpi(&mut rest)?;
    take_mpi(&mut rest)?;
    Some(body.len() - rest.len())
}

fn unlock_old_with(
    packet: &RingPacket,
    public: usize,
    cipher: Cipher,
    passphrase: &SecretBytes,
) -> Option<RingPacket> {
    let key = openssl::hash::hash(openssl::hash::MessageDigest::md5(), passphrase.expose()).ok()?;
    let block = cipher.block_size();
    let mut iv = packet.body.get(public + 1..public + 1 + block)?.to_vec();
    let mut rest = &packet.body[public + 1 + block..];
    let mut plain = Zeroizing::new(packet.body[..public].to_vec());
    plain.push(0);
    let mut sum = 0_u16;
    for _ in 0..4 {
        let length = rest.get(..2)?;
        let sealed = take_mpi(&mut rest)?;
        let mut number = Zeroizing::new(sealed.to_vec());
        cipher
            .decrypt_with_iv_regular(&key, &iv, &mut number)
            .ok()?;
        // The next number goes on with the last block of ciphertext.
        let carried = [iv.as_slice(), sealed].concat();
        iv = carried[carried.len() - block..].to_vec();
        sum = length
            .iter()
            .chain(number.iter())
            .fold(sum, |sum, b| sum.wrapping_add(u16::from(*b)));
        plain.extend_from_slice(length);
        plain.extend_from_slice(&number);
    }
    if sum.to_be_bytes() != *rest.get(..2)? {
        return None;
    }
    plain.extend_from_slice(&sum.to_be_bytes());
    Some(RingPacket {
        tag: packet.tag,
        body: plain,
    })
}

/// The packet again, its secret part in the clear.
pub(super) fn repacked(
    packet: &RingPacket,
    key: &Key<SecretParts, UnspecifiedRole>,
) -> Option<RingPacket> {
    let packet_now = if packet.tag == tag::SECRET_KEY {
        Packet::SecretKey(key.clone().role_into_primary())
    } else {
        Packet::SecretSubkey(key.clone().role_into_subordinate())
    };
    let bytes = Zeroizing::new(packet_now.to_vec().ok()?);
    let body = packets(&bytes).next()?.ok()?.body().into_owned();
    Some(RingPacket::new(packet.tag, body))
}

/// A version 4 or 6 key packet's public key.
pub(super) fn public_key(packet: &RingPacket) -> Option<Key<PublicParts, UnspecifiedRole>> {
    let key = match packet.parsed()? {
        Packet::SecretKey(key) => key.take_secret().0.role_into_unspecified(),
        Packet::SecretSubkey(key) => key.take_secret().0.role_into_unspecified(),
        Packet::PublicKey(key) => key.role_into_unspecified(),
        Packet::PublicSubkey(key) => key.role_into_unspecified(),
        _ => return None,
    };
    // RFC 9580 §9.2.1: version 6 keys must not use the old Curve25519 encodings.
    let old_curve = match key.mpis() {
        PublicKey::ECDH { curve, .. } | PublicKey::EdDSA { curve, .. } => {
            matches!(curve, Curve::Cv25519 | Curve::Ed25519)
        }
        _ => false,
    };
    (key.version() < 6 || !old_curve).then_some(key)
}

/// The body of the public packet that belongs to a version 4 or 6 key.
pub(super) fn public_body(packet: &RingPacket) -> Option<Vec<u8>> {
    let public = Packet::PublicSubkey(public_key(packet)?.role_into_subordinate());
    let bytes = public.to_vec().ok()?;
    Some(packets(&bytes).next()?.ok()?.body().into_owned())
}

/// The curve's name for ECDH, ECDSA and EdDSA keys.
pub(super) fn curve(key: &Key<PublicParts, UnspecifiedRole>) -> Option<String> {
    let (PublicKey::ECDH { curve, .. }
    | PublicKey::ECDSA { curve, .. }
    | PublicKey::EdDSA { curve, .. }) = key.mpis()
    else {
        return None;
    };
    Some(match curve {
        Curve::NistP256 => "P-256".to_owned(),
        Curve::NistP384 => "P-384".to_owned(),
        Curve::NistP521 => "P-521".to_owned(),
        Curve::Ed25519 => "Ed25519".to_owned(),
        Curve::Cv25519 => "Curve25519".to_owned(),
        other => other.to_string(),
    })
}
