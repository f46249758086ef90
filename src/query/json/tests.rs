use super::*;

fn understood(body: &str) -> String {
    match parse(body.as_bytes()) {
        Ok(search) => search.filter.to_string(),
        Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[track_caller]
fn check(body: &str, expected: &str) {
    assert_eq!(understood(body), expected, "{body}");
}

fn leaf(field: &str, value: &str) -> String {
    format!(r#"{{"filter": {{"field": "{field}", "op": "eq", "value": {value}}}}}"#)
}

#[test]
fn value_types_are_exact_and_numbers_keep_their_digits() {
    check("{}", "(and)");
    for value in ["100", "9007199254740993", "1.10", "\"100\"", "true", "null"] {
        check(&leaf("event_data.amount", value), &format!(r#"(eq event_data."amount" {value})"#));
    }
    check(&leaf("event_data.k", r#""\ud800\u0000""#), "(eq event_data.\"k\" \"\u{fffd}\u{fffd}\")");
}

#[test]
fn conditions_nest_in_and() {
    check(
        r#" {"filter": {"and": [{"field": "type", "value": "login"}, {"and": []},
             {"field": "ip", "op": "cidr", "value": "10.0.0.0/8"}]}, "limit": 7} "#,
        r#"(and (eq event_type "login") (and) (cidr ip 10.0.0.0/8))"#,
    );
}

#[test]
fn columns_want_the_type_they_have() {
    check(&leaf("seq", "7"), "(eq seq 7)");
    check(&leaf("seq", r#""7""#), "body /filter/value: `seq` is compared with a number");
    check(&leaf("seq", "7.5"), "body /filter/value: expected a whole number, 0 or more");
    check(&leaf("user_identity", "7"), "body /filter/value: `user_identity` is compared with a string");
    check(&leaf("source", "null"), "body /filter/value: `source` is compared with a string");
    check(&leaf("level", r#""warn""#), "(eq level WARN)");
}

#[test]
fn settings_mean_what_they_mean_in_a_url() {
    let search =
        parse(br#"{"from": "2026-01-01T00:00:00Z", "limit": 7, "sort": "timestamp", "cursor": "c"}"#);
    let search = search.unwrap();
    assert_eq!(search.timestamp.from.unwrap().to_string(), "2026-01-01T00:00:00.000000Z");
    assert_eq!((search.limit, search.cursor.as_deref()), (7, Some("c")));
    check(
        r#"{"limit": 0}"#,
        "body /limit: expected a number of events from 1 to 1000 (for more, follow `next`)",
    );
    check(
        r#"{"limit": "7"}"#,
        "body /limit: expected a number of events from 1 to 1000 (for more, follow `next`)",
    );
    check(r#"{"cursor": 7}"#, "body /cursor: expected a string");
}

#[test]
fn faults_point_to_their_member() {
    check(r#"{"filtre": {}}"#, "body /filtre: unknown member `filtre` (did you mean `filter`?)");
    check(
        r#"{"filter": {"and": [{"field": "a..b", "op": "eq", "value": 1}, {"feild": "a", "value": [1]}]}}"#,
        "body /filter/and/0/field: at 2+1: unexpected '.' in a field name (keys with other characters are \
         written as JSON strings: \"odd key\".name)\n\
         body /filter/and/1/feild: unknown member `feild` (did you mean `field`?)\n\
         body /filter/and/1/value: expected a string, a number, true, false or null\n\
         body /filter/and/1: `field` is missing ({\"field\": \"event_data.amount\", \"op\": \"eq\", \"value\": 100})",
    );
    check(r#"{"a/b~c": 1}"#, "body /a~1b~0c: unknown member `a/b~c`");
    check(r#"{"filter": {"or": []}}"#, "body /filter/or: `or` is not supported yet");
    check(r#"{"filter": {"and": {}}}"#, "body /filter/and: expected an array of conditions");
    check(
        r#"{"filter": {"field": "a", "op": "gte", "value": 1}}"#,
        "body /filter/op: unknown operator `gte` (this version knows eq and cidr)",
    );
    check(r#"{"limit": 1, "limit": 2}"#, "body /limit: `limit` is given more than once");
    check(
        r#"{"from": "2026-01-01T00:00:00Z", "start_time": "2026-01-01T00:00:00Z"}"#,
        "body /start_time: `from` is given more than once",
    );
    check(
        r#"{"filter": {"field": "a:b", "value": 1}}"#,
        "body /filter/field: at 1+1: unexpected ':' in a field name (the operator has a member of its own: \"op\")",
    );
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    assert!(understood("{\"limit\": 5,}").contains("line 1, column 13"));
    assert!(understood("").starts_with("body : at 0+0: the body is not JSON"));
    check("[]", "body : expected a JSON object");
    assert!(parse(b"{\"cursor\": \"\xff\"}").is_err());
}

#[test]
fn depth_and_number_of_conditions_are_limited() {
    let nested = |depth: usize| {
        let (open, close) = ("{\"and\":[".repeat(depth - 1), "]}".repeat(depth - 1));
        format!(r#"{{"filter": {open}{{"field":"a","value":1}}{close}}}"#)
    };
    assert!(parse(nested(16).as_bytes()).is_ok());
    assert!(understood(&nested(17)).ends_with("nested deeper than 16 levels"));
    let wide = |count: usize| {
        format!(r#"{{"filter": {{"and": [{}]}}}}"#, vec![r#"{"field":"a","value":1}"#; count].join(","))
    };
    assert!(parse(wide(64).as_bytes()).is_ok());
    check(&wide(65), "body /filter: 65 conditions; at most 64 are allowed");
}
