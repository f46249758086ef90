//! The writer's statements: what happens between locking a head and COMMIT.

use sqlx::types::ipnetwork::IpNetwork;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::{ENTRY_LEN, ENVELOPE_V, EntryKind, Envelope, PROJECTION_V, Payload, Salt, Timestamp};
use crate::merkle::{FullTile, Hash};
use crate::store::patience::in_time;

/// The state of a log, read under its lock.
#[derive(Clone, Debug)]
pub struct Head {
    pub size: u64,
    pub root: Hash,
    pub frontier: Vec<u8>,
    pub epoch: i32,
    pub last_received_at: Timestamp,
    pub last_id: Uuid,
    /// The database clock.
    pub now: Timestamp,
}

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

/// A full tile, with the times of its first and last event if it is of level 0.
#[derive(Clone, Debug)]
pub struct NewTile {
    pub tile: FullTile,
    pub received_at: Option<(Timestamp, Timestamp)>,
}

/// A stored value that the schema rules out; somebody changed the schema or the data.
fn corrupt(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

fn hash(bytes: &[u8]) -> Result<Hash, sqlx::Error> {
    bytes.try_into().map_err(|_| corrupt("a hash of other than 32 bytes"))
}

fn salt(bytes: &[u8]) -> Result<Salt, sqlx::Error> {
    bytes.try_into().map_err(|_| corrupt("a salt of other than 16 bytes"))
}

fn timestamp(at: OffsetDateTime) -> Result<Timestamp, sqlx::Error> {
    Timestamp::try_from(at).map_err(|_| corrupt("a time outside years 0001 to 9999"))
}

#[expect(clippy::cast_sign_loss, reason = "CHECK (seq >= 0)")]
const fn unsigned(seq: i64) -> u64 {
    seq as u64
}

#[expect(clippy::cast_possible_wrap, reason = "a log never gets to 2^63 events")]
const fn signed(seq: u64) -> i64 {
    seq as i64
}

/// Locks the head of a log until the end of the transaction. In READ COMMITTED a waiter gets the newest row.
pub async fn lock_head(transaction: &mut PgConnection, tenant_id: i32) -> Result<Head, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT size, root, frontier, epoch, last_received_at, last_id, clock_timestamp() AS "now!"
           FROM heads WHERE tenant_id = $1 FOR UPDATE"#,
        tenant_id
    )
    .fetch_one(transaction)
    .await?;
    Ok(Head {
        size: unsigned(row.size),
        root: hash(&row.root)?,
        frontier: row.frontier,
        epoch: row.epoch,
        last_received_at: timestamp(row.last_received_at)?,
        last_id: row.last_id,
        now: timestamp(row.now)?,
    })
}

/// How many events a log has; 0 if there is no such log.
pub async fn size(pool: &PgPool, tenant_id: i32) -> Result<u64, sqlx::Error> {
    let size = sqlx::query_scalar!("SELECT size FROM heads WHERE tenant_id = $1", tenant_id);
    Ok(in_time(pool, size.fetch_optional(pool)).await?.map_or(0, unsigned))
}

/// The entries from `first_seq` on; they lie at or after `since`, which lets partitions be skipped.
pub async fn entries_from(
    connection: &mut PgConnection,
    tenant_id: i32,
    first_seq: u64,
    since: Option<Timestamp>,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT entry FROM events
           WHERE tenant_id = $1 AND seq >= $2 AND received_at >= COALESCE($3, '-infinity'::timestamptz) ORDER BY seq"#,
        tenant_id,
        signed(first_seq),
        since.map(OffsetDateTime::from)
    )
    .fetch_all(connection)
    .await
}

/// Roots of the full tiles of a level from `first_index` on.
pub async fn tile_roots_from(
    connection: &mut PgConnection,
    tenant_id: i32,
    level: u8,
    first_index: u64,
) -> Result<Vec<Hash>, sqlx::Error> {
    let roots = sqlx::query_scalar!(
        "SELECT root FROM tiles WHERE tenant_id = $1 AND level = $2 AND index >= $3 ORDER BY index",
        tenant_id,
        i16::from(level),
        signed(first_index)
    )
    .fetch_all(connection)
    .await?;
    roots.iter().map(|root| hash(root)).collect()
}

/// When the last event of a level-0 tile was received.
pub async fn tile_end(
    connection: &mut PgConnection,
    tenant_id: i32,
    index: u64,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let end = sqlx::query_scalar!(
        "SELECT last_received_at FROM tiles WHERE tenant_id = $1 AND level = 0 AND index = $2",
        tenant_id,
        signed(index)
    )
    .fetch_optional(connection)
    .await?;
    end.flatten().map(timestamp).transpose()
}

/// The events that these keys (pairs of principal and key) already stand for. LATERAL with LIMIT allows only
/// one look-up per key: a plan for a plain join, made while the table was small, reads all of a tenant's keys.
pub async fn find_keys(
    transaction: &mut PgConnection,
    tenant_id: i32,
    principals: &[i64],
    keys: &[String],
) -> Result<Vec<Key>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT i.principal_id, i.key, i.seq, i.event_id, i.received_at, i.leaf_hash, i.salt, i.content_mac
           FROM UNNEST($2::bigint[], $3::text[]) AS wanted (principal_id, key)
           CROSS JOIN LATERAL (
             SELECT * FROM idempotency
             WHERE tenant_id = $1 AND principal_id = wanted.principal_id AND key = wanted.key LIMIT 1
           ) AS i"#,
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
            Ok(Key {
                principal_id: row.principal_id,
                key: row.key,
                seq: unsigned(row.seq),
                event_id: row.event_id,
                received_at: timestamp(row.received_at)?,
                leaf_hash: hash(&row.leaf_hash)?,
                content,
            })
        })
        .collect()
}

/// What a submitter keeps of an event recorded earlier; `None` for what was redacted.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub entry: [u8; ENTRY_LEN],
    pub recorded_by: Option<String>,
    pub envelope_salt: Option<Salt>,
    pub payload_salt: Option<Salt>,
}

/// The evidence of the event at (`received_at`, `seq`).
pub async fn evidence(
    pool: &PgPool,
    tenant_id: i32,
    received_at: Timestamp,
    seq: u64,
) -> Result<Option<Evidence>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT entry, recorded_by, envelope_salt, payload_salt FROM events
           WHERE tenant_id = $1 AND received_at = $2 AND seq = $3"#,
        tenant_id,
        OffsetDateTime::from(received_at),
        signed(seq)
    );
    let row = in_time(pool, row.fetch_optional(pool)).await?;
    row.map(|row| {
        Ok(Evidence {
            entry: row
                .entry
                .as_slice()
                .try_into()
                .map_err(|_| corrupt("an entry of other than 118 bytes"))?,
            recorded_by: row.recorded_by,
            envelope_salt: row.envelope_salt.as_deref().map(salt).transpose()?,
            payload_salt: row.payload_salt.as_deref().map(salt).transpose()?,
        })
    })
    .transpose()
}

/// Whether this very event is there; answers what became of a COMMIT whose answer was lost.
pub async fn contains(
    connection: &mut PgConnection,
    tenant_id: i32,
    received_at: Timestamp,
    seq: u64,
    id: Uuid,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM events
             WHERE tenant_id = $1 AND received_at = $2 AND seq = $3 AND id = $4) AS "there!""#,
        tenant_id,
        OffsetDateTime::from(received_at),
        signed(seq),
        id
    )
    .fetch_one(connection)
    .await
}

/// Writes events, tiles, keys and the new head in one statement.
pub async fn append(
    transaction: &mut PgConnection,
    tenant_id: i32,
    rows: &[Row<'_>],
    tiles: &[NewTile],
    keys: &[Key],
    head: &Head,
) -> Result<(), sqlx::Error> {
    let column = Columns(rows);
    let written = sqlx::query!(
        r#"WITH new_events AS (
             INSERT INTO events (tenant_id, envelope_v, projection_v, seq, received_at, id, kind, level, event_type,
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
                     payload_salt, lossy, payload, event_data)
           ), new_tiles AS (
             INSERT INTO tiles (tenant_id, level, index, root, data, first_received_at, last_received_at)
             SELECT $1, t.* FROM UNNEST($26::smallint[], $27::bigint[], $28::bytea[], $29::bytea[],
                                        $30::timestamptz[], $31::timestamptz[]) AS t
           ), new_keys AS (
             INSERT INTO idempotency (tenant_id, principal_id, key, seq, event_id, received_at, leaf_hash, salt,
                                      content_mac)
             SELECT $1, k.* FROM UNNEST($32::bigint[], $33::text[], $34::bigint[], $35::uuid[], $36::timestamptz[],
                                        $37::bytea[], $38::bytea[], $39::bytea[]) AS k
           )
           UPDATE heads SET size = $40, root = $41, frontier = $42, last_received_at = $43, last_id = $44
           WHERE tenant_id = $1"#,
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
        &Columns(tiles).of(|new| i16::from(new.tile.level)),
        &Columns(tiles).of(|new| signed(new.tile.index)),
        &Columns(tiles).of(|new| new.tile.root.as_slice()) as &[&[u8]],
        &Columns(tiles).of(|new| new.tile.data.as_slice()) as &[&[u8]],
        &Columns(tiles).of(|new| new.received_at.map(|(first, _)| OffsetDateTime::from(first)))
            as &[Option<OffsetDateTime>],
        &Columns(tiles).of(|new| new.received_at.map(|(_, last)| OffsetDateTime::from(last)))
            as &[Option<OffsetDateTime>],
        &Columns(keys).of(|key| key.principal_id),
        &Columns(keys).of(|key| key.key.as_str()) as &[&str],
        &Columns(keys).of(|key| signed(key.seq)),
        &Columns(keys).of(|key| key.event_id),
        &Columns(keys).of(|key| OffsetDateTime::from(key.received_at)),
        &Columns(keys).of(|key| key.leaf_hash.as_slice()) as &[&[u8]],
        &Columns(keys).of(|key| key.content.as_ref().map(|(salt, _)| salt.as_slice())) as &[Option<&[u8]>],
        &Columns(keys).of(|key| key.content.as_ref().map(|(_, mac)| mac.as_slice())) as &[Option<&[u8]>],
        signed(head.size),
        head.root.as_slice(),
        head.frontier.as_slice(),
        OffsetDateTime::from(head.last_received_at),
        head.last_id,
    )
    .execute(transaction)
    .await?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// A slice of structs, seen as the columns of a table.
struct Columns<'a, T>(&'a [T]);

impl<'a, T> Columns<'a, T> {
    fn of<U>(&self, value: impl Fn(&'a T) -> U) -> Vec<U> {
        self.0.iter().map(value).collect()
    }
}
