//! Every change of users, tokens and tenants leaves an event behind, in its own transaction, and no secret with it.

use std::sync::Arc;

use eventlogger::auth::DEFAULT_TENANT;
use http::Method;
use serde_json::{Value, json};
use sqlx::{Executor, PgPool};

use crate::harness::{ADMIN, PASSWORD, Server, tests};
use crate::users::{patch, post, put};

tests![
    each_change_over_http_leaves_one_event_that_tells_all_but_secrets,
    what_changes_nothing_leaves_no_event,
    the_log_of_a_tenant_names_guests_by_their_own_tenant,
];

/// Tenant, type, actor, target and data of the events that wait to be recorded, oldest first; without those of
/// changes that the test made behind the service's back.
pub async fn waiting(database: &PgPool) -> Vec<(String, String, String, String, Value)> {
    sqlx::query_as(
        "SELECT t.name, s.event_type, s.user_identity, s.target, s.event_data::jsonb
         FROM service_events s JOIN tenants t USING (tenant_id)
         WHERE s.user_identity <> 'test' ORDER BY s.service_event_id",
    )
    .fetch_all(database)
    .await
    .unwrap()
}

/// Everything in the table, as text.
pub async fn as_text(database: &PgPool) -> String {
    sqlx::query_scalar("SELECT coalesce(string_agg(s::text, E'\\n'), '') FROM service_events s WHERE user_identity <> 'test'")
        .fetch_one(database)
        .await
        .unwrap()
}

/// From now on the rows stay, whoever deletes them; those before are forgotten.
async fn keep_from_now_on(server: &Server) {
    let keep =
        "CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                CREATE OR REPLACE TRIGGER keep BEFORE DELETE ON service_events
                    FOR EACH ROW EXECUTE FUNCTION keep();
                TRUNCATE service_events";
    server.database.execute(keep).await.unwrap();
}

fn roles(from: &[&str], to: &[&str]) -> Value {
    json!({"roles": {"from": from, "to": to}})
}

async fn each_change_over_http_leaves_one_event_that_tells_all_but_secrets(server: Arc<Server>) {
    keep_from_now_on(&server).await;
    let given = json!({"name": "ann", "roles": ["reader", "writer"], "password": "the first one"});
    post(&server, "/users", &given).send().await.json(201);
    patch(&server, "/users/ann", &json!({"roles": ["writer"], "disabled": true})).send().await.json(200);
    patch(&server, "/users/ann", &json!({"disabled": false})).send().await.json(200);
    let body = json!({"owner": "ann", "roles": ["writer"], "label": "invoices",
                      "expires_at": "2099-01-01T00:00:00Z"});
    let token = post(&server, "/tokens", &body).send().await.json(201);
    let prefix = token["prefix"].as_str().unwrap();
    server.client.request(Method::DELETE, &format!("/tokens/{prefix}")).send().await;
    let own = json!({"current_password": "the first one", "new_password": "the second one"});
    put(&server, "/me/password", &own).user("ann", "the first one").send().await;
    let machine =
        put(&server, "/users/ann/password", &json!({"login": "machine_secret"})).send().await.json(200);
    server.client.request(Method::DELETE, "/users/ann").send().await;
    post(&server, "/tenants", &json!({"name": "acme"})).send().await.json(201);
    // What is done by a token says so.
    let admins = server.add_token(ADMIN, "admin").await;
    let body = json!({"name": "bob", "roles": ["writer"], "login": "machine_secret"});
    let bob = post(&server, "/users", &body).bearer(&admins).send().await.json(201);

    let found = waiting(&server.database).await;
    let log_id = server.client.get("/tenants/acme").send().await.json(200)["log_id"].clone();
    let on = |event_type: &str, by: &str, target: &str, data: Value| {
        let event_type = format!("eventlogger.{event_type}");
        (DEFAULT_TENANT.to_owned(), event_type, by.to_owned(), target.to_owned(), data)
    };
    let off = |from: bool, to: bool| json!({"changes": {"disabled": {"from": from, "to": to}}});
    let on_token = format!("token/{prefix}");
    let admins_prefix = &admins["evl_default_".len()..][..8];
    let expected = [
        on(
            "user_added",
            ADMIN,
            "user/ann",
            json!({"changes": roles(&[], &["writer", "reader"]), "login": "password"}),
        ),
        on(
            "user_roles_set",
            ADMIN,
            "user/ann",
            json!({"changes": roles(&["writer", "reader"], &["writer"])}),
        ),
        on("user_disabled", ADMIN, "user/ann", off(false, true)),
        on("user_enabled", ADMIN, "user/ann", off(true, false)),
        on(
            "token_created",
            ADMIN,
            &on_token,
            json!({"changes": roles(&[], &["writer"]), "owner": "ann", "label": "invoices",
                   "expires_at": "2099-01-01T00:00:00Z"}),
        ),
        on("token_revoked", ADMIN, &on_token, json!({"owner": "ann"})),
        on("user_password_set", "ann", "user/ann", json!({"login": "password"})),
        on("user_password_set", ADMIN, "user/ann", json!({"login": "machine_secret"})),
        on("user_removed", ADMIN, "user/ann", json!({"changes": roles(&["writer"], &[])})),
        on("tenant_added", ADMIN, "tenant/acme", json!({"log_id": log_id})),
        on(
            "user_added",
            ADMIN,
            "user/bob",
            json!({"changes": roles(&[], &["writer"]), "login": "machine_secret", "by_token": admins_prefix}),
        ),
    ];
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");

    let text = as_text(&server.database).await;
    assert_eq!(text.matches("127.0.0.1").count(), expected.len(), "each names the client's address: {text}");
    let generated = [&token["token"], &machine["secret"], &bob["secret"]].map(|it| it.as_str().unwrap());
    for secret in
        generated.into_iter().chain(["the first one", "the second one", PASSWORD, &admins, "$argon2id$"])
    {
        assert!(!text.contains(secret), "{text}");
    }
}

async fn what_changes_nothing_leaves_no_event(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "writer").await;
    let body = json!({"owner": "ann", "roles": ["writer"]});
    let token = post(&server, "/tokens", &body).send().await.json(201);
    let revoke = || {
        let path = format!("/tokens/{}", token["prefix"].as_str().unwrap());
        server.client.request(Method::DELETE, &path).send()
    };
    revoke().await;
    keep_from_now_on(&server).await;
    assert_eq!(revoke().await.status, 204);
    patch(&server, "/users/ann", &json!({"roles": ["writer"], "disabled": false})).send().await.json(200);
    post(&server, "/users", &json!({"name": "ann", "roles": ["writer"]}))
        .send()
        .await
        .problem(409, "user_exists");
    post(&server, "/tenants", &json!({"name": "default"})).send().await.problem(409, "tenant_exists");
    server.client.request(Method::DELETE, &format!("/users/{ADMIN}")).send().await.problem(409, "last_admin");
    let own = json!({"current_password": "wrong", "new_password": "something new"});
    put(&server, "/me/password", &own).send().await.problem(422, "wrong_password");
    assert_eq!(waiting(&server.database).await, []);
}

async fn the_log_of_a_tenant_names_guests_by_their_own_tenant(server: Arc<Server>) {
    post(&server, "/tenants", &json!({"name": "acme"})).header("x-tenant", "default").send().await.json(201);
    keep_from_now_on(&server).await;
    let acme = |path: &str, body: Value| post(&server, path, &body).header("x-tenant", "acme").send();
    let body = json!({"name": "ann", "roles": ["admin"], "password": PASSWORD});
    acme("/users", body).await.json(201);
    acme("/tenants", json!({"name": "zeta"})).await.json(201);
    let body = json!({"name": "bob", "roles": ["writer"], "login": "machine_secret"});
    post(&server, "/users", &body).user("acme/ann", PASSWORD).send().await.json(201);
    let found: Vec<_> = waiting(&server.database)
        .await
        .into_iter()
        .map(|(tenant, event_type, by, target, _)| [tenant, event_type, by, target])
        .collect();
    let expected = [
        ["acme", "eventlogger.user_added", "default/admin", "user/ann"],
        ["default", "eventlogger.tenant_added", "admin", "tenant/zeta"],
        ["acme", "eventlogger.user_added", "ann", "user/bob"],
    ];
    assert_eq!(found, expected.map(|event| event.map(str::to_owned)));
}
