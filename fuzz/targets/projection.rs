//! `event_data`: any JSON is taken as it is, and what is searched of it is what PostgreSQL is sure to take.

#![no_main]

use eventlogger_fuzz::event::{Payload, Projection};
use eventlogger_fuzz::json;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const DEPTH_MAX: usize = 64;
const SCALARS_MAX: usize = 2_000;

fuzz_target!(|bytes: &[u8]| {
    let shown = Payload::shown(bytes);
    parse(&shown);
    let read: Result<Value, _> = serde_json::from_slice(bytes);
    let Ok(payload) = Payload::parse(bytes.to_vec()) else {
        assert!(json::Scanner::check(bytes).is_err() && read.is_err(), "JSON was refused");
        return;
    };
    assert_eq!(payload.bytes, bytes);
    let Projection { json, lossy } = &payload.projection;
    let projected = parse(json);
    assert!(depth(&projected) <= DEPTH_MAX);
    assert!(scalars(&projected) <= SCALARS_MAX);
    assert!(!has_nul(&projected));
    if !lossy {
        assert_eq!(projected, read.expect("what fits is no riddle to others"));
    }
    // Nothing is left to clean, and the same bytes give the same projection.
    let again = Payload::parse(json.clone().into_bytes()).unwrap();
    assert_eq!(again.projection, Projection { json: json.clone(), lossy: false });
    assert_eq!(Payload::parse(bytes.to_vec()).unwrap(), payload);
});

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn scalars(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(scalars).sum::<usize>().max(1),
        Value::Object(members) => members.values().map(scalars).sum::<usize>().max(1),
        _ => 1,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::String(text) => text.contains('\0'),
        _ => false,
    }
}
