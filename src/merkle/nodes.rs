//! Which nodes a proof consists of, and the C2SP tiles that hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use super::{Hash, TILE_HEIGHT, TILE_WIDTH, empty_root, fold_roots, perfect_root};

/// The root of the perfect subtree over the leaves `[index << height, (index + 1) << height)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub height: u32,
    pub index: u64,
}

/// Hash `i` of a tile is the node of height `8·level` with the index `256·index + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    pub level: u8,
    pub index: u64,
}

impl Node {
    /// The tile from whose hashes the node follows.
    pub fn tile(&self) -> TileId {
        let level = (self.height / TILE_HEIGHT) as u8;
        TileId { level, index: self.index >> (TILE_HEIGHT - self.height % TILE_HEIGHT) }
    }

    /// Those hashes of the tile whose root the node is: one, two, four, … or 128.
    pub fn positions(&self) -> Range<usize> {
        let count = 1 << (self.height % TILE_HEIGHT);
        let start = self.index as usize % (TILE_WIDTH / count) * count;
        start..start + count
    }
}

impl TileId {
    /// How many hashes the tile has in a tree of `size` leaves: 256 if full, none if not begun.
    pub fn width(&self, size: u64) -> usize {
        let complete = size.checked_shr(u32::from(self.level) * TILE_HEIGHT).unwrap_or(0);
        let before = self.index.saturating_mul(TILE_WIDTH as u64);
        complete.saturating_sub(before).min(TILE_WIDTH as u64) as usize
    }

    /// The node that a full tile is the subtree of; it stands in the tile above.
    fn top(&self) -> Node {
        Node { height: (u32::from(self.level) + 1) * TILE_HEIGHT, index: self.index }
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.level, self.index)
    }
}

/// The perfect subtrees that a tree of `size` leaves is folded from, largest first.
pub fn root_nodes(size: u64) -> Vec<Node> {
    subtree_nodes(0, size)
}

/// For each hash of an inclusion path the perfect subtrees it is folded from, largest first. Only a hash at
/// the right edge of the tree needs more than one. `None` if the tree has no such leaf.
pub fn inclusion_nodes(index: u64, size: u64) -> Option<Vec<Vec<Node>>> {
    if index >= size {
        return None;
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = split(start, end);
        if index < middle {
            path.push(subtree_nodes(middle, end));
            end = middle;
        } else {
            path.push(subtree_nodes(start, middle));
            start = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The same for a consistency proof. `None` if the first tree is larger than the second.
pub fn consistency_nodes(first: u64, second: u64) -> Option<Vec<Vec<Node>>> {
    if first > second {
        return None;
    }
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, second);
    // Down the right edge of the first tree, to the last subtree that both trees have.
    while first != 0 && first != end {
        let middle = split(start, end);
        if first <= middle {
            proof.push(subtree_nodes(middle, end));
            end = middle;
        } else {
            proof.push(subtree_nodes(start, middle));
            start = middle;
        }
    }
    // If that is the whole first tree, the verifier has its root.
    if start > 0 {
        proof.push(subtree_nodes(start, end));
    }
    proof.reverse();
    Some(proof)
}

/// Where the left half of a subtree of two or more leaves ends: it has the largest power of two of leaves.
fn split(start: u64, end: u64) -> u64 {
    start + (1 << (end - start - 1).ilog2())
}

/// The perfect subtrees of `[start, end)`, where `start` is as in the tree a multiple of their sizes.
fn subtree_nodes(start: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = start;
    while let Some(height) = (end - at).checked_ilog2() {
        nodes.push(Node { height, index: at >> height });
        at += 1 << height;
    }
    nodes
}

/// The tiles that hold these nodes.
pub fn tiles_needed(nodes: impl Iterator<Item = Node>) -> BTreeSet<TileId> {
    nodes.map(|node| node.tile()).collect()
}

/// These tiles and all that [`Tiles::authenticate`] needs beside them: those above them and the right edge.
pub fn tiles_to_root(tiles: &BTreeSet<TileId>, size: u64) -> BTreeSet<TileId> {
    let mut connected = tiles_needed(root_nodes(size).into_iter());
    for tile in tiles {
        let mut next = Some(*tile).filter(|tile| tile.width(size) > 0);
        while let Some(tile) = next {
            connected.insert(tile);
            next = (tile.width(size) == TILE_WIDTH).then(|| tile.top().tile());
        }
    }
    connected
}

/// Why the hashes of some tiles are not those of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthentic {
    #[error("tile {tile} has {found} hashes; in a tree of {size} leaves it has {expected}")]
    Width { tile: TileId, found: usize, expected: usize, size: u64 },
    #[error("tile {tile} is missing; without it others do not lead to the root")]
    Missing { tile: TileId },
    #[error("the hashes of tile {tile} do not give the one for it in the tile above")]
    Differs { tile: TileId },
    #[error("the tiles at the right edge do not give the root of the tree of {size} leaves")]
    Root { size: u64 },
}

/// Some tiles of a tree, from wherever they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiles {
    tiles: BTreeMap<TileId, Vec<Hash>>,
}

impl Tiles {
    /// Adds a tile or a prefix of it, instead of what was held of it before.
    pub fn insert(&mut self, tile: TileId, hashes: Vec<Hash>) {
        self.tiles.insert(tile, hashes);
    }

    pub fn node(&self, node: Node) -> Option<Hash> {
        let hashes = self.tiles.get(&node.tile())?;
        hashes.get(node.positions()).map(perfect_root)
    }

    /// The root over neighbouring perfect subtrees, largest first.
    pub fn fold(&self, nodes: &[Node]) -> Option<Hash> {
        let roots: Vec<Hash> = nodes.iter().map(|node| self.node(*node)).collect::<Option<_>>()?;
        Some(fold_roots(&roots).unwrap_or_else(empty_root))
    }

    /// The hashes of a proof, given what it is made of.
    pub fn path(&self, proof: &[Vec<Node>]) -> Option<Vec<Hash>> {
        proof.iter().map(|nodes| self.fold(nodes)).collect()
    }

    /// Every hash of every tile held is the one that the tree of `size` leaves with this root has.
    ///
    /// A full tile must give its hash in the tile above, which is checked in turn. A tile that is not full
    /// consists of the perfect subtrees that the root is folded from; so all of these are needed, not as
    /// many as there are levels (CVE-2026-56865). A prefix of a full tile cannot be checked and is refused.
    pub fn authenticate(&self, size: u64, root: &Hash) -> Result<(), Unauthentic> {
        self.check_widths(size)?;
        self.check_edge(size, root)?;
        let mut full = self.tiles.iter().filter(|(_, hashes)| hashes.len() == TILE_WIDTH);
        full.try_for_each(|(tile, hashes)| self.check_full(*tile, hashes))
    }

    fn check_widths(&self, size: u64) -> Result<(), Unauthentic> {
        for (tile, hashes) in &self.tiles {
            let (tile, found, expected) = (*tile, hashes.len(), tile.width(size));
            if found != expected {
                return Err(Unauthentic::Width { tile, found, expected, size });
            }
        }
        Ok(())
    }

    fn check_edge(&self, size: u64, root: &Hash) -> Result<(), Unauthentic> {
        let edge = root_nodes(size);
        let missing = edge.iter().map(Node::tile).find(|tile| !self.tiles.contains_key(tile));
        match (missing, self.fold(&edge)) {
            (Some(tile), _) => Err(Unauthentic::Missing { tile }),
            (None, Some(found)) if found == *root => Ok(()),
            (None, _) => Err(Unauthentic::Root { size }),
        }
    }

    fn check_full(&self, tile: TileId, hashes: &[Hash]) -> Result<(), Unauthentic> {
        let top = tile.top();
        match self.node(top) {
            None => Err(Unauthentic::Missing { tile: top.tile() }),
            Some(expected) if expected == perfect_root(hashes) => Ok(()),
            Some(_) => Err(Unauthentic::Differs { tile }),
        }
    }
}
