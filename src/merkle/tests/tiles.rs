use std::collections::BTreeSet;

use super::*;
use crate::merkle::nodes::*;

/// The sizes at which tiles begin and end; at 65,648 and 70,000 an authentication that is right elsewhere
/// accepted forged hashes (CVE-2026-56865).
const SIZES: [u64; 8] = [1, 255, 256, 257, 65_536, 65_648, 65_792, 70_000];

type Held = BTreeMap<TileId, Vec<Hash>>;

pub(super) fn bag(held: &Held) -> Tiles {
    let mut tiles = Tiles::default();
    held.iter().for_each(|(tile, hashes)| tiles.insert(*tile, hashes.clone()));
    tiles
}

/// The tiles as the server has them: full ones from `append`, unfinished ones from the tree.
fn tiles_of(full: &[FullTile], tree: &Tree) -> Held {
    let id = |tile: &FullTile| TileId { level: tile.level, index: tile.index };
    let full = full.iter().map(|tile| (id(tile), tile.data.as_chunks().0.to_vec()));
    let unfinished = (0u8..).zip(tree.partial()).filter(|(_, hashes)| !hashes.is_empty());
    let at = |level: u8| TileId { level, index: tree.size() >> (8 * (u32::from(level) + 1)) };
    full.chain(unfinished.map(|(level, hashes)| (at(level), hashes.clone()))).collect()
}

static LARGE_TILES: LazyLock<Held> = LazyLock::new(|| {
    let (tree, full) = decimal_tree(LARGE);
    tiles_of(&full, &tree)
});

/// All tiles of a tree of `size` leaves: prefixes of those of a larger one.
pub(super) fn all_tiles(size: u64) -> Held {
    let cut = |(tile, hashes): (&TileId, &Vec<Hash>)| (*tile, hashes[..tile.width(size)].to_vec());
    LARGE_TILES.iter().filter(|(tile, _)| tile.width(size) > 0).map(cut).collect()
}

fn root_of(size: u64) -> Hash {
    large(|naive| naive.size_root(size))
}

/// What a verifier fetches for one leaf.
fn fetched(index: u64, size: u64) -> Held {
    let leaf = tiles_needed([Node { height: 0, index }].into_iter());
    let prefix = |tile: TileId| (tile, LARGE_TILES[&tile][..tile.width(size)].to_vec());
    tiles_to_root(&leaf, size).into_iter().map(prefix).collect()
}

fn chosen_leaves(size: u64) -> BTreeSet<u64> {
    [0, size / 3, size - 1 - (size - 1) % 256, size - 1].into()
}

#[test]
fn the_tiles_of_a_tree_are_those_of_any_tree_that_continues_it_cut_to_its_size() {
    for size in [0, 1, 255, 256, 257, 65_536, 65_648] {
        let (tree, full) = decimal_tree(size);
        assert_eq!(tiles_of(&full, &tree), all_tiles(size), "{size}");
    }
}

#[test]
fn the_paths_from_the_tiles_are_those_of_the_recursion() {
    for size in SIZES {
        let tiles = bag(&all_tiles(size));
        assert_eq!(tiles.fold(&root_nodes(size)), Some(root_of(size)));
        for at in chosen_leaves(size) {
            let path = tiles.path(&inclusion_nodes(at, size).unwrap());
            assert_eq!(path, Some(large(|naive| naive.inclusion(at, size))), "{at} of {size}");
            let proof = tiles.path(&consistency_nodes(at, size).unwrap());
            assert_eq!(proof, Some(large(|naive| naive.consistency(at, size))), "{at} to {size}");
        }
    }
}

#[test]
fn the_tiles_needed_for_a_proof_are_enough_and_none_is_too_many() {
    let held = all_tiles(70_000);
    for (first, second) in [(1, 70_000), (65_648, 70_000), (69_999, 70_000), (300, 65_648)] {
        let proof = consistency_nodes(first, second).unwrap();
        let needed = tiles_needed(proof.iter().flatten().copied());
        let enough: Held = needed.iter().map(|tile| (*tile, held[tile].clone())).collect();
        let path = large(|naive| naive.consistency(first, second));
        assert_eq!(bag(&enough).path(&proof), Some(path));
        for tile in needed {
            let mut missing = enough.clone();
            missing.remove(&tile);
            assert_eq!(bag(&missing).path(&proof), None);
        }
    }
}

#[test]
fn a_prefix_of_a_tile_gives_only_the_nodes_that_it_covers() {
    let mut tiles = Tiles::default();
    let id = TileId { level: 0, index: 1 };
    tiles.insert(id, (256..259).map(decimal_leaf).collect());
    let pair = node_hash(&decimal_leaf(256), &decimal_leaf(257));
    assert_eq!(tiles.node(Node { height: 1, index: 128 }), Some(pair));
    assert_eq!(tiles.node(Node { height: 1, index: 129 }), None);
    assert_eq!(tiles.node(Node { height: 0, index: 258 }), Some(decimal_leaf(258)));
    assert_eq!(tiles.node(Node { height: 0, index: 259 }), None);
    assert_eq!(tiles.node(Node { height: 0, index: 0 }), None);
    assert_eq!(tiles.fold(&[]), Some(empty_root()));
    tiles.insert(id, vec![]);
    assert_eq!(tiles.node(Node { height: 0, index: 256 }), None);
}

#[test]
fn all_tiles_of_a_tree_are_authentic_and_so_are_those_fetched_for_one_leaf() {
    for size in SIZES {
        let (held, root) = (all_tiles(size), root_of(size));
        assert_eq!(bag(&held).authenticate(size, &root), Ok(()));
        for index in chosen_leaves(size) {
            let tiles = bag(&fetched(index, size));
            assert_eq!(tiles.authenticate(size, &root), Ok(()), "{index} of {size}");
            assert_eq!(tiles.node(Node { height: 0, index }), Some(decimal_leaf(index)));
        }
    }
    assert_eq!(Tiles::default().authenticate(0, &empty_root()), Ok(()));
    assert_eq!(Tiles::default().authenticate(0, &[0; 32]), Err(Unauthentic::Root { size: 0 }));
}

#[test]
fn no_forged_hash_is_authenticated() {
    for size in SIZES {
        let (mut fetched, root) = (fetched(0, size), root_of(size));
        for tile in Vec::from_iter(fetched.keys().copied()) {
            let width = tile.width(size);
            // Each hash at the right edge; of the full tiles, to save time, each fifth and so the last.
            for at in (0..width).step_by(if width < TILE_WIDTH { 1 } else { 5 }) {
                let flip = |held: &mut Held| held.get_mut(&tile).unwrap()[at][at % 32] ^= 1;
                flip(&mut fetched);
                let refused = bag(&fetched).authenticate(size, &root);
                assert!(refused.is_err(), "hash {at} of tile {tile} at {size}");
                flip(&mut fetched);
            }
        }
    }
}

#[test]
fn no_forged_hash_among_all_tiles_is_authenticated() {
    for size in [65_648, 70_000] {
        let (held, root) = (all_tiles(size), root_of(size));
        for tile in held.keys().step_by(61) {
            let mut forged = held.clone();
            forged.get_mut(tile).unwrap()[200.min(tile.width(size) - 1)] = [7; 32];
            assert!(bag(&forged).authenticate(size, &root).is_err(), "{tile} at {size}");
        }
    }
}

/// Tiles that agree with each other, from the forged leaf up as far as they go.
#[test]
fn a_forged_leaf_is_refused_even_if_every_tile_above_it_fits() {
    for size in SIZES {
        let root = root_of(size);
        let mut forged = fetched(0, size);
        let mut hash = [7; 32];
        for level in 0.. {
            let Some(hashes) = forged.get_mut(&TileId { level, index: 0 }) else { break };
            hashes[0] = hash;
            hash = naive_root(hashes);
        }
        assert_eq!(bag(&forged).authenticate(size, &root), Err(Unauthentic::Root { size }));
    }
}

#[test]
fn tiles_that_nothing_connects_to_the_root_are_refused() {
    for size in SIZES {
        let root = root_of(size);
        let leaf = fetched(0, size);
        let connecting = leaf.keys().filter(|tile| tile.level > 0 || tile.width(size) < 256);
        for tile in connecting {
            let mut missing = leaf.clone();
            missing.remove(tile);
            assert_eq!(
                bag(&missing).authenticate(size, &root),
                Err(Unauthentic::Missing { tile: *tile }),
                "at {size}"
            );
        }
    }
    let nothing = Tiles::default().authenticate(70_000, &root_of(70_000));
    assert_eq!(nothing, Err(Unauthentic::Missing { tile: TileId { level: 2, index: 0 } }));
}

#[test]
fn a_tile_of_another_width_or_another_place_is_refused() {
    for size in SIZES {
        let root = root_of(size);
        let leaf = fetched(0, size);
        for tile in leaf.keys() {
            let mut short = leaf.clone();
            short.get_mut(tile).unwrap().pop();
            let refused = bag(&short).authenticate(size, &root);
            assert!(matches!(refused, Err(Unauthentic::Width { .. })), "{tile} at {size}");
            let mut long = leaf.clone();
            long.get_mut(tile).unwrap().push([0; 32]);
            let refused = bag(&long).authenticate(size, &root);
            assert!(matches!(refused, Err(Unauthentic::Width { .. })), "{tile} at {size}");
        }
        for (level, index) in [(0, 1 << 50), (0, u64::MAX), (3, 0), (8, 0), (255, 0)] {
            let mut beyond = leaf.clone();
            beyond.insert(TileId { level, index }, vec![[0; 32]; 256]);
            let refused = bag(&beyond).authenticate(size, &root);
            assert!(matches!(refused, Err(Unauthentic::Width { expected: 0, .. })));
        }
    }
    let (held, root) = (all_tiles(70_000), root_of(70_000));
    let mut swapped = held;
    let other = swapped[&TileId { level: 0, index: 5 }].clone();
    swapped.insert(TileId { level: 0, index: 4 }, other);
    let tile = TileId { level: 0, index: 4 };
    assert_eq!(bag(&swapped).authenticate(70_000, &root), Err(Unauthentic::Differs { tile }));
    let message = Unauthentic::Differs { tile }.to_string();
    assert_eq!(message, "the hashes of tile 0/4 do not give the one for it in the tile above");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_forged_hash_of_a_tree_of_any_size_is_refused(
        size in 1..=LARGE, leaf: prop::sample::Index, place: prop::sample::Index, bit in 0usize..256,
    ) {
        let root = root_of(size);
        let mut fetched = fetched(leaf.index(size as usize) as u64, size);
        prop_assert_eq!(bag(&fetched).authenticate(size, &root), Ok(()));
        let mut hashes: Vec<&mut Hash> = fetched.values_mut().flatten().collect();
        let count = hashes.len();
        hashes[place.index(count)][bit / 8] ^= 1 << (bit % 8);
        prop_assert!(bag(&fetched).authenticate(size, &root).is_err());
    }
}
