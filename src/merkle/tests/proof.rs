use super::*;
use crate::merkle::nodes::{Node, consistency_nodes, inclusion_nodes, root_nodes};
use crate::merkle::proof::*;

/// Every way in which one hash or the number of them can be wrong.
fn mutations(hashes: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..hashes.len() {
        let mut flipped = hashes.to_vec();
        flipped[at][at % 32] ^= 1 << (at % 8);
        let mut dropped = hashes.to_vec();
        dropped.remove(at);
        let mut doubled = hashes.to_vec();
        doubled.insert(at, hashes[at]);
        all.extend([flipped, dropped, doubled]);
        for other in at + 1..hashes.len() {
            let mut swapped = hashes.to_vec();
            swapped.swap(at, other);
            all.push(swapped);
        }
    }
    for added in [empty_root(), [0; 32]] {
        all.push([hashes, &[added]].concat());
        all.push([&[added], hashes].concat());
    }
    all
}

#[test]
fn the_published_proofs_verify_and_are_the_ones_of_the_recursion() {
    let vectors = vectors();
    let leaves: Vec<Hash> = vectors.standard_leaves_hex.iter().map(|leaf| leaf_hash(&unhex(leaf))).collect();
    let root = |size| unhex_hash(&vectors.roots_standard[&size]);
    let mut naive = Naive { leaves, roots: HashMap::new() };

    let InclusionVector { index, size, leaf, path } = vectors.inclusion_standard;
    let path: Vec<Hash> = path.iter().map(|hash| unhex_hash(hash)).collect();
    assert_eq!(unhex_hash(&leaf), naive.leaves[index as usize]);
    assert_eq!(naive.inclusion(index, size), path);
    assert_eq!(verify_inclusion(&unhex_hash(&leaf), index, size, &path, &root(size)), Ok(()));

    let ConsistencyVector { first, second, path } = vectors.consistency_standard;
    let path: Vec<Hash> = path.iter().map(|hash| unhex_hash(hash)).collect();
    assert_eq!(naive.consistency(first, second), path);
    assert_eq!(verify_consistency(first, &root(first), second, &root(second), &path), Ok(()));
}

#[test]
fn every_inclusion_proof_of_a_small_tree_verifies() {
    let mut naive = Naive::new(130);
    for size in 1..=130 {
        let root = naive.size_root(size);
        for index in 0..size {
            let path = naive.inclusion(index, size);
            let leaf = naive.leaves[index as usize];
            assert_eq!(root_from_inclusion(&leaf, index, size, &path), Ok(root), "{index} of {size}");
            assert_eq!(verify_inclusion(&leaf, index, size, &path, &root), Ok(()));
        }
    }
}

#[test]
fn every_consistency_proof_of_small_trees_verifies() {
    let mut naive = Naive::new(130);
    for second in 0..=130 {
        for first in 0..=second {
            let roots = (naive.size_root(first), naive.size_root(second));
            let proof = naive.consistency(first, second);
            let verified = verify_consistency(first, &roots.0, second, &roots.1, &proof);
            assert_eq!(verified, Ok(()), "{first} to {second}");
        }
    }
}

fn refuse_changed_inclusion(naive: &mut Naive, index: u64, size: u64, other: u64) {
    let (leaf, path, root) =
        (naive.leaves[index as usize], naive.inclusion(index, size), naive.size_root(size));
    let at = format!("{index} of {size}");
    for changed in mutations(&path) {
        assert!(verify_inclusion(&leaf, index, size, &changed, &root).is_err(), "{at}");
    }
    let mut flipped = leaf;
    flipped[31] ^= 0x80;
    assert_eq!(verify_inclusion(&flipped, index, size, &path, &root), Err(ProofError::Root { size }), "{at}");
    if other < size && other != index {
        assert!(verify_inclusion(&leaf, other, size, &path, &root).is_err(), "{at} at {other}");
    }
    if other != size {
        let other_root = naive.size_root(other);
        assert!(verify_inclusion(&leaf, index, other, &path, &other_root).is_err(), "{at} in {other}");
        assert!(verify_inclusion(&leaf, index, size, &path, &other_root).is_err(), "{at} in {other}");
    }
}

fn refuse_changed_consistency(naive: &mut Naive, first: u64, second: u64, other: u64) {
    let (old, new) = (naive.size_root(first), naive.size_root(second));
    let proof = naive.consistency(first, second);
    let at = format!("{first} to {second}");
    for changed in mutations(&proof) {
        assert!(verify_consistency(first, &old, second, &new, &changed).is_err(), "{at}");
    }
    let refused = |first, old: &Hash, second, new: &Hash| {
        assert!(verify_consistency(first, old, second, new, &proof).is_err(), "{at} as {first} to {second}");
    };
    let flip = |root: Hash| {
        let mut root = root;
        root[0] ^= 1;
        root
    };
    refused(first, &flip(old), second, &new);
    if first > 0 {
        refused(first, &old, second, &flip(new));
        let other_root = naive.size_root(other);
        if other != second {
            refused(first, &old, other, &other_root);
            refused(first, &old, second, &other_root);
        }
        if other != first && other != 0 {
            refused(other, &other_root, second, &new);
            refused(first, &other_root, second, &new);
        }
    }
    if first < second {
        refused(second, &new, first, &old);
    }
}

#[test]
fn no_changed_proof_of_a_small_tree_is_accepted() {
    let mut naive = Naive::new(16);
    for size in 1..=16 {
        for other in 0..=16 {
            (0..size).for_each(|index| refuse_changed_inclusion(&mut naive, index, size, other));
            (0..size).for_each(|first| refuse_changed_consistency(&mut naive, first, size, other));
        }
    }
}

#[test]
fn an_error_says_what_is_wrong() {
    let mut naive = Naive::new(8);
    let (leaf, old, new) = (naive.leaves[5], naive.size_root(6), naive.size_root(8));
    let message = |result: Result<(), ProofError>| result.unwrap_err().to_string();
    let included = |index, size, path: &[Hash]| message(verify_inclusion(&leaf, index, size, path, &new));
    assert_eq!(included(8, 8, &[]), "a tree of 8 leaves has no leaf 8");
    assert_eq!(included(0, 0, &[]), "a tree of 0 leaves has no leaf 0");
    assert_eq!(included(5, 8, &[leaf; 2]), "the proof has 2 hashes, expected 3");
    assert_eq!(included(5, 8, &[leaf; 3]), "the hashes do not give the root of the tree of 8 leaves");
    let consistent = |(first, old), (second, new), proof: &[Hash]| {
        message(verify_consistency(first, old, second, new, proof))
    };
    assert_eq!(consistent((8, &new), (6, &old), &[]), "a tree of 6 leaves cannot continue one of 8 leaves");
    assert_eq!(consistent((6, &old), (6, &new), &[]), "there are two different roots for 6 leaves");
    assert_eq!(consistent((6, &old), (6, &old), &[leaf]), "the proof has 1 hashes, expected 0");
    assert_eq!(
        consistent((0, &old), (6, &old), &[]),
        "the hashes do not give the root of the tree of 0 leaves"
    );
    let proof = naive.consistency(6, 8);
    assert_eq!(
        consistent((6, &new), (8, &new), &proof),
        "the hashes do not give the root of the tree of 6 leaves"
    );
    assert_eq!(
        consistent((6, &old), (8, &old), &proof),
        "the hashes do not give the root of the tree of 8 leaves"
    );
}

#[test]
fn nothing_is_proved_about_an_empty_tree_but_that_any_tree_continues_it() {
    let leaf = decimal_leaf(0);
    assert_eq!(verify_consistency(0, &empty_root(), 1, &leaf, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &empty_root(), u64::MAX, &leaf, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &empty_root(), 0, &empty_root(), &[]), Ok(()));
    assert!(verify_consistency(0, &empty_root(), 0, &leaf, &[]).is_err());
    assert!(verify_consistency(0, &leaf, 0, &leaf, &[]).is_err());
    assert!(verify_consistency(0, &empty_root(), 1, &leaf, &[leaf]).is_err());
}

/// A tree whose leaves are all the same has one hash per height, so that its proofs are known at any size.
struct Uniform {
    by_height: Vec<Hash>,
}

impl Uniform {
    fn new() -> Self {
        let next = |hash: &Hash| Some(node_hash(hash, hash));
        Self { by_height: std::iter::successors(Some(leaf_hash(b"")), next).take(64).collect() }
    }

    fn fold(&self, nodes: &[Node]) -> Hash {
        let roots: Vec<Hash> = nodes.iter().map(|node| self.by_height[node.height as usize]).collect();
        fold_roots(&roots).unwrap_or_else(empty_root)
    }

    fn root(&self, size: u64) -> Hash {
        self.fold(&root_nodes(size))
    }

    fn path(&self, proof: Option<Vec<Vec<Node>>>) -> Vec<Hash> {
        proof.unwrap().iter().map(|nodes| self.fold(nodes)).collect()
    }

    fn check_inclusion(&self, index: u64, size: u64) {
        let (path, root) = (self.path(inclusion_nodes(index, size)), self.root(size));
        assert_eq!(verify_inclusion(&self.by_height[0], index, size, &path, &root), Ok(()));
    }

    fn check_consistency(&self, first: u64, second: u64) {
        let (old, new) = (self.root(first), self.root(second));
        let proof = self.path(consistency_nodes(first, second));
        assert_eq!(verify_consistency(first, &old, second, &new, &proof), Ok(()), "{first} to {second}");
    }
}

#[test]
fn proofs_of_the_largest_trees_verify() {
    let tree = Uniform::new();
    let edges = [1, 2, 3, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX];
    for second in edges {
        for first in edges.into_iter().filter(|first| *first <= second) {
            tree.check_inclusion(first - 1, second);
            tree.check_consistency(first, second);
        }
    }
}

prop_compose! {
    /// Two numbers in order, of any magnitude.
    fn ordered()(a: u64, b: u64, shift_a in 0u32..64, shift_b in 0u32..64) -> (u64, u64) {
        let (a, b) = (a >> shift_a, b >> shift_b);
        (a.min(b), a.max(b))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn proofs_of_trees_of_any_size_verify((low, high) in ordered()) {
        let tree = Uniform::new();
        tree.check_consistency(low, high);
        if low < high {
            tree.check_inclusion(low, high);
        }
    }

    #[test]
    fn whatever_is_verified_nothing_panics(
        (index, size) in ordered(), hash: Hash, path in prop::collection::vec(any::<Hash>(), 0..70),
    ) {
        prop_assert!(verify_inclusion(&hash, index, size, &path, &hash).is_err() || size == 1);
        prop_assert!(verify_inclusion(&hash, size, index, &path, &hash).is_err());
        let equal = index == size && index > 0 && path.is_empty();
        prop_assert_eq!(verify_consistency(index, &hash, size, &hash, &path).is_ok(), equal);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_changed_proof_of_a_large_tree_is_accepted(
        size in 1..=LARGE, at: prop::sample::Index, other in 1..=LARGE,
    ) {
        let at = at.index(size as usize) as u64;
        large(|naive| {
            refuse_changed_inclusion(naive, at, size, other);
            refuse_changed_consistency(naive, at, size, other);
            refuse_changed_inclusion(naive, at, size, at ^ 1);
            refuse_changed_consistency(naive, at, size, size - 1);
        });
    }
}
