//! Another policy comes into force by officers' signatures.
//!
//! Order: text and signatures into `transcript/` → ledger (= commit) → keyring → `policy.toml`; then the keeper begins anew.
//! What a power cut stops behind the commit, the next start finishes.

use super::core::{Core, CoreError, lock};
use super::opening;
use super::transcripts::{Doubt, Transcripts};
use crate::approval::{Approval, Statement};
use crate::boxfiles::{DataFolder, LONGEST_POLICY, SignedPolicy};
use crate::id::{BoxId, Digest};
use crate::keyring::{Keyring, TreeHead};
use crate::ledger::{Event, Ledger};
use crate::policy::{Action, PolicyError, ValidPolicy, changes};
use crate::secret::Key;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::PoisonError;

/// The kind of the statement.
pub const REPLACE: &str = "policy.replace";

/// What officers sign about a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySubject {
    /// SHA-256 of the text of the policy in force until then.
    pub replaces: Digest,
    /// SHA-256 of the new one's text.
    pub policy: Digest,
    /// The settings that differ, for reading; the digests are what counts.
    pub changes: Vec<String>,
}

/// Why a policy does not come into force.
#[derive(Debug, thiserror::Error)]
pub enum NotReplaced {
    /// It is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// It is too long.
    #[error("a policy has at most {LONGEST_POLICY} bytes")]
    TooLong,
    /// It is there already.
    #[error("this policy is in force already")]
    Same,
    /// It changes what cannot be changed so.
    #[error("the new policy cannot change {0}")]
    Fixed(&'static str),
    /// Another replacement came first.
    #[error("another policy came into force since the statement was made; begin again")]
    Outdated,
    /// The keyring is an old copy.
    #[error(
        "the keyring is from before the last two changes of the policy that the ledger has: put the newest one back, or restore the box"
    )]
    OldKeyring,
    /// The signatures are for another text.
    #[error("the officers signed for another policy than this")]
    OtherText,
    /// The same signatures a second time.
    #[error("this statement was used already; officers sign a new one for each change")]
    Used,
    /// The ledger names a policy that officers are not seen to have signed for.
    #[error("the ledger says that another policy came into force, but {0}")]
    Unsigned(String),
}

/// What an entry of the ledger says of a policy.
#[derive(Debug, Clone, Copy)]
pub struct Replacement {
    /// The digest of its text.
    pub policy: Digest,
    /// That of the statement.
    pub statement: Digest,
    /// The entry's time.
    pub time: Timestamp,
}

/// What the ledger says of policies.
#[derive(Debug, Default)]
pub struct Recorded {
    /// All statements that put one in force.
    statements: BTreeSet<Digest>,
    /// The last.
    last: Option<Replacement>,
    repeated: bool,
    /// The box, and those that it succeeds.
    pub(super) boxes: BTreeSet<BoxId>,
}

impl Recorded {
    /// One more entry. A statement counts once: whoever can write the ledger gains nothing by its repetition.
    pub fn add(&mut self, replacement: Replacement) {
        if self.statements.insert(replacement.statement) {
            self.last = Some(replacement);
        } else {
            self.repeated = true;
        }
    }

    /// Whether a statement is in the ledger twice, which the keeper never writes.
    pub(super) const fn is_repeated(&self) -> bool {
        self.repeated
    }
}

impl Core {
    /// What the officers must sign so that `text` comes into force, until `expires`.
    pub(super) fn prepare_policy(
        &self,
        text: &str,
        lasts_seconds: u64,
    ) -> Result<Statement, CoreError> {
        let new = self.replacement(text)?;
        let subject = PolicySubject {
            replaces: self.policy.digest(),
            policy: new.digest(),
            changes: changes(&self.data.policy_text()?, text),
        };
        let expires = self.now().plus_seconds(lasts_seconds);
        Ok(Statement::new(REPLACE, self.box_id(), expires, subject))
    }

    /// The policy in `text`, if it may replace the one in force.
    fn replacement(&self, text: &str) -> Result<ValidPolicy, NotReplaced> {
        if text.len() > LONGEST_POLICY {
            return Err(NotReplaced::TooLong);
        }
        let new = ValidPolicy::parse(text, "the new policy")?;
        if self.is_policy_replaced() {
            return Err(NotReplaced::Outdated);
        }
        if new.digest() == self.policy.digest() {
            return Err(NotReplaced::Same);
        }
        self.policy
            .fixed_against(&new)
            .map_or(Ok(new), |what| Err(NotReplaced::Fixed(what)))
    }

    /// Puts `text` in force. It counts from the keeper's next start on, which the caller brings about.
    pub(super) fn replace_policy(
        &self,
        statement: Statement,
        approvals: Vec<Approval>,
        text: String,
    ) -> Result<(), CoreError> {
        let framed = statement.read::<PolicySubject>(REPLACE, self.box_id(), self.now())?;
        let needed = self.policy.threshold(Action::PolicyChange).into();
        statement.approved_by(&approvals, &self.officers(), &[], needed)?;
        // No two at once, and no backup of a moment between them.
        let _order = self.lock_order();
        let (policy, digest) = (self.replacement(&text)?.digest(), statement.digest());
        check(&framed.subject, self.policy.digest(), policy)?;
        if self.policies.statements.contains(&digest) {
            return Err(NotReplaced::Used.into());
        }
        self.data.write_signed_policy(&SignedPolicy {
            statement,
            approvals,
            replaced: self.data.policy_text()?,
            policy: text,
        })?;
        self.record(&[Event::PolicyChanged {
            policy,
            statement: digest,
        }])?;
        let head = opening::newest_head(&lock(&self.ledger))?;
        let mut keyring = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = adopt(&self.data, &mut keyring, &self.box_secret, (policy, head)) {
            crate::keeper::begin_anew(self.data.path(), &error);
        }
        Ok(())
    }

    /// Whether another policy than the one that this keeper works by is in force.
    #[must_use]
    pub(super) fn is_policy_replaced(&self) -> bool {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        keyring.policy != self.policy.digest()
    }
}

fn check(subject: &PolicySubject, in_force: Digest, new: Digest) -> Result<(), NotReplaced> {
    if subject.policy != new {
        return Err(NotReplaced::OtherText);
    }
    if subject.replaces != in_force {
        return Err(NotReplaced::Outdated);
    }
    Ok(())
}

/// The policy in force, as the box opens: where the ledger has a replacement that the keyring does not know yet, that is
/// finished, if officers signed for it as the policy until then demands.
pub(super) fn in_force(
    data: &DataFolder,
    keyring: &mut Keyring,
    box_secret: &Key,
    (recorded, ledger): (&Recorded, &Ledger),
) -> Result<ValidPolicy, CoreError> {
    let known = data.policy_in_force(keyring.policy)?;
    let last = recorded.last.filter(|last| last.policy != keyring.policy);
    let Some(last @ Replacement { policy, .. }) = last else {
        return Ok(known);
    };
    let transcripts = Transcripts::of(data.path(), keyring.officers.clone());
    let subject = transcripts
        .policy(&recorded.boxes, &last)
        .map_err(|doubt| match doubt {
            Doubt::Unread(error) => CoreError::File(error),
            Doubt::Wrong(problem) => NotReplaced::Unsigned(problem).into(),
        })?;
    // A power cut leaves it one change behind.
    check(&subject, known.digest(), policy).map_err(|problem| match problem {
        NotReplaced::Outdated => NotReplaced::OldKeyring,
        other => other,
    })?;
    tracing::warn!(%policy, "a replacement of the policy was interrupted, and is finished");
    let head = opening::newest_head(ledger)?;
    adopt(data, keyring, box_secret, (policy, head))?;
    Ok(data.policy_in_force(policy)?)
}

/// Behind the commit: the keyring names the policy, then the file is replaced. The keyring knows the ledger's head from then
/// on: a capsule with the policy and a ledger from before it make no box.
fn adopt(
    data: &DataFolder,
    keyring: &mut Keyring,
    box_secret: &Key,
    (policy, head): (Digest, TreeHead),
) -> Result<(), CoreError> {
    (keyring.policy, keyring.head) = (policy, head);
    keyring.generation += 1;
    data.write_keyring(&keyring.seal(box_secret)?)?;
    data.policy_in_force(policy)?;
    Ok(())
}
