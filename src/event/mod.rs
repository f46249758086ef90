//! The event: what a client submits, what the log records, and how both are written down.
//!
//! Everything here is pure. What a client sends becomes a [`NewEvent`] only by [`parse_event`] or
//! [`parse_flat`], so nothing behind them checks it again.

mod entry;
mod envelope;
mod fields;
mod invalid;
mod parse;
mod payload;
mod projection;
mod redaction;
mod timestamp;

use std::net::IpAddr;

use uuid::Uuid;

pub use entry::{ENTRY_LEN, Entry, EntryKind, Label, Salt, commitment};
pub use envelope::{ENVELOPE_V, Envelope};
pub use fields::{Field, nearest_name};
pub use invalid::{Invalid, InvalidKind, Position};
pub use parse::{parse_event, parse_flat};
pub use payload::{PAYLOAD_MAX_BYTES, Payload, Projection};
pub use projection::PROJECTION_V;
pub use redaction::{REASON_MAX_CHARS, REDACTION_TYPE, Redacted, Redaction, RedactionRecord, RedactionScope};
pub use timestamp::{OutOfRange, Timestamp};

/// Severity, stored and compared by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Level {
    Debug = 1,
    Info = 2,
    Notice = 3,
    Warn = 4,
    Error = 5,
    Critical = 6,
}

/// How the recorded action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Success,
    Failure,
    Denied,
    Unknown,
}

/// A validated submission. Typed fields are normalised; what the client left out is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub event_type: String,
    pub user_identity: String,
    pub timestamp: Option<Timestamp>,
    pub source: Option<String>,
    pub level: Option<Level>,
    pub outcome: Option<Outcome>,
    pub target: Option<String>,
    pub message: Option<String>,
    pub ip: Option<IpAddr>,
    pub correlation_id: Option<String>,
    pub payload: Option<Payload>,
    pub idempotency_key: Option<String>,
}

impl NewEvent {
    /// With nothing but what is required.
    pub fn bare(event_type: String, user_identity: String) -> Self {
        Self {
            event_type,
            user_identity,
            timestamp: None,
            source: None,
            level: None,
            outcome: None,
            target: None,
            message: None,
            ip: None,
            correlation_id: None,
            payload: None,
            idempotency_key: None,
        }
    }

    /// Takes the key of the `Idempotency-Key` header, or of an item of a batch.
    pub fn set_idempotency_key(&mut self, key: &str) -> Result<(), Invalid> {
        self.idempotency_key = Some(parse::idempotency_key(self.idempotency_key.as_deref(), key)?);
        Ok(())
    }

    /// Bytes that the event keeps in memory, for the limits of the queue.
    pub fn size(&self) -> usize {
        let texts = [&self.source, &self.target, &self.message, &self.correlation_id, &self.idempotency_key];
        let optional: usize = texts.into_iter().flatten().map(String::len).sum();
        let payload = self.payload.as_ref().map_or(0, |it| it.bytes.len() + it.projection.json.len());
        size_of::<Self>() + self.event_type.len() + self.user_identity.len() + optional + payload
    }
}

/// A recorded event as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub seq: u64,
    pub id: Uuid,
    pub received_at: Timestamp,
    pub kind: EntryKind,
    /// `None` once everything was redacted.
    pub envelope: Option<Envelope>,
    /// The exact bytes of `event_data`; `None` if there were none, or they were redacted.
    pub payload: Option<Vec<u8>>,
    /// Whether the searchable projection could not hold all of the payload.
    pub lossy: bool,
    /// Boxed: few are.
    pub redacted: Option<Box<Redacted>>,
}
