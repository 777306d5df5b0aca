//! Whether the data folder is the newest one: the TPM's counter and extend index against the ledger's last step.
//!
//! A step is first recorded (counter n+1, and the extend index's value after it), then done in the TPM. So at start
//! the TPM stands at the recorded step, or before it or in its middle, and then the rest of it is done now. Founding
//! and restore are where the steps begin: with an extend index that has absorbed nothing, all zeros.
//!
//! Whoever can write the data folder can write any entry into the ledger, but not find another step that leads to the
//! value in the TPM. So the step that the TPM stands at has to be the one whose head is in this very tree.

use super::transcripts::{Doubt, Transcripts};
use crate::crypto::kdf::framed;
use crate::durable::FileError;
use crate::id::{BoxId, Digest};
use crate::ledger::{Event, Head, Ledger, LedgerError, Tree};
use crate::tpm_link::{LinkError, Position, TpmLink};
use sha2::Digest as _;

/// The extend index before anything was absorbed.
const NOTHING_ABSORBED: Digest = Digest([0; 32]);

/// Why the box does not start normally.
#[derive(Debug, thiserror::Error)]
pub enum RolledBack {
    /// The TPM has gone on without this ledger.
    #[error(
        "this data folder is older than the TPM's counter ({ledger} here, {tpm} there): an old copy was put back, or the ledger's end was cut off. \
         Put back the newest copy; if it is lost, boot anew with `strongroom serve --no-unlock` alone, which takes mail in, and let the officers accept this state by `strongroom ceremony restore`"
    )]
    Older {
        /// The ledger's last step.
        ledger: u64,
        /// The TPM's counter.
        tpm: u64,
    },
    /// The ledger is ahead of the TPM.
    #[error(
        "the TPM's counter ({tpm}) is behind this data folder ({ledger}): it is not the TPM of this box, or it was cleared. Boot anew with `strongroom serve --no-unlock` alone, which takes mail in, then run `strongroom ceremony restore`"
    )]
    OtherTpm {
        /// The ledger's last step.
        ledger: u64,
        /// The TPM's counter.
        tpm: u64,
    },
    /// Counters agree, contents do not.
    #[error(
        "the TPM remembers other checkpoints than this ledger holds at step {counter}: the ledger was replaced. \
         Put back the right copy; if it is lost, boot anew with `strongroom serve --no-unlock` alone, which takes mail in, and let the officers accept this state by `strongroom ceremony restore`"
    )]
    OtherHistory {
        /// The step.
        counter: u64,
    },
    /// A restore that no officers signed.
    #[error(
        "the ledger says at entry {entry} that the box was restored, but that is not so: {problem}. \
         Put back the right copy; if it is lost, boot anew with `strongroom serve --no-unlock` alone, which takes mail in, and let the officers accept this state by `strongroom ceremony restore`"
    )]
    NotRestored {
        /// The ledger's entry.
        entry: u64,
        /// What is wrong with the succession.
        problem: String,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A transcript that the disk does not give.
    #[error(transparent)]
    File(#[from] FileError),
    /// The TPM.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl RolledBack {
    /// True where disk or TPM did not answer, so that nothing is known yet.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Ledger(error) => error.is_passing(),
            Self::File(_) | Self::Link(_) => true,
            _ => false,
        }
    }
}

/// What a step absorbs: SHA-256(frame("strongroom step/1") ‖ counter[8] ‖ size[8] ‖ root[32]).
#[must_use]
pub fn step_digest(counter: u64, head: Head) -> [u8; 32] {
    let mut sum = sha2::Sha256::new_with_prefix(framed(b"strongroom step/1"));
    sum.update(counter.to_be_bytes());
    sum.update(head.size.to_be_bytes());
    sum.update(head.root.0);
    sum.finalize().into()
}

/// The extend index's value after absorbing `digest` (TPM 2.0 part 3, `TPM2_NV_Extend`, SHA-256).
#[must_use]
pub fn extended(before: &[u8; 32], digest: &[u8; 32]) -> Digest {
    Digest::of(&[before.as_slice(), digest.as_slice()].concat())
}

/// What a ledger entry says about the TPM.
pub(super) struct Step {
    entry: u64,
    /// `None` in a founding of old, which did not record it.
    counter: Option<u64>,
    /// The extend index afterwards.
    absorbed: Digest,
    kind: Kind,
}

enum Kind {
    Founded,
    Restored {
        new_box: BoxId,
        accepted: Head,
        transcript: Digest,
    },
    Stepped(Head),
}

impl Step {
    /// `None` for an entry about something else. A founding counts as the first entry only.
    pub(super) fn of(entry: u64, event: &Event) -> Option<Self> {
        let (counter, absorbed, kind) = match event {
            Event::Founded { counter, .. } if entry == 0 => {
                (*counter, NOTHING_ABSORBED, Kind::Founded)
            }
            Event::Restored {
                new_box,
                accepted,
                counter,
                transcript,
                ..
            } => {
                let kind = Kind::Restored {
                    new_box: *new_box,
                    accepted: *accepted,
                    transcript: *transcript,
                };
                (Some(*counter), NOTHING_ABSORBED, kind)
            }
            Event::CounterStep {
                counter,
                head,
                absorbed,
            } => (Some(*counter), *absorbed, Kind::Stepped(*head)),
            _ => return None,
        };
        Some(Self {
            entry,
            counter,
            absorbed,
            kind,
        })
    }

    /// Whether the steps begin here.
    pub(super) const fn begins(&self) -> bool {
        !matches!(self.kind, Kind::Stepped(_))
    }

    /// The extend index afterwards.
    pub(super) const fn absorbed(&self) -> Digest {
        self.absorbed
    }

    /// What it absorbs; `None` where steps begin.
    fn digest(&self) -> Option<[u8; 32]> {
        match &self.kind {
            Kind::Stepped(head) => Some(step_digest(self.counter?, *head)),
            _ => None,
        }
    }

    /// Whether it leads from `before` to the value that it names.
    pub(super) fn follows(&self, before: &Digest) -> bool {
        self.digest()
            .is_some_and(|digest| extended(&before.0, &digest) == self.absorbed)
    }

    /// Whether what it says of the ledger before it is so: its head, or the officers' acceptance.
    pub(super) fn check(&self, tree: &Tree, transcripts: &Transcripts) -> Result<(), RolledBack> {
        let head = match &self.kind {
            Kind::Founded => return Ok(()),
            Kind::Stepped(head) => *head,
            Kind::Restored {
                new_box,
                accepted,
                transcript,
            } => {
                transcripts
                    .succession(*transcript, *new_box, *accepted)
                    .map_err(|doubt| match doubt {
                        Doubt::Unread(error) => RolledBack::File(error),
                        Doubt::Wrong(problem) => RolledBack::NotRestored {
                            entry: self.entry,
                            problem,
                        },
                    })?;
                *accepted
            }
        };
        if head.size <= self.entry && tree.head_at(head.size)? == head {
            Ok(())
        } else {
            Err(self.other_history())
        }
    }

    fn other_history(&self) -> RolledBack {
        RolledBack::OtherHistory {
            counter: self.counter.unwrap_or_default(),
        }
    }
}

/// Compares, and does what a power cut may have left undone of the last step.
pub(super) fn check(
    ledger: &Ledger,
    tpm: &mut TpmLink,
    transcripts: &Transcripts,
) -> Result<(), RolledBack> {
    let tree = ledger.tree();
    let position = tpm.position()?;
    let mut steps = steps_back(tree);
    let last = steps.next().ok_or(RolledBack::OtherHistory {
        counter: position.counter,
    })??;
    let at = |absorbed: &[u8; 32], step: &Step| step.absorbed.0 == *absorbed;
    by_counter(&last, &position)?;
    if at(&position.extend, &last) {
        last.check(tree, transcripts)?;
        return chained(&last, steps);
    }
    // Recorded, and not done, or not wholly: then this leads on from where the TPM stands.
    let digest = last.digest().ok_or_else(|| last.other_history())?;
    if !last.follows(&Digest(position.extend)) {
        return Err(last.other_history());
    }
    last.check(tree, transcripts)?;
    let done = loop {
        let step = steps.next().ok_or_else(|| last.other_history())??;
        if at(&position.extend, &step) {
            break step;
        }
        if step.begins() {
            return Err(last.other_history());
        }
    };
    done.check(tree, transcripts)?;
    chained(&done, steps)?;
    let position = if last.counter == Some(position.counter) {
        tpm.absorb(&digest)?
    } else {
        tpm.step(&digest)?
    };
    if at(&position.extend, &last) {
        Ok(())
    } else {
        Err(last.other_history())
    }
}

/// The TPM's counter stands at the last step's, or one before it.
fn by_counter(last: &Step, position: &Position) -> Result<(), RolledBack> {
    let Some(ledger) = last.counter else {
        // A founding of old: all that is known is that nothing was absorbed.
        return if position.extend == NOTHING_ABSORBED.0 {
            Ok(())
        } else {
            Err(RolledBack::Older {
                ledger: 0,
                tpm: position.counter,
            })
        };
    };
    let tpm = position.counter;
    let done = last.absorbed.0 == position.extend;
    if tpm > ledger {
        Err(RolledBack::Older { ledger, tpm })
    } else if tpm == ledger || (tpm + 1 == ledger && !done) {
        Ok(())
    } else {
        Err(RolledBack::OtherTpm { ledger, tpm })
    }
}

/// Whether the step follows one of those before it. Between the two may lie steps that were recorded, and that the TPM
/// then did not do.
fn chained(
    step: &Step,
    before: impl Iterator<Item = Result<Step, RolledBack>>,
) -> Result<(), RolledBack> {
    if step.begins() {
        return Ok(());
    }
    for earlier in before {
        let earlier = earlier?;
        if step.follows(&earlier.absorbed) {
            return Ok(());
        }
        if earlier.begins() {
            break;
        }
    }
    Err(step.other_history())
}

/// All steps, the last one first. Between two there may be all the mail of an hour, or of an import.
fn steps_back(tree: &Tree) -> impl Iterator<Item = Result<Step, RolledBack>> + '_ {
    let entries = tree.entries(0..tree.size()).rev();
    entries.filter_map(|recorded| match recorded {
        Ok(recorded) => Step::of(recorded.index, &recorded.entry.event).map(Ok),
        Err(error) => Some(Err(error.into())),
    })
}

/// Steps as they come, for `verify`.
#[derive(Default)]
pub(super) struct Chain(Vec<Digest>);

impl Chain {
    /// What is wrong with an entry; nothing with one about something else.
    pub(super) fn take(
        &mut self,
        (entry, event): (u64, &Event),
        tree: &Tree,
        transcripts: &Transcripts,
    ) -> Result<(), RolledBack> {
        let Some(step) = Step::of(entry, event) else {
            return Ok(());
        };
        let follows = step.begins() || self.0.iter().rev().any(|before| step.follows(before));
        if step.begins() {
            self.0.clear();
        }
        self.0.push(step.absorbed());
        if !follows {
            return Err(step.other_history());
        }
        step.check(tree, transcripts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_bundle_is_read_once_for_all_the_steps_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut ledger = Ledger::create(folder.path(), "strongroom.box/test").expect("a ledger");
        let step = |counter| Event::CounterStep {
            counter,
            head: ledger.tree().head().expect("a head"),
            absorbed: NOTHING_ABSORBED,
        };
        let steps: Vec<Event> = (0..5000).map(step).collect();
        for some in steps.chunks(4200) {
            let appended = ledger.append(Timestamp(1), some.to_vec());
            appended.expect("appended");
            ledger.commit().expect("committed");
        }
        let mut back = steps_back(ledger.tree());
        let bundle = folder.path().join("tile/entries/015");
        let first_in_it = back.nth(5000 - 16 * 256).expect("a step").expect("read");
        assert_eq!(first_in_it.counter, Some(16 * 256 - 1));
        std::fs::remove_file(bundle).expect("a full bundle");
        assert_eq!(back.by_ref().take(255).filter(Result::is_ok).count(), 255);
    }
}
