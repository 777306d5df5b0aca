//! The agent's keys brought together with their certificates: each public key packet whose numbers an agent key has
//! becomes a secret key packet, and from there on it is a key like any other.

use super::agent::{AgentKey, Family, State};
use super::public_body::{Material, PublicBody, curve_oid, same_curve};
use super::ring::RingPacket;
use super::v5::clear_body;
use crate::mail::openpgp::packets::tag;
use crate::secret::SecretBytes;
use std::collections::HashSet;
use zeroize::Zeroizing;

/// A certificate with the secret parts that were found for it.
pub(super) struct Paired {
    /// The packets, unlocked secret parts in place.
    pub packets: Vec<RingPacket>,
    /// Whether a part is under a passphrase that was not given.
    pub locked: bool,
}

/// What pairing gave.
pub(super) struct Pairing {
    pub paired: Vec<Paired>,
    /// Keys that no certificate names, unlocked where possible.
    pub left: Vec<AgentKey>,
}

/// Pairs keys with certificates; a certificate without any private key is left out.
pub(super) fn pair(
    keys: Vec<AgentKey>,
    certificates: Vec<Vec<RingPacket>>,
    passphrases: &[SecretBytes],
) -> Pairing {
    let certificates = latest_copies(certificates, &keys);
    // A passphrase costs a tenth of a second: only keys that a certificate names are unlocked, each once.
    let mut shelf: Vec<OnShelf> = keys.into_iter().map(OnShelf::new).collect();
    let mut paired = Vec::new();
    for packets in certificates {
        if let Some(found) = complete(packets, &mut shelf, passphrases) {
            paired.push(found);
        }
    }
    let left = shelf.into_iter().filter(|item| !item.named);
    Pairing {
        paired,
        left: left
            .map(|item| item.key.unlocked(passphrases).unwrap_or(item.key))
            .collect(),
    }
}

/// Whether the certificate has the public half of any of these keys.
pub(super) fn names_any(certificate: &[RingPacket], keys: &[AgentKey]) -> bool {
    named_by(certificate, keys) > 0
}

/// How many of the certificate's keys are there.
fn named_by(certificate: &[RingPacket], keys: &[AgentKey]) -> usize {
    let public = certificate
        .iter()
        .filter(|packet| secret_tag(packet).is_some());
    public
        .filter_map(|packet| PublicBody::read(&packet.body))
        .filter(|public| fitting(public, keys).is_some())
        .count()
}

/// Of several copies of one certificate the one that names the most keys.
fn latest_copies(
    mut certificates: Vec<Vec<RingPacket>>,
    keys: &[AgentKey],
) -> Vec<Vec<RingPacket>> {
    certificates.sort_by_cached_key(|certificate| std::cmp::Reverse(named_by(certificate, keys)));
    let mut seen = HashSet::new();
    certificates.retain(|certificate| {
        let primary = certificate.first().and_then(|p| PublicBody::read(&p.body));
        primary.is_some_and(|primary| seen.insert(primary.fingerprint()))
    });
    certificates
}

/// An agent key, and what has become of it so far.
struct OnShelf {
    key: AgentKey,
    unlocked: Option<Option<AgentKey>>,
    named: bool,
}

impl OnShelf {
    fn new(key: AgentKey) -> Self {
        Self {
            key,
            unlocked: None,
            named: false,
        }
    }

    fn unlocked(&mut self, passphrases: &[SecretBytes]) -> Option<&AgentKey> {
        let key = &self.key;
        self.unlocked
            .get_or_insert_with(|| key.unlocked(passphrases))
            .as_ref()
    }
}

fn complete(
    mut packets: Vec<RingPacket>,
    shelf: &mut [OnShelf],
    passphrases: &[SecretBytes],
) -> Option<Paired> {
    let (mut found, mut locked) = (false, false);
    for packet in &mut packets {
        let Some(secret_tag) = secret_tag(packet) else {
            continue;
        };
        let Some(public) = PublicBody::read(&packet.body) else {
            continue;
        };
        let Some(fitting) = fitting(&public, shelf.iter().map(|item| &item.key)) else {
            continue;
        };
        let mut secret = Zeroizing::new(Vec::new());
        let mut complete = true;
        for index in fitting {
            shelf[index].named = true;
            let numbers = shelf[index].unlocked(passphrases).and_then(secret_fields);
            complete &= numbers.is_some();
            secret.extend_from_slice(&numbers.unwrap_or_default());
        }
        found = true;
        locked |= !complete;
        if let Some(body) = clear_body(public.bytes, &secret).filter(|_| complete) {
            *packet = RingPacket {
                tag: secret_tag,
                body,
            };
        }
    }
    found.then_some(Paired { packets, locked })
}

fn secret_tag(packet: &RingPacket) -> Option<u8> {
    match packet.tag {
        tag::PUBLIC_KEY | tag::SECRET_KEY => Some(tag::SECRET_KEY),
        tag::PUBLIC_SUBKEY | tag::SECRET_SUBKEY => Some(tag::SECRET_SUBKEY),
        _ => None,
    }
}

/// The places of the agent keys that make up one key packet.
fn fitting<'a>(
    public: &PublicBody,
    keys: impl IntoIterator<Item = &'a AgentKey, IntoIter: Clone>,
) -> Option<Vec<usize>> {
    let keys = keys.into_iter();
    let place = |half: &Half| {
        keys.clone()
            .position(|key| key.state != State::Shadowed && half.is_of(key))
    };
    let halves = halves_of(public);
    halves.iter().map(place).collect()
}

/// The public numbers that one agent key has: GnuPG keeps the halves of a composite in two files.
enum Half<'a> {
    Numbers(Family, &'static str, &'a [u8]),
    Point(&'a [u8], &'a [u8]),
    Kem(&'a [u8]),
}

fn halves_of<'a>(public: &PublicBody<'a>) -> Vec<Half<'a>> {
    match public.material {
        Material::Rsa { n, .. } => vec![Half::Numbers(Family::Rsa, "n", n)],
        Material::ElGamal { y, .. } => vec![Half::Numbers(Family::ElGamal, "y", y)],
        Material::Dsa { y, .. } => vec![Half::Numbers(Family::Dsa, "y", y)],
        Material::Curve { oid, point, .. } => vec![Half::Point(oid, point)],
        Material::Kyber { oid, point, kem } => vec![Half::Point(oid, point), Half::Kem(kem)],
    }
}

impl Half<'_> {
    fn is_of(&self, key: &AgentKey) -> bool {
        match self {
            Self::Numbers(family, name, value) => {
                key.family() == Some(*family) && key.number(name) == Some(trimmed(value))
            }
            Self::Point(oid, point) => {
                let curve = || key.numbers.value("curve").and_then(curve_oid);
                key.family() == Some(Family::Curve)
                    && key.numbers.value("q").map(unprefixed) == Some(unprefixed(point))
                    && curve().is_some_and(|curve| same_curve(curve, oid))
            }
            Self::Kem(public) => {
                key.family() == Some(Family::Kyber) && key.numbers.value("p") == Some(*public)
            }
        }
    }
}

/// The secret fields of a key packet (RFC 9580 §5.5.5), from an unlocked agent key.
pub(super) fn secret_fields(key: &AgentKey) -> Option<Zeroizing<Vec<u8>>> {
    let names: &[&str] = match key.family()? {
        Family::Rsa => &["d", "p", "q", "u"],
        Family::ElGamal | Family::Dsa => &["x"],
        Family::Curve => &["d"],
        Family::Kyber => {
            let secret = key.numbers.value("s")?;
            let mut fields =
                Zeroizing::new(u32::try_from(secret.len()).ok()?.to_be_bytes().to_vec());
            fields.extend_from_slice(secret);
            return Some(fields);
        }
    };
    let mut fields = Zeroizing::new(Vec::new());
    for name in names {
        let number = trimmed(key.numbers.value(name)?);
        let zeros = number.first().map_or(0, |b| b.leading_zeros() as usize);
        let bits = u16::try_from(number.len() * 8 - zeros).ok()?;
        fields.extend_from_slice(&bits.to_be_bytes());
        fields.extend_from_slice(number);
    }
    Some(fields)
}

fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|b| **b == 0).count();
    &number[zeros..]
}

/// A native point without the prefix that marks it as such.
fn unprefixed(point: &[u8]) -> &[u8] {
    match point.len() {
        33 | 57 => point.strip_prefix(&[0x40]).unwrap_or(point),
        _ => point,
    }
}
