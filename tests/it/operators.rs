//! What reaches across tenants: acting in another one, and figures of all of them.

use std::sync::Arc;

use eventlogger::auth;
use eventlogger::store::principals::users;
use serde_json::json;

use crate::changes::{create_tenant, create_user};
use crate::harness::{Server, tests};

tests![
    a_superadmin_acts_in_the_tenant_that_the_header_names,
    a_tenant_header_is_never_ignored,
    figures_of_all_tenants_are_for_operators,
    case_folds_beyond_ascii_in_messages,
];

const PASSWORD: &str = "a password of acme";

async fn add_acme(server: &Server, role: &str) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    let hash = auth::password::hash(auth::Cost::default(), PASSWORD).unwrap();
    let credential = users::StoredCredential::Password(hash);
    create_user(&server.store.control, "acme", "ann", &credential, &[role]).await.unwrap();
}

fn event() -> String {
    json!({"event_type": "t", "user_identity": "u"}).to_string()
}

async fn a_superadmin_acts_in_the_tenant_that_the_header_names(server: Arc<Server>) {
    add_acme(&server, "reader").await;
    let recorded =
        server.client.post("/events").header("x-tenant", "acme").json(event()).send().await.json(201);
    let own = server.client.get("/events").send().await.json(200);
    assert_eq!(own["events"], json!([]));
    let acme = server.client.get("/events").user("acme/ann", PASSWORD).send().await.json(200);
    assert_eq!(acme["events"][0]["id"], recorded["id"]);
    assert_eq!(acme["events"][0]["recorded_by"], "user:default/admin");
}

async fn a_tenant_header_is_never_ignored(server: Arc<Server>) {
    add_acme(&server, "writer").await;
    let as_ann = |tenant: &str| {
        server
            .client
            .post("/events")
            .user("acme/ann", PASSWORD)
            .header("x-tenant", tenant)
            .json(event())
            .send()
    };
    as_ann("default").await.problem(403, "tenant_forbidden");
    // Whether a tenant exists is nothing that others learn.
    as_ann("nowhere").await.problem(403, "tenant_forbidden");
    as_ann("acme").await.json(201);
    let to_nowhere = server.client.post("/events").header("x-tenant", "nowhere").json(event()).send().await;
    to_nowhere.problem(404, "no_such_tenant");
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&server.database).await.unwrap();
    assert_eq!(count, 1);
}

async fn figures_of_all_tenants_are_for_operators(server: Arc<Server>) {
    add_acme(&server, "auditor").await;
    server.client.post("/events").json(event()).send().await.json(201);
    let get = |path: &str| server.client.get(path).user("acme/ann", PASSWORD).send();
    get("/metrics").await.problem(403, "operators_only");
    let status = get("/status").await.json(200);
    assert_eq!(status["log"], json!({"tenant": "acme", "size": 0, "signed_size": 0}));
    assert!(status.get("queue").is_none() && status.get("seconds_since_commit").is_none(), "{status}");
    assert!(
        server.client.get("/metrics").send().await.text().contains("eventlogger_events_recorded_total 1")
    );
    assert_eq!(server.client.get("/status").send().await.json(200)["queue"]["events"], 0);
}

/// The search for substrings is to come; the column it will search has to be right from the first migration.
async fn case_folds_beyond_ascii_in_messages(server: Arc<Server>) {
    let body = json!({"event_type": "t", "user_identity": "u", "message": "Редкий зверь"}).to_string();
    server.client.post("/events").json(body).send().await.json(201);
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE message ILIKE '%РЕДКИЙ ЗВЕРЬ%'")
        .fetch_one(&server.database)
        .await
        .unwrap();
    assert_eq!(found, 1);
}
