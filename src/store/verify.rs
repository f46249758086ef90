//! Reads for checking a whole log: everything as it lies there, whatever the schema promises about it, since who
//! can change rows can drop constraints as well.

use futures_util::{Stream, TryStreamExt};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef};
use sqlx::types::ipnetwork::IpNetwork;
use sqlx::{Decode, Encode, PgConnection, PgExecutor, PgPool, Postgres, Transaction, Type};
use time::OffsetDateTime;
use uuid::Uuid;

use super::values::{signed, unsigned};
use crate::event::{Envelope, Level, Outcome, Timestamp};
use crate::merkle::TileId;
use crate::query::compile::id_millisecond;
use crate::verify::log::{Head, StoredHead, StoredTile};
use crate::verify::row::{Columns, Doubt, Redaction, Row, Scope, Typed};

/// The time of PostgreSQL's epoch, 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A `timestamptz` in microseconds since 1970. Unlike the usual types it holds whatever the database does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Micros(pub i64);

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        OffsetDateTime::type_info()
    }
}

impl Decode<'_, Postgres> for Micros {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let bytes: [u8; 8] = value.as_bytes()?.try_into()?;
        Ok(Self(i64::from_be_bytes(bytes).saturating_add(POSTGRES_EPOCH_MICROS)))
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(&self.0.saturating_sub(POSTGRES_EPOCH_MICROS).to_be_bytes());
        Ok(IsNull::No)
    }
}

/// Where the walk through a log is: the last row that was read.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    pub seq: i64,
    pub received_at: Micros,
}

impl Position {
    pub const START: Self = Self { seq: i64::MIN, received_at: Micros(i64::MIN) };
}

/// A transaction in which the log stands still: what is recorded or redacted meanwhile is not seen.
pub async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    // A statement reads thousands of rows, as fast as they can be checked.
    sqlx::query!("SET LOCAL statement_timeout = '10min'").execute(&mut *transaction).await?;
    sqlx::query!("SET LOCAL plan_cache_mode = force_custom_plan").execute(&mut *transaction).await?;
    sqlx::query!("SET LOCAL jit = off").execute(&mut *transaction).await?;
    Ok(transaction)
}

/// The head of a log, and its epoch.
pub async fn head(connection: &mut PgConnection, tenant_id: i32) -> Result<Option<(Head, i32)>, sqlx::Error> {
    let head = sqlx::query!(
        r#"SELECT size, root, frontier, epoch, last_received_at AS "last_received_at: Micros", last_id
           FROM heads WHERE tenant_id = $1"#,
        tenant_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(head.map(|head| {
        let stored = StoredHead {
            frontier: head.frontier,
            last_received_at: head.last_received_at.0,
            last_id: head.last_id,
        };
        let size = u64::try_from(head.size).unwrap_or_default();
        (Head { size, root: head.root, stored: Some(stored) }, head.epoch)
    }))
}

/// Rows of a batch: enough that asking for them costs nothing, few enough to be found by the index.
pub const BATCH: usize = 10_000;

/// Rows with all that is checked of them, out of what the rest of the statement names.
macro_rules! stored_rows {
    ($connection:expr, $from:tt, $($argument:expr),*) => {
        sqlx::query_as!(
            Stored,
            r#"SELECT seq, received_at AS "received_at: Micros", id, kind, envelope_v, projection_v,
                      NULLIF(redaction, 'none') AS redaction, level, event_type, user_identity,
                      "timestamp" AS "timestamp: Micros", source, outcome, target, message, ip, correlation_id,
                      recorded_by, idempotency_key, entry, envelope_salt, payload_salt, lossy, payload,
                      event_data::text AS projection "# + $from,
            $($argument),*
        )
        .fetch($connection)
    };
}

/// The rows after `after`, at most [`BATCH`]. By seq alone, in whatever partition a row lies: times are among what is
/// checked.
pub fn rows(
    connection: &mut PgConnection,
    tenant_id: i32,
    after: Position,
) -> impl Stream<Item = Result<(Position, Row), sqlx::Error>> {
    let rows = stored_rows!(
        connection,
        "FROM events
         WHERE tenant_id = $1 AND seq >= $2 AND (seq, received_at) > ($2, $3)
         ORDER BY seq, received_at LIMIT 10000",
        tenant_id,
        after.seq,
        after.received_at as Micros
    );
    rows.map_ok(|stored| (Position { seq: stored.seq, received_at: stored.received_at }, stored.into_row()))
}

/// The rows of these ids, each with its id; nothing of ids that the service did not make. In no order.
pub fn rows_of(
    connection: &mut PgConnection,
    tenant_id: i32,
    ids: &[Uuid],
) -> impl Stream<Item = Result<(Uuid, Row), sqlx::Error>> {
    let known = ids.iter().filter_map(|id| Some((*id, id_millisecond(*id)?)));
    let (ids, times): (Vec<_>, Vec<_>) = known.unzip();
    let (from, to): (Vec<_>, Vec<_>) =
        times.into_iter().map(|(from, to)| (OffsetDateTime::from(from), OffsetDateTime::from(to))).unzip();
    // OFFSET 0 keeps the planner from reading the whole table for a long list.
    let rows = stored_rows!(
        connection,
        "FROM UNNEST($2::uuid[], $3::timestamptz[], $4::timestamptz[]) AS asked (asked_id, asked_from, asked_to)
         CROSS JOIN LATERAL (
             SELECT * FROM events
             WHERE tenant_id = $1 AND id = asked_id AND received_at >= asked_from AND received_at < asked_to
             OFFSET 0
         ) AS found",
        tenant_id,
        &ids,
        &from,
        &to
    );
    rows.map_ok(|stored| (stored.id, stored.into_row()))
}

struct Stored {
    seq: i64,
    received_at: Micros,
    id: Uuid,
    kind: i16,
    envelope_v: i16,
    projection_v: i16,
    /// `None` where nothing was redacted, which is said of every other row.
    redaction: Option<String>,
    level: Option<i16>,
    event_type: Option<String>,
    user_identity: Option<String>,
    timestamp: Option<Micros>,
    source: Option<String>,
    outcome: Option<String>,
    target: Option<String>,
    message: Option<String>,
    ip: Option<IpNetwork>,
    correlation_id: Option<String>,
    recorded_by: Option<String>,
    idempotency_key: Option<String>,
    entry: Vec<u8>,
    envelope_salt: Option<Vec<u8>>,
    payload_salt: Option<Vec<u8>>,
    lossy: Option<bool>,
    payload: Option<Vec<u8>>,
    projection: Option<String>,
}

impl Stored {
    fn into_row(mut self) -> Row {
        let columns = Columns {
            received_at: self.received_at.0,
            id: self.id,
            kind: self.kind,
            envelope_v: self.envelope_v,
            projection_v: self.projection_v,
            redaction: self.redaction.take().map_or(Redaction::None, redaction),
            envelope_salt: self.envelope_salt.take(),
            payload: self.payload.take(),
            payload_salt: self.payload_salt.take(),
            projection: self.projection.take(),
            lossy: self.lossy,
            typed: Typed::Absent,
        };
        // A negative seq is none of any log; behind every head it is reported as such.
        let seq = u64::try_from(self.seq).unwrap_or(u64::MAX);
        let entry = std::mem::take(&mut self.entry);
        let typed = if self.has_no_typed_column() { Typed::Absent } else { self.into_typed() };
        Row { seq, entry, columns: Some(Box::new(Columns { typed, ..columns })) }
    }

    fn has_no_typed_column(&self) -> bool {
        let texts = [
            &self.event_type,
            &self.user_identity,
            &self.source,
            &self.outcome,
            &self.target,
            &self.message,
            &self.correlation_id,
            &self.recorded_by,
            &self.idempotency_key,
        ];
        texts.into_iter().all(Option::is_none)
            && self.level.is_none()
            && self.timestamp.is_none()
            && self.ip.is_none()
    }

    fn into_typed(self) -> Typed {
        self.into_envelope().map_or_else(Typed::Broken, |envelope| Typed::Whole(Box::new(envelope)))
    }

    /// The error is the column with a value that an event cannot have: none, or one that would be written like another.
    fn into_envelope(self) -> Result<Envelope, &'static str> {
        let timestamp = self.timestamp.and_then(|at| Timestamp::from_micros(at.0));
        let outcome = match self.outcome {
            None => None,
            Some(name) => Some(Outcome::parse(&name).ok_or("outcome")?),
        };
        let ip = match self.ip {
            None => None,
            Some(network) if network.prefix() == if network.is_ipv4() { 32 } else { 128 } => {
                Some(network.ip())
            }
            Some(_) => return Err("ip"),
        };
        Ok(Envelope {
            event_type: self.event_type.ok_or("event_type")?,
            user_identity: self.user_identity.ok_or("user_identity")?,
            timestamp: timestamp.ok_or("timestamp")?,
            source: self.source,
            level: self.level.and_then(Level::from_rank).ok_or("level")?,
            outcome,
            target: self.target,
            message: self.message,
            ip,
            correlation_id: self.correlation_id,
            recorded_by: self.recorded_by.ok_or("recorded_by")?,
            idempotency_key: self.idempotency_key,
        })
    }
}

fn redaction(word: String) -> Redaction {
    match word.as_str() {
        "payload" => Redaction::Removed(Scope::Payload),
        "all" => Redaction::Removed(Scope::All),
        _ => Redaction::Other(word),
    }
}

/// The full tiles of a level with an index in `first..=last`, at most 4,096: where rows are missing, the range is as
/// wide as the gap.
pub async fn tiles(
    connection: &mut PgConnection,
    tenant_id: i32,
    level: u8,
    first: u64,
    last: u64,
) -> Result<Vec<(TileId, StoredTile)>, sqlx::Error> {
    let tiles = sqlx::query!(
        r#"SELECT index, root, data, first_received_at AS "first: Micros", last_received_at AS "last: Micros"
           FROM tiles WHERE tenant_id = $1 AND level = $2 AND index BETWEEN $3 AND $4 ORDER BY index LIMIT 4096"#,
        tenant_id,
        i16::from(level),
        signed(first),
        signed(last)
    )
    .fetch_all(connection)
    .await?;
    let tile = tiles.into_iter().map(|tile| {
        let times = tile.first.zip(tile.last).map(|(first, last)| (first.0, last.0));
        let stored = StoredTile { root: Some(tile.root), data: tile.data, times };
        (TileId { level, index: unsigned(tile.index) }, stored)
    });
    Ok(tile.collect())
}

/// Some of the tiles that a log of `size` entries does not have, as level and index.
pub async fn tiles_beyond(
    connection: &mut PgConnection,
    tenant_id: i32,
    size: u64,
) -> Result<Vec<(i16, i64)>, sqlx::Error> {
    let tiles = sqlx::query!(
        "SELECT level, index FROM tiles
         WHERE tenant_id = $1 AND (level > 6 OR index >= $2::bigint >> (8 * (least(level, 6) + 1)))
         ORDER BY level, index LIMIT 10",
        tenant_id,
        signed(size)
    )
    .fetch_all(connection)
    .await?;
    Ok(tiles.into_iter().map(|tile| (tile.level, tile.index)).collect())
}

/// A checkpoint as it was stored.
#[derive(Clone, Debug)]
pub struct StoredCheckpoint {
    pub epoch: i32,
    pub size: i64,
    pub note: String,
}

/// The stored checkpoints after one, oldest first, at most a thousand.
pub async fn checkpoints(
    connection: &mut PgConnection,
    tenant_id: i32,
    after: (i32, i64),
) -> Result<Vec<StoredCheckpoint>, sqlx::Error> {
    sqlx::query_as!(
        StoredCheckpoint,
        "SELECT epoch, size, note FROM checkpoints
         WHERE tenant_id = $1 AND (epoch, size) > ($2, $3) ORDER BY epoch, size LIMIT 1000",
        tenant_id,
        after.0,
        after.1
    )
    .fetch_all(connection)
    .await
}

/// For each doubt whether it is one and the same value.
pub async fn settle<'c>(executor: impl PgExecutor<'c>, doubts: &[&Doubt]) -> Result<Vec<bool>, sqlx::Error> {
    let expected: Vec<&str> = doubts.iter().map(|doubt| doubt.expected.as_str()).collect();
    let stored: Vec<&str> = doubts.iter().map(|doubt| doubt.stored.as_str()).collect();
    sqlx::query_scalar!(
        r#"SELECT d.expected::jsonb::text = d.stored::jsonb::text AS "same!"
           FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS d (expected, stored, place) ORDER BY place"#,
        &expected as &[&str],
        &stored as &[&str]
    )
    .fetch_all(executor)
    .await
}
