//! A filter on one event in memory, for what is not asked of the database: live tails and alerts.
//!
//! It must find exactly what PostgreSQL finds. So it looks at what the columns hold and at the projection, never at the
//! raw payload; and it follows paths as jsonpath does in lax mode.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::ast::{Filter, Network, Scalar, Seg, TEXT_FIELDS, Test, Than, Typed};
use super::number;
use crate::event::{Envelope, Event, Field, Payload};
use crate::json::{self, decode};

/// An event as the database holds it.
pub struct Subject<'a> {
    event: &'a Event,
    /// What `event_data` is in the database.
    projection: Option<String>,
}

impl<'a> Subject<'a> {
    pub fn new(event: &'a Event) -> Self {
        let payload = event.payload.clone().and_then(|bytes| Payload::parse(bytes).ok());
        Self { event, projection: payload.map(|payload| payload.projection.json) }
    }

    pub fn passes(&self, filter: &Filter) -> bool {
        match filter {
            Filter::And(all) => all.iter().all(|filter| self.passes(filter)),
            Filter::Or(any) => any.iter().any(|filter| self.passes(filter)),
            Filter::Not(inner) => !self.passes(inner),
            Filter::Column { field, test } => {
                self.column(*field).is_some_and(|value| column_passes(&value, test))
            }
            Filter::Data { path, test } => {
                self.projection.as_deref().is_some_and(|data| data_passes(data, path, test))
            }
            Filter::Text(pattern) => TEXT_FIELDS.into_iter().any(
                |field| matches!(self.column(field), Some(Typed::Text(text)) if pattern.is_match(&text)),
            ),
        }
    }

    /// What a path leads to, as JSON texts.
    pub fn values(&self, path: &[Seg]) -> Vec<&str> {
        self.projection.as_deref().map_or_else(Vec::new, |data| follow(data, path))
    }

    fn column(&self, field: Field) -> Option<Typed> {
        let event = self.event;
        let text = |text: &str| Some(Typed::Text(text.to_owned()));
        match field {
            Field::Id => return Some(Typed::Id(event.id)),
            Field::Seq => return i64::try_from(event.seq).ok().map(Typed::Seq),
            Field::ReceivedAt => return Some(Typed::Time(event.received_at)),
            _ => {}
        }
        let envelope: &Envelope = event.envelope.as_ref()?;
        match field {
            Field::EventType => text(&envelope.event_type),
            Field::UserIdentity => text(&envelope.user_identity),
            Field::Timestamp => Some(Typed::Time(envelope.timestamp)),
            Field::Source => text(envelope.source.as_deref()?),
            Field::Level => Some(Typed::Level(envelope.level)),
            Field::Outcome => envelope.outcome.map(Typed::Outcome),
            Field::Target => text(envelope.target.as_deref()?),
            Field::Message => text(envelope.message.as_deref()?),
            Field::Ip => envelope.ip.map(Typed::Address),
            Field::CorrelationId => text(envelope.correlation_id.as_deref()?),
            Field::RecordedBy => text(&envelope.recorded_by),
            Field::IdempotencyKey => text(envelope.idempotency_key.as_deref()?),
            Field::Id | Field::Seq | Field::ReceivedAt | Field::EventData => None,
        }
    }
}

fn column_passes(value: &Typed, test: &Test<Typed>) -> bool {
    match (test, value) {
        (Test::AnyOf(values), _) => values.contains(value),
        (Test::Than(than, other), _) => {
            compare_typed(value, other).is_some_and(|ordering| than.holds(ordering))
        }
        (Test::Within(networks), Typed::Address(address)) => within(networks, *address),
        (Test::Exists, _) => true,
        (test, Typed::Text(text)) => text_passes(text, test),
        _ => false,
    }
}

fn compare_typed(value: &Typed, other: &Typed) -> Option<Ordering> {
    match (value, other) {
        (Typed::Text(value), Typed::Text(other)) => Some(value.cmp(other)),
        (Typed::Time(value), Typed::Time(other)) => Some(value.cmp(other)),
        (Typed::Level(value), Typed::Level(other)) => Some(value.rank().cmp(&other.rank())),
        (Typed::Seq(value), Typed::Seq(other)) => Some(value.cmp(other)),
        _ => None,
    }
}

fn text_passes<Value>(text: &str, test: &Test<Value>) -> bool {
    match test {
        Test::Prefix(prefix) => text.starts_with(prefix),
        Test::Pattern(pattern) => pattern.is_match(text),
        _ => false,
    }
}

fn data_passes(data: &str, path: &[Seg], test: &Test<Scalar>) -> bool {
    let found = follow(data, path);
    match test {
        Test::Exists => !found.is_empty(),
        test => found.into_iter().flat_map(unwrap).any(|value| value_passes(value, test)),
    }
}

/// What a path leads to.
fn follow<'a>(data: &'a str, path: &[Seg]) -> Vec<&'a str> {
    path.iter().fold(vec![data], |values, segment| {
        values.into_iter().flat_map(|value| step(value, segment)).collect()
    })
}

fn step<'a>(value: &'a str, segment: &Seg) -> Vec<&'a str> {
    match segment {
        Seg::Key(key) => unwrap(value).into_iter().filter_map(|value| member(value, key)).collect(),
        Seg::Index(index) => match json::elements(value.as_bytes()) {
            Ok(elements) => {
                elements.get(*index as usize).map(|range| &value[range.clone()]).into_iter().collect()
            }
            // In lax mode anything else is an array of itself.
            Err(_) if *index == 0 => vec![value],
            Err(_) => Vec::new(),
        },
    }
}

fn member<'a>(value: &'a str, key: &str) -> Option<&'a str> {
    let members = json::members(value.as_bytes()).ok()?;
    members.into_iter().find(|member| member.key == key).map(|member| &value[member.value])
}

/// The elements of an array, one level of them; anything else itself.
fn unwrap(value: &str) -> Vec<&str> {
    match json::elements(value.as_bytes()) {
        Ok(elements) => elements.into_iter().map(|range| &value[range]).collect(),
        Err(_) => vec![value],
    }
}

fn value_passes(raw: &str, test: &Test<Scalar>) -> bool {
    let text = raw.starts_with('"').then(|| decode(raw));
    match test {
        Test::AnyOf(values) => values.iter().any(|value| equals(raw, text.as_deref(), value)),
        Test::Than(than, value) => is_than(raw, text.as_deref(), *than, value),
        Test::Within(networks) => text.is_some_and(|text| {
            text.parse().is_ok_and(|address: IpAddr| within(networks, address.to_canonical()))
        }),
        test => text.is_some_and(|text| text_passes(&text, test)),
    }
}

fn equals(raw: &str, text: Option<&str>, value: &Scalar) -> bool {
    match value {
        Scalar::Null => raw == "null",
        Scalar::Bool(value) => raw == if *value { "true" } else { "false" },
        Scalar::Number(number) => is_number(raw) && number::compare(raw, &number.to_string()).is_eq(),
        Scalar::String(value) => text == Some(value),
    }
}

fn is_than(raw: &str, text: Option<&str>, than: Than, value: &Scalar) -> bool {
    match (value, text) {
        (Scalar::Number(number), None) => {
            is_number(raw) && than.holds(number::compare(raw, &number.to_string()))
        }
        (Scalar::String(value), Some(text)) => than.holds(text.cmp(value.as_str())),
        _ => false,
    }
}

fn is_number(raw: &str) -> bool {
    raw.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn within(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}
