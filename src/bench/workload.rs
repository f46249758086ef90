//! The workloads, and the rounds in which the two sides take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use super::BATCH;
use super::comparison;
use super::copy::{self, Encoded};
use super::cpu::Meter;
use super::load::{self, Load, Until, Work};
use super::pgbench::Pgbench;
use super::receipts;
use super::report::{Bound, Comparison, Measure, Round, Side, p50, p99, throughput};
use super::server::Installation;
use super::tenants::Recorders;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Single events over 64 connections.
    Single,
    /// The same with idempotency keys.
    Keyed,
    /// The same for 64 tenants.
    Tenants,
    /// Single events over one connection.
    One,
    /// Batches of 1,000 events.
    Batch,
}

const CONNECTIONS: usize = 64;
const PGBENCH_CLIENTS: usize = 32;
const TENANTS: usize = 64;
/// More different batches than a round gets through would only take memory.
const COPY_BATCHES: u64 = 64;

const MANY: [(&str, Measure, Bound); 2] =
    [("throughput", throughput, Bound::AtLeast(2.0)), ("99th percentile", p99, Bound::AtMost(2.0))];
const ONE: [(&str, Measure, Bound); 1] = [("median latency", p50, Bound::AtMost(2.5))];
const BATCHES: [(&str, Measure, Bound); 1] = [("throughput", throughput, Bound::AtLeast(0.8))];

/// How a workload is run on either side, and what is wanted of the ratio.
struct Plan {
    name: String,
    against: &'static str,
    work: Work,
    connections: usize,
    pgbench_clients: usize,
    tenants: usize,
    wanted: &'static [(&'static str, Measure, Bound)],
}

impl Workload {
    pub const ALL: [Self; 5] = [Self::Single, Self::Keyed, Self::Tenants, Self::One, Self::Batch];

    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Keyed => "keyed",
            Self::Tenants => "tenants",
            Self::One => "one",
            Self::Batch => "batch",
        }
    }

    fn plan(self) -> Plan {
        let plan = Plan {
            name: format!("Single events, {CONNECTIONS} connections"),
            against: "pgbench, 32 clients, prepared one-row inserts",
            work: Work::Single,
            connections: CONNECTIONS,
            pgbench_clients: PGBENCH_CLIENTS,
            tenants: 1,
            wanted: &MANY,
        };
        match self {
            Self::Single => plan,
            Self::Keyed => Plan {
                name: format!("Single events with idempotency keys, {CONNECTIONS} connections"),
                against: "pgbench, 32 clients, inserting the event and its key",
                work: Work::Keyed,
                ..plan
            },
            Self::Tenants => Plan {
                name: format!("Single events of {TENANTS} tenants, {CONNECTIONS} connections"),
                tenants: TENANTS,
                ..plan
            },
            Self::One => Plan {
                name: "Single events, one connection".into(),
                against: "pgbench, one client",
                connections: 1,
                pgbench_clients: 1,
                wanted: &ONE,
                ..plan
            },
            Self::Batch => Plan {
                name: format!("Batches of {BATCH}, one connection"),
                against: "binary COPY, a transaction per batch, one connection",
                work: Work::Batch(BATCH),
                connections: 1,
                wanted: &BATCHES,
                ..plan
            },
        }
    }
}

/// What all rounds share.
pub(super) struct Bench<'a> {
    pub(super) installation: &'a Installation,
    pub(super) pool: &'a PgPool,
    pub(super) database: PgConnectOptions,
    pub(super) pgbench: Pgbench,
    pub(super) meter: Meter,
    pub(super) rounds: usize,
    pub(super) time: Duration,
    pub(super) next_sample: Arc<AtomicU64>,
    pub(super) acknowledged: u64,
    pub(super) receipts_checked: u64,
    /// Of the other side, which tells its rows apart by it.
    pub(super) runs: u64,
}

impl Bench<'_> {
    pub(super) async fn compare(
        &mut self,
        workload: Workload,
        progress: &impl Fn(&str),
    ) -> anyhow::Result<Comparison> {
        let plan = workload.plan();
        let recorders = match plan.tenants {
            1 => Recorders::one(self.pool, self.installation).await?,
            many => Recorders::many(self.pool, many).await?,
        };
        let mut rounds = Vec::with_capacity(self.rounds);
        for round in 0..self.rounds {
            progress(&format!("{}: round {} of {}", plan.name, round + 1, self.rounds));
            // Taking turns at going first, too.
            rounds.push(if round % 2 == 0 {
                let service = self.service(&plan, &recorders).await?;
                Round { service, postgres: self.postgres(&plan).await? }
            } else {
                let postgres = self.postgres(&plan).await?;
                Round { service: self.service(&plan, &recorders).await?, postgres }
            });
        }
        Ok(Comparison::new(plan.name, plan.against, rounds, plan.wanted))
    }

    async fn service(&mut self, plan: &Plan, recorders: &Recorders) -> anyhow::Result<Side> {
        let load = Load {
            address: self.installation.address,
            authorizations: Arc::clone(&recorders.authorizations),
            connections: plan.connections,
            work: plan.work,
            receipts: true,
            next_sample: Arc::clone(&self.next_sample),
            until: Until::Elapsed(self.time),
        };
        let mut checked = load::log_in(&load).await?;
        self.acknowledged += checked.len() as u64 * plan.work.events();
        comparison::level(self.pool).await?;
        let before = self.meter.read();
        let done = load.run().await?;
        let cpu = self.meter.read() - before;
        self.acknowledged += done.latencies_us.len() as u64 * plan.work.events();
        checked.extend(done.checked);
        for answered in &checked {
            self.receipts_checked +=
                receipts::check(self.pool, &recorders.logs, plan.work, &recorders.recorded_by, answered)
                    .await?;
        }
        Ok(Side::new(plan.work.events(), done.seconds, done.latencies_us, cpu))
    }

    async fn postgres(&mut self, plan: &Plan) -> anyhow::Result<Side> {
        self.runs += 1;
        let mut batches = Vec::new();
        if let Work::Batch(events) = plan.work {
            let first = self.next_sample.fetch_add(COPY_BATCHES * events, Ordering::Relaxed);
            batches.extend((0..COPY_BATCHES).map(|n| first + n * events).map(|n| Encoded::of(n..n + events)));
        }
        comparison::level(self.pool).await?;
        let before = self.meter.read();
        let run = async {
            match plan.work {
                Work::Batch(_) => copy::run(&self.database, &mut batches, self.runs, self.time).await,
                work => {
                    self.pgbench.run(work, plan.pgbench_clients, plan.tenants, self.time, self.runs).await
                }
            }
        };
        let timing = tokio::select! {
            timing = run => timing?,
            stopped = comparison::keep_flushed(self.pool) => match stopped? {},
        };
        let cpu = self.meter.read() - before;
        Ok(Side::new(plan.work.events(), timing.seconds, timing.latencies_us, cpu))
    }
}
