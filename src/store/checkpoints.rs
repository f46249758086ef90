//! Signed tree heads that are kept.

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::read::read;
use super::values::{signed, timestamp, unsigned};
use crate::event::Timestamp;

/// A signed tree head, and when it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub epoch: i32,
    pub size: u64,
    pub note: String,
    pub stored_at: Timestamp,
}

/// Stores a checkpoint; unless it is the `last`, only if no other of the log was stored less than a minute ago.
pub async fn store(
    pool: &PgPool,
    tenant_id: i32,
    (epoch, size): (i32, u64),
    note: &str,
    last: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO checkpoints (tenant_id, epoch, size, note)
         SELECT $1, $2, $3, $4 WHERE $5 OR NOT EXISTS (
             SELECT FROM checkpoints
             WHERE tenant_id = $1 AND epoch = $2 AND stored_at > clock_timestamp() - interval '1 minute'
         ) ON CONFLICT DO NOTHING",
        tenant_id,
        epoch,
        signed(size),
        note,
        last
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Stores the checkpoint that begins an epoch.
pub async fn store_first(
    connection: &mut PgConnection,
    tenant_id: i32,
    epoch: i32,
    size: u64,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO checkpoints (tenant_id, epoch, size, note) VALUES ($1, $2, $3, $4)",
        tenant_id,
        epoch,
        signed(size),
        note
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The oldest checkpoint of an epoch.
pub async fn first_of_epoch(
    connection: &mut PgConnection,
    tenant_id: i32,
    epoch: i32,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT note FROM checkpoints WHERE tenant_id = $1 AND epoch = $2 ORDER BY size LIMIT 1",
        tenant_id,
        epoch
    )
    .fetch_optional(connection)
    .await
}

/// A page of the stored checkpoints, newest first: those of a smaller size than `before` if it is given. Sizes
/// only ever grow within an epoch, and each epoch goes on from the size of the one before or less; so the order
/// is that of epochs first.
pub async fn page(
    pool: &PgPool,
    tenant_id: i32,
    before: (i32, u64),
    limit: i64,
) -> Result<Vec<Stored>, sqlx::Error> {
    let page = || {
        sqlx::query!(
            "SELECT epoch, size, note, stored_at FROM checkpoints
             WHERE tenant_id = $1 AND (epoch, size) < ($2, $3) ORDER BY epoch DESC, size DESC LIMIT $4",
            tenant_id,
            before.0,
            signed(before.1),
            limit
        )
        .fetch_all(pool)
    };
    let rows = read(pool, page).await?.into_iter();
    rows.map(|row| {
        let stored_at: OffsetDateTime = row.stored_at;
        Ok(Stored {
            epoch: row.epoch,
            size: unsigned(row.size),
            note: row.note,
            stored_at: timestamp(stored_at)?,
        })
    })
    .collect()
}
