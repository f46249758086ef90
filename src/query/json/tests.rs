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
    check("{}", r#"{"and":[]}"#);
    let is = |value: &str| format!(r#"{{"field":"event_data.\"k\"","op":"eq","value":{value}}}"#);
    for value in ["100", "9007199254740993", "1.10", "\"100\"", "true", "null"] {
        check(&leaf("event_data.k", value), &is(value));
    }
    check(&leaf("event_data.k", r#""\ud800\u0000""#), &is("\"\u{fffd}\u{fffd}\""));
}

/// What each filter is understood as.
fn table(filters: &[&str]) -> String {
    let row = |filter: &&str| {
        format!("{filter}\n  {}\n", understood(&format!(r#"{{"filter":{filter}}}"#)).replace('\n', "\n  "))
    };
    filters.iter().map(row).collect()
}

#[test]
fn filters_nest() {
    insta::assert_snapshot!(table(&[
        r#"{"and": [{"field": "type", "value": "login"}, {"and": []}, {"field": "ip", "op": "cidr", "value": "10.0.0.0/8"}]}"#,
        r#"{"or": [{"field": "city", "value": "Paris"}, {"not": {"field": "zip", "op": "exists"}}]}"#,
        r#"{"not": {"not": {"text": "free text"}}}"#,
        r#"{"or": []}"#,
        r#"{"or": [{}, {"feild": 1}]}"#,
        r#"{"not": [{"field": "a", "value": 1}]}"#,
        r#"{"text": 7}"#,
    ]));
}

#[test]
fn operators_are_those_of_a_url() {
    insta::assert_snapshot!(table(&[
        r#"{"field": "amount", "op": "gte", "value": 100}"#,
        r#"{"field": "amount", "op": "gte", "value": true}"#,
        r#"{"field": "amount", "op": "in", "value": [100, "100", null]}"#,
        r#"{"field": "amount", "op": "in", "value": 100}"#,
        r#"{"field": "amount", "op": "in", "value": [[1]]}"#,
        r#"{"field": "level", "op": "not-in", "value": ["debug", "info"]}"#,
        r#"{"field": "level", "op": "not", "value": "debug"}"#,
        r#"{"field": "path", "op": "match", "value": "^/v[0-9]+/"}"#,
        r#"{"field": "path", "op": "contains", "value": 7}"#,
        r#"{"field": "a", "op": "exists", "value": false}"#,
        r#"{"field": "a", "op": "exists", "value": "no"}"#,
        r#"{"field": "ip", "op": "in", "value": ["10.0.0.0/8", "::1"]}"#,
    ]));
}

#[test]
fn columns_want_the_type_they_have() {
    insta::assert_snapshot!(table(&[
        r#"{"field": "seq", "value": 7}"#,
        r#"{"field": "seq", "value": "7"}"#,
        r#"{"field": "seq", "value": 7.5}"#,
        r#"{"field": "user_identity", "value": 7}"#,
        r#"{"field": "source", "value": null}"#,
        r#"{"field": "level", "value": "warn"}"#,
    ]));
}

/// So a filter that is shown can be sent, and what a cursor is sealed to is one text for one filter.
#[test]
fn what_is_printed_reads_back_as_the_same() {
    let urls = [
        "user=x&level:in=warn,error&seq:gte=4&id=01934e5a-7b10-7abc-8def-0123456789ab&outcome:not=denied",
        "ip=10.0.0.7&ip:in=10.0.0.7,10.0.0.8&ip:cidr=10.0.0.0/8&ip:in=10.0.0.0/8,::1&client:cidr=::/0",
        "timestamp:lt=2026-01-01T00:00:00.5Z&k=1346&k=\"1346\"&k:gt=1e5&k:lte=x&\"a.b\".0.\"c\\\"d\":in=1,b,\"2\"",
        "message:contains=Stra\u{df}e&path:prefix=/a%&path:match=^[^x]{2,}\\.\\d$&k:exists=&zip:exists=false",
        "q=-a (b OR \"c d\") k:>=5 type:log* message:*x* city:(Paris, Lyon) NOT (x y)",
    ];
    for url in urls {
        let pairs: Vec<_> = url.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        let pairs: Vec<_> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let filter = crate::query::params::parse(&pairs).unwrap().filter;
        let printed = format!(r#"{{"filter":{filter}}}"#);
        assert_eq!(parse(printed.as_bytes()).unwrap().filter, filter, "{printed}");
    }
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
         body /filter/and/1: `field` is missing ({\"field\": \"event_data.amount\", \"op\": \"eq\", \"value\": 100})",
    );
    check(r#"{"a/b~c": 1}"#, "body /a~1b~0c: unknown member `a/b~c`");
    check(r#"{"filter": {"and": {}}}"#, "body /filter/and: expected an array of conditions");
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
    let with_q = |depth: usize| nested(depth).replacen('{', r#"{"q": "NOT (a OR b c)", "#, 1);
    assert!(parse(with_q(16).as_bytes()).is_ok());
    let negated = with_q(15).replace(r#""filter": "#, r#""filter": {"not":"#) + "}";
    assert_eq!(understood(&negated), "body /filter: nested deeper than 16 levels", "q stands beside it");
    let wide = |count: usize| {
        format!(r#"{{"filter": {{"and": [{}]}}}}"#, vec![r#"{"field":"a","value":1}"#; count].join(","))
    };
    assert!(parse(wide(64).as_bytes()).is_ok());
    check(&wide(65), "body /filter: 65 conditions; at most 64 are allowed");
}

#[test]
fn what_joins_conditions_stands_alone() {
    check(
        r#"{"filter": {"and": [], "or": []}}"#,
        "body /filter/and: `and` stands alone, with no member beside it ({\"and\": [first, second]} joins conditions)",
    );
    check(
        r#"{"filter": {"field": "a", "value": 1, "text": "x"}}"#,
        "body /filter/text: `text` stands alone, with no member beside it ({\"and\": [first, second]} joins conditions)",
    );
}
