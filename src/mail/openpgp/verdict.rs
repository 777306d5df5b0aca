//! From a checked signature to a verdict: who vouches for the key, was it allowed to sign then, does it belong
//! to the From address, and are the algorithms still believed in.

use super::binding::{self, Binding};
use super::by_hand;
use super::certs::FROM_MESSAGE;
use super::session::public_key_name;
use super::signature::{Candidate, Signer, timestamp};
use super::standing::{self, POLICY, Standing, system};
use crate::mail::address;
use crate::mail::context::{CLOCK_SKEW, Context, OpenPolicy};
use crate::mail::model::{Claimed, Revocation, Signature, SignatureMath, Verdict, shortened};
use crate::time::Timestamp;
use data_encoding::HEXLOWER;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::types::{KeyFlags, RevocationStatus, RevocationType};
use sequoia_openpgp as openpgp;
use std::borrow::Cow;

/// The signature fits no key it names.
pub(super) fn bad(mut evidence: Signature, signer: &Signer, ctx: &Context) -> Signature {
    match signer {
        Signer::Parsed(candidate) => {
            let signed = evidence.time.unwrap_or(ctx.arrived);
            let standing = standing::of(candidate.known, candidate.key, signed, ctx.arrived);
            describe(&mut evidence, candidate, standing.as_deref(), ctx);
        }
        Signer::ByHand(candidate) => {
            let binding = candidate.cert.binding(candidate.key);
            describe_by_hand(&mut evidence, candidate, binding.as_ref(), ctx);
        }
    }
    evidence.rated = ctx.policy.rated(&evidence.algorithms);
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
            let standing = standing::of(candidate.known, candidate.key, signed, ctx.arrived);
            let standing = standing.as_deref();
            describe(&mut evidence, candidate, standing, ctx);
            findings.signer(&mut evidence, candidate, standing, signed, ctx.arrived);
        }
        Signer::ByHand(candidate) => {
            let binding = candidate.cert.binding(candidate.key);
            describe_by_hand(&mut evidence, candidate, binding.as_ref(), ctx);
            findings.predates(candidate.key.created, signed);
            findings.bound(&mut evidence, binding, signed, ctx.arrived);
        }
    }
    findings.trust(&evidence, ctx);
    findings
        .reservations
        .extend(evidence.time.and_then(|time| ctx.time_mismatch(time)));
    findings.algorithms(&evidence.algorithms, ctx.policy);
    findings.reservations.extend(reservation.map(str::to_owned));
    evidence.rated = ctx.policy.rated(&evidence.algorithms);
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
        standing: Option<&Standing>,
        signed: Timestamp,
        arrived: Timestamp,
    ) {
        self.predates(timestamp(candidate.key.creation_time()), signed);
        let Some(standing) = standing else {
            let binding = binding::by_hand(&candidate.known.cert, candidate.key);
            self.bound(evidence, binding, signed, arrived);
            return;
        };
        // Keys from before key flags may do whatever their algorithm can.
        self.usage(standing.flags.as_ref());
        self.ran_out(standing.expiry, signed, arrived);
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

    fn usage(&mut self, flags: Option<&KeyFlags>) {
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
        self.usage(binding.flags.as_ref());
        self.ran_out(binding.expiry, signed, arrived);
        if binding.revoked {
            evidence.revocation = Revocation::Revoked;
            evidence.revocation_source = evidence.key_source.clone();
            self.invalid.push("revoked: the key is revoked".to_owned());
        }
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
        for name in algorithms.iter().filter(|name| policy.is_weak(name)) {
            self.reservations.push(format!("weak: {name}"));
        }
    }
}

/// Who the signer is, by the key's standing in its certificate.
fn describe(
    evidence: &mut Signature,
    candidate: &Candidate,
    standing: Option<&Standing>,
    ctx: &Context,
) {
    let by_hand = || {
        let binding = binding::by_hand(&candidate.known.cert, candidate.key);
        binding.map_or_else(Vec::new, |binding| binding.addresses)
    };
    let addresses = match standing {
        Some(standing) => Cow::Borrowed(&standing.addresses),
        None => Cow::Owned(by_hand()),
    };
    evidence.fingerprint = Some(HEXLOWER.encode(candidate.key.fingerprint().as_bytes()));
    evidence.key_source = Some(candidate.known.source.clone());
    if ctx.budget.keep(candidate.known.encoded.len()) {
        evidence.chain = vec![(*candidate.known.encoded).clone()];
    }
    let user_id = candidate.known.cert.userids().next();
    let user_id = user_id.map(|user_id| user_id.userid().value());
    name(evidence, &addresses, user_id, ctx);
    size(evidence, candidate.key);
}

/// The same from a certificate that only we can read. Keys of versions 2 and 3 are named for what an MD5 fingerprint is worth.
fn describe_by_hand(
    evidence: &mut Signature,
    candidate: &by_hand::Candidate,
    binding: Option<&Binding>,
    ctx: &Context,
) {
    evidence.fingerprint = Some(HEXLOWER.encode(&candidate.key.fingerprint));
    evidence.key_source = Some(candidate.source.to_owned());
    if ctx.budget.keep(candidate.cert.bytes().len()) {
        evidence.chain = vec![candidate.cert.bytes().to_vec().into()];
    }
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
            .all(|from| addresses.contains(&address::compared(from)))
    });
    evidence.addresses = addresses.to_vec();
    if !addresses.is_empty() {
        evidence.signer = shortened(&addresses.join(", "));
    } else if let Some(user_id) = user_id {
        evidence.signer = shortened(&String::from_utf8_lossy(user_id));
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
