//! An event while it is made up.

use serde_json::{Value, json};

use crate::event::{NewEvent, Timestamp, parse_event};

#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// Microseconds since 1970.
    pub(super) at: i64,
    /// The fields of a submission, but for its time.
    fields: Value,
}

impl Draft {
    pub(super) fn new(at: i64, event_type: &str, user: &str, source: &str, message: &str) -> Self {
        let fields = json!({
            "event_type": event_type,
            "user_identity": user,
            "source": source,
            "message": message,
            "event_data": {},
        });
        Self { at, fields }
    }

    pub(super) fn level(self, level: &str) -> Self {
        self.with("level", level)
    }

    pub(super) fn outcome(self, outcome: &str) -> Self {
        self.with("outcome", outcome)
    }

    pub(super) fn target(self, target: impl Into<String>) -> Self {
        self.with("target", target.into())
    }

    pub(super) fn ip(self, ip: impl Into<String>) -> Self {
        self.with("ip", ip.into())
    }

    pub(super) fn correlation(self, id: &str) -> Self {
        self.with("correlation_id", id)
    }

    pub(super) fn data(self, data: Value) -> Self {
        self.with("event_data", data)
    }

    fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields[field] = value.into();
        self
    }

    /// The event as the service would make it of what a client sends.
    pub(super) fn into_event(mut self, key: String) -> NewEvent {
        let at = Timestamp::from_micros(self.at).unwrap_or(Timestamp::MIN);
        self.fields["timestamp"] = at.to_string().into();
        self.fields["idempotency_key"] = key.into();
        self.fields["event_data"]["sample"] = true.into();
        parse_event(self.fields.to_string().as_bytes())
            .unwrap_or_else(|faults| unreachable!("what is made up is a sound event: {faults:?}"))
    }
}
