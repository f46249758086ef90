//! A whole log, checked from its first entry to its head: gapless, in order, and under the tree that was signed.
//!
//! Rows come opened (see [`super::row`]), in the order of their seqs, with the tiles and the signed tree heads that
//! the source has for them. However large the log is, only what the next rows need is kept. After a finding the walk
//! goes on as far as that makes sense: where the entries of a full tile are missing or are others, the stored tile
//! tells how the tree went on, so that one change is one finding and not all that follows from it.

use std::collections::{BTreeMap, VecDeque};

use uuid::Uuid;

use super::awaiting::Awaiting;
use super::row::{OTHER_PROJECTION, Opened, Scope};
use super::{Culprit, Findings};
use crate::event::{Entry, Timestamp};
use crate::merkle::{FullTile, Hash, TILE_WIDTH, TileId, Tree};

const WIDTH: u64 = TILE_WIDTH as u64;

/// A full tile as the source has it.
#[derive(Clone, Debug)]
pub struct StoredTile {
    /// `None` from a source that serves no roots.
    pub root: Option<Vec<u8>>,
    pub data: Vec<u8>,
    /// When its first and last entries were received, in microseconds; of level 0 only.
    pub times: Option<(i64, i64)>,
}

/// The root that the log had at a size, by whatever is said to have been signed.
#[derive(Clone, Debug)]
pub struct Expected {
    pub size: u64,
    pub root: Hash,
    /// Of what it is the root: "the checkpoint that …".
    pub what: String,
    /// Whose doing it is if the log has another.
    pub culprit: Culprit,
}

/// Where the log ends, by its source.
#[derive(Clone, Debug)]
pub struct Head {
    pub size: u64,
    pub root: Vec<u8>,
    /// What only the database has.
    pub stored: Option<StoredHead>,
}

#[derive(Clone, Debug)]
pub struct StoredHead {
    pub frontier: Vec<u8>,
    pub last_received_at: i64,
    pub last_id: Uuid,
}

/// What a walk came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Entries that were read.
    pub entries: u64,
    /// The tree of all entries, if they were all there.
    pub tree: Option<(u64, Hash)>,
    /// Roots that were compared with the one recomputed.
    pub heads_compared: u64,
    pub findings: Findings,
    /// What could not be checked, and why.
    pub unchecked: Vec<String>,
}

pub struct Log {
    culprit: Culprit,
    log_id: Option<Uuid>,
    has_tiles: bool,
    /// The size that the head names: what comes behind it is not part of the log.
    size: u64,
    /// The next seq. More than the tree has only once that is broken.
    next: u64,
    entries: u64,
    tree: Tree,
    /// Whether every leaf up to now is known.
    unbroken: bool,
    /// The last entry that was as it should be: its seq, time and id.
    last: Option<(u64, Timestamp, Uuid)>,
    /// When the first entry of the tile in progress was received.
    tile_begun: Option<Timestamp>,
    tiles: BTreeMap<TileId, StoredTile>,
    /// By size.
    expected: VecDeque<Expected>,
    heads_compared: u64,
    awaiting: Awaiting,
    findings: Findings,
}

impl Log {
    /// The log of a tenant with `size` entries by its head. Without an id, the first entry tells it.
    pub fn new(tenant: &str, log_id: Option<Uuid>, size: u64, culprit: Culprit) -> Self {
        Self {
            culprit,
            log_id,
            has_tiles: true,
            size,
            next: 0,
            entries: 0,
            tree: Tree::new(),
            unbroken: true,
            last: None,
            tile_begun: None,
            tiles: BTreeMap::new(),
            expected: VecDeque::new(),
            heads_compared: 0,
            awaiting: Awaiting::default(),
            findings: Findings::new(tenant),
        }
    }

    /// For a source that has no tiles to compare with.
    pub fn without_tiles(mut self) -> Self {
        self.has_tiles = false;
        self
    }

    /// The seq that is next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Something that the source found out by itself.
    pub fn add(&mut self, seq: Option<u64>, what: impl Into<String>) {
        self.findings.add(seq, self.culprit, what);
    }

    pub fn add_of(&mut self, culprit: Culprit, seq: Option<u64>, what: impl Into<String>) {
        self.findings.add(seq, culprit, what);
    }

    /// The stored tiles under which the next rows lie, and the tiles above that these fill.
    pub fn give_tiles(&mut self, tiles: impl IntoIterator<Item = (TileId, StoredTile)>) {
        // Without all leaves there is nothing to compare them with.
        if self.unbroken {
            self.tiles.extend(tiles);
        }
    }

    /// Has the root at some size compared when the walk gets there. In the order of sizes.
    pub fn expect(&mut self, expected: Expected) {
        let before = self.expected.back().map_or(self.tree.size(), |last| last.size);
        if expected.size < before {
            let what =
                format!("{} is of {} entries, fewer than the one before", expected.what, expected.size);
            return self.findings.add(None, expected.culprit, what);
        }
        self.expected.push_back(expected);
        self.compare_heads();
    }

    /// The next row. A doubt about its projection has to be settled before.
    pub fn feed(&mut self, opened: Opened) {
        let seq = opened.seq;
        if seq < self.next {
            return self.add(Some(seq), "there is more than one row of this seq");
        }
        if seq >= self.size {
            let size = self.size;
            return self.add(Some(seq), format!("the row lies behind the head, which counts {size} entries"));
        }
        if seq > self.next {
            self.pass_over(seq);
        }
        self.entries += 1;
        let is_sound = opened.faults.is_empty();
        for fault in opened.faults {
            self.add(Some(seq), fault);
        }
        if opened.doubt.is_some() {
            self.add(Some(seq), OTHER_PROJECTION);
        }
        if let Some(entry) = opened.entry {
            self.check_place(seq, &entry, is_sound);
            if let Some(scope) = opened.missing {
                self.awaiting.add(seq, entry.id, scope);
            }
        }
        match opened.declares {
            Some(declared) if declared.seq >= seq => {
                self.add(
                    Some(seq),
                    format!("it says that seq {} was redacted, which is not before it", declared.seq),
                );
            }
            Some(declared) => self.awaiting.account_for(&declared),
            None => {}
        }
        let hash = self.leaf(seq, opened.hash);
        self.append(hash);
    }

    /// Rows that are not there.
    fn pass_over(&mut self, until: u64) {
        let first = self.next;
        let what = match until - first {
            1 => "the entry is missing".to_owned(),
            _ => format!("this entry and those up to seq {} are missing", until - 1),
        };
        self.add(Some(first), what);
        while self.unbroken && self.next < until {
            let known = self.tiles.get(&tile_of(self.next)).and_then(|tile| tile.hash(self.next));
            match known {
                Some(hash) => self.append(hash),
                None => {
                    self.unbroken = false;
                    self.tiles.clear();
                }
            }
        }
        self.next = until;
    }

    fn check_place(&mut self, seq: u64, entry: &Entry, is_sound: bool) {
        let log_id = *self.log_id.get_or_insert(entry.log_id);
        if entry.log_id != log_id {
            return self.add(Some(seq), format!("the entry is one of another log, {}", entry.log_id));
        }
        if entry.seq != seq {
            return self.add(Some(seq), format!("the row has the entry of seq {}", entry.seq));
        }
        let Entry { received_at, id, .. } = *entry;
        if (id.as_u128() >> 80) as i64 != received_at.as_micros().div_euclid(1_000) {
            self.add(Some(seq), "the id does not carry the time of receipt");
        }
        if let Some((_, last_received_at, last_id)) = self.last {
            if received_at < last_received_at {
                self.add(Some(seq), format!("it was received at {received_at}, before the entry before it"));
            }
            if id <= last_id {
                self.add(Some(seq), "the id is not greater than that of the entry before it");
            }
        }
        // An entry that was changed says nothing about the one after it.
        if is_sound {
            self.last = Some((seq, received_at, id));
        }
        if seq.is_multiple_of(WIDTH) {
            self.tile_begun = is_sound.then_some(received_at);
        }
    }

    /// The leaf to go on with: the row's, unless a tile that is sound in itself has another.
    fn leaf(&mut self, seq: u64, own: Hash) -> Hash {
        let tile = self.tiles.get(&tile_of(seq));
        match tile.and_then(|tile| tile.hash(seq).filter(|hash| *hash != own && tile.is_sound())) {
            Some(recorded) => {
                self.add(
                    Some(seq),
                    "the entry is not the one that its tile has, so it was changed afterwards",
                );
                recorded
            }
            None => own,
        }
    }

    fn append(&mut self, hash: Hash) {
        self.next += 1;
        if !self.unbroken {
            return;
        }
        for tile in self.tree.append(hash) {
            self.compare_tile(&tile);
        }
        self.compare_heads();
    }

    fn compare_tile(&mut self, tile: &FullTile) {
        if !self.has_tiles {
            return;
        }
        let id = TileId { level: tile.level, index: tile.index };
        // A tile of level n + 1 has a hash for each of level n.
        let leaves_per_hash = WIDTH.pow(id.level.into());
        let seq_of = |at: u64| Some((id.index * WIDTH + at) * leaves_per_hash);
        let Some(stored) = self.tiles.remove(&id) else {
            return self.add(seq_of(0), format!("tile {id}, which begins here, is missing"));
        };
        if stored.data != tile.data {
            let (ours, theirs) = (tile.data.chunks(32), stored.data.chunks(32));
            let at = ours.zip(theirs).position(|(ours, theirs)| ours != theirs).unwrap_or_default() as u64;
            self.add(seq_of(at), format!("tile {id} has another hash here than the entries give"));
        }
        if stored.root.as_ref().is_some_and(|root| **root != tile.root) {
            self.add(
                seq_of(0),
                format!("tile {id}, which begins here, has a root that its entries do not give"),
            );
        }
        self.compare_times(&stored, id);
    }

    fn compare_times(&mut self, stored: &StoredTile, id: TileId) {
        let ended = self.last.filter(|(seq, ..)| *seq == id.index * WIDTH + WIDTH - 1);
        let (Some((first, last)), Some((_, ended, _))) = (stored.times, ended) else { return };
        let begun = self.tile_begun.map(Timestamp::as_micros);
        if begun.is_some_and(|begun| begun != first) || ended.as_micros() != last {
            let what = format!("tile {id}, which begins here, has other times than its entries");
            self.add(Some(id.index * WIDTH), what);
        }
    }

    fn compare_heads(&mut self) {
        while let Some(expected) = self.expected.pop_front_if(|next| next.size == self.tree.size()) {
            if !self.unbroken {
                continue;
            }
            self.heads_compared += 1;
            if self.tree.root() != expected.root {
                let what = format!(
                    "{} is of {} entries with another root than these give: the log was rewritten after it was signed",
                    expected.what, expected.size
                );
                let last = expected.size.checked_sub(1);
                self.findings.add(last, expected.culprit, what);
            }
        }
    }

    /// When all rows have been fed.
    pub fn finish(mut self, head: &Head) -> Outcome {
        if self.next < self.size {
            self.pass_over(self.size);
        }
        let mut unchecked = Vec::new();
        if self.unbroken {
            self.compare_with(head);
        } else {
            unchecked.push("the root: entries are missing that no tile has the hashes of".to_owned());
        }
        self.check_end(head);
        for expected in std::mem::take(&mut self.expected) {
            let what = match expected.size > self.size {
                true => format!(
                    "{} is of {} entries and the log has only {}: its end was cut off, or an older state restored",
                    expected.what, expected.size, self.size
                ),
                false => continue,
            };
            self.findings.add(Some(self.size), expected.culprit, what);
        }
        self.report_unaccounted();
        if self.awaiting.dropped > 0 {
            unchecked.push(format!(
                "whether {} more entries without content were redacted: too many at once",
                self.awaiting.dropped
            ));
        }
        Outcome {
            entries: self.entries,
            tree: self.unbroken.then(|| (self.tree.size(), self.tree.root())),
            heads_compared: self.heads_compared,
            findings: self.findings,
            unchecked,
        }
    }

    fn compare_with(&mut self, head: &Head) {
        if head.root != self.tree.root() {
            self.add(None, format!("the root of the head is not that of the {} entries", head.size));
        }
        let frontier = head.stored.as_ref().map(|stored| &stored.frontier);
        if frontier.is_some_and(|frontier| *frontier != self.tree.frontier()) {
            self.add(None, "the frontier of the head is not that of the entries");
        }
    }

    fn check_end(&mut self, head: &Head) {
        let end = self.last.filter(|(seq, ..)| seq + 1 == self.size);
        let (Some(stored), Some((_, received_at, id))) = (&head.stored, end) else { return };
        if stored.last_received_at != received_at.as_micros() || stored.last_id != id {
            self.add(None, "the head names another last entry than the log has");
        }
    }

    fn report_unaccounted(&mut self) {
        for (seq, scope) in self.awaiting.left() {
            let content = match scope {
                Scope::Payload => "the payload",
                Scope::All => "all content",
            };
            let what = format!(
                "{content} is missing or marked as redacted, and no later entry says that it was redacted"
            );
            self.findings.add(Some(seq), self.culprit, what);
        }
    }
}

impl StoredTile {
    fn hash(&self, seq: u64) -> Option<Hash> {
        let at = (seq % WIDTH) as usize * 32;
        self.data.get(at..at + 32)?.try_into().ok()
    }

    /// Whether the hashes give the root that stands beside them.
    fn is_sound(&self) -> bool {
        let (hashes, rest) = self.data.as_chunks::<32>();
        let mut tree = Tree::new();
        hashes.iter().for_each(|hash| drop(tree.append(*hash)));
        rest.is_empty() && hashes.len() == TILE_WIDTH && self.root.as_deref() == Some(&tree.root())
    }
}

fn tile_of(seq: u64) -> TileId {
    TileId { level: 0, index: seq / WIDTH }
}

#[cfg(test)]
mod tests;
