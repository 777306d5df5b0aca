//! The Merkle tree of RFC 6962, section 2.1 (RFC 9162, section 2.1, is the same tree): leaf
//! `SHA-256(0x00 ‖ entry)`, node `SHA-256(0x01 ‖ left ‖ right)`. Proofs are made from the hashes of
//! perfect subtrees, wherever those are kept, and checked without them.

use crate::id::Digest;
use sha2::{Digest as _, Sha256};

/// Why a proof was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index or size asked for is not in the tree.
    #[error("there is no such entry or tree size: {asked} asked for, the tree has {size}")]
    OutOfRange {
        /// The index or smaller size.
        asked: u64,
        /// The tree's size.
        size: u64,
    },
    /// Too many or too few hashes for these sizes.
    #[error("the proof has the wrong number of hashes for these tree sizes")]
    WrongLength,
    /// The hashes do not lead to the expected root.
    #[error(
        "the proof leads to another root: the entry or the tree is not the one that was signed"
    )]
    WrongRoot,
}

/// Where the hashes of perfect subtrees come from.
pub trait Subtrees {
    /// Why a hash could not be had.
    type Error;

    /// The hash over entries `index·2^level .. (index+1)·2^level`, all of which are in the tree.
    fn subtree(&self, level: u8, index: u64) -> Result<Digest, Self::Error>;
}

/// The hash of one entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest(
        Sha256::new()
            .chain_update([0])
            .chain_update(entry)
            .finalize()
            .into(),
    )
}

/// The hash of two neighbouring subtrees.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let both = Sha256::new()
        .chain_update([1])
        .chain_update(left.0)
        .chain_update(right.0);
    Digest(both.finalize().into())
}

/// The root of a tree without entries.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The root over leaf or subtree hashes that stand side by side; `hashes` must not be empty.
#[must_use]
pub fn root_of_hashes(hashes: &[Digest]) -> Digest {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(split(more.len() as u64) as usize);
            node_hash(&root_of_hashes(left), &root_of_hashes(right))
        }
    }
}

/// The root of the tree's first `size` entries.
pub fn root<S: Subtrees>(tree: &S, size: u64) -> Result<Digest, S::Error> {
    if size == 0 {
        Ok(empty_root())
    } else {
        range(tree, 0, size)
    }
}

/// The hashes that lead from entry `index` to the root of the first `size` entries, leaf first
/// (RFC 6962, section 2.1.1). `index < size`, and `size` is at most the tree's.
pub fn inclusion_proof<S: Subtrees>(
    tree: &S,
    index: u64,
    size: u64,
) -> Result<Vec<Digest>, S::Error> {
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(tree, middle, end)?);
            end = middle;
        } else {
            path.push(range(tree, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The hashes that show the first `old` entries to be a prefix of the first `new` (RFC 6962,
/// section 2.1.2). `0 < old <= new`, and `new` is at most the tree's size; empty where they are equal.
pub fn consistency_proof<S: Subtrees>(
    tree: &S,
    old: u64,
    new: u64,
) -> Result<Vec<Digest>, S::Error> {
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range(tree, middle, end)?);
            end = middle;
        } else {
            path.push(range(tree, start, middle)?);
            start = middle;
        }
    }
    if start != 0 {
        path.push(range(tree, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that the entry with `leaf` hash is number `index` of the tree of `size` entries with `root`
/// (RFC 9162, section 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { asked: index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::WrongRoot),
        _ => Err(ProofError::WrongLength),
    }
}

/// Checks that the tree of `old` entries with `old_root` is a prefix of the tree of `new` entries
/// with `new_root` (RFC 9162, section 2.1.4.2). The empty tree is a prefix of every tree.
pub fn verify_consistency(
    old: u64,
    old_root: &Digest,
    new: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::OutOfRange {
            asked: old,
            size: new,
        });
    }
    if old == new || old == 0 {
        let expected = if old == 0 { empty_root() } else { *new_root };
        return match (proof.is_empty(), *old_root == expected) {
            (true, true) => Ok(()),
            (false, _) => Err(ProofError::WrongLength),
            (true, false) => Err(ProofError::WrongRoot),
        };
    }
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(ProofError::WrongLength)?
    };
    let aligned = (old - 1).trailing_ones();
    let (mut node, mut last) = ((old - 1) >> aligned, (new - 1) >> aligned);
    let (mut before, mut after) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node & 1 == 1 || node == last {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last, before == *old_root && after == *new_root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::WrongRoot),
        _ => Err(ProofError::WrongLength),
    }
}

/// The largest power of two below `count`, which is at least 2.
const fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The hash over entries `start .. end`. In RFC 6962's recursion a range as long as a power of two
/// begins at a multiple of its length, so it is one perfect subtree.
fn range<S: Subtrees>(tree: &S, start: u64, end: u64) -> Result<Digest, S::Error> {
    let count = end - start;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return tree.subtree(level as u8, start >> level);
    }
    let middle = start + split(count);
    Ok(node_hash(
        &range(tree, start, middle)?,
        &range(tree, middle, end)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// The eight entries of Certificate Transparency's reference tests, and the roots they give.
    const ENTRIES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    struct Leaves(Vec<Digest>);

    impl Subtrees for Leaves {
        type Error = Infallible;
        fn subtree(&self, level: u8, index: u64) -> Result<Digest, Infallible> {
            let width = 1usize << level;
            let start = index as usize * width;
            Ok(root_of_hashes(&self.0[start..start + width]))
        }
    }

    fn reference() -> Leaves {
        let decode = |hex: &&str| data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex");
        Leaves(
            ENTRIES
                .iter()
                .map(decode)
                .map(|entry| leaf_hash(&entry))
                .collect(),
        )
    }

    fn counted(size: u64) -> Leaves {
        Leaves((0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect())
    }

    #[test]
    fn roots_are_those_of_the_reference_tests() {
        let tree = reference();
        for (i, expected) in ROOTS.iter().enumerate() {
            assert_eq!(
                root(&tree, i as u64 + 1).expect("root").to_string(),
                *expected
            );
        }
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(root(&tree, 0).expect("root").to_string(), empty);
    }

    #[test]
    fn proofs_are_those_of_the_reference_tests() {
        let tree = reference();
        let hex = |proof: Vec<Digest>| proof.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            hex(inclusion_proof(&tree, 5, 8).expect("proof")),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            hex(consistency_proof(&tree, 6, 8).expect("proof")),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
    }

    proptest! {
        #[test]
        fn every_inclusion_proof_fits_its_entry_alone(size in 1u64..600, at in any::<prop::sample::Index>()) {
            let tree = counted(size);
            let index = at.index(size as usize) as u64;
            let head = root(&tree, size).expect("root");
            let proof = inclusion_proof(&tree, index, size).expect("proof");
            let leaf = tree.0[index as usize];
            prop_assert_eq!(verify_inclusion(&leaf, index, size, &head, &proof), Ok(()));
            prop_assert!(verify_inclusion(&leaf_hash(b"other"), index, size, &head, &proof).is_err());
            let mut longer = proof.clone();
            longer.push(leaf);
            prop_assert!(verify_inclusion(&leaf, index, size, &head, &longer).is_err());
            if let Some((_, shorter)) = proof.split_last() {
                prop_assert!(verify_inclusion(&leaf, index, size, &head, shorter).is_err());
            }
        }

        #[test]
        fn every_consistency_proof_fits_its_two_trees_alone(new in 1u64..600, at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
            let tree = counted(new);
            let old = at.index(new as usize) as u64 + 1;
            let (before, after) = (root(&tree, old).expect("root"), root(&tree, new).expect("root"));
            let proof = consistency_proof(&tree, old, new).expect("proof");
            prop_assert_eq!(verify_consistency(old, &before, new, &after, &proof), Ok(()));
            let other = leaf_hash(b"other");
            prop_assert!(verify_consistency(old, &other, new, &after, &proof).is_err());
            prop_assert!(verify_consistency(old, &before, new, &other, &proof).is_err());
            if !proof.is_empty() {
                let mut altered = proof.clone();
                altered[flip.index(proof.len())] = other;
                prop_assert!(verify_consistency(old, &before, new, &after, &altered).is_err());
                prop_assert!(verify_consistency(old, &before, new, &after, &proof[1..]).is_err());
            }
        }

        #[test]
        fn hostile_proofs_never_panic(old: u64, new: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..80)) {
            let proof: Vec<Digest> = hashes.into_iter().map(Digest).collect();
            let root = leaf_hash(b"x");
            let _ = verify_consistency(old, &root, new, &root, &proof);
            let _ = verify_inclusion(&root, old, new, &root, &proof);
        }
    }
}
