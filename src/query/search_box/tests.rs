use super::*;

fn understood(text: &str) -> String {
    match parse(text) {
        Ok(filter) => filter.to_string(),
        Err(Complaint { span, detail, hint, .. }) => {
            let at = span.map(|span| format!(" at {}+{}", span.start, span.length)).unwrap_or_default();
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("error{at}: {detail}{hint}")
        }
    }
}

fn table(searches: &[&str]) -> String {
    searches.iter().map(|text| format!("{text}\n  {}\n", understood(text))).collect()
}

#[test]
fn terms_are_fields_or_text() {
    insta::assert_snapshot!(table(&[
        "",
        "   ",
        "event_type:login",
        "user:\"Asad Zaman\"",
        "message:\"tls handshake\"",
        "message:tls",
        "tls",
        "\"free text\"",
        "ip:10.0.0.0/8",
        "ip:::1",
        "ip:fe80::/10",
        "amount:>100",
        "amount:>=100",
        "level:>=warn",
        "account_id:1346",
        "account_id:\"1346\"",
        "items.0.\"odd key\":x",
        "\u{201c}free text\u{201d}",
    ]));
}

#[test]
fn what_only_looks_like_a_field_is_text() {
    insta::assert_snapshot!(table(&[
        "12:30",
        "https://example.com/a:b",
        "Resque::DirtyExit",
        "fe80::1",
        "::1",
        "error: ",
        "user@example.com",
        "/var/log",
        "a-b",
        "5",
    ]));
}

#[test]
fn not_binds_before_and_before_or() {
    insta::assert_snapshot!(table(&[
        "a b OR c d",
        "a and b or not c",
        "a && b || !c",
        "-source:api -x",
        "NOT (a OR b) c",
        "NOT NOT a",
        "(a)",
        "((a b) OR c)",
        "oracle notes android",
    ]));
}

#[test]
fn lists_and_stars() {
    insta::assert_snapshot!(table(&[
        "city:(Paris OR Lyon)",
        "city:(Paris, Lyon)",
        "city:(Paris Lyon)",
        "city:(Paris,Lyon)",
        "city:(Paris || Lyon)",
        "amount:(<5 OR >=100)",
        "city:(\"a, b\" OR x*)",
        "city:*",
        "-city:*",
        "path:/home/*",
        "path:*home*",
        "path:*\"a b\"*",
        "path:\"*\"",
        "message:*x",
        "*",
        "*x*",
    ]));
}

#[test]
fn faults_say_where_they_are() {
    insta::assert_snapshot!(table(&[
        "(a",
        "a)",
        "a (b OR",
        "OR a",
        "a AND",
        "NOT",
        "()",
        "city:(",
        "city:()",
        "city:(a,,b)",
        "city:(a OR )",
        "city:(OR a)",
        "tags:(a AND b)",
        "tags:(a && b)",
        "tags:(NOT a)",
        "\"open",
        "a\"b",
        "amount>100",
        "amount=100",
        "amount!=100",
        "level:wrn",
        "x level:wrn y",
        "level:>*",
        "path:*home",
        "path:a*b",
        "a*b",
        "event.levle:x",
        "ip:10.0.0",
        "seq:>x",
        "\"\"",
    ]));
    let deep = format!("{}a{}", "(".repeat(16), ")".repeat(16));
    assert!(understood(&deep).contains("nested deeper"), "{}", understood(&deep));
    assert!(understood(&"-".repeat(100_000)).starts_with("error"));
}

#[test]
fn what_is_understood_is_never_too_deep_to_be_said() {
    // Each pair of parentheses is two levels.
    let nested = |pairs: usize| format!("{}a{}", "(a OR b ".repeat(pairs), ")".repeat(pairs));
    let filter = parse(&nested(7)).unwrap();
    assert_eq!(
        crate::query::json::parse(format!(r#"{{"filter":{filter}}}"#).as_bytes()).unwrap().filter,
        filter
    );
    assert_eq!(understood(&nested(8)), "error at 0+73: nested deeper than 16 levels");
}
