//! A lane's transaction: how it begins and ends, each in one round trip to the database.
//!
//! A lane has the head of its log locked while it waits for answers, and a log gets no faster than that. Statements that
//! go together are sent together, which only the simple protocol can; prepared by name, they are not planned anew each
//! time. What they are given and answer is text, so it is of forms that no setting changes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::log::Head;
use super::values::{POSTGRES_EPOCH_MICROS, corrupt, hash, signed, unsigned};
use crate::event::Timestamp;

/// To be executed once in each session. [`super::log::lock_head`] says why the first is as it is.
pub(super) const PREPARE: &str = "
PREPARE eventlogger_lock_head (int) AS
    WITH head AS MATERIALIZED (
        SELECT size, root, frontier, epoch, last_received_at, last_id FROM heads WHERE tenant_id = $1 FOR UPDATE
    )
    SELECT size, root, frontier, epoch, timestamptz_send(last_received_at), last_id, timestamptz_send(clock_timestamp())
    FROM head;
PREPARE eventlogger_move_head (int, bigint, text, text, timestamptz, uuid, int) AS
    UPDATE heads SET size = $2, root = decode($3, 'base64'), frontier = decode($4, 'base64'), last_received_at = $5,
                     last_id = $6, epoch = $7
    WHERE tenant_id = $1";

/// Begins a transaction and locks the head of a log until its end.
pub async fn begin(session: &mut PgConnection, tenant_id: i32) -> Result<Head, sqlx::Error> {
    let statements = format!("BEGIN; EXECUTE eventlogger_lock_head ({tenant_id})");
    let rows = sqlx::raw_sql(made_of_values(statements)).fetch_all(session).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(Head {
        size: unsigned(row.try_get(0)?),
        root: hash(&row.try_get::<Vec<u8>, _>(1)?)?,
        frontier: row.try_get(2)?,
        epoch: row.try_get(3)?,
        last_received_at: time_of(&row.try_get::<Vec<u8>, _>(4)?)?,
        last_id: row.try_get(5)?,
        now: time_of(&row.try_get::<Vec<u8>, _>(6)?)?,
    })
}

/// Moves the head, which the transaction has locked, and commits.
pub async fn commit(session: &mut PgConnection, tenant_id: i32, head: &Head) -> Result<(), sqlx::Error> {
    let Head { size, root, frontier, epoch, last_received_at, last_id, .. } = head;
    let (size, root, frontier) = (signed(*size), STANDARD.encode(root), STANDARD.encode(frontier));
    let statements = format!(
        "EXECUTE eventlogger_move_head
             ({tenant_id}, {size}, '{root}', '{frontier}', '{last_received_at}', '{last_id}', {epoch});
         COMMIT"
    );
    session.execute(made_of_values(statements)).await?;
    Ok(())
}

pub async fn roll_back(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    session.execute("ROLLBACK").await?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "numbers, base64, times and UUIDs, none of which can hold a quote"
)]
fn made_of_values(statements: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(statements)
}

/// From PostgreSQL's binary form.
fn time_of(bytes: &[u8]) -> Result<Timestamp, sqlx::Error> {
    let since = bytes.try_into().map(i64::from_be_bytes).ok();
    let time = since.and_then(|since| Timestamp::from_micros(since.saturating_add(POSTGRES_EPOCH_MICROS)));
    time.ok_or_else(|| corrupt("the head has a time that no event can have"))
}
