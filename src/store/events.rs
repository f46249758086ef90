//! Reads of recorded events. Every one is within a tenant, on the read-only pool, whose sessions carry the
//! `statement_timeout` that bounds a search.

use sqlx::types::ipnetwork::IpNetwork;
use sqlx::{FromRow, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::{EntryKind, Envelope, Event, Level, Outcome, Redacted, RedactionScope, Timestamp};
use crate::query::compile;
use crate::query::{Position, Search};
use crate::store::read::read;
use crate::store::values::unsigned;
use crate::store::{log, redactions, search};

/// SQLSTATE query_canceled: the statement ran into its timeout.
const QUERY_CANCELED: &str = "57014";

/// Events in the order of their search, as far as one page goes.
#[derive(Debug)]
pub struct Page {
    pub events: Vec<Event>,
    /// Whether others come, or may come, after the last of these.
    pub more: bool,
    /// Where the search has stopped looking, if that is not at the last of these.
    pub walked_to: Option<Position>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the query ran longer than it may")]
    Timeout,
    #[error("reading events failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|error| error.code()) {
            Some(code) if code == QUERY_CANCELED => Self::Timeout,
            _ => Self::Database(error),
        }
    }
}

/// The log's current epoch, which cursors are sealed to; 0 before the first event.
pub async fn epoch(pool: &PgPool, tenant_id: i32) -> Result<i32, ReadError> {
    let (epoch, _) = read(pool, || log::position(pool, tenant_id)).await?;
    Ok(epoch)
}

/// The page after `position`; the first event is on it whatever its size.
pub async fn page(
    pool: &PgPool,
    tenant_id: i32,
    search: &Search,
    position: Option<Position>,
) -> Result<Page, ReadError> {
    let mut page = search::page(pool, tenant_id, search, position).await?;
    tell_redactions(pool, tenant_id, &mut page.events).await?;
    Ok(page)
}

pub async fn by_id(pool: &PgPool, tenant_id: i32, id: Uuid) -> Result<Option<Event>, ReadError> {
    // Ids of events are made here, version 7; nothing else can be one.
    let Some((from, to)) = compile::id_millisecond(id) else { return Ok(None) };
    let row = || {
        sqlx::query_as!(
            EventRow,
            r#"SELECT seq, id, received_at, kind, level, event_type, user_identity, "timestamp", source, outcome,
                  target, message, ip, correlation_id, recorded_by, idempotency_key, lossy, payload, redaction
           FROM events WHERE tenant_id = $1 AND id = $2 AND received_at >= $3 AND received_at < $4"#,
            tenant_id,
            id,
            OffsetDateTime::from(from),
            OffsetDateTime::from(to),
        )
        .fetch_optional(pool)
    };
    let mut event = read(pool, row).await?.and_then(EventRow::into_event);
    tell_redactions(pool, tenant_id, event.as_mut_slice()).await?;
    Ok(event)
}

/// Adds what the log says about the redactions of these events. A statement more only where there are any; what it
/// reads was committed with the erasure that the first one saw, and never changes.
async fn tell_redactions(pool: &PgPool, tenant_id: i32, events: &mut [Event]) -> Result<(), ReadError> {
    let redacted = events.iter().filter_map(|event| Some((event.seq, event.redacted.as_ref()?.scope)));
    let redacted: Vec<_> = redacted.collect();
    if redacted.is_empty() {
        return Ok(());
    }
    let mut records = read(pool, || redactions::records(pool, tenant_id, &redacted)).await?;
    for event in events {
        if let Some(redacted) = &mut event.redacted {
            redacted.record = records.remove(&event.seq);
        }
    }
    Ok(())
}

/// The leaf of an event, its place, and by whom it was recorded unless that has been redacted.
pub struct FoundEntry {
    pub seq: u64,
    pub entry: Vec<u8>,
    pub recorded_by: Option<String>,
}

pub async fn entry(pool: &PgPool, tenant_id: i32, id: Uuid) -> Result<Option<FoundEntry>, ReadError> {
    let Some((from, to)) = compile::id_millisecond(id) else { return Ok(None) };
    let entry = || {
        sqlx::query!(
            "SELECT seq, entry, recorded_by FROM events
             WHERE tenant_id = $1 AND id = $2 AND received_at >= $3 AND received_at < $4",
            tenant_id,
            id,
            OffsetDateTime::from(from),
            OffsetDateTime::from(to),
        )
        .fetch_optional(pool)
    };
    let found = read(pool, entry).await?;
    Ok(found.map(|row| FoundEntry { seq: unsigned(row.seq), entry: row.entry, recorded_by: row.recorded_by }))
}

/// The payload of an event that is there.
#[derive(Debug, PartialEq, Eq)]
pub enum FoundPayload {
    /// The exact bytes of `event_data`.
    Bytes(Vec<u8>),
    Redacted,
    /// The event was recorded without one.
    Absent,
}

/// `None` if there is no such event.
pub async fn payload(pool: &PgPool, tenant_id: i32, id: Uuid) -> Result<Option<FoundPayload>, ReadError> {
    let Some((from, to)) = compile::id_millisecond(id) else { return Ok(None) };
    let payload = || {
        sqlx::query!(
            "SELECT payload, redaction FROM events
             WHERE tenant_id = $1 AND id = $2 AND received_at >= $3 AND received_at < $4",
            tenant_id,
            id,
            OffsetDateTime::from(from),
            OffsetDateTime::from(to),
        )
        .fetch_optional(pool)
    };
    let found = read(pool, payload).await?;
    Ok(found.map(|row| match (row.payload, RedactionScope::parse(&row.redaction)) {
        (Some(bytes), _) => FoundPayload::Bytes(bytes),
        (None, Some(_)) => FoundPayload::Redacted,
        (None, None) => FoundPayload::Absent,
    }))
}

#[derive(FromRow)]
pub(super) struct EventRow {
    seq: i64,
    id: Uuid,
    received_at: OffsetDateTime,
    kind: i16,
    level: Option<i16>,
    event_type: Option<String>,
    user_identity: Option<String>,
    timestamp: Option<OffsetDateTime>,
    source: Option<String>,
    outcome: Option<String>,
    target: Option<String>,
    message: Option<String>,
    ip: Option<IpNetwork>,
    correlation_id: Option<String>,
    recorded_by: Option<String>,
    idempotency_key: Option<String>,
    lossy: Option<bool>,
    payload: Option<Vec<u8>>,
    redaction: String,
}

impl EventRow {
    /// `None` only for what the table's constraints rule out.
    pub(super) fn into_event(mut self) -> Option<Event> {
        Some(Event {
            seq: u64::try_from(self.seq).ok()?,
            id: self.id,
            received_at: Timestamp::try_from(self.received_at).ok()?,
            kind: EntryKind::from_code(self.kind)?,
            payload: self.payload.take(),
            lossy: self.lossy.unwrap_or(false),
            redacted: RedactionScope::parse(&self.redaction)
                .map(|scope| Box::new(Redacted { scope, record: None })),
            envelope: self.into_envelope(),
        })
    }

    /// `None` once the typed columns were redacted.
    fn into_envelope(self) -> Option<Envelope> {
        Some(Envelope {
            event_type: self.event_type?,
            user_identity: self.user_identity?,
            timestamp: Timestamp::try_from(self.timestamp?).ok()?,
            source: self.source,
            level: Level::from_rank(self.level?)?,
            outcome: self.outcome.as_deref().and_then(Outcome::parse),
            target: self.target,
            message: self.message,
            ip: self.ip.map(|network| IpNetwork::ip(&network)),
            correlation_id: self.correlation_id,
            recorded_by: self.recorded_by?,
            idempotency_key: self.idempotency_key,
        })
    }
}
