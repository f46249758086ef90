//! What `eventlogger sample` has to know of a log before it adds to it.

use sqlx::PgPool;

use super::read::read;
use super::values::timestamp;
use crate::event::Timestamp;

/// Whether a log has an event that somebody else recorded. One whose fields were redacted says no more by whom it was,
/// and is passed over.
pub async fn has_event_of_others(
    pool: &PgPool,
    tenant_id: i32,
    recorders: &[&str],
) -> Result<bool, sqlx::Error> {
    let exists = || {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM events
                 WHERE tenant_id = $1 AND kind = 1 AND recorded_by <> ALL ($2::text[])) AS "there!""#,
            tenant_id,
            recorders as &[&str]
        )
        .fetch_one(pool)
    };
    read(pool, exists).await
}

/// The timestamp of the event that a key stands for; `None` also if it was redacted.
pub async fn timestamp_of(
    pool: &PgPool,
    tenant_id: i32,
    principal_id: i64,
    key: &str,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let found = || {
        sqlx::query_scalar!(
            r#"SELECT e."timestamp" FROM idempotency i JOIN events e USING (tenant_id, received_at, seq)
               WHERE tenant_id = $1 AND i.principal_id = $2 AND i.key = $3"#,
            tenant_id,
            principal_id,
            key
        )
        .fetch_optional(pool)
    };
    read(pool, found).await?.flatten().map(timestamp).transpose()
}
