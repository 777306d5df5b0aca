//! From a checked signature to a verdict: who vouches for the key, was it allowed to sign then, does it belong
//! to the From address, and are the algorithms still believed in.

use super::binding::{self, Binding};
use super::by_hand;
use super::certs::FROM_MESSAGE;
use super::policy::EveryAge;
use super::session::public_key_name;
use super::signature::{Candidate, Signer, timestamp};
use crate::mail::context::{Context, OpenPolicy};
use crate::mail::model::{Claimed, Revocation, Signature, SignatureMath, Verdict};
use crate::time::Timestamp;
use openpgp::Cert;
use openpgp::cert::ValidCert;
use openpgp::cert::amalgamation::ValidAmalgamation;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::types::{KeyFlags, RevocationStatus, RevocationType};
use sequoia_openpgp as openpgp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const POLICY: &EveryAge = &EveryAge;

/// A signature from the future is a wrong clock up to this many seconds.
const CLOCK_SKEW: u64 = 24 * 3600;

/// The signature fits no key it names.
pub(super) fn bad(mut evidence: Signature, signer: &Signer, ctx: &Context) -> Signature {
    match signer {
        Signer::Parsed(candidate) => {
            let signed = evidence.time.unwrap_or(ctx.arrived);
            let then = self_signed(candidate, &[signed, ctx.arrived.max(signed)]);
            describe(&mut evidence, candidate, then.as_ref(), ctx);
        }
        Signer::ByHand(candidate) => {
            let binding = candidate.cert.binding(candidate.key);
            describe_by_hand(&mut evidence, candidate, binding.as_ref(), ctx);
        }
    }
    evidence.verdict = Verdict::Invalid;
    evidence.math = SignatureMath::Bad;
    evidence.reason = "bad: the signature does not fit the content".to_owned();
    evidence
}

/// The signature fits; `reservation` says over which unusual form of the content.
pub(super) fn good(
    mut evidence: Signature,
    signature: &openpgp::packet::Signature,
    signer: &Signer,
    reservation: Option<&str>,
    ctx: &Context,
) -> Signature {
    let signed = evidence.time.unwrap_or(ctx.arrived);
    evidence.math = SignatureMath::Good;
    let mut findings = Findings::default();
    findings.packet(signature, signed, ctx.arrived);
    match signer {
        Signer::Parsed(candidate) => {
            let then = self_signed(candidate, &[signed, ctx.arrived.max(signed)]);
            describe(&mut evidence, candidate, then.as_ref(), ctx);
            findings.signer(&mut evidence, candidate, then, signed, ctx.arrived);
        }
        Signer::ByHand(candidate) => {
            let binding = candidate.cert.binding(candidate.key);
            describe_by_hand(&mut evidence, candidate, binding.as_ref(), ctx);
            findings.predates(candidate.key.created, signed);
            findings.bound(&mut evidence, binding, signed, ctx.arrived);
        }
    }
    findings.trust(&evidence, ctx);
    findings.algorithms(&evidence.algorithms, ctx.policy);
    findings.reservations.extend(reservation.map(str::to_owned));
    (evidence.verdict, evidence.reason) = findings.verdict();
    evidence.claimed = claimed(&evidence, signature, signer, reservation, ctx);
    evidence
}

/// The same for the time that the mail claims, where that lies well before its arrival.
fn claimed(
    evidence: &Signature,
    signature: &openpgp::packet::Signature,
    signer: &Signer,
    reservation: Option<&str>,
    ctx: &Context,
) -> Option<Claimed> {
    let (time, source) = ctx.claimed(evidence.time)?;
    let then = Context {
        arrived: time,
        from: ctx.from.clone(),
        ..*ctx
    };
    let evidence = Signature {
        revocation: Revocation::Unknown,
        revocation_source: None,
        ..evidence.clone()
    };
    let judged = good(evidence, signature, signer, reservation, &then);
    Some(Claimed {
        time,
        source,
        verdict: judged.verdict,
        reason: judged.reason,
        revocation: judged.revocation,
        revocation_source: judged.revocation_source,
    })
}

/// What was found, by what it does to the verdict.
#[derive(Default)]
struct Findings {
    invalid: Vec<String>,
    unknown: Vec<String>,
    reservations: Vec<String>,
}

impl Findings {
    /// The worst kind decides; its reasons are told.
    fn verdict(self) -> (Verdict, String) {
        if !self.invalid.is_empty() {
            (Verdict::Invalid, self.invalid.join("; "))
        } else if !self.unknown.is_empty() {
            (Verdict::UnknownSigner, self.unknown.join("; "))
        } else if !self.reservations.is_empty() {
            (Verdict::ValidBut, self.reservations.join("; "))
        } else {
            (
                Verdict::Valid,
                "good: by a key that is vouched for".to_owned(),
            )
        }
    }

    /// The signature packet's own conditions.
    fn packet(
        &mut self,
        signature: &openpgp::packet::Signature,
        signed: Timestamp,
        arrived: Timestamp,
    ) {
        let unknown_critical = signature.hashed_area().iter().any(|subpacket| {
            use openpgp::packet::signature::subpacket::SubpacketTag as Tag;
            let unknown = matches!(
                subpacket.tag(),
                Tag::Unknown(_) | Tag::Private(_) | Tag::NotationData
            );
            subpacket.critical() && unknown
        });
        if unknown_critical {
            self.invalid
                .push("critical: the signature sets a condition that is not known here".to_owned());
        }
        if signed.seconds() > arrived.seconds() + CLOCK_SKEW {
            self.reservations
                .push(format!("future: made on {signed}, after it arrived"));
        }
        let expiry = signature.signature_expiration_time().map(timestamp);
        if let Some(expiry) = expiry.filter(|expiry| *expiry <= arrived) {
            self.reservations
                .push(format!("expired: the signature itself ran out on {expiry}"));
        }
    }

    /// The signing key at the time of signing and since.
    fn signer(
        &mut self,
        evidence: &mut Signature,
        candidate: &Candidate,
        then: Option<ValidCert>,
        signed: Timestamp,
        arrived: Timestamp,
    ) {
        let cert = &candidate.known.cert;
        self.predates(timestamp(candidate.key.creation_time()), signed);
        let Some(valid) = then else {
            let binding = binding::by_hand(cert, &candidate.key);
            self.bound(evidence, binding, signed, arrived);
            return;
        };
        let Some(key) = valid
            .keys()
            .find(|k| k.key().fingerprint() == candidate.key.fingerprint())
        else {
            self.invalid
                .push("unbound: the key is not bound to its certificate".to_owned());
            return;
        };
        // Keys from before key flags may do whatever their algorithm can.
        self.usage(key.key_flags());
        // Asking the library again costs more than checking a signature.
        let changed = self_signatures(cert).any(|s| {
            let made = s.signature_creation_time().map(timestamp);
            made.is_none_or(|made| made > signed) || s.signature_validity_period().is_some()
        });
        let newest = changed.then(|| self_signed(candidate, &[arrived.max(signed), signed]));
        let newest = newest.flatten().unwrap_or(valid);
        self.expiry(&newest, candidate, signed, arrived);
        self.revocation(evidence, candidate, signed, arrived);
    }

    fn revocation(
        &mut self,
        evidence: &mut Signature,
        candidate: &Candidate,
        signed: Timestamp,
        arrived: Timestamp,
    ) {
        let cert = &candidate.known.cert;
        let is_key = |k: &openpgp::cert::amalgamation::key::SubordinateKeyAmalgamation<_>| {
            k.key().fingerprint() == candidate.key.fingerprint()
        };
        let subkey = cert.keys().subkeys().find(is_key);
        let mut of_subkey = subkey.iter().flat_map(|k| k.self_revocations());
        let mut of_primary = cert.primary_key().self_revocations();
        if of_primary.next().is_none() && of_subkey.next().is_none() {
            return;
        }
        for (at, when) in [(signed, "then"), (arrived.max(signed), "since")] {
            let of_subkey = subkey
                .as_ref()
                .map(|k| k.bundle().revocation_status(POLICY, system(at)));
            for status in [Some(cert.revocation_status(POLICY, system(at))), of_subkey]
                .into_iter()
                .flatten()
            {
                if let RevocationStatus::Revoked(revocations) = status {
                    self.revoked(evidence, candidate, &revocations, when);
                    return;
                }
            }
        }
    }

    fn usage(&mut self, flags: Option<KeyFlags>) {
        if flags.is_some_and(|flags| !flags.for_signing() && !flags.for_certification()) {
            self.invalid.push("usage: the key may not sign".to_owned());
        }
    }

    fn predates(&mut self, created: Timestamp, signed: Timestamp) {
        if created > signed {
            self.invalid
                .push("predates: made before its key was".to_owned());
        }
    }

    /// The signing key by what only we could read or check of its certificate.
    fn bound(
        &mut self,
        evidence: &mut Signature,
        binding: Option<Binding>,
        signed: Timestamp,
        arrived: Timestamp,
    ) {
        let Some(binding) = binding else {
            self.invalid.push(
                "unbound: the certificate has no valid self-signature for this key".to_owned(),
            );
            return;
        };
        self.usage(binding.flags);
        self.ran_out(binding.expiry, signed, arrived);
        if binding.revoked {
            evidence.revocation = Revocation::Revoked;
            evidence.revocation_source = evidence.key_source.clone();
            self.invalid.push("revoked: the key is revoked".to_owned());
        }
    }

    fn expiry(
        &mut self,
        newest: &ValidCert,
        candidate: &Candidate,
        signed: Timestamp,
        arrived: Timestamp,
    ) {
        let of_key = newest
            .keys()
            .find(|k| k.key().fingerprint() == candidate.key.fingerprint())
            .and_then(|k| k.key_expiration_time());
        let of_primary = newest.primary_key().key_expiration_time();
        let expiry = of_key.into_iter().chain(of_primary).min().map(timestamp);
        self.ran_out(expiry, signed, arrived);
    }

    fn ran_out(&mut self, expiry: Option<Timestamp>, signed: Timestamp, arrived: Timestamp) {
        let Some(expiry) = expiry else { return };
        if expiry <= signed {
            self.invalid.push(format!(
                "expired: the key ran out on {expiry}, before it signed on {signed}"
            ));
        } else if expiry <= arrived {
            self.reservations.push(format!(
                "expired: the key ran out on {expiry}, after it signed"
            ));
        }
    }

    fn revoked(
        &mut self,
        evidence: &mut Signature,
        candidate: &Candidate,
        revocations: &[&openpgp::packet::Signature],
        when: &str,
    ) {
        evidence.revocation = Revocation::Revoked;
        evidence.revocation_source = Some(candidate.known.source.clone());
        let reason = revocations.iter().find_map(|r| r.reason_for_revocation());
        let hard = reason.is_none_or(|(code, _)| code.revocation_type() == RevocationType::Hard);
        let why = reason.map_or_else(
            || "no reason given".to_owned(),
            |(code, _)| code.to_string(),
        );
        if hard || when == "then" {
            self.invalid
                .push(format!("revoked: the key is revoked ({why})"));
        } else {
            self.reservations.push(format!(
                "revoked: the key was revoked after it signed ({why})"
            ));
        }
    }

    /// Whose key it is, and whether the mail claims to be from them.
    fn trust(&mut self, evidence: &Signature, ctx: &Context) {
        if evidence.key_source.as_deref() == Some(FROM_MESSAGE) {
            self.unknown
                .push("untrusted: checked with a key that came with the mail".to_owned());
        }
        if evidence.from_matches == Some(false) {
            let from = ctx.from.join(", ");
            self.unknown.push(format!(
                "from-mismatch: mail from {from}, signed by {}",
                evidence.signer
            ));
        }
    }

    fn algorithms(&mut self, algorithms: &[String], policy: &OpenPolicy) {
        for name in algorithms.iter().filter(|name| is_weak(policy, name)) {
            self.reservations.push(format!("weak: {name}"));
        }
    }
}

/// The certificate as valid at the first of `times` at which it is, else at the time of its newest self-signature:
/// exported certificates often carry only that one.
fn self_signed<'a>(candidate: &'a Candidate, times: &[Timestamp]) -> Option<ValidCert<'a>> {
    let cert = &candidate.known.cert;
    let newest = || {
        self_signatures(cert)
            .filter_map(|s| s.signature_creation_time())
            .max()
    };
    let newest = std::iter::once_with(newest).flatten();
    let times = times.iter().map(|t| system(*t)).chain(newest);
    let has_key = |valid: &ValidCert| {
        valid
            .keys()
            .any(|k| k.key().fingerprint() == candidate.key.fingerprint())
    };
    times
        .filter_map(|t| cert.with_policy(POLICY, t).ok())
        .find(has_key)
}

/// The signatures with which a certificate speaks of itself.
fn self_signatures(cert: &Cert) -> impl Iterator<Item = &openpgp::packet::Signature> {
    cert.userids()
        .flat_map(|u| u.self_signatures())
        .chain(cert.primary_key().self_signatures())
        .chain(cert.keys().subkeys().flat_map(|k| k.self_signatures()))
}

/// Who the signer is, from the certificate as it was `then`.
fn describe(
    evidence: &mut Signature,
    candidate: &Candidate,
    then: Option<&ValidCert>,
    ctx: &Context,
) {
    let addresses = then
        .map(addresses)
        .or_else(|| {
            binding::by_hand(&candidate.known.cert, &candidate.key).map(|bound| bound.addresses)
        })
        .unwrap_or_default();
    evidence.fingerprint = Some(candidate.key.fingerprint().to_hex().to_lowercase());
    evidence.key_source = Some(candidate.known.source.clone());
    evidence.chain = vec![(*candidate.known.encoded).clone()];
    let user_id = candidate.known.cert.userids().next();
    let user_id = user_id.map(|user_id| user_id.userid().value());
    name(evidence, &addresses, user_id, ctx);
    size(evidence, &candidate.key);
}

/// The same from a certificate that only we can read. Keys of versions 2 and 3 are named for what an MD5 fingerprint is worth.
fn describe_by_hand(
    evidence: &mut Signature,
    candidate: &by_hand::Candidate,
    binding: Option<&Binding>,
    ctx: &Context,
) {
    evidence.fingerprint =
        Some(openpgp::fmt::hex::encode(&candidate.key.fingerprint).to_lowercase());
    evidence.key_source = Some(candidate.source.to_owned());
    evidence.chain = vec![candidate.cert.bytes().to_vec().into()];
    let addresses = binding.map_or(&[][..], |binding| &binding.addresses);
    name(evidence, addresses, candidate.cert.user_id(), ctx);
    size(evidence, &candidate.key.key);
    let old = "v3-key".to_owned();
    if candidate.key.version < 4 && !evidence.algorithms.contains(&old) {
        evidence.algorithms.push(old);
    }
}

/// Names the signer by the addresses that are proven, else by a user id.
fn name(evidence: &mut Signature, addresses: &[String], user_id: Option<&[u8]>, ctx: &Context) {
    evidence.from_matches = (!ctx.from.is_empty()).then(|| {
        ctx.from
            .iter()
            .all(|from| addresses.contains(&from.to_lowercase()))
    });
    if !addresses.is_empty() {
        evidence.signer = addresses.join(", ");
    } else if let Some(user_id) = user_id {
        evidence.signer = String::from_utf8_lossy(user_id).into_owned();
    }
}

/// Adds the key's size to its algorithm's name.
fn size(evidence: &mut Signature, key: &Key<PublicParts, UnspecifiedRole>) {
    let public = public_key_name(key.pk_algo().into());
    if let Some(bits) = key
        .mpis()
        .bits()
        .filter(|_| matches!(public.as_str(), "RSA" | "DSA"))
        && let Some(first) = evidence.algorithms.first_mut()
    {
        *first = format!("{public}-{bits}");
    }
}

/// The addresses in self-signed, unrevoked user ids, lower case.
fn addresses(valid: &ValidCert) -> Vec<String> {
    let revoked = |status: RevocationStatus| matches!(status, RevocationStatus::Revoked(_));
    let user_ids = valid.userids().filter(|u| !revoked(u.revocation_status()));
    user_ids
        .filter_map(|u| u.userid().email().ok().flatten().map(str::to_lowercase))
        .collect()
}

/// Whether policy rates a name weak: named itself, or a shorter key of a family named with a size ("RSA-1024" names RSA-768 too).
fn is_weak(policy: &OpenPolicy, name: &str) -> bool {
    let sized = |name: &str| {
        name.rsplit_once('-')
            .and_then(|(f, bits)| Some((f.to_owned(), bits.parse::<u32>().ok()?)))
    };
    let key = sized(name).filter(|(family, _)| matches!(family.as_str(), "RSA" | "DSA"));
    policy.weak.iter().any(|weak| {
        weak == name
            || match (&key, sized(weak)) {
                (Some((family, bits)), Some((weak_family, most))) => {
                    *family == weak_family && *bits <= most
                }
                (Some((family, _)), None) => family == weak,
                _ => false,
            }
    })
}

fn system(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.0)
}
