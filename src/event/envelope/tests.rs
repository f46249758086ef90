use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;
use crate::event::{Label, Payload, commitment, parse_event};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    submission: Box<RawValue>,
    received_at: String,
    recorded_by: String,
    envelope: String,
    commitment: String,
}

#[test]
fn the_envelopes_of_the_vectors_are_reproduced() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../../tests/vectors/envelope.json")).unwrap();
    for vector in &vectors.vectors {
        let event = parse_event(vector.submission.get().as_bytes()).expect(&vector.name);
        let received_at = Timestamp::parse(&vector.received_at).unwrap();
        let text = Envelope::new(&event, received_at, &vector.recorded_by).canonical();
        assert_eq!(text, vector.envelope, "{}", vector.name);
        let salt = std::array::from_fn(|i| i as u8);
        let commitment = commitment(Label::Envelope, &salt, text.as_bytes());
        let hex: String = commitment.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, vector.commitment, "{}", vector.name);
    }
    assert_eq!(vectors.vectors.len(), 33);
}

fn event() -> NewEvent {
    parse_event(br#"{"event_type":"login","user_identity":"u"}"#).unwrap()
}

#[test]
fn the_same_submission_in_other_words_has_the_same_content() {
    let one = parse_event(
        br#"{"event_type":"a","user":"u","level":"WARN","timestamp":"2026-01-01T00:00:00Z","ip":"1.2.3.4","data":[1]}"#,
    );
    let other = parse_event(
        br#"{ "payload":[1], "ip":"::ffff:1.2.3.4", "timestamp":"2026-01-01T01:00:00+01:00",
        "level":"warning", "user_identity":"u", "type":"\u0061", "source":null }"#,
    );
    assert_eq!(one.unwrap().content(), other.unwrap().content());
}

#[test]
fn the_content_is_fixed_for_ever() {
    assert_eq!(event().content(), br#"{"event_type":"login","user_identity":"u","v":1}"#);
    let payload = Some(Payload::parse(b"[ 1]".to_vec()).unwrap());
    let content = NewEvent { payload, level: Some(Level::Info), ..event() }.content();
    let expected = b"{\"event_type\":\"login\",\"level\":\"INFO\",\"user_identity\":\"u\",\"v\":1}\0[ 1]";
    assert_eq!(content, expected);
}

#[test]
fn every_field_but_the_key_is_part_of_the_content() {
    let text = || Some("x".to_owned());
    let payload = |bytes: &[u8]| Some(Payload::parse(bytes.to_vec()).unwrap());
    let changed = [
        NewEvent { event_type: "logout".to_owned(), ..event() },
        NewEvent { user_identity: "v".to_owned(), ..event() },
        NewEvent { timestamp: Some(Timestamp::MIN), ..event() },
        NewEvent { source: text(), ..event() },
        NewEvent { level: Some(Level::Info), ..event() },
        NewEvent { outcome: Some(Outcome::Success), ..event() },
        NewEvent { target: text(), ..event() },
        NewEvent { message: text(), ..event() },
        NewEvent { ip: Some([0; 4].into()), ..event() },
        NewEvent { correlation_id: text(), ..event() },
        NewEvent { payload: payload(b"1"), ..event() },
        NewEvent { payload: payload(b"1 "), ..event() },
        NewEvent { payload: payload(b"null"), ..event() },
        event(),
    ];
    for (i, one) in changed.iter().enumerate() {
        for other in &changed[i + 1..] {
            assert_ne!(one.content(), other.content());
        }
    }
    assert_eq!(NewEvent { idempotency_key: text(), ..event() }.content(), event().content());
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let text = || proptest::option::of(any::<String>());
    let level = proptest::sample::select(Level::ALL.to_vec());
    let outcome = proptest::option::of(proptest::sample::select(Outcome::ALL.to_vec()));
    let names = (any::<String>(), any::<String>(), any::<String>());
    let texts = (text(), text(), text(), text(), text());
    (names, texts, any::<i32>(), level, outcome, any::<Option<IpAddr>>()).prop_map(
        |((event_type, user_identity, recorded_by), texts, micros, level, outcome, ip)| {
            let (source, target, message, correlation_id, idempotency_key) = texts;
            let timestamp = Timestamp::from_micros(micros.into()).unwrap();
            Envelope {
                event_type,
                user_identity,
                timestamp,
                source,
                level,
                outcome,
                target,
                message,
                ip,
                correlation_id,
                recorded_by,
                idempotency_key,
            }
        },
    )
}

proptest! {
    #[test]
    fn the_text_parses_back_to_the_fields_and_its_names_are_sorted(envelope in envelope()) {
        let text = envelope.canonical();
        let parsed: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        let field = |name: &str| parsed.get(name).map(|value| value.as_str().unwrap().to_owned());
        let back = Envelope {
            event_type: field("event_type").unwrap(),
            user_identity: field("user_identity").unwrap(),
            timestamp: Timestamp::parse(&field("timestamp").unwrap()).unwrap(),
            source: field("source"),
            level: Level::parse(&field("level").unwrap()).unwrap(),
            outcome: field("outcome").map(|name| Outcome::parse(&name).unwrap()),
            target: field("target"),
            message: field("message"),
            ip: field("ip").map(|ip| ip.parse().unwrap()),
            correlation_id: field("correlation_id"),
            recorded_by: field("recorded_by").unwrap(),
            idempotency_key: field("idempotency_key"),
        };
        prop_assert_eq!(back, envelope);
        // serde_json's map is sorted, which for these names is the order of RFC 8785.
        prop_assert_eq!(serde_json::to_string(&parsed).unwrap(), text);
    }
}
