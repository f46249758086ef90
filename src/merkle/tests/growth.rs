use super::*;
use crate::merkle::growth::Growth;
use crate::merkle::proof::verify_inclusion;

/// Appends the leaves `before..after` and compares every path and the root with the recursion.
fn check(naive: &mut Naive, tree: &Tree, after: u64) {
    let before = tree.size();
    let growth = Growth::new(tree, &naive.leaves[before as usize..after as usize]);
    let root = naive.size_root(after);
    assert_eq!((growth.size(), growth.root()), (after, root), "{before} to {after}");
    for index in before..after {
        let path = growth.inclusion_path(index).unwrap();
        assert_eq!(path, naive.inclusion(index, after), "{index} of {before} to {after}");
        let leaf = &naive.leaves[index as usize];
        assert_eq!(verify_inclusion(leaf, index, after, &path, &root), Ok(()));
    }
    assert_eq!(growth.inclusion_path(after), None);
    assert_eq!(before.checked_sub(1).and_then(|old| growth.inclusion_path(old)), None);
}

#[test]
fn every_small_append_gives_the_paths_of_the_recursion() {
    let mut naive = Naive::new(50);
    let mut tree = Tree::new();
    for before in 0..=50 {
        (before..=50).for_each(|after| check(&mut naive, &tree, after));
        if before < 50 {
            tree.append(naive.leaves[before as usize]);
        }
    }
}

#[test]
fn appending_nothing_to_nothing_gives_the_empty_tree() {
    let growth = Growth::new(&Tree::new(), &[]);
    assert_eq!((growth.size(), growth.root()), (0, empty_root()));
    assert_eq!(growth.inclusion_path(0), None);
}

#[test]
fn appends_across_the_ends_of_tiles_give_the_paths_of_the_recursion() {
    let mut tree = Tree::new();
    for (before, after) in [(255, 257), (256, 512), (65_535, 65_537), (65_536, 65_648), (65_648, 66_100)] {
        large(|naive| {
            naive.leaves[tree.size() as usize..before as usize].iter().for_each(|leaf| {
                tree.append(*leaf);
            });
            check(naive, &tree, after);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_append_gives_the_paths_of_the_recursion(before in 0u64..9_000, count in 0u64..600) {
        large(|naive| {
            let mut tree = Tree::new();
            naive.leaves[..before as usize].iter().for_each(|leaf| drop(tree.append(*leaf)));
            check(naive, &tree, before + count);
        });
    }
}
