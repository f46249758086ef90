//! Checks of whole logs in the background: the service looks at what is stored as `eventlogger verify --database` does,
//! and records in the log what came of it.
//!
//! A service that was tampered with can be made to say that all is well; its word saves nobody from running `verify`
//! with a pinned key elsewhere. But it finds what was done to the database behind its back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use time::OffsetDateTime;
use tokio::sync::{Semaphore, watch};
use tracing::{error, info, warn};

use crate::access::log_checked;
use crate::auth::Tenant;
use crate::ingest::Ingest;
use crate::integrity::Integrity;
use crate::store::{Store, living_session, log_keys};
use crate::tlog::Policy;
use crate::walk::{Progress, Report, Trusted, Verdict, database};

/// The last check of each log.
pub struct Checks {
    store: Store,
    integrity: Arc<Integrity>,
    ingest: Arc<Ingest>,
    stopping: watch::Receiver<bool>,
    of_tenants: Mutex<HashMap<i32, Arc<Check>>>,
    /// One at a time, so that however many ask, recording keeps most of the machine.
    turn: Semaphore,
}

/// A check that goes on, or is over.
pub struct Check {
    pub started_by: String,
    pub started_at: OffsetDateTime,
    pub progress: Progress,
    end: OnceLock<End>,
}

pub struct End {
    pub at: OffsetDateTime,
    /// Nothing, if it could not be finished.
    pub report: Option<Report>,
}

impl Check {
    /// `None` while it goes on.
    pub fn end(&self) -> Option<&End> {
        self.end.get()
    }
}

impl Checks {
    pub fn new(
        store: Store,
        integrity: Arc<Integrity>,
        ingest: Arc<Ingest>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { store, integrity, ingest, stopping, of_tenants: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// The check of a log that goes on, or that was the last one here.
    pub fn last(&self, tenant: &Tenant) -> Option<Arc<Check>> {
        self.of_tenants().get(&tenant.id).cloned()
    }

    /// Begins a check, unless one goes on already.
    pub fn start(self: &Arc<Self>, tenant: &Arc<Tenant>, started_by: &str) -> Arc<Check> {
        let mut of_tenants = self.of_tenants();
        if let Some(check) = of_tenants.get(&tenant.id).filter(|check| check.end().is_none()) {
            return Arc::clone(check);
        }
        let check = Arc::new(Check {
            started_by: started_by.to_owned(),
            started_at: OffsetDateTime::now_utc(),
            progress: Progress::default(),
            end: OnceLock::new(),
        });
        of_tenants.insert(tenant.id, Arc::clone(&check));
        tokio::spawn(Arc::clone(self).run(Arc::clone(tenant), Arc::clone(&check)));
        check
    }

    fn of_tenants(&self) -> MutexGuard<'_, HashMap<i32, Arc<Check>>> {
        self.of_tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, tenant: Arc<Tenant>, check: Arc<Check>) {
        let mut stopping = self.stopping.clone();
        let report = tokio::select! {
            // What is cut off only reads, and its pool closes.
            _ = stopping.wait_for(|stopping| *stopping) => None,
            report = self.walk(&tenant, &check.progress) => report
                .inspect_err(|error| error!(tenant = tenant.name, %error, "a log could not be checked: {error}"))
                .ok(),
        };
        if let Some(report) = &report {
            self.tell(&tenant, &check, report).await;
        }
        let _ = check.end.set(End { at: OffsetDateTime::now_utc(), report });
    }

    async fn walk(&self, tenant: &Tenant, progress: &Progress) -> Result<Report, sqlx::Error> {
        let _turn = self.turn.acquire().await.map_err(|_| sqlx::Error::WorkerCrashed)?;
        let policy = self.policy(tenant).await?;
        // Before the snapshot is taken: what is signed afterwards would be missed in it.
        let seen = self.integrity.last_signed(&self.store.checks, tenant).await;
        let seen = seen.ok().flatten().map(|head| head.note);
        let trusted = Trusted { policy: policy.as_ref(), seen: seen.as_deref() };
        database::walk(&self.store.checks, tenant, trusted, progress).await
    }

    /// The instance's own keys; none, and so no word about signatures, if it has not got the right one.
    async fn policy(&self, tenant: &Tenant) -> Result<Option<Policy>, sqlx::Error> {
        let registered = log_keys::of_log(&self.store.checks, tenant.id).await?;
        let mut session = living_session(&self.store.checks).await?;
        let replaced = log_keys::replaced(&mut session, tenant.id).await?;
        Ok(self.integrity.policy(&mut session, tenant, &registered, &replaced).await.ok())
    }

    async fn tell(&self, tenant: &Arc<Tenant>, check: &Check, report: &Report) {
        let findings = report.findings_count();
        match report.verdict() {
            Verdict::Findings => error!(
                tenant = tenant.name,
                findings, "THE LOG OF `{}` IS NOT AS IT WAS RECORDED: {findings} findings", tenant.name
            ),
            verdict => {
                info!(tenant = tenant.name, ?verdict, entries = report.entries_checked, "checked a log")
            }
        }
        let outcomes = self.ingest.record_own(tenant, vec![log_checked(&check.started_by, report)]).await;
        for error in outcomes.into_iter().filter_map(Result::err) {
            warn!(tenant = tenant.name, ?error, "that a log was checked could not be recorded in it");
        }
    }
}
