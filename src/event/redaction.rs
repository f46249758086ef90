//! Redaction: the lawful removal of content that keeps the proof. The log says what was removed, and why.

use std::net::IpAddr;

use uuid::Uuid;

use super::{Invalid, Level, NewEvent, Outcome, Payload, Timestamp};
use crate::json::quote;

pub const REDACTION_TYPE: &str = "eventlogger.redaction";
/// Longest reason, in Unicode scalar values.
pub const REASON_MAX_CHARS: usize = 1000;

/// How much of an event is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedactionScope {
    /// `event_data`.
    Payload,
    /// The typed fields as well.
    All,
}

impl RedactionScope {
    pub fn name(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::All => "all",
        }
    }

    /// `None` for an event that has not been redacted.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Payload, Self::All].into_iter().find(|scope| scope.name() == name)
    }

    /// Whether what this erases is erased already once that other scope was.
    pub fn is_within(self, erased: Self) -> bool {
        self == erased || erased == Self::All
    }
}

/// Of an event that was redacted: how far, and what the log says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    pub scope: RedactionScope,
    /// `None` only if somebody took the redaction's entry out of the database.
    pub record: Option<RedactionRecord>,
}

/// What the entry of a redaction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactionRecord {
    pub seq: u64,
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    pub reason: String,
}

/// A redaction before it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// The event whose content goes: all three are of the same one.
    pub target_seq: u64,
    pub target_id: Uuid,
    pub target_received_at: Timestamp,
    pub scope: RedactionScope,
    pub reason: String,
}

impl Redaction {
    /// The redaction's own entry, as `user_identity` asks for it from `ip`.
    pub fn event(&self, user_identity: String, ip: Option<IpAddr>) -> Result<NewEvent, Invalid> {
        let what = match self.scope {
            RedactionScope::Payload => "The payload",
            RedactionScope::All => "All content",
        };
        Ok(NewEvent {
            source: Some("eventlogger".to_owned()),
            level: Some(Level::Notice),
            outcome: Some(Outcome::Success),
            target: Some(format!("event/{}", self.target_id)),
            message: Some(format!("{what} of event {} was erased.", self.target_seq)),
            ip,
            payload: Some(Payload::parse(self.payload().into_bytes())?),
            ..NewEvent::bare(REDACTION_TYPE.to_owned(), user_identity)
        })
    }

    /// A format: verifiers find in exactly these members what is allowed to be missing.
    fn payload(&self) -> String {
        // U+0000 is what neither `jsonb` nor a typed field holds; see DESIGN on typed strings.
        let reason = self.reason.replace('\0', "\u{fffd}");
        format!(
            r#"{{"seq":{},"id":"{}","scope":"{}","reason":{}}}"#,
            self.target_seq,
            self.target_id,
            self.scope.name(),
            quote(&reason)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_says_of_a_redaction_is_a_format() {
        let redaction = Redaction {
            target_seq: 7,
            target_id: Uuid::from_u128(0x0193_4e5a_7b10_7abc_8def_0123_4567_89ab),
            target_received_at: Timestamp::from_micros(0).unwrap(),
            scope: RedactionScope::All,
            reason: "Art. 17 \"GDPR\"\0".to_owned(),
        };
        let event = redaction.event("ann".to_owned(), None).unwrap();
        assert_eq!(event.target.as_deref(), Some("event/01934e5a-7b10-7abc-8def-0123456789ab"));
        let payload = event.payload.unwrap();
        assert!(!payload.projection.lossy, "the reason is found where it is looked for");
        assert_eq!(
            String::from_utf8(payload.bytes).unwrap(),
            concat!(
                r#"{"seq":7,"id":"01934e5a-7b10-7abc-8def-0123456789ab","scope":"all","#,
                "\"reason\":\"Art. 17 \\\"GDPR\\\"\u{fffd}\"}"
            )
        );
    }

    #[test]
    fn whatever_is_erased_includes_the_payload() {
        use RedactionScope::{All, Payload};
        assert!(Payload.is_within(All) && Payload.is_within(Payload) && All.is_within(All));
        assert!(!All.is_within(Payload));
    }
}
