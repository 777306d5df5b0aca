//! From a bare check to a verdict: whether an anchor vouches for the signer at a given time, whether the signer is whom
//! From names, and what else is to be said. Asked for the time of arrival, which we know, and for the time that the
//! mail claims, which is told beside it and never replaces it.

use super::certificates::Certificate;
use super::chain::{Chain, Known, NoChain};
use super::revocation::{Data, Finding, Surroundings};
use crate::mail::context::{CLOCK_SKEW, Context};
use crate::mail::model::{Claimed, Revocation, Signature, SignatureMath, Verdict};
use crate::time::Timestamp;
use std::rc::Rc;

/// How the bare check came out.
pub struct Checked {
    /// The check itself.
    pub math: SignatureMath,
    /// It verifies, but not over the canonical CRLF line ends that S/MIME signs.
    pub noncanonical: bool,
    /// The digest that the signature fits, where it is over one.
    pub digest: Option<&'static str>,
    /// It is good, and must not be believed, for this reason.
    pub refused: Option<String>,
    /// Why it is not good.
    pub reason: Option<String>,
}

impl Checked {
    /// Not good, for this reason.
    pub fn not(math: SignatureMath, reason: impl Into<String>) -> Self {
        Self {
            math,
            noncanonical: false,
            digest: None,
            refused: None,
            reason: Some(reason.into()),
        }
    }
}

/// What signatures of one object are rated by.
pub struct Rating<'r> {
    /// Policy, times, From.
    pub ctx: &'r Context<'r>,
    /// Anchors and certificates known beforehand.
    pub known: &'r Known,
    /// Certificates that came with the message.
    pub certificates: &'r [Rc<Certificate>],
    /// Revocation data, of the message and supplied.
    pub revocation: &'r Data,
}

/// A verdict for one time.
struct Judgement {
    verdict: Verdict,
    reason: String,
    chain: Option<Chain>,
    revocation: Finding,
}

impl Judgement {
    /// Adds a reservation, which makes what is valid valid-but.
    fn reserve(&mut self, why: &str) {
        if self.verdict == Verdict::Valid {
            self.verdict = Verdict::ValidBut;
            why.clone_into(&mut self.reason);
        } else {
            self.reason = format!("{}; {why}", self.reason);
        }
    }

    fn without_chain(verdict: Verdict, reason: &str) -> Self {
        Self {
            verdict,
            reason: reason.to_owned(),
            chain: None,
            revocation: (Revocation::Unknown, None),
        }
    }
}

impl Rating<'_> {
    /// Puts verdict, chain and revocation into `signature`, of `signer`.
    pub fn rate(&self, signature: &mut Signature, signer: &Certificate, checked: &Checked) {
        match checked.math {
            SignatureMath::Good => {
                if let Some(refused) = &checked.refused {
                    signature.verdict = Verdict::Invalid;
                    signature.reason.clone_from(refused);
                    return;
                }
            }
            SignatureMath::Bad => {
                signature.verdict = Verdict::Invalid;
                signature.reason = checked.reason.clone().unwrap_or_default();
                return;
            }
            SignatureMath::Unchecked => return,
        }
        let judged = self.at_arrival(signature, signer, checked);
        if let Some(chain) = judged.chain {
            let bytes = chain.encoded.iter().map(|one| one.len()).sum();
            if self.ctx.budget.keep(bytes) {
                signature.chain = chain.encoded.to_vec();
            }
            let above = self.ctx.policy.rated(&*chain.algorithms);
            signature.rated.extend(above);
        }
        signature.verdict = judged.verdict;
        signature.reason = judged.reason;
        (signature.revocation, signature.revocation_source) = judged.revocation;
        signature.claimed = self.ctx.claimed(signature.time).map(|(time, source)| {
            let judged = self.judge(signature, signer, checked, time);
            Claimed {
                time,
                source,
                verdict: judged.verdict,
                reason: judged.reason,
                revocation: judged.revocation.0,
                revocation_source: judged.revocation.1,
            }
        });
    }

    /// The verdict for the time of arrival. A signer whose certificate has expired since the claimed signing time is
    /// `valid-but`.
    fn at_arrival(
        &self,
        signature: &Signature,
        signer: &Certificate,
        checked: &Checked,
    ) -> Judgement {
        let arrived = self.ctx.arrived;
        let now = self.judge(signature, signer, checked, arrived);
        let claimed = signature.time.filter(|claimed| *claimed < arrived);
        let (Some(claimed), true) = (claimed, now.reason.starts_with(EXPIRED)) else {
            return now;
        };
        let mut then = self.judge(signature, signer, checked, claimed);
        let Some(chain) = &then.chain else {
            return now;
        };
        // What is known at arrival counts: whoever backdates a signature claims a time before the revocation.
        then.revocation = self.revocation_of(chain, arrived);
        then.reserve("expired: valid at the claimed signing time, not at arrival");
        then
    }

    /// The verdict as of `time`, for a signature whose bare check is good.
    fn judge(
        &self,
        signature: &Signature,
        signer: &Certificate,
        checked: &Checked,
        time: Timestamp,
    ) -> Judgement {
        let mut judged = if signer.may_sign_mail {
            let budget = self.ctx.budget;
            match self.known.chain(signer, self.certificates, time, budget) {
                Ok(chain) => self.with_chain(signature, chain, time),
                Err(NoChain::WrongPurpose) => {
                    let why = "wrong-purpose: certificate or issuer may not do this";
                    Judgement::without_chain(Verdict::Invalid, why)
                }
                Err(why) => Judgement::without_chain(Verdict::UnknownSigner, &no_chain(why)),
            }
        } else {
            let why = "wrong-purpose: the certificate is not for signing mail";
            Judgement::without_chain(Verdict::Invalid, why)
        };
        if checked.noncanonical {
            judged.reserve(NONCANONICAL);
        }
        self.reserve_times(&mut judged, signature, signer, time);
        judged
    }

    /// What is odd about the time that the signer claims.
    fn reserve_times(
        &self,
        judged: &mut Judgement,
        signature: &Signature,
        signer: &Certificate,
        time: Timestamp,
    ) {
        let Some(signed) = signature.time else {
            return;
        };
        if signed > time.plus_seconds(CLOCK_SKEW) {
            judged.reserve(&format!("future: made on {signed}, after it arrived"));
        }
        let made = signer.not_before;
        if let Some(made) = made.filter(|made| signed.plus_seconds(CLOCK_SKEW) < *made) {
            judged.reserve(&format!(
                "predates: made on {signed}, before its certificate, of {made}"
            ));
        }
        if let Some(mismatch) = self.ctx.time_mismatch(signed) {
            judged.reserve(&mismatch);
        }
    }

    fn with_chain(&self, signature: &Signature, chain: Chain, time: Timestamp) -> Judgement {
        let policy = self.ctx.policy;
        let is_weak = |name: &&String| policy.is_weak(name);
        let own = signature.algorithms.iter().find(is_weak);
        let above = || chain.algorithms.iter().find(is_weak);
        let weak = own
            .map(|name| format!("weak: {name}"))
            .or_else(|| above().map(|name| format!("weak: {name}, in the signer's chain")));
        let (verdict, reason) = if signature.from_matches == Some(false) {
            let (from, signer) = (self.ctx.from.join(", "), &signature.signer);
            (
                Verdict::UnknownSigner,
                format!("from-mismatch: From is {from}, the signer is {signer}"),
            )
        } else if let Some(weak) = weak {
            (Verdict::ValidBut, weak)
        } else {
            let why = "the chain leads to a trust anchor".to_owned();
            (Verdict::Valid, why)
        };
        Judgement {
            verdict,
            reason,
            revocation: self.revocation_of(&chain, time),
            chain: Some(chain),
        }
    }

    fn revocation_of(&self, chain: &Chain, at: Timestamp) -> Finding {
        if self.revocation.is_empty() {
            return (Revocation::Unknown, None);
        }
        let around = Surroundings {
            known: self.known,
            certificates: self.certificates,
            at,
            budget: self.ctx.budget,
        };
        self.revocation.judge(&chain.certificates, &around)
    }
}

const NONCANONICAL: &str = "noncanonical: verifies over LF line ends, not over the canonical CRLF";
const EXPIRED: &str = "expired:";

fn no_chain(why: NoChain) -> String {
    match why {
        NoChain::NoAnchor => "no-anchor: no chain to a trust anchor".to_owned(),
        NoChain::Expired => format!("{EXPIRED} a certificate in the chain had expired"),
        NoChain::NotYetValid => {
            "not-yet-valid: a certificate in the chain was not yet valid".to_owned()
        }
        NoChain::WrongPurpose => "wrong-purpose: certificate or issuer may not do this".to_owned(),
        NoChain::Other(text) => format!("no-chain: {text}"),
    }
}
