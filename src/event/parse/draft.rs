//! A submission on its way to being valid.

use std::net::IpAddr;

use super::values;
use crate::event::{Field, Invalid, Level, NewEvent, Outcome, Payload, Timestamp};

/// Faults beyond these are left out; a body can have hundreds of thousands.
const FAULTS_MAX: usize = 20;

#[derive(Default)]
pub(super) struct Draft {
    pub(super) event_type: Option<String>,
    pub(super) user_identity: Option<String>,
    timestamp: Option<Timestamp>,
    source: Option<String>,
    level: Option<Level>,
    outcome: Option<Outcome>,
    target: Option<String>,
    message: Option<String>,
    ip: Option<IpAddr>,
    correlation_id: Option<String>,
    idempotency_key: Option<String>,
    pub(super) payload: Option<Vec<u8>>,
    given: Vec<Given>,
    faults: Vec<Invalid>,
}

/// A field that the client gave.
struct Given {
    field: Field,
    /// The name that the client used.
    key: String,
    is_null: bool,
}

impl Draft {
    /// Makes the report only if there is room for it: looking for near names costs.
    pub(super) fn fault(&mut self, fault: impl FnOnce() -> Invalid) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault());
        }
    }

    /// Takes the value `raw` that the client gave for `field` under the name `key`.
    pub(super) fn set(&mut self, field: Field, key: &str, raw: &[u8]) {
        if let Some(before) = self.given.iter().find(|given| given.field == field) {
            let before = before.key.clone();
            return self.fault(|| values::given_twice(field, &before, key));
        }
        let is_null = raw == b"null";
        self.given.push(Given { field, key: key.to_owned(), is_null });
        if field == Field::EventData {
            self.payload = Some(raw.to_vec());
        } else if !is_null && let Err(fault) = self.set_text(field, key, raw) {
            self.fault(|| fault);
        }
    }

    fn set_text(&mut self, field: Field, key: &str, raw: &[u8]) -> Result<(), Invalid> {
        let text = values::text(field, key, raw)?;
        match field {
            Field::EventType => self.event_type = Some(values::event_type(key, text)?),
            Field::UserIdentity => self.user_identity = Some(text),
            Field::Timestamp => self.timestamp = Some(values::timestamp(key, &text)?),
            Field::Source => self.source = Some(text),
            Field::Level => self.level = Some(values::level(key, &text)?),
            Field::Outcome => self.outcome = Some(values::outcome(key, &text)?),
            Field::Target => self.target = Some(text),
            Field::Message => self.message = Some(text),
            Field::Ip => self.ip = Some(values::ip(key, &text)?),
            Field::CorrelationId => self.correlation_id = Some(text),
            Field::IdempotencyKey => self.idempotency_key = Some(text),
            Field::EventData | Field::Id | Field::Seq | Field::ReceivedAt | Field::RecordedBy => {}
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<NewEvent, Vec<Invalid>> {
        let payload = self.payload.take().map(Payload::parse).transpose().unwrap_or_else(|fault| {
            self.fault(|| fault);
            None
        });
        self.require(Field::EventType, self.event_type.is_some());
        self.require(Field::UserIdentity, self.user_identity.is_some());
        match (self.event_type, self.user_identity) {
            (Some(event_type), Some(user_identity)) if self.faults.is_empty() => Ok(NewEvent {
                event_type,
                user_identity,
                timestamp: self.timestamp,
                source: self.source,
                level: self.level,
                outcome: self.outcome,
                target: self.target,
                message: self.message,
                ip: self.ip,
                correlation_id: self.correlation_id,
                payload,
                idempotency_key: self.idempotency_key,
            }),
            _ => Err(self.faults),
        }
    }

    /// Reports a missing field, unless what was given for it has been reported already.
    fn require(&mut self, field: Field, is_valid: bool) {
        let faulty = self.given.iter().any(|given| given.field == field && !given.is_null);
        if !is_valid && !faulty {
            self.fault(|| values::missing(field));
        }
    }
}
