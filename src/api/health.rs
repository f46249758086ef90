//! Whether the service lives, is ready and how it is doing.

use std::time::Instant;

use futures_util::future::BoxFuture;
use http::StatusCode;
use poem_openapi::{Enum, Object, OpenApi, payload::Json};

use super::{
    ApiState, Tag,
    caller::{AnyRole, Caller},
    problem::{Fault, Problem},
};
use crate::{auth::Tenant, metrics::Metrics};

/// What the running service tells about itself; the composition root knows the parts to ask.
pub trait Probe: Send + Sync {
    /// What keeps the service from recording: database, partitions. Empty if nothing does.
    fn obstacles(&self) -> BoxFuture<'_, Vec<Obstacle>>;

    fn condition<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Condition, Problem>>;

    /// Sets the gauges that mirror other parts, such as pools and queues.
    fn measure(&self, metrics: &Metrics);
}

/// One reason not to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// `database`, `partitions`.
    pub check: &'static str,
    /// For operators; the endpoint is public, so no addresses and no secrets.
    pub reason: String,
}

/// The part of [`Status`] that a [`Probe`] finds out.
#[derive(Clone, Debug, PartialEq, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Condition {
    /// The database behind the service.
    pub database: DatabaseStatus,
    /// What waits to be recorded, of all tenants; only for users of the tenant `default` and superadmins.
    pub queue: Option<QueueStatus>,
    /// Seconds since this instance last committed events; absent before the first, and as `queue`.
    pub seconds_since_commit: Option<f64>,
    /// The caller's log.
    pub log: LogStatus,
    /// Settings that give up a promise, such as durability. Empty in a sound installation.
    pub unsafe_settings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub struct DatabaseStatus {
    /// Of PostgreSQL.
    pub version: String,
    pub host: DatabaseHost,
    pub privileges: Privileges,
}

/// Who runs the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum DatabaseHost {
    /// This service.
    Embedded,
    /// Somebody else.
    External,
}

/// Whether recording, reading and maintenance act as different database users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum Privileges {
    /// They do.
    Separate,
    /// One database user does everything.
    Single,
}

#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub struct QueueStatus {
    pub events: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct LogStatus {
    pub tenant: String,
    /// Entries in the log.
    pub size: u64,
    /// Entries under the current checkpoint; absent if this instance does not sign the log.
    pub signed_size: Option<u64>,
    /// Why it does not, and does not write to it either: `signing_key`, `database_behind`, `database_contradicted`,
    /// `latch` or `database_unavailable`.
    pub refused: Option<String>,
}

/// How the service is doing.
#[derive(Clone, Debug, PartialEq, Object)]
pub struct Status {
    /// Of the service.
    version: String,
    uptime_seconds: u64,
    /// Whether the instance is shutting down.
    draining: bool,
    #[oai(flatten)]
    condition: Condition,
}

/// The answer of a passed check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Object)]
pub struct Health {
    /// `ok`.
    status: HealthStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum HealthStatus {
    Ok,
}

const HEALTHY: Health = Health { status: HealthStatus::Ok };

pub struct HealthApi {
    state: ApiState,
    started: Instant,
}

impl HealthApi {
    pub fn new(state: ApiState) -> Self {
        Self { state, started: Instant::now() }
    }
}

#[OpenApi(tag = "Tag::Operations")]
impl HealthApi {
    /// Is the process alive?
    ///
    /// Answers without looking at anything else: an orchestrator should restart the service if this fails.
    #[oai(path = "/health/live", method = "get", operation_id = "check_live")]
    async fn live(&self) -> Json<Health> {
        Json(HEALTHY)
    }

    /// Can events be recorded?
    ///
    /// 503 while the database does not answer, this month's partition is missing, or the instance shuts
    /// down: a load balancer should send requests elsewhere.
    #[oai(path = "/health/ready", method = "get", operation_id = "check_ready")]
    async fn ready(&self) -> Result<Json<Health>, Problem> {
        let mut obstacles = self.state.probe.obstacles().await;
        if *self.state.draining.borrow() {
            obstacles
                .push(Obstacle { check: "draining", reason: "the instance is shutting down".to_owned() });
        }
        if obstacles.is_empty() { Ok(Json(HEALTHY)) } else { Err(not_ready(obstacles)) }
    }

    /// How is the service doing?
    #[oai(path = "/status", method = "get", operation_id = "get_status")]
    async fn status(&self, caller: Caller<AnyRole>) -> Result<Json<Status>, Problem> {
        let mut condition = self.state.probe.condition(&caller.tenant).await?;
        if !caller.is_operator() {
            condition.queue = None;
            condition.seconds_since_commit = None;
        }
        Ok(Json(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            draining: *self.state.draining.borrow(),
            condition,
        }))
    }
}

fn not_ready(obstacles: Vec<Obstacle>) -> Problem {
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_ready",
        "Events cannot be recorded at this moment; see errors.",
    );
    obstacles.into_iter().fold(problem.retry_after(2), |problem, obstacle| {
        let Obstacle { check, reason } = obstacle;
        problem.with_fault(Fault { detail: format!("{check}: {reason}"), ..Fault::default() })
    })
}
