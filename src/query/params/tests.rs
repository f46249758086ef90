use super::*;

fn parse_url(query: &str) -> Result<Search, Vec<Fault>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<_> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    parse(&pairs)
}

/// The filter as it was understood, or the faults.
fn understood(query: &str) -> String {
    match parse_url(query) {
        Ok(search) => search.filter.to_string(),
        Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[track_caller]
fn check(query: &str, expected: &str) {
    assert_eq!(understood(query), expected, "{query}");
}

/// What each search is understood as.
fn table(queries: &[&str]) -> String {
    let row = |query: &&str| format!("{query}\n  {}\n", understood(query));
    queries.iter().map(row).collect()
}

#[test]
fn columns_take_values_of_their_own_type() {
    insta::assert_snapshot!(table(&[
        "",
        "user=Asad_Zaman&type=login",
        "level=warning",
        "outcome=denied",
        "seq=42",
        "id=01934e5a-7b10-7abc-8def-0123456789ab",
        "received_at=2026-11-21T08:30:00",
        "recorded_by=user:admin",
        r#"message="a \"b\"""#,
    ]));
}

#[test]
fn an_address_is_equal_and_a_network_contains() {
    insta::assert_snapshot!(table(&[
        "ip=10.0.0.7",
        "ip=10.0.0.0/8",
        "ip:cidr=10.0.0.7",
        "ip=::ffff:10.0.0.7",
        "ip=::ffff:10.0.0.0/104",
        "ip=2001:db8::/32",
        "ip:in=10.0.0.7,10.1.0.0/16",
        "ip:not-in=10.0.0.7,10.0.0.8",
        "client.address:cidr=10.0.0.0/8",
    ]));
    check("ip=10.0.0.0/33", "parameter ip: the prefix of this network is at most 32");
    for wrong in ["10.0.0", "10.0.0.0/", "10.0.0.0/+8", "fe80::1%eth0", "localhost", "7"] {
        let expected = "parameter ip: expected an IP address or a network (10.0.0.7 or 10.0.0.0/8)";
        check(&format!("ip={wrong}"), expected);
    }
}

#[test]
fn what_is_no_column_is_a_path_into_event_data() {
    insta::assert_snapshot!(table(&["account_id=1346", "data.limit=5", r#"items.0."a.b"=x"#]));
}

#[test]
fn untyped_values_match_a_literal_or_the_string_and_quoted_ones_the_string() {
    let is = |values: &str| format!(r#"{{"and":[{{"field":"event_data.\"k\"",{values}}}]}}"#);
    for loose in ["1346", "-1.5e3", "9007199254740993", "true", "false", "null"] {
        check(&format!("k={loose}"), &is(&format!(r#""op":"in","value":[{loose},"{loose}"]"#)));
        check(&format!("k=\"{loose}\""), &is(&format!(r#""op":"eq","value":"{loose}""#)));
    }
    for text in ["00123", "+1", "1_000", "True", "NaN", "", " 1", "0x10"] {
        check(&format!("k={text}"), &is(&format!(r#""op":"eq","value":"{text}""#)));
    }
}

#[test]
fn a_value_never_changes_the_meaning_of_the_search() {
    let is = |value: &str| format!(r#"{{"and":[{{"field":"event_data.\"k\"","op":"eq","value":{value}}}]}}"#);
    for literal in
        ["gte:5", "not.x", "a OR b", "(x)", "x,y", "$.a == 1", "' OR 1=1 --", "*", "in(1,2)", "a..b", "-x"]
    {
        check(&format!("k={literal}"), &is(&crate::json::quote(literal)));
    }
    check(r#"k="open"#, &is(r#""\"open""#));
    check(r#"k="a" b"#, &is(r#""\"a\" b""#));
    check("k=\0", &is("\"\u{fffd}\""));
}

#[test]
fn operators_stand_on_the_name() {
    insta::assert_snapshot!(table(&[
        "amount:gte=100&amount:lt=1e3",
        "due:gt=2026-01-01",
        "amount:gt=\"100\"",
        "type:not=login",
        "city:in=Paris,Lyon,\"a,\\\"b\",75",
        "level:in=warn,error&level:gte=notice",
        "level:not-in=debug",
        "message:contains=TLS handshake",
        "path:prefix=/home/",
        "user_identity:prefix=Asad",
        "city:exists=&zip:exists=false&source:exists=true",
        "path:match=^/v[0-9]+/",
        "timestamp:gte=2026-01-01T00:00:00Z&seq:lt=9",
    ]));
}

#[test]
fn operators_that_do_not_apply_say_so() {
    insta::assert_snapshot!(table(&[
        "amount:gtee=100",
        "ns:key=1",
        "amount:ne=1",
        "ip:gt=10.0.0.1",
        "outcome:gte=denied",
        "level:contains=WAR",
        "type:cidr=10.0.0.0/8",
        "address:cidr=10.0.0.300",
        "city:in=",
        "city:in=a,,b",
        "city:in=\"a\"b",
        "city:in=\"a",
        "zip:exists=maybe",
        "message:contains=",
        "path:prefix=",
        "path:match=a(b",
        "path:match=\\bx",
        "k:gt=1e999",
    ]));
    let many = vec!["x"; 201].join(",");
    check(&format!("k:in={many}"), "parameter k:in: 201 values in one list; at most 200 are allowed");
}

#[test]
fn numbers_beyond_comparison_are_refused_unless_quoted() {
    let fault = "parameter k: this number is too large to compare: at most 400 digits and an exponent of 308 \
                 (quote it to compare it as a string)";
    check("k=1e309", fault);
    check(&format!("k={}", "9".repeat(401)), fault);
    assert!(parse_url(r#"k="1e309""#).is_ok());
}

#[test]
fn settings_are_read_and_each_at_most_once() {
    let search = parse_url(
        "from=2026-01-01T00:00:00Z&end_time=2026-02-01T00:00:00Z&received_from=2026-01-01T00:00:00Z\
         &received_to=2026-03-01T00:00:00Z&sort=timestamp&limit=1000&cursor=abc",
    )
    .unwrap();
    let shown = |at: Option<crate::event::Timestamp>| at.unwrap().to_string();
    assert_eq!(shown(search.timestamp.from), "2026-01-01T00:00:00.000000Z");
    assert_eq!(shown(search.timestamp.to), "2026-02-01T00:00:00.000000Z");
    assert_eq!(shown(search.received_at.to), "2026-03-01T00:00:00.000000Z");
    assert_eq!((search.limit, search.cursor.as_deref()), (1000, Some("abc")));
    assert_eq!(parse_url("").unwrap().limit, 50);
    check("limit=5&limit=6", "parameter limit: `limit` is given more than once");
    check(
        "from=2026-01-01T00:00:00Z&start_time=2026-01-01T00:00:00Z",
        "parameter start_time: `from` is given more than once",
    );
}

#[test]
fn settings_out_of_range_say_what_is_expected() {
    for wrong in ["0", "1001", "1e9", "-1", "ten", "", "1.0"] {
        check(
            &format!("limit={wrong}"),
            "parameter limit: expected a number of events from 1 to 1000 (for more, follow `next`)",
        );
    }
    check("sort=level", "parameter sort: expected one of: received_at, timestamp");
    check(
        "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "parameter from: `from` is later than `to`, so nothing can match",
    );
    check(
        "received_from=2026-02-01T00:00:00Z&received_to=2026-01-01T00:00:00Z",
        "parameter received_from: `received_from` is later than `received_to`, so nothing can match",
    );
}

#[test]
fn a_plus_that_became_a_space_is_named() {
    for text in ["2026-01-01T00:00:00 02:00", "2026-01-01 00:00:00 02:00"] {
        assert!(
            understood(&format!("from={text}")).ends_with("(in a URL a + means a space: write %2B)"),
            "{text}"
        );
    }
    assert!(!understood("from=last week").contains("%2B"));
}

#[test]
fn reserved_names_are_never_keys_of_the_data() {
    for name in ["fields", "count", "skip"] {
        check(
            &format!("{name}=1"),
            &format!(
                "parameter {name}: `{name}` is reserved and not supported yet (a key of the data is event_data.{name})"
            ),
        );
        assert!(parse_url(&format!("event_data.{name}=x")).is_ok());
    }
    check(
        "limit:gte=1",
        "parameter limit:gte: `limit` takes no operator (a key of the data is event_data.limit)",
    );
    check("_x=1", "parameter _x: names that start with _ are reserved (a key of the data is event_data._x)");
}

#[test]
fn all_faults_are_told_at_once_with_the_nearest_name() {
    check(
        "level=warnin&outcome=Sucess&seq=-1&id=7&a..b=1",
        "parameter level: expected one of: DEBUG, INFO, NOTICE, WARN, ERROR, CRITICAL (did you mean WARN?)\n\
         parameter outcome: expected one of: success, failure, denied, unknown (did you mean success?)\n\
         parameter seq: expected a whole number, 0 or more\n\
         parameter id: expected a UUID (for example 019aa5b2-3f00-7c4e-8a11-5d0c2b9e7f10)\n\
         parameter a..b: at 2+1: unexpected '.' in a field name (keys with other characters are written as \
         JSON strings: \"odd key\".name)",
    );
}

#[test]
fn length_and_number_of_conditions_are_limited() {
    let many = |count: usize| vec!["a=1"; count].join("&");
    assert!(parse_url(&many(64)).is_ok());
    check(&many(65), "parameter : 65 conditions; at most 64 are allowed");
    assert!(parse_url(&format!("a={}", "x".repeat(8191))).is_ok());
    check(
        &format!("a={}", "x".repeat(8192)),
        "parameter : 8193 bytes of parameters; at most 8192 are allowed (POST /events/query takes longer filters)",
    );
}
