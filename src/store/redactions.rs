//! Redactions: what may be redacted, the erasure itself, and what the log says about it.

use std::collections::HashMap;

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use super::values::{Columns, corrupt, signed, timestamp, unsigned};
use crate::event::{EntryKind, RedactionRecord, RedactionScope, Timestamp};

/// An entry that somebody wants to redact, as it is now.
#[derive(Clone, Debug)]
pub struct Target {
    pub id: Uuid,
    pub kind: EntryKind,
    pub redacted: Option<RedactionScope>,
}

/// A redaction's entry, and when the event was received that it names: that says in which partition it is.
#[derive(Clone, Copy, Debug)]
pub struct Erasure {
    pub seq: u64,
    pub received_at: Timestamp,
    pub target_received_at: Timestamp,
}

/// The entries at these places, by seq.
pub async fn targets(
    transaction: &mut PgConnection,
    tenant_id: i32,
    places: &[(Timestamp, u64)],
) -> Result<HashMap<u64, Target>, sqlx::Error> {
    let column = Columns(places);
    let rows = sqlx::query!(
        "SELECT e.seq, e.id, e.kind, e.redaction
         FROM UNNEST($2::timestamptz[], $3::bigint[]) AS wanted (received_at, seq)
         CROSS JOIN LATERAL (
           SELECT seq, id, kind, redaction FROM events
           WHERE tenant_id = $1 AND received_at = wanted.received_at AND seq = wanted.seq LIMIT 1
         ) AS e",
        tenant_id,
        &column.of(|(received_at, _)| OffsetDateTime::from(*received_at)),
        &column.of(|(_, seq)| signed(*seq)),
    )
    .fetch_all(transaction)
    .await?;
    rows.into_iter()
        .map(|row| {
            let kind =
                EntryKind::from_code(row.kind).ok_or_else(|| corrupt("an entry of an unknown kind"))?;
            Ok((
                unsigned(row.seq),
                Target { id: row.id, kind, redacted: RedactionScope::parse(&row.redaction) },
            ))
        })
        .collect()
}

/// Erases what these entries say, which the same transaction has inserted. By the function of the redactor: the
/// writer cannot change what is recorded. What it erases where is said in migration 0006.
pub async fn erase(
    transaction: &mut PgConnection,
    tenant_id: i32,
    erasures: &[Erasure],
) -> Result<(), sqlx::Error> {
    for erasure in erasures {
        sqlx::query!(
            "SELECT redact_event($1, $2, $3, $4)",
            tenant_id,
            signed(erasure.seq),
            OffsetDateTime::from(erasure.received_at),
            OffsetDateTime::from(erasure.target_received_at),
        )
        .execute(&mut *transaction)
        .await?;
    }
    Ok(())
}

/// What the log says about the redactions of these events that erased that much, by the events' seq. LATERAL with
/// LIMIT allows only look-ups, whatever the planner thinks of the tables' sizes.
pub async fn records(
    reader: impl PgExecutor<'_>,
    tenant_id: i32,
    redacted: &[(u64, RedactionScope)],
) -> Result<HashMap<u64, RedactionRecord>, sqlx::Error> {
    let column = Columns(redacted);
    let rows = sqlx::query!(
        r#"SELECT r.target_seq, r.seq, r.received_at, e.user_identity AS "by!",
                  COALESCE(e.event_data ->> 'reason', '') AS "reason!"
           FROM UNNEST($2::bigint[], $3::text[]) AS wanted (seq, scope)
           CROSS JOIN LATERAL (
             SELECT target_seq, seq, received_at FROM redactions
             WHERE tenant_id = $1 AND target_seq = wanted.seq AND scope = wanted.scope LIMIT 1
           ) AS r
           CROSS JOIN LATERAL (
             SELECT user_identity, event_data FROM events
             WHERE tenant_id = $1 AND received_at = r.received_at AND seq = r.seq AND kind = 2
               AND user_identity IS NOT NULL LIMIT 1
           ) AS e"#,
        tenant_id,
        &column.of(|(seq, _)| signed(*seq)),
        &column.of(|(_, scope)| scope.name()) as &[&str],
    )
    .fetch_all(reader)
    .await?;
    rows.into_iter()
        .map(|row| {
            let record = RedactionRecord {
                seq: unsigned(row.seq),
                at: timestamp(row.received_at)?,
                by: row.by,
                reason: row.reason,
            };
            Ok((unsigned(row.target_seq), record))
        })
        .collect()
}
