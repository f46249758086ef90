use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::json::tests::document;

fn projection(text: &str) -> Projection {
    Payload::parse(text.as_bytes().to_vec()).unwrap().projection
}

#[track_caller]
fn assert_kept(text: &str, json: &str) {
    assert_eq!(projection(text), Projection { json: json.to_owned(), lossy: false });
    assert_eq!(Payload::shown(text.as_bytes()), json);
}

#[track_caller]
fn assert_lossy(text: &str, json: &str) {
    assert_eq!(projection(text), Projection { json: json.to_owned(), lossy: true });
}

#[test]
fn an_ordinary_payload_is_projected_token_by_token() {
    assert_kept(r#" {"b": 1, "a": ["x", null]} "#, r#"{"b":1,"a":["x",null]}"#);
    for text in
        ["null", "-0", "1E2", "9007199254740993", "1.000000000000000005", r#""\u00e9\/\ud83d\ude00""#, "{}"]
    {
        assert_kept(text, text);
    }
}

#[test]
fn the_bytes_stay_as_they_were_sent() {
    let text = " { \"a\" : \"\\u0000\" } ";
    assert_eq!(Payload::parse(text.as_bytes().to_vec()).unwrap().bytes, text.as_bytes());
}

#[test]
fn text_that_databases_cannot_hold_is_cleaned_in_names_and_values() {
    let text = r#"{ "a\u0000" : "\ud800\u00e9" }"#;
    assert_lossy(text, "{\"a\u{fffd}\":\"\u{fffd}é\"}");
    assert_eq!(Payload::shown(text.as_bytes()), "{\"a\u{fffd}\":\"\u{fffd}é\"}");
}

#[test]
fn a_number_of_huge_magnitude_becomes_its_text() {
    let zeros = "0".repeat(400);
    for number in [
        "1e400",
        "1e131071",
        "-1e309",
        "1E+309",
        "1e-309",
        "0e309",
        "0.0e-999",
        "1000e306",
        "0.001e-306",
        "1.8e308",
        "-1.7976931348623157e308",
        "1e99999999999999999999",
        &format!("1{zeros}"),
        &format!("0.{zeros}1"),
    ] {
        let text = format!("\"{}\"", &number[..number.len().min(400)]);
        assert_lossy(number, &text);
        assert_eq!(Payload::shown(number.as_bytes()), text, "stock parsers refuse it");
    }
    for number in ["1e308", "-1.797e308", "1e-308", "0.001e-305", "0e308", "1000e305", "0.000e5"] {
        assert_kept(number, number);
    }
}

#[test]
fn a_number_keeps_400_digits_and_no_more() {
    let digits = |count: usize| format!("-0.{}", "123456789".repeat(50)[..count - 1].to_owned());
    assert_kept(&digits(400), &digits(400));
    let long = digits(401);
    assert_lossy(&long, &format!("\"{}\"", &long[..400]));
    assert_eq!(Payload::shown(long.as_bytes()), long, "stock parsers only round it");
    let padded = format!("1e{}1", "0".repeat(400));
    assert_lossy(&padded, &format!("\"{}\"", &padded[..400]));
}

#[test]
fn of_a_name_given_twice_the_last_member_stays() {
    let text = r#"{"a":1,"b":{"x":1,"x":2},"\u0061":[3]}"#;
    assert_lossy(text, r#"{"b":{"x":2},"\u0061":[3]}"#);
    assert_eq!(Payload::shown(text.as_bytes()), text, "stock parsers read it");
    assert_lossy(r#"{"\u0000":1,"\ud800":2}"#, "{\"\u{fffd}\":2}");
    assert_kept(r#"[{"a":1},{"a":2,"A":3}]"#, r#"[{"a":1},{"a":2,"A":3}]"#);
}

#[test]
fn containers_deeper_than_64_become_null() {
    let nested = |depth: usize, inner: &str| "[".repeat(depth) + inner + &"]".repeat(depth);
    assert_kept(&nested(64, ""), &nested(64, ""));
    assert_kept(&nested(64, "1,2"), &nested(64, "1,2"));
    assert_lossy(&nested(65, ""), &nested(64, "null"));
    assert_lossy(&nested(64, r#"1,{"a":{"b":2}},3"#), &nested(64, "1,null,3"));
    assert_lossy(&nested(200_000, ""), &nested(64, "null"));
    assert_eq!(Payload::shown(nested(65, "").as_bytes()), nested(64, "null"));
}

#[test]
fn after_2000_scalars_the_rest_is_left_out() {
    let list = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    assert_kept(&list(2_000), &list(2_000));
    assert_lossy(&list(2_001), &list(2_000));
    assert_eq!(Payload::shown(list(2_001).as_bytes()), list(2_001), "stock parsers read it");
    let members = format!("{{\"a\":{},\"b\":[[]],\"c\":{{\"d\":1}}}}", list(1_999));
    assert_lossy(&members, &format!("{{\"a\":{},\"b\":[[]]}}", list(1_999)));
    let half_a_million = list(500_000);
    assert_lossy(&half_a_million, &list(2_000));
}

#[test]
fn a_payload_over_a_mebibyte_is_refused() {
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2)).into_bytes();
    assert!(Payload::parse(text(PAYLOAD_MAX_BYTES)).is_ok());
    let refused = Payload::parse(text(PAYLOAD_MAX_BYTES + 1)).unwrap_err();
    assert_eq!((refused.kind, refused.code), (InvalidKind::TooLarge, "payload_too_large"));
}

#[test]
fn a_payload_that_is_not_json_is_refused_and_still_shown() {
    let refused = Payload::parse(b"{\"a\":".to_vec()).unwrap_err();
    assert_eq!((refused.kind, refused.position.unwrap().column), (InvalidKind::Malformed, 6));
    assert_eq!(Payload::shown(b"{\"a\":\xff"), "\"{\\\"a\\\":\u{fffd}\"");
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn scalars(value: &Value) -> usize {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter().map(scalars).sum(),
        Value::Object(members) if !members.is_empty() => members.values().map(scalars).sum(),
        _ => 1,
    }
}

/// Wraps and widens documents until they meet the limits.
fn payload() -> impl Strategy<Value = String> {
    (document(), 0..80usize, 0..1_200usize).prop_map(|(text, depth, copies)| {
        let wide = format!("[{text}{}]", format!(",{text}").repeat(copies % 3 * copies / (1 + text.len())));
        r#"{"a":[1,"#.repeat(depth / 2) + &wide + &"]}".repeat(depth / 2)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_projection_is_within_its_limits_and_projects_to_itself(text in payload()) {
        let projection = projection(&text);
        let value: Value = serde_json::from_str(&projection.json).unwrap();
        prop_assert!(depth(&value) <= 64 && scalars(&value) <= 2_000);
        let again = Projection { json: projection.json.clone(), lossy: false };
        prop_assert_eq!(Payload::parse(projection.json.into_bytes()).unwrap().projection, again);
    }

    #[test]
    fn a_projection_that_is_not_lossy_has_every_token(text in payload()) {
        let projection = projection(&text);
        if !projection.lossy {
            prop_assert_eq!(&projection.json, &json::minify(text.as_bytes()).unwrap());
        }
        // Built in another way, both must agree on what fits as it is.
        let projected = projection::project(text.as_bytes()).unwrap();
        prop_assert_eq!(projected != json::minify(text.as_bytes()).unwrap(), projection.lossy);
        prop_assert_eq!(projected, projection.json);
    }

    #[test]
    fn what_lists_show_is_read_by_a_stock_parser(text in payload()) {
        let shown: Result<Value, _> = serde_json::from_str(&Payload::shown(text.as_bytes()));
        prop_assert!(shown.is_ok(), "{:?}", shown);
    }
}
