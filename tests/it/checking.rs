//! The service's own checks: of the whole log in the background, and of what others kept.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use sqlx::Executor;

use crate::auditor::leaf;
use crate::auth::eventually;
use crate::harness::{PASSWORD, Server, count, record, tests};
use crate::http::Request;

tests![
    a_sound_log_is_verified_and_the_log_says_so,
    what_was_changed_behind_the_service_is_found_and_recorded,
    before_the_first_check_there_is_none_and_a_later_one_replaces_it,
    a_check_that_breaks_off_says_so,
    tenants_have_checks_of_their_own,
    receipts_are_held_against_the_log,
    a_reconciliation_that_is_not_understood_says_where,
];

pub async fn start(server: &Server) -> Value {
    server.client.post("/integrity/verify").send().await.json(202)
}

/// The check that was started last, when it is over.
pub async fn finished(server: &Server) -> Value {
    loop {
        let check = server.client.get("/integrity/verify").send().await.json(200);
        if check["state"] != "running" {
            return check;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn recorded_check(server: &Server) -> Value {
    let page = server.client.get("/events?event_type=eventlogger.log_checked&limit=1").send().await.json(200);
    page["events"][0].clone()
}

async fn a_sound_log_is_verified_and_the_log_says_so(server: Arc<Server>) {
    record(&server, 600).await;
    server.add_user("audrey", PASSWORD, "auditor").await;
    let started = server.client.post("/integrity/verify").user("audrey", PASSWORD).send().await.json(202);
    assert_eq!(started["started_by"], "audrey");
    let check = finished(&server).await;
    assert_eq!(check["state"], "finished", "{check:#}");
    assert_eq!(check["result"]["verdict"], "verified", "{check:#}");
    assert_eq!(check["result"]["findings"], json!([]));
    assert_eq!(check["entries_checked"], check["entries"]);
    assert!(check["entries"].as_u64() >= Some(600), "{check:#}");
    assert_eq!(check["result"]["signed_size"], check["entries"]);
    let event = recorded_check(&server).await;
    assert_eq!(event["user_identity"], "audrey");
    assert_eq!((&event["level"], &event["outcome"]), (&json!("NOTICE"), &json!("success")));
    assert_eq!(event["event_data"]["root"], check["result"]["root"]);
}

async fn what_was_changed_behind_the_service_is_found_and_recorded(server: Arc<Server>) {
    let data = r#"{"event_type":"t","user_identity":"u","event_data":{"amount":100}}"#;
    let recorded = server.client.post("/events").json(data).send().await.json(201);
    let change = |from: &str, to: &str| {
        let (from, to, seq) = (format!(":{from}}}"), format!(":{to}}}"), recorded["seq"].as_i64().unwrap());
        let database = server.database.clone();
        async move {
            let statement = "UPDATE events SET payload = replace(encode(payload, 'escape'), $1, $2)::bytea WHERE seq = $3";
            sqlx::query(statement).bind(from).bind(to).bind(seq).execute(&database).await.unwrap();
        }
    };
    change("100", "999").await;
    start(&server).await;
    let check = finished(&server).await;
    assert_eq!(check["result"]["verdict"], "findings", "{check:#}");
    let finding = &check["result"]["findings"][0];
    assert_eq!(finding["seq"], recorded["seq"]);
    assert_eq!(finding["culprit"], "database_writer");
    assert!(finding["what"].as_str().unwrap().contains("payload"), "{finding:#}");
    let event = recorded_check(&server).await;
    assert_eq!((&event["level"], &event["outcome"]), (&json!("CRITICAL"), &json!("failure")));
    change("999", "100").await;
    start(&server).await;
    assert_eq!(finished(&server).await["result"]["verdict"], "verified");
}

async fn before_the_first_check_there_is_none_and_a_later_one_replaces_it(server: Arc<Server>) {
    server.client.get("/integrity/verify").send().await.problem(404, "no_check");
    start(&server).await;
    let first = finished(&server).await;
    let second = start(&server).await;
    assert_ne!(first["started_at"], second["started_at"]);
    assert_eq!(finished(&server).await["result"]["verdict"], "verified");
}

async fn a_check_that_breaks_off_says_so(server: Arc<Server>) {
    record(&server, 10).await;
    let mut holding = server.database.begin().await.unwrap();
    holding.execute("LOCK TABLE events").await.unwrap();
    let first = start(&server).await;
    let again = start(&server).await;
    assert_eq!((&first["state"], &again["started_at"]), (&json!("running"), &first["started_at"]));
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks
                WHERE NOT granted AND relation = 'events'::regclass
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually(async || count(&server.database, kill).await > 0).await;
    assert_eq!(finished(&server).await["state"], "failed");
    holding.rollback().await.unwrap();
    start(&server).await;
    assert_eq!(finished(&server).await["result"]["verdict"], "verified");
}

async fn tenants_have_checks_of_their_own(server: Arc<Server>) {
    crate::changes::create_tenant(&server.store.control, "acme").await.unwrap();
    server.add_user_of("acme", "al", PASSWORD, &["auditor"]).await;
    start(&server).await;
    finished(&server).await;
    let of_acme = |request: Request| request.user("acme/al", PASSWORD);
    of_acme(server.client.get("/integrity/verify")).send().await.problem(404, "no_check");
}

async fn receipts_are_held_against_the_log(server: Arc<Server>) {
    let mut kept = Vec::new();
    let mut ids = Vec::new();
    for n in 0..6 {
        // What PostgreSQL writes in its own way is the same value, and no change.
        let body = format!(
            r#"{{"event_type":"t","user_identity":"u","event_data":{{"n":{n},"small":1.5e-7,"big":2E20}}}}"#
        );
        let answer = server.client.post("/events").json(body).send().await.json(201);
        let entry = STANDARD.decode(answer["receipt"]["entry"].as_str().unwrap()).unwrap();
        kept.push(json!({"id": answer["id"], "leaf_hash": STANDARD.encode(leaf(&entry))}));
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    let gone = "0199aaaa-0000-7000-8000-000000000000";
    kept.push(json!({"id": gone, "leaf_hash": STANDARD.encode([1; 32])}));
    kept.push(json!({"id": uuid::Uuid::from_u128(4), "leaf_hash": STANDARD.encode([1; 32])}));
    kept[2]["leaf_hash"] = STANDARD.encode([2; 32]).into();
    let redaction = format!("/events/{}?reason=test", ids[3]);
    server.client.request(Method::DELETE, &redaction).send().await.json(200);
    let change = format!("UPDATE events SET user_identity = 'v' WHERE id = '{}'", ids[4]);
    server.database.execute(sqlx::AssertSqlSafe(change)).await.unwrap();

    let body = json!({"events": kept}).to_string();
    let found = server.client.post("/integrity/reconcile").json(body).send().await.json(200);
    assert_eq!(found["checked"], 8);
    assert_eq!(found["missing"], json!([gone, uuid::Uuid::from_u128(4)]));
    assert_eq!(found["redacted"], json!([ids[3]]));
    let changed = found["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 2, "{found:#}");
    assert_eq!((&changed[0]["id"], &changed[1]["id"]), (&json!(ids[2]), &json!(ids[4])));
    assert!(changed[0]["what"][0].as_str().unwrap().contains("the entry is another one"), "{found:#}");
    assert!(changed[1]["what"][0].as_str().unwrap().contains("typed columns"), "{found:#}");

    let back = format!("UPDATE events SET user_identity = 'u' WHERE id = '{}'", ids[4]);
    server.database.execute(sqlx::AssertSqlSafe(back)).await.unwrap();
}

async fn a_reconciliation_that_is_not_understood_says_where(server: Arc<Server>) {
    let hash = STANDARD.encode([0; 32]);
    let id = "0199aaaa-0000-7000-8000-000000000000";
    let one = json!({"id": id, "leaf_hash": hash});
    let too_many: Vec<_> = (0..10_001).map(|_| one.clone()).collect();
    let cases = [
        (json!([]), ""),
        (json!({}), "/events"),
        (json!({"events": {}}), "/events"),
        (json!({"events": []}), "/events"),
        (json!({"events": too_many}), "/events"),
        (json!({"events": [one, one]}), "/events/1/id"),
        (json!({"events": [one, 7]}), "/events/1"),
        (json!({"events": [{"id": "x", "leaf_hash": hash}]}), "/events/0/id"),
        (json!({"events": [{"id": id}]}), "/events/0/leaf_hash"),
        (json!({"events": [{"id": id, "leaf_hash": "AAAA"}]}), "/events/0/leaf_hash"),
        (json!({"events": [{"id": id, "leaf_hash": hash, "seq": 1}]}), "/events/0"),
        (json!({"leaves": [one]}), "/leaves"),
    ];
    for (body, pointer) in cases {
        let answer = server.client.post("/integrity/reconcile").json(body.to_string()).send().await;
        let problem = answer.problem(422, "invalid_body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    let answer = server.client.post("/integrity/reconcile").json(r#"{"events": ["#).send().await;
    answer.problem(400, "malformed_json");
    record(&server, 1).await;
}
