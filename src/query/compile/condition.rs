//! A filter into a condition. What it is for one row, it is for `evaluate` too.
//!
//! A leaf may be NULL, where a field is missing or of another type; AND and OR let that through, and a negation is
//! written `IS NOT TRUE`. So a condition holds exactly where the two-valued filter does.

use super::super::ast::{Filter, Network, Pattern, Scalar, Seg, TEXT_FIELDS, Test, Than, Typed};
use super::{Bind, Sql, id_millisecond};
use crate::event::Field;
use crate::json::quote;

pub(super) fn condition(sql: &mut Sql, filter: &Filter) {
    match filter {
        Filter::And(all) => joined(sql, all, " AND ", "TRUE"),
        Filter::Or(any) => joined(sql, any, " OR ", "FALSE"),
        Filter::Not(inner) => {
            sql.push("(");
            condition(sql, inner);
            sql.push(") IS NOT TRUE");
        }
        Filter::Column { field, test } => on_column(sql, *field, test),
        Filter::Data { path, test } => on_data(sql, path, test),
        Filter::Text(pattern) => {
            for (n, field) in TEXT_FIELDS.into_iter().enumerate() {
                sql.push(if n == 0 { "(" } else { " OR " });
                matches(sql, field, pattern);
            }
            sql.push(")");
        }
    }
}

fn joined(sql: &mut Sql, filters: &[Filter], between: &'static str, none: &'static str) {
    if filters.is_empty() {
        sql.push(none);
        return;
    }
    for (n, filter) in filters.iter().enumerate() {
        sql.push(if n == 0 { "(" } else { between });
        condition(sql, filter);
    }
    sql.push(")");
}

fn on_column(sql: &mut Sql, field: Field, test: &Test<Typed>) {
    let column = column(field);
    match test {
        Test::AnyOf(values) => any_of(sql, column, values),
        Test::Than(than, value) => {
            sql.push(column);
            // Others are by code point anyway, and an index is by its column's collation.
            if field == Field::Message {
                sql.push(r#" COLLATE "C""#);
            }
            sql.push(than_symbol(*than)).bind(one(value));
        }
        Test::Prefix(prefix) if field == Field::Message => {
            sql.push("starts_with(").push(column).push(", ").bind(Bind::Text(prefix.clone())).push(")");
        }
        Test::Prefix(prefix) => {
            // A range of code points, which an index can serve.
            sql.push("(").push(column).push(" >= ").bind(Bind::Text(prefix.clone()));
            if let Some(end) = after_prefix(prefix) {
                sql.push(" AND ").push(column).push(" < ").bind(Bind::Text(end));
            }
            sql.push(")");
        }
        Test::Pattern(pattern) => matches(sql, field, pattern),
        Test::Within(networks) => match networks.as_slice() {
            [network] => drop(sql.push(column).push(" <<= ").bind(Bind::Network(*network))),
            networks => {
                sql.push(column).push(" <<= ANY(").bind(Bind::Networks(networks.to_vec())).push(")");
            }
        },
        Test::Exists => drop(sql.push(column).push(" IS NOT NULL")),
    }
}

fn any_of(sql: &mut Sql, column: &'static str, values: &[Typed]) {
    match values {
        [Typed::Id(id)] => {
            sql.push("(").push(column).push(" = ").bind(Bind::Id(*id));
            // An id holds the millisecond of `received_at`, so it says in which partition its event is.
            if let Some((from, to)) = id_millisecond(*id) {
                sql.push(" AND received_at >= ").bind(Bind::Time(from));
                sql.push(" AND received_at < ").bind(Bind::Time(to));
            }
            sql.push(")");
        }
        [value] => drop(sql.push(column).push(" = ").bind(one(value))),
        values => drop(sql.push(column).push(" = ANY(").bind(many(values)).push(")")),
    }
}

fn matches(sql: &mut Sql, field: Field, pattern: &Pattern) {
    sql.push(column(field)).push(" ~ ").bind(Bind::Text(pattern.postgres()));
}

fn column(field: Field) -> &'static str {
    match field {
        // Also the name of a type.
        Field::Timestamp => "\"timestamp\"",
        field => field.name(),
    }
}

fn than_symbol(than: Than) -> &'static str {
    match than {
        Than::Greater => " > ",
        Than::GreaterOrEqual => " >= ",
        Than::Less => " < ",
        Than::LessOrEqual => " <= ",
    }
}

/// The first text, by code points, that is behind all with this prefix.
pub(super) fn after_prefix(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        // Over the surrogates, which are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

fn one(value: &Typed) -> Bind {
    match value {
        Typed::Text(text) => Bind::Text(text.clone()),
        Typed::Time(time) => Bind::Time(*time),
        Typed::Level(level) => Bind::Int2(level.rank()),
        Typed::Outcome(outcome) => Bind::Text(outcome.name().to_owned()),
        Typed::Address(address) => Bind::Network(Network::of(*address)),
        Typed::Id(id) => Bind::Id(*id),
        Typed::Seq(seq) => Bind::Int8(*seq),
    }
}

/// All of a list are of the type of its first.
fn many(values: &[Typed]) -> Bind {
    let mut list = match values.first() {
        Some(Typed::Text(_) | Typed::Outcome(_)) | None => Bind::Texts(Vec::new()),
        Some(Typed::Time(_)) => Bind::Times(Vec::new()),
        Some(Typed::Level(_)) => Bind::Int2s(Vec::new()),
        Some(Typed::Address(_)) => Bind::Networks(Vec::new()),
        Some(Typed::Id(_)) => Bind::Ids(Vec::new()),
        Some(Typed::Seq(_)) => Bind::Int8s(Vec::new()),
    };
    for value in values {
        match (&mut list, one(value)) {
            (Bind::Texts(list), Bind::Text(text)) => list.push(text),
            (Bind::Times(list), Bind::Time(time)) => list.push(time),
            (Bind::Int2s(list), Bind::Int2(rank)) => list.push(rank),
            (Bind::Networks(list), Bind::Network(network)) => list.push(network),
            (Bind::Ids(list), Bind::Id(id)) => list.push(id),
            (Bind::Int8s(list), Bind::Int8(number)) => list.push(number),
            (list, value) => unreachable!("{value:?} in a list such as {list:?}"),
        }
    }
    list
}

/// In lax mode, which reaches through one level of array per step; `@>` does not.
fn on_data(sql: &mut Sql, path: &[Seg], test: &Test<Scalar>) {
    let target = target(path);
    let path = match test {
        Test::AnyOf(values) => {
            let all: Vec<_> = values.iter().map(|value| format!("{target} == {value}")).collect();
            all.join(" || ")
        }
        Test::Than(than, value) => format!("{target} {} {value}", than.symbol()),
        Test::Prefix(prefix) => format!("{target} starts with {}", quote(prefix)),
        // "s" lets a class match the end of a line; without it jsonpath takes that out of classes.
        Test::Pattern(pattern) => format!("{target} like_regex {} flag \"s\"", quote(&pattern.postgres())),
        Test::Exists => {
            sql.push("event_data @? ").bind(Bind::Text(target)).push("::jsonpath");
            return;
        }
        Test::Within(networks) => {
            sql.push("EXISTS (SELECT FROM jsonb_path_query(event_data, ")
                .bind(Bind::Text(format!("{target}[*]")))
                .push("::jsonpath) AS value WHERE event_address(value) <<= ANY(")
                .bind(Bind::Networks(networks.clone()))
                .push("))");
            return;
        }
    };
    sql.push("event_data @@ ").bind(Bind::Text(path)).push("::jsonpath");
}

fn target(path: &[Seg]) -> String {
    let mut target = "$".to_owned();
    for segment in path {
        match segment {
            Seg::Key(key) => target.push_str(&format!(".{}", quote(key))),
            Seg::Index(index) => target.push_str(&format!("[{index}]")),
        }
    }
    target
}
