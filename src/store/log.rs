//! The state of a log: its head, and what its tree is rebuilt from.

use std::time::Duration;

use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::principals::TenantRow;
use super::read::read;
use super::values::{hash, signed, timestamp, unsigned};
use crate::event::Timestamp;
use crate::merkle::Hash;

/// The state of a log, read under its lock.
#[derive(Clone, Debug)]
pub struct Head {
    pub size: u64,
    pub root: Hash,
    pub frontier: Vec<u8>,
    pub epoch: i32,
    pub last_received_at: Timestamp,
    pub last_id: Uuid,
    /// The database clock, under the lock.
    pub now: Timestamp,
}

/// Locks the head of a log until the end of the transaction. In READ COMMITTED a waiter gets the newest row. The
/// clock is read after the lock is had: without MATERIALIZED it would be the time before the wait.
pub async fn lock_head(transaction: &mut PgConnection, tenant_id: i32) -> Result<Head, sqlx::Error> {
    let row = sqlx::query!(
        r#"WITH head AS MATERIALIZED (
             SELECT size, root, frontier, epoch, last_received_at, last_id FROM heads WHERE tenant_id = $1 FOR UPDATE
           )
           SELECT size, root, frontier, epoch, last_received_at, last_id, clock_timestamp() AS "now!" FROM head"#,
        tenant_id
    )
    .fetch_one(transaction)
    .await?;
    Ok(Head {
        size: unsigned(row.size),
        root: hash(&row.root)?,
        frontier: row.frontier,
        epoch: row.epoch,
        last_received_at: timestamp(row.last_received_at)?,
        last_id: row.last_id,
        now: timestamp(row.now)?,
    })
}

/// The epoch and the size of a log; 0 if there is no such log.
pub async fn position(executor: impl PgExecutor<'_>, tenant_id: i32) -> Result<(i32, u64), sqlx::Error> {
    let head = sqlx::query!("SELECT epoch, size FROM heads WHERE tenant_id = $1", tenant_id)
        .fetch_optional(executor)
        .await?;
    Ok(head.map_or((0, 0), |head| (head.epoch, unsigned(head.size))))
}

/// How many events a log has; 0 if there is no such log.
pub async fn size(pool: &PgPool, tenant_id: i32) -> Result<u64, sqlx::Error> {
    let (_, size) = read(pool, || position(pool, tenant_id)).await?;
    Ok(size)
}

/// The tenants whose logs have entries, but none within that time.
pub async fn quiet_for(pool: &PgPool, time: Duration) -> Result<Vec<TenantRow>, sqlx::Error> {
    let seconds = time.as_secs_f64();
    let quiet = || {
        sqlx::query_as!(
            TenantRow,
            "SELECT tenant_id, name, log_id, created_at, public_proofs FROM tenants JOIN heads USING (tenant_id)
             WHERE size > 0 AND last_received_at <= clock_timestamp() - make_interval(secs => $1)
             ORDER BY tenant_id",
            seconds
        )
        .fetch_all(pool)
    };
    read(pool, quiet).await
}

/// The entries from `first_seq` on; they lie at or after `since`, which lets partitions be skipped.
pub async fn entries_from(
    connection: &mut PgConnection,
    tenant_id: i32,
    first_seq: u64,
    since: Option<Timestamp>,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT entry FROM events
           WHERE tenant_id = $1 AND seq >= $2 AND received_at >= COALESCE($3, '-infinity'::timestamptz) ORDER BY seq"#,
        tenant_id,
        signed(first_seq),
        since.map(OffsetDateTime::from)
    )
    .fetch_all(connection)
    .await
}

/// Roots of the full tiles of a level from `first_index` on.
pub async fn tile_roots_from(
    connection: &mut PgConnection,
    tenant_id: i32,
    level: u8,
    first_index: u64,
) -> Result<Vec<Hash>, sqlx::Error> {
    let roots = sqlx::query_scalar!(
        "SELECT root FROM tiles WHERE tenant_id = $1 AND level = $2 AND index >= $3 ORDER BY index",
        tenant_id,
        i16::from(level),
        signed(first_index)
    )
    .fetch_all(connection)
    .await?;
    roots.iter().map(|root| hash(root)).collect()
}

/// When the last event of a level-0 tile was received.
pub async fn tile_end(
    connection: &mut PgConnection,
    tenant_id: i32,
    index: u64,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let end = sqlx::query_scalar!(
        "SELECT last_received_at FROM tiles WHERE tenant_id = $1 AND level = 0 AND index = $2",
        tenant_id,
        signed(index)
    )
    .fetch_optional(connection)
    .await?;
    end.flatten().map(timestamp).transpose()
}

/// Whether this very event is there; answers what became of a COMMIT whose answer was lost.
pub async fn contains(
    connection: &mut PgConnection,
    tenant_id: i32,
    received_at: Timestamp,
    seq: u64,
    id: Uuid,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM events
             WHERE tenant_id = $1 AND received_at = $2 AND seq = $3 AND id = $4) AS "there!""#,
        tenant_id,
        OffsetDateTime::from(received_at),
        signed(seq),
        id
    )
    .fetch_one(connection)
    .await
}
