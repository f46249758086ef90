//! Verifying inclusion and consistency proofs (RFC 9162 §2.1.3.2 and §2.1.4.2).
//!
//! A path alone does not tell the size of its tree: some sizes give it the same shape. A size and its root
//! therefore have to come from one signed checkpoint.

use super::{Hash, empty_root, node_hash};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("a tree of {size} leaves has no leaf {index}")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {second} leaves cannot continue one of {first} leaves")]
    Shrunk { first: u64, second: u64 },
    #[error("the proof has {found} hashes, expected {expected}")]
    Length { found: usize, expected: usize },
    #[error("the hashes do not give the root of the tree of {size} leaves")]
    Root { size: u64 },
    #[error("there are two different roots for {size} leaves")]
    Forked { size: u64 },
}

/// The leaf is at `index` in the tree of `size` leaves that has this root.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    same_root(&root_from_inclusion(leaf, index, size, path)?, root, size)
}

/// The root that a tree of `size` leaves has if the leaf is at `index` and the path is right.
pub fn root_from_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::NoSuchLeaf { index, size });
    }
    let sides = sides(index, size - 1, 0);
    has_length(path, sides.clone().count())?;
    let up = |node, (side, sibling): (Side, &Hash)| side.parent(sibling, &node);
    Ok(sides.zip(path).fold(*leaf, up))
}

/// The tree of the second root begins with all leaves of the tree of the first root.
pub fn verify_consistency(
    first_size: u64,
    first_root: &Hash,
    second_size: u64,
    second_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if first_size > second_size {
        return Err(ProofError::Shrunk { first: first_size, second: second_size });
    }
    if first_size == 0 {
        same_root(&empty_root(), first_root, 0)?;
    }
    if first_size == second_size && first_root != second_root {
        return Err(ProofError::Forked { size: first_size });
    }
    if first_size == 0 || first_size == second_size {
        return has_length(proof, 0);
    }
    let (first, second) = roots_from_consistency(first_size, first_root, second_size, proof)?;
    same_root(&first, first_root, first_size)?;
    same_root(&second, second_root, second_size)
}

/// Both roots as the proof gives them, for `0 < first_size < second_size`.
fn roots_from_consistency(
    first_size: u64,
    first_root: &Hash,
    second_size: u64,
    proof: &[Hash],
) -> Result<(Hash, Hash), ProofError> {
    // What both trees share and the proof starts from: the last perfect subtree of the first tree. If that
    // is the whole first tree, its root is known and the proof leaves it out.
    let height = first_size.trailing_zeros();
    let sides = sides(first_size - 1, second_size - 1, height);
    let start_is_known = first_size.is_power_of_two();
    has_length(proof, sides.clone().count() + usize::from(!start_is_known))?;
    let (start, siblings) = match proof.split_first() {
        Some((start, rest)) if !start_is_known => (start, rest),
        _ => (first_root, proof),
    };
    let up = |(first, second), (side, sibling): (Side, &Hash)| match side {
        Side::Left => (side.parent(sibling, &first), side.parent(sibling, &second)),
        // Leaves that only the second tree has.
        Side::Right => (first, side.parent(sibling, &second)),
    };
    Ok(sides.zip(siblings).fold((*start, *start), up))
}

/// Where the sibling of a node lies.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn parent(self, sibling: &Hash, node: &Hash) -> Hash {
        match self {
            Side::Left => node_hash(sibling, node),
            Side::Right => node_hash(node, sibling),
        }
    }
}

/// The siblings met on the way up from the subtree of `height` that holds leaf `index`, in a tree whose last
/// leaf is `last`. From where the way meets the right edge there is nothing to its right any more.
fn sides(index: u64, last: u64, height: u32) -> impl Iterator<Item = Side> + Clone {
    let meeting = u64::BITS - (index ^ last).leading_zeros();
    (height..u64::BITS).filter_map(move |height| match index >> height & 1 {
        1 => Some(Side::Left),
        _ => (height < meeting).then_some(Side::Right),
    })
}

fn has_length(proof: &[Hash], expected: usize) -> Result<(), ProofError> {
    match proof.len() {
        found if found == expected => Ok(()),
        found => Err(ProofError::Length { found, expected }),
    }
}

fn same_root(found: &Hash, expected: &Hash, size: u64) -> Result<(), ProofError> {
    if found == expected { Ok(()) } else { Err(ProofError::Root { size }) }
}
