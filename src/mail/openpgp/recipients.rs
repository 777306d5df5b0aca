//! Whom a signature was made for (RFC 9580 §5.2.3.36): who gets a signed message could encrypt it to somebody else, who
//! would take it for one to himself.

use super::certs;
use crate::mail::context::Context;
use crate::mail::model::{Layer, Signature, Verdict};
use openpgp::{Fingerprint, KeyHandle, packet};
use sequoia_openpgp as openpgp;

/// Withdraws or limits the verdict of a signature that was made for others than those whose key opened the encryption
/// `around` it. Where a passphrase did, or nobody knows whose key it is, nothing is said.
pub fn compare(
    signature: &mut Signature,
    fields: &packet::Signature,
    around: Option<&Layer>,
    ctx: &Context<'_>,
) {
    let intended: Vec<&Fingerprint> = fields.intended_recipients().collect();
    if intended.is_empty() {
        return;
    }
    match around.map(|layer| layer.key.as_deref()) {
        None => limit(
            signature,
            "not-intended: made for an encrypted message, which this is not",
        ),
        Some(Some(key)) if is_for_others(&intended, key, ctx) => {
            let first = intended[0].to_hex().to_lowercase();
            withdraw(
                signature,
                &format!(
                    "not-intended: made for the owner of {first}, not of the key that opened it"
                ),
            );
        }
        Some(_) => {}
    }
}

/// Whether the owner of `key` is known, and none of `intended`.
fn is_for_others(intended: &[&Fingerprint], key: &str, ctx: &Context<'_>) -> bool {
    let Ok(key) = key.parse::<Fingerprint>() else {
        return false;
    };
    if intended.contains(&&key) {
        return false;
    }
    let found = certs::vouched(ctx.trust, &[KeyHandle::Fingerprint(key)]);
    let is_intended = |cert: &openpgp::Cert| {
        let mut keys = cert.keys().map(|key| key.key().fingerprint());
        keys.any(|key| intended.contains(&&key))
    };
    !found.certs.is_empty() && !found.certs.iter().any(|known| is_intended(&known.cert))
}

fn limit(signature: &mut Signature, why: &str) {
    let change = |verdict: &mut Verdict, reason: &mut String| match verdict {
        Verdict::Valid => {
            *verdict = Verdict::ValidBut;
            why.clone_into(reason);
        }
        Verdict::ValidBut => *reason = format!("{reason}; {why}"),
        Verdict::UnknownSigner | Verdict::Invalid => {}
    };
    change(&mut signature.verdict, &mut signature.reason);
    if let Some(claimed) = &mut signature.claimed {
        change(&mut claimed.verdict, &mut claimed.reason);
    }
}

fn withdraw(signature: &mut Signature, why: &str) {
    let change = |verdict: &mut Verdict, reason: &mut String| {
        if *verdict != Verdict::Invalid {
            *verdict = Verdict::Invalid;
            why.clone_into(reason);
        }
    };
    change(&mut signature.verdict, &mut signature.reason);
    if let Some(claimed) = &mut signature.claimed {
        change(&mut claimed.verdict, &mut claimed.reason);
    }
}
