//! Two independent implementations: they accept what we prove, and we accept what they prove.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use sha2::Sha256;
use tlog_tiles::tlog::{self, HashReader};

use super::tiles::{all_tiles, bag};
use super::*;
use crate::merkle::growth::Growth;
use crate::merkle::nodes::{Tiles, consistency_nodes, inclusion_nodes};
use crate::merkle::proof::{verify_consistency, verify_inclusion};

fn inclusion(tiles: &Tiles, index: u64, size: u64) -> Vec<Hash> {
    tiles.path(&inclusion_nodes(index, size).unwrap()).unwrap()
}

fn consistency(tiles: &Tiles, first: u64, second: u64) -> Vec<Hash> {
    tiles.path(&consistency_nodes(first, second).unwrap()).unwrap()
}

fn ct_root(root: Hash, size: u64) -> RootHash<Sha256> {
    RootHash::new(root.into(), size)
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks().0.to_vec()
}

/// Both directions of an inclusion proof in the tree of `theirs`.
fn agree_with_ct_merkle(theirs: &MemoryBackedTree<Sha256, String>, tiles: &Tiles, root: Hash, index: u64) {
    let size = theirs.len();
    let proof = theirs.prove_inclusion(index as usize);
    let path = hashes(proof.as_bytes());
    assert_eq!(verify_inclusion(&decimal_leaf(index), index, size, &path, &root), Ok(()));
    let ours = InclusionProof::try_from_bytes(inclusion(tiles, index, size).as_flattened().to_vec()).unwrap();
    ct_root(root, size).verify_inclusion(&index.to_string(), index, &ours).unwrap();
}

/// Both directions of a consistency proof from a tree of `first` leaves to that of `theirs`.
fn agree_with_ct_merkle_since(
    theirs: &MemoryBackedTree<Sha256, String>,
    tiles: &Tiles,
    root: Hash,
    first: u64,
    first_root: Hash,
) {
    let size = theirs.len();
    let proof = theirs.prove_consistency((size - first) as usize);
    let path = hashes(proof.as_bytes());
    assert_eq!(verify_consistency(first, &first_root, size, &root, &path), Ok(()));
    let ours = consistency(tiles, first, size).as_flattened().to_vec();
    let ours = ConsistencyProof::try_from_bytes(ours).unwrap();
    ct_root(root, size).verify_consistency(&ct_root(first_root, first), &ours).unwrap();
}

#[test]
fn ct_merkle_agrees_on_every_proof_of_a_small_tree() {
    let mut theirs = MemoryBackedTree::<Sha256, String>::new();
    let mut tree = Tree::new();
    let mut roots = vec![tree.root()];
    for size in 1..=70 {
        theirs.push((size - 1).to_string());
        let growth = Growth::new(&tree, &[decimal_leaf(size - 1)]);
        tree.append(decimal_leaf(size - 1));
        let root = tree.root();
        assert_eq!((theirs.root().as_bytes().as_slice(), growth.root()), (root.as_slice(), root));
        roots.push(root);
        let tiles = bag(&all_tiles(size));
        (0..size).for_each(|index| agree_with_ct_merkle(&theirs, &tiles, root, index));
        (1..=size).for_each(|first| {
            agree_with_ct_merkle_since(&theirs, &tiles, root, first, roots[first as usize]);
        });
    }
}

/// Their storage: nodes in the order in which they become complete.
struct Stored(Vec<tlog::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

impl Stored {
    fn push(&mut self, at: u64, leaf: Hash) {
        let new = tlog::stored_hashes_for_record_hash(at, tlog::Hash(leaf), self).unwrap();
        self.0.extend(new);
    }
}

fn theirs(hashes: Vec<Hash>) -> Vec<tlog::Hash> {
    hashes.into_iter().map(tlog::Hash).collect()
}

fn ours(hashes: Vec<tlog::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| hash.0).collect()
}

fn agree_with_tlog(stored: &Stored, tiles: &Tiles, low: u64, size: u64) {
    let root = tlog::tree_hash(size, stored).unwrap();
    if low < size {
        let leaf = decimal_leaf(low);
        let path = ours(tlog::prove_record(size, low, stored).unwrap());
        assert_eq!(verify_inclusion(&leaf, low, size, &path, &root.0), Ok(()));
        let path = theirs(inclusion(tiles, low, size));
        tlog::check_record(&path, size, root, low, tlog::Hash(leaf)).unwrap();
    }
    // They have no proof from the empty tree.
    if low > 0 {
        let first = tlog::tree_hash(low, stored).unwrap();
        let proof = ours(tlog::prove_tree(size, low, stored).unwrap());
        assert_eq!(verify_consistency(low, &first.0, size, &root.0, &proof), Ok(()));
        let proof = theirs(consistency(tiles, low, size));
        tlog::check_tree(&proof, size, root, low, first).unwrap();
    }
}

#[test]
fn tlog_agrees_on_every_proof_of_a_small_tree_and_on_some_of_a_large_one() {
    let mut stored = Stored(vec![]);
    for (index, leaf) in (0..).zip(large(|naive| naive.leaves.clone())) {
        stored.push(index, leaf);
    }
    // The tiles of a tree serve its prefixes too.
    let tiles = bag(&all_tiles(LARGE));
    for size in 1..=70 {
        (0..=size).for_each(|low| agree_with_tlog(&stored, &tiles, low, size));
    }
    for size in [255, 256, 257, 65_535, 65_536, 65_537, 65_648, 65_792, 69_999, LARGE] {
        for low in [0, 1, 254, 255, 256, 257, size / 2, size - 1, size] {
            agree_with_tlog(&stored, &tiles, low.min(size), size);
        }
    }
    let root = tlog::tree_hash(LARGE, &stored).unwrap();
    assert_eq!(hex(&root.0), vectors().roots_decimal[&LARGE]);
}
