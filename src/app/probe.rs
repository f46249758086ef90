//! What the running service tells about itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Database;
use crate::api::health::{
    Condition, DatabaseHost, DatabaseStatus, LogStatus, Obstacle, Privileges, Probe, QueueStatus,
};
use crate::api::problem::Problem;
use crate::auth::{Auth, Tenant};
use crate::ingest::Ingest;
use crate::integrity::Integrity;
use crate::metrics::{LoginOutcome, Metrics, PoolState, mirror};
use crate::server::Places;
use crate::store::{self, Facts, Store, log, partitions};

/// A health check that takes longer is a failed one.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const CHECK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct ServiceProbe {
    store: Store,
    host: DatabaseHost,
    auth: Arc<Auth>,
    integrity: Arc<Integrity>,
    ingest: Arc<Ingest>,
    places: Arc<Places>,
    /// What the last check found, and when.
    obstacles: Mutex<Option<(Instant, Vec<Obstacle>)>>,
}

impl ServiceProbe {
    pub(super) fn new(
        database: &Database,
        auth: &Arc<Auth>,
        integrity: &Arc<Integrity>,
        ingest: &Arc<Ingest>,
        places: &Arc<Places>,
    ) -> Self {
        Self {
            store: database.store.clone(),
            host: if database.cluster.is_some() { DatabaseHost::Embedded } else { DatabaseHost::External },
            auth: Arc::clone(auth),
            integrity: Arc::clone(integrity),
            ingest: Arc::clone(ingest),
            places: Arc::clone(places),
            obstacles: Mutex::default(),
        }
    }

    /// Anybody may ask, so the database is asked once a second at most, and by one of them at a time.
    async fn known_obstacles(&self) -> Vec<Obstacle> {
        let mut known = self.obstacles.lock().await;
        match &*known {
            Some((at, obstacles)) if at.elapsed() < CHECK_EVERY => obstacles.clone(),
            _ => {
                let obstacles = self.find_obstacles().await;
                *known = Some((Instant::now(), obstacles.clone()));
                obstacles
            }
        }
    }

    async fn find_obstacles(&self) -> Vec<Obstacle> {
        let obstacle = |check, reason: &str| vec![Obstacle { check, reason: reason.to_owned() }];
        match timeout(CHECK_TIMEOUT, partitions::covers_now(&self.store.control)).await {
            Ok(Ok(true)) => Vec::new(),
            Ok(Ok(false)) => obstacle("partitions", "there is no partition for this month"),
            Ok(Err(_)) | Err(_) => obstacle("database", "the database does not answer"),
        }
    }

    async fn find_condition(&self, tenant: &Tenant) -> Result<Condition, Problem> {
        let size =
            log::size(&self.store.query, tenant.id).await.map_err(|_| Problem::database_unavailable())?;
        let Facts { server_version, privileges, volatile } = &self.store.facts;
        let (events, bytes) = self.ingest.queued();
        let (signed_size, refused) = match self.integrity.checkpoint(tenant).await {
            Ok(head) => (Some(head.size), None),
            Err(refusal) => (None, Some(refusal.code().to_owned())),
        };
        Ok(Condition {
            database: DatabaseStatus {
                version: server_version.clone(),
                host: self.host,
                privileges: match privileges {
                    store::Privileges::Separate => Privileges::Separate,
                    store::Privileges::Single => Privileges::Single,
                },
            },
            queue: Some(QueueStatus { events: events as u64, bytes: bytes as u64 }),
            seconds_since_commit: self.ingest.since_last_commit().map(|since| since.as_secs_f64()),
            log: LogStatus { tenant: tenant.name.clone(), size, signed_size, refused },
            unsafe_settings: volatile.clone(),
        })
    }
}

impl Probe for ServiceProbe {
    fn obstacles(&self) -> BoxFuture<'_, Vec<Obstacle>> {
        Box::pin(self.known_obstacles())
    }

    fn condition<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Condition, Problem>> {
        Box::pin(self.find_condition(tenant))
    }

    fn measure(&self, metrics: &Metrics) {
        let (events, bytes) = self.ingest.queued();
        metrics.queue_events.set(events as i64);
        metrics.queue_bytes.set(bytes as i64);
        metrics.connections.set(self.places.taken() as i64);
        mirror(&metrics.connections_turned_away, self.places.turned_away());
        let counters = self.auth.counters();
        for (outcome, counter) in [
            ("accepted", &counters.accepted),
            ("rejected", &counters.rejected),
            ("throttled", &counters.throttled),
            ("busy", &counters.busy),
            ("unavailable", &counters.unavailable),
        ] {
            mirror(&metrics.logins.get_or_create(&LoginOutcome { outcome }), counter.load(Ordering::Relaxed));
        }
        mirror(&metrics.argon2_runs, self.auth.argon2_runs());
        let (remembered, evicted) = self.auth.failures_remembered();
        metrics.login_failures_remembered.set(remembered as i64);
        mirror(&metrics.login_failures_evicted, evicted);
        for (pool, connections) in
            [("ingest", &self.store.ingest), ("query", &self.store.query), ("control", &self.store.control)]
        {
            measure_pool(metrics, pool, connections);
        }
    }
}

fn measure_pool(metrics: &Metrics, pool: &'static str, connections: &PgPool) {
    let idle = connections.num_idle() as i64;
    let all = i64::from(connections.size());
    metrics.pool_connections.get_or_create(&PoolState { pool, state: "idle" }).set(idle);
    metrics.pool_connections.get_or_create(&PoolState { pool, state: "busy" }).set(all - idle);
}
