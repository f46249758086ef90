//! A tenant's queue: what waits for its lane, and how much of it may wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::purpose::{Purpose, Submission};
use super::ticket::{Outcome, Ticket};
use super::{IngestError, Limits, Recorder};
use crate::event::NewEvent;

/// Most events in one transaction.
pub(super) const GROUP_EVENTS: usize = 1_000;
/// Most bytes in one transaction, so that a group of large events does not hold up the next for long.
pub(super) const GROUP_BYTES: usize = 4 << 20;
/// A larger event gets a transaction of its own: writing it must not delay its neighbours.
pub(super) const LARGE_EVENT_BYTES: usize = 64 << 10;

/// One event on its way into the log.
pub(super) struct Item {
    pub(super) event: NewEvent,
    pub(super) purpose: Purpose,
    pub(super) recorder: Recorder,
    ticket: Arc<Ticket>,
    index: usize,
    /// Frees this event's place in the queue when it has been answered.
    _place: Place,
}

impl Item {
    pub(super) fn answer(self, outcome: Outcome) {
        self.ticket.answer(self.index, outcome);
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.ticket.is_wanted()
    }

    pub(super) fn begin(&self, id: uuid::Uuid) -> bool {
        self.ticket.begin(self.index, id)
    }

    pub(super) fn id(&self) -> Option<uuid::Uuid> {
        self.ticket.id(self.index)
    }

    pub(super) fn rolled_back(&self) {
        self.ticket.rolled_back(self.index);
    }
}

/// What one transaction will try to record.
pub(super) struct Group {
    pub(super) items: Vec<Item>,
    /// All or nothing: may not be split to find a bad event.
    pub(super) atomic: bool,
}

/// Events and bytes that wait or are being committed.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) events: AtomicUsize,
    pub(super) bytes: AtomicUsize,
}

impl Load {
    fn add(&self, events: usize, bytes: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, events: usize, bytes: usize) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One event's share of the queue limits, given back on drop.
struct Place {
    bytes: usize,
    tenant: Arc<Load>,
    all: Arc<Load>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tenant.remove(1, self.bytes);
        self.all.remove(1, self.bytes);
    }
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrival: Notify,
    load: Arc<Load>,
    all: Arc<Load>,
    limits: Limits,
}

#[derive(Default)]
struct Waiting {
    /// Single events, in order of arrival.
    singles: VecDeque<Item>,
    /// Chunks of batches. One goes along with each group of singles, so that neither waits for all of the other.
    chunks: VecDeque<Group>,
    /// Singles went ahead of a chunk that could not go along; now it is the chunk's turn.
    chunk_is_next: bool,
    closed: bool,
}

/// How a submission wants its events recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each event for itself.
    Each,
    /// All or none, in one transaction.
    Atomic,
}

impl Queue {
    pub(super) fn new(all: Arc<Load>, limits: Limits) -> Self {
        Self { waiting: Mutex::default(), arrival: Notify::new(), load: Arc::default(), all, limits }
    }

    /// Puts all of the events in, or none. `active` counts the tenants that have something queued; it walks all
    /// of them, and is asked only when they hold too much together.
    pub(super) fn push(
        &self,
        submissions: Vec<Submission>,
        recorder: &Recorder,
        mode: Mode,
        active: impl FnOnce() -> usize,
    ) -> Result<(Arc<Ticket>, tokio::sync::oneshot::Receiver<Vec<Outcome>>), IngestError> {
        let bytes = submissions.iter().map(|submission| submission.event.size()).sum();
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(IngestError::NotRecorded(super::Reason::Closing));
        }
        self.admit(submissions.len(), bytes, active)?;
        let (ticket, answer) = Ticket::new(submissions.len());
        let ticket = Arc::new(ticket);
        let single = submissions.len() == 1;
        let items = submissions.into_iter().enumerate().map(|(index, submission)| {
            let Submission { event, purpose } = submission;
            let bytes = event.size();
            let place = Place { bytes, tenant: Arc::clone(&self.load), all: Arc::clone(&self.all) };
            let ticket = Arc::clone(&ticket);
            Item { event, purpose, recorder: recorder.clone(), ticket, index, _place: place }
        });
        match mode {
            Mode::Atomic => waiting.chunks.push_back(Group { items: items.collect(), atomic: true }),
            Mode::Each if single => waiting.singles.extend(items),
            Mode::Each => waiting.chunks.extend(chunks(items)),
        }
        drop(waiting);
        self.arrival.notify_one();
        Ok((ticket, answer))
    }

    /// Reserves places. A submission that finds the queue empty is always let in, however large.
    fn admit(&self, events: usize, bytes: usize, active: impl FnOnce() -> usize) -> Result<(), IngestError> {
        let queued_events = self.load.events.load(Ordering::Relaxed);
        let queued_bytes = self.load.bytes.load(Ordering::Relaxed);
        let over_own = queued_events + events > self.limits.tenant_events
            || queued_bytes + bytes > self.limits.tenant_bytes;
        // When all tenants together hold too much, only those above an equal share are refused.
        let over_share = self.all.bytes.load(Ordering::Relaxed) + bytes > self.limits.total_bytes
            && queued_bytes + bytes > self.limits.total_bytes / active().max(1);
        if queued_events > 0 && (over_own || over_share) {
            return Err(IngestError::QueueFull);
        }
        self.load.add(events, bytes);
        self.all.add(events, bytes);
        Ok(())
    }

    /// The next group; waits for one. `None` when the queue is closed and empty.
    pub(super) async fn next_group(&self) -> Option<Group> {
        loop {
            let arrival = self.arrival.notified();
            {
                let mut waiting = self.lock();
                if let Some(group) = waiting.take_group() {
                    return Some(group);
                }
                if waiting.closed {
                    return None;
                }
            }
            arrival.await;
        }
    }

    /// Lets nothing more in. What is queued is still recorded.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrival.notify_one();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.load.events.load(Ordering::Relaxed) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Singles, and with them the first chunk of a batch if it fits; one that does not takes turns with them.
    fn take_group(&mut self) -> Option<Group> {
        if std::mem::take(&mut self.chunk_is_next)
            && let Some(chunk) = self.chunks.pop_front()
        {
            return Some(chunk);
        }
        let (mut items, bytes) = self.take_singles();
        let alone = bytes > LARGE_EVENT_BYTES && items.len() == 1;
        let fits = |chunk: &mut Group| {
            let small = !chunk.atomic && !chunk.is_large() && bytes + chunk.bytes() <= 2 * GROUP_BYTES;
            items.is_empty() || !alone && small
        };
        match self.chunks.pop_front_if(fits) {
            Some(chunk) => {
                items.extend(chunk.items);
                return Some(Group { items, atomic: chunk.atomic });
            }
            None => self.chunk_is_next = !self.chunks.is_empty(),
        }
        (!items.is_empty()).then_some(Group { items, atomic: false })
    }

    /// One large event, or as many others as go into one transaction; and their bytes.
    fn take_singles(&mut self) -> (Vec<Item>, usize) {
        let mut items = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.singles.front() {
            let size = next.event.size();
            let alone = size > LARGE_EVENT_BYTES;
            if !items.is_empty() && (alone || bytes + size > GROUP_BYTES || items.len() == GROUP_EVENTS) {
                break;
            }
            bytes += size;
            items.extend(self.singles.pop_front());
            if alone {
                break;
            }
        }
        (items, bytes)
    }
}

impl Group {
    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.event.size()).sum()
    }

    fn is_large(&self) -> bool {
        self.items.iter().any(|item| item.event.size() > LARGE_EVENT_BYTES)
    }
}

/// Cuts a batch into transactions.
fn chunks(items: impl Iterator<Item = Item>) -> Vec<Group> {
    let mut chunks: Vec<Group> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = item.event.size();
        let alone = size > LARGE_EVENT_BYTES;
        match chunks.last_mut() {
            Some(chunk) if !alone && chunk.items.len() < GROUP_EVENTS && bytes + size <= GROUP_BYTES => {
                chunk.items.push(item);
                bytes += size;
            }
            _ => {
                chunks.push(Group { items: vec![item], atomic: false });
                // Nothing joins a large event.
                bytes = if alone { GROUP_BYTES } else { size };
            }
        }
    }
    chunks
}
