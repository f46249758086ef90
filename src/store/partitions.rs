//! Monthly partitions of `events`, made ahead of time.

use sqlx::PgExecutor;

/// Makes those of this month and `months_ahead` that are missing; returns their names.
pub async fn ensure(owner: impl PgExecutor<'_>, months_ahead: i32) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT ensure_event_partitions($1) AS "name!""#, months_ahead)
        .fetch_all(owner)
        .await
}

/// Moves recent entries of the GIN indexes from their pending lists into the trees; returns the pages freed.
pub async fn flush_pending(owner: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(gin_clean_pending_list(i.indexrelid)), 0)::bigint AS "pages!"
           FROM pg_inherits h
           JOIN pg_index i ON i.indrelid = h.inhrelid
           JOIN pg_class c ON c.oid = i.indexrelid
           JOIN pg_am a ON a.oid = c.relam
           WHERE h.inhparent = 'events'::regclass AND a.amname = 'gin' AND i.indisvalid"#
    )
    .fetch_one(owner)
    .await
}

/// Whether an event received now would find its partition.
pub async fn covers_now(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT to_regclass(to_char(clock_timestamp() AT TIME ZONE 'UTC', '"events_"YYYY"_"MM')) IS NOT NULL AS "there!""#
    )
    .fetch_one(executor)
    .await
}
