//! From submitted events to rows, leaves and tiles: the part of the commit that needs no database.

use std::collections::HashMap;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::RedactionRefusal;
use super::ids::next_id;
use super::purpose::Targets;
use super::queue::Item;
use crate::event::{Entry, EntryKind, Envelope, Label, NewEvent, Salt, Timestamp, commitment};
use crate::integrity::LogSigner;
use crate::merkle::{Hash, Tree, leaf_hash};
use crate::store::append::{NewTile, Row};
use crate::store::idempotency::{Evidence, Key, Known};
use crate::store::log::Head;
use crate::store::redactions::{Erasure, Target};

/// A writer's memory of its log, valid as long as the head says the same.
#[derive(Clone)]
pub(super) struct LogState {
    pub(super) tree: Tree,
    pub(super) signer: Arc<LogSigner>,
    /// When the first event of the partial level-0 tile was received.
    pub(super) tile_start: Option<Timestamp>,
}

/// What becomes of one submitted event if the transaction commits.
pub(super) enum Fate {
    /// It is row `.0`.
    Recorded(usize),
    /// Its key already stands for an event with the same content.
    Duplicate(Box<Known>),
    /// Its key already stands for another event, or for one that was redacted.
    Conflict(Box<Key>),
    /// It is a redaction of what cannot be redacted.
    NotRedactable(RedactionRefusal),
    /// Another event of the same atomic submission cannot be recorded.
    Aborted,
    /// Its submitter has left.
    Dropped,
}

/// The outcome of sequencing a group: everything that one transaction writes.
pub(super) struct Sequenced<'a> {
    pub(super) rows: Vec<Row<'a>>,
    /// The leaf hashes of the rows.
    pub(super) leaves: Vec<Hash>,
    pub(super) tiles: Vec<NewTile>,
    pub(super) keys: Vec<Key>,
    /// What the redactions among the rows erase.
    pub(super) erasures: Vec<Erasure>,
    pub(super) fates: Vec<Fate>,
    pub(super) head: Head,
    pub(super) state: LogState,
}

/// What the database already has of what a group is about.
pub(super) struct Found {
    pub(super) keys: Vec<Known>,
    pub(super) targets: HashMap<u64, Target>,
}

/// The same, and what the events of the group have added to it so far.
struct Ledger {
    keys: HashMap<(i64, String), Known>,
    targets: Targets,
}

impl From<Found> for Ledger {
    fn from(found: Found) -> Self {
        let identity = |known: &Known| (known.key.principal_id, known.key.key.clone());
        Self {
            keys: found.keys.into_iter().map(|known| (identity(&known), known)).collect(),
            targets: Targets::new(found.targets),
        }
    }
}

/// Gives each new event its place in the log.
pub(super) fn sequence<'a>(
    items: &'a [Item],
    log_id: Uuid,
    head: &Head,
    state: &LogState,
    found: Found,
) -> Result<Sequenced<'a>, getrandom::Error> {
    let mut random = vec![0_u8; items.len() * RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let mut ledger = Ledger::from(found);
    let mut sequenced = Sequenced::on_top_of(head, state, items.len());
    for (item, random) in items.iter().zip(random.chunks_exact(RANDOM_BYTES)) {
        let fate = sequenced.place(item, log_id, random, &mut ledger);
        sequenced.fates.push(fate);
    }
    Ok(sequenced.finished())
}

/// Gives a single entry of the service itself its place in the log.
pub(super) fn sequence_control<'a>(
    event: &'a NewEvent,
    recorded_by: &str,
    log_id: Uuid,
    head: &Head,
    state: &LogState,
) -> Result<Sequenced<'a>, getrandom::Error> {
    let mut random = [0_u8; RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let mut sequenced = Sequenced::on_top_of(head, state, 1);
    let id = sequenced.next_id(&random);
    sequenced.append(Entrant { event, kind: EntryKind::Control, recorded_by }, log_id, id, &random);
    Ok(sequenced.finished())
}

/// What becomes an entry.
struct Entrant<'a, 'b> {
    event: &'a NewEvent,
    kind: EntryKind,
    recorded_by: &'b str,
}

/// Per event: two salts, the id's random part, the key's salt.
const RANDOM_BYTES: usize = 4 * 16;

fn take16(random: &[u8], n: usize) -> Salt {
    let mut salt = [0; 16];
    salt.copy_from_slice(&random[n * 16..(n + 1) * 16]);
    salt
}

impl<'a> Sequenced<'a> {
    fn on_top_of(head: &Head, state: &LogState, entries: usize) -> Self {
        Self {
            rows: Vec::with_capacity(entries),
            leaves: Vec::with_capacity(entries),
            tiles: Vec::new(),
            keys: Vec::new(),
            erasures: Vec::new(),
            fates: Vec::with_capacity(entries),
            head: Head { last_received_at: head.last_received_at.max(head.now), ..head.clone() },
            state: state.clone(),
        }
    }

    /// The head is that of the tree.
    fn finished(mut self) -> Self {
        self.head.size = self.state.tree.size();
        self.head.root = self.state.tree.root();
        self.head.frontier = self.state.tree.frontier();
        self
    }

    fn next_id(&self, random: &[u8]) -> Uuid {
        next_id(self.head.last_id, self.head.last_received_at, u128::from_be_bytes(take16(random, 2)))
    }

    /// For an atomic group: one conflict, or a submitter who left meanwhile, and nothing is recorded.
    pub(super) fn all_or_nothing(&mut self) {
        let is_missing =
            |fate: &Fate| matches!(fate, Fate::Conflict(_) | Fate::NotRedactable(_) | Fate::Dropped);
        if self.fates.iter().any(is_missing) {
            self.rows.clear();
            for fate in &mut self.fates {
                if !is_missing(fate) {
                    *fate = Fate::Aborted;
                }
            }
        }
    }

    fn place(&mut self, item: &'a Item, log_id: Uuid, random: &[u8], ledger: &mut Ledger) -> Fate {
        let identity = item.event.idempotency_key.clone().map(|key| (item.recorder.principal_id, key));
        if let Some(known) = identity.as_ref().and_then(|identity| ledger.keys.get(identity)) {
            return match is_same(&item.event, &known.key) {
                true => Fate::Duplicate(Box::new(known.clone())),
                false => Fate::Conflict(Box::new(known.key.clone())),
            };
        }
        let redaction = item.purpose.redaction();
        if let Some(refusal) = redaction.and_then(|redaction| ledger.targets.refusal(redaction)) {
            return Fate::NotRedactable(refusal);
        }
        let id = self.next_id(random);
        if !item.begin(id) {
            return Fate::Dropped;
        }
        let Item { event, purpose, recorder, .. } = item;
        let entrant = Entrant { event, kind: purpose.kind(), recorded_by: &recorder.recorded_by };
        let leaf = self.append(entrant, log_id, id, random);
        if let Some(redaction) = redaction {
            ledger.targets.redact(redaction);
            self.erasures.push(Erasure {
                seq: self.state.tree.size() - 1,
                received_at: self.head.last_received_at,
                target_received_at: redaction.target_received_at,
            });
        }
        if let Some(identity) = identity {
            let salt = take16(random, 3);
            let key = Key {
                principal_id: identity.0,
                key: identity.1.clone(),
                seq: self.state.tree.size() - 1,
                event_id: id,
                received_at: self.head.last_received_at,
                leaf_hash: leaf,
                content: Some((salt, content_mac(&salt, &item.event))),
            };
            self.keys.push(key.clone());
            let evidence = self.rows.last().map(evidence);
            ledger.keys.insert(identity, Known { key, evidence });
        }
        Fate::Recorded(self.rows.len() - 1)
    }

    fn append(&mut self, entrant: Entrant<'a, '_>, log_id: Uuid, id: Uuid, random: &[u8]) -> Hash {
        let Entrant { event, kind, recorded_by } = entrant;
        let received_at = self.head.last_received_at;
        let seq = self.state.tree.size();
        let envelope = Envelope::new(event, received_at, recorded_by);
        let envelope_salt = take16(random, 0);
        let payload = event.payload.as_ref().map(|payload| (payload, take16(random, 1)));
        let entry = Entry {
            kind,
            log_id,
            seq,
            received_at,
            id,
            envelope: commitment(Label::Envelope, &envelope_salt, envelope.canonical().as_bytes()),
            payload: payload.map(|(payload, salt)| commitment(Label::Payload, &salt, &payload.bytes)),
        }
        .to_bytes();
        let leaf = leaf_hash(&entry);
        self.leaves.push(leaf);
        self.rows.push(Row { seq, received_at, id, kind, envelope, envelope_salt, payload, entry });
        self.head.last_id = id;
        let start = *self.state.tile_start.get_or_insert(received_at);
        for tile in self.state.tree.append(leaf) {
            let times = (tile.level == 0).then_some((start, received_at));
            self.state.tile_start = None;
            self.tiles.push(NewTile { tile, received_at: times });
        }
        leaf
    }
}

/// What a repetition of the event within the same group is answered with.
fn evidence(row: &Row<'_>) -> Evidence {
    Evidence {
        entry: row.entry,
        recorded_by: row.envelope.recorded_by.clone(),
        envelope_salt: row.envelope_salt,
        payload_salt: row.payload.map(|(_, salt)| salt),
    }
}

/// Only the submitter's own words count: what the service adds differs from try to try.
fn content_mac(salt: &Salt, event: &NewEvent) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    mac.update(b"audit/idempotency/v1\0");
    mac.update(&event.content());
    mac.finalize().into_bytes().into()
}

fn is_same(event: &NewEvent, key: &Key) -> bool {
    key.content.as_ref().is_some_and(|(salt, mac)| content_mac(salt, event).ct_eq(mac).into())
}
