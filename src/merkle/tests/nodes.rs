use std::collections::BTreeSet;

use crate::merkle::nodes::*;

fn node(height: u32, index: u64) -> Node {
    Node { height, index }
}

fn tile(level: u8, index: u64) -> TileId {
    TileId { level, index }
}

#[test]
fn a_tree_is_folded_from_the_perfect_subtrees_of_its_binary_digits() {
    assert_eq!(root_nodes(0), []);
    assert_eq!(root_nodes(1), [node(0, 0)]);
    assert_eq!(root_nodes(7), [node(2, 0), node(1, 2), node(0, 6)]);
    assert_eq!(root_nodes(65_648), [node(16, 0), node(6, 1024), node(5, 2050), node(4, 4102)]);
    assert_eq!(root_nodes(1 << 63), [node(63, 0)]);
    assert_eq!(root_nodes(u64::MAX).len(), 64);
    assert_eq!(root_nodes(u64::MAX)[63], node(0, u64::MAX - 1));
}

#[test]
fn the_proofs_of_the_specification_consist_of_the_nodes_it_names() {
    // RFC 9162 §2.1.5: the tree of seven leaves.
    let [b, c, h, i] = [node(0, 1), node(0, 2), node(1, 1), node(1, 2)];
    let [d, g, j] = [node(0, 3), node(1, 0), node(0, 6)];
    assert_eq!(inclusion_nodes(0, 7), Some(vec![vec![b], vec![h], vec![i, j]]));
    assert_eq!(inclusion_nodes(3, 7), Some(vec![vec![c], vec![g], vec![i, j]]));
    assert_eq!(inclusion_nodes(6, 7), Some(vec![vec![i], vec![node(2, 0)]]));
    assert_eq!(consistency_nodes(3, 7), Some(vec![vec![c], vec![d], vec![g], vec![i, j]]));
    assert_eq!(consistency_nodes(4, 7), Some(vec![vec![i, j]]));
    assert_eq!(consistency_nodes(6, 7), Some(vec![vec![i], vec![j], vec![node(2, 0)]]));
}

#[test]
fn there_are_no_nodes_for_a_proof_that_cannot_be() {
    assert_eq!(inclusion_nodes(0, 0), None);
    assert_eq!(inclusion_nodes(7, 7), None);
    assert_eq!(inclusion_nodes(u64::MAX, u64::MAX), None);
    assert_eq!(consistency_nodes(8, 7), None);
    for size in [0, 1, 7, u64::MAX] {
        assert_eq!(consistency_nodes(0, size), Some(vec![]));
        assert_eq!(consistency_nodes(size, size), Some(vec![]));
    }
}

#[test]
fn a_node_lies_in_the_tile_that_covers_it() {
    let place = |height, index| (node(height, index).tile(), node(height, index).positions());
    assert_eq!(place(0, 0), (tile(0, 0), 0..1));
    assert_eq!(place(0, 511), (tile(0, 1), 255..256));
    assert_eq!(place(3, 33), (tile(0, 1), 8..16));
    assert_eq!(place(7, 3), (tile(0, 1), 128..256));
    assert_eq!(place(8, 257), (tile(1, 1), 1..2));
    assert_eq!(place(16, 0), (tile(2, 0), 0..1));
    assert_eq!(place(63, 1), (tile(7, 0), 128..256));
    assert_eq!(place(0, u64::MAX), (tile(0, u64::MAX >> 8), 255..256));
}

#[test]
fn the_tiles_of_a_tree_of_70000_leaves_are_as_wide_as_in_the_specification() {
    let widths = |level, indexes: [u64; 4]| indexes.map(|index| tile(level, index).width(70_000));
    assert_eq!(widths(0, [0, 272, 273, 274]), [256, 256, 112, 0]);
    assert_eq!(widths(1, [0, 1, 2, u64::MAX]), [256, 17, 0, 0]);
    assert_eq!(widths(2, [0, 1, 2, 3]), [1, 0, 0, 0]);
    assert_eq!([3, 8, 255].map(|level| tile(level, 0).width(70_000)), [0, 0, 0]);
    assert_eq!(tile(7, 0).width(u64::MAX), 255);
    assert_eq!(tile(0, u64::MAX >> 8).width(u64::MAX), 255);
}

#[test]
fn a_tile_is_connected_to_the_root_by_those_above_it_and_the_right_edge() {
    let connected = |tiles: &[TileId], size| {
        Vec::from_iter(tiles_to_root(&BTreeSet::from_iter(tiles.iter().copied()), size))
    };
    assert_eq!(connected(&[], 0), []);
    assert_eq!(connected(&[tile(0, 0)], 255), [tile(0, 0)]);
    assert_eq!(connected(&[tile(0, 0)], 256), [tile(0, 0), tile(1, 0)]);
    // CVE-2026-56865: one tile at the right edge where the tree has three levels.
    let edge = [tile(0, 256), tile(2, 0)];
    assert_eq!(connected(&[], 65_648), edge);
    assert_eq!(connected(&[tile(0, 7)], 65_648), [tile(0, 7), edge[0], tile(1, 0), edge[1]]);
    assert_eq!(connected(&[tile(0, 999), tile(9, 0)], 65_648), edge, "tiles that the tree does not have");
    assert_eq!(connected(&[tile(1, 0)], 70_000), [tile(0, 273), tile(1, 0), tile(1, 1), tile(2, 0)]);
}

#[test]
fn the_nodes_of_a_proof_cover_what_its_hashes_stand_for() {
    for size in 1..=130 {
        for index in 0..size {
            let path = inclusion_nodes(index, size).unwrap();
            let mut leaves: Vec<u64> = path.iter().flatten().flat_map(covered).collect();
            leaves.push(index);
            leaves.sort_unstable();
            assert_eq!(leaves, Vec::from_iter(0..size));
            let ragged = path.iter().filter(|nodes| nodes.len() > 1).count();
            assert!(ragged <= 1, "only the right edge is not perfect");
        }
    }
}

fn covered(node: &Node) -> std::ops::Range<u64> {
    node.index << node.height..(node.index + 1) << node.height
}
