//! Which key signs which log. Keys are C2SP verifier keys; the private half is never in the database.

use sqlx::{PgConnection, PgExecutor, PgPool};

use super::principals::TenantRow;
use super::read::read;
use super::values::{signed, unsigned};

/// A key of a log, now or earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    pub epoch: i32,
    pub vkey: String,
    /// The size of the log when it was registered.
    pub from_size: u64,
    /// The size up to which it signed, once it no longer does.
    pub retired_at_size: Option<u64>,
}

/// Lets one transaction at a time decide which key becomes the first.
pub async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('eventlogger/log_keys', 0))")
        .execute(connection)
        .await?;
    Ok(())
}

/// The key of some log that is in use; `None` in an installation that has never signed anything. All logs of an
/// installation are signed by one key.
pub async fn any_active(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT vkey FROM log_keys WHERE retired_at_size IS NULL ORDER BY tenant_id, epoch DESC LIMIT 1"
    )
    .fetch_optional(connection)
    .await
}

/// The key that signs this log.
pub async fn active(
    connection: &mut PgConnection,
    tenant_id: i32,
    epoch: i32,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT vkey FROM log_keys WHERE tenant_id = $1 AND epoch = $2 AND retired_at_size IS NULL",
        tenant_id,
        epoch
    )
    .fetch_optional(connection)
    .await
}

/// Does nothing if the log has a key already in that epoch; returns whether it has this one now.
pub async fn register(
    connection: &mut PgConnection,
    tenant_id: i32,
    epoch: i32,
    vkey: &str,
    from_size: u64,
) -> Result<bool, sqlx::Error> {
    let registered = sqlx::query!(
        "INSERT INTO log_keys (tenant_id, epoch, vkey, from_size) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        tenant_id,
        epoch,
        vkey,
        signed(from_size)
    )
    .execute(connection)
    .await?;
    Ok(registered.rows_affected() == 1)
}

/// What the log's key signed ends with this size; returns the first epoch that never had a key.
pub async fn retire(connection: &mut PgConnection, tenant_id: i32, size: u64) -> Result<i32, sqlx::Error> {
    sqlx::query!(
        "UPDATE log_keys SET retired_at_size = GREATEST(from_size, $2)
         WHERE tenant_id = $1 AND retired_at_size IS NULL",
        tenant_id,
        signed(size)
    )
    .execute(&mut *connection)
    .await?;
    let last = sqlx::query_scalar!("SELECT max(epoch) FROM log_keys WHERE tenant_id = $1", tenant_id);
    Ok(last.fetch_one(connection).await?.map_or(0, |last| last.saturating_add(1)))
}

/// The tenants whose logs have a key.
pub async fn signed_tenants(connection: &mut PgConnection) -> Result<Vec<TenantRow>, sqlx::Error> {
    sqlx::query_as!(
        TenantRow,
        "SELECT tenant_id, name, log_id, created_at, public_proofs FROM tenants
         WHERE EXISTS (
             SELECT FROM log_keys WHERE log_keys.tenant_id = tenants.tenant_id AND retired_at_size IS NULL
         ) ORDER BY tenant_id"
    )
    .fetch_all(connection)
    .await
}

/// The keys that the log itself says it had before another, in the words of `eventlogger.key_changed`.
pub async fn replaced(connection: &mut PgConnection, tenant_id: i32) -> Result<Vec<String>, sqlx::Error> {
    let replaced = sqlx::query_scalar!(
        "SELECT event_data ->> 'previous_key' FROM events
         WHERE tenant_id = $1 AND event_type = 'eventlogger.key_changed' AND kind = 3",
        tenant_id
    );
    Ok(replaced.fetch_all(connection).await?.into_iter().flatten().collect())
}

/// The public keys that a log ever had.
pub async fn vkeys(executor: impl PgExecutor<'_>, tenant_id: i32) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT vkey FROM log_keys WHERE tenant_id = $1", tenant_id).fetch_all(executor).await
}

/// All keys that a log ever had, oldest first.
pub async fn of_log(pool: &PgPool, tenant_id: i32) -> Result<Vec<LogKey>, sqlx::Error> {
    let keys = || {
        sqlx::query!(
            "SELECT epoch, vkey, from_size, retired_at_size FROM log_keys WHERE tenant_id = $1
             ORDER BY epoch, from_size, vkey",
            tenant_id
        )
        .fetch_all(pool)
    };
    let keys = read(pool, keys).await?;
    let key = keys.into_iter().map(|row| LogKey {
        epoch: row.epoch,
        vkey: row.vkey,
        from_size: unsigned(row.from_size),
        retired_at_size: row.retired_at_size.map(unsigned),
    });
    Ok(key.collect())
}
