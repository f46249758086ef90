//! Idempotency keys: which event each of them stands for.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::values::{Columns, corrupt, hash, salt, signed, timestamp, unsigned};
use crate::event::{ENTRY_LEN, Salt, Timestamp};
use crate::merkle::Hash;

/// Which event an idempotency key stands for.
#[derive(Clone, Debug)]
pub struct Key {
    pub principal_id: i64,
    pub key: String,
    pub seq: u64,
    pub event_id: Uuid,
    pub received_at: Timestamp,
    pub leaf_hash: Hash,
    /// The MAC of the submitted content and its salt; erased with a redacted event.
    pub content: Option<(Salt, Hash)>,
}

/// A key, and what its event's submitter keeps as evidence; `None` for an event that was redacted.
#[derive(Clone, Debug)]
pub struct Known {
    pub key: Key,
    pub evidence: Option<Evidence>,
}

#[derive(Clone, Debug)]
pub struct Evidence {
    pub entry: [u8; ENTRY_LEN],
    pub recorded_by: String,
    pub envelope_salt: Salt,
    pub payload_salt: Option<Salt>,
}

/// The events that these keys (pairs of principal and key) already stand for. LATERAL with LIMIT allows only
/// one look-up per key: a plan for a plain join, made while the table was small, reads all of a tenant's keys.
pub async fn find(
    transaction: &mut PgConnection,
    tenant_id: i32,
    principals: &[i64],
    keys: &[String],
) -> Result<Vec<Known>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT i.principal_id, i.key, i.seq, i.event_id, i.received_at, i.leaf_hash, i.salt, i.content_mac,
                  e.entry AS "entry?", e.recorded_by, e.envelope_salt, e.payload_salt
           FROM UNNEST($2::bigint[], $3::text[]) AS wanted (principal_id, key)
           CROSS JOIN LATERAL (
             SELECT * FROM idempotency
             WHERE tenant_id = $1 AND key = wanted.key AND principal_id = wanted.principal_id LIMIT 1
           ) AS i
           LEFT JOIN LATERAL (
             SELECT entry, recorded_by, envelope_salt, payload_salt FROM events
             WHERE tenant_id = $1 AND received_at = i.received_at AND seq = i.seq LIMIT 1
           ) AS e ON true"#,
        tenant_id,
        principals,
        keys
    )
    .fetch_all(transaction)
    .await?;
    rows.into_iter()
        .map(|row| {
            let content = match (row.salt, row.content_mac) {
                (Some(bytes), Some(mac)) => Some((salt(&bytes)?, hash(&mac)?)),
                _ => None,
            };
            let evidence = match (row.entry, row.recorded_by, row.envelope_salt) {
                (Some(entry), Some(recorded_by), Some(envelope_salt)) => Some(Evidence {
                    entry: entry.try_into().map_err(|_| corrupt("an entry of other than 118 bytes"))?,
                    recorded_by,
                    envelope_salt: salt(&envelope_salt)?,
                    payload_salt: row.payload_salt.as_deref().map(salt).transpose()?,
                }),
                _ => None,
            };
            let key = Key {
                principal_id: row.principal_id,
                key: row.key,
                seq: unsigned(row.seq),
                event_id: row.event_id,
                received_at: timestamp(row.received_at)?,
                leaf_hash: hash(&row.leaf_hash)?,
                content,
            };
            Ok(Known { key, evidence })
        })
        .collect()
}

pub async fn insert(transaction: &mut PgConnection, tenant_id: i32, keys: &[Key]) -> Result<(), sqlx::Error> {
    let column = Columns(keys);
    sqlx::query!(
        "INSERT INTO idempotency (tenant_id, principal_id, key, seq, event_id, received_at, leaf_hash, salt,
                                  content_mac)
         SELECT $1, k.* FROM UNNEST($2::bigint[], $3::text[], $4::bigint[], $5::uuid[], $6::timestamptz[],
                                    $7::bytea[], $8::bytea[], $9::bytea[]) AS k",
        tenant_id,
        &column.of(|key| key.principal_id),
        &column.of(|key| key.key.as_str()) as &[&str],
        &column.of(|key| signed(key.seq)),
        &column.of(|key| key.event_id),
        &column.of(|key| OffsetDateTime::from(key.received_at)),
        &column.of(|key| key.leaf_hash.as_slice()) as &[&[u8]],
        &column.of(|key| key.content.as_ref().map(|(salt, _)| salt.as_slice())) as &[Option<&[u8]>],
        &column.of(|key| key.content.as_ref().map(|(_, mac)| mac.as_slice())) as &[Option<&[u8]>],
    )
    .execute(transaction)
    .await?;
    Ok(())
}
