//! What ties a waiting submitter to the lane that records its events.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{IngestError, Recorded};

pub(super) type Outcome = Result<Recorded, IngestError>;

/// One submission. The lane fills in outcomes; the submitter may give up waiting at any time.
pub(super) struct Ticket {
    state: Mutex<State>,
}

struct State {
    /// The ids under which the events are being committed. Set once the head is locked, cleared on rollback.
    ids: Vec<Option<Uuid>>,
    /// The submitter has left; what is not yet committed must not be committed any more.
    abandoned: bool,
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
    answer: Option<oneshot::Sender<Vec<Outcome>>>,
}

impl Ticket {
    pub(super) fn new(events: usize) -> (Self, oneshot::Receiver<Vec<Outcome>>) {
        let (answer, waiting) = oneshot::channel();
        let state = State {
            ids: vec![None; events],
            abandoned: false,
            outcomes: (0..events).map(|_| None).collect(),
            missing: events,
            answer: Some(answer),
        };
        (Self { state: Mutex::new(state) }, waiting)
    }

    /// The submitter gives up. What has no outcome yet will not be recorded, unless it is being committed now.
    pub(super) fn abandon(&self) -> Vec<Outcome> {
        let mut state = self.lock();
        state.abandoned = true;
        state.answer = None;
        let State { ids, outcomes, .. } = &mut *state;
        outcomes
            .iter_mut()
            .zip(ids)
            .map(|(outcome, id)| match (outcome.take(), *id) {
                (Some(outcome), _) => outcome,
                (None, Some(id)) => Err(IngestError::Unknown { id: Some(id) }),
                (None, None) => Err(IngestError::NotRecorded(super::Reason::Timeout)),
            })
            .collect()
    }

    /// Before sequencing: may this event still be recorded?
    pub(super) fn is_wanted(&self) -> bool {
        !self.lock().abandoned
    }

    /// From here on the event may become part of the log under this id. False if the submitter has left.
    pub(super) fn begin(&self, index: usize, id: Uuid) -> bool {
        let mut state = self.lock();
        if !state.abandoned {
            state.ids[index] = Some(id);
        }
        !state.abandoned
    }

    /// The id under which the event is being committed.
    pub(super) fn id(&self, index: usize) -> Option<Uuid> {
        self.lock().ids[index]
    }

    /// The transaction was rolled back; the event is nowhere.
    pub(super) fn rolled_back(&self, index: usize) {
        self.lock().ids[index] = None;
    }

    pub(super) fn answer(&self, index: usize, outcome: Outcome) {
        let mut state = self.lock();
        if state.outcomes[index].replace(outcome).is_none() {
            state.missing -= 1;
        }
        if state.missing == 0
            && let Some(answer) = state.answer.take()
        {
            let outcomes = state.outcomes.drain(..).flatten().collect();
            // Nobody listens if the client has gone; its events are recorded all the same.
            let _ = answer.send(outcomes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
