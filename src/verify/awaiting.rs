//! Entries whose content is missing, until a later entry says that it was redacted.

use uuid::Uuid;

use super::row::{Declared, Scope};

/// 24 bytes each: about 100 MB at the most.
const HELD_MAX: usize = 1 << 22;

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: u64,
    /// Half of the event's id, which names it well enough beside its seq.
    id: u64,
    scope: Scope,
    accounted_for: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Awaiting {
    /// By seq, as they were met.
    missing: Vec<Missing>,
    accounted_for: usize,
    /// How many could not be held.
    pub(super) dropped: u64,
}

impl Awaiting {
    /// Of ascending seqs only.
    pub(super) fn add(&mut self, seq: u64, id: Uuid, scope: Scope) {
        if self.missing.len() == HELD_MAX {
            self.tidy();
        }
        if self.missing.len() == HELD_MAX {
            self.dropped += 1;
        } else {
            self.missing.push(Missing { seq, id: half(id), scope, accounted_for: false });
        }
    }

    pub(super) fn account_for(&mut self, declared: &Declared) {
        let Ok(at) = self.missing.binary_search_by_key(&declared.seq, |missing| missing.seq) else { return };
        let missing = &mut self.missing[at];
        if missing.id == half(declared.id) && missing.scope <= declared.scope && !missing.accounted_for {
            missing.accounted_for = true;
            self.accounted_for += 1;
        }
        if self.accounted_for > self.missing.len() / 2 && self.missing.len() > 1_000 {
            self.tidy();
        }
    }

    /// What no entry has accounted for.
    pub(super) fn left(&self) -> impl Iterator<Item = (u64, Scope)> {
        let left = self.missing.iter().filter(|missing| !missing.accounted_for);
        left.map(|missing| (missing.seq, missing.scope))
    }

    fn tidy(&mut self) {
        self.missing.retain(|missing| !missing.accounted_for);
        self.accounted_for = 0;
    }
}

fn half(id: Uuid) -> u64 {
    id.as_u64_pair().1
}
