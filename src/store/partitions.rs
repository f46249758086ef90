//! Monthly partitions of `events`, made ahead of time.

use sqlx::PgExecutor;

/// Makes those of this month and `months_ahead` that are missing; returns their names.
pub async fn ensure(owner: impl PgExecutor<'_>, months_ahead: i32) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT ensure_event_partitions($1) AS "name!""#, months_ahead).fetch_all(owner).await
}
