//! What is no event: each mistake is named, with its place, and nothing of it is recorded.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, tests};
use crate::http::Response;

tests![
    malformed_json_is_refused_with_line_column_and_what_to_do,
    bytes_that_are_no_utf8_are_refused_with_their_place,
    a_wrong_member_is_named_by_pointer_with_what_to_do,
    a_bad_timestamp_says_what_a_good_one_looks_like,
    all_faults_of_an_event_are_told_at_once,
    what_is_too_large_is_refused_with_the_limit,
    a_client_that_is_still_sending_gets_its_answer,
    a_body_without_length_is_cut_off_at_the_limit,
    a_content_type_that_is_not_json_names_the_header_to_add,
    a_batch_that_is_none_says_how_to_send_one,
    a_fault_in_a_batch_points_to_its_item,
    a_batch_with_nothing_valid_is_answered_at_once,
    a_bad_idempotency_key_is_refused,
];

async fn post(server: &Server, path: &str, body: impl Into<bytes::Bytes>) -> Response {
    server.client.post(path).json(body).send().await
}

async fn assert_nothing_is_recorded(server: &Server) {
    let page = server.client.get("/events").send().await.json(200);
    assert_eq!(page["events"], json!([]));
}

async fn malformed_json_is_refused_with_line_column_and_what_to_do(server: Arc<Server>) {
    let cases = [
        ("", 0, 1, 1, ""),
        ("{\n  \"event_type\": oops}", 18, 2, 17, ""),
        ("{\"event_type\": \"a\",\n}", 20, 2, 1, "remove the comma before it"),
        ("{'event_type': 1}", 1, 1, 2, "JSON strings stand in double quotes"),
        ("{\"a\": \"Жя\", }", 14, 1, 13, "remove the comma before it"),
        ("{\"a\": NaN}", 6, 1, 7, "JSON has no NaN and no Infinity; send null or a string"),
        ("{\"a\": 1} {\"b\": 2}", 9, 1, 10, ""),
        ("{\"event_type\": \"a\"", 18, 1, 19, ""),
        ("\u{feff}{}", 0, 1, 1, "send the JSON without a byte order mark"),
    ];
    for path in ["/events", "/log"] {
        for (body, offset, line, column, hint) in cases {
            let problem = post(&server, path, body).await.problem(400, "malformed_json");
            let fault = &problem["errors"][0];
            let place = json!({"offset": offset, "line": line, "column": column});
            assert_eq!(fault["position"], place, "{path} {body:?}: {problem:#}");
            assert_eq!(fault["hint"].as_str().unwrap_or_default(), hint, "{path} {body:?}");
            let said = format!("line {line}, column {column}: expected");
            assert!(problem["detail"].as_str().unwrap().contains(&said), "{problem:#}");
        }
    }
    assert_nothing_is_recorded(&server).await;
}

async fn bytes_that_are_no_utf8_are_refused_with_their_place(server: Arc<Server>) {
    let body = b"{\"event_type\": \"caf\xe9\", \"user_identity\": \"a\"}".as_slice();
    for path in ["/events", "/log", "/events/query"] {
        let response = post(&server, path, body).await;
        let code = if path == "/events/query" { "invalid_query" } else { "malformed_json" };
        let problem = response.problem(400, code);
        assert_eq!(problem["errors"][0]["position"]["offset"], 19, "{problem:#}");
        let text = problem["errors"][0].to_string();
        assert!(text.contains("UTF-8"), "{text}");
    }
}

async fn a_wrong_member_is_named_by_pointer_with_what_to_do(server: Arc<Server>) {
    let cases = [
        (json!({"user_identity": "a"}), "missing_field", "/event_type", "say what happened"),
        (json!({"event_type": "t"}), "missing_field", "/user_identity", "\"system\" or \"anonymous\""),
        (json!({"event_type": null}), "missing_field", "/event_type", "say what happened"),
        (json!({"user_identiy": "a"}), "unknown_field", "/user_identiy", "did you mean `user_identity`?"),
        (json!({"colour": 1}), "unknown_field", "/colour", "/log"),
        (json!({"a/b~c": 1}), "unknown_field", "/a~1b~0c", "event_data"),
        (json!({"event_type": 7}), "wrong_type", "/event_type", "write the number in double quotes"),
        (json!({"message": {"a": 1}}), "wrong_type", "/message", "belong into event_data"),
        (json!({"source": true}), "wrong_type", "/source", ""),
        (json!({"event_type": ""}), "empty", "/event_type", ""),
        (json!({"event_type": "ж".repeat(129)}), "too_long", "/event_type", "event_data"),
        (json!({"level": "loud"}), "invalid_level", "/level", "DEBUG, INFO, NOTICE, WARN"),
        (json!({"outcome": "succes"}), "invalid_outcome", "/outcome", "did you mean `success`?"),
        (json!({"ip": "10.0.0.0/8"}), "invalid_ip", "/ip", "without mask"),
        (json!({"id": "x"}), "set_by_service", "/id", "correlation_id"),
        (json!({"seq": 1}), "set_by_service", "/seq", "leave it out"),
        (json!({"event_type": "a", "type": "b"}), "duplicate_field", "/type", "keep one of them"),
        (json!({"event_type": "eventlogger.x"}), "reserved_event_type", "/event_type", "another prefix"),
    ];
    for (wrong, code, pointer, hint) in cases {
        let response = post(&server, "/events", wrong.to_string()).await;
        assert_eq!(response.status, 422, "{wrong}: {}", response.text());
        let problem = response.json(422);
        let faults = problem["errors"].as_array().unwrap();
        let fault = faults.iter().find(|fault| fault["pointer"] == pointer && fault["code"] == code);
        let fault = fault.unwrap_or_else(|| panic!("{wrong}: no {code} at {pointer} in {problem:#}"));
        assert!(fault["hint"].as_str().unwrap_or_default().contains(hint), "{wrong}: {fault:#}");
    }
    for (body, found) in [("7", "a number"), ("[]", "an array"), ("\"text\"", "a string"), ("null", "null")] {
        let problem = post(&server, "/events", body).await.problem(422, "wrong_type");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("expected an object, found {found}")), "{detail}");
    }
    assert_nothing_is_recorded(&server).await;
}

async fn a_bad_timestamp_says_what_a_good_one_looks_like(server: Arc<Server>) {
    for bad in [
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-21",
        "1763700000",
        "",
        "0000-01-01T00:00:00Z",
    ] {
        let body = json!({"event_type": "t", "user_identity": "u", "timestamp": bad});
        let problem = post(&server, "/events", body.to_string()).await.problem(422, "invalid_timestamp");
        let fault = &problem["errors"][0];
        assert_eq!(fault["pointer"], "/timestamp");
        assert!(fault["hint"].as_str().unwrap().contains("2026-11-21T08:30:00Z"), "{bad}: {fault}");
    }
    let body = json!({"event_type": "t", "user_identity": "u", "timestamp": 1_763_700_000});
    let problem = post(&server, "/events", body.to_string()).await.problem(422, "wrong_type");
    assert!(problem["errors"][0]["hint"].as_str().unwrap().contains("RFC 3339"), "{problem:#}");
}

async fn all_faults_of_an_event_are_told_at_once(server: Arc<Server>) {
    let body = json!({"user_identiy": "a", "level": 7, "ip": "here", "timestamp": "now"});
    let problem = post(&server, "/events", body.to_string()).await.json(422);
    let mut pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/event_type", "/ip", "/level", "/timestamp", "/user_identity", "/user_identiy"]);
    let many: serde_json::Map<_, _> = (0..5_000).map(|n| (format!("unknown{n}"), Value::Null)).collect();
    let problem = post(&server, "/events", Value::Object(many).to_string()).await.json(422);
    assert!(problem["errors"].as_array().unwrap().len() <= 32, "an answer has a bound of its own");
}

async fn what_is_too_large_is_refused_with_the_limit(server: Arc<Server>) {
    let with_data = |size: usize| {
        let data = "x".repeat(size - 2);
        format!(r#"{{"event_type": "t", "user_identity": "u", "event_data": "{data}"}}"#)
    };
    let problem = post(&server, "/events", with_data((1 << 20) + 1)).await.problem(413, "payload_too_large");
    assert_eq!(problem["errors"][0]["pointer"], "/event_data");
    assert!(problem["detail"].as_str().unwrap().contains("1048576"), "{problem:#}");
    for (path, limit, setting) in [
        ("/events", 2 << 20, "limits.event_body_bytes"),
        ("/log", 2 << 20, "limits.event_body_bytes"),
        ("/events/query", 64 << 10, "limits.query_body_bytes"),
        ("/api/v1/events/query", 64 << 10, "limits.query_body_bytes"),
    ] {
        let problem = post(&server, path, " ".repeat(limit + 1)).await.problem(413, "body_too_large");
        assert_eq!(problem["limit_bytes"], limit, "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(setting), "{path}: {problem:#}");
    }
    assert_nothing_is_recorded(&server).await;
    // What just fits is recorded.
    post(&server, "/events", with_data(1 << 20)).await.json(201);
}

/// The answer comes while most of the body is still on its way.
async fn a_client_that_is_still_sending_gets_its_answer(server: Arc<Server>) {
    let body = bytes::Bytes::from(vec![b' '; 40 << 20]);
    for _ in 0..3 {
        post(&server, "/events", body.clone()).await.problem(413, "body_too_large");
        let request =
            server.client.post("/events/batch").user("nobody", "wrong").json(body.slice(..30 << 20));
        request.send().await.problem(401, "invalid_credentials");
    }
}

async fn a_body_without_length_is_cut_off_at_the_limit(server: Arc<Server>) {
    let login = crate::http::basic(crate::harness::ADMIN, crate::harness::PASSWORD);
    let mut request = format!(
        "POST /events HTTP/1.1\r\nhost: log\r\nconnection: close\r\nauthorization: {login}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    for _ in 0..33 {
        request.push_str(&format!("10000\r\n{}\r\n", " ".repeat(0x10000)));
    }
    let answer = server.client.raw(request + "0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("body_too_large"), "{answer}");
}

async fn a_content_type_that_is_not_json_names_the_header_to_add(server: Arc<Server>) {
    let event = r#"{"event_type": "t", "user_identity": "u"}"#;
    for path in ["/events", "/events/batch", "/log", "/events/query"] {
        let form = "application/x-www-form-urlencoded";
        for sent in [Some(form), Some("text/plain; charset=utf-8"), Some("nonsense"), None] {
            let request = server.client.post(path).body(event);
            let request = match sent {
                Some(sent) => request.header("content-type", sent),
                None => request,
            };
            let problem = request.send().await.problem(415, "content_type");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("-H \"Content-Type: application/json\""), "{path} {sent:?}: {detail}");
            assert_eq!(detail.contains("what curl does"), sent == Some(form), "{detail}");
        }
    }
    for good in ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"] {
        server.client.post("/events").header("content-type", good).body(event).send().await.json(201);
    }
}

async fn a_batch_that_is_none_says_how_to_send_one(server: Arc<Server>) {
    let problem = post(&server, "/events/batch", r#"{"event_type": "t"}"#).await.json(400);
    assert!(problem.to_string().contains("application/x-ndjson"), "{problem:#}");
    post(&server, "/events/batch", "[]").await.problem(422, "empty_batch");
    let problem = post(&server, "/events", "[]").await.problem(422, "wrong_type");
    assert!(problem["errors"][0]["hint"].as_str().unwrap().contains("/events/batch"), "{problem:#}");
    let many = format!("[{}1]", "1,".repeat(10_000));
    let problem = post(&server, "/events/batch", many).await.problem(413, "batch_too_long");
    assert!(problem["detail"].as_str().unwrap().contains("at most 10000"), "{problem:#}");
}

async fn a_fault_in_a_batch_points_to_its_item(server: Arc<Server>) {
    let batch =
        "{\"event_type\": \"a\", \"user_identity\": \"u\"}\n{\"event_type\": \"b\", \"user\": 1}\n{oops\n";
    let answer = server.client.post("/events/batch").ndjson(batch).send().await.json(207);
    assert_eq!((&answer["stored"], &answer["rejected"]), (&json!(1), &json!(2)));
    assert_eq!(answer["results"][1]["problem"]["errors"][0]["pointer"], "/1/user");
    assert_eq!(answer["results"][2]["status"], 400);
    assert_eq!(answer["results"][2]["problem"]["code"], "malformed_json");
}

async fn a_batch_with_nothing_valid_is_answered_at_once(server: Arc<Server>) {
    for path in ["/events/batch", "/events/batch?atomic=true"] {
        let answer = post(&server, path, "[{}, 7]");
        // Well below the time that an answer may wait for its commit.
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer at once");
        let answer = answer.problem(422, "batch_rejected");
        assert_eq!((&answer["stored"], &answer["rejected"]), (&json!(0), &json!(2)), "{path}");
        assert_eq!(answer["results"][1]["problem"]["errors"][0]["pointer"], "/1", "{path}");
    }
}

async fn a_bad_idempotency_key_is_refused(server: Arc<Server>) {
    let event = r#"{"event_type": "t", "user_identity": "u"}"#;
    for (path, longest) in [("/events", 256), ("/log", 256), ("/events/batch", 250)] {
        for key in ["", "k".repeat(longest + 1).as_str()] {
            let request = server.client.post(path).header("idempotency-key", key).json(event);
            let problem = request.send().await.problem(400, "invalid_parameter");
            assert_eq!(problem["errors"][0]["parameter"], "Idempotency-Key", "{path}");
        }
    }
    let keyed = r#"{"event_type": "t", "user_identity": "u", "idempotency_key": "a"}"#;
    let request = server.client.post("/events").header("idempotency-key", "b").json(keyed);
    request.send().await.problem(422, "duplicate_field");
}
