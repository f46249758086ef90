use super::*;
use crate::event::{InvalidKind, Level, Outcome, Timestamp};

const REQUIRED: &str = r#""event_type":"login","user_identity":"u_1""#;

fn with(members: &str) -> Result<NewEvent, Vec<Invalid>> {
    parse_event(format!("{{{REQUIRED},{members}}}").as_bytes())
}

fn faults(result: Result<NewEvent, Vec<Invalid>>) -> Vec<(&'static str, String)> {
    let faults = result.expect_err("was accepted");
    faults.into_iter().map(|fault| (fault.code, fault.pointer)).collect()
}

#[track_caller]
fn assert_refused(members: &str, code: &str, pointer: &str, words: &str) {
    let faults = with(members).expect_err(members);
    assert_eq!(faults.len(), 1, "{members}: {faults:?}");
    let fault = &faults[0];
    assert_eq!(
        (fault.kind, fault.code, fault.pointer.as_str()),
        (InvalidKind::Invalid, code, pointer),
        "{members}"
    );
    let text = format!("{} {}", fault.detail, fault.hint.as_deref().unwrap_or_default());
    assert!(text.contains(words), "{members}: {text}");
}

fn payload(event: &NewEvent) -> &str {
    event.payload.as_ref().map_or("", |payload| str::from_utf8(&payload.bytes).unwrap())
}

#[test]
fn every_field_is_taken_as_it_is_meant() {
    let event = with(
        r#""timestamp":"2026-11-21T09:30:00+01:00","source":"api","level":"error","outcome":"denied",
        "target":"account/1346","message":"caf\u00e9","ip":"::ffff:192.0.2.1","correlation_id":"r1",
        "event_data": { "a" : 1e400 } ,"idempotency_key":"k""#,
    )
    .unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!((event.event_type.as_str(), event.user_identity.as_str()), ("login", "u_1"));
    assert_eq!(event.timestamp, Some(Timestamp::parse("2026-11-21T08:30:00Z").unwrap()));
    assert_eq!(
        (&event.source, event.level, event.outcome),
        (&text("api"), Some(Level::Error), Some(Outcome::Denied))
    );
    assert_eq!((&event.target, &event.message), (&text("account/1346"), &text("café")));
    assert_eq!(event.ip, Some([192, 0, 2, 1].into()));
    assert_eq!((&event.correlation_id, &event.idempotency_key), (&text("r1"), &text("k")));
    assert_eq!(payload(&event), r#"{ "a" : 1e400 }"#);
    assert!(event.size() > 50);
}

#[test]
fn what_is_not_given_is_absent() {
    let bare = parse_event(format!("{{{REQUIRED}}}").as_bytes()).unwrap();
    assert_eq!((bare.timestamp, bare.level, &bare.source, &bare.payload), (None, None, &None, &None));
    let nulls = r#""timestamp":null,"source":null,"level":null,"outcome":null,"target":null,"message":null,
        "ip":null,"correlation_id":null,"idempotency_key":null"#;
    assert_eq!(with(nulls).unwrap(), bare);
}

#[test]
fn null_is_a_payload() {
    assert_eq!(payload(&with(r#""event_data":null"#).unwrap()), "null");
}

#[test]
fn aliases_mean_the_field_and_two_names_of_one_field_are_an_error() {
    let event = parse_event(br#"{"type":"a","user_id":"u","app_name":"s","metadata_":[]}"#).unwrap();
    let given =
        (event.event_type.as_str(), event.user_identity.as_str(), event.source.as_deref(), payload(&event));
    assert_eq!(given, ("a", "u", Some("s"), "[]"));
    assert_refused(
        r#""actor":"u_2""#,
        "duplicate_field",
        "/actor",
        "`user_identity` and `actor` are two names",
    );
    assert_refused(r#""user_identity":"u_2""#, "duplicate_field", "/user_identity", "given twice");
    assert_refused(r#""data":1,"payload":2"#, "duplicate_field", "/payload", "two names of `event_data`");
}

#[test]
fn unknown_members_are_refused_with_the_nearest_name() {
    assert_refused(r#""mesage":"x""#, "unknown_field", "/mesage", "did you mean `message`?");
    assert_refused(r#""Level":"INFO""#, "unknown_field", "/Level", "did you mean `level`?");
    assert_refused(r#""colour":"red""#, "unknown_field", "/colour", "put it into event_data");
    assert_refused(r#""a/b~c":1"#, "unknown_field", "/a~1b~0c", "unknown field `a/b~c`");
    let long = "x".repeat(100_000);
    assert_refused(&format!("\"{long}\":1"), "unknown_field", "", "xxx…`");
}

#[test]
fn what_the_service_sets_is_not_for_clients() {
    for name in ["id", "seq", "received_at", "recorded_by"] {
        assert_refused(&format!("\"{name}\":1"), "set_by_service", &format!("/{name}"), "set by the service");
    }
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    assert_refused(
        r#""source":7"#,
        "wrong_type",
        "/source",
        "expected a string, found a number write the number in",
    );
    assert_refused(
        r#""message":{}"#,
        "wrong_type",
        "/message",
        "found an object structured values belong into event_data",
    );
    assert_refused(r#""timestamp":1795132800"#, "wrong_type", "/timestamp", "2026-11-21T08:30:00Z");
    assert_refused(r#""level":30"#, "wrong_type", "/level", "levels are DEBUG, INFO");
    assert_refused(r#""ip":true"#, "wrong_type", "/ip", "found a boolean");
}

#[test]
fn values_that_a_field_cannot_have_are_refused() {
    assert_refused(r#""timestamp":"2026-11-21""#, "invalid_timestamp", "/timestamp", "a time of day");
    assert_refused(
        r#""level":"verbose""#,
        "invalid_level",
        "/level",
        "unknown level `verbose` levels are DEBUG",
    );
    assert_refused(r#""outcome":"Success""#, "invalid_outcome", "/outcome", "did you mean `success`?");
    assert_refused(
        r#""outcome":"maybe""#,
        "invalid_outcome",
        "/outcome",
        "success, failure, denied, unknown",
    );
    for ip in
        ["10.0.0.0/8", "fe80::1%eth0", "[::1]", "192.0.2.1:80", "192.0.2.256", "010.0.0.1", "localhost", ""]
    {
        assert_refused(&format!("\"ip\":\"{ip}\""), "invalid_ip", "/ip", "address");
    }
    assert_refused(r#""idempotency_key":"""#, "empty", "/idempotency_key", "not empty");
}

#[test]
fn lengths_are_counted_in_unicode_scalar_values() {
    for (name, max) in [
        ("source", 256),
        ("target", 512),
        ("message", 32_768),
        ("correlation_id", 256),
        ("idempotency_key", 256),
    ] {
        assert!(with(&format!("\"{name}\":\"{}\"", "é".repeat(max))).is_ok());
        assert!(with(&format!("\"{name}\":\"{}\"", r"\ud83d\ude00".repeat(max))).is_ok());
        let long = "😀".repeat(max + 1);
        let words = format!("{} characters; the limit is {max}", max + 1);
        assert_refused(&format!("\"{name}\":\"{long}\""), "too_long", &format!("/{name}"), &words);
    }
    let event = |length: usize, user: usize| {
        let (event_type, user) = ("t".repeat(length), "u".repeat(user));
        parse_event(format!(r#"{{"event_type":"{event_type}","user_identity":"{user}"}}"#).as_bytes())
    };
    assert!(event(128, 256).is_ok());
    let both = [("too_long", "/event_type".to_owned()), ("too_long", "/user_identity".to_owned())];
    assert_eq!(faults(event(129, 257)), both);
}

#[test]
fn text_that_databases_cannot_hold_is_cleaned_and_nothing_is_trimmed() {
    let event = with(r#""source":" a\u0000b\ud800 ""#).unwrap();
    assert_eq!(event.source.as_deref(), Some(" a\u{fffd}b\u{fffd} "));
    assert_eq!(with(r#""source":"""#).unwrap().source.as_deref(), Some(""));
}

#[test]
fn required_fields_are_asked_for() {
    let missing =
        [("missing_field", "/event_type".to_owned()), ("missing_field", "/user_identity".to_owned())];
    assert_eq!(faults(parse_event(b"{}")), missing);
    assert_eq!(faults(parse_event(br#"{"event_type":null,"actor":null}"#)), missing);
    let empty = [("empty", "/type".to_owned()), ("empty", "/user".to_owned())];
    assert_eq!(faults(parse_event(br#"{"type":"","user":""}"#)), empty);
}

#[test]
fn types_of_the_service_are_reserved() {
    let event = |event_type: &str| parse_event(format!(r#"{{"type":"{event_type}","user":"u"}}"#).as_bytes());
    assert_eq!(faults(event("eventlogger.redaction")), [("reserved_event_type", "/type".to_owned())]);
    assert_eq!(faults(event(r"eventlogger\u002eepoch")), [("reserved_event_type", "/type".to_owned())]);
    assert!(event("eventlogger").is_ok() && event("my.eventlogger.x").is_ok());
}

#[test]
fn all_faults_are_reported_at_once_but_not_a_million() {
    let faults = faults(parse_event(br#"{"user_identiy":"u","level":3,"ip":"x","ip":"y"}"#));
    let codes: Vec<&str> = faults.iter().map(|(code, _)| *code).collect();
    let expected =
        ["unknown_field", "wrong_type", "invalid_ip", "duplicate_field", "missing_field", "missing_field"];
    assert_eq!(codes, expected);
    let many = format!("{{{}\"z\":1}}", r#""x":1,"#.repeat(100_000));
    assert_eq!(parse_event(many.as_bytes()).unwrap_err().len(), 20);
}

#[test]
fn malformed_bodies_are_told_where() {
    let faults = parse_event(b"{\"event_type\":\"a\",}").unwrap_err();
    let (fault, position) = (&faults[0], faults[0].position.unwrap());
    assert_eq!((fault.kind, fault.code, position.column), (InvalidKind::Malformed, "malformed_json", 19));
    assert_eq!(fault.hint.as_deref(), Some("remove the comma before it"));
    assert_eq!(parse_event(b"").unwrap_err()[0].kind, InvalidKind::Malformed);
    assert_eq!(parse_event(b"[1,]").unwrap_err()[0].kind, InvalidKind::Malformed);
    assert_eq!(parse_event(b"\xff").unwrap_err()[0].kind, InvalidKind::Malformed);
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    let fault = &parse_event(b" [ {} ] ").unwrap_err()[0];
    assert_eq!((fault.kind, fault.code), (InvalidKind::Invalid, "wrong_type"));
    assert_eq!(fault.detail, "expected an object, found an array");
    assert!(fault.hint.as_ref().unwrap().contains("/events/batch"));
    assert_eq!(parse_event(b"7").unwrap_err()[0].detail, "expected an object, found a number");
}

#[test]
fn a_payload_over_the_limit_is_too_large() {
    let event = with(&format!("\"event_data\":\"{}\"", "x".repeat(1 << 20)));
    assert_eq!(event.unwrap_err()[0].kind, InvalidKind::TooLarge);
}

#[test]
fn the_key_of_the_header_joins_the_event() {
    let mut event = with(r#""idempotency_key":"k""#).unwrap();
    assert_eq!(event.set_idempotency_key("k"), Ok(()));
    assert_eq!(event.set_idempotency_key("other").unwrap_err().code, "duplicate_field");
    let mut event = with(r#""source":"s""#).unwrap();
    assert_eq!(event.set_idempotency_key("").unwrap_err().code, "empty");
    assert_eq!(event.set_idempotency_key(&"k".repeat(257)).unwrap_err().code, "too_long");
    assert_eq!(event.set_idempotency_key("k/1"), Ok(()));
    assert_eq!(event.idempotency_key.as_deref(), Some("k/1"));
}

fn flat(body: &str) -> NewEvent {
    parse_flat(body.as_bytes()).expect(body)
}

#[test]
fn unknown_members_of_a_flat_record_become_the_payload_byte_for_byte() {
    let event =
        flat(r#"{ "level":"warning" , "app_name":"api", "n" : 1e400, "id": 7,"\u0061":[ 1 ],"n":2 }"#);
    assert_eq!((event.level, event.source.as_deref()), (Some(Level::Warn), Some("api")));
    assert_eq!((event.event_type.as_str(), event.user_identity.as_str()), ("log", "anonymous"));
    assert_eq!(payload(&event), r#"{"n":1e400,"id":7,"\u0061":[ 1 ],"n":2}"#);
}

#[test]
fn a_flat_record_keeps_what_it_names() {
    let event = flat(r#"{"type":"login","user":"u","message":"m"}"#);
    assert_eq!((event.event_type.as_str(), event.user_identity.as_str()), ("login", "u"));
    assert_eq!(event.payload, None);
    let event = flat(r#"{"type":null,"user":null}"#);
    assert_eq!((event.event_type.as_str(), event.user_identity.as_str()), ("log", "anonymous"));
    assert_eq!(flat("{}").payload, None);
}

#[test]
fn the_payload_of_a_flat_record_is_joined_by_its_unknown_members() {
    for (body, expected) in [
        (r#"{"data":{ "b" : 2 }}"#, r#"{ "b" : 2 }"#),
        (r#"{"data": [1] }"#, "[1]"),
        (r#"{"data":null}"#, "null"),
        (r#"{"a":1,"data":{ "b" : 2, "c":3 },"d":4}"#, r#"{"a":1,"b" : 2, "c":3,"d":4}"#),
        (r#"{"data":{ },"d":4}"#, r#"{"d":4}"#),
        (r#"{"a":1,"data":{},"d":4}"#, r#"{"a":1,"d":4}"#),
        (r#"{"a":1,"data":{}}"#, r#"{"a":1}"#),
        (r#"{"a":1,"data":[2]}"#, r#"{"a":1,"event_data":[2]}"#),
        (r#"{"data":null,"a":1}"#, r#"{"event_data":null,"a":1}"#),
    ] {
        assert_eq!(payload(&flat(body)), expected, "{body}");
    }
}

#[test]
fn a_flat_record_is_held_to_the_typed_fields() {
    let codes = |body: &str| faults(parse_flat(body.as_bytes()));
    assert_eq!(codes(r#"{"level":30}"#), [("wrong_type", "/level".to_owned())]);
    assert_eq!(codes(r#"{"timestamp":"now"}"#), [("invalid_timestamp", "/timestamp".to_owned())]);
    assert_eq!(codes(r#"{"user":"a","user_id":"b"}"#), [("duplicate_field", "/user_id".to_owned())]);
    assert_eq!(codes(r#"{"data":1,"payload":2,"x":3}"#), [("duplicate_field", "/payload".to_owned())]);
    assert_eq!(codes(r#"{"type":"eventlogger.epoch"}"#), [("reserved_event_type", "/type".to_owned())]);
    assert_eq!(codes("[]"), [("wrong_type", String::new())]);
    assert_eq!(codes("{"), [("malformed_json", String::new())]);
}
