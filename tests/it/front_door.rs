//! What every answer has in common, whatever was asked.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server, tests};
use crate::http::{Client, Request, Response};
use crate::operations::operations;

tests![
    an_unknown_path_is_a_problem_that_names_the_nearest,
    a_wrong_method_is_told_the_right_ones,
    an_id_that_is_none_is_told_apart_from_one_that_is_unknown,
    every_answer_carries_the_id_of_its_request,
    every_answer_carries_the_security_headers,
    head_answers_as_get_does_without_a_body,
    the_prefix_serves_the_same_and_stays_in_the_links,
    a_long_url_is_refused_with_the_way_out,
    every_refusal_is_a_problem_that_the_document_declares,
    a_cursor_from_before_a_recovery_is_a_declared_conflict,
    pages_of_other_origins_are_strangers,
    pages_of_a_configured_origin_may_call,
];

const ID: &str = "019aa5b2-3f00-7c4e-8a11-5d0c2b9e7f10";
const EVENT: &str = r#"{"event_type": "t", "user_identity": "u"}"#;

async fn an_unknown_path_is_a_problem_that_names_the_nearest(server: Arc<Server>) {
    for (path, near) in [
        ("/event", Some("/events")),
        ("/events/", Some("/events")),
        ("/api/v1/event", Some("/events")),
        ("/events/bach", None),
        ("/wp-login.php", None),
        ("/api/v2/events", None),
        ("/api/v1/api/v1/events", None),
        ("//events", None),
        ("/events/../status", None),
        ("/%65vent%73%00", None),
    ] {
        // `/events/bach` is an id that is none to GET.
        let response = server.client.post(path).json(EVENT).send().await;
        if response.status == 405 {
            continue;
        }
        let detail = response.problem(404, "no_such_path")["detail"].to_string();
        assert!(detail.contains("/openapi.json"), "{path}: {detail}");
        if let Some(near) = near {
            assert!(detail.contains(&format!("Did you mean {near}?")), "{path}: {detail}");
        }
    }
}

async fn a_wrong_method_is_told_the_right_ones(server: Arc<Server>) {
    for (method, path, allow) in [
        ("DELETE", "/events", "GET, HEAD, POST"),
        ("GET", "/log", "POST"),
        ("HEAD", "/log", "POST"),
        ("PUT", "/events/query", "GET, HEAD, POST"),
        ("POST", "/status", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("OPTIONS", "/api/v1/events", "GET, HEAD, POST"),
        ("BREW", "/health/live", "GET, HEAD"),
    ] {
        let response = server.client.request(method.parse().unwrap(), path).send().await;
        assert_eq!(response.status, 405, "{method} {path}");
        assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
        if method != "HEAD" {
            let problem = response.problem(405, "method_not_allowed");
            assert!(problem["detail"].as_str().unwrap().contains(allow), "{problem:#}");
        }
    }
}

async fn an_id_that_is_none_is_told_apart_from_one_that_is_unknown(server: Arc<Server>) {
    for suffix in ["", "/payload"] {
        server.client.get(&format!("/events/{ID}{suffix}")).send().await.problem(404, "not_found");
        for none in ["7", "not-an-id", &ID[1..], "%F0%9F%92%A9", "%00"] {
            let problem = server.client.get(&format!("/events/{none}{suffix}")).send().await;
            let problem = problem.problem(400, "bad_id");
            assert!(problem["detail"].as_str().unwrap().contains("UUID"), "{problem:#}");
        }
    }
}

async fn every_answer_carries_the_id_of_its_request(server: Arc<Server>) {
    let ask = |path: &str, id: &str| server.client.get(path).anonymous().header("x-request-id", id).send();
    let longest = "x".repeat(128);
    for path in ["/", "/events", "/nowhere", "/docs"] {
        for id in ["order-42", "a/b:c;d=e", longest.as_str()] {
            assert_eq!(ask(path, id).await.header("x-request-id"), Some(id), "{path}");
        }
        let mut made = Vec::new();
        for unusable in ["", "two words", "x".repeat(129).as_str(), "tab\there"] {
            let answer = ask(path, unusable).await;
            let id = answer.header("x-request-id").expect("an id").to_owned();
            assert!(id.len() == 36 && id != unusable, "{path} {unusable:?}: {id}");
            made.push(id);
        }
        made.sort_unstable();
        made.dedup();
        assert_eq!(made.len(), 4, "each request has an id of its own");
    }
}

async fn every_answer_carries_the_security_headers(server: Arc<Server>) {
    let requests = [
        ("/", 200),
        ("/events", 200),
        ("/nowhere", 404),
        ("/events?limit=0", 400),
        ("/log", 405),
        ("/docs", 200),
        ("/docs/start.js", 200),
        ("/openapi.json", 200),
        ("/metrics", 200),
    ];
    for (path, status) in requests {
        let answer = server.client.get(path).send().await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        let is_page = path.starts_with("/docs") || path == "/openapi.json";
        assert_eq!(
            answer.header("cache-control"),
            Some(if is_page { "no-cache" } else { "no-store" }),
            "{path}"
        );
        assert_eq!(answer.header("server"), None, "{path}");
    }
}

async fn head_answers_as_get_does_without_a_body(server: Arc<Server>) {
    let login = crate::http::basic(crate::harness::ADMIN, PASSWORD);
    for path in
        ["/", "/events", "/api/v1/events/query?a=1", "/openapi.json", "/docs", "/nowhere", "/events/7"]
    {
        let get = server.client.get(path).send().await;
        let head = server.client.request(Method::HEAD, path).send().await;
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "etag", "cache-control", "content-security-policy"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
        let request = format!(
            "HEAD {path} HTTP/1.1\r\nhost: log\r\nconnection: close\r\nauthorization: {login}\r\n\r\n"
        );
        let raw = server.client.raw(request).await;
        assert!(raw.ends_with("\r\n\r\n") && raw.starts_with("HTTP/1.1 "), "{path}: {raw}");
    }
    let anonymous = server.client.request(Method::HEAD, "/events").anonymous().send().await;
    assert_eq!(anonymous.status, 401);
}

async fn the_prefix_serves_the_same_and_stays_in_the_links(server: Arc<Server>) {
    for _ in 0..2 {
        let recorded = server.client.post("/api/v1/events").json(EVENT).send().await;
        let id = recorded.json(201)["id"].as_str().unwrap().to_owned();
        assert_eq!(recorded.header("location"), Some(format!("/api/v1/events/{id}").as_str()));
        let read = server.client.get(recorded.header("location").unwrap()).send().await.json(200);
        assert_eq!(read["id"], id.as_str());
        assert_eq!(server.client.get(&format!("/events/{id}")).send().await.json(200), read);
    }
    let page = server.client.get("/api/v1/events/query?limit=1").send().await.json(200);
    let next = page["next"].as_str().unwrap();
    assert!(next.starts_with("/api/v1/events/query?limit=1&cursor="), "{next}");
    assert_eq!(server.client.get(next).send().await.json(200)["events"][0]["seq"], 0);
    for path in ["/api/v1", "/api/v1/", "/api/v1/health/ready", "/api/v1/openapi.json", "/api/v1/docs"] {
        assert_eq!(server.client.get(path).anonymous().send().await.status, 200, "{path}");
    }
    let without_slash = server.client.get("/api/v1/docs/").anonymous().send().await;
    assert_eq!((without_slash.status.as_u16(), without_slash.header("location")), (308, Some("../docs")));
}

async fn a_long_url_is_refused_with_the_way_out(server: Arc<Server>) {
    let fits = format!("/events?a={}", "x".repeat(8192 - 10));
    assert_eq!(server.client.get(&fits).send().await.status, 200);
    for path in [format!("{fits}x"), format!("/api/v1{fits}"), format!("/{}", "x".repeat(30_000))] {
        let problem = server.client.get(&path).send().await.problem(414, "url_too_long");
        assert_eq!(problem["limit_bytes"], 8192);
        assert!(problem["detail"].as_str().unwrap().contains("POST /events/query"), "{problem:#}");
    }
}

/// Ways to ask for an operation that it should refuse, or serve.
fn abuses(client: &Client, method: &Method, path: &str) -> Vec<Request> {
    let to = |suffix: &str| client.request(method.clone(), &format!("{path}{suffix}"));
    let of_body = vec![
        to("").body("text"),
        to("").json("{"),
        to("").json("[{}]"),
        to("").json(" ".repeat(3 << 20)),
        to("").header("origin", "https://elsewhere.example.org"),
    ];
    let of_url = vec![
        to("").anonymous(),
        to("").user("nobody", "wrong"),
        to("").user("helpless", PASSWORD),
        to("").header("x-tenant", "nowhere"),
        to("?unknown=1"),
        to("?limit=0"),
        to(&format!("?a={}", "x".repeat(9_000))),
    ];
    let takes_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    let bodies = if takes_body { of_body } else { Vec::new() };
    of_url.into_iter().chain(bodies).collect()
}

#[track_caller]
fn assert_well_formed(response: &Response, context: &str) {
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{context}");
    let problem = response.json(response.status.as_u16());
    let code = problem["code"].as_str().unwrap();
    assert_eq!(problem["type"], format!("urn:eventlogger:problem:{code}"), "{context}");
    for member in ["title", "detail"] {
        assert!(!problem[member].as_str().unwrap().is_empty(), "{context}: {problem:#}");
    }
}

async fn every_refusal_is_a_problem_that_the_document_declares(server: Arc<Server>) {
    server.add_user("helpless", PASSWORD, "superadmin").await;
    let mut undeclared = Vec::new();
    for operation in operations(&server).await {
        let method = &operation.method;
        for path in
            [operation.path(), operation.path_to(&[("{id}", "7"), ("{name}", "%00"), ("{prefix}", "7")])]
        {
            for (index, request) in abuses(&server.client, method, &path).into_iter().enumerate() {
                let response = request.send().await;
                let status = response.status.as_u16();
                let context = format!("{method} {path} #{index}: {status}");
                if operation.object["responses"].get(status.to_string()).is_none() {
                    undeclared.push(context);
                } else if status >= 400 && response.json(status).get("results").is_none() {
                    assert_well_formed(&response, &context);
                }
            }
        }
    }
    assert!(undeclared.is_empty(), "{undeclared:#?}");
}

async fn a_cursor_from_before_a_recovery_is_a_declared_conflict(server: Arc<Server>) {
    for _ in 0..2 {
        server.client.post("/events").json(EVENT).send().await.json(201);
    }
    let page = server.client.get("/events?limit=1").send().await.json(200);
    sqlx::query("UPDATE heads SET epoch = epoch + 1").execute(&server.database).await.unwrap();
    let body = json!({"cursor": page["next_cursor"]}).to_string();
    let by_url = server.client.get(page["next"].as_str().unwrap()).send().await;
    let by_body = server.client.post("/events/query").json(body).send().await;
    let document = server.client.get("/openapi.json").send().await.json(200);
    for (answer, method) in [(by_url, "get"), (by_body, "post")] {
        assert_eq!(answer.problem(409, "cursor_of_other_epoch")["reason"], "other_epoch");
        let declared: &Value = &document["paths"]["/events/query"][method]["responses"]["409"];
        assert!(declared.is_object(), "{method}");
    }
    sqlx::query("UPDATE heads SET epoch = epoch - 1").execute(&server.database).await.unwrap();
}

const FRIEND: &str = "https://audit.example.org";

async fn pages_of_other_origins_are_strangers(server: Arc<Server>) {
    let read = server.client.get("/events").header("origin", FRIEND).send().await;
    assert_eq!((read.status.as_u16(), read.header("access-control-allow-origin")), (200, None));
    let write = server.client.post("/events").header("origin", FRIEND).json(EVENT).send().await;
    write.problem(403, "foreign_origin");
    let preflight = server.client.request(Method::OPTIONS, "/events").anonymous();
    let preflight = preflight.header("origin", FRIEND).header("access-control-request-method", "POST");
    let preflight = preflight.send().await;
    assert_eq!((preflight.status.as_u16(), preflight.header("access-control-allow-methods")), (405, None));
    assert_eq!(server.client.get("/events").send().await.json(200)["events"], json!([]));
}

async fn pages_of_a_configured_origin_may_call(server: Arc<Server>) {
    let open =
        server.another_instance_with(|config| config.server.cors_origins = vec![FRIEND.to_owned()]).await;
    let write = open.client.post("/events").header("origin", FRIEND).json(EVENT).send().await;
    write.json(201);
    assert_eq!(write.header("access-control-allow-origin"), Some(FRIEND));
    assert_eq!(write.header("access-control-allow-credentials"), None);
    // Also where the answer is a refusal, or the page could not read why.
    let refused = open.client.get("/events").anonymous().header("origin", FRIEND).send().await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (401, Some(FRIEND)));
    let preflight = open.client.request(Method::OPTIONS, "/events").anonymous();
    let preflight = preflight.header("origin", FRIEND).header("access-control-request-method", "POST");
    let preflight = preflight.send().await;
    assert_eq!(preflight.status, 204);
    let headers = preflight.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("Authorization") && headers.contains("Idempotency-Key"), "{headers}");
    for stranger in ["https://audit.example.org.evil", "http://audit.example.org", "null"] {
        let answer = open.client.get("/events").header("origin", stranger).send().await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{stranger}");
    }
    open.stop().await;
}
