//! What proves the events of one transaction.

use std::sync::OnceLock;

use crate::integrity::SignedHead;
use crate::merkle::{Growth, Hash, Tree};

/// The tree head that was signed after a transaction, and what the paths to it are made of: the tree before, and the
/// leaves that were added. No tile is read for them.
#[derive(Debug)]
pub struct Sealed {
    head: SignedHead,
    before: Tree,
    leaves: Vec<Hash>,
    /// Made by the first submitter who wants a receipt, not by the lane.
    growth: OnceLock<Growth>,
}

impl Sealed {
    pub(super) fn new(before: Tree, leaves: Vec<Hash>, head: SignedHead) -> Self {
        Self { head, before, leaves, growth: OnceLock::new() }
    }

    pub fn head(&self) -> &SignedHead {
        &self.head
    }

    /// The path from an event of the transaction to the signed root; `None` for any other.
    pub fn path(&self, seq: u64) -> Option<Vec<Hash>> {
        let grow = || Growth::new(&self.before, &self.leaves);
        self.growth.get_or_init(grow).inclusion_path(seq)
    }
}
