//! Tokens and tenants over HTTP.

use std::sync::Arc;

use eventlogger::auth::DEFAULT_TENANT;
use http::Method;
use serde_json::{Value, json};

use crate::auth::eventually;
use crate::changes::create_tenant;
use crate::harness::{ADMIN, PASSWORD, Server, event, tests};
use crate::users::post;

tests![
    a_token_is_shown_once_and_then_by_its_prefix,
    a_revoked_token_is_refused_from_the_answer_on,
    the_last_use_of_a_token_is_listed,
    a_token_ends_when_it_was_said_to,
    what_is_wrong_with_a_token_is_told_in_its_place,
    tokens_are_listed_page_by_page_also_of_one_owner,
    a_token_in_the_place_of_its_prefix_is_not_repeated,
    a_new_tenant_gets_its_admin_from_a_superadmin,
    a_tenant_is_there_once_and_found_by_its_name,
];

async fn created(server: &Server, body: &Value) -> Value {
    post(server, "/tokens", body).send().await.json(201)
}

async fn a_token_is_shown_once_and_then_by_its_prefix(server: Arc<Server>) {
    server.add_user("billing", PASSWORD, "writer").await;
    let body = json!({"owner": "billing", "roles": ["writer"], "label": "invoices", "expires_in": "90d"});
    let response = post(&server, "/tokens", &body).send().await;
    let token = response.json(201);
    let secret = token["token"].as_str().unwrap();
    let prefix = token["prefix"].as_str().unwrap();
    assert!(secret.starts_with(&format!("evl_default_{prefix}")));
    assert_eq!(response.header("location"), Some(format!("/tokens/{prefix}").as_str()));
    server.client.post("/events").bearer(secret).json(event("t")).send().await.json(201);
    server.client.get("/events").bearer(secret).send().await.problem(403, "role_missing");

    let shown = server.client.get(&format!("/tokens/{prefix}")).send().await;
    let listed = server.client.get("/tokens").send().await;
    for (name, value) in [("owner", "billing"), ("label", "invoices"), ("state", "valid")] {
        assert_eq!(shown.json(200)[name], value);
        assert_eq!(listed.json(200)["tokens"][0][name], value);
    }
    assert!(!shown.text().contains(secret) && !listed.text().contains(secret));

    // Without an owner it is the caller's.
    assert_eq!(created(&server, &json!({"roles": ["reader"]})).await["owner"], ADMIN);
}

async fn a_revoked_token_is_refused_from_the_answer_on(server: Arc<Server>) {
    let token = created(&server, &json!({"roles": ["reader"]})).await;
    let get = || server.client.get("/events").bearer(token["token"].as_str().unwrap()).send();
    get().await.json(200);
    let path = format!("/tokens/{}", token["prefix"].as_str().unwrap());
    for _ in 0..2 {
        let revoked = server.client.request(Method::DELETE, &path).send().await;
        assert_eq!(revoked.status, 204, "again is no error");
        get().await.problem(401, "invalid_credentials");
    }
    let shown = server.client.get(&path).send().await.json(200);
    assert!(shown["state"] == "revoked" && shown["revoked_at"].is_string(), "{shown}");
}

async fn the_last_use_of_a_token_is_listed(server: Arc<Server>) {
    let token = created(&server, &json!({"roles": ["reader"]})).await;
    let path = format!("/tokens/{}", token["prefix"].as_str().unwrap());
    assert!(token.get("last_used_at").is_none());
    server.client.get("/events").bearer(token["token"].as_str().unwrap()).send().await.json(200);
    eventually(async || server.client.get(&path).send().await.json(200)["last_used_at"].is_string()).await;
}

async fn a_token_ends_when_it_was_said_to(server: Arc<Server>) {
    let soon = time::OffsetDateTime::now_utc() + time::Duration::seconds(2);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    let token = created(&server, &json!({"roles": ["reader"], "expires_at": soon})).await;
    let get =
        async || server.client.get("/events").bearer(token["token"].as_str().unwrap()).send().await.status;
    assert_eq!(get().await, 200);
    eventually(async || get().await == 401).await;
    let path = format!("/tokens/{}", token["prefix"].as_str().unwrap());
    assert_eq!(server.client.get(&path).send().await.json(200)["state"], "expired");
}

async fn what_is_wrong_with_a_token_is_told_in_its_place(server: Arc<Server>) {
    server.add_user("billing", PASSWORD, "writer").await;
    let cases = [
        (json!({}), "/roles", "required"),
        (json!({"roles": ["writer"], "owner": "biling"}), "/owner", "did you mean `billing`?"),
        (json!({"roles": ["writer"], "expires": "90d"}), "/expires", "unknown member"),
        (json!({"roles": ["writer"], "expires_in": "90"}), "/expires_in", "90d"),
        (json!({"roles": ["writer"], "expires_at": "tomorrow"}), "/expires_at", "2031-01-31"),
        (json!({"roles": ["writer"], "expires_at": "2001-01-01T00:00:00Z"}), "/expires_at", "past"),
        (json!({"roles": ["writer"], "expires_at": "9999-12-31T23:59:59-23:00"}), "/expires_at", "9999"),
        (json!({"roles": ["writer"], "label": "x".repeat(129)}), "/label", "128"),
        (json!({"roles": ["writer"], "label": "a\r\nb"}), "/label", "control"),
        (
            json!({"roles": ["writer"], "expires_in": "1d", "expires_at": "2999-01-01T00:00:00Z"}),
            "/expires_at",
            "either",
        ),
    ];
    for (body, pointer, text) in cases {
        let problem = post(&server, "/tokens", &body).send().await.problem(422, "invalid_body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem:#}");
        assert!(problem["errors"][0].to_string().contains(text), "{body}: {problem:#}");
    }
    let lacking = json!({"owner": "billing", "roles": ["writer", "reader"]});
    let problem = post(&server, "/tokens", &lacking).send().await.problem(422, "owner_lacks_role");
    assert!(problem["detail"].as_str().unwrap().contains("reader"), "{problem}");
    assert_eq!(server.client.get("/tokens").send().await.json(200)["tokens"], json!([]));
}

async fn tokens_are_listed_page_by_page_also_of_one_owner(server: Arc<Server>) {
    server.add_user("billing", PASSWORD, "writer").await;
    let mut prefixes = Vec::new();
    for _ in 0..5 {
        server.add_token(ADMIN, "reader").await;
        let token = created(&server, &json!({"owner": "billing", "roles": ["writer"]})).await;
        prefixes.push(token["prefix"].as_str().unwrap().to_owned());
    }
    prefixes.sort_unstable();
    let mut found = Vec::new();
    let mut next = Some("/tokens?owner=billing&limit=2".to_owned());
    while let Some(url) = next {
        let page = server.client.get(&url).send().await.json(200);
        let tokens = page["tokens"].as_array().unwrap();
        found.extend(tokens.iter().map(|token| token["prefix"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(found, prefixes);
    let all = server.client.get("/tokens").send().await.json(200);
    assert_eq!(all["tokens"].as_array().unwrap().len(), 10);
    assert_eq!(server.client.get("/tokens?owner=nobody").send().await.json(200)["tokens"], json!([]));
}

async fn a_token_in_the_place_of_its_prefix_is_not_repeated(server: Arc<Server>) {
    let token = server.add_token(ADMIN, "reader").await;
    for none in [token.as_str(), "7", "%00", "Ab3dEf6%00", "........", "Ab3dEf6h/x"] {
        for method in [Method::GET, Method::DELETE] {
            let response = server.client.request(method, &format!("/tokens/{none}")).send().await;
            assert_eq!(response.status, 404, "{none}");
            assert!(!response.text().contains(&token));
        }
    }
    server.client.get("/events").bearer(&token).send().await.json(200);
}

async fn a_new_tenant_gets_its_admin_from_a_superadmin(server: Arc<Server>) {
    let added = post(&server, "/tenants", &json!({"name": "acme"})).send().await;
    assert_eq!(added.header("location"), Some("/tenants/acme"));
    added.json(201);
    let body = json!({"name": "ann", "roles": ["admin", "reader", "writer"]});
    let ann = post(&server, "/users", &body).header("x-tenant", "acme").send().await.json(201);
    assert_eq!(ann["tenant"], "acme");
    let secret = ann["secret"].as_str().unwrap();
    let as_ann = |path: &str| server.client.get(path).user("acme/ann", secret).send();
    assert_eq!(as_ann("/events").await.json(200)["events"], json!([]));
    let users = as_ann("/users").await.json(200);
    assert_eq!(users["users"].as_array().unwrap().len(), 1, "{users}");
    as_ann("/tenants").await.problem(403, "role_missing");
    assert_eq!(server.client.get("/users").send().await.json(200)["users"][0]["name"], ADMIN);
    // A token for itself in a tenant where the superadmin is only a guest.
    let guest = post(&server, "/tokens", &json!({"roles": ["reader"]})).header("x-tenant", "acme");
    assert_eq!(guest.send().await.problem(422, "invalid_body")["errors"][0]["pointer"], "/owner");
}

async fn a_tenant_is_there_once_and_found_by_its_name(server: Arc<Server>) {
    for name in ["acme", "zeta"] {
        create_tenant(&server.store.control, name).await.unwrap();
    }
    let exists = post(&server, "/tenants", &json!({"name": "acme"})).send().await;
    assert_eq!(exists.problem(409, "tenant_exists")["errors"][0]["pointer"], "/name");
    for name in [json!("Acme"), json!("a_b"), json!(""), json!(7), json!("x".repeat(64))] {
        post(&server, "/tenants", &json!({"name": name})).send().await.problem(422, "invalid_body");
    }
    assert_eq!(server.client.get("/tenants/acme").send().await.json(200)["name"], "acme");
    for none in ["nowhere", "%00", "Acme"] {
        server.client.get(&format!("/tenants/{none}")).send().await.problem(404, "no_such_tenant");
    }
    let page = server.client.get("/tenants?limit=2").send().await.json(200);
    assert_eq!(page["tenants"][1]["name"], DEFAULT_TENANT);
    let page = server.client.get(page["next"].as_str().unwrap()).send().await.json(200);
    assert_eq!((&page["tenants"][0]["name"], page.get("next")), (&json!("zeta"), None));
}
