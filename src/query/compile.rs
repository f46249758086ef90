//! Searches into SQL: the only place where SQL text is put together.
//!
//! [`Sql`] takes constant text and bound values, nothing else, so nothing that a client wrote can become
//! SQL. Every statement names the tenant first. Nothing compiles to what can raise on stored data: no
//! casts of it, no `.datetime()`.

use uuid::Uuid;

use super::ast::{Filter, Network, Op, Seg, Typed, Untyped};
use super::search::{Bounds, Position, Search, Sort};
use crate::event::{Field, Timestamp};
use crate::json::quote;

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

/// One page, newest first. Besides the events' columns each row has `found`: how many rows there were,
/// up to one more than the limit, before the page was cut to its size.
pub fn page(tenant_id: i32, search: &Search, after: Option<Position>) -> Sql {
    let order = Order::of(search.sort);
    let limit = i64::from(search.limit);
    let mut sql = Sql::default();
    // Window and outer filter see row headers only: a large payload stays in its TOAST table until its
    // row is known to be on the page.
    sql.push("SELECT p.* FROM (SELECT w.*, count(*) OVER () AS found, row_number() OVER page AS place, ")
        .push("sum(w.bytes) OVER page AS running FROM (");
    candidates(&mut sql, tenant_id, search, after);
    sql.push(order.descending).push(" LIMIT ").bind(Bind::Int8(limit + 1)).push(") w ");
    sql.push("WINDOW page AS (").push(order.descending).push(" ROWS UNBOUNDED PRECEDING)) p ");
    sql.push("WHERE p.place <= ").bind(Bind::Int8(limit));
    sql.push(" AND (p.place = 1 OR p.running <= ").bind(Bind::Int8(PAGE_MAX_BYTES)).push(")");
    sql.push(order.descending);
    sql
}

/// All that match, in no order yet.
fn candidates(sql: &mut Sql, tenant_id: i32, search: &Search, after: Option<Position>) {
    sql.push("SELECT seq, id, received_at, kind, level, event_type, user_identity, \"timestamp\", source, ")
        .push("outcome, target, message, ip, correlation_id, recorded_by, idempotency_key, lossy, payload, redaction, ")
        .push("512 + coalesce(octet_length(payload), 0) + coalesce(octet_length(message), 0) AS bytes ")
        .push("FROM events WHERE tenant_id = ")
        .bind(Bind::Int4(tenant_id));
    bounds(sql, "received_at", search.received_at);
    bounds(sql, "\"timestamp\"", search.timestamp);
    if search.sort == Sort::Timestamp {
        sql.push(" AND \"timestamp\" IS NOT NULL");
    }
    if let Some(position) = after {
        resume(sql, Order::of(search.sort), position);
    }
    conjunct(sql, &search.filter);
}

struct Order {
    column: &'static str,
    descending: &'static str,
}

impl Order {
    fn of(sort: Sort) -> Self {
        match sort {
            Sort::ReceivedAt => {
                Self { column: "received_at", descending: " ORDER BY received_at DESC, seq DESC" }
            }
            Sort::Timestamp => {
                Self { column: "\"timestamp\"", descending: " ORDER BY \"timestamp\" DESC, seq DESC" }
            }
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

/// The row comparison is what the index can start from; the plain one is what prunes partitions.
fn resume(sql: &mut Sql, order: Order, position: Position) {
    let at = || Bind::Time(position.at);
    sql.push(" AND ").push(order.column).push(" <= ").bind(at());
    sql.push(" AND (").push(order.column).push(", seq) < (").bind(at()).push(", ");
    sql.bind(Bind::Int8(position.seq)).push(")");
}

/// Top-level conjuncts stand side by side, where the planner looks for what an index can serve.
fn conjunct(sql: &mut Sql, filter: &Filter) {
    match filter {
        Filter::And(all) => all.iter().for_each(|filter| conjunct(sql, filter)),
        Filter::Column { field, op, value } => compare_column(sql.push(" AND "), *field, *op, value),
        Filter::Data { path, value } => {
            let path = Bind::Text(jsonpath(path, value));
            sql.push(" AND event_data @@ ").bind(path).push("::jsonpath");
        }
    }
}

fn compare_column(sql: &mut Sql, field: Field, op: Op, value: &Typed) {
    let operator = match op {
        Op::Eq => " = ",
        Op::Cidr => " <<= ",
    };
    sql.push(column(field)).push(operator).bind(bind(value));
    if let Typed::Id(id) = value {
        id_time(sql, *id);
    }
}

/// An id holds the millisecond of `received_at`, so it says in which partition its event is.
fn id_time(sql: &mut Sql, id: Uuid) {
    if let Some((from, to)) = id_millisecond(id) {
        sql.push(" AND received_at >= ").bind(Bind::Time(from));
        sql.push(" AND received_at < ").bind(Bind::Time(to));
    }
}

/// The times, end exclusive, at which the event of this id can have been received.
pub fn id_millisecond(id: Uuid) -> Option<(Timestamp, Timestamp)> {
    let (seconds, nanos) = id.get_timestamp().filter(|_| id.get_version_num() == 7)?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)? + i64::from(nanos / 1000);
    Timestamp::from_micros(micros).zip(Timestamp::from_micros(micros + 1000))
}

fn column(field: Field) -> &'static str {
    match field {
        // Also the name of a type.
        Field::Timestamp => "\"timestamp\"",
        field => field.name(),
    }
}

fn bind(value: &Typed) -> Bind {
    match value {
        Typed::Text(text) => Bind::Text(text.clone()),
        Typed::Time(time) => Bind::Time(*time),
        Typed::Level(level) => Bind::Int2(level.rank()),
        Typed::Outcome(outcome) => Bind::Text(outcome.name().to_owned()),
        Typed::Network(network) => Bind::Network(*network),
        Typed::Id(id) => Bind::Id(*id),
        Typed::Seq(seq) => Bind::Int8(*seq),
    }
}

/// Equality in lax mode, which reaches through one level of array per step; `@>` does not.
fn jsonpath(path: &[Seg], value: &Untyped) -> String {
    let mut target = "$".to_owned();
    for segment in path {
        match segment {
            Seg::Key(key) => target.push_str(&format!(".{}", quote(key))),
            Seg::Index(index) => target.push_str(&format!("[{index}]")),
        }
    }
    match value {
        Untyped::Exactly(scalar) => format!("{target} == {scalar}"),
        Untyped::Loosely(scalar, text) => format!("{target} == {scalar} || {target} == {}", quote(text)),
    }
}

#[cfg(test)]
mod tests;
