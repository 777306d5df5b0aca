//! Whether the data folder is the newest one: the TPM's counter and extend index against the ledger's last step.
//!
//! A step is first recorded (counter n+1, and the extend index's value after it), then done in the TPM. So at start
//! the TPM stands at the recorded step, or exactly one before it, and then the step is done now.

use crate::crypto::kdf::framed;
use crate::id::Digest;
use crate::ledger::{Event, Head, Ledger, LedgerError};
use crate::tpm_link::{LinkError, Position, TpmLink};
use sha2::Digest as _;

/// Why the box does not start normally.
#[derive(Debug, thiserror::Error)]
pub enum RolledBack {
    /// The TPM has gone on without this ledger.
    #[error(
        "this data folder is older than the TPM's counter ({ledger} here, {tpm} there): an old copy was put back, or the ledger's end was cut off. \
         Put back the newest copy; if it is lost, the officers accept this state by `strongroom ceremony restore`"
    )]
    Older {
        /// The ledger's last step.
        ledger: u64,
        /// The TPM's counter.
        tpm: u64,
    },
    /// The ledger is ahead of the TPM.
    #[error(
        "the TPM's counter ({tpm}) is behind this data folder ({ledger}): it is not the TPM of this box, or it was cleared. Run `strongroom ceremony restore`"
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
         Put back the right copy, or have the officers accept this state by `strongroom ceremony restore`"
    )]
    OtherHistory {
        /// The step.
        counter: u64,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The TPM.
    #[error(transparent)]
    Link(#[from] LinkError),
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

/// The ledger's last step.
struct Step {
    counter: u64,
    head: Head,
    absorbed: Option<Digest>,
}

/// Compares, and does the one step that a power cut may have left undone.
pub fn check(ledger: &Ledger, tpm: &mut TpmLink) -> Result<(), RolledBack> {
    let Some(step) = last_step(ledger)? else {
        return Ok(());
    };
    let position = tpm.position()?;
    if position.counter == step.counter {
        return compare(&step, &position);
    }
    if position.counter > step.counter {
        return Err(RolledBack::Older {
            ledger: step.counter,
            tpm: position.counter,
        });
    }
    if position.counter + 1 < step.counter {
        return Err(RolledBack::OtherTpm {
            ledger: step.counter,
            tpm: position.counter,
        });
    }
    let digest = step_digest(step.counter, step.head);
    if step
        .absorbed
        .is_some_and(|expected| extended(&position.extend, &digest) != expected)
    {
        return Err(RolledBack::OtherHistory {
            counter: step.counter,
        });
    }
    compare(&step, &tpm.step(&digest)?)
}

fn compare(step: &Step, position: &Position) -> Result<(), RolledBack> {
    match step.absorbed {
        Some(expected) if expected.0 != position.extend => Err(RolledBack::OtherHistory {
            counter: step.counter,
        }),
        _ => Ok(()),
    }
}

/// The last counter step, founding or restore, searched from the end.
fn last_step(ledger: &Ledger) -> Result<Option<Step>, RolledBack> {
    let tree = ledger.tree();
    for index in (0..tree.size()).rev() {
        match tree.entry(index)?.entry.event {
            Event::CounterStep {
                counter,
                head,
                absorbed,
            } => {
                return Ok(Some(Step {
                    counter,
                    head,
                    absorbed: Some(absorbed),
                }));
            }
            Event::Restored {
                counter, accepted, ..
            } => {
                return Ok(Some(Step {
                    counter,
                    head: accepted,
                    absorbed: None,
                }));
            }
            _ => {}
        }
    }
    Ok(None)
}
