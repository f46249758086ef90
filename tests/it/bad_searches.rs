//! What is no search: parameters, filters and cursors that are refused, and what is said then.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{Server, tests};

tests![
    an_unknown_parameter_is_refused_where_parameters_are_fixed,
    a_repeated_parameter_is_refused,
    a_parameter_that_is_not_understood_is_named,
    a_filter_that_is_not_understood_is_named_by_pointer,
    a_tampered_cursor_is_refused,
    a_cursor_of_another_search_is_refused,
    a_query_string_with_strange_bytes_is_answered,
];

/// Three events, and the cursor after the first of `type=t`.
async fn cursor(server: &Server) -> String {
    for n in 0..3 {
        let event = json!({"event_type": "t", "user_identity": "u", "event_data": {"n": n}});
        server.client.post("/events").json(event.to_string()).send().await.json(201);
    }
    let page = server.client.get("/events?type=t&limit=1").send().await.json(200);
    page["next_cursor"].as_str().unwrap().to_owned()
}

async fn an_unknown_parameter_is_refused_where_parameters_are_fixed(server: Arc<Server>) {
    let id = "019aa5b2-3f00-7c4e-8a11-5d0c2b9e7f10";
    let event = r#"{"event_type": "t", "user_identity": "u"}"#;
    for (path, name, hint) in [
        ("/events?receit=none", "receit", Some("receipt")),
        ("/events/batch?atomc=true", "atomc", Some("atomic")),
        ("/log?colour=red", "colour", None),
        ("/events/query?limit=1", "limit", None),
        ("/api/v1/events?Receipt=none", "Receipt", Some("receipt")),
    ] {
        let problem = server.client.post(path).json(event).send().await.problem(400, "invalid_parameter");
        assert_eq!(problem["errors"][0]["parameter"], name, "{path}");
        assert_eq!(problem["errors"][0]["hint"].as_str(), hint, "{path}");
    }
    for path in ["/?x=1", "/status?x", "/health/live?x=1", &format!("/events/{id}?x=1")] {
        server.client.get(path).send().await.problem(400, "invalid_parameter");
    }
    let page = server.client.get("/events").send().await.json(200);
    assert_eq!(page["events"], json!([]), "nothing of it was recorded");
}

async fn a_repeated_parameter_is_refused(server: Arc<Server>) {
    let event = r#"{"event_type": "t", "user_identity": "u"}"#;
    let request = server.client.post("/events?receipt=none&receipt=full").json(event);
    request.send().await.problem(400, "invalid_parameter");
    for query in ["limit=1&limit=2", "from=2026-01-01T00:00:00Z&start_time=2026-01-01T00:00:00Z"] {
        let problem = server.client.get(&format!("/events?{query}")).send().await;
        let problem = problem.problem(400, "invalid_query");
        assert!(problem["detail"].as_str().unwrap().contains("more than once"), "{problem:#}");
    }
    let wrong = server.client.post("/events?receipt=some").json(event).send().await;
    assert_eq!(wrong.problem(400, "invalid_parameter")["errors"][0]["parameter"], "receipt");
}

async fn a_parameter_that_is_not_understood_is_named(server: Arc<Server>) {
    let cases = [
        ("limit=0", "limit", "from 1 to 1000"),
        ("limit=1001", "limit", "follow `next`"),
        ("limit=many", "limit", "from 1 to 1000"),
        ("sort=size", "sort", "received_at, timestamp"),
        ("from=yesterday", "from", "RFC 3339"),
        ("from=2026-01-01T00:00:00+01:00", "from", "%2B"),
        ("received_to=2026-02-30T00:00:00Z", "received_to", ""),
        ("to=2026-01-01T00:00:00Z&from=2026-01-02T00:00:00Z", "from", "later than `to`"),
        ("level=warnin", "level", "did you mean WARN?"),
        ("outcome=succes", "outcome", "did you mean success?"),
        ("ip=10.0.0.300", "ip", "10.0.0.0/8"),
        ("id=7", "id", "UUID"),
        ("seq=-1", "seq", "0 or more"),
        ("a..b=1", "a..b", ""),
        ("a:gtee=1", "a:gtee", "did you mean `gte`?"),
        ("a:match=(", "a:match", "\"offset\":0"),
        ("a:in=1,,2", "a:in", "\"offset\":2"),
        ("ip:gt=10.0.0.1", "ip:gt", "does not apply"),
        ("limit:gt=1", "limit:gt", "takes no operator"),
        ("_new=1", "_new", "reserved"),
        ("count=exact", "count", "not supported yet"),
        ("q=a%20(b", "q", "\"offset\":2"),
        ("q=x%20levl%3AWARN%20level%3Awrn", "q", "did you mean WARN?"),
        ("n=1e999", "n", "too large"),
        ("cursor=", "cursor", ""),
    ];
    for (query, parameter, said) in cases {
        let response = server.client.get(&format!("/events/query?{query}")).send().await;
        let code = if parameter == "cursor" { "bad_cursor" } else { "invalid_query" };
        let problem = response.problem(400, code);
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}: {problem:#}");
        assert!(problem["errors"][0].to_string().contains(said), "{query}: {problem:#}");
    }
    let many = "a=1&".repeat(65);
    let problem = server.client.get(&format!("/events?{many}")).send().await.problem(400, "invalid_query");
    assert!(problem["detail"].as_str().unwrap().contains("at most 64"), "{problem:#}");
}

async fn a_filter_that_is_not_understood_is_named_by_pointer(server: Arc<Server>) {
    let deep = (0..20).fold(json!({"field": "a", "value": 1}), |inner, _| json!({"and": [inner]}));
    let wide: Vec<Value> = (0..65).map(|n| json!({"field": "a", "value": n})).collect();
    let deep_end = format!("/filter{}", "/and/0".repeat(16));
    let cases = [
        (json!({"filters": {}}), "/filters", "filter"),
        (json!({"limit": 0}), "/limit", "from 1 to 1000"),
        (json!({"limit": "ten"}), "/limit", ""),
        (json!({"filter": {"feld": "a", "value": 1}}), "/filter/feld", "field"),
        (json!({"filter": {"field": "a"}}), "/filter", "`value` is missing"),
        (json!({"filter": {"field": "level", "value": 3}}), "/filter/value", "string"),
        (json!({"filter": {"field": "a", "op": "about", "value": 1}}), "/filter/op", ""),
        (json!({"filter": {"or": []}}), "/filter/or", "one condition at least"),
        (
            json!({"filter": {"not": {"field": "a", "op": "match", "value": "("}}}),
            "/filter/not/value",
            "unclosed",
        ),
        (json!({"filter": {"field": "a", "op": "in", "value": []}}), "/filter/value", "empty"),
        (json!({"q": "a OR"}), "/q", "missing"),
        (json!({"filter": {"and": [{"field": "a..b", "value": 1}]}}), "/filter/and/0/field", ""),
        (json!({"filter": {"field": "a", "value": {"b": 1}}}), "/filter/value", "expected a string"),
        (json!({"filter": deep}), deep_end.as_str(), "deeper than 16"),
        (json!({"filter": {"and": wide}}), "/filter", "at most 64"),
        (json!([]), "", "expected a JSON object"),
    ];
    for (body, pointer, said) in cases {
        let response = server.client.post("/events/query").json(body.to_string()).send().await;
        let problem = response.problem(400, "invalid_query");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem:#}");
        assert!(problem["errors"][0].to_string().contains(said), "{body}: {problem:#}");
    }
}

async fn a_tampered_cursor_is_refused(server: Arc<Server>) {
    let cursor = cursor(&server).await;
    let mut refused = vec!["x".to_owned(), format!("{cursor}A"), cursor[1..].to_owned(), cursor.repeat(9)];
    for at in [0, 1, 5, 20, 40, cursor.len() - 2] {
        let other = if cursor.as_bytes()[at] == b'A' { "B" } else { "A" };
        refused.push(format!("{}{other}{}", &cursor[..at], &cursor[at + 1..]));
    }
    for tampered in refused {
        let response = server.client.get(&format!("/events?type=t&cursor={tampered}")).send().await;
        let problem = response.problem(400, "bad_cursor");
        assert_eq!(problem["reason"], "not_ours", "{tampered}");
        assert_eq!(problem["errors"][0]["parameter"], "cursor");
    }
    let page = server.client.get(&format!("/events?type=t&cursor={cursor}")).send().await.json(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 2, "the untouched one still works");
}

async fn a_cursor_of_another_search_is_refused(server: Arc<Server>) {
    let cursor = cursor(&server).await;
    for (query, reason) in [
        ("type=u", "other_filter"),
        ("type=t&n=1", "other_filter"),
        ("", "other_filter"),
        ("type=t&from=2020-01-01T00:00:00Z", "other_filter"),
        ("type=t&sort=timestamp", "other_order"),
    ] {
        let response = server.client.get(&format!("/events?{query}&cursor={cursor}")).send().await;
        let problem = response.problem(400, "bad_cursor");
        assert_eq!(problem["reason"], reason, "{query}");
        assert!(problem["detail"].as_str().unwrap().contains("start without a cursor"), "{problem:#}");
    }
    // The same search in other words, by another path, with another page size: the cursor is good.
    for path in ["/events?type=t", "/events/query?event_type=t", "/api/v1/events?type=t&limit=7"] {
        server.client.get(&format!("{path}&cursor={cursor}")).send().await.json(200);
    }
    let body = json!({"filter": {"field": "event_type", "value": "t"}, "cursor": cursor});
    server.client.post("/events/query").json(body.to_string()).send().await.json(200);
}

async fn a_query_string_with_strange_bytes_is_answered(server: Arc<Server>) {
    for query in [
        "a=%FF%FE",
        "a=%00",
        "%00=1",
        "a=%zz",
        "a=%",
        "=1",
        "a",
        "&&&",
        "a=b=c",
        "a%2Eb=1",
        "%22a%22=1",
        "a[0]=1",
    ] {
        let response = server.client.get(&format!("/events?{query}")).send().await;
        match response.status.as_u16() {
            200 => {}
            400 => drop(response.problem(400, "invalid_query")),
            _ => panic!("{query}: {} {}", response.status, response.text()),
        }
    }
}
