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

#[test]
fn columns_take_values_of_their_own_type() {
    check("", "(and)");
    check("user=Asad_Zaman&type=login", r#"(and (eq user_identity "Asad_Zaman") (eq event_type "login"))"#);
    check("level=warning", "(and (eq level WARN))");
    check("outcome=denied", "(and (eq outcome denied))");
    check("seq=42", "(and (eq seq 42))");
    check("id=01934e5a-7b10-7abc-8def-0123456789ab", "(and (eq id 01934e5a-7b10-7abc-8def-0123456789ab))");
    check("received_at=2026-11-21T08:30:00", "(and (eq received_at 2026-11-21T08:30:00.000000Z))");
    check("recorded_by=user:admin", r#"(and (eq recorded_by "user:admin"))"#);
    check(r#"message="a \"b\"""#, r#"(and (eq message "a \"b\""))"#);
}

#[test]
fn an_address_is_equal_and_a_network_contains() {
    check("ip=10.0.0.7", "(and (eq ip 10.0.0.7/32))");
    check("ip=10.0.0.0/8", "(and (cidr ip 10.0.0.0/8))");
    check("ip:cidr=10.0.0.7", "(and (cidr ip 10.0.0.7/32))");
    check("ip=::ffff:10.0.0.7", "(and (eq ip 10.0.0.7/32))");
    check("ip=::ffff:10.0.0.0/104", "(and (cidr ip 10.0.0.0/8))");
    check("ip=2001:db8::/32", "(and (cidr ip 2001:db8::/32))");
    check("ip=10.0.0.0/33", "parameter ip: the prefix of this network is at most 32");
    for wrong in ["10.0.0", "10.0.0.0/", "10.0.0.0/+8", "fe80::1%eth0", "localhost", "7"] {
        let expected = "parameter ip: expected an IP address or a network (10.0.0.7 or 10.0.0.0/8)";
        check(&format!("ip={wrong}"), expected);
    }
}

#[test]
fn what_is_no_column_is_a_path_into_event_data() {
    check("account_id=1346", r#"(and (eq event_data."account_id" ~"1346"))"#);
    check("data.limit=5", r#"(and (eq event_data."limit" ~"5"))"#);
    check(r#"items.0."a.b"=x"#, r#"(and (eq event_data."items".0."a.b" "x"))"#);
}

#[test]
fn untyped_values_match_a_literal_or_the_string_and_quoted_ones_the_string() {
    for loose in ["1346", "-1.5e3", "9007199254740993", "true", "false", "null"] {
        check(&format!("k={loose}"), &format!(r#"(and (eq event_data."k" ~"{loose}"))"#));
        check(&format!("k=\"{loose}\""), &format!(r#"(and (eq event_data."k" "{loose}"))"#));
    }
    for text in ["00123", "+1", "1_000", "True", "NaN", "", " 1", "0x10"] {
        check(&format!("k={text}"), &format!(r#"(and (eq event_data."k" "{text}"))"#));
    }
}

#[test]
fn a_value_never_changes_the_meaning_of_the_search() {
    for literal in ["gte:5", "not.x", "a OR b", "(x)", "x,y", "$.a == 1", "' OR 1=1 --", "*", "in(1,2)"] {
        check(&format!("k={literal}"), &format!(r#"(and (eq event_data."k" "{literal}"))"#));
    }
    check(r#"k="open"#, r#"(and (eq event_data."k" "\"open"))"#);
    check(r#"k="a" b"#, r#"(and (eq event_data."k" "\"a\" b"))"#);
    check("k=\0", "(and (eq event_data.\"k\" \"\u{fffd}\"))");
}

#[test]
fn numbers_beyond_comparison_are_refused_unless_quoted() {
    let fault = "parameter k: this number is too large to compare: at most 400 digits and an exponent of 308 \
                 (quote it to compare it as a string)";
    check("k=1e309", fault);
    check(&format!("k={}", "9".repeat(401)), fault);
    check(r#"k="1e309""#, r#"(and (eq event_data."k" "1e309"))"#);
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
fn operators_that_are_not_known_yet_are_no_literals() {
    let hint = "this version knows name=value and ip:cidr=network; a key with a colon is quoted";
    check("amount:gte=100", &format!("parameter amount:gte: unknown operator `gte` ({hint})"));
    check("ns:key=1", &format!("parameter ns:key: unknown operator `key` ({hint})"));
    check(r#""ns:key"=1"#, r#"(and (eq event_data."ns:key" ~"1"))"#);
    check("addr:cidr=10.0.0.0/8", "parameter addr:cidr: `cidr` applies to the column `ip` only");
}

#[test]
fn reserved_names_are_never_keys_of_the_data() {
    for name in ["q", "fields", "count", "skip"] {
        check(
            &format!("{name}=1"),
            &format!(
                "parameter {name}: `{name}` is reserved and not supported yet (a key of the data is event_data.{name})"
            ),
        );
        check(&format!("event_data.{name}=x"), &format!(r#"(and (eq event_data."{name}" "x"))"#));
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
