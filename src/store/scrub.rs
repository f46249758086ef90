//! What PostgreSQL itself keeps of erased content: dead rows and their TOAST, index entries, pending lists of GIN
//! indexes, and the common values in `pg_statistic`.
//!
//! VACUUM frees the space of dead rows, and nothing finds them any more; but their bytes stay in the files until
//! something else is written there. Only VACUUM FULL leaves none, by writing a table anew, and nobody reads or writes
//! the table meanwhile. So it is done where it takes a moment, see [`REWRITE_MAX_BYTES`].

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row};

/// Larger tables, indexes included, are only vacuumed. Rewriting this much takes about two seconds, and lanes wait up
/// to ten for a lock.
pub const REWRITE_MAX_BYTES: i64 = 64 << 20;

/// Of its partitions each is a table; it has no rows of its own, but may have statistics.
const WHOLE: &str = "events";

/// Whoever scrubs holds this; other instances leave it to them.
const SCRUB_LOCK: i64 = 0x4155_4531_0002;

/// What one round did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Those that are done with.
    pub redactions: u64,
    /// Tables too large to be written anew: freed space of theirs may hold erased bytes.
    pub large: Vec<String>,
    /// Tables that others did not let go; all is to be done again.
    pub in_use: Vec<String>,
}

enum Cleaned {
    Wholly,
    /// Vacuumed, but not written anew.
    Large,
    InUse,
}

/// Scrubs what held the content of redacted events, if there are any that were not scrubbed yet. Runs as the owner,
/// on a session of its own: this takes as long as it takes, and closing the session ends it.
pub async fn scrub(owner: &PgPool) -> Result<Scrubbed, sqlx::Error> {
    let any =
        sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM redactions WHERE scrubbed_at IS NULL) AS "any!""#);
    if !any.fetch_one(owner).await? {
        return Ok(Scrubbed::default());
    }
    let mut session = owner.acquire().await?.detach();
    session.execute("SET statement_timeout = 0").await?;
    let locked = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "locked!""#, SCRUB_LOCK);
    let scrubbed = match locked.fetch_one(&mut session).await? {
        true => scrub_due(&mut session).await?,
        false => Scrubbed::default(),
    };
    session.close().await?;
    Ok(scrubbed)
}

async fn scrub_due(session: &mut PgConnection) -> Result<Scrubbed, sqlx::Error> {
    let due = due(session).await?;
    if due.tenants.is_empty() {
        return Ok(Scrubbed::default());
    }
    let mut scrubbed = Scrubbed::default();
    for table in tables(session, due.partitions).await? {
        match clean(session, &table).await? {
            Cleaned::Wholly => {}
            Cleaned::Large => scrubbed.large.push(table),
            Cleaned::InUse => {
                // The rest can wait for the round in which this is free.
                scrubbed.in_use.push(table);
                return Ok(scrubbed);
            }
        }
    }
    if scrubbed.in_use.is_empty() {
        scrubbed.redactions = mark(session, &due.tenants, &due.seqs).await?;
    }
    Ok(scrubbed)
}

#[derive(Default)]
struct Due {
    tenants: Vec<i32>,
    seqs: Vec<i64>,
    partitions: Vec<String>,
}

/// Redactions to scrub after. VACUUM keeps what a transaction can still see that began before the redaction, so those
/// wait until it has ended, as far as sessions can be seen: all of the service's own.
async fn due(session: &mut PgConnection) -> Result<Due, sqlx::Error> {
    const AT_ONCE: i64 = 10_000;
    let rows = sqlx::query!(
        r#"SELECT r.tenant_id, r.seq, e.partition AS "partition!"
           FROM redactions r
           CROSS JOIN LATERAL (
             SELECT tableoid::regclass::text AS partition FROM events
             WHERE tenant_id = r.tenant_id AND received_at = r.target_received_at AND seq = r.target_seq LIMIT 1
           ) AS e
           WHERE r.scrubbed_at IS NULL
             AND NOT EXISTS (SELECT FROM pg_stat_activity a
                             WHERE a.datname = current_database() AND age(a.backend_xmin) >= age(r.xmin))
           ORDER BY r.tenant_id, r.target_seq LIMIT $1"#,
        AT_ONCE
    )
    .fetch_all(session)
    .await?;
    let mut due = Due::default();
    for row in rows {
        due.tenants.push(row.tenant_id);
        due.seqs.push(row.seq);
        if !due.partitions.contains(&row.partition) {
            due.partitions.push(row.partition);
        }
    }
    Ok(due)
}

/// The tables of the list in migration 0006, and where PostgreSQL keeps statistics of them.
async fn tables(session: &mut PgConnection, partitions: Vec<String>) -> Result<Vec<String>, sqlx::Error> {
    let mut tables = partitions;
    // Only if somebody has ever analysed the whole: PostgreSQL does that for partitions alone.
    let whole = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM pg_stats WHERE schemaname = 'public' AND tablename = 'events') AS "there!""#
    );
    if whole.fetch_one(session).await? {
        tables.push(WHOLE.to_owned());
    }
    tables.extend(["idempotency", "service_events", "pg_catalog.pg_statistic"].map(str::to_owned));
    Ok(tables)
}

/// While a rewrite waits for its lock, everybody else waits behind it; and no lane may wait longer than its own limit.
const REWRITE_LIMITS: &str = "SET lock_timeout = '200ms'; SET statement_timeout = '8s'";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";

/// Frees what is dead, takes new statistics, and writes the table anew if it is small.
async fn clean(session: &mut PgConnection, table: &str) -> Result<Cleaned, sqlx::Error> {
    if table == WHOLE {
        run(session, format!("ANALYZE {table}")).await?;
        return Ok(Cleaned::Wholly);
    }
    // Of few dead rows in a large table, VACUUM by itself would leave the index entries.
    run(session, format!("VACUUM (ANALYZE, INDEX_CLEANUP ON) {table}")).await?;
    let size: i64 = sqlx::query("SELECT pg_total_relation_size($1::text::regclass)")
        .bind(table)
        .fetch_one(&mut *session)
        .await?
        .get(0);
    if size > REWRITE_MAX_BYTES {
        return Ok(Cleaned::Large);
    }
    session.execute(REWRITE_LIMITS).await?;
    let rewritten = run(session, format!("VACUUM (FULL) {table}")).await;
    session.execute("SET statement_timeout = 0").await?;
    match rewritten {
        Ok(()) => Ok(Cleaned::Wholly),
        Err(error) if has_code(&error, LOCK_NOT_AVAILABLE) => Ok(Cleaned::InUse),
        Err(error) if has_code(&error, QUERY_CANCELED) => Ok(Cleaned::Large),
        Err(error) => Err(error),
    }
}

async fn run(session: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    #[expect(clippy::disallowed_methods, reason = "a table's name, as the catalog or this file spells it")]
    session.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(code))
}

async fn mark(session: &mut PgConnection, tenants: &[i32], seqs: &[i64]) -> Result<u64, sqlx::Error> {
    let marked = sqlx::query!(
        "UPDATE redactions r SET scrubbed_at = clock_timestamp()
         FROM UNNEST($1::int[], $2::bigint[]) AS done (tenant_id, seq)
         WHERE r.tenant_id = done.tenant_id AND r.seq = done.seq",
        tenants,
        seqs
    )
    .execute(session)
    .await?;
    Ok(marked.rows_affected())
}
