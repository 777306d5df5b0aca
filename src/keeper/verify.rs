//! `strongroom verify`: every ledger entry, every commitment, every part, recomputed. Damage is named by record,
//! segment and offset, and verification goes on behind it.

use super::core::{Core, CoreError, lock};
use super::error::StoreError;
use super::manifest::{LaterArrival, Manifest};
use super::protocol::Verified;
use super::replay::{place_of, slot_of};
use super::rollback::Chain;
use super::store::StoreReader;
use super::verify_files::SignedFacts;
use crate::crypto::note::NoteVerifier;
use crate::id::{Digest, EscrowId, RecordId, TenantId};
use crate::ledger::{Checkpoint, Event, Place, Slot, Tree};
use crate::vault::PartKind;
use std::io;

/// Most damages named; a ruined disk needs no longer list.
const MOST_NAMED: usize = 1000;

impl Core {
    /// Verifies the whole archive. `checkpoint` is the text of an older checkpoint that must be a prefix.
    pub fn verify(
        &self,
        checkpoint: Option<&str>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, CoreError> {
        // Both of one moment: the ledger grows beside us.
        let (tree, published) = {
            let ledger = lock(&self.ledger);
            (ledger.tree().clone(), ledger.checkpoint().cloned())
        };
        let mut found = Verified {
            entries: 0,
            records: 0,
            bytes: 0,
            damage: self.damage(),
            prefix_of: None,
        };
        self.verify_files(&mut found);
        if let Err(error) = tree.verify() {
            found.name(error.to_string());
        }
        let signers = self.verify_entries(&tree, &mut found, progress);
        if let Some(published) = &published {
            found.check(&tree, published, &signers, "the published checkpoint");
            if let Err(error) = tree.verify_partial(published.head().size) {
                found.name(error.to_string());
            }
        }
        if let Some(text) = checkpoint {
            let older: Checkpoint = text.parse()?;
            if found.check(&tree, &older, &signers, "the given checkpoint") {
                found.prefix_of = Some(older.head().size);
            }
        }
        Ok(found)
    }

    /// Verifies what each entry says; gives the ledger's signers of all eras. Behind a damaged bundle of entries
    /// it goes on with the next.
    fn verify_entries(
        &self,
        tree: &Tree,
        found: &mut Verified,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Vec<NoteVerifier> {
        let (mut signers, mut chain) = (Vec::new(), Chain::default());
        let transcripts = self.transcripts();
        let mut signed = SignedFacts::default();
        let mut next = 0;
        while next < tree.size() {
            for recorded in tree.entries(next..tree.size()) {
                match recorded {
                    Ok(recorded) => {
                        next = recorded.index + 1;
                        found.entries += 1;
                        let entry = (recorded.index, &recorded.entry.event);
                        if let Err(error) = chain.take(entry, tree, &transcripts) {
                            found.name(format!("ledger entry {}: {error}", recorded.index));
                        }
                        let problem =
                            self.verify_transcript(&transcripts, &recorded.entry, &mut signed);
                        problem.into_iter().for_each(|one| found.name(one));
                        self.verify_event(recorded.entry.event, &mut signers, found);
                    }
                    Err(error) => {
                        found.name(error.to_string());
                        next = Tree::next_bundle(next);
                    }
                }
                progress(next.min(tree.size()), tree.size());
            }
        }
        self.verify_tpm(signed.tpm.as_ref(), found);
        if self.policies.is_repeated() {
            found.name("a statement that put a policy in force is in the ledger twice".to_owned());
        }
        signers
    }

    fn verify_event(&self, event: Event, signers: &mut Vec<NoteVerifier>, found: &mut Verified) {
        match event {
            Event::Arrival {
                tenant,
                record,
                arrival,
                part,
                slot,
                commitment,
                ..
            } => {
                let what = Expected {
                    record,
                    part,
                    slot,
                    commitment,
                    later: arrival > 0,
                    first: arrival == 0,
                };
                self.verify_record(&tenant, &what, found);
            }
            Event::Rendition {
                tenant,
                record,
                part,
                slot,
                commitment,
            } => {
                let what = Expected {
                    record,
                    part,
                    slot,
                    commitment,
                    later: false,
                    first: false,
                };
                self.verify_record(&tenant, &what, found);
            }
            Event::EscrowAdded {
                tenant,
                escrow,
                commitment,
                ..
            } => {
                if let Some(problem) = self.escrow_differs(&tenant, escrow, commitment) {
                    found.name(format!("escrowed key {escrow} of {tenant}: {problem}"));
                }
            }
            Event::Founded { signers: new, .. } | Event::Restored { signers: new, .. } => {
                signers.extend(new);
            }
            _ => {}
        }
    }

    /// What is wrong with an escrowed key, compared with the ledger. All items were opened at start.
    fn escrow_differs(
        &self,
        tenant: &TenantId,
        escrow: EscrowId,
        commitment: Digest,
    ) -> Option<&'static str> {
        let Ok(store) = self.escrow(tenant) else {
            return Some("there is no such tenant");
        };
        match store.commitment_of(escrow) {
            // Named by the warnings already, with its file.
            None if store.is_damaged(escrow) => None,
            None => Some("its file is missing; put it back from a backup"),
            Some(Some(own)) if own != commitment => {
                Some("it is not the key that the ledger recorded")
            }
            Some(_) => None,
        }
    }

    fn verify_record(&self, tenant: &TenantId, expected: &Expected, found: &mut Verified) {
        match self.verify_parts(tenant, expected) {
            Ok(bytes) => {
                found.bytes += bytes;
                found.records += u64::from(expected.first);
            }
            Err(error) => found.name(expected.name(&error)),
        }
    }

    fn verify_parts(&self, tenant: &TenantId, expected: &Expected) -> Result<u64, CoreError> {
        let reader = self.reader(tenant)?;
        let (record, kind, slot, text) = reader.read_text(place_of(expected.part))?;
        let right_kind = if expected.later {
            PartKind::Arrival
        } else {
            PartKind::Manifest
        };
        let same =
            record == expected.record && kind == right_kind && slot == slot_of(expected.slot);
        if !same || Digest::of(&text) != expected.commitment {
            return Err(expected.wrong().into());
        }
        let unreadable = |source| StoreError::Manifest { record, source };
        if expected.later {
            serde_json::from_slice::<LaterArrival>(&text).map_err(unreadable)?;
            return Ok(expected.part.length);
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(unreadable)?;
        let parts = read_parts(reader, &manifest, slot_of(expected.slot))?;
        Ok(expected.part.length + parts)
    }
}

/// Reads original and rendition to their ends; reading checks the commitments.
fn read_parts(
    reader: &StoreReader,
    manifest: &Manifest,
    slot: crate::vault::SlotPlace,
) -> Result<u64, CoreError> {
    let key = reader.record_key(manifest.record, slot)?;
    let mut bytes = 0;
    for entry in std::iter::once(&manifest.original).chain(&manifest.rendition) {
        let mut content = reader.open_part(manifest.record, &key, entry)?;
        io::copy(&mut content, &mut io::sink())
            .map_err(|error| super::store::content_error(manifest.record, entry, error))?;
        bytes += entry.sealed_length;
    }
    Ok(bytes)
}

/// What a ledger entry says about a part.
struct Expected {
    record: RecordId,
    part: Place,
    slot: Slot,
    commitment: Digest,
    /// Not a manifest but a later arrival's own part.
    later: bool,
    /// The first that the ledger says of this record.
    first: bool,
}

impl Expected {
    fn wrong(&self) -> StoreError {
        StoreError::Commitment {
            record: self.record,
            segment: self.part.segment,
            offset: self.part.offset,
        }
    }

    /// The error, led by the place that the ledger names, unless it names one itself.
    fn name(&self, error: &CoreError) -> String {
        let text = error.to_string();
        if text.contains(&self.record.to_string()) && text.contains("offset") {
            return text;
        }
        format!(
            "record {}, segment {}, offset {}: {text}",
            self.record, self.part.segment, self.part.offset
        )
    }
}

impl Verified {
    /// The error, led by the file unless it names it itself.
    pub(super) fn name_file(&mut self, path: &str, error: &dyn std::fmt::Display) {
        let text = error.to_string();
        if text.contains(path) {
            self.name(text);
        } else {
            self.name(format!("{path}: {text}"));
        }
    }

    pub(super) fn name(&mut self, damage: String) {
        if self.damage.len() < MOST_NAMED && !self.damage.contains(&damage) {
            self.damage.push(damage);
        }
    }

    /// Signatures and prefix; true if both hold.
    fn check(
        &mut self,
        tree: &Tree,
        checkpoint: &Checkpoint,
        signers: &[NoteVerifier],
        what: &str,
    ) -> bool {
        // A restored box has new keys: an older checkpoint bears the older ones. Any whole set of one era will do.
        let signed = signers.chunks(2).any(|era| checkpoint.verify(era).is_ok());
        if !signed {
            self.name(format!("{what}: no signature by this box's keys"));
        }
        let prefix = tree.verify_prefix(checkpoint);
        if let Err(error) = &prefix {
            self.name(format!("{what}: {error}"));
        }
        signed && prefix.is_ok()
    }
}
