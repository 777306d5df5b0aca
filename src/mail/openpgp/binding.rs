//! Self-signatures whose algorithm Sequoia's backend lacks ([`super::verify`]) checked here, so that such a certificate
//! is not taken for one that nobody made.

use super::signature::timestamp;
use super::verify;
use crate::mail::address;
use crate::time::Timestamp;
use openpgp::Cert;
use openpgp::crypto::hash::Context;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::packet::{Signature, UserID};
use openpgp::types::{KeyFlags, SignatureType};
use sequoia_openpgp as openpgp;

/// What a certificate's own signatures say of one of its keys.
pub struct Binding {
    /// What the key may be used for, where that is said.
    pub flags: Option<KeyFlags>,
    /// When the key or the certificate runs out.
    pub expiry: Option<Timestamp>,
    /// Whether the key or the certificate is revoked, whatever the reason.
    pub revoked: bool,
    /// Addresses of the self-signed, unrevoked user ids, as they are compared.
    pub addresses: Vec<String>,
}

/// The binding of `key`, which signed something, in `cert`; `None` if a signature for it is missing or wrong.
#[must_use]
pub fn by_hand(cert: &Cert, key: &Key<PublicParts, UnspecifiedRole>) -> Option<Binding> {
    let own = Own { cert };
    let user_ids: Vec<(&UserID, &Signature)> = own
        .user_ids()
        .filter(|(user_id, signed)| !own.revoked_since(user_id, signed))
        .collect();
    let newest = user_ids
        .iter()
        .map(|(_, signature)| *signature)
        .chain(own.of_primary(SignatureType::DirectKey))
        .max_by_key(|signature| signature.signature_creation_time())?;
    let primary = cert.primary_key().key();
    let mut revoked = own
        .of_primary(SignatureType::KeyRevocation)
        .next()
        .is_some();
    let mut expiry = expiry(newest, primary.creation_time());
    let mut flags = newest.key_flags();
    if key.fingerprint() != primary.fingerprint() {
        let of_subkey = |kind| own.of_subkey(kind, key);
        let bound = of_subkey(SignatureType::SubkeyBinding)
            .max_by_key(|signature| signature.signature_creation_time())?;
        revoked |= of_subkey(SignatureType::SubkeyRevocation).next().is_some();
        expiry = expiry
            .into_iter()
            .chain(self::expiry(bound, key.creation_time()))
            .min();
        own.is_owned(bound, key).then_some(())?;
        flags = bound.key_flags();
    }
    let addresses = user_ids
        .iter()
        .filter_map(|(user_id, _)| user_id.email().ok().flatten().map(address::compared));
    Some(Binding {
        flags,
        expiry,
        revoked,
        addresses: addresses.collect(),
    })
}

fn expiry(signature: &Signature, created: std::time::SystemTime) -> Option<Timestamp> {
    let period = signature.key_validity_period()?;
    created.checked_add(period).map(timestamp)
}

/// The signatures that a certificate's primary key made and Sequoia left aside.
struct Own<'a> {
    cert: &'a Cert,
}

impl<'a> Own<'a> {
    fn of_kind(&self, kind: SignatureType) -> impl Iterator<Item = &'a Signature> + use<'a> {
        let left_aside = self.cert.bad_signatures();
        left_aside.filter(move |signature| signature.typ() == kind)
    }

    fn user_ids(&self) -> impl Iterator<Item = (&'a UserID, &'a Signature)> + use<'a> {
        let cert = self.cert;
        let kinds = [
            SignatureType::GenericCertification,
            SignatureType::PersonaCertification,
            SignatureType::CasualCertification,
            SignatureType::PositiveCertification,
        ];
        cert.userids().flat_map(move |user_id| {
            let user_id = user_id.userid();
            let own = Own { cert };
            let certifications = kinds.into_iter().flat_map(move |kind| own.of_kind(kind));
            certifications
                .filter(move |signature| {
                    own_check(cert, signature, |signature, hash| {
                        let primary = cert.primary_key().key();
                        signature
                            .hash_userid_binding(hash, primary, user_id)
                            .is_ok()
                    })
                })
                .map(move |signature| (user_id, signature))
        })
    }

    /// Whether the user id was revoked after it was signed.
    fn revoked_since(&self, user_id: &UserID, signed: &Signature) -> bool {
        let primary = self.cert.primary_key().key();
        self.of_kind(SignatureType::CertificationRevocation)
            .filter(|revoked| revoked.signature_creation_time() >= signed.signature_creation_time())
            .any(|revoked| {
                own_check(self.cert, revoked, |signature, hash| {
                    signature
                        .hash_userid_binding(hash, primary, user_id)
                        .is_ok()
                })
            })
    }

    fn of_primary(&self, kind: SignatureType) -> impl Iterator<Item = &'a Signature> + use<'a> {
        let cert = self.cert;
        self.of_kind(kind).filter(move |signature| {
            own_check(cert, signature, |signature, hash| {
                let primary = cert.primary_key().key();
                signature.hash_direct_key(hash, primary).is_ok()
            })
        })
    }

    /// Whether a subkey that signs says itself that it belongs here: else somebody else's key could be claimed, and
    /// with it all that it signed.
    fn is_owned(&self, bound: &Signature, key: &Key<PublicParts, UnspecifiedRole>) -> bool {
        let primary = self.cert.primary_key().key();
        let subkey = key.role_as_subordinate();
        bound.embedded_signatures().any(|own| {
            own.typ() == SignatureType::PrimaryKeyBinding
                && check(key, own, |signature, hash| {
                    signature
                        .hash_primary_key_binding(hash, primary, subkey)
                        .is_ok()
                })
        })
    }

    fn of_subkey<'k>(
        &self,
        kind: SignatureType,
        key: &'k Key<PublicParts, UnspecifiedRole>,
    ) -> impl Iterator<Item = &'a Signature> + use<'a, 'k> {
        let cert = self.cert;
        self.of_kind(kind).filter(move |signature| {
            own_check(cert, signature, |signature, hash| {
                let primary = cert.primary_key().key();
                let subkey = key.role_as_subordinate();
                signature.hash_subkey_binding(hash, primary, subkey).is_ok()
            })
        })
    }
}

/// Whether the primary key made this signature over what `feed` hashes.
fn own_check(
    cert: &Cert,
    signature: &Signature,
    feed: impl Fn(&Signature, &mut Context) -> bool,
) -> bool {
    check(
        cert.primary_key().key().role_as_unspecified(),
        signature,
        feed,
    )
}

/// Whether `signer` made this signature over what `feed` hashes.
fn check(
    signer: &Key<PublicParts, UnspecifiedRole>,
    signature: &Signature,
    feed: impl Fn(&Signature, &mut Context) -> bool,
) -> bool {
    let digest = || {
        let context = signature.hash_algo().context().ok()?;
        let mut hash = context.for_signature(signature.version());
        feed(signature, &mut hash).then_some(())?;
        hash.into_digest().ok()
    };
    let fits =
        |digest: Vec<u8>| verify::fits(signer, signature.mpis(), signature.hash_algo(), &digest);
    signature.pk_algo() == signer.pk_algo() && digest().and_then(fits) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openpgp::Packet;
    use openpgp::cert::CertBuilder;
    use openpgp::crypto::{KeyPair, mpi};
    use openpgp::packet::key::{Key4, PrimaryRole, SubordinateRole};
    use openpgp::packet::signature::SignatureBuilder;
    use openpgp::types::{Curve, HashAlgorithm, PublicKeyAlgorithm};
    use openssl::bn::BigNumContext;
    use openssl::ec::{EcGroup, EcKey, PointConversionForm};
    use openssl::ecdsa::EcdsaSig;
    use openssl::nid::Nid;
    use openssl::pkey::Private;

    /// A primary key on a curve that Sequoia's backend does not have.
    struct Primary {
        secret: EcKey<Private>,
        public: Key<PublicParts, UnspecifiedRole>,
    }

    impl Primary {
        fn new(created: std::time::SystemTime) -> Self {
            let group = EcGroup::from_curve_name(Nid::SECP256K1).unwrap();
            let secret = EcKey::generate(&group).unwrap();
            let mut context = BigNumContext::new().unwrap();
            let form = PointConversionForm::UNCOMPRESSED;
            let point = secret.public_key().to_bytes(&group, form, &mut context);
            let numbers = mpi::PublicKey::ECDSA {
                curve: Curve::from_oid(&[0x2b, 0x81, 4, 0, 10]),
                q: mpi::MPI::new(&point.unwrap()),
            };
            let key = Key4::new(created, PublicKeyAlgorithm::ECDSA, numbers);
            let public = Key::V4(key.unwrap());
            Self { secret, public }
        }

        fn key(&self) -> Key<PublicParts, PrimaryRole> {
            self.public.clone().role_into_primary()
        }

        /// A certificate of this key with somebody's signing key as its subkey.
        fn adopting(
            &mut self,
            subkey: &Key<PublicParts, SubordinateRole>,
            proof: Option<Signature>,
        ) -> Cert {
            let primary = self.key();
            let user_id = UserID::from("Eve <eve@evil.example>");
            let named = SignatureBuilder::new(SignatureType::PositiveCertification)
                .sign_userid_binding(self, &primary, &user_id);
            let mut binding = SignatureBuilder::new(SignatureType::SubkeyBinding)
                .set_key_flags(KeyFlags::empty().set_signing())
                .unwrap();
            if let Some(proof) = proof {
                binding = binding.set_embedded_signature(proof).unwrap();
            }
            let bound = binding.sign_subkey_binding(self, &primary, subkey);
            Cert::from_packets(
                [
                    Packet::from(primary),
                    user_id.into(),
                    named.unwrap().into(),
                    subkey.clone().into(),
                    bound.unwrap().into(),
                ]
                .into_iter(),
            )
            .unwrap()
        }
    }

    impl openpgp::crypto::Signer for Primary {
        fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
            &self.public
        }

        fn sign(&mut self, _: HashAlgorithm, digest: &[u8]) -> openpgp::Result<mpi::Signature> {
            let signed = EcdsaSig::sign(digest, &self.secret)?;
            let [r, s] = [signed.r(), signed.s()].map(|number| mpi::MPI::new(&number.to_vec()));
            Ok(mpi::Signature::ECDSA { r, s })
        }
    }

    #[test]
    fn a_signing_key_is_nobodys_who_cannot_show_its_consent() {
        let alice = CertBuilder::general_purpose(Some("alice@example.org"));
        let alice = alice.generate().unwrap().0;
        let signing = alice.keys().subkeys().find(|key| {
            let flags = key.self_signatures().find_map(|s| s.key_flags());
            flags.is_some_and(|flags| flags.for_signing())
        });
        let secret = signing.unwrap().key().clone();
        let secret = secret.parts_into_secret().unwrap();
        let subkey = secret.clone().parts_into_public();
        let mut pair = secret.into_keypair().unwrap();
        let mut eve = Primary::new(subkey.creation_time());

        let claimed = eve.adopting(&subkey, None);
        assert!(by_hand(&claimed, subkey.role_as_unspecified()).is_none());
        // Consent to another certificate is none to this one.
        let other = Primary::new(subkey.creation_time()).key();
        let consent = |primary: &Key<PublicParts, PrimaryRole>, pair: &mut KeyPair| {
            SignatureBuilder::new(SignatureType::PrimaryKeyBinding)
                .sign_primary_key_binding(pair, primary, &subkey)
                .unwrap()
        };
        let borrowed = eve.adopting(&subkey, Some(consent(&other, &mut pair)));
        assert!(by_hand(&borrowed, subkey.role_as_unspecified()).is_none());
        let proof = consent(&eve.key(), &mut pair);
        let owned = eve.adopting(&subkey, Some(proof));
        let binding = by_hand(&owned, subkey.role_as_unspecified()).unwrap();
        assert_eq!(binding.addresses, ["eve@evil.example"]);
    }
}
