//! What an entry does besides being recorded.

use std::collections::HashMap;

use crate::event::{EntryKind, NewEvent, Redaction, RedactionScope};
use crate::store::redactions::Target;

/// Belongs to a submission, not to a group: a redaction shares its transaction with whatever else waits.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Tells that something happened.
    Event,
    /// Erases the content of an earlier event.
    Redaction(Box<Redaction>),
    /// Tells of the log itself.
    Control,
}

impl Purpose {
    pub(super) fn kind(&self) -> EntryKind {
        match self {
            Self::Event => EntryKind::Event,
            Self::Redaction(_) => EntryKind::Redaction,
            Self::Control => EntryKind::Control,
        }
    }

    pub(super) fn redaction(&self) -> Option<&Redaction> {
        match self {
            Self::Event | Self::Control => None,
            Self::Redaction(redaction) => Some(redaction),
        }
    }
}

/// An entry to be made.
pub(super) struct Submission {
    pub(super) event: NewEvent,
    pub(super) purpose: Purpose,
}

impl From<NewEvent> for Submission {
    fn from(event: NewEvent) -> Self {
        Self { event, purpose: Purpose::Event }
    }
}

/// Why an entry cannot be redacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedactionRefusal {
    NoSuchEvent,
    /// A redaction or a control entry: what the log says of itself.
    NotAnEvent,
    /// That far it is already.
    AlreadyRedacted(RedactionScope),
}

impl RedactionRefusal {
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSuchEvent => "not_found",
            Self::NotAnEvent => "not_redactable",
            Self::AlreadyRedacted(_) => "already_redacted",
        }
    }
}

/// The entries that a group is to redact: as the database has them, and then as the group leaves them.
pub(super) struct Targets(HashMap<u64, Target>);

impl Targets {
    pub(super) fn new(found: HashMap<u64, Target>) -> Self {
        Self(found)
    }

    pub(super) fn refusal(&self, redaction: &Redaction) -> Option<RedactionRefusal> {
        let target = self.0.get(&redaction.target_seq).filter(|target| target.id == redaction.target_id);
        let Some(target) = target else { return Some(RedactionRefusal::NoSuchEvent) };
        if target.kind != EntryKind::Event {
            return Some(RedactionRefusal::NotAnEvent);
        }
        let erased = target.redacted.filter(|erased| redaction.scope.is_within(*erased));
        erased.map(RedactionRefusal::AlreadyRedacted)
    }

    /// The next redaction of the same event in the group finds it redacted.
    pub(super) fn redact(&mut self, redaction: &Redaction) {
        if let Some(target) = self.0.get_mut(&redaction.target_seq) {
            target.redacted = Some(redaction.scope);
        }
    }
}
