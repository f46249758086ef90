//! `eventlogger bench`: the service against PostgreSQL alone, on this machine, in one run.
//!
//! A throw-away service with its own cluster at full durability records what pgbench and COPY write into a
//! table with the same columns, partitions and indexes of the same cluster. The two take turns; what counts
//! is the median of the rounds' ratios, since both suffer from what else the machine does.

mod comparison;
mod copy;
mod cpu;
mod load;
mod pgbench;
mod receipts;
mod report;
mod sample;
mod scratch;
mod server;
mod tenants;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::StatusCode;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::sleep;

use cpu::{Meter, resident_bytes};
use load::{Client, Load, Until, Work, basic};
use pgbench::Pgbench;
pub use report::Report;
use report::{Bound, Figure, median};
use scratch::Scratch;
use server::{Installation, Server, USER};
use tenants::Recorders;
use workload::Bench;
pub use workload::Workload;

#[derive(Clone, Debug)]
pub struct Options {
    /// Where to make the folder that holds everything.
    pub dir: PathBuf,
    /// Preloaded into each table; rounded up to whole batches.
    pub rows: u64,
    pub rounds: usize,
    /// Of each side of a round.
    pub time: Duration,
    pub workloads: Vec<Workload>,
}

/// Events in one request of the preload, and of the comparison with COPY.
const BATCH: u64 = 1_000;
const PRELOAD_CONNECTIONS: usize = 4;
const STARTS: usize = 3;
/// After a start or logins, for what was used only then to be given back.
const SETTLE: Duration = Duration::from_secs(2);
/// Wrong passwords presented at once, each of which takes the server an argon2 computation.
const LOGINS: usize = 16;

/// Runs everything; `progress` is told what comes next.
pub async fn run(options: Options, progress: impl Fn(&str)) -> anyhow::Result<Report> {
    let scratch = Scratch::create(&options.dir)?;
    let installation = Installation::create(&scratch)?;
    progress("starting the service and its PostgreSQL");
    let (server, _) = installation.start().await?;
    let database = installation.database()?;
    let pool = PgPoolOptions::new().max_connections(4).connect_with(database.clone()).await?;
    let pgbench = Pgbench::find(&installation.postgres_binaries()?, &database, &scratch)?;
    comparison::create(&pool).await.context("cannot make the comparison table")?;

    let rows = options.rows.next_multiple_of(BATCH);
    let next_sample = Arc::new(AtomicU64::new(0));
    progress(&format!("recording {rows} events in batches of {BATCH}"));
    let preload_seconds = preload(&installation, &pool, &next_sample, rows).await?;
    progress("copying them into the comparison table");
    comparison::fill(&pool).await.context("cannot fill the comparison table")?;

    let mut bench = Bench {
        meter: Meter { server: server.pid(), postmaster: installation.postmaster()? },
        installation: &installation,
        pool: &pool,
        database,
        pgbench,
        rounds: options.rounds,
        time: options.time,
        next_sample,
        acknowledged: rows,
        receipts_checked: 0,
        runs: 0,
    };
    let mut comparisons = Vec::new();
    for workload in options.workloads {
        comparisons.push(bench.compare(workload, &progress).await?);
    }
    progress("checking the logs against what was acknowledged");
    receipts::check_logs(&pool, bench.acknowledged).await?;
    let (receipts_checked, events_acknowledged) = (bench.receipts_checked, bench.acknowledged);
    let postgres = sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&pool).await?;
    pool.close().await;

    progress("starting the service again");
    let service = restart(&installation, server).await?;
    Ok(Report {
        postgres,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        rows,
        preload_events_per_second: rows as f64 / preload_seconds,
        seconds_per_side: options.time.as_secs(),
        receipts_checked,
        events_acknowledged,
        comparisons,
        service,
    })
}

/// Records `rows` events through the service; says how many seconds that took.
async fn preload(
    installation: &Installation,
    pool: &PgPool,
    next_sample: &Arc<AtomicU64>,
    rows: u64,
) -> anyhow::Result<f64> {
    let load = Load {
        address: installation.address,
        authorizations: Recorders::one(pool, installation).await?.authorizations,
        connections: PRELOAD_CONNECTIONS,
        work: Work::Batch(BATCH),
        receipts: false,
        next_sample: Arc::clone(next_sample),
        until: Until::Sample(rows),
    };
    Ok(load.run().await?.seconds)
}

/// The service alone: how fast it starts on the cluster that is there, and its memory when idle.
async fn restart(installation: &Installation, server: Server) -> anyhow::Result<Vec<Figure>> {
    let mut server = server;
    let mut starts = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        drop(server);
        let (started, time) = installation.start().await?;
        starts.push(time.as_secs_f64());
        server = started;
    }
    sleep(SETTLE).await;
    let idle = resident_bytes(server.pid());
    log_in(installation).await?;
    sleep(SETTLE).await;
    let megabytes = |bytes: Option<u64>| bytes.map_or(f64::NAN, |bytes| bytes as f64 / 1e6);
    Ok(vec![
        Figure::new("start to ready", "s", median(starts), Bound::AtMost(1.0)),
        Figure::new("memory, idle", "MB", megabytes(idle), Bound::AtMost(30.0)),
        Figure::new(
            "memory, idle after logins",
            "MB",
            megabytes(resident_bytes(server.pid())),
            Bound::AtMost(30.0),
        ),
    ])
}

/// Many logins at once, of which one is right. Each of another name, as guesses at one are soon slowed down.
async fn log_in(installation: &Installation) -> anyhow::Result<()> {
    let mut logins = JoinSet::new();
    for n in 0..LOGINS {
        let wrong = basic(&format!("nobody{n}"), "wrong")?;
        let mut client = Client::connect(installation.address).await?;
        logins.spawn(async move { client.get("/status", Some(&wrong)).await });
    }
    while let Some(status) = logins.join_next().await {
        ensure!(status?? == StatusCode::UNAUTHORIZED, "a wrong password was not refused");
    }
    let right = basic(USER, installation.password.reveal())?;
    let status = Client::connect(installation.address).await?.get("/status", Some(&right)).await?;
    ensure!(status == StatusCode::OK, "the right password was answered {status}");
    Ok(())
}
