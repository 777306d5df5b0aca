//! Recomputing the whole ledger from its entries, trusting no stored hash.

use super::LedgerError;
use super::checkpoint::Checkpoint;
use super::entry::Head;
use super::tiles::{Tile, WIDTH};
use super::tree::Tree;
use crate::crypto::merkle::{self, leaf_hash, root_of_hashes};
use crate::durable;
use crate::id::Digest;
use crate::time::Timestamp;

impl Tree {
    /// Reads every entry and recomputes every tile and the root; the first thing that does not fit is
    /// the error, with its file and entry. Signatures are the business of [`Checkpoint::verify`].
    pub fn verify(&self) -> Result<Head, LedgerError> {
        self.store.forget();
        let mut levels: Vec<Vec<Digest>> = Vec::new();
        let mut time = Timestamp(0);
        for recorded in self.entries(0..self.size()) {
            let recorded = recorded?;
            if recorded.entry.time < time {
                let tile = Tile::Entries(recorded.index / WIDTH);
                return Err(self.store.damaged(
                    tile,
                    recorded.index,
                    "the entry is older than the one before it",
                ));
            }
            time = recorded.entry.time;
            self.take_up(&mut levels, leaf_hash(&recorded.line), recorded.index)?;
        }
        let head = self.head()?;
        if head.root == recomputed_root(&levels) {
            Ok(head)
        } else {
            Err(LedgerError::OtherRoot {
                size: head.size,
                what: "the stored hashes",
            })
        }
    }

    /// Adds one hash to the recomputed tree, and compares each tile that this fills with the stored one.
    fn take_up(
        &self,
        levels: &mut Vec<Vec<Digest>>,
        leaf: Digest,
        index: u64,
    ) -> Result<(), LedgerError> {
        let mut hash = leaf;
        let mut n = index / WIDTH;
        for level in 0u8.. {
            if levels.len() == usize::from(level) {
                levels.push(Vec::new());
            }
            let hashes = &mut levels[usize::from(level)];
            hashes.push(hash);
            if (hashes.len() as u64) < WIDTH {
                break;
            }
            if index < self.flushed && self.store.hashes(level, n)?[..] != hashes[..] {
                let tile = Tile::Hashes { level, n };
                return Err(self.store.damaged(
                    tile,
                    index,
                    "a tile does not have the hashes of the entries",
                ));
            }
            hash = root_of_hashes(hashes);
            hashes.clear();
            n /= WIDTH;
        }
        Ok(())
    }

    /// Compares the partial bundle and tiles that lie on disk for the tree of `size` entries with this ledger.
    /// One that is absent because its full one is there by now is in order: the ledger may grow meanwhile.
    pub fn verify_partial(&self, size: u64) -> Result<(), LedgerError> {
        for (tile, width, content) in self.partial_tiles(size) {
            let path = self.store.folder().join(tile.partial_path(width));
            let found = durable::read_if_present(&path, content.len() as u64 + 1)?;
            let what = match found {
                Some(found) if found == content => continue,
                None if self.store.is_full(tile) => continue,
                Some(_) => "a partial tile was cut or altered",
                None => "a partial tile of the published checkpoint is missing",
            };
            return Err(LedgerError::Damaged {
                file: path,
                entry: size - size % WIDTH,
                what,
            });
        }
        Ok(())
    }

    /// Checks that `older` is a prefix of this ledger (its signatures apart): the consistency proof from
    /// its size to ours leads to its root.
    pub fn verify_prefix(&self, older: &Checkpoint) -> Result<(), LedgerError> {
        let old = older.head();
        let head = self.head()?;
        if old.size > head.size {
            return Err(LedgerError::Behind {
                what: "a signed checkpoint",
                expected: old.size,
                found: head.size,
            });
        }
        let proof = self.consistency_proof(old.size, head.size)?;
        merkle::verify_consistency(old.size, &old.root, head.size, &head.root, &proof).map_err(
            |_| LedgerError::OtherRoot {
                size: old.size,
                what: "the checkpoint",
            },
        )
    }
}

/// The root over the last, partly filled tile of each level: the lower levels stand to the right.
fn recomputed_root(levels: &[Vec<Digest>]) -> Digest {
    let mut right: Option<Digest> = None;
    for hashes in levels {
        let left = (!hashes.is_empty()).then(|| fold_right(hashes, right));
        right = left.or(right);
    }
    right.unwrap_or_else(merkle::empty_root)
}

/// The root of `hashes`, subtrees of equal size, followed by a smaller subtree.
fn fold_right(hashes: &[Digest], right: Option<Digest>) -> Digest {
    let mut start = 0;
    let mut pieces = Vec::new();
    while start < hashes.len() {
        let width = 1 << (hashes.len() - start).ilog2();
        pieces.push(root_of_hashes(&hashes[start..start + width]));
        start += width;
    }
    pieces.extend(right);
    let last = pieces.pop().unwrap_or_else(merkle::empty_root);
    pieces
        .iter()
        .rfold(last, |right, left| merkle::node_hash(left, &right))
}
