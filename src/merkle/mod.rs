//! The Merkle tree of RFC 6962 (hashing as in RFC 9162 §2.1.1), grown one leaf at a time.
//!
//! A [`Tree`] holds what the next append needs and nothing more: the roots of its perfect subtrees (the
//! frontier) and, per level, the hashes of the tile that is not full yet. Full tiles leave it for good.

use sha2::{Digest, Sha256};

pub use growth::Growth;
pub use nodes::{
    Node, TileId, Tiles, Unauthentic, consistency_nodes, inclusion_nodes, root_nodes, tiles_needed,
    tiles_to_root,
};
pub use proof::{ProofError, root_from_inclusion, verify_consistency, verify_inclusion};

mod growth;
mod nodes;
mod proof;

pub type Hash = [u8; 32];

/// Hashes in a full tile, as C2SP tlog-tiles fixes it.
pub const TILE_WIDTH: usize = 256;
const TILE_HEIGHT: u32 = 8;

pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into()
}

pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A tile that will never change again. Hash `i` of tile `index` at `level` is the root over the leaves
/// `[(256·index + i)·256^level, (256·index + i + 1)·256^level)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    pub level: u8,
    pub index: u64,
    /// The root over all 256 hashes: the hash that this tile contributes one level up.
    pub root: Hash,
    /// 256 hashes of 32 bytes.
    pub data: Vec<u8>,
}

/// An append-only tree. Cloning it is the way to undo: at most 255 hashes per level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of the perfect subtrees, largest first; one for each bit of `size`.
    frontier: Vec<Hash>,
    /// Per level the hashes of its unfinished tile, fewer than 256.
    partial: Vec<Vec<Hash>>,
}

/// What was stored does not fit together, so nothing may be appended to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    #[error(
        "level {level} has {found} hashes in its unfinished tile; a tree of {size} leaves has {expected}"
    )]
    Width { level: usize, found: usize, expected: usize, size: u64 },
    #[error("the frontier is not the one that the unfinished tiles of {size} leaves give")]
    Frontier { size: u64 },
}

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    /// Rebuilds a tree from what is stored. The unfinished tiles determine the frontier, so a frontier that
    /// differs means that tiles, entries or head were changed.
    pub fn restore(size: u64, frontier: &[u8], partial: Vec<Vec<Hash>>) -> Result<Self, Inconsistent> {
        let mut partial = partial;
        while partial.last().is_some_and(Vec::is_empty) {
            partial.pop();
        }
        let levels = partial.len().max(level_count(size));
        partial.resize_with(levels, Vec::new);
        let mut expected_frontier = Vec::new();
        for (level, hashes) in partial.iter().enumerate().rev() {
            let expected = tile_width(size, level);
            if hashes.len() != expected {
                return Err(Inconsistent::Width { level, found: hashes.len(), expected, size });
            }
            push_perfect_roots(hashes, &mut expected_frontier);
        }
        if expected_frontier.as_flattened() != frontier {
            return Err(Inconsistent::Frontier { size });
        }
        Ok(Self { size, frontier: expected_frontier, partial })
    }

    /// Appends a leaf hash; returns the tiles that it fills, lowest level first (usually none).
    pub fn append(&mut self, leaf: Hash) -> Vec<FullTile> {
        let mut full = Vec::new();
        let mut node = leaf;
        let mut height = 0;
        self.push_partial(0, leaf);
        while let Some(left) = self.frontier.pop_if(|_| self.size >> height & 1 == 1) {
            node = node_hash(&left, &node);
            height += 1;
            if height % TILE_HEIGHT == 0 {
                let level = (height / TILE_HEIGHT) as usize;
                full.push(self.take_full(level - 1, self.size >> height, node));
                self.push_partial(level, node);
            }
        }
        self.frontier.push(node);
        self.size += 1;
        full
    }

    pub fn root(&self) -> Hash {
        fold_roots(&self.frontier).unwrap_or_else(empty_root)
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, largest first: the frontier.
    pub fn perfect_roots(&self) -> &[Hash] {
        &self.frontier
    }

    /// The frontier as the head row stores it: 32 bytes for each perfect subtree, largest first.
    pub fn frontier(&self) -> Vec<u8> {
        self.frontier.as_flattened().to_vec()
    }

    /// The hashes of the unfinished tile of each level.
    pub fn partial(&self) -> &[Vec<Hash>] {
        &self.partial
    }

    fn push_partial(&mut self, level: usize, hash: Hash) {
        if self.partial.len() <= level {
            self.partial.resize_with(level + 1, Vec::new);
        }
        self.partial[level].push(hash);
    }

    fn take_full(&mut self, level: usize, index: u64, root: Hash) -> FullTile {
        let data = self.partial[level].as_flattened().to_vec();
        self.partial[level].clear();
        FullTile { level: level as u8, index, root, data }
    }
}

/// How many hashes the unfinished tile of `level` holds in a tree of `size` leaves.
pub fn tile_width(size: u64, level: usize) -> usize {
    let shift = level as u32 * TILE_HEIGHT;
    (size.checked_shr(shift).unwrap_or(0) % TILE_WIDTH as u64) as usize
}

/// How many levels a tree of `size` leaves has begun.
fn level_count(size: u64) -> usize {
    size.checked_ilog2().map_or(0, |log| (log / TILE_HEIGHT + 1) as usize)
}

/// The root over perfect subtrees, largest first; `None` over nothing.
fn fold_roots(largest_first: &[Hash]) -> Option<Hash> {
    largest_first.iter().rev().copied().reduce(|right, left| node_hash(&left, &right))
}

/// Splits `hashes` into perfect subtrees, largest first, and pushes their roots.
fn push_perfect_roots(mut hashes: &[Hash], roots: &mut Vec<Hash>) {
    while let Some(log) = hashes.len().checked_ilog2() {
        let (perfect, rest) = hashes.split_at(1 << log);
        roots.push(perfect_root(perfect));
        hashes = rest;
    }
}

fn perfect_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}

#[cfg(test)]
mod tests;
