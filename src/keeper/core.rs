//! The opened box: everything the keeper's threads share, and how it is put together at start.

use super::cases::Cases;
use super::error::StoreError;
use super::escrow_store::EscrowStore;
use super::indexer::Indexer;
use super::manifest::{LaterArrival, Manifest};
use super::people::People;
use super::pool::{Worker, WorkerSetup};
use super::rollback;
use super::store::{Store, StoreReader};
use super::transcripts::Transcripts;
use super::troubles::{Troubles, Work};
use super::trust_watch::TrustWatch;
use super::{archiving, escrowing, opening, policy_change, replay};
use crate::boxfiles::{DataFolder, LEDGER, TpmFile};
use crate::catalog::{Catalog, RecordMeta};
use crate::crypto::random;
use crate::crypto::sign::VerifyingKey;
use crate::durable;
use crate::id::{BoxId, RecordId, TenantId};
use crate::keyring::Keyring;
use crate::ledger::{Event, Ledger};
use crate::mail::KeyOps;
use crate::policy::{Action, ValidPolicy};
use crate::search::{SearchDoc, SearchIndex};
use crate::secret::Key;
use crate::time::{Clock, Timestamp};
use crate::tpm_link::TpmLink;
use crate::vault::{PartPlace, SegmentNo};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub use super::error::CoreError;

/// While this file lies in the data folder, catalog and search are made anew at start.
const REBUILD: &str = ".rebuild";

/// The opened box.
pub struct Core {
    pub(super) data: DataFolder,
    /// In force when the keeper started.
    pub(super) policy: ValidPolicy,
    pub(super) policies: policy_change::Recorded,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keyring: RwLock<Keyring>,
    /// As it was at start, when the TPM took it.
    pub(super) tpm_file: TpmFile,
    pub(super) box_secret: Key,
    pub(super) tpm: Arc<Mutex<TpmLink>>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) people: Mutex<People>,
    pub(super) cases: Mutex<Cases>,
    pub(super) setup: Arc<WorkerSetup>,
    pub(super) trust_watch: Mutex<TrustWatch>,
    stores: BTreeMap<TenantId, Mutex<Store>>,
    readers: BTreeMap<TenantId, StoreReader>,
    pub(super) escrow: BTreeMap<TenantId, Arc<EscrowStore>>,
    catalog: Catalog,
    search: Arc<SearchIndex>,
    indexer: Indexer,
    /// Held from a record's ledger entry until the catalog has it, so that "applied" never skips one.
    pub(super) order: Mutex<()>,
    pub(super) troubles: Troubles,
    records: AtomicU64,
    /// The seat for opening mail on the way out: text for reading and indexing, without any key.
    pub(super) reading: Mutex<Worker>,
}

impl Core {
    /// Opens the box with one of the candidate box secrets, checks that nothing was put back, and brings catalog
    /// and search up to date.
    pub fn open(
        data: DataFolder,
        candidates: Vec<Key>,
        link: TpmLink,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, CoreError> {
        let mut link = link;
        random::stir(&link.random()?);
        let (box_secret, mut keyring) = opening::open_keyring(&data, candidates)?;
        let tpm_file = data.tpm()?;
        let ledger = Ledger::open(&data.join(LEDGER), &tpm_file.ledger)?;
        let transcripts = Transcripts::of(data.path(), keyring.officers.clone());
        rollback::check(&ledger, &mut link, &transcripts)?;
        opening::known_head(&ledger, &keyring)?;
        let committed = opening::committed(&ledger)?;
        let policies = committed.policies;
        let policy =
            policy_change::in_force(&data, &mut keyring, &box_secret, (&policies, &ledger))?;
        let (mut stores, mut readers, mut escrow) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (tenant, keys) in &keyring.tenants {
            let store = Store::open(
                &data.join("vault"),
                tenant,
                keys,
                committed.ends.get(tenant).copied(),
            )?;
            readers.insert(tenant.clone(), store.reader());
            stores.insert(tenant.clone(), Mutex::new(store));
            let folder = data.join("escrow").join(tenant.as_str());
            let known = committed.escrowed.iter();
            let known = known.filter(|(_, of)| *of == tenant).map(|(id, _)| *id);
            escrow.insert(
                tenant.clone(),
                Arc::new(EscrowStore::open(&folder, &keys.escrow, known)?),
            );
        }
        let rebuild = data.join(REBUILD);
        if rebuild.exists() {
            Catalog::erase(&data.join("catalog"))?;
            SearchIndex::erase(&data.join("search"))?;
        }
        let (catalog, search) = opening::open_derived(&data, &keyring)?;
        let officers = opening::officers_in(&keyring.officers);
        let needed = policy.threshold(Action::CaseMail).into();
        let cases = Cases::new(
            &data.join("cases"),
            &keyring.people,
            keyring.box_id,
            officers,
            needed,
            committed.cases,
        );
        let people = People::open(&data.join("people"), &keyring.people, committed.people)?;
        if let Some(warning) = people.warning() {
            tracing::error!("{warning}");
        }
        let mut watch = TrustWatch::new(opening::look_at_trust(&data, &escrow));
        let trusted = watch.read(&data, &policy, &escrow)?;
        watch.contents = trusted.contents;
        let setup = Arc::new(WorkerSetup::new(trusted.trust, policy.open().clone()));
        let troubles = Troubles::default();
        troubles.set_all(Work::Trust, trusted.warnings);
        policy
            .unapplied()
            .into_iter()
            .for_each(|one| troubles.keep(one));
        let search = Arc::new(search);
        let core = Arc::new(Self {
            policy,
            policies,
            clock,
            box_secret,
            tpm_file,
            tpm: Arc::new(Mutex::new(link)),
            ledger: Mutex::new(ledger),
            people: Mutex::new(people),
            cases: Mutex::new(cases),
            stores,
            readers,
            escrow,
            catalog,
            indexer: Indexer::start(Arc::clone(&search), data.path().to_owned()),
            search,
            keyring: RwLock::new(keyring),
            order: Mutex::new(()),
            troubles,
            records: AtomicU64::new(committed.records),
            reading: Mutex::new(Worker::new(Arc::clone(&setup))),
            setup,
            trust_watch: Mutex::new(watch),
            data,
        });
        core.rotate_spool_key()?;
        escrowing::record_missing(&core, &committed.escrowed)?;
        replay::catch_up(&core)?;
        durable::remove(&rebuild)?;
        Ok(core)
    }

    /// The time for all that expires: the clock's, and never before the ledger's newest entry, so that a clock put back
    /// makes nothing valid again.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().max(lock(&self.ledger).last_time())
    }

    /// Records events and makes them durable: the commit.
    pub fn record(&self, events: &[Event]) -> Result<Range<u64>, CoreError> {
        let mut ledger = lock(&self.ledger);
        let range = ledger.append(self.clock.now(), events.to_vec());
        let done = range.and_then(|range| ledger.commit().map(|()| range));
        if done.is_err() {
            ledger.rollback();
        }
        Ok(done?)
    }

    /// See [`Core::order`].
    pub fn lock_order(&self) -> MutexGuard<'_, ()> {
        lock(&self.order)
    }

    /// Locks the stores of these tenants, in order of their names.
    pub fn lock_stores(
        &self,
        tenants: &BTreeSet<TenantId>,
    ) -> Result<BTreeMap<TenantId, MutexGuard<'_, Store>>, CoreError> {
        let store = |tenant: &TenantId| {
            self.stores
                .get(tenant)
                .ok_or_else(|| CoreError::NoTenant(tenant.clone()))
        };
        tenants
            .iter()
            .map(|tenant| Ok((tenant.clone(), lock(store(tenant)?))))
            .collect()
    }

    /// A tenant's vault for reading.
    pub fn reader(&self, tenant: &TenantId) -> Result<&StoreReader, CoreError> {
        self.readers
            .get(tenant)
            .ok_or_else(|| CoreError::NoTenant(tenant.clone()))
    }

    /// All tenants' vaults.
    pub(super) fn readers(&self) -> impl Iterator<Item = &StoreReader> {
        self.readers.values()
    }

    /// All tenants.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.readers.keys()
    }

    /// The tenant named by intake, or the first of the box if it is none of them: accepted mail is never dropped.
    #[must_use]
    pub fn tenant_or_default(&self, named: &TenantId) -> TenantId {
        if self.readers.contains_key(named) {
            return named.clone();
        }
        self.readers.keys().next().unwrap_or(named).clone()
    }

    /// The key by which a tenant's equal contents are found.
    pub fn join_key(&self, tenant: &TenantId) -> Result<Key, CoreError> {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let keys = keyring
            .tenants
            .get(tenant)
            .ok_or_else(|| CoreError::NoTenant(tenant.clone()))?;
        Ok(keys.join.duplicate())
    }

    /// A tenant's escrow.
    pub fn escrow(&self, tenant: &TenantId) -> Result<&Arc<EscrowStore>, CoreError> {
        self.escrow
            .get(tenant)
            .ok_or_else(|| CoreError::NoTenant(tenant.clone()))
    }

    /// The catalog.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The search index.
    #[must_use]
    pub fn search(&self) -> &SearchIndex {
        &self.search
    }

    /// Hands documents of new records to the indexer; records in `replaced` are indexed anew.
    pub fn index(
        &self,
        fresh: Vec<SearchDoc>,
        replaced: &BTreeSet<RecordId>,
        applied: u64,
    ) -> Result<(), CoreError> {
        let anew = self.docs_of(replaced)?;
        self.indexer.add(fresh, anew, applied);
        Ok(())
    }

    /// As [`Core::index`], where the index may have some of the documents already.
    pub fn reindex(
        &self,
        docs: Vec<SearchDoc>,
        replaced: &BTreeSet<RecordId>,
        applied: u64,
    ) -> Result<(), CoreError> {
        let mut anew = docs;
        anew.retain(|doc| !replaced.contains(&doc.record));
        anew.extend(self.docs_of(replaced)?);
        self.indexer.add(Vec::new(), anew, applied);
        Ok(())
    }

    fn docs_of(&self, records: &BTreeSet<RecordId>) -> Result<Vec<SearchDoc>, CoreError> {
        let mut docs = Vec::new();
        for record in records {
            match replay::doc_of(self, *record) {
                Ok(doc) => docs.extend(doc),
                Err(error) if error.is_damage() => self.note_damage(*record, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(docs)
    }

    /// Says that nothing more comes to the indexer for now, so that what it has is found at once.
    pub fn index_rests(&self) {
        self.indexer.rest();
    }

    /// Waits until everything handed to the indexer can be found.
    pub fn index_all(&self) {
        self.indexer.drain();
    }

    /// The catalog's row of a record.
    pub fn record_meta(&self, record: RecordId) -> Result<RecordMeta, CoreError> {
        self.catalog
            .record(&record)?
            .ok_or(CoreError::NoRecord(record))
    }

    /// A record's newest manifest.
    pub fn manifest(&self, meta: &RecordMeta) -> Result<Manifest, CoreError> {
        let part = meta
            .parts
            .iter()
            .rev()
            .find(|part| part.kind == crate::vault::PartKind::Manifest.code());
        let part = part.ok_or(CoreError::CatalogBehind)?;
        let place = PartPlace {
            segment: SegmentNo(u32::try_from(part.segment).unwrap_or(u32::MAX)),
            offset: part.offset,
            length: part.length,
        };
        self.manifest_at(&meta.tenant, place)
    }

    /// The manifest at a place.
    pub fn manifest_at(&self, tenant: &TenantId, place: PartPlace) -> Result<Manifest, CoreError> {
        let (record, _, _, text) = self.reader(tenant)?.read_text(place)?;
        Ok(serde_json::from_slice(&text)
            .map_err(|source| StoreError::Manifest { record, source })?)
    }

    /// The later arrival at a place.
    pub fn later_arrival_at(
        &self,
        tenant: &TenantId,
        place: PartPlace,
    ) -> Result<LaterArrival, CoreError> {
        let (record, _, _, text) = self.reader(tenant)?.read_text(place)?;
        Ok(serde_json::from_slice(&text)
            .map_err(|source| StoreError::Manifest { record, source })?)
    }

    /// The box's id.
    #[must_use]
    pub fn box_id(&self) -> BoxId {
        self.keyring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .box_id
    }

    /// The transcripts, judged by this box's officers.
    pub(super) fn transcripts(&self) -> Transcripts {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        Transcripts::of(self.data.path(), keyring.officers.clone())
    }

    /// Officers' signing keys by name.
    #[must_use]
    pub fn officers(&self) -> BTreeMap<String, VerifyingKey> {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        opening::officers_in(&keyring.officers)
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Counts new records.
    pub fn count_records(&self, new: u64) {
        self.records.fetch_add(new, Ordering::Relaxed);
    }

    /// The public half of the TPM's ledger key.
    pub fn ledger_key(&self) -> Result<VerifyingKey, CoreError> {
        Ok(self.data.tpm()?.ledger_public)
    }

    /// Has catalog and search made again at the next start, which is at once.
    pub fn rebuild(&self) -> Result<(), CoreError> {
        durable::replace(&self.data.join(REBUILD), b"")?;
        Self::begin_again()
    }

    /// Whether the next keeper makes catalog and search anew.
    pub(super) fn is_to_rebuild(&self) -> bool {
        self.data.join(REBUILD).exists()
    }

    /// Ends this keeper in order; the parent starts the next one.
    pub(super) fn begin_again() -> Result<(), CoreError> {
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGTERM)
            .map_err(io::Error::from)?;
        Ok(())
    }

    /// Has it told that a record is damaged, which stops nothing else.
    pub(super) fn note_damage(&self, record: RecordId, error: &CoreError) {
        tracing::error!(%record, %error, "a record is damaged");
        self.troubles.keep(format!("record {record}: {error}"));
    }

    /// What somebody should look at: what is stuck now, and damage.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut all = self.troubles.now();
        all.extend(self.damage());
        all.extend(self.escrow.values().filter_map(|store| store.missing()));
        all
    }

    /// What was found to be damaged. It stays.
    #[must_use]
    pub fn damage(&self) -> Vec<String> {
        let mut all = self.troubles.lasting();
        all.extend(lock(&self.people).warning().map(str::to_owned));
        for store in self.escrow.values() {
            all.extend(store.damage());
        }
        for store in self.stores.values() {
            // A long commit is no reason to wait with a status.
            if let Ok(store) = store.try_lock() {
                all.extend(store.damage());
            }
        }
        all
    }
}

/// A mutex's content, also after a thread died with it: every change under our locks is complete or undone.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl archiving::opener::TenantKeys for Core {
    fn of(&self, tenant: &TenantId) -> Arc<dyn KeyOps + Send + Sync> {
        match self.escrow.get(tenant) {
            Some(store) => Arc::clone(store) as Arc<dyn KeyOps + Send + Sync>,
            None => Arc::new(super::escrow_store::NoKeys),
        }
    }

    fn generation(&self, tenant: &TenantId) -> u64 {
        self.escrow
            .get(tenant)
            .map_or(0, |store| store.generation())
    }
}
