//! Bodies of `POST /events` and `POST /log`: no panic, every limit holds, the payload is what was sent.

#![no_main]

use eventlogger_fuzz::event::{Envelope, Field, Invalid, NewEvent, Timestamp, parse_event, parse_flat};
use eventlogger_fuzz::json;
use libfuzzer_sys::fuzz_target;

const FAULTS_MAX: usize = 20;

fuzz_target!(|body: &[u8]| {
    let (event, flat) = (parse_event(body), parse_flat(body));
    match &event {
        Ok(event) => {
            check(event);
            if let Some(payload) = &event.payload {
                assert!(
                    payload.bytes.is_empty() || contains(body, &payload.bytes),
                    "the payload was not sent"
                );
            }
            // Without unknown members the flat door is the same door.
            assert_eq!(flat.as_ref(), Ok(event));
        }
        Err(faults) => check_faults(faults, body),
    }
    match &flat {
        Ok(event) => check(event),
        Err(faults) => check_faults(faults, body),
    }
});

fn check(event: &NewEvent) {
    let texts = [
        (Field::EventType, Some(&event.event_type)),
        (Field::UserIdentity, Some(&event.user_identity)),
        (Field::Source, event.source.as_ref()),
        (Field::Target, event.target.as_ref()),
        (Field::Message, event.message.as_ref()),
        (Field::CorrelationId, event.correlation_id.as_ref()),
        (Field::IdempotencyKey, event.idempotency_key.as_ref()),
    ];
    for (field, text) in texts.into_iter().filter_map(|(field, text)| Some((field, text?))) {
        assert!(text.chars().count() <= field.max_chars().unwrap(), "{field:?}");
        assert!(!text.contains('\0'), "{field:?}");
    }
    assert!(!event.event_type.is_empty() && !event.event_type.starts_with("eventlogger."));
    assert!(!event.user_identity.is_empty());
    if let Some(payload) = &event.payload {
        json::Scanner::check(&payload.bytes).unwrap();
    }
    // What is committed to says what was submitted.
    let envelope = Envelope::new(event, Timestamp::from_micros(0).unwrap(), "user:u").canonical();
    let read: serde_json::Value = serde_json::from_str(&envelope).unwrap();
    for (field, text) in texts {
        assert_eq!(read.get(field.name()).and_then(|text| text.as_str()), text.map(String::as_str));
    }
    assert_eq!(read["timestamp"].as_str().unwrap().len(), "1970-01-01T00:00:00.000000Z".len());
    assert_eq!(event.content(), event.clone().content());
}

fn check_faults(faults: &[Invalid], body: &[u8]) {
    assert!((1..=FAULTS_MAX).contains(&faults.len()));
    for fault in faults {
        assert!(fault.pointer.is_empty() || fault.pointer.starts_with('/'));
        assert!(!fault.detail.contains(char::is_control), "{}", fault.detail);
        assert!(
            fault.position.is_none_or(|at| at.offset as usize <= body.len() && at.line > 0 && at.column > 0)
        );
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}
