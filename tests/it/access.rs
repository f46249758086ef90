//! The service's own events, in the log that they concern.

use std::sync::Arc;

use eventlogger::config::AccessKind;
use eventlogger::store::service_events::{NewServiceEvent, insert};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, Executor, PgPool};

use crate::auth::eventually;
use crate::changes::{create_tenant, remove_user};
use crate::harness::{ADMIN, PASSWORD, Server, count, event, tests};

tests![
    start_and_stop_are_recorded,
    a_failed_login_is_recorded_with_who_and_whence,
    failures_of_one_account_are_counted_not_listed,
    a_failed_login_is_recorded_where_it_was_meant_to_go,
    a_failed_token_is_recorded_without_its_text,
    a_flood_of_names_is_summed_up,
    a_denial_is_recorded_once_with_what_was_missing,
    a_denial_from_within_is_recorded_as_well,
    an_attempt_at_a_superadmin_is_recorded,
    a_change_is_moved_into_the_log_of_its_tenant,
    a_change_is_recorded_once_whoever_died_in_between,
    several_instances_record_a_change_once,
    a_change_that_cannot_be_recorded_holds_up_no_other,
    what_is_not_to_be_recorded_is_not,
    an_outage_of_the_database_loses_no_event,
];

/// An instance that records these; the test's own would throw changes away.
async fn recording(server: &Server, kinds: &[AccessKind]) -> Server {
    server.stop().await;
    server.another_instance_with(|config| config.access.record = kinds.to_vec()).await
}

/// The service's own events of a tenant, as the log has them.
async fn own_events(database: &PgPool, tenant: &str) -> Vec<Value> {
    sqlx::query_scalar(
        "SELECT jsonb_strip_nulls(jsonb_build_object(
             'type', event_type, 'user', user_identity, 'target', target, 'message', message, 'ip', host(ip),
             'level', level, 'outcome', outcome, 'source', source, 'by', recorded_by, 'data', event_data,
             'timestamp', \"timestamp\", 'key', idempotency_key))
         FROM events JOIN tenants USING (tenant_id)
         WHERE name = $1 AND event_type LIKE 'eventlogger.%' ORDER BY seq",
    )
    .bind(tenant)
    .fetch_all(database)
    .await
    .unwrap()
}

/// Waits until the log has as many of them.
async fn wait_for(database: &PgPool, tenant: &str, events: usize) -> Vec<Value> {
    eventually(async || own_events(database, tenant).await.len() >= events).await;
    let events_now = own_events(database, tenant).await;
    assert_eq!(events_now.len(), events, "{events_now:#?}");
    events_now
}

/// As a change of users or tokens does it, in its transaction.
async fn change(database: &PgPool, tenant: &str, message: &str, event_data: Option<&str>) {
    let tenant_id = sqlx::query_scalar("SELECT tenant_id FROM tenants WHERE name = $1")
        .bind(tenant)
        .fetch_one(database)
        .await
        .unwrap();
    let event = NewServiceEvent {
        tenant_id,
        event_type: "eventlogger.user_added",
        user_identity: "root",
        target: Some("user/ann"),
        message,
        ip: Some([192, 0, 2, 7].into()),
        event_data,
    };
    insert(&mut database.acquire().await.unwrap(), &event).await.unwrap();
}

const WAITING: &str = "SELECT count(*) FROM service_events";

async fn start_and_stop_are_recorded(server: Arc<Server>) {
    let instance = recording(&server, &[AccessKind::Lifecycle]).await;
    let started = wait_for(&server.database, "default", 1).await.remove(0);
    instance.client.post("/events").json(event("t")).send().await.json(201);
    instance.stop().await;
    let stopped = wait_for(&server.database, "default", 2).await.remove(1);
    let types = [&started["type"], &stopped["type"]];
    assert_eq!(types, ["eventlogger.started", "eventlogger.stopped"]);
    for event in [&started, &stopped] {
        assert_eq!((&event["user"], &event["by"]), (&json!("system"), &json!("service")), "{event:#}");
        assert_eq!(event["data"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(event["data"]["pid"], std::process::id());
        assert_eq!(event["data"]["listen"], json!([instance.client.address().to_string()]));
        assert!(!event["data"]["host"].as_str().unwrap().is_empty());
        assert_eq!(event["data"]["instance"], started["data"]["instance"]);
    }
}

async fn a_failed_login_is_recorded_with_who_and_whence(server: Arc<Server>) {
    let instance = recording(&server, &[AccessKind::Failures]).await;
    let wrong =
        instance.client.from([127, 3, 0, 9]).get("/events").user("Жанна", "s3cret guess").send().await;
    wrong.problem(401, "invalid_credentials");
    let event = wait_for(&server.database, "default", 1).await.remove(0);
    assert_eq!(event["type"], "eventlogger.login_failed");
    assert_eq!((&event["user"], &event["ip"]), (&json!("Жанна"), &json!("127.3.0.9")));
    assert_eq!((&event["level"], &event["outcome"]), (&json!(4), &json!("denied")));
    assert_eq!((&event["by"], &event["source"]), (&json!("service"), &json!("eventlogger")));
    assert_eq!(event["message"], "1 login as `Жанна` from 127.3.0.9 failed.");
    let data = &event["data"];
    assert_eq!((&data["count"], &data["reason"]), (&json!(1), &json!("invalid_credentials")));
    assert_eq!((&data["credential"], &data["first_at"]), (&json!("password"), &data["last_at"]));
    assert!(!event.to_string().contains("s3cret"), "{event:#}");
    let found = instance.client.get("/events/query?type=eventlogger.login_failed&ip=127.3.0.9").send().await;
    assert_eq!(found.json(200)["events"].as_array().unwrap().len(), 1);
    instance.stop().await;
}

async fn failures_of_one_account_are_counted_not_listed(server: Arc<Server>) {
    let instance = recording(&server, &[AccessKind::Failures]).await;
    let client = instance.client.from([127, 3, 0, 1]);
    let fail = async || client.get("/events").user("ann", "wrong").send().await.status.as_u16();
    assert_eq!(fail().await, 401);
    wait_for(&server.database, "default", 1).await;
    let mut answers = Vec::new();
    for _ in 0..29 {
        answers.push(fail().await);
    }
    assert!(answers.contains(&401) && answers.contains(&429), "{answers:?}");
    // What is not due yet is recorded at the end.
    instance.stop().await;
    let events = wait_for(&server.database, "default", 2).await;
    let counts: Vec<_> = events.iter().map(|event| event["data"]["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 29]);
    assert_eq!(events[1]["data"]["reason"], "too_many_failures");
    assert!(events[1]["data"]["first_at"].as_str() < events[1]["data"]["last_at"].as_str());
}

async fn a_failed_login_is_recorded_where_it_was_meant_to_go(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    let instance = recording(&server, &[AccessKind::Failures]).await;
    for name in ["acme/nobody", "nowhere/ann"] {
        instance.client.get("/events").user(name, "wrong").send().await.problem(401, "invalid_credentials");
    }
    let of_acme = wait_for(&server.database, "acme", 1).await;
    assert_eq!(of_acme[0]["user"], "nobody");
    assert_eq!(of_acme[0]["message"], "1 login as `acme/nobody` from 127.0.0.1 failed.");
    let of_default = wait_for(&server.database, "default", 1).await;
    assert_eq!(of_default[0]["user"], "nowhere/ann");
    instance.stop().await;
}

async fn a_failed_token_is_recorded_without_its_text(server: Arc<Server>) {
    let instance = recording(&server, &[AccessKind::Failures]).await;
    let token = "evl_default_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";
    instance.client.get("/events").bearer(token).send().await.problem(401, "invalid_credentials");
    let machine = instance.client.get("/events").user("robot", "evls_hidden").send().await;
    machine.problem(401, "invalid_credentials");
    let events = wait_for(&server.database, "default", 2).await;
    let mut seen: Vec<_> =
        events.iter().map(|event| (&event["user"], &event["data"]["credential"])).collect();
    seen.sort_by_key(|seen| seen.1.to_string());
    assert_eq!(seen[0], (&json!("robot"), &json!("machine_secret")));
    assert_eq!(seen[1], (&json!("anonymous"), &json!("token")));
    let text = json!(events).to_string();
    assert!(!text.contains("AbCd") && !text.contains("evls_"), "{text}");
    instance.stop().await;
}

async fn a_flood_of_names_is_summed_up(server: Arc<Server>) {
    let instance = recording(&server, &[AccessKind::Failures]).await;
    // As tokens, which cost no argon2, from many addresses.
    let floods = (0..250).map(|n| {
        let client = instance.client.from([127, 3, 1, n]);
        async move {
            client.get("/events").bearer("evl_default_x").send().await.problem(401, "invalid_credentials")
        }
    });
    futures_util::future::join_all(floods).await;
    instance.stop().await;
    let events = own_events(&server.database, "default").await;
    assert!(events.len() <= 61 + 60, "{}", events.len());
    let total: u64 = events.iter().map(|event| event["data"]["count"].as_u64().unwrap()).sum();
    assert_eq!(total, 250);
    let summaries: Vec<_> = events.iter().filter(|event| event["ip"].is_null()).collect();
    assert!(!summaries.is_empty() && summaries.iter().all(|event| event["user"] == "anonymous"));
}

async fn a_denial_is_recorded_once_with_what_was_missing(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    server.add_user_of("acme", "ann", PASSWORD, &["reader"]).await;
    let instance = recording(&server, &[AccessKind::Denials]).await;
    for _ in 0..5 {
        let denied = instance.client.post("/events").user("acme/ann", PASSWORD).json(event("t")).send().await;
        denied.problem(403, "role_missing");
    }
    let elsewhere = instance.client.get("/events").user("acme/ann", PASSWORD).header("x-tenant", "default");
    elsewhere.send().await.problem(403, "tenant_forbidden");
    let token = instance.add_token(ADMIN, "writer").await;
    let by_token = instance.client.get("/api/v1/events").bearer(&token).send().await;
    by_token.problem(403, "role_missing");
    instance.stop().await;

    let of_acme = own_events(&server.database, "acme").await;
    let role: Vec<_> = of_acme.iter().filter(|event| event["data"]["reason"] == "role_missing").collect();
    assert_eq!(role.iter().map(|event| event["data"]["count"].as_u64().unwrap()).sum::<u64>(), 5);
    assert!(role.len() <= 2, "{role:#?}");
    let expected = (&json!("ann"), &json!("denied"), &json!("record_event"), &json!("writer"));
    let data = &role[0]["data"];
    assert_eq!((&role[0]["user"], &role[0]["outcome"], &data["operation"], &data["role"]), expected);
    let tenant = of_acme.iter().find(|event| event["data"]["reason"] == "tenant_forbidden").unwrap();
    assert_eq!(
        (&tenant["data"]["tenant"], &tenant["type"]),
        (&json!("default"), &json!("eventlogger.access_denied"))
    );
    let of_default = own_events(&server.database, "default").await;
    assert_eq!(of_default.len(), 1, "{of_default:#?}");
    assert_eq!(of_default[0]["data"]["operation"], "list_events");
    assert!(token.contains(of_default[0]["data"]["token"].as_str().unwrap()));
}

/// What an operation finds out only within.
async fn a_denial_from_within_is_recorded_as_well(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    server.add_user_of("acme", "ann", PASSWORD, &["reader", "writer"]).await;
    server.add_user_of("acme", "ben", PASSWORD, &["writer"]).await;
    let instance = recording(&server, &[AccessKind::Denials]).await;
    let own =
        instance.client.post("/events").user("acme/ann", PASSWORD).json(event("t")).send().await.json(201);
    let path = format!("/events/{}/proof", own["id"].as_str().unwrap());
    instance.client.get(&path).user("acme/ben", PASSWORD).send().await.problem(403, "role_missing");
    for path in ["/tlog/default/checkpoint", "/tlog/nowhere/checkpoint", "/tlog/No-Name/checkpoint"] {
        instance.client.get(path).user("acme/ann", PASSWORD).send().await.problem(404, "no_such_log");
    }
    instance.client.get("/tlog/default/checkpoint").anonymous().send().await.problem(401, "unauthenticated");
    instance.stop().await;

    let recorded = own_events(&server.database, "acme").await;
    let mut seen: Vec<_> = recorded
        .iter()
        .map(|event| (event["user"].as_str().unwrap(), &event["data"]["operation"], &event["data"]["tenant"]))
        .collect();
    seen.sort_by_key(|(user, _, tenant)| (user.to_owned(), tenant.to_string()));
    let (none, proof) = (json!(null), json!("get_event_proof"));
    let (of_default, of_nowhere) = (json!("default"), json!("nowhere"));
    assert_eq!(seen, [("ann", &none, &of_default), ("ann", &none, &of_nowhere), ("ben", &proof, &none)]);
}

async fn an_attempt_at_a_superadmin_is_recorded(server: Arc<Server>) {
    let instance = recording(&server, &[AccessKind::Denials]).await;
    instance.add_user("anna", PASSWORD, "admin").await;
    let path = format!("/users/{ADMIN}/password");
    let attempt = instance.client.request(http::Method::PUT, &path).user("anna", PASSWORD);
    attempt
        .json(json!({"password": "known to anna"}).to_string())
        .send()
        .await
        .problem(403, "superadmin_needed");
    instance.stop().await;
    let recorded = own_events(&server.database, "default").await;
    assert_eq!(recorded.len(), 1, "{recorded:#?}");
    let data = &recorded[0]["data"];
    assert_eq!((&recorded[0]["user"], &data["role"]), (&json!("anna"), &json!("superadmin")));
    assert_eq!(data["operation"], "set_user_password");
}

async fn a_change_is_moved_into_the_log_of_its_tenant(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    let instance = recording(&server, &[AccessKind::Changes]).await;
    change(&server.database, "acme", "root added the user ann.", Some(r#"{"roles":["reader"]}"#)).await;
    let event = wait_for(&server.database, "acme", 1).await.remove(0);
    assert_eq!((&event["type"], &event["user"]), (&json!("eventlogger.user_added"), &json!("root")));
    assert_eq!((&event["target"], &event["ip"]), (&json!("user/ann"), &json!("192.0.2.7")));
    assert_eq!((&event["data"], &event["by"]), (&json!({"roles": ["reader"]}), &json!("service")));
    assert_eq!(event["message"], "root added the user ann.");
    assert!(event["key"].as_str().unwrap().starts_with("eventlogger/"));
    eventually(async || count(&server.database, WAITING).await == 0).await;
    instance.stop().await;
}

/// The last step, the deletion of the row, fails as if the process had died before it.
async fn a_change_is_recorded_once_whoever_died_in_between(server: Arc<Server>) {
    server.stop().await;
    server
        .database
        .execute(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'dead'; END $$;
             CREATE TRIGGER dies BEFORE DELETE ON service_events FOR EACH ROW EXECUTE FUNCTION die();",
        )
        .await
        .unwrap();
    change(&server.database, "default", "a change", None).await;
    let instance = recording(&server, &[AccessKind::Changes]).await;
    wait_for(&server.database, "default", 1).await;
    instance.stop().await;
    assert_eq!(count(&server.database, WAITING).await, 1, "it is still there");
    server.database.execute("DROP TRIGGER dies ON service_events; DROP FUNCTION die()").await.unwrap();

    let next = recording(&server, &[AccessKind::Changes]).await;
    eventually(async || count(&server.database, WAITING).await == 0).await;
    next.stop().await;
    assert_eq!(own_events(&server.database, "default").await.len(), 1);
}

async fn several_instances_record_a_change_once(server: Arc<Server>) {
    let one = recording(&server, &[AccessKind::Changes]).await;
    let other = recording(&server, &[AccessKind::Changes]).await;
    for n in 0..1_200 {
        change(&server.database, "default", &format!("change {n}"), None).await;
    }
    eventually(async || count(&server.database, WAITING).await == 0).await;
    one.stop().await;
    other.stop().await;
    let events = own_events(&server.database, "default").await;
    let mut messages: Vec<_> = events.iter().map(|event| event["message"].to_string()).collect();
    assert_eq!(messages.len(), 1_200);
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len(), 1_200);
}

async fn a_change_that_cannot_be_recorded_holds_up_no_other(server: Arc<Server>) {
    let instance = recording(&server, &[AccessKind::Changes]).await;
    change(&server.database, "default", "not JSON", Some("{")).await;
    change(&server.database, "default", "good", None).await;
    let event = wait_for(&server.database, "default", 1).await.remove(0);
    assert_eq!(event["message"], "good");
    eventually(async || count(&server.database, WAITING).await == 1).await;
    // Its key stands for another event.
    let (id, tenant): (i64, i32) = sqlx::query_as(
        "INSERT INTO service_events (tenant_id, event_type, user_identity, message)
         SELECT tenant_id, 'eventlogger.user_added', 'root', 'taken' FROM tenants WHERE name = 'default'
         RETURNING service_event_id, tenant_id",
    )
    .fetch_one(&server.database)
    .await
    .unwrap();
    wait_for(&server.database, "default", 2).await;
    eventually(async || count(&server.database, WAITING).await == 1).await;
    sqlx::query(
        "INSERT INTO service_events (service_event_id, tenant_id, event_type, user_identity, message)
         OVERRIDING SYSTEM VALUE VALUES ($1, $2, 'eventlogger.user_added', 'root', 'other content')",
    )
    .bind(id)
    .bind(tenant)
    .execute(&server.database)
    .await
    .unwrap();
    change(&server.database, "default", "after it", None).await;
    let events = wait_for(&server.database, "default", 3).await;
    assert_eq!(events[2]["message"], "after it");
    eventually(async || count(&server.database, WAITING).await == 2).await;
    let text = instance.client.get("/metrics").send().await.text();
    assert!(text.contains("eventlogger_access_events_total{outcome=\"lost\"} 1"), "{text}");
    instance.stop().await;
}

async fn what_is_not_to_be_recorded_is_not(server: Arc<Server>) {
    change(&server.database, "default", "a change", None).await;
    server.add_user("ann", PASSWORD, "reader").await;
    server.client.get("/events").user("ann", "wrong").send().await.problem(401, "invalid_credentials");
    server
        .client
        .get("/metrics")
        .anonymous()
        .bearer("evl_default_x")
        .send()
        .await
        .problem(401, "invalid_credentials");
    let denied = server.client.post("/events").user("ann", PASSWORD).json(event("t")).send().await;
    denied.problem(403, "role_missing");
    server.stop().await;
    assert_eq!(own_events(&server.database, "default").await, Vec::<Value>::new());
    // Changes wait for an instance that records them.
    assert!(count(&server.database, WAITING).await >= 2);
}

async fn an_outage_of_the_database_loses_no_event(server: Arc<Server>) {
    let instance = recording(&server, &[AccessKind::Denials, AccessKind::Lifecycle]).await;
    wait_for(&server.database, "default", 1).await;
    let options = server.database.connect_options();
    let name = options.get_database().unwrap();
    // From another database, as nobody can bar himself.
    let mut connection = (*options).clone().database("postgres").connect().await.unwrap();
    let allow =
        |allowed: bool| sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}"));
    // Who is let in from memory is denied from memory, where no change is still to be seen.
    let log_in = async |name: &str| instance.client.get("/events").user(name, PASSWORD).send().await.status;
    for name in ["ann", "bob"] {
        instance.add_user(name, PASSWORD, "reader").await;
        assert_eq!(log_in(name).await, 200);
    }
    remove_user(&instance.store.control, "default", "bob").await.unwrap();
    eventually(async || log_in("bob").await == 401).await;
    assert_eq!(log_in("ann").await, 200);
    connection.execute(allow(false)).await.unwrap();
    let kill = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    connection.execute(sqlx::AssertSqlSafe(kill)).await.unwrap();
    eventually(async || instance.client.get("/health/ready").send().await.status == 503).await;
    for _ in 0..5 {
        let denied = instance.client.post("/events").user("ann", PASSWORD).json(event("t")).send().await;
        denied.problem(403, "role_missing");
    }
    eventually(async || instance.client.get("/health/ready").send().await.status == 503).await;
    connection.execute(allow(true)).await.unwrap();
    connection.close().await.unwrap();
    wait_for(&server.database, "default", 2).await;
    instance.stop().await;
    let events = own_events(&server.database, "default").await;
    let denied = events.iter().filter(|event| event["type"] == "eventlogger.access_denied");
    assert_eq!(denied.map(|event| event["data"]["count"].as_u64().unwrap()).sum::<u64>(), 5);
    assert_eq!(events.last().unwrap()["type"], "eventlogger.stopped");
}
