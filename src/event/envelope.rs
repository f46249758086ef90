//! The envelope: the typed fields as canonical JSON (RFC 8785), which the entry commits to.
//!
//! It is not stored but derived from the columns, so these rules hold for ever; others would be version 2.

use std::net::IpAddr;

use super::{Level, NewEvent, Outcome, Timestamp};
use crate::json;

pub const ENVELOPE_V: i16 = 1;

/// The typed fields of a recorded event, with the service's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub event_type: String,
    pub user_identity: String,
    pub timestamp: Timestamp,
    pub source: Option<String>,
    pub level: Level,
    pub outcome: Option<Outcome>,
    pub target: Option<String>,
    pub message: Option<String>,
    pub ip: Option<IpAddr>,
    pub correlation_id: Option<String>,
    pub recorded_by: String,
    pub idempotency_key: Option<String>,
}

impl Envelope {
    pub fn new(event: &NewEvent, received_at: Timestamp, recorded_by: &str) -> Self {
        let event = event.clone();
        Self {
            event_type: event.event_type,
            user_identity: event.user_identity,
            timestamp: event.timestamp.unwrap_or(received_at),
            source: event.source,
            level: event.level.unwrap_or(Level::Info),
            outcome: event.outcome,
            target: event.target,
            message: event.message,
            ip: event.ip,
            correlation_id: event.correlation_id,
            recorded_by: recorded_by.to_owned(),
            idempotency_key: event.idempotency_key,
        }
    }

    /// The text that is committed to.
    pub fn canonical(&self) -> String {
        let timestamp = self.timestamp.to_string();
        let ip = self.ip.map(|ip| ip.to_string());
        canonical([
            ("correlation_id", self.correlation_id.as_deref()),
            ("event_type", Some(&self.event_type)),
            ("idempotency_key", self.idempotency_key.as_deref()),
            ("ip", ip.as_deref()),
            ("level", Some(self.level.name())),
            ("message", self.message.as_deref()),
            ("outcome", self.outcome.map(Outcome::name)),
            ("recorded_by", Some(&self.recorded_by)),
            ("source", self.source.as_deref()),
            ("target", self.target.as_deref()),
            ("timestamp", Some(&timestamp)),
            ("user_identity", Some(&self.user_identity)),
        ])
    }
}

impl NewEvent {
    /// What the client submitted, normalised and without defaults: two submissions have the same content
    /// exactly if these bytes are the same. Kept for ever as a MAC beside the idempotency key, so the form
    /// cannot change: canonical JSON and, if there is a payload, a zero byte and the payload.
    pub fn content(&self) -> Vec<u8> {
        let timestamp = self.timestamp.map(|timestamp| timestamp.to_string());
        let ip = self.ip.map(|ip| ip.to_string());
        let fields = canonical([
            ("correlation_id", self.correlation_id.as_deref()),
            ("event_type", Some(&self.event_type)),
            ("ip", ip.as_deref()),
            ("level", self.level.map(Level::name)),
            ("message", self.message.as_deref()),
            ("outcome", self.outcome.map(Outcome::name)),
            ("source", self.source.as_deref()),
            ("target", self.target.as_deref()),
            ("timestamp", timestamp.as_deref()),
            ("user_identity", Some(&self.user_identity)),
        ]);
        let mut content = fields.into_bytes();
        if let Some(payload) = &self.payload {
            content.push(0);
            content.extend_from_slice(&payload.bytes);
        }
        content
    }
}

/// RFC 8785 for members that come sorted by name and are all text, followed by the version (`v` sorts last).
fn canonical<const N: usize>(members: [(&str, Option<&str>); N]) -> String {
    let length = |(name, value): &(&str, Option<&str>)| value.map_or(0, |value| name.len() + value.len() + 6);
    let mut text = String::with_capacity(8 + members.iter().map(length).sum::<usize>());
    text.push('{');
    for (name, value) in members {
        if let Some(value) = value {
            json::quote_into(&mut text, name);
            text.push(':');
            json::quote_into(&mut text, value);
            text.push(',');
        }
    }
    text.push_str("\"v\":1}");
    text
}

#[cfg(test)]
mod tests;
