//! A tenant's escrowed private keys: each in a file of its own, sealed under the tenant's escrow key, all of them
//! open in the keeper's memory while the box is open (mode *online*).
//!
//! File `escrow/TENANT/ID`: `wrap(derive(escrow key, "escrow item", [ID]), ID, CBOR(item))`.

use super::core::lock;
use crate::crypto::kdf::{Label, derive};
use crate::crypto::{random, wrap};
use crate::durable::{self, FileError};
use crate::escrow::keyholder::Keyholder;
use crate::escrow::{self, KeyInfo, KeyProblem, UserKey};
use crate::id::{Digest, EscrowId};
use crate::mail::keyops::{KeyHint, KeyOps, KeyRefusal, SessionKey, Wrapped};
use crate::secret::{Key, SecretBytes};
use crate::time::Timestamp;
use openssl::x509::X509;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

const LARGEST_ITEM: u64 = 16 << 20;

/// Why the escrow could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EscrowError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder is not there, and the ledger knows of keys in it.
    #[error(
        "{} is missing, in which the ledger knows keys: mount the disk that it lies on, or put it back from a backup; this is tried again. \
         If it is lost for good, make the folder, empty, and the box goes on without those keys",
        .0.display()
    )]
    Missing(PathBuf),
    /// Altered.
    #[error("the escrowed key {} is altered or of another box; put back its file from a backup", .0.display())]
    Altered(PathBuf),
    /// The key inside cannot be used.
    #[error("the escrowed key {}: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: KeyProblem,
    },
}

/// What one file holds.
#[derive(Serialize, Deserialize)]
struct Item {
    version: u32,
    format: String,
    source: String,
    added: Timestamp,
    #[serde(with = "crate::secret::on_the_wire")]
    secret: SecretBytes,
    /// Salt of the ledger's commitment; version 1 lacks it.
    #[serde(default)]
    salt: Option<serde_bytes::ByteArray<32>>,
}

/// A line of the escrow's list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its id.
    pub id: EscrowId,
    /// The key's public facts.
    pub info: KeyInfo,
    /// Where it came from.
    pub source: String,
    /// When.
    pub added: Timestamp,
    /// What the ledger's `escrow-added` entry says of it; `None` for items of version 1, whose salt was not kept.
    pub commitment: Option<Digest>,
}

/// A key whose file is written and that does not count yet.
pub struct Stored {
    /// Its id.
    pub id: EscrowId,
    /// What the ledger is to say of it.
    pub commitment: Digest,
    item: Item,
    key: Box<dyn UserKey>,
}

/// One tenant's escrow.
pub struct EscrowStore {
    folder: PathBuf,
    key: Key,
    holder: RwLock<Keyholder>,
    list: RwLock<Vec<Listed>>,
    generation: AtomicU64,
    /// Items that should be there and do not open.
    absent: Mutex<BTreeMap<EscrowId, Absent>>,
}

/// An item that does not open.
#[derive(Default)]
struct Absent {
    /// Whether the ledger has it.
    known: bool,
    /// Why, where its file is there.
    why: Option<String>,
    /// What the file was by then.
    stamp: Option<Stamp>,
}

/// Inode, length, modification time in seconds and nanoseconds: differs once a file was put back.
type Stamp = (u64, u64, i64, i64);

impl Absent {
    fn known() -> Self {
        Self {
            known: true,
            ..Self::default()
        }
    }
}

impl EscrowStore {
    /// Opens all keys in `folder`, which is made unless it is `known` that keys are in it. One that cannot be
    /// opened is kept as damage and stops no other.
    pub fn open(
        folder: &Path,
        escrow_key: &Key,
        known: impl IntoIterator<Item = EscrowId>,
    ) -> Result<Self, EscrowError> {
        let known = known.into_iter().map(|id| (id, Absent::known()));
        let mut items: BTreeMap<EscrowId, Absent> = known.collect();
        if !items.is_empty() && !folder.try_exists().map_err(durable::at("read", folder))? {
            return Err(EscrowError::Missing(folder.to_owned()));
        }
        durable::create_folder(folder)?;
        let store = Self {
            folder: folder.to_owned(),
            key: escrow_key.duplicate(),
            holder: RwLock::default(),
            list: RwLock::default(),
            generation: AtomicU64::new(0),
            absent: Mutex::default(),
        };
        let entries = std::fs::read_dir(folder).map_err(durable::at("read", folder))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(id) = name.and_then(|name| name.parse().ok()) {
                items.entry(id).or_default();
            } else if path.extension().is_some_and(|end| end == "new") {
                // Of a key that was being stored when the keeper died: nobody was told that it is in escrow.
                let _ = std::fs::remove_file(&path);
            }
        }
        *lock(&store.absent) = items;
        store.look_again();
        Ok(store)
    }

    /// Takes the keys whose files were put back since the last look; gives their public facts.
    pub fn look_again(&self) -> Vec<KeyInfo> {
        let (mut absent, mut came) = (lock(&self.absent), Vec::new());
        absent.retain(|id, item| {
            let before = std::mem::replace(&mut item.stamp, stamp(&self.path(*id)));
            if item.stamp.is_none() {
                item.why = None;
                return item.known;
            }
            if item.stamp == before {
                return true;
            }
            match self.load(*id) {
                Ok((loaded, key)) => {
                    came.push(key.info().clone());
                    self.take(*id, loaded, key);
                    return false;
                }
                Err(error) => {
                    tracing::error!(%error, "an escrowed key cannot be used");
                    item.why = Some(error.to_string());
                }
            }
            true
        });
        came
    }

    /// What is wrong with the items that could not be opened.
    pub fn damage(&self) -> Vec<String> {
        let absent = lock(&self.absent);
        absent
            .values()
            .filter_map(|item| item.why.clone())
            .collect()
    }

    /// Tells of keys whose files are missing.
    pub fn missing(&self) -> Option<String> {
        let absent = lock(&self.absent);
        let mut missing = absent.iter().filter(|(_, item)| item.why.is_none());
        let (first, _) = missing.next()?;
        let first = self.path(*first);
        Some(match missing.count() {
            0 => format!(
                "a key in escrow is missing, {}: put its file back from a backup; it counts at once",
                first.display()
            ),
            others => format!(
                "{} keys in escrow are missing, as {}: put their files back from a backup; they count at once",
                others + 1,
                first.display()
            ),
        })
    }

    /// Whether this item's file is there and could not be opened.
    #[must_use]
    pub fn is_damaged(&self, id: EscrowId) -> bool {
        let absent = lock(&self.absent);
        absent.get(&id).is_some_and(|item| item.why.is_some())
    }

    fn load(&self, id: EscrowId) -> Result<(Item, Box<dyn UserKey>), EscrowError> {
        let path = self.path(id);
        let sealed = durable::read(&path, LARGEST_ITEM)?;
        let plain = wrap::open(&self.item_key(id), id.as_bytes(), &sealed)
            .map_err(|_| EscrowError::Altered(path.clone()))?;
        let item: Item = ciborium::from_reader(plain.expose())
            .map_err(|_| EscrowError::Altered(path.clone()))?;
        let key = escrow::offer::from_secret_bytes(&item.format, item.secret.expose())
            .map_err(|problem| EscrowError::Unusable { path, problem })?;
        Ok((item, key))
    }

    /// True if a key with this fingerprint is here.
    #[must_use]
    pub fn holds(&self, fingerprint: &str) -> bool {
        self.list
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|listed| listed.info.fingerprint == fingerprint)
    }

    /// The key of this certificate, under it; `None` where the key is not here.
    #[must_use]
    pub fn under(&self, certificate: &X509) -> Option<Result<Box<dyn UserKey>, KeyProblem>> {
        let holder = self.holder.read().unwrap_or_else(PoisonError::into_inner);
        holder.under(certificate)
    }

    /// All names that keys answer to.
    #[must_use]
    pub fn names(&self) -> Vec<KeyHint> {
        let holder = self.holder.read().unwrap_or_else(PoisonError::into_inner);
        holder.names().cloned().collect()
    }

    /// Has keys answer to the names in further certificates of theirs too; gives the names that are new.
    pub fn answer_to<'a>(&self, certificates: impl Iterator<Item = &'a [u8]>) -> Vec<KeyHint> {
        let mut holder = self.holder.write().unwrap_or_else(PoisonError::into_inner);
        let new = holder.answer_to(certificates);
        if !new.is_empty() {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        new
    }

    /// Seals and stores a proven key, durably. It counts from [`EscrowStore::add`] on, once the ledger has it.
    pub fn store(
        &self,
        key: Box<dyn UserKey>,
        source: &str,
        now: Timestamp,
    ) -> Result<Stored, EscrowError> {
        let id = EscrowId::random();
        let salt: [u8; 32] = random::bytes();
        let item = Item {
            version: 2,
            format: key.info().format.clone(),
            source: source.to_owned(),
            added: now,
            secret: key.to_secret_bytes(),
            salt: Some(salt.into()),
        };
        let mut plain = zeroize::Zeroizing::new(Vec::new());
        let path = self.path(id);
        ciborium::into_writer(&item, &mut *plain)
            .map_err(|_| EscrowError::Altered(path.clone()))?;
        // By another name first: a part of it, which a power cut may leave, is no damaged key.
        let sealed = wrap::seal(&self.item_key(id), id.as_bytes(), &plain);
        durable::replace(&path, &sealed).inspect_err(|_| drop(durable::remove(&path)))?;
        let commitment = commitment(&salt, key.info());
        Ok(Stored {
            id,
            commitment,
            item,
            key,
        })
    }

    /// Makes a stored key count. Old keys stay beside new ones.
    pub fn add(&self, stored: Stored) {
        self.take(stored.id, stored.item, stored.key);
    }

    /// Takes a stored key back that the ledger does not have. Where that fails, the next start has it recorded.
    pub fn take_back(&self, stored: &Stored) {
        if let Err(error) = durable::remove(&self.path(stored.id)) {
            tracing::warn!(%error, "a key that could not be recorded stays in escrow");
        }
    }

    fn take(&self, id: EscrowId, item: Item, key: Box<dyn UserKey>) {
        let info = key.info().clone();
        let commitment = item.salt.map(|salt| commitment(&salt, &info));
        let listed = Listed {
            id,
            info,
            source: item.source,
            added: item.added,
            commitment,
        };
        self.list
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listed);
        self.holder
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .add(key);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Another one whenever a key came: what was opened under an earlier one may open now.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// All keys, oldest file first.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.list
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The commitment of one key: `None` if it is not here, `Some(None)` for an item of version 1.
    #[must_use]
    pub fn commitment_of(&self, id: EscrowId) -> Option<Option<Digest>> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let listed = list.iter().find(|listed| listed.id == id)?;
        Some(listed.commitment)
    }

    /// The public facts of all keys.
    #[must_use]
    pub fn infos(&self) -> Vec<KeyInfo> {
        self.list().into_iter().map(|listed| listed.info).collect()
    }

    fn item_key(&self, id: EscrowId) -> Key {
        derive(&self.key, Label::EscrowItem, &[id.as_bytes()])
    }

    fn path(&self, id: EscrowId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

/// `SHA-256(salt ‖ fingerprint)`.
fn commitment(salt: &[u8; 32], info: &KeyInfo) -> Digest {
    Digest::of(&[salt.as_slice(), info.fingerprint.as_bytes()].concat())
}

impl KeyOps for EscrowStore {
    fn unwrap_session_key(
        &self,
        hint: &KeyHint,
        wrapped: &Wrapped,
        attempt: u32,
    ) -> Result<SessionKey, KeyRefusal> {
        self.holder
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .unwrap_session_key(hint, wrapped, attempt)
    }
}

/// No keys at all: for reading what is open already.
pub struct NoKeys;

impl KeyOps for NoKeys {
    fn unwrap_session_key(
        &self,
        _: &KeyHint,
        _: &Wrapped,
        _: u32,
    ) -> Result<SessionKey, KeyRefusal> {
        Err(KeyRefusal::NoKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escrow::smime_key::SmimeKey;
    use openssl::pkey::PKey;

    fn key() -> Box<dyn UserKey> {
        let private = PKey::from_ec_key(
            openssl::ec::EcKey::generate(
                &openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1)
                    .expect("a curve"),
            )
            .expect("a key"),
        )
        .expect("a key");
        let mut builder = openssl::x509::X509Builder::new().expect("a builder");
        builder.set_pubkey(&private).expect("a public key");
        let days = |days| openssl::asn1::Asn1Time::days_from_now(days).expect("a time");
        builder.set_not_before(&days(0)).expect("a beginning");
        builder.set_not_after(&days(9)).expect("an end");
        let digest = openssl::hash::MessageDigest::sha256();
        builder.sign(&private, digest).expect("a signature");
        Box::new(SmimeKey::new(private, &builder.build()).expect("a user's key"))
    }

    #[test]
    fn a_damaged_item_is_named_and_shuts_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = random::key();
        let store = EscrowStore::open(folder.path(), &archive, None).expect("new");
        let now = Timestamp::from_seconds(1);
        let bad = store.store(key(), "one", now).expect("added").id;
        let good = store.store(key(), "two", now).expect("added").id;
        let path = folder.path().join(bad.to_string());
        let sound = std::fs::read(&path).expect("the item");
        let mut bytes = sound.clone();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).expect("damaged");

        let store = EscrowStore::open(folder.path(), &archive, None).expect("opens all the same");
        assert!(store.is_damaged(bad) && store.commitment_of(good).is_some());
        let said = store.damage();
        assert_eq!(said.len(), 1);
        assert!(said[0].contains(&bad.to_string()), "{said:?}");

        assert!(store.look_again().is_empty(), "nothing was put back");
        durable::replace(&path, &sound).expect("put back");
        assert_eq!(store.look_again().len(), 1);
        assert!(store.commitment_of(bad).is_some() && store.damage().is_empty());
    }

    #[test]
    fn a_missing_item_counts_once_it_is_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = random::key();
        let store = EscrowStore::open(folder.path(), &archive, None).expect("new");
        let now = Timestamp::from_seconds(1);
        let id = store.store(key(), "one", now).expect("added").id;
        let cut_off = folder.path().join(format!("{}.new", EscrowId::random()));
        std::fs::write(&cut_off, "part of a key").expect("written");
        let (path, aside) = (
            folder.path().join(id.to_string()),
            folder.path().join("aside"),
        );
        std::fs::rename(&path, &aside).expect("moved");

        let store = EscrowStore::open(folder.path(), &archive, [id]).expect("opens all the same");
        assert!(!store.is_damaged(id) && store.commitment_of(id).is_none());
        assert!(!cut_off.exists(), "it is no key");
        let said = store.missing().expect("it is told");
        assert!(
            said.starts_with("a key ") && said.contains(&id.to_string()),
            "{said}"
        );
        assert!(store.look_again().is_empty());
        std::fs::rename(&aside, &path).expect("moved back");
        assert_eq!((store.look_again().len(), store.missing()), (1, None));
        assert!(store.commitment_of(id).is_some());
        assert!(store.look_again().is_empty(), "it comes once");
    }
}
