//! Certificates whose primary key Sequoia cannot read, and what their own signatures say of their keys.

use super::{PublicKey, SignaturePacket};
use crate::mail::address;
use crate::mail::openpgp::binding::Binding;
use crate::mail::openpgp::packets::{Packet, framed, packets, tag};
use crate::mail::openpgp::signature::timestamp;
use crate::mail::openpgp::verify;
use crate::time::Timestamp;
use openpgp::packet::UserID;
use openpgp::types::SignatureType;
use sequoia_openpgp as openpgp;
use std::cell::OnceCell;

const CERTIFICATIONS: [SignatureType; 4] = [
    SignatureType::GenericCertification,
    SignatureType::PersonaCertification,
    SignatureType::CasualCertification,
    SignatureType::PositiveCertification,
];

/// A primary key with what belongs to it. Of its signatures only those are kept that claim to be its own.
#[derive(Debug, Clone)]
pub struct Certificate {
    primary: PublicKey,
    parts: Vec<Part>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Part {
    about: About,
    signatures: Vec<Own>,
}

/// A signature that claims to be by the primary key; whether it is, is found out once.
#[derive(Debug, Clone)]
struct Own {
    packet: SignaturePacket,
    holds: OnceCell<bool>,
}

#[derive(Debug, Clone)]
enum About {
    Primary,
    UserId(Vec<u8>),
    Subkey(Box<PublicKey>),
    /// Pictures and what else nobody here reads.
    Other,
}

/// The certificates in a ring (binary) whose primary key is of version 2, 3 or 5.
#[must_use]
pub fn certificates(ring: &[u8]) -> Vec<Certificate> {
    let mut found = Vec::new();
    let mut current: Option<Certificate> = None;
    for packet in packets(ring).flatten() {
        if matches!(packet.tag, tag::PUBLIC_KEY | tag::SECRET_KEY) {
            found.extend(current.take());
            current = PublicKey::read(&packet.body()).map(Certificate::new);
        } else if let Some(cert) = &mut current {
            cert.add(&packet);
        }
    }
    found.extend(current);
    found
}

impl Certificate {
    fn new(primary: PublicKey) -> Self {
        Self {
            bytes: framed(tag::PUBLIC_KEY, &primary.body),
            primary,
            parts: vec![Part::new(About::Primary)],
        }
    }

    fn add(&mut self, packet: &Packet) {
        let body: &[u8] = &packet.body();
        let about = match packet.tag {
            tag::SIGNATURE => {
                self.add_signature(body);
                return;
            }
            tag::TRUST => return,
            tag::USER_ID => {
                self.bytes.extend(framed(tag::USER_ID, body));
                About::UserId(body.to_vec())
            }
            tag::PUBLIC_SUBKEY | tag::SECRET_SUBKEY => match PublicKey::read(body) {
                Some(key) => {
                    self.bytes.extend(framed(tag::PUBLIC_SUBKEY, &key.body));
                    About::Subkey(Box::new(key))
                }
                None => About::Other,
            },
            _ => About::Other,
        };
        self.parts.push(Part::new(about));
    }

    fn add_signature(&mut self, body: &[u8]) {
        let Some(part) = self.parts.last_mut() else {
            return;
        };
        if matches!(part.about, About::Other) {
            return;
        }
        let own = SignaturePacket::read(body).filter(|signature| {
            let issuers = signature.fields.get_issuers();
            issuers
                .iter()
                .any(|issuer| self.primary.is_named(issuer.as_bytes()))
        });
        if let Some(own) = own {
            self.bytes.extend(framed(tag::SIGNATURE, body));
            part.signatures.push(Own {
                packet: own,
                holds: OnceCell::new(),
            });
        }
    }

    /// The primary key and the subkeys.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        let subkeys = self.parts.iter().filter_map(|part| match &part.about {
            About::Subkey(key) => Some(&**key),
            _ => None,
        });
        std::iter::once(&self.primary).chain(subkeys)
    }

    /// The public packets with the key's own signatures.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first user id, whoever vouches for it.
    #[must_use]
    pub fn user_id(&self) -> Option<&[u8]> {
        self.parts.iter().find_map(|part| match &part.about {
            About::UserId(user_id) => Some(&user_id[..]),
            _ => None,
        })
    }

    /// What the certificate's own signatures say of a key of it that signs; `None` if a signature for that is
    /// missing or wrong.
    #[must_use]
    pub fn binding(&self, key: &PublicKey) -> Option<Binding> {
        let user_ids: Vec<_> = self.user_ids().collect();
        let direct = self.newest(&self.parts[0], &[SignatureType::DirectKey]);
        let newest = newest(user_ids.iter().map(|(_, s)| *s).chain(direct))?;
        let of_primary = |kind| self.newest(&self.parts[0], &[kind]).is_some();
        let mut bound = newest;
        let mut revoked = of_primary(SignatureType::KeyRevocation);
        let mut expiry = expiry(newest, &self.primary)
            .into_iter()
            .chain(key.expiry)
            .min();
        if key.fingerprint != self.primary.fingerprint {
            let part = self.part(key)?;
            bound = self.newest(part, &[SignatureType::SubkeyBinding])?;
            self.owned(bound, part, key).then_some(())?;
            revoked |= self
                .newest(part, &[SignatureType::SubkeyRevocation])
                .is_some();
            expiry = expiry.into_iter().chain(self::expiry(bound, key)).min();
        }
        let addresses = user_ids.iter().filter_map(|(user_id, _)| {
            let user_id = UserID::from(*user_id);
            user_id.email().ok().flatten().map(address::compared)
        });
        Some(Binding {
            flags: bound.fields.key_flags(),
            expiry,
            revoked,
            addresses: addresses.collect(),
        })
    }

    /// The user ids that the key has signed and not revoked since, each with the newest such signature.
    fn user_ids(&self) -> impl Iterator<Item = (&[u8], &SignaturePacket)> {
        self.parts.iter().filter_map(|part| {
            let About::UserId(user_id) = &part.about else {
                return None;
            };
            let signed = self.newest(part, &CERTIFICATIONS)?;
            let revoked = self.newest(part, &[SignatureType::CertificationRevocation]);
            let stands = revoked.is_none_or(|revoked| made(revoked) < made(signed));
            stands.then_some((&user_id[..], signed))
        })
    }

    fn part(&self, key: &PublicKey) -> Option<&Part> {
        self.parts.iter().find(|part| {
            matches!(&part.about, About::Subkey(subkey) if subkey.fingerprint == key.fingerprint)
        })
    }

    /// The newest signature of these kinds that the primary key made over a part.
    fn newest<'a>(&self, part: &'a Part, kinds: &[SignatureType]) -> Option<&'a SignaturePacket> {
        let holds = |own: &&Own| {
            let check = || self.is_by(&self.primary, &own.packet, &part.about);
            kinds.contains(&own.packet.fields.typ()) && *own.holds.get_or_init(check)
        };
        newest(part.signatures.iter().filter(holds).map(|own| &own.packet))
    }

    /// Whether a subkey that signs says itself that it belongs here: else somebody else's key could be claimed.
    fn owned(&self, bound: &SignaturePacket, part: &Part, key: &PublicKey) -> bool {
        bound.embedded().iter().any(|signature| {
            signature.fields.typ() == SignatureType::PrimaryKeyBinding
                && self.is_by(key, signature, &part.about)
        })
    }

    fn is_by(&self, signer: &PublicKey, signature: &SignaturePacket, about: &About) -> bool {
        let primary = self.primary.hashed();
        let digest = match about {
            About::Primary => signature.digest(&[&primary], &[]),
            About::Subkey(key) => signature.digest(&[&primary, &key.hashed()], &[]),
            About::UserId(user_id) if signature.version() < 4 => {
                signature.digest(&[&primary, user_id], &[])
            }
            About::UserId(user_id) => {
                let size = u32::try_from(user_id.len()).unwrap_or(u32::MAX);
                let head = [&[0xb4], &size.to_be_bytes()[..]].concat();
                signature.digest(&[&primary, &head, user_id], &[])
            }
            About::Other => None,
        };
        let fields = &signature.fields;
        let fits =
            |digest: Vec<u8>| verify::fits(&signer.key, fields.mpis(), fields.hash_algo(), &digest);
        digest.and_then(fits) == Some(true)
    }
}

impl Part {
    fn new(about: About) -> Self {
        Self {
            about,
            signatures: Vec::new(),
        }
    }
}

fn newest<'a>(
    signatures: impl Iterator<Item = &'a SignaturePacket>,
) -> Option<&'a SignaturePacket> {
    signatures.max_by_key(|signature| made(signature))
}

fn made(signature: &SignaturePacket) -> Option<Timestamp> {
    signature.fields.signature_creation_time().map(timestamp)
}

/// When a key runs out by what a signature over it or the key itself says.
fn expiry(signature: &SignaturePacket, key: &PublicKey) -> Option<Timestamp> {
    let period = signature.fields.key_validity_period();
    let said =
        period.map(|period| Timestamp::from_seconds(key.created.seconds() + period.as_secs()));
    said.into_iter().chain(key.expiry).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::openpgp::armor;
    use proptest::prelude::*;
    use std::path::PathBuf;

    #[test]
    fn certificates_by_other_programs_hold_together() {
        let Some(corpus) = std::env::var_os("STRONGROOM_CORPUS").map(PathBuf::from) else {
            println!("skipped: STRONGROOM_CORPUS does not name the corpus");
            return;
        };
        for (file, keys) in [
            ("sequoia/orig/openpgp/tests/data/keys/john-v3.pgp", 1),
            ("sequoia/orig/openpgp/tests/data/keys/lutz.gpg", 1),
            ("rpgp/orig/tests/pgp6/expiring.pgp", 1),
            ("gnupg-openpgp/orig/tests/openpgp/pgp263-test.pub.asc", 1),
            (
                "gnupg-openpgp/orig/tests/openpgp/samplekeys/v5-sample-1-pub.asc",
                2,
            ),
            (
                "thunderbird-openpgp/orig/mail/test/browser/openpgp/data/keys/alice-v5-pub.asc",
                2,
            ),
        ] {
            let bytes = std::fs::read(corpus.join(file)).expect(file);
            let armored = armor::blocks(&bytes).next().map(|block| block.bytes);
            let read = certificates(&armored.unwrap_or(bytes));
            let primary = read[0].keys().next().unwrap();
            assert!(read[0].binding(primary).is_some(), "{file}");
            assert_eq!(read[0].keys().count(), keys, "{file}");
        }
    }

    proptest! {
        #[test]
        fn any_packets_are_survived(
            parts in proptest::collection::vec((2u8..18, 2u8..6, proptest::collection::vec(any::<u8>(), 0..60)), 0..5),
        ) {
            let framed = |(tag, version, rest): (u8, u8, Vec<u8>)| framed(tag, &[&[version], &rest[..]].concat());
            let ring: Vec<u8> = parts.into_iter().flat_map(framed).collect();
            for cert in certificates(&ring) {
                prop_assert!(cert.keys().all(|key| cert.binding(key).is_none()));
            }
        }
    }
}
