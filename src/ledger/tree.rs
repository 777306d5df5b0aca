//! The ledger as a tree to read from: roots, proofs, entries. Full bundles and tiles come from disk; what
//! is younger is in memory. A clone is a snapshot that nothing later changes.

use super::LedgerError;
use super::entry::{Entry, Head};
use super::tiles::{Tile, TileStore, WIDTH, encode_bundle, encode_hashes};
use crate::crypto::merkle::{self, Subtrees, leaf_hash, root_of_hashes};
use crate::id::Digest;
use std::ops::Range;
use std::sync::Arc;

/// The committed entries of a ledger, at one moment.
#[derive(Clone)]
pub struct Tree {
    pub(super) store: TileStore,
    /// How many entries are in full bundles on disk; a multiple of 256.
    pub(super) flushed: u64,
    /// The entries after those.
    pub(super) recent: Vec<Arc<[u8]>>,
    edge: Vec<Edge>,
}

/// The hashes of one tile level that are not in full tiles on disk.
#[derive(Clone, Default)]
struct Edge {
    start: u64,
    hashes: Vec<Digest>,
}

/// An entry with its number and its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The entry's number, from 0.
    pub index: u64,
    /// The bytes that are hashed into the tree.
    pub line: Arc<[u8]>,
    /// What they say.
    pub entry: Entry,
}

impl Tree {
    /// The tree of `flushed` entries on disk and `recent` ones after them.
    pub(super) fn load(
        store: TileStore,
        flushed: u64,
        recent: Vec<Arc<[u8]>>,
    ) -> Result<Self, LedgerError> {
        let mut tree = Self {
            store,
            flushed,
            recent: Vec::new(),
            edge: vec![Edge {
                start: flushed,
                hashes: Vec::new(),
            }],
        };
        let mut count = flushed / WIDTH;
        for level in 0u8.. {
            if count == 0 {
                break;
            }
            let start = count - count % WIDTH;
            let hashes = (start..count)
                .map(|n| tree.store.tile_root(level, n))
                .collect::<Result<_, _>>()?;
            tree.edge.push(Edge { start, hashes });
            count /= WIDTH;
        }
        tree.push(recent);
        Ok(tree)
    }

    /// Takes in entries that are committed.
    pub(super) fn push(&mut self, entries: Vec<Arc<[u8]>>) {
        for entry in &entries {
            let mut hash = leaf_hash(entry);
            for level in 0.. {
                if self.edge.len() == level {
                    self.edge.push(Edge::default());
                }
                let hashes = &mut self.edge[level].hashes;
                hashes.push(hash);
                if !(hashes.len() as u64).is_multiple_of(WIDTH) {
                    break;
                }
                hash = root_of_hashes(&hashes[hashes.len() - WIDTH as usize..]);
            }
        }
        self.recent.extend(entries);
    }

    /// The number of entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.flushed + self.recent.len() as u64
    }

    /// The tree head over all entries.
    pub fn head(&self) -> Result<Head, LedgerError> {
        self.head_at(self.size())
    }

    /// The tree head over the first `size` entries.
    pub fn head_at(&self, size: u64) -> Result<Head, LedgerError> {
        self.check_within(size, self.size())?;
        Ok(Head {
            size,
            root: merkle::root(self, size)?,
        })
    }

    /// The proof that entry `index` is in the tree of the first `size` entries; checked with
    /// [`merkle::verify_inclusion`].
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Digest>, LedgerError> {
        self.check_within(size, self.size())?;
        self.check_within(index.saturating_add(1), size)?;
        merkle::inclusion_proof(self, index, size)
    }

    /// The proof that the first `old` entries are a prefix of the first `new`; checked with
    /// [`merkle::verify_consistency`].
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Digest>, LedgerError> {
        self.check_within(new, self.size())?;
        self.check_within(old, new)?;
        if old == 0 {
            Ok(Vec::new())
        } else {
            merkle::consistency_proof(self, old, new)
        }
    }

    /// The entries of `range`, in order, each checked against the tree's hashes. Ends after an error.
    #[must_use]
    pub fn entries(&self, range: Range<u64>) -> Entries<'_> {
        let end = range.end.min(self.size());
        Entries {
            tree: self,
            next: range.start,
            end,
            bundle: None,
        }
    }

    /// The entry of this number.
    pub fn entry(&self, index: u64) -> Result<Recorded, LedgerError> {
        let found = self.entries(index..index.saturating_add(1)).next();
        found.unwrap_or(Err(LedgerError::OutOfRange {
            asked: index,
            size: self.size(),
        }))
    }

    fn check_within(&self, asked: u64, size: u64) -> Result<(), LedgerError> {
        if asked <= size {
            Ok(())
        } else {
            Err(LedgerError::OutOfRange { asked, size })
        }
    }

    pub(super) fn decoded(&self, index: u64, line: Arc<[u8]>) -> Result<Recorded, LedgerError> {
        let damaged = || match index < self.flushed {
            true => self.store.damaged(
                Tile::Entries(index / WIDTH),
                index,
                "the entry cannot be read",
            ),
            false => LedgerError::Damaged {
                file: self.store.folder().join("tail"),
                entry: index,
                what: "the entry cannot be read",
            },
        };
        let entry = Entry::decode(&line).map_err(|_| damaged())?;
        Ok(Recorded { index, line, entry })
    }

    /// Writes all full bundles and tiles to disk. The tail may be shortened afterwards, then
    /// [`Tree::forget_flushed`] called.
    pub(super) fn write_full(&self) -> Result<(), LedgerError> {
        let mut files = Vec::new();
        let mut tiles = Vec::new();
        for (i, entries) in self
            .recent
            .as_chunks::<{ WIDTH as usize }>()
            .0
            .iter()
            .enumerate()
        {
            let tile = Tile::Entries(self.flushed / WIDTH + i as u64);
            files.push((tile.path(), encode_bundle(entries)));
            tiles.push(tile);
        }
        for (level, edge) in (0u8..).zip(&self.edge) {
            for (i, hashes) in edge
                .hashes
                .as_chunks::<{ WIDTH as usize }>()
                .0
                .iter()
                .enumerate()
            {
                let tile = Tile::Hashes {
                    level,
                    n: edge.start / WIDTH + i as u64,
                };
                files.push((tile.path(), encode_hashes(hashes)));
                tiles.push(tile);
            }
        }
        self.store.write(&files)?;
        self.store.forget();
        self.store.remove_partials(&tiles);
        Ok(())
    }

    /// The entries that are in no full bundle, after how many.
    pub(super) fn rest(&self) -> (u64, &[Arc<[u8]>]) {
        let full = self.recent.len() - self.recent.len() % WIDTH as usize;
        (self.flushed + full as u64, &self.recent[full..])
    }

    /// The entries that only the tail has, and the number of the first.
    pub(super) fn in_tail(&self) -> (u64, &[Arc<[u8]>]) {
        (self.flushed, &self.recent)
    }

    /// Lets go of what is in full bundles and tiles on disk.
    pub(super) fn forget_flushed(&mut self) {
        let full = self.recent.len() - self.recent.len() % WIDTH as usize;
        self.recent.drain(..full);
        self.flushed += full as u64;
        for edge in &mut self.edge {
            let full = edge.hashes.len() - edge.hashes.len() % WIDTH as usize;
            edge.hashes.drain(..full);
            edge.start += full as u64;
        }
    }

    /// Writes the partial bundle and tiles that those who check the tree of `size` entries fetch.
    pub(super) fn write_partial(&self, size: u64) -> Result<(), LedgerError> {
        let files = self.partial_tiles(size).into_iter();
        let files: Vec<_> = files
            .map(|(tile, width, content)| (tile.partial_path(width), content))
            .collect();
        self.store.write(&files)
    }

    /// The partial bundle and tiles of the tree of `size` entries: which, how wide, and their bytes. Those that
    /// this tree has in full on disk are not among them.
    pub(super) fn partial_tiles(&self, size: u64) -> Vec<(Tile, u64, Vec<u8>)> {
        let mut tiles = Vec::new();
        let width = size % WIDTH;
        if let Some(first) = (size - width).checked_sub(self.flushed)
            && width > 0
        {
            let entries = &self.recent[first as usize..(first + width) as usize];
            tiles.push((Tile::Entries(size / WIDTH), width, encode_bundle(entries)));
        }
        let mut count = size;
        for (level, edge) in (0u8..).zip(&self.edge) {
            let width = count % WIDTH;
            if let Some(first) = (count - width).checked_sub(edge.start)
                && width > 0
            {
                let hashes = &edge.hashes[first as usize..(first + width) as usize];
                let n = count / WIDTH;
                tiles.push((Tile::Hashes { level, n }, width, encode_hashes(hashes)));
            }
            count /= WIDTH;
        }
        tiles
    }

    /// The number of the first entry in the bundle of entry `index`.
    #[must_use]
    pub const fn first_in_bundle(index: u64) -> u64 {
        index - index % WIDTH
    }

    /// The number of the first entry in the bundle after that of entry `index`.
    #[must_use]
    pub fn next_bundle(index: u64) -> u64 {
        (index / WIDTH + 1) * WIDTH
    }
}

impl Subtrees for Tree {
    type Error = LedgerError;

    fn subtree(&self, level: u8, index: u64) -> Result<Digest, LedgerError> {
        let tile_level = level / 8;
        let width = 1u64 << (level % 8);
        let first = index * width;
        let edge = self
            .edge
            .get(usize::from(tile_level))
            .filter(|edge| first >= edge.start);
        let within = |start: u64| (first - start) as usize..(first - start + width) as usize;
        match edge {
            Some(edge) => edge.hashes.get(within(edge.start)).map(root_of_hashes),
            None => {
                let tile = self.store.hashes(tile_level, first / WIDTH)?;
                tile.get(within(first - first % WIDTH)).map(root_of_hashes)
            }
        }
        .ok_or(LedgerError::OutOfRange {
            asked: first + width,
            size: self.size(),
        })
    }
}

/// Entries in order; see [`Tree::entries`].
pub struct Entries<'a> {
    tree: &'a Tree,
    next: u64,
    end: u64,
    bundle: Option<(u64, Vec<Arc<[u8]>>)>,
}

impl Entries<'_> {
    fn line(&mut self, index: u64) -> Result<Arc<[u8]>, LedgerError> {
        if let Some(i) = index.checked_sub(self.tree.flushed) {
            return Ok(self.tree.recent[i as usize].clone());
        }
        let (n, i) = (index / WIDTH, (index % WIDTH) as usize);
        match &self.bundle {
            Some((kept, entries)) if *kept == n => Ok(entries[i].clone()),
            _ => {
                let entries = self.tree.store.bundle(n)?;
                let line = entries[i].clone();
                self.bundle = Some((n, entries));
                Ok(line)
            }
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Recorded, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let index = self.next;
        let item = self
            .line(index)
            .and_then(|line| self.tree.decoded(index, line));
        self.next = if item.is_ok() { index + 1 } else { self.end };
        Some(item)
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let index = self.end - 1;
        let item = self
            .line(index)
            .and_then(|line| self.tree.decoded(index, line));
        self.end = if item.is_ok() { index } else { self.next };
        Some(item)
    }
}
