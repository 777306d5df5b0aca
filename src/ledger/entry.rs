//! What the ledger records: one line of JSON an entry, with ids and commitments only. A commitment is
//! `SHA-256(salt ‖ content)`, the salt lying in the record's manifest and dying with it. Who, why and
//! what in words stand in `sealed`, which only the keeper opens; never an address, a name or a subject
//! in the clear.

use crate::crypto::note::NoteVerifier;
use crate::id::{BoxId, CaseId, Digest, EscrowId, RecordId, SpoolId, TenantId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest entry, in bytes. An entry bundle could hold 65,535.
pub const MAX_ENTRY: usize = 60 * 1024;

/// Base64 of details that the keeper wrapped under the ledger detail key.
pub type Sealed = String;

/// One entry: JSON `{"time":…,"kind":…,…}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was recorded; never earlier than the entry before.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Why bytes are not an entry, or an entry is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Not the JSON of an entry.
    #[error("not a ledger entry: {0}")]
    Json(#[from] serde_json::Error),
    /// Longer than [`MAX_ENTRY`].
    #[error("a ledger entry of {length} bytes: at most {MAX_ENTRY} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// [`Event::Other`] only stands for what a later version wrote.
    #[error("an entry of unknown kind cannot be written")]
    UnknownKind,
}

impl Entry {
    /// The entry's one line.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        if self.event == Event::Other {
            return Err(EntryError::UnknownKind);
        }
        let line = serde_json::to_vec(self)?;
        if line.len() > MAX_ENTRY {
            return Err(EntryError::TooLong { length: line.len() });
        }
        Ok(line)
    }

    /// Reads an entry; one of a kind from a later version has the event [`Event::Other`].
    pub fn decode(line: &[u8]) -> Result<Self, EntryError> {
        if line.len() > MAX_ENTRY {
            return Err(EntryError::TooLong { length: line.len() });
        }
        Ok(serde_json::from_slice(line)?)
    }
}

/// Where a part lies in the vault: the vault's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The segment.
    pub segment: u32,
    /// Where the part's frame begins in the segment file, in bytes.
    pub offset: u64,
    /// How many sealed bytes it has.
    pub length: u64,
}

/// Where a record's wrapped key lies in the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The segment whose slot file it is in.
    pub segment: u32,
    /// The slot's number in that file.
    pub index: u32,
}

/// A tree head: how many entries, and their root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of entries.
    pub size: u64,
    /// The Merkle root over them.
    pub root: Digest,
}

/// What happened. The names in JSON are the variants' in kebab case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// The box came into being; always entry 0.
    Founded {
        /// The box.
        box_id: BoxId,
        /// Digest of the policy file.
        policy: Digest,
        /// Fingerprint of the recovery public key.
        recovery_key: Digest,
        /// Digest of the signed transcript.
        transcript: Digest,
        /// The keys that sign this ledger's checkpoints.
        signers: Vec<NoteVerifier>,
        /// The TPM counter's value; absent in ledgers of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counter: Option<u64>,
    },
    /// A tenant was added.
    TenantAdded {
        /// The tenant.
        tenant: TenantId,
    },
    /// Mail was archived; this entry is what makes it so.
    Arrival {
        /// The tenant.
        tenant: TenantId,
        /// The record.
        record: RecordId,
        /// Which arrival of this content it is, from 0.
        arrival: u32,
        /// What the mail was called in the spool, as in the reply to the sender.
        spool: SpoolId,
        /// The record's manifest (arrival 0), or the arrival's own part.
        part: Place,
        /// The record's slot.
        slot: Slot,
        /// Commitment to the mail as received, with its envelope.
        commitment: Digest,
    },
    /// Mail that no policy wants archived was let go.
    Excluded {
        /// The tenant.
        tenant: TenantId,
        /// What the mail was called in the spool.
        spool: SpoolId,
        /// Which rule, and what about the mail may be kept.
        sealed: Sealed,
    },
    /// A record got a rendition after its archiving, when a key for it had come.
    Rendition {
        /// The tenant.
        tenant: TenantId,
        /// The record.
        record: RecordId,
        /// The record's new manifest.
        part: Place,
        /// The record's slot.
        slot: Slot,
        /// Commitment to the rendition.
        commitment: Digest,
    },
    /// A record's key was destroyed on this box.
    Shredded {
        /// The tenant.
        tenant: TenantId,
        /// The record.
        record: RecordId,
        /// The slot that was zeroed.
        slot: Slot,
        /// By which right: rule, order or case.
        sealed: Sealed,
    },
    /// A user's private key went into escrow.
    EscrowAdded {
        /// The tenant.
        tenant: TenantId,
        /// The escrowed key.
        escrow: EscrowId,
        /// Commitment to the key's fingerprint and owner.
        commitment: Digest,
        /// True for a key that could also sign.
        dual_use: bool,
    },
    /// A person signed in, or was refused.
    Session {
        /// Whether the sign-in succeeded.
        admitted: bool,
        /// Who, from where.
        sealed: Sealed,
    },
    /// Somebody searched or read.
    Access {
        /// The tenant.
        tenant: TenantId,
        /// The record that was shown; absent for a search.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<RecordId>,
        /// Under which case, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        case: Option<CaseId>,
        /// Who, what for, and what was asked.
        sealed: Sealed,
    },
    /// A step of a recovery case.
    Case {
        /// The case.
        case: CaseId,
        /// The step.
        step: CaseStep,
        /// Digest of the signed case, approval or receipt.
        document: Digest,
        /// Person, purpose, scope.
        sealed: Sealed,
    },
    /// The list of people and their rights was changed.
    PeopleChanged {
        /// Digest of the signed statement.
        commitment: Digest,
        /// SHA-256 of the file `people` that holds from now on; entries of earlier versions do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<Digest>,
        /// By whom, and what.
        sealed: Sealed,
    },
    /// The policy was replaced.
    PolicyChanged {
        /// SHA-256 of the text of the policy in force from now on.
        policy: Digest,
        /// Digest of the statement that officers signed for it.
        statement: Digest,
    },
    /// The configuration was changed.
    ConfigChanged {
        /// Digest of the configuration file.
        config: Digest,
    },
    /// The keeper came up, or went down in order.
    Power {
        /// True for a start.
        up: bool,
        /// The program's version.
        version: String,
    },
    /// The TPM's counter was stepped and its extend index took up a tree head.
    CounterStep {
        /// The counter's new value.
        counter: u64,
        /// What was absorbed.
        head: Head,
        /// The extend index's value after this step.
        absorbed: Digest,
    },
    /// A consistent copy of the data folder was made.
    Backup {
        /// The tree head that it holds.
        head: Head,
        /// Digest of its list of files.
        manifest: Digest,
        /// Where to.
        sealed: Sealed,
    },
    /// The archive was restored on new hardware; the old box is retired.
    Restored {
        /// The box that was.
        old_box: BoxId,
        /// The box that is.
        new_box: BoxId,
        /// The tree head that the officers accepted as newest.
        accepted: Head,
        /// The keys that sign this ledger's checkpoints from here on.
        signers: Vec<NoteVerifier>,
        /// The new TPM counter's value.
        counter: u64,
        /// Digest of the signed transcript.
        transcript: Digest,
    },
    /// An entry of a kind that this version does not know. It is covered by the tree all the same.
    #[serde(other)]
    Other,
}

/// A step of a recovery case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseStep {
    /// Somebody asked.
    Requested,
    /// One officer approved.
    Approved,
    /// One officer refused.
    Refused,
    /// Mail or a key went out.
    Released,
    /// It is done.
    Closed,
    /// Its time ran out.
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arrival() -> Entry {
        Entry {
            time: Timestamp(1_700_000_000_123),
            event: Event::Arrival {
                tenant: "main".parse().expect("tenant"),
                record: RecordId::from_bytes([7; 16]),
                arrival: 0,
                spool: SpoolId {
                    file: crate::id::SpoolFileId::from_bytes([1; 16]),
                    number: 5,
                },
                part: Place {
                    segment: 1,
                    offset: 64,
                    length: 900,
                },
                slot: Slot {
                    segment: 1,
                    index: 0,
                },
                commitment: Digest::of(b"x"),
            },
        }
    }

    #[test]
    fn an_entry_is_one_line_that_comes_back() {
        let line = arrival().encode().expect("encode");
        assert!(!line.contains(&b'\n'));
        assert!(line.starts_with(br#"{"time":1700000000123,"kind":"arrival","tenant":"main","#));
        assert_eq!(Entry::decode(&line).expect("decode"), arrival());
    }

    #[test]
    fn a_kind_from_the_future_is_read_and_a_malformed_known_one_is_not() {
        let future = br#"{"time":5,"kind":"moved","record":["anything",{"at":"all"}]}"#;
        let entry = Entry::decode(future).expect("decode");
        assert_eq!(
            entry,
            Entry {
                time: Timestamp(5),
                event: Event::Other
            }
        );
        assert!(matches!(entry.encode(), Err(EntryError::UnknownKind)));
        assert!(Entry::decode(br#"{"time":5,"kind":"arrival"}"#).is_err());
    }

    #[test]
    fn an_entry_too_long_for_a_bundle_is_refused() {
        let event = Event::Session {
            admitted: true,
            sealed: "A".repeat(MAX_ENTRY),
        };
        let entry = Entry {
            time: Timestamp(0),
            event,
        };
        assert!(matches!(entry.encode(), Err(EntryError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "\\{\"time\":[0-9]{1,3},\"kind\":\"[a-z-]{0,12}\"[^x]{0,40}\\}") {
            let _ = Entry::decode(&bytes);
            let _ = Entry::decode(text.as_bytes());
        }
    }
}
