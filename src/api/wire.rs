//! How a recorded event is written as JSON: in pages, alone, and wherever else one is shown.
//!
//! By hand over bytes: a payload that went through `serde_json::Value` would lose digits and duplicate keys.

use crate::event::{Envelope, Event, Level, Outcome, Payload, Redacted, Timestamp};
use crate::json::quote_into;

/// Optional members are absent rather than null.
pub fn write_event(out: &mut String, event: &Event) {
    let mut object = Object::open(out);
    object.text("id", &event.id.to_string());
    object.raw("seq", &event.seq.to_string());
    object.text("received_at", &event.received_at.to_string());
    if let Some(envelope) = &event.envelope {
        write_envelope(&mut object, envelope);
    }
    if let Some(payload) = &event.payload {
        object.raw("event_data", &Payload::shown(payload));
    }
    if event.lossy {
        object.text("projection", "lossy");
    }
    if let Some(redacted) = &event.redacted {
        object.raw("redacted", &redaction_of(redacted));
    }
    object.close();
}

fn redaction_of(redacted: &Redacted) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    object.text("scope", redacted.scope.name());
    if let Some(record) = &redacted.record {
        object.text("reason", &record.reason);
        object.text("at", &record.at.to_string());
        object.text("by", &record.by);
        object.raw("seq", &record.seq.to_string());
    }
    object.close();
    out
}

/// Writes what a redaction is answered with: its own `entry`, as JSON, and the event as it is `now` and as it was.
/// What is left of an event's content, and what it was, is for readers.
pub fn write_redaction(entry: &str, now: Option<&Event>, former: &Event, is_reader: bool) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    object.raw("redaction", entry);
    if let Some(now) = now {
        let mut shown = String::new();
        match is_reader {
            true => write_event(&mut shown, now),
            false => write_event(&mut shown, &without_content(now)),
        }
        object.raw("event", &shown);
    }
    if is_reader {
        let mut shown = String::new();
        write_event(&mut shown, former);
        object.raw("former", &shown);
    }
    object.close();
    out
}

fn without_content(event: &Event) -> Event {
    Event { envelope: None, payload: None, lossy: false, ..event.clone() }
}

fn write_envelope(object: &mut Object<'_>, envelope: &Envelope) {
    object.text("event_type", &envelope.event_type);
    object.text("user_identity", &envelope.user_identity);
    object.text("timestamp", &envelope.timestamp.to_string());
    object.optional("source", envelope.source.as_deref());
    object.text("level", Level::name(envelope.level));
    object.optional("outcome", envelope.outcome.map(Outcome::name));
    object.optional("target", envelope.target.as_deref());
    object.optional("message", envelope.message.as_deref());
    object.optional("ip", envelope.ip.map(|ip| ip.to_string()).as_deref());
    object.optional("correlation_id", envelope.correlation_id.as_deref());
    object.text("recorded_by", &envelope.recorded_by);
    object.optional("idempotency_key", envelope.idempotency_key.as_deref());
}

/// How a page ends, and how the search was read if that is worth saying.
#[derive(Clone, Copy, Default)]
pub struct PageEnd<'a> {
    pub complete: bool,
    /// The URL of the next page, if there is one that a URL can name.
    pub next: Option<&'a str>,
    pub next_cursor: Option<&'a str>,
    /// How far a page that is not complete has looked.
    pub scanned_until: Option<Timestamp>,
    /// A filter in the JSON spelling.
    pub interpreted: Option<&'a str>,
}

pub fn write_page(events: &[Event], end: PageEnd<'_>) -> String {
    let payloads: usize = events.iter().filter_map(|event| event.payload.as_ref()).map(Vec::len).sum();
    let mut out = String::with_capacity(payloads + 512 * events.len() + 512);
    out.push_str("{\"events\":[");
    for (i, event) in events.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_event(&mut out, event);
    }
    out.push_str("],\"complete\":");
    out.push_str(if end.complete { "true" } else { "false" });
    let mut object = Object { out: &mut out, empty: false };
    object.optional("next", end.next);
    object.optional("next_cursor", end.next_cursor);
    let scanned_until = end.scanned_until.map(|at| at.to_string());
    object.optional("scanned_until", scanned_until.as_deref());
    end.interpreted.into_iter().for_each(|filter| object.raw("interpreted", filter));
    object.close();
    out
}

/// An object in the making.
struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// `json` is a value already.
    fn raw(&mut self, name: &'static str, json: &str) {
        self.name(name);
        self.out.push_str(json);
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        quote_into(self.out, text);
    }

    fn optional(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn name(&mut self, name: &'static str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        quote_into(self.out, name);
        self.out.push(':');
    }

    fn close(self) {
        self.out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event::{EntryKind, RedactionRecord, RedactionScope, Timestamp};

    fn event() -> Event {
        let at = Timestamp::parse("2026-11-21T08:30:00.5Z").unwrap();
        Event {
            seq: 7,
            id: Uuid::from_u128(0x0193_4e5a_7b10_7abc_8def_0123_4567_89ab),
            received_at: at,
            kind: EntryKind::Event,
            envelope: Some(Envelope {
                event_type: "login".to_owned(),
                user_identity: "Zoë \"Z\"\u{1}".to_owned(),
                timestamp: at,
                source: None,
                level: Level::Warn,
                outcome: Some(Outcome::Denied),
                target: None,
                message: None,
                ip: Some("2001:db8:0:0::1".parse().unwrap()),
                correlation_id: None,
                recorded_by: "user:admin".to_owned(),
                idempotency_key: None,
            }),
            payload: Some(br#"{ "n": 9007199254740993, "n": 1.000000000000000005 }"#.to_vec()),
            lossy: true,
            redacted: None,
        }
    }

    fn redacted() -> Box<Redacted> {
        let at = Timestamp::parse("2026-11-22T08:30:00Z").unwrap();
        let record = RedactionRecord { seq: 9, at, by: "admin".to_owned(), reason: "Art. \"17\"".to_owned() };
        Box::new(Redacted { scope: RedactionScope::All, record: Some(record) })
    }

    fn written(event: &Event) -> String {
        let mut out = String::new();
        write_event(&mut out, event);
        out
    }

    #[test]
    fn an_event_keeps_digits_and_duplicate_keys_and_leaves_out_what_it_has_not() {
        assert_eq!(
            written(&event()),
            concat!(
                r#"{"id":"01934e5a-7b10-7abc-8def-0123456789ab","seq":7,"#,
                r#""received_at":"2026-11-21T08:30:00.500000Z","event_type":"login","#,
                r#""user_identity":"Zoë \"Z\"\u0001","timestamp":"2026-11-21T08:30:00.500000Z","#,
                r#""level":"WARN","outcome":"denied","ip":"2001:db8::1","recorded_by":"user:admin","#,
                r#""event_data":{"n":9007199254740993,"n":1.000000000000000005},"projection":"lossy"}"#,
            )
        );
    }

    #[test]
    fn an_event_without_its_typed_fields_is_still_written() {
        let bare = Event { envelope: None, payload: None, lossy: false, ..event() };
        assert_eq!(
            written(&bare),
            r#"{"id":"01934e5a-7b10-7abc-8def-0123456789ab","seq":7,"received_at":"2026-11-21T08:30:00.500000Z"}"#
        );
    }

    #[test]
    fn a_redacted_event_says_what_the_log_says_about_it() {
        let bare =
            Event { envelope: None, payload: None, lossy: false, redacted: Some(redacted()), ..event() };
        let shown: serde_json::Value = serde_json::from_str(&written(&bare)).unwrap();
        assert_eq!(
            shown["redacted"],
            serde_json::json!({
                "scope": "all", "reason": "Art. \"17\"", "at": "2026-11-22T08:30:00.000000Z", "by": "admin", "seq": 9,
            })
        );
    }

    #[test]
    fn content_is_shown_to_readers_alone_after_a_redaction() {
        let now = Event { payload: None, redacted: Some(redacted()), ..event() };
        let answer = |is_reader| -> serde_json::Value {
            serde_json::from_str(&write_redaction("{}", Some(&now), &event(), is_reader)).unwrap()
        };
        let (reader, other) = (answer(true), answer(false));
        assert_eq!(
            (&reader["event"]["event_type"], &reader["former"]["projection"]),
            (&"login".into(), &"lossy".into())
        );
        let members: Vec<_> = other["event"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["id", "received_at", "redacted", "seq"]);
        assert_eq!(other.get("former"), None);
    }

    #[test]
    fn a_page_is_an_object_that_stock_parsers_read_whatever_its_payloads() {
        let odd: [&[u8]; 4] = [b"1e131071", br#""\ud800\u0000""#, b"not json \xff", b"[[[[]]]]"];
        let events: Vec<Event> = odd.map(|bytes| Event { payload: Some(bytes.to_vec()), ..event() }).to_vec();
        let page = write_page(
            &events,
            PageEnd { next: Some("/events?a=%22"), next_cursor: Some("c"), ..PageEnd::default() },
        );
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        assert_eq!(page["events"].as_array().unwrap().len(), 4);
        assert_eq!((&page["complete"], &page["next"]), (&false.into(), &"/events?a=%22".into()));
        assert_eq!(
            write_page(&[], PageEnd { complete: true, ..PageEnd::default() }),
            r#"{"events":[],"complete":true}"#
        );
    }

    #[test]
    fn the_document_names_every_member_that_is_written() {
        let mut full = Event { redacted: Some(redacted()), ..event() };
        if let Some(envelope) = &mut full.envelope {
            let text = || Some("x".to_owned());
            (envelope.source, envelope.target, envelope.message) = (text(), text(), text());
            (envelope.correlation_id, envelope.idempotency_key) = (text(), text());
        }
        let event: serde_json::Value = serde_json::from_str(&written(&full)).unwrap();
        let mut written: Vec<_> = event.as_object().unwrap().keys().collect();
        let schemas: serde_json::Value = serde_json::from_str(include_str!("schemas.json")).unwrap();
        let mut documented: Vec<_> = schemas["Event"]["properties"].as_object().unwrap().keys().collect();
        written.sort();
        documented.sort();
        assert_eq!(written, documented);
    }
}
