//! The service's own events: who was refused, what was changed, when an instance started and stopped.
//!
//! Nothing here is in the way of a request. Refusals are counted in memory (`auth::Refusals`), changes are rows
//! that were written along with them (`store::service_events`); a task of its own records both, again and
//! again until the database takes them, each under an idempotency key, so that nothing is recorded twice.

mod changes;
mod events;
mod heartbeat;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::auth::{Auth, DEFAULT_TENANT, Refusals, Tenant};
use crate::event::NewEvent;
use crate::ingest::{Ingest, IngestError, Recorded};
use crate::metrics::{AccessOutcome, Metrics};
use crate::store::Store;
use crate::store::principals::{TenantRow, find_tenant};
use changes::Changes;
pub use events::{Exported, Instance, exported, log_checked};
pub use heartbeat::beat;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Events that wait for a log that takes none now. With as many, no more refusals are taken; they are counted
/// where they are.
const PENDING_MAX: usize = 500;
/// What no event but this service's can begin with: clients are free in their keys, but not as principal 0.
const KEY_PREFIX: &str = "eventlogger/";

/// Which of them are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Of users, tokens and tenants.
    pub changes: bool,
    /// Of logins.
    pub failures: bool,
    /// Of what somebody who is logged in may not do.
    pub denials: bool,
    /// Starts and stops.
    pub lifecycle: bool,
}

/// What the events are made of and where they go.
pub struct Sources {
    pub store: Store,
    pub auth: Arc<Auth>,
    pub ingest: Arc<Ingest>,
    pub metrics: Arc<Metrics>,
}

/// Records the service's own events. One per process.
pub struct AccessEvents {
    sources: Sources,
    kinds: Kinds,
    instance: Instance,
    changes: Changes,
    /// On its way into the log: at most [`PENDING_MAX`] and what `Refusals` hands out at a time. A log that takes
    /// none must not keep those of others waiting.
    pending: Vec<Pending>,
    made: u64,
    reachable: bool,
}

/// An event, and the name of the tenant whose log it belongs to if there is such a tenant.
struct Pending {
    tenant: String,
    event: NewEvent,
}

/// What became of an event.
enum Fate {
    /// It is in the log.
    Recorded,
    /// It never will be.
    Lost(IngestError),
    /// Nobody knows yet, or not now.
    Again,
}

impl Fate {
    fn of(outcome: Result<Recorded, IngestError>) -> Self {
        match outcome {
            Ok(_) => Self::Recorded,
            Err(
                error @ (IngestError::KeyConflict { .. }
                | IngestError::Refused(_)
                | IngestError::NotRedactable(_)
                | IngestError::Aborted),
            ) => Self::Lost(error),
            Err(IngestError::QueueFull | IngestError::NotRecorded(_) | IngestError::Unknown { .. }) => {
                Self::Again
            }
        }
    }
}

impl Sources {
    /// Tells what became of each event, and counts it.
    async fn record(&self, tenant: &Arc<Tenant>, events: Vec<NewEvent>) -> Vec<Fate> {
        let keys: Vec<_> = events.iter().map(|event| event.idempotency_key.clone()).collect();
        let outcomes = self.ingest.record_own(tenant, events).await;
        let fates: Vec<_> = outcomes.into_iter().map(Fate::of).collect();
        for (key, fate) in keys.iter().zip(&fates) {
            match fate {
                Fate::Recorded => self.count("recorded", 1),
                Fate::Again => {}
                Fate::Lost(error) => {
                    self.count("lost", 1);
                    error!(?error, ?key, tenant = tenant.name, "an event of the service itself is refused");
                }
            }
        }
        fates
    }

    fn count(&self, outcome: &'static str, events: usize) {
        self.metrics.access_events.get_or_create(&AccessOutcome { outcome }).inc_by(events as u64);
    }
}

impl AccessEvents {
    pub fn new(sources: Sources, kinds: Kinds, instance: Instance) -> Self {
        Self {
            changes: Changes::new(kinds.changes),
            sources,
            kinds,
            instance,
            pending: Vec::new(),
            made: 0,
            reachable: true,
        }
    }

    /// Runs until `shutdown` completes, which is when the last request has been answered; then records what
    /// there is once more. No step is cut short: only the pause between two is.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        if self.kinds.lifecycle {
            self.add(DEFAULT_TENANT.to_owned(), self.instance.started());
        }
        loop {
            self.record_pending().await;
            self.record_changes().await;
            tokio::select! {
                () = &mut shutdown => break,
                () = sleep(LOOK_EVERY) => {}
            }
            if self.pending.len() < PENDING_MAX {
                self.take_refusals(Refusals::take_due);
            }
        }
        self.take_refusals(Refusals::take_all);
        if self.kinds.lifecycle {
            self.add(DEFAULT_TENANT.to_owned(), self.instance.stopped());
        }
        self.record_pending().await;
        self.record_changes().await;
        if !self.pending.is_empty() {
            warn!(events = self.pending.len(), "the last events of the service itself could not be recorded");
            self.sources.count("lost", self.pending.len());
        }
    }

    async fn record_changes(&mut self) {
        let moved = self.changes.record(&self.sources).await;
        if self.reachable != moved.is_ok() {
            self.reachable = moved.is_ok();
            match moved {
                Ok(()) => info!("events of the service itself can be recorded again"),
                Err(error) => warn!(%error, "events of the service itself cannot be recorded"),
            }
        }
    }

    fn take_refusals(&mut self, take: fn(&Refusals) -> events::Refused) {
        let (logins, denials) = take(self.sources.auth.refusals());
        if self.kinds.failures {
            for login in logins {
                let tenant = login.what.as_ref().map_or(DEFAULT_TENANT, |login| &login.tenant);
                self.add(tenant.to_owned(), events::login_failed(&login));
            }
        }
        if self.kinds.denials {
            for denial in denials {
                let tenant = denial.what.as_ref().map_or(DEFAULT_TENANT, |denial| &denial.tenant.name);
                self.add(tenant.to_owned(), events::access_denied(&denial));
            }
        }
    }

    fn add(&mut self, tenant: String, event: NewEvent) {
        let key = format!("{KEY_PREFIX}{}/{}", self.instance.id(), self.made);
        self.made += 1;
        self.pending.push(Pending { tenant, event: NewEvent { idempotency_key: Some(key), ..event } });
    }

    /// Keeps what could not be recorded for the next time.
    async fn record_pending(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let logs = match Logs::find(&self.sources.store, &self.pending).await {
            Ok(logs) => logs,
            Err(error) => return debug!(%error, "the logs of events of the service itself cannot be found"),
        };
        let by_log = logs.sort(std::mem::take(&mut self.pending));
        let sources = &self.sources;
        let kept = join_all(by_log.into_values().map(|(tenant, pending)| async move {
            let events = pending.iter().map(|pending| pending.event.clone()).collect();
            let fates = sources.record(&tenant, events).await;
            let kept = pending.into_iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::Again));
            kept.map(|(pending, _)| pending).collect::<Vec<_>>()
        }));
        self.pending = kept.await.into_iter().flatten().collect();
    }
}

/// The logs that events belong to.
struct Logs {
    default: Arc<Tenant>,
    /// `None`: there is no tenant of this name.
    by_name: HashMap<String, Option<Arc<Tenant>>>,
}

impl Logs {
    async fn find(store: &Store, pending: &[Pending]) -> sqlx::Result<Self> {
        let find = async |name: &str| find_tenant(&store.control, name).await.map(|found| found.map(tenant));
        let default = find(DEFAULT_TENANT).await?.ok_or(sqlx::Error::RowNotFound)?;
        let mut by_name = HashMap::from([(DEFAULT_TENANT.to_owned(), Some(Arc::clone(&default)))]);
        for Pending { tenant, .. } in pending {
            if !by_name.contains_key(tenant) {
                by_name.insert(tenant.clone(), find(tenant).await?);
            }
        }
        Ok(Self { default, by_name })
    }

    /// What belongs to no log goes to that of `default`.
    fn sort(&self, pending: Vec<Pending>) -> HashMap<i32, (Arc<Tenant>, Vec<Pending>)> {
        let mut by_log = HashMap::new();
        for mut pending in pending {
            let tenant = match self.by_name.get(&pending.tenant) {
                Some(Some(tenant)) => tenant,
                _ => {
                    pending.event = events::of_unknown_tenant(pending.event, &pending.tenant);
                    // From now on it belongs there, whoever makes such a tenant before it is recorded.
                    DEFAULT_TENANT.clone_into(&mut pending.tenant);
                    &self.default
                }
            };
            by_log.entry(tenant.id).or_insert_with(|| (Arc::clone(tenant), Vec::new())).1.push(pending);
        }
        by_log
    }
}

fn tenant(row: TenantRow) -> Arc<Tenant> {
    Arc::new(Tenant::from(row))
}
