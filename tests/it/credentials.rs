//! Who may come in: over HTTP, with what a client can get wrong.

use std::sync::Arc;

use eventlogger::auth::DEFAULT_TENANT;
use eventlogger::store::principals::tokens;

use crate::changes;
use crate::harness::{ADMIN, PASSWORD, Server, tests};
use crate::http::{Response, basic};
use crate::operations::operations;

tests![
    every_operation_but_a_few_needs_a_login,
    a_wrong_password_is_never_anonymous,
    whoever_is_not_let_in_gets_the_same_answer,
    credentials_that_cannot_be_read_say_why,
    two_credentials_are_refused,
    two_tenants_are_refused,
    a_revoked_token_and_a_removed_user_are_soon_out,
    the_login_is_checked_before_the_body_is_read,
];

/// What anybody may ask. A new operation that is not meant to be here must answer 401 without a login.
const OPEN: [&str; 3] = ["get_root", "check_live", "check_ready"];
/// Not in the document, as they are the document.
const PAGES: [&str; 5] =
    ["/openapi.json", "/docs", "/docs/start.js", "/docs/swagger-ui.js", "/docs/swagger-ui.css"];
#[track_caller]
fn assert_challenged(response: &Response, code: &str) {
    response.problem(401, code);
    let challenges: Vec<_> = response.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges.len(), 2, "{challenges:?}");
    assert_eq!(challenges[0], "Basic realm=\"EventLogger\", charset=\"UTF-8\"");
    assert_eq!(challenges[1], "Bearer realm=\"EventLogger\"");
}

async fn every_operation_but_a_few_needs_a_login(server: Arc<Server>) {
    for operation in operations(&server).await {
        let (method, path) = (&operation.method, operation.path());
        let is_open = OPEN.contains(&operation.id.as_str());
        for prefix in ["", "/api/v1"] {
            let request = server.client.request(method.clone(), &format!("{prefix}{path}")).anonymous();
            let response = request.send().await;
            if is_open {
                assert!(response.status.is_success(), "{method} {path}: {}", response.text());
            } else {
                assert_challenged(&response, "unauthenticated");
            }
        }
        assert_eq!(
            operation.object["security"].as_array().is_none_or(Vec::is_empty),
            is_open,
            "{method} {path}"
        );
    }
    for page in PAGES {
        for prefix in ["", "/api/v1"] {
            let response = server.client.get(&format!("{prefix}{page}")).anonymous().send().await;
            assert!(response.status.is_success(), "{prefix}{page}: {}", response.status);
        }
    }
}

async fn a_wrong_password_is_never_anonymous(server: Arc<Server>) {
    for (n, operation) in (1..).zip(operations(&server).await) {
        if OPEN.contains(&operation.id.as_str()) {
            continue;
        }
        // From one address, the later ones would be slowed down.
        let client = server.client.from([127, 1, 0, n]);
        let request = client.request(operation.method.clone(), &operation.path());
        let wrong = request.user(ADMIN, "wrong").send().await;
        assert_challenged(&wrong, "invalid_credentials");
    }
}

async fn whoever_is_not_let_in_gets_the_same_answer(server: Arc<Server>) {
    server.add_user("off", "the right one", "reader").await;
    changes::set_disabled(&server.store.control, DEFAULT_TENANT, "off", true).await.unwrap();
    let token = "evl_default_0123456789abcdefghijABCDEFGHIJ0123456789abc";
    let attempts = [
        ("wrong password", basic(ADMIN, "wrong")),
        ("empty password", basic(ADMIN, "")),
        ("other case", basic("Admin", PASSWORD)),
        ("unknown user", basic("nobody", PASSWORD)),
        ("unknown tenant", basic("nowhere/admin", PASSWORD)),
        ("disabled user", basic("off", "the right one")),
        ("machine secret", basic(ADMIN, "evls_0123456789")),
        ("unknown token", format!("Bearer {token}")),
        ("token of an unknown tenant", "Bearer evl_nowhere_0123456789".to_owned()),
    ];
    let mut bodies = Vec::new();
    for (case, authorization) in attempts {
        let request = server.client.get("/events").anonymous().header("authorization", &authorization);
        let response = request.send().await;
        assert_eq!(response.status, 401, "{case}: {}", response.text());
        assert_challenged(&response, "invalid_credentials");
        bodies.push(response.text());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:#?}");
}

async fn credentials_that_cannot_be_read_say_why(server: Arc<Server>) {
    use base64::Engine as _;
    let encode = |text: &[u8]| base64::engine::general_purpose::STANDARD.encode(text);
    let cases = [
        ("", "expected `Basic …` or `Bearer …`"),
        ("Basic", "expected `Basic …` or `Bearer …`"),
        ("Basic !!!", "not base64"),
        ("Basic YWRtaW4", "not base64"),
        (&format!("Basic {}", encode(b"admin")), "no `:`"),
        (&format!("Basic {}", encode(b"evl_default_x:")), "a token stands in the place of the name"),
        (&format!("Basic {}", encode(b":secret")), "the user name is empty"),
        (&format!("Basic {}", encode(b"adm\xffin:x")), "not UTF-8"),
        (&format!("Basic {}", encode(b"admin:secret\n")), "control character"),
        (&format!("Basic {}", encode(&[b'x'; 5000])), "too long"),
        ("Bearer nonsense", "evl_<tenant>_<secret>"),
        ("Digest username=admin", "Basic or Bearer"),
        ("admin:secret", "expected `Basic …` or `Bearer …`"),
    ];
    for (sent, said) in cases {
        let request = server.client.get("/events").anonymous().header("authorization", sent);
        let response = request.send().await;
        assert_challenged(&response, "malformed_credentials");
        let problem = response.json(401);
        assert!(problem["detail"].as_str().unwrap().contains(said), "{sent}: {problem:#}");
    }
    let request =
        "GET /events HTTP/1.1\r\nhost: log\r\nconnection: close\r\nauthorization: Basic \u{fc}\r\n\r\n";
    let answer = server.client.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("outside ASCII"), "{answer}");
}

async fn two_credentials_are_refused(server: Arc<Server>) {
    let token = server.add_token(ADMIN, "reader").await;
    let login = basic(ADMIN, PASSWORD);
    let bearer = format!("Bearer {token}");
    for (first, second) in [(&login, &login), (&login, &bearer), (&bearer, &login), (&bearer, &bearer)] {
        let request = server.client.get("/events").anonymous();
        let request = request.header("authorization", first).header("authorization", second);
        let problem = request.send().await.problem(400, "several_credentials");
        assert!(problem["detail"].as_str().unwrap().contains("exactly one"), "{problem:#}");
    }
    for joined in [format!("{login}, {bearer}"), format!("{bearer}, {login}")] {
        let request = server.client.get("/events").anonymous().header("authorization", &joined);
        assert_challenged(&request.send().await, "malformed_credentials");
    }
}

async fn two_tenants_are_refused(server: Arc<Server>) {
    let request = server.client.get("/me").header("x-tenant", DEFAULT_TENANT).header("x-tenant", "acme");
    request.send().await.problem(400, "several_tenants");
}

async fn a_revoked_token_and_a_removed_user_are_soon_out(server: Arc<Server>) {
    let token = server.add_token(ADMIN, "reader").await;
    server.client.get("/events").bearer(&token).send().await.json(200);
    server.add_user("ann", PASSWORD, "reader").await;
    server.client.get("/events").user("ann", PASSWORD).send().await.json(200);
    let prefix = &tokens::list_tokens(&server.store.control, None).await.unwrap()[0].prefix;
    changes::revoke_token(&server.store.control, DEFAULT_TENANT, prefix).await.unwrap();
    changes::remove_user(&server.store.control, DEFAULT_TENANT, "ann").await.unwrap();
    // Within the interval in which an instance looks for changes that others made.
    crate::auth::eventually(async || {
        let by_token = server.client.get("/events").bearer(&token).send().await.status;
        let by_name = server.client.get("/events").user("ann", PASSWORD).send().await.status;
        by_token == 401 && by_name == 401
    })
    .await;
}

async fn the_login_is_checked_before_the_body_is_read(server: Arc<Server>) {
    // The body never comes: only the headers can have been read.
    let request = "POST /events HTTP/1.1\r\nhost: log\r\nconnection: close\r\n\
                   content-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
    let answer = server.client.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("unauthenticated"), "{answer}");
}
