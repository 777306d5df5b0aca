//! Self-signatures whose algorithm Sequoia's backend lacks ([`super::verify`]) checked here, so that such a certificate
//! is not taken for one that nobody made.

use super::signature::timestamp;
use super::verify;
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
    /// Lower-case addresses of the self-signed user ids.
    pub addresses: Vec<String>,
}

/// The binding of `key` in `cert`; `None` if a signature for it is missing or wrong.
#[must_use]
pub fn by_hand(cert: &Cert, key: &Key<PublicParts, UnspecifiedRole>) -> Option<Binding> {
    let own = Own { cert };
    let user_ids: Vec<(&UserID, &Signature)> = own.user_ids().collect();
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
        flags = bound.key_flags();
    }
    let addresses = user_ids
        .iter()
        .filter_map(|(user_id, _)| user_id.email().ok().flatten().map(str::to_lowercase));
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

    fn of_primary(&self, kind: SignatureType) -> impl Iterator<Item = &'a Signature> + use<'a> {
        let cert = self.cert;
        self.of_kind(kind).filter(move |signature| {
            own_check(cert, signature, |signature, hash| {
                let primary = cert.primary_key().key();
                signature.hash_direct_key(hash, primary).is_ok()
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
    let primary = cert.primary_key().key().role_as_unspecified();
    let digest = || {
        let context = signature.hash_algo().context().ok()?;
        let mut hash = context.for_signature(signature.version());
        feed(signature, &mut hash).then_some(())?;
        hash.into_digest().ok()
    };
    let fits =
        |digest: Vec<u8>| verify::fits(primary, signature.mpis(), signature.hash_algo(), &digest);
    signature.pk_algo() == primary.pk_algo() && digest().and_then(fits) == Some(true)
}
