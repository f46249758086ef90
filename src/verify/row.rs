//! One row of a log, checked for itself: whether its entry commits to what stands beside it.
//!
//! Rows do not depend on each other here, so chunks of them can be opened on several threads; what connects them is
//! [`super::log`].

use std::fmt::Display;

use serde::Deserialize;
use uuid::Uuid;

use super::jsonb;
use crate::event::{ENVELOPE_V, Entry, EntryKind, Envelope, Label, PROJECTION_V, Payload, Salt, commitment};
use crate::merkle::{Hash, leaf_hash};

/// A row as a source has it. Nothing of it is believed.
#[derive(Clone, Debug)]
pub struct Row {
    pub seq: u64,
    pub entry: Vec<u8>,
    /// What the entry commits to; `None` from a source that has entries only.
    pub columns: Option<Box<Columns>>,
}

/// Whatever was stored, also in columns that are never NULL.
#[derive(Clone, Debug)]
pub struct Columns {
    /// Microseconds since 1970.
    pub received_at: Option<i64>,
    pub id: Option<Uuid>,
    pub kind: Option<i16>,
    pub envelope_v: Option<i16>,
    pub projection_v: Option<i16>,
    pub redaction: Redaction,
    pub typed: Typed,
    pub envelope_salt: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub payload_salt: Option<Vec<u8>>,
    /// `event_data::text`.
    pub projection: Option<String>,
    pub lossy: Option<bool>,
}

/// The typed columns.
#[derive(Clone, Debug)]
pub enum Typed {
    Whole(Box<Envelope>),
    /// All are NULL.
    Absent,
    /// No envelope has such columns; says which.
    Broken(&'static str),
}

/// What the row says was removed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redaction {
    None,
    Removed(Scope),
    Other(String),
}

/// How much of an event a redaction removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Payload,
    All,
}

/// What a redaction entry declares in its payload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Declared {
    pub seq: u64,
    pub id: Uuid,
    pub scope: Scope,
}

/// A row, as far as it can be judged without the others.
#[derive(Clone, Debug)]
pub struct Opened {
    pub seq: u64,
    pub hash: Hash,
    /// `None` if the bytes are no entry.
    pub entry: Option<Entry>,
    /// What is not there, and may only be missing if a later entry says so.
    pub missing: Option<Scope>,
    pub declares: Option<Declared>,
    pub faults: Vec<String>,
    pub doubt: Option<Box<Doubt>>,
}

/// A projection that is another text than the one expected. PostgreSQL has to say whether it is another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub expected: String,
    pub stored: String,
}

/// What is said of a projection that does not follow from its payload.
pub const OTHER_PROJECTION: &str = "event_data is not what follows from the payload, so searches mislead";

/// Opens rows, one after another.
#[derive(Debug, Default)]
pub struct Opener {
    printer: jsonb::Printer,
}

impl Opener {
    pub fn open(&mut self, row: Row) -> Opened {
        open(row, &mut self.printer)
    }
}

fn open(row: Row, printer: &mut jsonb::Printer) -> Opened {
    let mut opened = Opened {
        seq: row.seq,
        hash: leaf_hash(&row.entry),
        entry: Entry::parse(&row.entry),
        missing: None,
        declares: None,
        faults: Vec::new(),
        doubt: None,
    };
    match (opened.entry, row.columns) {
        (None, _) => opened.fault("the entry is not one of version 1"),
        (Some(entry), Some(columns)) => opened.compare(&entry, *columns, printer),
        (Some(_), None) => {}
    }
    opened
}

impl Opened {
    /// Takes back the doubts that turned out to be the same value; of those that have one, in their order.
    pub fn settle<'a>(rows: impl IntoIterator<Item = &'a mut Self>, same: Vec<bool>) {
        let mut same = same.into_iter();
        for row in rows {
            if row.doubt.is_some() && same.next() == Some(true) {
                row.doubt = None;
            }
        }
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(what.into());
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(what());
        }
    }

    fn compare(&mut self, entry: &Entry, mut columns: Columns, printer: &mut jsonb::Printer) {
        self.same("received_at", columns.received_at, entry.received_at.as_micros());
        self.same("id", columns.id, entry.id);
        self.same("kind", columns.kind, entry.kind.code());
        let removed = self.marked_as(&columns.redaction);
        self.compare_envelope(entry, &columns);
        self.compare_payload(entry, &mut columns, printer);
        let unsaid = self.missing.filter(|missing| removed.is_none_or(|removed| removed < *missing));
        self.check(unsaid.is_none(), || {
            "content is missing that the row does not say was redacted".to_owned()
        });
        // What is said to be removed has to be declared, even where nothing was there.
        self.missing = self.missing.max(removed);
        let is_plain_event = entry.kind == EntryKind::Event;
        self.check(is_plain_event || self.missing.is_none(), || {
            "this is an entry of the service itself, which is never redacted, and its content is missing"
                .to_owned()
        });
        if !is_plain_event {
            self.missing = None;
        }
    }

    fn same<T: PartialEq + Display>(&mut self, column: &str, stored: Option<T>, committed: T) {
        let holds = stored.as_ref() == Some(&committed);
        self.check(holds, || {
            format!("the column {column} is {}, the entry has {committed}", or_null(stored))
        });
    }

    fn marked_as(&mut self, redaction: &Redaction) -> Option<Scope> {
        match redaction {
            Redaction::None => None,
            Redaction::Removed(scope) => Some(*scope),
            Redaction::Other(word) => {
                self.fault(format!("the column redaction has {word:?}, which means nothing"));
                None
            }
        }
    }

    fn compare_envelope(&mut self, entry: &Entry, columns: &Columns) {
        match (&columns.typed, columns.envelope_salt.as_deref()) {
            (Typed::Absent, None) => self.missing = Some(Scope::All),
            (Typed::Broken(column), _) => {
                self.fault(format!("the column {column} has a value that no event can have"));
            }
            (Typed::Absent, Some(_)) => self.fault("the typed columns are missing and their salt is not"),
            (Typed::Whole(_), None) => {
                self.fault("the salt of the envelope is missing and its columns are not")
            }
            (Typed::Whole(_), _) if columns.envelope_v != Some(ENVELOPE_V) => {
                let version = or_null(columns.envelope_v);
                self.fault(format!("envelope_v is {version}, whose rules do not exist"));
            }
            (Typed::Whole(envelope), Some(salt)) => {
                let opens = opens(Label::Envelope, salt, envelope.canonical().as_bytes(), &entry.envelope);
                self.check(opens, || {
                    "the entry does not commit to the typed columns: one of them or the salt was changed"
                        .to_owned()
                });
            }
        }
    }

    fn compare_payload(&mut self, entry: &Entry, columns: &mut Columns, printer: &mut jsonb::Printer) {
        let payload = columns.payload.take();
        match (&entry.payload, payload, columns.payload_salt.as_deref()) {
            (None, None, None) => self.check_no_projection(columns),
            (None, _, _) => self.fault("the event was recorded without event_data, and now has some"),
            (Some(_), None, None) => {
                self.missing = self.missing.max(Some(Scope::Payload));
                self.check_no_projection(columns);
            }
            (Some(_), None, Some(_)) => self.fault("the payload is missing and its salt is not"),
            (Some(_), Some(_), None) => {
                self.fault("the salt of the payload is missing and the payload is not")
            }
            (Some(committed), Some(payload), Some(salt)) => {
                if opens(Label::Payload, salt, &payload, committed) {
                    self.read_payload(entry, payload, columns, printer);
                } else {
                    self.fault("the entry does not commit to the payload: it or its salt was changed");
                }
            }
        }
    }

    fn check_no_projection(&mut self, columns: &Columns) {
        let holds = columns.projection.is_none() && columns.lossy.is_none();
        self.check(holds, || "there is event_data without a payload that it could follow from".to_owned());
    }

    fn read_payload(
        &mut self,
        entry: &Entry,
        payload: Vec<u8>,
        columns: &mut Columns,
        printer: &mut jsonb::Printer,
    ) {
        if entry.kind == EntryKind::Redaction {
            self.declares = serde_json::from_slice(&payload).ok();
            let readable = self.declares.is_some();
            self.check(readable, || "the redaction entry does not say what was redacted".to_owned());
        }
        if columns.projection_v != Some(PROJECTION_V) {
            let version = or_null(columns.projection_v);
            return self.fault(format!("projection_v is {version}, whose rules do not exist"));
        }
        // The entry commits to the bytes, so if they are no JSON it was not this service that recorded them.
        let Ok(Payload { projection, .. }) = Payload::parse(payload) else {
            return self.fault("the payload is no JSON that the service would have recorded");
        };
        self.check(columns.lossy == Some(projection.lossy), || {
            format!("the column lossy is not {}, as follows from the payload", projection.lossy)
        });
        match columns.projection.take() {
            None => self.fault("event_data is missing and the payload is not"),
            Some(stored) if printer.print(&projection.json).is_some_and(|expected| expected == stored) => {}
            Some(stored) => self.doubt = Some(Box::new(Doubt { expected: projection.json, stored })),
        }
    }
}

fn or_null(stored: Option<impl Display>) -> String {
    stored.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
}

fn opens(label: Label, salt: &[u8], bytes: &[u8], committed: &Hash) -> bool {
    Salt::try_from(salt).is_ok_and(|salt| commitment(label, &salt, bytes) == *committed)
}
