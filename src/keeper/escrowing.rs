//! Taking private keys into escrow: read, proven, reduced, stored, recorded; and the list of what is there.

use super::core::{Core, CoreError, lock};
use super::escrow_store::EscrowStore;
use super::people::Person;
use super::protocol::{EscrowRow, Token};
use super::reopen::NewKeys;
use crate::escrow::{self, KeyInfo, KeyProblem, UserKey};
use crate::id::{EscrowId, TenantId};
use crate::ledger::Event;
use crate::mail::keyops::KeyHint;
use crate::secret::SecretBytes;
use data_encoding::HEXLOWER;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;

/// What somebody brings.
pub struct Offer {
    /// Whose archive.
    pub tenant: TenantId,
    /// Passphrases to try.
    pub passphrases: Vec<Token>,
    /// Certificates of keys that come without.
    pub certificates: Vec<serde_bytes::ByteBuf>,
    /// A file's name.
    pub source: String,
    /// The key file.
    pub keys: SecretBytes,
}

/// Takes every key of the offer that can be taken; one row each.
pub fn take(
    core: &Core,
    offer: Offer,
    new_keys: &Sender<NewKeys>,
) -> Result<Vec<EscrowRow>, CoreError> {
    let passphrases: Vec<SecretBytes> =
        offer.passphrases.into_iter().map(|token| token.0).collect();
    let certificates: Vec<Vec<u8>> = offer
        .certificates
        .into_iter()
        .map(serde_bytes::ByteBuf::into_vec)
        .collect();
    let keys = offer.keys.expose();
    let mut results = escrow::offer::load_for_escrow(keys, &passphrases, &certificates);
    let store = core.escrow(&offer.tenant)?;
    if let [Err(KeyProblem::CertificateAlone)] = results[..] {
        let renewed = under_certificates(store, keys, &passphrases);
        if !renewed.is_empty() {
            results = renewed;
        }
    }
    let mut rows = Vec::new();
    for result in results {
        match result {
            Ok(key) if store.holds(&key.info().fingerprint) => {
                rows.push(EscrowRow {
                    known: true,
                    ..row(key.info(), &offer.source)
                });
            }
            Ok(key) => {
                let info = key.info().clone();
                add(core, &offer.tenant, key, &offer.source)?;
                let _ = new_keys.send((offer.tenant.clone(), info.hints.clone()));
                rows.push(row(&info, &offer.source));
            }
            Err(problem) => rows.push(EscrowRow {
                passed_over: is_public(&problem),
                ..EscrowRow::refused(&offer.source, &problem)
            }),
        }
    }
    Ok(rows)
}

/// What lies in many a folder of keys, and is none.
const fn is_public(problem: &KeyProblem) -> bool {
    matches!(
        problem,
        KeyProblem::CertificateAlone | KeyProblem::PublicKeyAlone
    )
}

/// The keys in escrow that the certificates in a file are of, each under its certificate: a renewed one often keeps the
/// key, and mail names it. What else lies in the file, such as its issuer's, is of no key here.
fn under_certificates(
    store: &EscrowStore,
    file: &[u8],
    passphrases: &[SecretBytes],
) -> Vec<Result<Box<dyn UserKey>, KeyProblem>> {
    let certificates = escrow::offer::certificates_alone(file, passphrases);
    let keys = certificates.iter().filter_map(|one| store.under(one));
    keys.map(|key| key.and_then(escrow::offer::escrowable))
        .collect()
}

fn add(
    core: &Core,
    tenant: &TenantId,
    key: Box<dyn UserKey>,
    source: &str,
) -> Result<(), CoreError> {
    let dual_use = key.info().dual_use;
    let store = core.escrow(tenant)?;
    let stored = store.store(key, source, core.clock.now())?;
    let recorded = core.record(&[Event::EscrowAdded {
        tenant: tenant.clone(),
        escrow: stored.id,
        commitment: stored.commitment,
        dual_use,
    }]);
    match recorded {
        Ok(_) => {
            store.add(stored);
            Ok(())
        }
        Err(error) => {
            store.take_back(&stored);
            Err(error)
        }
    }
}

/// Records keys whose file was written when the power went, before the ledger had them.
pub fn record_missing(
    core: &Core,
    recorded: &BTreeMap<EscrowId, TenantId>,
) -> Result<(), CoreError> {
    let mut events = Vec::new();
    for tenant in core.tenants() {
        for listed in core.escrow(tenant)?.list() {
            if let Some(commitment) = listed.commitment
                && !recorded.contains_key(&listed.id)
            {
                events.push(Event::EscrowAdded {
                    tenant: tenant.clone(),
                    escrow: listed.id,
                    commitment,
                    dual_use: listed.info.dual_use,
                });
            }
        }
    }
    if !events.is_empty() {
        core.record(&events)?;
    }
    Ok(())
}

/// All keys of the box, or those of the person's tenant. Whose they are and where they came
/// from is told where they are the person's own, and to officers.
pub fn list(core: &Core, person: Option<&Person>) -> Result<Vec<EscrowRow>, CoreError> {
    let mut rows = Vec::new();
    let is_officer = person.is_some_and(|person| lock(&core.cases).is_officer(person));
    for tenant in core.tenants() {
        if person.is_some_and(|person| person.tenant != *tenant) {
            continue;
        }
        for listed in core.escrow(tenant)?.list() {
            let mine = person.is_some_and(|person| {
                listed
                    .info
                    .addresses
                    .iter()
                    .any(|address| person.mailboxes.contains(address))
            });
            let mut row = row(&listed.info, &listed.source);
            row.opened = opened(core, &listed.info)?;
            row.added = Some(listed.added);
            if !mine && !is_officer {
                row.addresses.clear();
                row.source.clear();
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// How many mails a key opened, under whichever of its names: a mail is opened by a subkey of an OpenPGP key.
fn opened(core: &Core, info: &KeyInfo) -> Result<u64, CoreError> {
    let subkeys = info.hints.iter().filter_map(|hint| match hint {
        KeyHint::OpenPgp(id) => Some(HEXLOWER.encode(id)),
        _ => None,
    });
    let names: BTreeSet<String> = subkeys.chain([info.fingerprint.clone()]).collect();
    let mut mails = 0;
    for name in &names {
        mails += core.catalog().opened(name)?;
    }
    Ok(mails)
}

fn row(info: &KeyInfo, source: &str) -> EscrowRow {
    EscrowRow {
        fingerprint: info.fingerprint.clone(),
        format: info.format.clone(),
        algorithm: info.algorithm.clone(),
        addresses: info.addresses.clone(),
        valid_from: info.valid_from,
        valid_until: info.valid_until,
        dual_use: info.dual_use,
        ..EscrowRow::of(source)
    }
}
