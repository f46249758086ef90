//! What the service has to record of its own doings, between the change and the log (see `access`).

use std::net::IpAddr;

use sqlx::types::Uuid;
use sqlx::types::ipnetwork::IpNetwork;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

/// A change that is about to be committed, as an event.
pub struct NewServiceEvent<'a> {
    /// Whose log it belongs to.
    pub tenant_id: i32,
    /// `eventlogger.…`
    pub event_type: &'a str,
    pub user_identity: &'a str,
    pub target: Option<&'a str>,
    pub message: &'a str,
    pub ip: Option<IpAddr>,
    /// JSON.
    pub event_data: Option<&'a str>,
}

/// One that waits to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEvent {
    pub service_event_id: i64,
    pub tenant_id: i32,
    /// Its name.
    pub tenant: String,
    pub log_id: Uuid,
    pub at: OffsetDateTime,
    pub event_type: String,
    pub user_identity: String,
    pub target: Option<String>,
    pub message: String,
    pub ip: Option<IpNetwork>,
    pub event_data: Option<String>,
}

/// To be called in the transaction of the change.
pub async fn insert(change: &mut PgConnection, event: &NewServiceEvent<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO service_events (tenant_id, event_type, user_identity, target, message, ip, event_data)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        event.tenant_id,
        event.event_type,
        event.user_identity,
        event.target,
        event.message,
        event.ip.map(IpNetwork::from),
        event.event_data
    )
    .execute(change)
    .await?;
    Ok(())
}

/// The oldest that wait, at most `limit`, except those `set_aside`.
pub async fn oldest(pool: &PgPool, set_aside: &[i64], limit: i64) -> sqlx::Result<Vec<ServiceEvent>> {
    sqlx::query_as!(
        ServiceEvent,
        "SELECT s.service_event_id, s.tenant_id, t.name AS tenant, t.log_id, s.at, s.event_type, s.user_identity,
                s.target, s.message, s.ip, s.event_data
         FROM service_events s JOIN tenants t USING (tenant_id)
         WHERE s.service_event_id <> ALL ($1)
         ORDER BY s.service_event_id LIMIT $2",
        set_aside,
        limit
    )
    .fetch_all(pool)
    .await
}

/// Forgets those that are in the log by now.
pub async fn delete(pool: &PgPool, ids: &[i64]) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM service_events WHERE service_event_id = ANY ($1)", ids).execute(pool).await?;
    Ok(())
}
