//! Recording: from validated events to committed ones.
//!
//! Each tenant with something to record has a lane: a task that alone writes to that tenant's log, one
//! transaction at a time, and that nothing cancels. Whatever arrives during a commit forms the next group.

mod epoch;
mod fault;
mod ids;
mod key_change;
mod lane;
mod purpose;
mod queue;
mod rebuild;
mod sealed;
mod sequence;
mod session;
mod threads;
mod ticket;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::auth::{Principal, Tenant};
use crate::event::{ENTRY_LEN, NewEvent, Redaction, Salt, Timestamp};
use crate::integrity::Integrity;
use crate::metrics::Metrics;
use crate::store::Store;
use purpose::{Purpose, Submission};
use queue::{Load, Queue};
use ticket::Outcome;

pub use epoch::{Declaration, EpochError, Opened, open_epoch};
pub use key_change::{KeyChange, KeyChangeError, change_key};
pub use purpose::RedactionRefusal;
pub use queue::Mode;
pub use sealed::Sealed;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most events that one tenant may have queued.
    pub tenant_events: usize,
    /// Most bytes that one tenant may have queued.
    pub tenant_bytes: usize,
    /// Most bytes that all tenants together may have queued.
    pub total_bytes: usize,
    /// How long a submitter waits for its outcome.
    pub answer_timeout: Duration,
    /// Months of partitions to make when one turns out to be missing.
    pub partitions_ahead: i32,
}

/// The service as a recorder. Users are numbered from 1, and `recorded_by` of a user begins with `user:`.
pub const OWN_ID: i64 = 0;
const SERVICE: &str = "service";
/// The recorder of made-up events, which must not look like what the service says of itself.
const SAMPLE: &str = "sample";
/// What no user or token is called: by them, nobody else recorded anything.
pub const OWN_RECORDERS: [&str; 2] = [SERVICE, SAMPLE];

/// Who submits, as far as the log needs to know.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub principal_id: i64,
    pub recorded_by: Arc<str>,
}

impl Recorder {
    fn of(principal: &Principal) -> Self {
        Self { principal_id: principal.user_id, recorded_by: principal.recorded_by().into() }
    }
}

fn submissions(events: Vec<NewEvent>) -> Vec<Submission> {
    events.into_iter().map(Submission::from).collect()
}

/// An event that is in the log for good.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub id: Uuid,
    pub seq: u64,
    pub timestamp: Timestamp,
    pub received_at: Timestamp,
    /// It was there already, under the same idempotency key.
    pub duplicate: bool,
    /// Absent only for a duplicate whose original can no longer be read.
    pub receipt: Option<Receipt>,
    /// The proof, if the event was recorded just now.
    pub sealed: Option<Arc<Sealed>>,
}

/// What the submitter keeps as evidence, beside the proof.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub entry: [u8; ENTRY_LEN],
    pub envelope: String,
    pub envelope_salt: Salt,
    pub payload_salt: Option<Salt>,
}

/// Why an event was not recorded, or is not known to be.
#[derive(Clone, Debug)]
pub enum IngestError {
    /// The key stands for another event.
    KeyConflict { seq: u64, id: Uuid },
    /// The tenant has too much queued.
    QueueFull,
    /// The database refuses this very event.
    Refused(String),
    /// The event that was to be redacted cannot be.
    NotRedactable(RedactionRefusal),
    /// Another event of the same atomic batch cannot be recorded, so this one was not either.
    Aborted,
    /// The event is definitely not in the log.
    NotRecorded(Reason),
    /// The commit is in doubt. If the event is in the log, it is under this id.
    Unknown { id: Option<Uuid> },
}

/// The code of an answer that leaves open whether the event is recorded.
pub const UNKNOWN: &str = "unknown";

impl IngestError {
    /// A stable name, for answers and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyConflict { .. } => "idempotency_conflict",
            Self::QueueFull => "queue_full",
            Self::Refused(_) => "refused_by_database",
            Self::NotRedactable(refusal) => refusal.code(),
            Self::Aborted => "atomic_aborted",
            Self::NotRecorded(_) => "not_recorded",
            Self::Unknown { .. } => UNKNOWN,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No database, or it failed.
    Database,
    /// Database and instance disagree about the time by more than five minutes.
    Clock,
    /// There is no partition for now, and it could not be made.
    Partition,
    /// The stored tree contradicts itself. Only an operator can help.
    Inconsistent,
    /// This instance does not have the key that signs the log.
    SigningKey,
    /// The database is not what it was when it was last signed.
    SignedState,
    /// What is signed could not be remembered.
    Latch,
    /// The queue did not move in time.
    Timeout,
    /// The service is shutting down.
    Closing,
}

/// The way into all logs.
pub struct Ingest {
    store: Store,
    integrity: Arc<Integrity>,
    limits: Limits,
    metrics: Arc<Metrics>,
    lanes: Mutex<Lanes>,
    load: Arc<Load>,
    last_commit: Arc<LastCommit>,
}

struct RunningLane {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

/// When this instance last committed events; written by its lanes.
#[derive(Debug, Default)]
struct LastCommit(Mutex<Option<Instant>>);

impl LastCommit {
    fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

#[derive(Default)]
struct Lanes {
    by_tenant: HashMap<i32, RunningLane>,
    closed: bool,
}

impl Ingest {
    pub fn new(store: Store, integrity: Arc<Integrity>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            integrity,
            limits,
            metrics,
            lanes: Mutex::default(),
            load: Arc::default(),
            last_commit: Arc::default(),
        }
    }

    /// Records the events and answers for each of them, in order. Nothing is lost when the caller goes away.
    pub async fn record(&self, principal: &Principal, events: Vec<NewEvent>, mode: Mode) -> Vec<Outcome> {
        self.submit(&principal.tenant, Recorder::of(principal), submissions(events), mode).await
    }

    /// Records a redaction, and erases what it says in the same transaction. `ip` is where it was asked for.
    pub async fn redact(&self, principal: &Principal, redaction: Redaction, ip: Option<IpAddr>) -> Outcome {
        let tenant = &principal.tenant;
        let event = redaction.event(principal.name_in(&tenant.name), ip);
        let event = event.map_err(|invalid| IngestError::Refused(invalid.detail))?;
        let submission = Submission { event, purpose: Purpose::Redaction(Box::new(redaction)) };
        let outcomes = self.submit(tenant, Recorder::of(principal), vec![submission], Mode::Each).await;
        outcomes.into_iter().next().unwrap_or(Err(IngestError::Unknown { id: None }))
    }

    /// Records what the service has to tell of its own doings.
    pub async fn record_own(&self, tenant: &Arc<Tenant>, events: Vec<NewEvent>) -> Vec<Outcome> {
        let recorder = Recorder { principal_id: OWN_ID, recorded_by: SERVICE.into() };
        self.submit(tenant, recorder, submissions(events), Mode::Each).await
    }

    /// Records made-up events.
    pub async fn record_samples(&self, tenant: &Arc<Tenant>, events: Vec<NewEvent>) -> Vec<Outcome> {
        let recorder = Recorder { principal_id: OWN_ID, recorded_by: SAMPLE.into() };
        self.submit(tenant, recorder, submissions(events), Mode::Each).await
    }

    /// Records a control entry.
    pub async fn record_control(&self, tenant: &Arc<Tenant>, event: NewEvent) -> Outcome {
        let recorder = Recorder { principal_id: OWN_ID, recorded_by: SERVICE.into() };
        let submission = Submission { event, purpose: Purpose::Control };
        let outcomes = self.submit(tenant, recorder, vec![submission], Mode::Each).await;
        outcomes.into_iter().next().unwrap_or(Err(IngestError::Unknown { id: None }))
    }

    async fn submit(
        &self,
        tenant: &Arc<Tenant>,
        recorder: Recorder,
        submissions: Vec<Submission>,
        mode: Mode,
    ) -> Vec<Outcome> {
        if submissions.is_empty() {
            return Vec::new();
        }
        let count = submissions.len();
        let queue = match self.lane(tenant) {
            Ok(queue) => queue,
            Err(error) => return vec![Err(error); count],
        };
        let (ticket, mut answer) = match queue.push(submissions, &recorder, mode, || self.active_tenants()) {
            Ok(pushed) => pushed,
            Err(error) => return vec![Err(error); count],
        };
        match timeout(self.limits.answer_timeout, &mut answer).await {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(_)) | Err(_) => {
                let outcomes = ticket.abandon();
                // The answer may have been given meanwhile.
                answer.try_recv().unwrap_or(outcomes)
            }
        }
    }

    /// The tenant's queue, with a lane working on it.
    fn lane(&self, tenant: &Arc<Tenant>) -> Result<Arc<Queue>, IngestError> {
        let mut lanes = self.lanes();
        if lanes.closed {
            return Err(IngestError::NotRecorded(Reason::Closing));
        }
        match lanes.by_tenant.get(&tenant.id) {
            Some(lane) if !lane.task.is_finished() => Ok(Arc::clone(&lane.queue)),
            // None yet, or it panicked: that has been logged, and must not close the log to its tenant.
            _ => {
                let lane = self.start_lane(tenant);
                let queue = Arc::clone(&lane.queue);
                lanes.by_tenant.insert(tenant.id, lane);
                Ok(queue)
            }
        }
    }

    /// How many tenants have something queued.
    fn active_tenants(&self) -> usize {
        self.lanes().by_tenant.values().filter(|lane| !lane.queue.is_idle()).count()
    }

    fn start_lane(&self, tenant: &Arc<Tenant>) -> RunningLane {
        let queue = Arc::new(Queue::new(Arc::clone(&self.load), self.limits));
        let lane = lane::Lane::new(
            self.store.clone(),
            Arc::clone(&self.integrity),
            Arc::clone(tenant),
            Arc::clone(&queue),
            self.limits,
            Arc::clone(&self.metrics),
            Arc::clone(&self.last_commit),
        );
        RunningLane { queue, task: threads::spawn(lane.run()) }
    }

    /// Events and bytes that wait or are being committed.
    pub fn queued(&self) -> (usize, usize) {
        (self.load.events.load(Ordering::Relaxed), self.load.bytes.load(Ordering::Relaxed))
    }

    /// How long ago this instance last committed events, if it ever did.
    pub fn since_last_commit(&self) -> Option<Duration> {
        self.last_commit.0.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// Lets nothing more in and waits until everything accepted has been answered.
    pub async fn drain(&self) {
        let running = {
            let mut lanes = self.lanes();
            lanes.closed = true;
            std::mem::take(&mut lanes.by_tenant)
        };
        running.values().for_each(|lane| lane.queue.close());
        for lane in running.into_values() {
            // A lane that panicked has been logged; its submitters learn at their deadline what is known.
            let _ = lane.task.await;
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
