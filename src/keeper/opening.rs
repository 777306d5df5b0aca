//! The steps of opening a box: the keyring, what the ledger has committed, catalog and search, trust.

use super::cases::Ended;
use super::core::CoreError;
use super::escrow_store::EscrowStore;
use super::policy_change::Replacement;
use super::reopen::NewKeys;
use super::replay;
use crate::boxfiles::{DataFolder, KEYRING};
use crate::catalog::{Catalog, CatalogError};
use crate::crypto::sign::VerifyingKey;
use crate::id::{CaseId, EscrowId, TenantId};
use crate::keyring::{Keyring, KeyringError, Officers, TreeHead};
use crate::ledger::{Entry, Event, Ledger, LedgerError};
use crate::mail::context::{OpenPgpCertificate, Trust};
use crate::policy::ValidPolicy;
use crate::search::{SearchError, SearchIndex};
use crate::secret::Key;
use crate::vault::PartPlace;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Officers' signing keys by name.
pub(super) fn officers_in(officers: &Officers) -> BTreeMap<String, VerifyingKey> {
    let list = officers.list.iter();
    list.map(|officer| (officer.name.to_string(), officer.signing.clone()))
        .collect()
}

pub(super) fn open_keyring(
    data: &DataFolder,
    candidates: Vec<Key>,
) -> Result<(Key, Keyring), CoreError> {
    let file = data.keyring()?;
    for secret in candidates {
        match Keyring::open_with_box_secret(&file, &secret) {
            Ok(keyring) => return Ok((secret, keyring)),
            Err(KeyringError::OtherBoxSecret) => {}
            Err(source) => {
                let path = data.join(KEYRING);
                return Err(CoreError::KeyringFile { path, source });
            }
        }
    }
    Err(CoreError::OldKeyring)
}

/// The ledger holds what the keyring has seen of it.
pub(super) fn known_head(ledger: &Ledger, keyring: &Keyring) -> Result<(), CoreError> {
    let (known, size) = (keyring.head, ledger.tree().size());
    if size < known.size {
        return Err(LedgerError::Behind {
            what: "the keyring",
            expected: known.size,
            found: size,
        }
        .into());
    }
    if ledger.tree().head_at(known.size)?.root == known.root {
        Ok(())
    } else {
        Err(LedgerError::OtherRoot {
            size: known.size,
            what: "the keyring",
        }
        .into())
    }
}

/// What the keyring is to know of the ledger as it is.
pub(super) fn newest_head(ledger: &Ledger) -> Result<TreeHead, LedgerError> {
    let newest = ledger.tree().head()?;
    Ok(TreeHead {
        size: newest.size,
        root: newest.root,
        time: ledger.last_time(),
    })
}

/// What the ledger says that vault and escrow must have.
#[derive(Default)]
pub(super) struct Committed {
    /// For each tenant the last part.
    pub(super) ends: BTreeMap<TenantId, PartPlace>,
    /// How many records there are.
    pub(super) records: u64,
    /// Escrowed keys.
    pub(super) escrowed: BTreeMap<EscrowId, TenantId>,
    /// Changes of people.
    pub(super) people: super::people::Recorded,
    /// Replacements of the policy.
    pub(super) policies: super::policy_change::Recorded,
    /// Cases that were refused or withdrawn.
    pub(super) cases: BTreeMap<CaseId, Ended>,
}

/// Reads the whole ledger.
pub(super) fn committed(ledger: &Ledger) -> Result<Committed, CoreError> {
    let mut found = Committed::default();
    let tree = ledger.tree();
    for recorded in tree.entries(0..tree.size()) {
        let Entry { time, event } = recorded?.entry;
        found.records += u64::from(matches!(event, Event::Arrival { arrival: 0, .. }));
        match event {
            Event::Arrival { tenant, part, .. } | Event::Rendition { tenant, part, .. } => {
                let place = replay::place_of(part);
                let end = found.ends.entry(tenant).or_insert(place);
                if (place.segment, place.offset) > (end.segment, end.offset) {
                    *end = place;
                }
            }
            Event::EscrowAdded { escrow, tenant, .. } => {
                drop(found.escrowed.insert(escrow, tenant));
            }
            Event::PeopleChanged {
                commitment, file, ..
            } => {
                found.people.statements.insert(commitment);
                found.people.file = file;
            }
            Event::Founded { box_id, .. } => drop(found.policies.boxes.insert(box_id)),
            Event::Restored { new_box, .. } => drop(found.policies.boxes.insert(new_box)),
            Event::PolicyChanged { policy, statement } => found.policies.add(Replacement {
                policy,
                statement,
                time,
            }),
            Event::Case { case, step, .. } => {
                let ended = Ended::by_step(step, time);
                found.cases.extend(ended.map(|ended| (case, ended)));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Opens catalog and search; where one is damaged it is erased and begins anew. A full disk is no damage.
pub(super) fn open_derived(
    data: &DataFolder,
    keyring: &Keyring,
) -> Result<(Catalog, SearchIndex), CoreError> {
    let folder = data.join("catalog");
    let catalog = match Catalog::open(&folder, keyring.catalog.duplicate()) {
        Ok(catalog) => catalog,
        Err(error @ CatalogError::NeedsRebuild { .. }) => {
            tracing::warn!(%error, "the catalog is made again");
            Catalog::erase(&folder)?;
            Catalog::open(&folder, keyring.catalog.duplicate())?
        }
        Err(error) => return Err(error.into()),
    };
    let folder = data.join("search");
    let search = SearchIndex::open(&folder, keyring.index.duplicate());
    let search = match search {
        Ok(search) => search,
        Err(error @ (SearchError::NeedsRebuild { .. } | SearchError::StateNeedsRebuild { .. })) => {
            tracing::warn!(%error, "the search index is made again");
            SearchIndex::erase(&folder)?;
            SearchIndex::open(&folder, keyring.index.duplicate())?
        }
        Err(error) => return Err(error.into()),
    };
    Ok((catalog, search))
}

/// What tells whether those have changed: how the folder looks, and how many keys came into escrow.
pub(super) type TrustLook = (super::trust::Look, Vec<u64>);

/// See [`TrustLook`].
pub(super) fn look_at_trust(
    data: &DataFolder,
    escrow: &BTreeMap<TenantId, Arc<EscrowStore>>,
) -> TrustLook {
    let came = escrow.values().map(|store| store.generation()).collect();
    (super::trust::look(&data.join("trust")), came)
}

/// Certificates to judge signatures with: the operator's folder `trust/` (anchors, certificates, CRLs, OpenPGP) and
/// the certificates in escrow. With it come warnings about what policy names and the folder does not have, and the names
/// that keys in escrow answer to since now: a certificate there may be a renewed one of such a key, to which mail is
/// addressed by its name.
pub(super) fn trust(
    data: &DataFolder,
    policy: &ValidPolicy,
    escrow: &BTreeMap<TenantId, Arc<EscrowStore>>,
    contents: &super::trust::Contents,
) -> (Trust, Vec<String>, Vec<NewKeys>) {
    let (mut trust, warnings) = super::trust::load(&data.join("trust"), policy.trust(), contents);
    let named = escrow.iter().map(|(tenant, store)| {
        let certificates = trust.anchors.iter().chain(&trust.certificates);
        let names = store.answer_to(certificates.map(|der| der.as_slice()));
        (tenant.clone(), names)
    });
    let named = named.filter(|(_, names)| !names.is_empty()).collect();
    for info in escrow.values().flat_map(|store| store.infos()) {
        if info.format == "OpenPGP" {
            trust.openpgp.push(OpenPgpCertificate {
                bytes: info.certificate,
                source: "escrow".to_owned(),
            });
        } else {
            trust.certificates.push(info.certificate.into());
        }
    }
    (trust, warnings, named)
}
