//! The writer's statements: what is inserted between locking a head and COMMIT.
//!
//! One statement per table: Citus takes no INSERT inside a WITH.

use sqlx::PgConnection;
use sqlx::types::ipnetwork::IpNetwork;
use time::OffsetDateTime;
use uuid::Uuid;

use super::log::Head;
use super::values::{Columns, signed};
use crate::event::{ENTRY_LEN, ENVELOPE_V, EntryKind, Envelope, PROJECTION_V, Payload, Salt, Timestamp};
use crate::merkle::FullTile;

/// One event as it is stored.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    pub seq: u64,
    pub received_at: Timestamp,
    pub id: Uuid,
    pub kind: EntryKind,
    pub envelope: Envelope,
    pub envelope_salt: Salt,
    /// The payload and its salt.
    pub payload: Option<(&'a Payload, Salt)>,
    pub entry: [u8; ENTRY_LEN],
}

/// A full tile, with the times of its first and last event if it is of level 0.
#[derive(Clone, Debug)]
pub struct NewTile {
    pub tile: FullTile,
    pub received_at: Option<(Timestamp, Timestamp)>,
}

pub async fn events(
    transaction: &mut PgConnection,
    tenant_id: i32,
    rows: &[Row<'_>],
) -> Result<(), sqlx::Error> {
    let column = Columns(rows);
    sqlx::query!(
        r#"INSERT INTO events (tenant_id, envelope_v, projection_v, seq, received_at, id, kind, level, event_type,
                               user_identity, "timestamp", source, outcome, target, message, ip, correlation_id,
                               recorded_by, idempotency_key, entry, envelope_salt, payload_salt, lossy, payload,
                               event_data)
           SELECT $1, $2, $3, e.seq, e.received_at, e.id, e.kind, e.level, e.event_type, e.user_identity,
                  e.happened_at, e.source, e.outcome, e.target, e.message, e.ip, e.correlation_id, e.recorded_by,
                  e.idempotency_key, e.entry, e.envelope_salt, e.payload_salt, e.lossy, e.payload,
                  e.event_data::jsonb
           FROM UNNEST($4::bigint[], $5::timestamptz[], $6::uuid[], $7::smallint[], $8::smallint[], $9::text[],
                       $10::text[], $11::timestamptz[], $12::text[], $13::text[], $14::text[], $15::text[],
                       $16::inet[], $17::text[], $18::text[], $19::text[], $20::bytea[], $21::bytea[],
                       $22::bytea[], $23::boolean[], $24::bytea[], $25::text[])
             AS e (seq, received_at, id, kind, level, event_type, user_identity, happened_at, source, outcome,
                   target, message, ip, correlation_id, recorded_by, idempotency_key, entry, envelope_salt,
                   payload_salt, lossy, payload, event_data)"#,
        tenant_id,
        ENVELOPE_V,
        PROJECTION_V,
        &column.of(|row| signed(row.seq)),
        &column.of(|row| OffsetDateTime::from(row.received_at)),
        &column.of(|row| row.id),
        &column.of(|row| row.kind.code()),
        &column.of(|row| row.envelope.level.rank()),
        &column.of(|row| row.envelope.event_type.as_str()) as &[&str],
        &column.of(|row| row.envelope.user_identity.as_str()) as &[&str],
        &column.of(|row| OffsetDateTime::from(row.envelope.timestamp)),
        &column.of(|row| row.envelope.source.as_deref()) as &[Option<&str>],
        &column.of(|row| row.envelope.outcome.map(|outcome| outcome.name())) as &[Option<&str>],
        &column.of(|row| row.envelope.target.as_deref()) as &[Option<&str>],
        &column.of(|row| row.envelope.message.as_deref()) as &[Option<&str>],
        &column.of(|row| row.envelope.ip.map(IpNetwork::from)) as &[Option<IpNetwork>],
        &column.of(|row| row.envelope.correlation_id.as_deref()) as &[Option<&str>],
        &column.of(|row| row.envelope.recorded_by.as_str()) as &[&str],
        &column.of(|row| row.envelope.idempotency_key.as_deref()) as &[Option<&str>],
        &column.of(|row| row.entry.as_slice()) as &[&[u8]],
        &column.of(|row| row.envelope_salt.as_slice()) as &[&[u8]],
        &column.of(|row| row.payload.as_ref().map(|(_, salt)| salt.as_slice())) as &[Option<&[u8]>],
        &column.of(|row| row.payload.as_ref().map(|(payload, _)| payload.projection.lossy)) as &[Option<bool>],
        &column.of(|row| row.payload.as_ref().map(|(payload, _)| payload.bytes.as_slice())) as &[Option<&[u8]>],
        &column.of(|row| row.payload.as_ref().map(|(payload, _)| payload.projection.json.as_str()))
            as &[Option<&str>],
    )
    .execute(transaction)
    .await?;
    Ok(())
}

pub async fn tiles(
    transaction: &mut PgConnection,
    tenant_id: i32,
    tiles: &[NewTile],
) -> Result<(), sqlx::Error> {
    let column = Columns(tiles);
    sqlx::query!(
        "INSERT INTO tiles (tenant_id, level, index, root, data, first_received_at, last_received_at)
         SELECT $1, t.* FROM UNNEST($2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::timestamptz[],
                                    $7::timestamptz[]) AS t",
        tenant_id,
        &column.of(|new| i16::from(new.tile.level)),
        &column.of(|new| signed(new.tile.index)),
        &column.of(|new| new.tile.root.as_slice()) as &[&[u8]],
        &column.of(|new| new.tile.data.as_slice()) as &[&[u8]],
        &column.of(|new| new.received_at.map(|(first, _)| OffsetDateTime::from(first)))
            as &[Option<OffsetDateTime>],
        &column.of(|new| new.received_at.map(|(_, last)| OffsetDateTime::from(last)))
            as &[Option<OffsetDateTime>],
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Moves the head, which the transaction has locked.
pub async fn head(transaction: &mut PgConnection, tenant_id: i32, head: &Head) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE heads SET size = $2, root = $3, frontier = $4, last_received_at = $5, last_id = $6, epoch = $7
         WHERE tenant_id = $1",
        tenant_id,
        signed(head.size),
        head.root.as_slice(),
        head.frontier.as_slice(),
        OffsetDateTime::from(head.last_received_at),
        head.last_id,
        head.epoch,
    )
    .execute(transaction)
    .await?;
    Ok(())
}
