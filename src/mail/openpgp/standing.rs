//! How a key stands in its certificate at a time, by the self-signatures that Sequoia reads. To ask it costs more than to
//! check a signature, so an answer is kept where all later times have the same one.

use super::certs::Known;
use super::policy::EveryAge;
use super::signature::timestamp;
use crate::mail::address;
use crate::time::Timestamp;
use openpgp::Cert;
use openpgp::Fingerprint;
use openpgp::cert::ValidCert;
use openpgp::cert::amalgamation::ValidAmalgamation;
use openpgp::packet::Signature;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::types::{KeyFlags, RevocationStatus};
use sequoia_openpgp as openpgp;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether to believe in algorithms is not the library's to say.
pub const POLICY: &EveryAge = &EveryAge;

/// What a certificate says of one of its keys.
#[derive(Debug)]
pub struct Standing {
    /// What the key may be used for, where that is said.
    pub flags: Option<KeyFlags>,
    /// When the key or the certificate runs out.
    pub expiry: Option<Timestamp>,
    /// Addresses of the self-signed, unrevoked user ids, as they are compared.
    pub addresses: Vec<String>,
}

/// Answers for all times since their own, by key.
#[derive(Debug, Clone, Default)]
pub struct Settled(RefCell<HashMap<Fingerprint, (Timestamp, Rc<Standing>)>>);

/// The standing of `key` when it signed; what it may be used for and its user ids are as at that time, its expiry as it is
/// known at the arrival. `None` if no self-signature that Sequoia can check binds it.
pub fn of(
    known: &Known,
    key: &Key<PublicParts, UnspecifiedRole>,
    signed: Timestamp,
    arrived: Timestamp,
) -> Option<Rc<Standing>> {
    let fingerprint = key.fingerprint();
    if let Some((since, standing)) = known.settled.0.borrow().get(&fingerprint)
        && *since <= signed
    {
        return Some(Rc::clone(standing));
    }
    let arrived = arrived.max(signed);
    let then = self_signed(&known.cert, &fingerprint, [signed, arrived])?;
    let settled_since = settled_since(&known.cert);
    let settled = settled_since.filter(|since| *since <= signed);
    let later = match settled {
        Some(_) => None,
        None => self_signed(&known.cert, &fingerprint, [arrived, signed]),
    };
    let standing = Rc::new(Standing {
        flags: keys_of(&then, &fingerprint).find_map(|key| key.key_flags()),
        expiry: expiry(later.as_ref().unwrap_or(&then), &fingerprint),
        addresses: addresses(&then, arrived),
    });
    if let Some(since) = settled {
        let kept = (since, Rc::clone(&standing));
        known.settled.0.borrow_mut().insert(fingerprint, kept);
    }
    Some(standing)
}

/// Since when nothing changes in the certificate: since its newest self-signature, unless one of them runs out or
/// something is revoked.
fn settled_since(cert: &Cert) -> Option<Timestamp> {
    let runs_out = |signature: &Signature| signature.signature_validity_period().is_some();
    if is_revoked_anywhere(cert) || self_signatures(cert).any(runs_out) {
        return None;
    }
    let times: Option<Vec<SystemTime>> = self_signatures(cert)
        .map(|signature| signature.signature_creation_time())
        .collect();
    times?.into_iter().max().map(timestamp)
}

fn is_revoked_anywhere(cert: &Cert) -> bool {
    let of_user_ids = cert.userids().flat_map(|u| u.self_revocations());
    let of_subkeys = cert.keys().subkeys().flat_map(|k| k.self_revocations());
    let of_primary = cert.primary_key().self_revocations();
    of_user_ids
        .chain(of_subkeys)
        .chain(of_primary)
        .next()
        .is_some()
}

/// The certificate as valid at the first of `times` at which it is and has the key, else at the time of its newest
/// self-signature: exported certificates often carry only that one.
fn self_signed<'a>(
    cert: &'a Cert,
    key: &Fingerprint,
    times: [Timestamp; 2],
) -> Option<ValidCert<'a>> {
    let newest = || self_signatures(cert).filter_map(|s| s.signature_creation_time());
    let newest = std::iter::once_with(|| newest().max()).flatten();
    let times = times.into_iter().map(system).chain(newest);
    times
        .filter_map(|time| cert.with_policy(POLICY, time).ok())
        .find(|valid| keys_of(valid, key).next().is_some())
}

/// The signatures with which a certificate speaks of itself.
fn self_signatures(cert: &Cert) -> impl Iterator<Item = &Signature> {
    cert.userids()
        .flat_map(|u| u.self_signatures())
        .chain(cert.primary_key().self_signatures())
        .chain(cert.keys().subkeys().flat_map(|k| k.self_signatures()))
}

fn keys_of<'a>(
    valid: &'a ValidCert<'_>,
    fingerprint: &'a Fingerprint,
) -> impl Iterator<Item = openpgp::cert::amalgamation::key::ValidErasedKeyAmalgamation<'a, PublicParts>>
{
    valid
        .keys()
        .filter(move |key| key.key().fingerprint() == *fingerprint)
}

fn expiry(valid: &ValidCert, fingerprint: &Fingerprint) -> Option<Timestamp> {
    let of_key = keys_of(valid, fingerprint).find_map(|key| key.key_expiration_time());
    let of_primary = valid.primary_key().key_expiration_time();
    of_key.into_iter().chain(of_primary).min().map(timestamp)
}

/// The addresses of the user ids that were not revoked, and are not at the arrival: whoever has lost an address could
/// claim to have signed before.
fn addresses(valid: &ValidCert, arrived: Timestamp) -> Vec<String> {
    let revoked = |status: RevocationStatus| matches!(status, RevocationStatus::Revoked(_));
    let user_ids = valid.userids().filter(|u| {
        let since = u.bundle().revocation_status(POLICY, system(arrived));
        !revoked(u.revocation_status()) && !revoked(since)
    });
    user_ids
        .filter_map(|u| u.userid().email().ok().flatten().map(address::compared))
        .collect()
}

/// Our time as the library's.
pub fn system(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openpgp::cert::CertBuilder;
    use openpgp::types::ReasonForRevocation;

    const DAY: u64 = 86_400;

    fn made() -> (Cert, Timestamp) {
        let created = Timestamp::from_seconds(1_600_000_000);
        let builder = CertBuilder::general_purpose(Some("Alice <Alice@example.org>"));
        let builder = builder.set_creation_time(system(created));
        let builder = builder.set_validity_period(Duration::from_secs(365 * DAY));
        (builder.generate().unwrap().0, created)
    }

    fn known(cert: &Cert) -> Known {
        Known::new(Rc::new(cert.clone()), "directory".to_owned())
    }

    fn ask(known: &Known, signed: Timestamp) -> (Option<KeyFlags>, Option<Timestamp>, Vec<String>) {
        let cert = Rc::clone(&known.cert);
        let key = cert.keys().subkeys().next().unwrap().key().clone();
        let standing = of(known, &key.into(), signed, signed.plus_seconds(DAY)).unwrap();
        let Standing {
            flags,
            expiry,
            addresses,
        } = &*standing;
        (flags.clone(), *expiry, addresses.clone())
    }

    #[test]
    fn a_kept_answer_is_the_one_that_would_be_found() {
        let (cert, created) = made();
        let kept = known(&cert);
        for days in [3, 1, 0, 100, 400] {
            let signed = created.plus_seconds(days * DAY);
            let answer = ask(&kept, signed);
            assert_eq!(answer, ask(&known(&cert), signed), "day {days}");
            assert_eq!(answer.2, ["alice@example.org"]);
            assert_eq!(answer.1, Some(created.plus_seconds(365 * DAY)));
        }
        assert_eq!(kept.settled.0.borrow().len(), 1);
    }

    #[test]
    fn an_address_that_was_lost_counts_for_nothing_that_arrives_since() {
        let (cert, created) = made();
        let secret = cert.primary_key().key().clone().parts_into_secret();
        let mut pair = secret.unwrap().into_keypair().unwrap();
        let lost = created.plus_seconds(9 * DAY);
        let revocation = openpgp::cert::UserIDRevocationBuilder::new()
            .set_signature_creation_time(system(lost))
            .unwrap()
            .set_reason_for_revocation(ReasonForRevocation::UIDRetired, b"")
            .unwrap()
            .build(
                &mut pair,
                &cert,
                cert.userids().next().unwrap().userid(),
                None,
            )
            .unwrap();
        let known = known(&cert.clone().insert_packets([revocation]).unwrap().0);
        let key = cert.keys().subkeys().next().unwrap().key().clone().into();
        let signed = created.plus_seconds(2 * DAY);
        for (days, addresses) in [(3, 1), (20, 0)] {
            let arrived = created.plus_seconds(days * DAY);
            let standing = of(&known, &key, signed, arrived).unwrap();
            assert_eq!(standing.addresses.len(), addresses, "day {days}");
        }
    }

    #[test]
    fn nothing_is_kept_of_a_certificate_that_changes() {
        let (cert, created) = made();
        let signer = cert
            .primary_key()
            .key()
            .clone()
            .parts_into_secret()
            .unwrap();
        let mut pair = signer.into_keypair().unwrap();
        let revocation = openpgp::cert::CertRevocationBuilder::new()
            .set_signature_creation_time(system(created.plus_seconds(9 * DAY)))
            .unwrap()
            .set_reason_for_revocation(ReasonForRevocation::KeyRetired, b"")
            .unwrap()
            .build(&mut pair, &cert, None)
            .unwrap();
        let revoked = cert.clone().insert_packets([revocation]).unwrap().0;
        let known = known(&revoked);
        ask(&known, created.plus_seconds(20 * DAY));
        assert!(known.settled.0.borrow().is_empty());
    }
}
