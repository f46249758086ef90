//! What proves events: their entries, and the salts that open what those commit to.

use std::collections::HashMap;

use sqlx::PgPool;
use time::OffsetDateTime;

use super::read::read;
use crate::event::{Event, RedactionScope};

/// As it is now, which may be less than what was read of the event before.
#[derive(Debug)]
pub struct Evidence {
    pub entry: Vec<u8>,
    pub envelope_salt: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub payload_salt: Option<Vec<u8>>,
    pub redacted: Option<RedactionScope>,
}

/// Of these events, by seq.
pub async fn of_events(
    pool: &PgPool,
    tenant_id: i32,
    events: &[Event],
) -> Result<HashMap<u64, Evidence>, sqlx::Error> {
    let seqs: Vec<i64> = events.iter().filter_map(|event| i64::try_from(event.seq).ok()).collect();
    let times = || events.iter().map(|event| event.received_at);
    let (Some(from), Some(to)) = (times().min(), times().max()) else { return Ok(HashMap::new()) };
    let rows = read(pool, || {
        sqlx::query!(
            "SELECT seq, entry, envelope_salt, payload, payload_salt, redaction FROM events
             WHERE tenant_id = $1 AND seq = ANY($2) AND received_at BETWEEN $3 AND $4",
            tenant_id,
            &seqs,
            OffsetDateTime::from(from),
            OffsetDateTime::from(to),
        )
        .fetch_all(pool)
    })
    .await?;
    let evidence = rows.into_iter().map(|row| {
        let evidence = Evidence {
            entry: row.entry,
            envelope_salt: row.envelope_salt,
            payload: row.payload,
            payload_salt: row.payload_salt,
            redacted: RedactionScope::parse(&row.redaction),
        };
        (row.seq.cast_unsigned(), evidence)
    });
    Ok(evidence.collect())
}
