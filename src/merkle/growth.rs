//! The inclusion paths of the leaves of one append, from the tree before it and without reading a tile.

use super::{Hash, Tree, empty_root, node_hash};

/// What one append added to a tree, and the few older nodes that are siblings of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    before: u64,
    size: u64,
    /// By height, lowest first.
    levels: Vec<Level>,
    root: Hash,
}

/// The nodes of one height.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Level {
    /// The index of the first node kept: even, so that what is kept pairs up with its siblings.
    start: u64,
    /// From there on all perfect subtrees.
    complete: Vec<Hash>,
    /// The root over the leaves that follow the last perfect subtree, if any do.
    ragged: Option<Hash>,
}

impl Growth {
    /// Appending `leaves` to the tree `before`. Hashes each new node once.
    pub fn new(before: &Tree, leaves: &[Hash]) -> Self {
        let size = before.size() + leaves.len() as u64;
        let mut smallest_first = before.perfect_roots().iter().rev();
        let mut levels = Vec::new();
        let mut new = leaves.to_vec();
        let mut ragged = None;
        for height in 0..u64::BITS - size.leading_zeros() {
            let start = before.size() >> height;
            // A perfect subtree of this height at the end of the old tree is the left sibling of the first
            // new node.
            let old = if start & 1 == 1 { smallest_first.next() } else { None };
            let complete: Vec<Hash> = old.into_iter().copied().chain(new).collect();
            let (pairs, unpaired) = complete.as_chunks();
            new = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
            let ragged_above = match (unpaired, ragged) {
                ([last], Some(rest)) => Some(node_hash(last, &rest)),
                ([last], None) => Some(*last),
                _ => ragged,
            };
            levels.push(Level { start: start & !1, complete, ragged });
            ragged = ragged_above;
        }
        Self { before: before.size(), size, levels, root: ragged.unwrap_or_else(empty_root) }
    }

    /// The number of leaves after the append.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root after the append.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The path from one of the appended leaves to the root; `None` for any other index.
    pub fn inclusion_path(&self, index: u64) -> Option<Vec<Hash>> {
        let siblings = || {
            let numbered = self.levels.iter().enumerate();
            numbered.filter_map(|(height, level)| level.node((index >> height) ^ 1)).collect()
        };
        (self.before..self.size).contains(&index).then(siblings)
    }
}

impl Level {
    fn node(&self, index: u64) -> Option<Hash> {
        let at = index.checked_sub(self.start)? as usize;
        if at == self.complete.len() { self.ragged } else { self.complete.get(at).copied() }
    }
}
