//! The table that pgbench and COPY write to, in the service's own cluster.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::{Executor, PgPool};

/// As often as a loaded service does it for its own table.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// Every run writes under sequence numbers of its own, beyond those of the rows taken over. pgbench_*.sql gives
/// each of its clients a part of them.
pub(super) const ROWS_PER_RUN: u64 = 100_000_000_000;

/// How long a run took, and each of its transactions.
pub(super) struct Timing {
    pub(super) seconds: f64,
    pub(super) latencies_us: Vec<u64>,
}

pub(super) async fn create(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::raw_sql(include_str!("comparison.sql")).execute(pool).await.map(drop)
}

/// Takes over the rows that the service has recorded.
pub(super) async fn fill(pool: &PgPool) -> sqlx::Result<()> {
    pool.execute("INSERT INTO bench.events SELECT * FROM public.events").await?;
    pool.execute("VACUUM (ANALYZE) bench.events").await?;
    pool.execute("VACUUM (ANALYZE) public.events").await.map(drop)
}

/// The same start for each side: nothing left to flush, and every page's first change is written in full.
pub(super) async fn level(pool: &PgPool) -> sqlx::Result<()> {
    flush(pool, "bench.events").await?;
    flush(pool, "public.events").await?;
    pool.execute("CHECKPOINT").await.map(drop)
}

/// Flushes the pending lists of the GIN indexes, as the service does in the background, for ever.
pub(super) async fn keep_flushed(pool: &PgPool) -> sqlx::Result<Infallible> {
    loop {
        tokio::time::sleep(FLUSH_EVERY).await;
        flush(pool, "bench.events").await?;
    }
}

async fn flush(pool: &PgPool, table: &str) -> sqlx::Result<()> {
    sqlx::query(
        "SELECT gin_clean_pending_list(i.indexrelid)
         FROM pg_inherits h
         JOIN pg_index i ON i.indrelid = h.inhrelid
         JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_am a ON a.oid = c.relam
         WHERE h.inhparent = $1::text::regclass AND a.amname = 'gin'",
    )
    .bind(table)
    .execute(pool)
    .await
    .map(drop)
}
