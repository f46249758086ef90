//! Facts of the installation that all instances share.

use sqlx::PgPool;

/// The value under `name`; the first instance to ask stores `fresh`.
pub async fn get_or_insert(control: &PgPool, name: &str, fresh: &[u8]) -> Result<Vec<u8>, sqlx::Error> {
    sqlx::query!("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING", name, fresh)
        .execute(control)
        .await?;
    sqlx::query_scalar!("SELECT value FROM settings WHERE name = $1", name).fetch_one(control).await
}
