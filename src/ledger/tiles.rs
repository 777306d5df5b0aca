//! Entries and hashes in the files that C2SP's tlog-tiles names, 256 to a file. A full file never
//! changes any more; partial ones are copies for those who check a checkpoint, and fall away later.

use super::LedgerError;
use crate::crypto::merkle::{leaf_hash, root_of_hashes};
use crate::durable::{self, at};
use crate::id::Digest;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// An entry's exact bytes.
pub(super) type Line = Arc<[u8]>;

/// Entries in a full bundle, hashes in a full tile.
pub(super) const WIDTH: u64 = 256;
/// Hash tiles that are kept in memory, 8 KB each.
const MOST_CACHED: usize = 256;
const MAX_BUNDLE: u64 = WIDTH * (2 + u16::MAX as u64);

/// Which file of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tile {
    /// Entries `256·n ..`.
    Entries(u64),
    /// Hashes of subtrees of `256^level` entries, from the `256·n`-th on.
    Hashes { level: u8, n: u64 },
}

impl Tile {
    /// The path in the ledger's folder: `tile/entries/N` or `tile/LEVEL/N`, N as `x001/x234/067`.
    pub(super) fn path(self) -> PathBuf {
        let (folder, n) = match self {
            Self::Entries(n) => ("entries".to_owned(), n),
            Self::Hashes { level, n } => (level.to_string(), n),
        };
        let mut path = format!("{:03}", n % 1000);
        let mut rest = n / 1000;
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1000);
            rest /= 1000;
        }
        PathBuf::from(format!("tile/{folder}/{path}"))
    }

    fn partial_folder(self) -> PathBuf {
        let mut path = self.path().into_os_string();
        path.push(".p");
        path.into()
    }

    /// The path of its first `width` items, while it is not full.
    pub(super) fn partial_path(self, width: u64) -> PathBuf {
        self.partial_folder().join(width.to_string())
    }
}

/// Entries as a bundle holds them: `length u16 ‖ entry`, one after the other.
pub(super) fn encode_bundle<E: AsRef<[u8]>>(entries: &[E]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend((entry.as_ref().len() as u16).to_be_bytes());
        out.extend(entry.as_ref());
    }
    out
}

/// The entries of a bundle; `None` where the bytes are not a sequence of entries.
pub(super) fn decode_bundle(mut bytes: &[u8]) -> Option<Vec<Line>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        entries.push(entry.into());
        bytes = rest;
    }
    bytes.is_empty().then_some(entries)
}

/// Hashes as a tile holds them.
pub(super) fn encode_hashes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The files of one ledger; cheap to clone.
#[derive(Clone)]
pub(super) struct TileStore {
    folder: Arc<Path>,
    cache: Arc<Mutex<HashMap<Tile, Arc<[Digest]>>>>,
}

impl TileStore {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            cache: Arc::default(),
        }
    }

    /// The ledger's own folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The hashes of a full tile.
    pub(super) fn hashes(&self, level: u8, n: u64) -> Result<Arc<[Digest]>, LedgerError> {
        let tile = Tile::Hashes { level, n };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hashes) = cache.get(&tile) {
            return Ok(hashes.clone());
        }
        let first = n.saturating_mul(WIDTH.saturating_pow(u32::from(level) + 1));
        let bytes = self.read(tile, WIDTH * 32, first)?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if hashes.len() as u64 != WIDTH || !rest.is_empty() {
            return Err(self.damaged(tile, first, "a tile of hashes was cut or altered"));
        }
        let hashes: Arc<[Digest]> = hashes.iter().map(|hash| Digest(*hash)).collect();
        if cache.len() >= MOST_CACHED {
            cache.clear();
        }
        cache.insert(tile, hashes.clone());
        Ok(hashes)
    }

    /// The root of a full tile, which is one hash on the level above.
    pub(super) fn tile_root(&self, level: u8, n: u64) -> Result<Digest, LedgerError> {
        Ok(root_of_hashes(&self.hashes(level, n)?))
    }

    /// The entries of a full bundle, each compared with its hash in the tile.
    pub(super) fn bundle(&self, n: u64) -> Result<Vec<Line>, LedgerError> {
        let tile = Tile::Entries(n);
        let first = n * WIDTH;
        let bytes = self.read(tile, MAX_BUNDLE, first)?;
        let hashes = self.hashes(0, n)?;
        let entries = decode_bundle(&bytes).unwrap_or_default();
        let differs = |(entry, hash): (&Line, &Digest)| leaf_hash(entry) != *hash;
        if let Some(i) = entries.iter().zip(hashes.iter()).position(differs) {
            return Err(self.damaged(
                tile,
                first + i as u64,
                "the entry does not have the hash in its tile",
            ));
        }
        if entries.len() as u64 != WIDTH {
            return Err(self.damaged(tile, first, "a bundle of entries was cut or altered"));
        }
        Ok(entries)
    }

    /// Whether the full file is there.
    pub(super) fn is_full(&self, tile: Tile) -> bool {
        self.folder.join(tile.path()).exists()
    }

    /// Drops what is remembered, so that the next reads see the disk.
    pub(super) fn forget(&self) {
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Writes files, all durable when it returns: each is synced, then each folder once.
    pub(super) fn write(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<(), LedgerError> {
        let mut folders = BTreeSet::new();
        for (name, content) in files {
            let path = self.folder.join(name);
            if let Some(folder) = path.parent()
                && folders.insert(folder.to_owned())
            {
                self.create_folders(folder)?;
            }
            let scratch = path.with_added_extension("new");
            let mut file = fs::File::create(&scratch).map_err(at("create", &scratch))?;
            file.write_all(content).map_err(at("write", &scratch))?;
            durable::sync_data(&file, &scratch)?;
            fs::rename(&scratch, &path).map_err(at("rename", &scratch))?;
        }
        for folder in folders {
            durable::sync_folder_of(&folder.join("."))?;
        }
        Ok(())
    }

    /// Removes the partial copies of tiles that are full now. A copy that stays costs only its space.
    pub(super) fn remove_partials(&self, tiles: &[Tile]) {
        for tile in tiles {
            let _ = fs::remove_dir_all(self.folder.join(tile.partial_folder()));
        }
    }

    /// Makes a folder below the ledger's, every level's name durable.
    fn create_folders(&self, folder: &Path) -> Result<(), LedgerError> {
        let mut path = self.folder.to_path_buf();
        for part in folder.strip_prefix(&self.folder).unwrap_or(folder) {
            path.push(part);
            durable::create_folder(&path)?;
        }
        Ok(())
    }

    fn read(&self, tile: Tile, limit: u64, first: u64) -> Result<Vec<u8>, LedgerError> {
        match durable::read_if_present(&self.folder.join(tile.path()), limit)? {
            Some(bytes) => Ok(bytes),
            None => Err(self.damaged(tile, first, "the file is missing")),
        }
    }

    pub(super) fn damaged(&self, tile: Tile, entry: u64, what: &'static str) -> LedgerError {
        LedgerError::Damaged {
            file: self.folder.join(tile.path()),
            entry,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(
            Tile::Entries(1_234_067).path(),
            Path::new("tile/entries/x001/x234/067")
        );
        assert_eq!(
            Tile::Hashes { level: 1, n: 0 }.path(),
            Path::new("tile/1/000")
        );
        assert_eq!(
            Tile::Hashes { level: 0, n: 273 }.partial_path(112),
            Path::new("tile/0/273.p/112")
        );
    }

    proptest! {
        #[test]
        fn bundles_come_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let decoded = decode_bundle(&encode_bundle(&entries)).expect("own form");
            prop_assert!(decoded.iter().map(|entry| entry.to_vec()).eq(entries));
        }

        #[test]
        fn arbitrary_bundles_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_bundle(&bytes);
        }
    }
}
