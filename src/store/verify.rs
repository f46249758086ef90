//! Reads for checking a whole log: everything as it lies there, whatever the schema promises about it, since who
//! can change rows can drop constraints as well.

use futures_util::{Stream, TryStreamExt};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, PgValueRef};
use sqlx::types::ipnetwork::IpNetwork;
use sqlx::{
    Decode, Encode, PgConnection, PgExecutor, PgPool, Postgres, Row as _, Transaction, Type, ValueRef as _,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::values::{POSTGRES_EPOCH_MICROS, signed, unsigned};
use crate::event::{Envelope, Level, Outcome, Timestamp};
use crate::merkle::TileId;
use crate::query::compile::id_millisecond;
use crate::verify::log::{Head, StoredHead, StoredTile};
use crate::verify::row::{Columns, Doubt, Redaction, Row, Scope, Typed};

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
    // Of a log that has just grown the planner knows nothing yet, and would sort all of it for each batch.
    sqlx::query!("SET LOCAL enable_sort = off").execute(&mut *transaction).await?;
    sqlx::query!("SET LOCAL enable_seqscan = off").execute(&mut *transaction).await?;
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

/// What is read of each row. It is decoded where the row is opened, and a walk over millions feels each allocation; so
/// these are the only statements that the compiler has not held against the schema.
macro_rules! select_stored {
    ($from:literal) => {
        concat!(
            r#"SELECT seq, received_at, id, kind, envelope_v, projection_v, NULLIF(redaction, 'none'), entry,
                      envelope_salt, payload, payload_salt, event_data::text, lossy, event_type, user_identity,
                      "timestamp", source, level, outcome, target, message, ip, correlation_id, recorded_by,
                      idempotency_key "#,
            $from
        )
    };
}

/// The rows after `after`, at most [`BATCH`]. By seq alone, in whatever partition a row lies: times are among what is
/// checked.
pub fn rows(
    connection: &mut PgConnection,
    tenant_id: i32,
    after: Position,
) -> impl Stream<Item = Result<StoredRow, sqlx::Error>> {
    let statement = select_stored!(
        "FROM events
         WHERE tenant_id = $1 AND seq >= $2 AND (seq, received_at) > ($2, $3)
         ORDER BY seq, received_at LIMIT 10000"
    );
    let rows = sqlx::query(statement).bind(tenant_id).bind(after.seq).bind(after.received_at);
    rows.fetch(connection).map_ok(StoredRow)
}

/// The rows of these ids; nothing of ids that the service did not make. In no order.
pub fn rows_of(
    connection: &mut PgConnection,
    tenant_id: i32,
    ids: &[Uuid],
) -> impl Stream<Item = Result<StoredRow, sqlx::Error>> {
    let known = ids.iter().filter_map(|id| Some((*id, id_millisecond(*id)?)));
    let (ids, times): (Vec<_>, Vec<_>) = known.unzip();
    let (from, to): (Vec<_>, Vec<_>) =
        times.into_iter().map(|(from, to)| (OffsetDateTime::from(from), OffsetDateTime::from(to))).unzip();
    // OFFSET 0 keeps the planner from reading the whole table for a long list.
    let statement = select_stored!(
        "FROM UNNEST($2::uuid[], $3::timestamptz[], $4::timestamptz[]) AS asked (asked_id, asked_from, asked_to)
         CROSS JOIN LATERAL (
             SELECT * FROM events
             WHERE tenant_id = $1 AND id = asked_id AND received_at >= asked_from AND received_at < asked_to
             OFFSET 0
         ) AS found"
    );
    let rows = sqlx::query(statement).bind(tenant_id).bind(ids).bind(from).bind(to);
    rows.fetch(connection).map_ok(StoredRow)
}

/// A row as it came from the database.
#[derive(Debug)]
pub struct StoredRow(PgRow);

impl StoredRow {
    pub fn position(&self) -> Result<Position, sqlx::Error> {
        let received_at: Option<Micros> = self.0.try_get(1)?;
        Ok(Position { seq: self.0.try_get(0)?, received_at: received_at.unwrap_or(Micros(i64::MAX)) })
    }

    pub fn id(&self) -> Result<Option<Uuid>, sqlx::Error> {
        self.0.try_get(2)
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> Result<usize, sqlx::Error> {
        (0..self.0.len()).try_fold(size_of::<Row>() + size_of::<Columns>(), |sum, column| {
            let value = self.0.try_get_raw(column)?;
            Ok(sum + if value.is_null() { 0 } else { value.as_bytes().map_err(sqlx::Error::Decode)?.len() })
        })
    }

    pub fn decode(&self) -> Result<Row, sqlx::Error> {
        let mut cells = Cells { row: &self.0, next: 0 };
        let seq: i64 = cells.take()?;
        let received_at: Option<Micros> = cells.take()?;
        let (id, kind, envelope_v, projection_v) =
            (cells.take()?, cells.take()?, cells.take()?, cells.take()?);
        let redaction: Option<String> = cells.take()?;
        let entry: Option<Vec<u8>> = cells.take()?;
        let columns = Columns {
            received_at: received_at.map(|at| at.0),
            id,
            kind,
            envelope_v,
            projection_v,
            redaction: redaction.map_or(Redaction::None, as_redaction),
            envelope_salt: cells.take()?,
            payload: cells.take()?,
            payload_salt: cells.take()?,
            projection: cells.take()?,
            lossy: cells.take()?,
            typed: TypedColumns::take(&mut cells)?.into_typed(),
        };
        // A negative seq is none of any log; behind every head it is reported as such.
        let seq = u64::try_from(seq).unwrap_or(u64::MAX);
        Ok(Row { seq, entry: entry.unwrap_or_default(), columns: Some(Box::new(columns)) })
    }
}

/// The values of a row, in the order in which they were asked for.
struct Cells<'r> {
    row: &'r PgRow,
    next: usize,
}

impl<'r> Cells<'r> {
    fn take<T: Decode<'r, Postgres> + Type<Postgres>>(&mut self) -> Result<T, sqlx::Error> {
        self.next += 1;
        self.row.try_get(self.next - 1)
    }
}

struct TypedColumns {
    event_type: Option<String>,
    user_identity: Option<String>,
    timestamp: Option<Micros>,
    source: Option<String>,
    level: Option<i16>,
    outcome: Option<String>,
    target: Option<String>,
    message: Option<String>,
    ip: Option<IpNetwork>,
    correlation_id: Option<String>,
    recorded_by: Option<String>,
    idempotency_key: Option<String>,
}

impl TypedColumns {
    fn take(cells: &mut Cells<'_>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            event_type: cells.take()?,
            user_identity: cells.take()?,
            timestamp: cells.take()?,
            source: cells.take()?,
            level: cells.take()?,
            outcome: cells.take()?,
            target: cells.take()?,
            message: cells.take()?,
            ip: cells.take()?,
            correlation_id: cells.take()?,
            recorded_by: cells.take()?,
            idempotency_key: cells.take()?,
        })
    }

    fn are_absent(&self) -> bool {
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
        if self.are_absent() {
            return Typed::Absent;
        }
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

fn as_redaction(word: String) -> Redaction {
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
