//! What the openers of both formats are given, and what they give back.

use super::bounds::Bounds;
use super::keyops::{KeyHint, KeyOps};
use super::model::{ClaimSource, Layer, Outcome, Rated, Signature, SignatureMath};
use crate::id::Digest;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Certificates and revocation data to judge signatures with. Shared by its clones, so that what was parsed of it can be
/// kept for as long as it is the same.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "TrustData", into = "TrustData")]
pub struct Trust(Arc<TrustData>);

impl Trust {
    /// Whether both hold the same.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Deref for Trust {
    type Target = TrustData;
    fn deref(&self) -> &TrustData {
        &self.0
    }
}

/// What is changed is no longer shared.
impl DerefMut for Trust {
    fn deref_mut(&mut self) -> &mut TrustData {
        Arc::make_mut(&mut self.0)
    }
}

impl From<TrustData> for Trust {
    fn from(data: TrustData) -> Self {
        Self(Arc::new(data))
    }
}

impl From<Trust> for TrustData {
    fn from(trust: Trust) -> Self {
        Arc::unwrap_or_clone(trust.0)
    }
}

/// What [`Trust`] holds. All public.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustData {
    /// Trust anchors for S/MIME, DER.
    pub anchors: Vec<serde_bytes::ByteBuf>,
    /// Further certificates (intermediates, correspondents), DER. Not trusted by themselves.
    pub certificates: Vec<serde_bytes::ByteBuf>,
    /// Certificate revocation lists, DER.
    pub crls: Vec<serde_bytes::ByteBuf>,
    /// OCSP responses (RFC 6960), DER.
    #[serde(default)]
    pub ocsp: Vec<serde_bytes::ByteBuf>,
    /// OpenPGP certificates that somebody vouches for, with where they come from.
    pub openpgp: Vec<OpenPgpCertificate>,
}

/// An OpenPGP certificate to check signatures with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPgpCertificate {
    /// Transferable public key, binary.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// "escrow", "directory" or, where the mail itself brought it, "message".
    pub source: String,
}

/// What policy says about algorithms, and the bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenPolicy {
    /// Costs allowed for one mail.
    pub bounds: Bounds,
    /// Algorithms that are not opened (outcome `refused`). Empty by default: an archive reads what a client would refuse.
    pub refuse: BTreeSet<String>,
    /// Algorithms whose signatures are `valid-but` (weak). Default: BSI TR-02102-1, see `keys-policy/`.
    pub weak: BTreeSet<String>,
    /// Also tells digests after CRLF → LF, to compare with what other programs make of a mail. Not a matter of the policy
    /// file: `inspect` alone asks for it.
    #[serde(skip)]
    pub folded_digests: bool,
}

impl OpenPolicy {
    /// The rating of each of these algorithms.
    #[must_use]
    pub fn rated<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Vec<Rated> {
        let rate = |name: &String| Rated {
            name: name.clone(),
            weak: self.is_weak(name),
        };
        names.into_iter().map(rate).collect()
    }

    /// Whether an algorithm's name is rated weak: named itself, or a shorter key of a family named with a size ("RSA-1024"
    /// names RSA-768 too).
    #[must_use]
    pub fn is_weak(&self, name: &str) -> bool {
        fn sized(name: &str) -> Option<(&str, u32)> {
            let (family, bits) = name.rsplit_once('-')?;
            Some((family, bits.parse().ok()?))
        }
        let key = sized(name).filter(|(family, _)| matches!(*family, "RSA" | "DSA" | "EC"));
        self.weak.iter().any(|weak| {
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
}

/// Everything one opening needs.
pub struct Context<'a> {
    /// Private-key operations.
    pub keys: &'a dyn KeyOps,
    /// For signatures.
    pub trust: &'a Trust,
    /// OpenPGP certificates that came with the mail: good for the bare check of a signature, never for trust.
    pub attached: &'a [OpenPgpCertificate],
    /// Algorithms and bounds.
    pub policy: &'a OpenPolicy,
    /// When the mail arrived; verdicts are computed for this time.
    pub arrived: Timestamp,
    /// The innermost Date seen so far.
    pub date: Option<Timestamp>,
    /// Addresses in the innermost From seen so far, lower case, to compare with signers' addresses.
    pub from: Vec<String>,
    /// The innermost encryption that was opened around it.
    pub around: Option<&'a Layer>,
    /// What has been spent of the bounds.
    pub budget: &'a Budget,
}

/// A signature from the future is a wrong clock up to this many seconds.
pub const CLOCK_SKEW: u64 = 24 * 3600;

impl Context<'_> {
    /// SHA-256 of what a layer contains, and the same after CRLF → LF where that is asked for.
    #[must_use]
    pub fn digests(&self, content: &[u8]) -> (Option<Digest>, Option<Digest>) {
        let folded = self.policy.folded_digests;
        (
            Some(Digest::of(content)),
            folded.then(|| Digest::of_lf(content)),
        )
    }

    /// The reservation about a signing time that is not the mail's, which may be an old one under a new Date.
    #[must_use]
    pub fn time_mismatch(&self, signed: Timestamp) -> Option<String> {
        let date = self.date?;
        let apart = signed.seconds().abs_diff(date.seconds());
        let why = || format!("time-mismatch: signed on {signed}, the mail is of {date}");
        (apart > CLOCK_SKEW).then(why)
    }

    /// The time that the signer (`signing`) or else the Date field claims, if it lies so far before the arrival that
    /// the mail did not come straight from its sender.
    #[must_use]
    pub fn claimed(&self, signing: Option<Timestamp>) -> Option<(Timestamp, ClaimSource)> {
        const ON_THE_WAY: u64 = 7 * 86_400;
        let signing = signing.map(|time| (time, ClaimSource::SigningTime));
        let claim = signing.or(self.date.map(|time| (time, ClaimSource::Date)))?;
        (claim.0.plus_seconds(ON_THE_WAY) < self.arrived).then_some(claim)
    }
}

/// Counters of what one mail has cost so far, shared by all its layers.
#[derive(Debug, Default)]
pub struct Budget {
    expanded: Cell<u64>,
    parts: Cell<u32>,
    key_operations: Cell<u32>,
    rounds: Cell<u64>,
    checks: Cell<u64>,
    hashed: Cell<u64>,
    recipients: Cell<u32>,
    guesses: Cell<u32>,
    in_vain: Cell<u64>,
    decoded: Cell<u64>,
    evidence: Cell<u64>,
}

/// Most that the checks of a mail's signatures may cost, in checks by RSA-2048, of which some thirty thousand take a second. A
/// digest of a mailing list needs a few hundred.
const MOST_CHECKS: u64 = 100_000;
/// Most bytes that are hashed for a mail's signatures: several may be over all of it, each tried with other line ends.
const MOST_HASHED: u64 = 2 << 30;
/// Most recipients of all layers of a mail: the keeper is asked for the key of each.
const MOST_RECIPIENTS: u32 = 20_000;
/// Most operations by keys that a mail does not name: one by RSA takes about half a millisecond.
const MOST_GUESSES: u32 = 1000;
/// Most bytes that are decrypted with keys that turn out to be wrong; old ciphers take a second for thirty million.
const MOST_IN_VAIN: u64 = 128 << 20;
/// Most bytes of messages in parts that are decoded: with one in another all of them are in memory.
const MOST_DECODED: u64 = 192 << 20;
/// Most bytes of certificates kept with the signatures of a mail. No mail with half as much is archived opened.
const MOST_EVIDENCE: u64 = 16 << 20;
/// Why a signature is not checked that is beyond these.
pub const TOO_MANY: &str = "unchecked: the signatures of this mail cost more than is allowed";

impl Budget {
    /// Counts plaintext bytes; an error names the bound.
    pub fn expand(&self, bytes: u64, bounds: &Bounds) -> Result<(), Failure> {
        self.expanded.set(self.expanded.get().saturating_add(bytes));
        within(
            self.expanded.get() <= bounds.expanded_bytes,
            "expanded_bytes",
            bounds.expanded_bytes,
        )
    }

    /// Plaintext bytes that may still come.
    #[must_use]
    pub fn expandable(&self, bounds: &Bounds) -> u64 {
        bounds.expanded_bytes.saturating_sub(self.expanded.get())
    }

    /// Counts one MIME part.
    pub fn part(&self, bounds: &Bounds) -> Result<(), Failure> {
        self.parts.set(self.parts.get().saturating_add(1));
        within(
            self.parts.get() <= bounds.parts,
            "parts",
            u64::from(bounds.parts),
        )
    }

    /// Counts one private-key operation.
    pub fn key_operation(&self, bounds: &Bounds) -> Result<(), Failure> {
        self.key_operations
            .set(self.key_operations.get().saturating_add(1));
        let ok = self.key_operations.get() <= bounds.key_operations;
        within(ok, "key_operations", u64::from(bounds.key_operations))
    }

    /// Counts a check of a signature by a key (or modulus) of so many octets; false if that is too much for one mail. RSA
    /// costs the square of its size, other keys more.
    pub fn check(&self, octets: usize, is_rsa: bool) -> bool {
        let size = (octets as u64).div_ceil(256).max(1);
        let cost = if is_rsa {
            size.saturating_pow(2)
        } else {
            size.saturating_pow(3).saturating_mul(10)
        };
        self.spend(cost)
    }

    /// Counts a look for the chain of a signature's certificate among so many; false if that is too much for one mail.
    pub fn chain(&self, certificates: usize) -> bool {
        const FOR_ONE_CHECK: u64 = 30;
        self.spend(1 + certificates as u64 / FOR_ONE_CHECK)
    }

    fn spend(&self, checks: u64) -> bool {
        self.checks.set(self.checks.get().saturating_add(checks));
        self.checks.get() <= MOST_CHECKS
    }

    /// How many recipients of a layer may be looked at.
    pub fn recipients(&self, bounds: &Bounds) -> u32 {
        let left = MOST_RECIPIENTS.saturating_sub(self.recipients.get());
        left.min(bounds.recipients)
    }

    /// Counts recipients that were looked at.
    pub fn looked_at(&self, recipients: usize) {
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        self.recipients
            .set(self.recipients.get().saturating_add(recipients));
    }

    /// Counts bytes that are hashed for a signature; false if that was too much for one mail before.
    pub fn hash(&self, bytes: u64) -> bool {
        let before = self.hashed.get();
        self.hashed.set(before.saturating_add(bytes));
        before < MOST_HASHED
    }

    /// Counts an operation by a key that the mail does not name; false if there were too many before.
    pub fn guess(&self) -> bool {
        self.guesses.set(self.guesses.get().saturating_add(1));
        self.guesses.get() <= MOST_GUESSES
    }

    /// Counts bytes that a wrong key decrypted; an error if there were too many before.
    pub fn in_vain(&self, bytes: u64, bounds: &Bounds) -> Result<(), Failure> {
        let before = self.in_vain.get();
        self.in_vain.set(before.saturating_add(bytes));
        let limit = u64::from(bounds.key_operations);
        within(before < MOST_IN_VAIN, "key_operations", limit)
    }

    /// Counts a message that lies encoded in a part.
    pub fn decode(&self, bytes: u64) -> Result<(), Failure> {
        self.decoded.set(self.decoded.get().saturating_add(bytes));
        let ok = self.decoded.get() <= MOST_DECODED;
        within(ok, "decoded_bytes", MOST_DECODED)
    }

    /// Counts a certificate that is kept with a signature; false if that is too much for one mail.
    pub fn keep(&self, bytes: usize) -> bool {
        let kept = self.evidence.get().saturating_add(bytes as u64);
        self.evidence.set(kept);
        kept <= MOST_EVIDENCE
    }

    /// Counts rounds of a password's derivation, a million of which take about as long as the slowest private-key operation.
    pub fn rounds(&self, rounds: u32, bounds: &Bounds) -> Result<(), Failure> {
        const OF_ONE_OPERATION: u64 = 1_000_000;
        let spent = self.rounds.get().saturating_add(u64::from(rounds));
        self.rounds.set(spent);
        let ok = spent <= u64::from(bounds.key_operations) * OF_ONE_OPERATION;
        within(ok, "key_operations", u64::from(bounds.key_operations))
    }
}

fn within(ok: bool, bound: &'static str, limit: u64) -> Result<(), Failure> {
    if ok {
        Ok(())
    } else {
        Err(Failure::OverBound { bound, limit })
    }
}

/// Why a cryptographic object could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No key here fits any recipient.
    #[error("no escrowed key opens it")]
    NoKey {
        /// The keys it waits for.
        waiting_for: Vec<KeyHint>,
    },
    /// A key of that name does not open it: it is another of that name, or the message is altered. Which of both is not
    /// told, for with RSA v1.5 that would tell what the private key made of the wrap.
    #[error(
        "damaged: a key of that name does not open it; it is another, or the message is altered"
    )]
    Misfit {
        /// The keys it waits for all the same.
        waiting_for: Vec<KeyHint>,
    },
    /// A key fits, but is locked by a passphrase that was not given.
    #[error("the key that opens it is locked by a passphrase that was not given")]
    Locked,
    /// Policy or the implementation refuses the algorithm.
    #[error("refused: {0}")]
    Refused(String),
    /// A bound was passed.
    #[error("over the bound {bound} = {limit}")]
    OverBound {
        /// The policy key.
        bound: &'static str,
        /// Its value.
        limit: u64,
    },
    /// Broken structure, or a failed integrity check.
    #[error("damaged: {0}")]
    Damaged(String),
}

impl Failure {
    /// What it makes of a layer.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NoKey { .. } => Outcome::NoKey,
            Self::Locked => Outcome::LockedKey,
            Self::Refused(_) | Self::OverBound { .. } => Outcome::Refused,
            Self::Damaged(_) | Self::Misfit { .. } => Outcome::Damaged,
        }
    }
}

/// One cryptographic object, opened as far as it goes.
#[derive(Debug, Clone)]
pub struct Unwrapped {
    /// What is inside. For a detached signature or a clear-signed part, empty.
    pub plaintext: Vec<u8>,
    /// True if the plaintext is again a bare CMS object (content type other than `id-data`).
    pub inner_is_cms: bool,
    /// The layers that were peeled (OpenPGP: encryption, compression and signature are one object), outermost
    /// first, their `depth` counted from 0; the caller adds its own depth.
    pub layers: Vec<Layer>,
    /// Signatures found in these layers, `depth` as above.
    pub signatures: Vec<Signature>,
}

impl Unwrapped {
    /// True if a signature fits the content, whoever made it.
    #[must_use]
    pub fn is_well_signed(&self) -> bool {
        let mut checks = self.signatures.iter().map(|signature| signature.math);
        checks.any(|math| math == SignatureMath::Good)
    }
}

/// An object that did not open. The layers that are known all the same (recipients, algorithms) are kept.
#[derive(Debug, Clone)]
pub struct Unopened {
    /// Why.
    pub failure: Failure,
    /// What is known of the layers, the failed one last.
    pub layers: Vec<Layer>,
    /// Signatures found before the failure.
    pub signatures: Vec<Signature>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_keys_use_up_what_may_be_checked() {
        let checks = |octets, is_rsa| {
            let budget = Budget::default();
            (0..=MOST_CHECKS)
                .take_while(|_| budget.check(octets, is_rsa))
                .count()
        };
        assert_eq!(checks(256, true), 100_000);
        assert_eq!(checks(2048, true), 100_000 / 64);
        assert_eq!(checks(32, false), 10_000);
        // DSA of 16384 bits: some seconds in all.
        assert_eq!(checks(2048, false), 19);
    }

    #[test]
    fn what_comes_to_nothing_is_bounded() {
        let (budget, bounds) = (Budget::default(), Bounds::default());
        assert_eq!((0..5000).filter(|_| budget.guess()).count(), 1000);
        let tries = (0..99).map(|_| budget.in_vain(20 << 20, &bounds));
        assert_eq!(tries.filter(Result::is_ok).count(), 7);
        let decoded = (0..99).map(|_| budget.decode(25 << 20));
        assert_eq!(decoded.filter(Result::is_ok).count(), 7);
        assert_eq!((0..99).filter(|_| budget.keep(4 << 20)).count(), 4);
        assert_eq!(
            (0..99_999).filter(|_| budget.chain(150)).count(),
            100_000 / 6
        );
        let layers = (0..99).take_while(|_| {
            budget.looked_at(500);
            budget.recipients(&bounds) == 500
        });
        assert_eq!(layers.count(), 39);
    }

    #[test]
    fn what_is_hashed_for_signatures_is_bounded() {
        let budget = Budget::default();
        let mail = 256 << 20;
        assert!((0..8).all(|_| budget.hash(mail)) && !budget.hash(mail));
    }
}
