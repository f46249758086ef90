//! Events that stand in the table as if they had been recorded.

use eventlogger::event::{Payload, Timestamp};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) const TENANT: i32 = 1;
pub(crate) const OTHER_TENANT: i32 = 2;

#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) tenant_id: i32,
    pub(crate) seq: i64,
    pub(crate) received_at: &'static str,
    pub(crate) timestamp: &'static str,
    pub(crate) event_type: &'static str,
    pub(crate) user_identity: &'static str,
    pub(crate) ip: Option<&'static str>,
    pub(crate) message: Option<&'static str>,
    pub(crate) payload: Option<Vec<u8>>,
}

pub(crate) fn given(seq: i64) -> Given {
    Given {
        tenant_id: TENANT,
        seq,
        received_at: "2001-01-10T00:00:00Z",
        timestamp: "2001-01-09T00:00:00Z",
        event_type: "login",
        user_identity: "ann",
        ip: None,
        message: None,
        payload: None,
    }
}

pub(crate) fn with_payload(seq: i64, json: &str) -> Given {
    Given { payload: Some(json.as_bytes().to_vec()), ..given(seq) }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// A version 7 id of that millisecond, distinct by tenant and seq.
pub(crate) fn id_of(given: &Given) -> Uuid {
    let ms = (at(given.received_at).as_micros() / 1000) as u128;
    let rest = (given.tenant_id as u128) << 40 | given.seq as u128;
    Uuid::from_u128(ms << 80 | 7 << 76 | 2 << 62 | rest)
}

/// Two months that no other test and no running service writes to.
async fn partitions(pool: &PgPool) {
    for statement in [
        "CREATE TABLE events_2001_01 PARTITION OF events FOR VALUES FROM ('2001-01-01Z') TO ('2001-02-01Z')",
        "CREATE TABLE events_2001_02 PARTITION OF events FOR VALUES FROM ('2001-02-01Z') TO ('2001-03-01Z')",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
}

pub(crate) async fn store(pool: &PgPool, events: &[Given]) {
    partitions(pool).await;
    for given in events {
        insert(pool, given).await;
    }
}

pub(crate) async fn insert(pool: &PgPool, given: &Given) {
    let payload = given.payload.clone().map(|bytes| Payload::parse(bytes).unwrap());
    let salt = vec![1_u8; 16];
    sqlx::query(
        r#"INSERT INTO events (tenant_id, seq, received_at, id, kind, envelope_v, projection_v, level, event_type,
               user_identity, "timestamp", ip, message, recorded_by, entry, envelope_salt, payload_salt, lossy,
               payload, event_data)
           VALUES ($1, $2, $3, $4, 1, 1, 1, 4, $5, $6, $7, $8::inet, $9, 'user:ann', $10, $11, $12, $13, $14,
               $15::jsonb)"#,
    )
    .bind(given.tenant_id)
    .bind(given.seq)
    .bind(OffsetDateTime::from(at(given.received_at)))
    .bind(id_of(given))
    .bind(given.event_type)
    .bind(given.user_identity)
    .bind(OffsetDateTime::from(at(given.timestamp)))
    .bind(given.ip)
    .bind(given.message)
    .bind(vec![0_u8; 118])
    .bind(&salt)
    .bind(payload.as_ref().map(|_| &salt))
    .bind(payload.as_ref().map(|payload| payload.projection.lossy))
    .bind(payload.as_ref().map(|payload| &payload.bytes))
    .bind(payload.as_ref().map(|payload| &payload.projection.json))
    .execute(pool)
    .await
    .unwrap();
}
