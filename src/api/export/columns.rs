//! Exports as CSV (RFC 4180), for spreadsheets.

use crate::event::{Event, Field, Level, Outcome, Payload};
use crate::json::decode;
use crate::query::ast::{Path, Seg};
use crate::query::evaluate::Subject;

/// What an export has unless it is told which.
pub(super) const DEFAULT: &str = "seq,id,received_at,timestamp,event_type,user_identity,source,level,outcome,target,\
                                  message,ip,correlation_id,recorded_by,event_data";
/// Cells that a spreadsheet would take for a formula begin so.
const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];

/// The columns of a table, by the names that they were asked for with.
pub(super) struct Columns(Vec<(String, Path)>);

impl Columns {
    pub(super) fn new(columns: Vec<(String, Path)>) -> Self {
        Self(columns)
    }

    pub(super) fn header(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|(name, _)| text(name)).collect();
        names.join(",") + "\r\n"
    }

    pub(super) fn write(&self, out: &mut String, event: &Event) {
        let subject = Subject::new(event);
        for (n, (_, path)) in self.0.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            match path {
                Path::Column(field) => out.push_str(&of_field(event, *field)),
                Path::Data(path) => out.push_str(&of_data(event, &subject, path)),
            }
        }
        out.push_str("\r\n");
    }
}

/// Without a value: nothing, as for a text that is empty.
fn of_field(event: &Event, field: Field) -> String {
    let envelope = event.envelope.as_ref();
    match field {
        Field::Id => event.id.to_string(),
        Field::Seq => event.seq.to_string(),
        Field::ReceivedAt => event.received_at.to_string(),
        Field::Timestamp => envelope.map(|it| it.timestamp.to_string()).unwrap_or_default(),
        Field::Level => envelope.map(|it| Level::name(it.level)).unwrap_or_default().to_owned(),
        Field::Outcome => {
            envelope.and_then(|it| it.outcome).map(Outcome::name).unwrap_or_default().to_owned()
        }
        Field::Ip => envelope.and_then(|it| it.ip).map(|ip| ip.to_string()).unwrap_or_default(),
        field => envelope.and_then(|it| text_of(it, field)).map(text).unwrap_or_default(),
    }
}

fn text_of(envelope: &crate::event::Envelope, field: Field) -> Option<&str> {
    match field {
        Field::EventType => Some(&envelope.event_type),
        Field::UserIdentity => Some(&envelope.user_identity),
        Field::Source => envelope.source.as_deref(),
        Field::Target => envelope.target.as_deref(),
        Field::Message => envelope.message.as_deref(),
        Field::CorrelationId => envelope.correlation_id.as_deref(),
        Field::RecordedBy => Some(&envelope.recorded_by),
        Field::IdempotencyKey => envelope.idempotency_key.as_deref(),
        _ => None,
    }
}

fn of_data(event: &Event, subject: &Subject<'_>, path: &[Seg]) -> String {
    if path.is_empty() {
        return event.payload.as_deref().map(|payload| quoted(&Payload::shown(payload))).unwrap_or_default();
    }
    match subject.values(path).as_slice() {
        [] | ["null"] => String::new(),
        [string] if string.starts_with('"') => text(&decode(string)),
        // A number is none that a formula could be in.
        [value] => quoted(value),
        values => quoted(&format!("[{}]", values.join(","))),
    }
}

/// With an apostrophe before what would be a formula: the cell then shows as it was.
fn text(text: &str) -> String {
    match text.starts_with(FORMULA) {
        true => quoted(&format!("'{text}")),
        false => quoted(text),
    }
}

fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r', ' ']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_compute_is_text() {
        assert_eq!(text("=1+1"), "'=1+1");
        assert_eq!(text("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(text("-x, y"), "\"'-x, y\"");
        assert_eq!(text("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(text("plain"), "plain");
        assert_eq!(quoted("-5"), "-5");
    }
}
