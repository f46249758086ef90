use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

mod growth;
mod nodes;
mod oracles;
mod proof;
mod tiles;

#[derive(Deserialize)]
struct Vectors {
    standard_leaves_hex: Vec<String>,
    roots_standard: BTreeMap<u64, String>,
    inclusion_standard: InclusionVector,
    consistency_standard: ConsistencyVector,
    roots_decimal: BTreeMap<u64, String>,
}

#[derive(Deserialize)]
struct InclusionVector {
    index: u64,
    size: u64,
    leaf: String,
    path: Vec<String>,
}

#[derive(Deserialize)]
struct ConsistencyVector {
    first: u64,
    second: u64,
    path: Vec<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../tests/vectors/merkle.json")).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn unhex_hash(text: &str) -> Hash {
    unhex(text).try_into().unwrap()
}

/// The functions of RFC 9162 §2.1, word for word, over leaves that are decimal numbers. What was hashed once
/// is remembered: one tree serves all sizes.
struct Naive {
    leaves: Vec<Hash>,
    roots: HashMap<(usize, usize), Hash>,
}

impl Naive {
    fn new(size: u64) -> Self {
        Self { leaves: (0..size).map(decimal_leaf).collect(), roots: HashMap::new() }
    }

    fn size_root(&mut self, size: u64) -> Hash {
        self.root(0, size as usize)
    }

    /// MTH(D[start:end])
    fn root(&mut self, start: usize, end: usize) -> Hash {
        match end - start {
            0 => return empty_root(),
            1 => return self.leaves[start],
            _ => {}
        }
        if let Some(root) = self.roots.get(&(start, end)) {
            return *root;
        }
        let split = start + (end - start).next_power_of_two() / 2;
        let root = node_hash(&self.root(start, split), &self.root(split, end));
        self.roots.insert((start, end), root);
        root
    }

    /// PATH(index, D_size)
    fn inclusion(&mut self, index: u64, size: u64) -> Vec<Hash> {
        self.path(index as usize, 0, size as usize)
    }

    fn path(&mut self, index: usize, start: usize, end: usize) -> Vec<Hash> {
        if end - start == 1 {
            return vec![];
        }
        let split = start + (end - start).next_power_of_two() / 2;
        let (mut path, sibling) = if index < split {
            (self.path(index, start, split), self.root(split, end))
        } else {
            (self.path(index, split, end), self.root(start, split))
        };
        path.push(sibling);
        path
    }

    /// PROOF(first, D_second)
    fn consistency(&mut self, first: u64, second: u64) -> Vec<Hash> {
        if first == 0 { vec![] } else { self.subproof(first as usize, 0, second as usize, true) }
    }

    fn subproof(&mut self, first: usize, start: usize, end: usize, known: bool) -> Vec<Hash> {
        if first == end {
            return if known { vec![] } else { vec![self.root(start, end)] };
        }
        let split = start + (end - start).next_power_of_two() / 2;
        let (mut proof, sibling) = if first <= split {
            (self.subproof(first, start, split, known), self.root(split, end))
        } else {
            (self.subproof(first, split, end, false), self.root(start, split))
        };
        proof.push(sibling);
        proof
    }
}

const LARGE: u64 = 70_000;

/// Shared, because hashing the leaves takes longer than most tests.
static LARGE_NAIVE: LazyLock<Mutex<Naive>> = LazyLock::new(|| Mutex::new(Naive::new(LARGE)));

fn large<T>(look: impl FnOnce(&mut Naive) -> T) -> T {
    // A test that failed with the lock held has left nothing half done that another would see.
    look(&mut LARGE_NAIVE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// MTH of RFC 6962 §2.1, word for word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
        }
    }
}

fn decimal_leaf(i: u64) -> Hash {
    leaf_hash(i.to_string().as_bytes())
}

fn decimal_tree(size: u64) -> (Tree, Vec<FullTile>) {
    let mut tree = Tree::new();
    let tiles = (0..size).flat_map(|i| tree.append(decimal_leaf(i))).collect();
    (tree, tiles)
}

#[test]
fn the_roots_of_the_standard_leaves_are_the_published_ones() {
    let vectors = vectors();
    let mut tree = Tree::new();
    assert_eq!(hex(&tree.root()), vectors.roots_standard[&0]);
    for (i, leaf) in vectors.standard_leaves_hex.iter().enumerate() {
        assert_eq!(tree.append(leaf_hash(&unhex(leaf))), []);
        assert_eq!(hex(&tree.root()), vectors.roots_standard[&(i as u64 + 1)]);
    }
    assert_eq!(tree.size(), 8);
}

#[test]
fn the_roots_of_decimal_leaves_are_the_published_ones_up_to_70000() {
    let roots = vectors().roots_decimal;
    let mut tree = Tree::new();
    let mut seen = 0;
    for i in 0..70_000 {
        tree.append(decimal_leaf(i));
        if let Some(root) = roots.get(&tree.size()) {
            assert_eq!(&hex(&tree.root()), root, "size {}", tree.size());
            seen += 1;
        }
    }
    assert_eq!(seen, roots.len());
}

#[test]
fn a_tree_of_70000_leaves_has_the_tiles_of_the_specification() {
    let (tree, tiles) = decimal_tree(70_000);
    let at = |level| tiles.iter().filter(move |tile| tile.level == level);
    assert_eq!((at(0).count(), at(1).count(), tiles.len()), (273, 1, 274));
    assert_eq!(tree.partial().iter().map(Vec::len).collect::<Vec<_>>(), [112, 17, 1]);
    for level in [0, 1] {
        for (index, tile) in at(level).enumerate() {
            assert_eq!((tile.index, tile.data.len()), (index as u64, 8192));
            let hashes: Vec<Hash> = tile.data.as_chunks().0.to_vec();
            assert_eq!(naive_root(&hashes), tile.root);
        }
    }
    let second: Vec<Hash> = (256..512).map(decimal_leaf).collect();
    assert_eq!(tiles[1].data, second.as_flattened());
    let roots: Vec<Hash> = at(0).take(256).map(|tile| tile.root).collect();
    assert_eq!(at(1).next().unwrap().data, roots.as_flattened());
}

#[test]
fn a_restored_tree_continues_as_if_it_had_never_stopped() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_648, 70_000] {
        let (mut tree, _) = decimal_tree(size);
        let mut restored = Tree::restore(size, &tree.frontier(), tree.partial().to_vec()).unwrap();
        assert_eq!(restored.root(), tree.root());
        for i in size..size + 600 {
            assert_eq!(restored.append(decimal_leaf(i)), tree.append(decimal_leaf(i)));
            assert_eq!(restored.frontier(), tree.frontier());
        }
        assert_eq!(restored.root(), tree.root());
    }
}

#[test]
fn a_changed_frontier_or_tile_is_refused() {
    let (tree, _) = decimal_tree(66_000);
    let (frontier, partial) = (tree.frontier(), tree.partial().to_vec());
    for byte in (0..frontier.len()).step_by(32) {
        let mut changed = frontier.clone();
        changed[byte] ^= 1;
        let refused = Tree::restore(66_000, &changed, partial.clone());
        assert_eq!(refused, Err(Inconsistent::Frontier { size: 66_000 }));
    }
    for level in 0..partial.len() {
        for at in 0..partial[level].len() {
            let mut changed = partial.clone();
            changed[level][at][31] ^= 1;
            assert!(Tree::restore(66_000, &frontier, changed).is_err());
        }
        let mut short = partial.clone();
        short[level].pop();
        assert!(matches!(Tree::restore(66_000, &frontier, short), Err(Inconsistent::Width { .. })));
    }
    assert!(Tree::restore(66_001, &frontier, partial.clone()).is_err());
    assert!(Tree::restore(0, &frontier, partial).is_err());
    assert!(Tree::restore(256, &[], vec![]).is_err(), "a level that is missing altogether");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_incremental_root_equals_the_naive_one(size in 0usize..1_500, salt: u64) {
        let leaves: Vec<Hash> = (0..size as u64).map(|i| decimal_leaf(salt.wrapping_add(i))).collect();
        let mut tree = Tree::new();
        for leaf in &leaves {
            tree.append(*leaf);
        }
        prop_assert_eq!(tree.root(), naive_root(&leaves));
        prop_assert_eq!(tree.perfect_roots().as_flattened(), tree.frontier());
        prop_assert_eq!(tree.frontier().len(), 32 * size.count_ones() as usize);
    }
}
