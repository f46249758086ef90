//! Searches into SQL: the only place where SQL text is put together.
//!
//! [`Sql`] takes constant text and bound values, nothing else, so nothing that a client wrote can become
//! SQL. Every statement names the tenant first. Nothing compiles to what can raise on stored data: no
//! casts of it, no `.datetime()`.

use uuid::Uuid;

mod condition;

use super::ast::{Filter, Network};
use super::search::{Bounds, Position, Search, Sort};
use crate::event::Timestamp;
use condition::condition;

/// A page ends with the event that reaches this, so that its answer stays in the megabytes.
pub const PAGE_MAX_BYTES: i64 = 8 * 1024 * 1024;

/// A statement with its values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sql {
    text: String,
    binds: Vec<Bind>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Bind {
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Text(String),
    Time(Timestamp),
    Network(Network),
    Id(Uuid),
    Int2s(Vec<i16>),
    Int8s(Vec<i64>),
    Texts(Vec<String>),
    Times(Vec<Timestamp>),
    Networks(Vec<Network>),
    Ids(Vec<Uuid>),
}

impl Sql {
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    fn bind(&mut self, value: Bind) -> &mut Self {
        self.binds.push(value);
        self.text.push('$');
        self.text.push_str(&self.binds.len().to_string());
        self
    }
}

/// What one statement is to find: at most so many events, and at most about so many bytes of them.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub events: i64,
    pub bytes: i64,
}

/// A page, newest first, in whatever way the planner thinks best: for searches of which an index gives the order.
pub fn page(tenant_id: i32, search: &Search, after: Option<Position>, quota: Quota) -> Sql {
    let mut sql = Sql::default();
    on_a_page(&mut sql, search, quota, |sql| {
        sql.push("SELECT ").push(COLUMNS).push(", ").push(BYTES).push(" FROM events WHERE ");
        scope(sql, tenant_id, search, after);
        conjunct(sql, &search.filter);
    });
    sql
}

/// The events of a page among those up to `until`, a position that is not far: so what it costs is bounded whatever the
/// filter. OFFSET keeps the filter behind the order, so that it stops when the page is full.
pub fn walk(
    tenant_id: i32,
    search: &Search,
    after: Option<Position>,
    until: Option<Position>,
    quota: Quota,
) -> Sql {
    let order = Order::of(search);
    let mut sql = Sql::default();
    on_a_page(&mut sql, search, quota, |sql| {
        sql.push("SELECT ").push(COLUMNS).push(", ").push(BYTES).push(" FROM (SELECT * FROM events WHERE ");
        scope(sql, tenant_id, search, after);
        if let Some(position) = until {
            compare(sql, order.column, order.until, order.until, position);
        }
        sql.push(order.clause).push(" OFFSET 0) c WHERE TRUE");
        conjunct(sql, &search.filter);
    });
    sql
}

/// The events of a page among all that match: what it costs grows with how many that are, wherever they lie. The keys
/// come first, behind a fence, or the planner would rather walk through everything for the first few.
pub fn fence(tenant_id: i32, search: &Search, after: Option<Position>, quota: Quota) -> Sql {
    let order = Order::of(search);
    let mut sql = Sql::default();
    sql.push("WITH matching AS MATERIALIZED (SELECT received_at, \"timestamp\", seq FROM events WHERE ");
    scope(&mut sql, tenant_id, search, after);
    conjunct(&mut sql, &search.filter);
    sql.push("), keys AS (SELECT received_at, seq FROM matching").push(order.clause);
    sql.push(" LIMIT ").bind(Bind::Int8(quota.events + 1)).push(") ");
    on_a_page(&mut sql, search, quota, |sql| {
        sql.push("SELECT ").push(COLUMNS).push(", ").push(BYTES);
        sql.push(" FROM keys JOIN events USING (received_at, seq) WHERE tenant_id = ")
            .bind(Bind::Int4(tenant_id));
    });
    sql
}

/// All that match, for EXPLAIN.
pub fn matching(tenant_id: i32, search: &Search, after: Option<Position>) -> Sql {
    let mut sql = Sql::default();
    sql.push("EXPLAIN SELECT seq FROM events WHERE ");
    scope(&mut sql, tenant_id, search, after);
    conjunct(&mut sql, &search.filter);
    sql
}

/// The last of the next `rows` of the log: `at` and `seq`; nothing if there are not so many.
pub fn last_walked(tenant_id: i32, search: &Search, after: Option<Position>, rows: i64) -> Sql {
    let order = Order::of(search);
    let mut sql = Sql::default();
    sql.push("SELECT ").push(order.column).push(" AS at, seq FROM events WHERE ");
    scope(&mut sql, tenant_id, search, after);
    sql.push(order.clause).push(" OFFSET ").bind(Bind::Int8(rows - 1)).push(" LIMIT 1");
    sql
}

/// Besides the events' columns each row has `found`: how many rows there were, up to one more than the quota, before
/// the page was cut to its size. Window and outer filter see row headers only: a large payload stays in its TOAST
/// table until its row is known to be on the page.
fn on_a_page(sql: &mut Sql, search: &Search, quota: Quota, candidates: impl FnOnce(&mut Sql)) {
    let order = Order::of(search);
    sql.push("SELECT p.* FROM (SELECT w.*, count(*) OVER () AS found, row_number() OVER page AS place, ")
        .push("sum(w.bytes) OVER page AS running FROM (");
    candidates(sql);
    sql.push(order.clause).push(" LIMIT ").bind(Bind::Int8(quota.events + 1)).push(") w ");
    sql.push("WINDOW page AS (").push(order.clause).push(" ROWS UNBOUNDED PRECEDING)) p ");
    sql.push("WHERE p.place <= ").bind(Bind::Int8(quota.events));
    sql.push(" AND (p.place = 1 OR p.running <= ").bind(Bind::Int8(quota.bytes)).push(")");
    sql.push(order.clause);
}

const COLUMNS: &str = "seq, id, received_at, kind, level, event_type, user_identity, \"timestamp\", source, outcome, \
     target, message, ip, correlation_id, recorded_by, idempotency_key, lossy, payload, redaction";
const BYTES: &str = "512 + coalesce(octet_length(payload), 0) + coalesce(octet_length(message), 0) AS bytes";

/// The tenant's events in the times of the search, behind a position.
fn scope(sql: &mut Sql, tenant_id: i32, search: &Search, after: Option<Position>) {
    sql.push("tenant_id = ").bind(Bind::Int4(tenant_id));
    bounds(sql, "received_at", search.received_at);
    bounds(sql, "\"timestamp\"", search.timestamp);
    if search.sort == Sort::Timestamp {
        sql.push(" AND \"timestamp\" IS NOT NULL");
    }
    if let Some(position) = after {
        let order = Order::of(search);
        compare(sql, order.column, order.at, order.behind, position);
    }
}

struct Order {
    column: &'static str,
    clause: &'static str,
    /// What comes after a position: at that time or later in the order, and behind it.
    at: &'static str,
    behind: &'static str,
    /// What comes no later in the order than a position.
    until: &'static str,
}

impl Order {
    fn of(search: &Search) -> Self {
        let (column, newest, oldest) = match search.sort {
            Sort::ReceivedAt => {
                ("received_at", " ORDER BY received_at DESC, seq DESC", " ORDER BY received_at, seq")
            }
            Sort::Timestamp => {
                ("\"timestamp\"", " ORDER BY \"timestamp\" DESC, seq DESC", " ORDER BY \"timestamp\", seq")
            }
        };
        match search.oldest_first {
            false => Self { column, clause: newest, at: " <= ", behind: " < ", until: " >= " },
            true => Self { column, clause: oldest, at: " >= ", behind: " > ", until: " <= " },
        }
    }
}

fn bounds(sql: &mut Sql, column: &'static str, bounds: Bounds) {
    if let Some(from) = bounds.from {
        sql.push(" AND ").push(column).push(" >= ").bind(Bind::Time(from));
    }
    if let Some(to) = bounds.to {
        sql.push(" AND ").push(column).push(" < ").bind(Bind::Time(to));
    }
}

/// On which side of a position. The row comparison is what the index can start from; the plain one is what prunes
/// partitions.
fn compare(sql: &mut Sql, column: &'static str, plain: &'static str, row: &'static str, position: Position) {
    let at = || Bind::Time(position.at);
    sql.push(" AND ").push(column).push(plain).bind(at());
    sql.push(" AND (").push(column).push(", seq)").push(row).push("(").bind(at()).push(", ");
    sql.bind(Bind::Int8(position.seq)).push(")");
}

/// Top-level conjuncts stand side by side, where the planner looks for what an index can serve.
fn conjunct(sql: &mut Sql, filter: &Filter) {
    match filter {
        Filter::And(all) => all.iter().for_each(|filter| conjunct(sql, filter)),
        filter => condition(sql.push(" AND "), filter),
    }
}

/// The times, end exclusive, at which the event of this id can have been received.
pub fn id_millisecond(id: Uuid) -> Option<(Timestamp, Timestamp)> {
    let (seconds, nanos) = id.get_timestamp().filter(|_| id.get_version_num() == 7)?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)? + i64::from(nanos / 1000);
    Timestamp::from_micros(micros).zip(Timestamp::from_micros(micros + 1000))
}

#[cfg(test)]
mod tests;
