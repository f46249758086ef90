//! Nobody gives a role, or takes over an account that has a role, that they could not give; and somebody who can
//! give roles always stays.

use std::sync::Arc;

use eventlogger::auth::DEFAULT_TENANT;
use eventlogger::store::principals::users::{StoredCredential, find_user};
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::changes::{self, create_tenant};
use crate::harness::{ADMIN, PASSWORD, Server, count, tests};
use crate::http::Request;
use crate::users::{patch, post, put};

tests![
    an_admin_cannot_make_a_superadmin_nor_touch_one,
    a_token_is_limited_by_its_own_roles_not_by_its_owners,
    an_admin_manages_everybody_else,
    a_superadmin_belongs_to_the_first_tenant,
    the_last_admin_and_the_last_superadmin_stay,
    of_many_admins_who_remove_each_other_at_once_one_is_left,
    of_many_superadmins_who_demote_each_other_at_once_one_is_left,
];

/// Each way to become, or take over, a superadmin.
fn attempts(server: &Server, superadmins_token: &str) -> Vec<Request> {
    let delete = |path: &str| server.client.request(Method::DELETE, path);
    vec![
        post(server, "/users", &json!({"name": "eve", "roles": ["superadmin"], "login": "machine_secret"})),
        post(server, "/users", &json!({"name": "eve", "roles": ["reader", "superadmin"]})),
        patch(server, "/users/anna", &json!({"roles": ["admin", "superadmin"]})),
        patch(server, "/users/bob", &json!({"roles": ["superadmin"], "disabled": false})),
        patch(server, "/users/root", &json!({"roles": ["reader"]})),
        patch(server, "/users/root", &json!({"roles": ["superadmin"]})),
        patch(server, "/users/root", &json!({"disabled": true})),
        patch(server, "/users/root", &json!({"disabled": false})),
        put(server, "/users/root/password", &json!({"password": "known to anna"})),
        put(server, "/users/root/password", &json!({"login": "machine_secret"})),
        post(server, "/tokens", &json!({"owner": "root", "roles": ["superadmin"]})),
        post(server, "/tokens", &json!({"owner": "root", "roles": ["reader"]})),
        delete("/users/root"),
        delete(&format!("/tokens/{superadmins_token}")),
    ]
}

/// All that could have changed.
async fn state(server: &Server) -> (i64, i64, Vec<Value>) {
    let users = sqlx::query_scalar("SELECT to_jsonb(u) FROM users u ORDER BY u.user_id");
    let users = users.fetch_all(&server.database).await.unwrap();
    let tokens = count(&server.database, "SELECT count(*) FROM tokens WHERE revoked_at IS NULL").await;
    (count(&server.database, "SELECT revision FROM credential_revision").await, tokens, users)
}

async fn add_root_and_anna(server: &Server) {
    server.add_user_of(DEFAULT_TENANT, "root", PASSWORD, &["superadmin", "admin", "reader"]).await;
    server.add_user("anna", PASSWORD, "admin").await;
    server.add_user("bob", PASSWORD, "writer").await;
}

async fn an_admin_cannot_make_a_superadmin_nor_touch_one(server: Arc<Server>) {
    add_root_and_anna(&server).await;
    let token =
        post(&server, "/tokens", &json!({"owner": "root", "roles": ["reader"]})).send().await.json(201);
    let before = state(&server).await;
    for (index, attempt) in attempts(&server, token["prefix"].as_str().unwrap()).into_iter().enumerate() {
        let refused = attempt.user("anna", PASSWORD).send().await;
        assert_eq!(refused.status, 403, "#{index}: {}", refused.text());
        assert_eq!(refused.problem(403, "superadmin_needed")["role"], "superadmin");
    }
    assert_eq!(state(&server).await, before, "a refusal changes nothing");
    // And neither by acting elsewhere.
    create_tenant(&server.store.control, "acme").await.unwrap();
    let elsewhere = patch(&server, "/users/ann", &json!({"disabled": true})).header("x-tenant", "acme");
    elsewhere.user("anna", PASSWORD).send().await.problem(403, "tenant_forbidden");
    // A superadmin can.
    for attempt in attempts(&server, token["prefix"].as_str().unwrap()) {
        let done = attempt.send().await;
        assert!(![401, 403].contains(&done.status.as_u16()), "{}", done.text());
    }
}

async fn a_token_is_limited_by_its_own_roles_not_by_its_owners(server: Arc<Server>) {
    add_root_and_anna(&server).await;
    let superadmins = post(&server, "/tokens", &json!({"owner": "root", "roles": ["reader"]})).send().await;
    let prefix = superadmins.json(201)["prefix"].as_str().unwrap().to_owned();
    // Of the user who has all roles, but without superadmin.
    let token = server.add_token(ADMIN, "admin").await;
    let before = state(&server).await;
    for attempt in attempts(&server, &prefix) {
        attempt.bearer(&token).send().await.problem(403, "superadmin_needed");
    }
    let own = put(&server, &format!("/users/{ADMIN}/password"), &json!({"password": "known to the token"}));
    own.bearer(&token).send().await.problem(403, "superadmin_needed");
    let another = post(&server, "/tokens", &json!({"roles": ["admin", "reader"]}));
    another.bearer(&token).send().await.problem(403, "superadmin_needed");
    assert_eq!(state(&server).await, before);
    // Without admin there is no way in at all.
    let token = server.add_token(ADMIN, "reader").await;
    for attempt in attempts(&server, &prefix) {
        attempt.bearer(&token).send().await.problem(403, "role_missing");
    }
}

async fn an_admin_manages_everybody_else(server: Arc<Server>) {
    add_root_and_anna(&server).await;
    let as_anna = |request: Request| request.user("anna", PASSWORD).send();
    let everything = json!(["writer", "reader", "auditor", "admin"]);
    let body = json!({"name": "carl", "roles": everything, "login": "machine_secret"});
    as_anna(post(&server, "/users", &body)).await.json(201);
    let body = json!({"roles": everything});
    assert_eq!(as_anna(patch(&server, "/users/bob", &body)).await.json(200)["roles"], everything);
    as_anna(put(&server, "/users/carl/password", &json!({"password": "long enough"}))).await.json(200);
    let body = json!({"owner": "carl", "roles": ["admin"]});
    let token = as_anna(post(&server, "/tokens", &body)).await.json(201);
    let path = format!("/tokens/{}", token["prefix"].as_str().unwrap());
    assert_eq!(as_anna(server.client.request(Method::DELETE, &path)).await.status, 204);
    assert_eq!(as_anna(server.client.request(Method::DELETE, "/users/carl")).await.status, 204);
}

async fn a_superadmin_belongs_to_the_first_tenant(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    server.add_user_of("acme", "ann", PASSWORD, &["admin"]).await;
    let body = json!({"name": "eve", "roles": ["superadmin"]});
    let added = post(&server, "/users", &body).header("x-tenant", "acme").send().await;
    assert_eq!(added.problem(422, "superadmin_elsewhere")["errors"][0]["pointer"], "/roles");
    let body = json!({"roles": ["admin", "superadmin"]});
    let given = patch(&server, "/users/ann", &body).header("x-tenant", "acme").send().await;
    given.problem(422, "superadmin_elsewhere");
    let own = patch(&server, "/users/ann", &body).user("acme/ann", PASSWORD).send().await;
    own.problem(403, "superadmin_needed");
}

async fn the_last_admin_and_the_last_superadmin_stay(server: Arc<Server>) {
    let changes = |name: &str| {
        let path = format!("/users/{name}");
        [
            patch(&server, &path, &json!({"roles": ["reader"]})),
            patch(&server, &path, &json!({"disabled": true})),
            patch(&server, &path, &json!({"disabled": true, "roles": ["admin", "superadmin"]})),
            server.client.request(Method::DELETE, &path),
        ]
    };
    for change in changes(ADMIN) {
        change.send().await.problem(409, "last_admin");
    }
    server.add_user("anna", PASSWORD, "admin").await;
    for change in changes(ADMIN) {
        change.send().await.problem(409, "last_superadmin");
    }
    // One who cannot log in does not count.
    server.add_user_of(DEFAULT_TENANT, "root", PASSWORD, &["superadmin", "admin"]).await;
    patch(&server, "/users/root", &json!({"disabled": true})).send().await.json(200);
    patch(&server, "/users/anna", &json!({"disabled": true})).send().await.json(200);
    changes(ADMIN).into_iter().next().unwrap().send().await.problem(409, "last_admin");
    patch(&server, "/users/root", &json!({"disabled": false})).send().await.json(200);
    patch(&server, &format!("/users/{ADMIN}"), &json!({"roles": ["admin"]})).send().await.json(200);
    let me = server.client.get("/me").send().await.json(200);
    assert_eq!(me["roles"], json!(["admin"]));
}

/// Eight users with these roles; nobody else has any of them.
async fn eight(server: &Server, roles: &[&str]) -> Vec<String> {
    let names: Vec<String> = (0..8).map(|n| format!("peer-{n}")).collect();
    for name in &names {
        server.add_user_of(DEFAULT_TENANT, name, PASSWORD, roles).await;
        // Known to the service, so that all act at the same time.
        server.client.get("/me").user(name, PASSWORD).send().await.json(200);
    }
    changes::remove_user(&server.store.control, DEFAULT_TENANT, ADMIN).await.unwrap();
    names
}

/// How many of the peers still have the role.
async fn left(server: &Server, names: &[String], role: &str) -> usize {
    let mut left = 0;
    for name in names {
        let user = find_user(&server.store.control, DEFAULT_TENANT, name).await.unwrap();
        left +=
            usize::from(user.is_some_and(|user| !user.disabled && user.roles.iter().any(|has| has == role)));
    }
    left
}

async fn of_many_admins_who_remove_each_other_at_once_one_is_left(server: Arc<Server>) {
    let superadmin = StoredCredential::MachineSecret([0; 32]);
    let control = &server.store.control;
    changes::create_user(control, DEFAULT_TENANT, "root", &superadmin, &["superadmin"]).await.unwrap();
    let names = eight(&server, &["admin"]).await;
    let attempts = names.iter().enumerate().flat_map(|(index, by)| {
        let server = Arc::clone(&server);
        names.iter().map(move |name| {
            let path = format!("/users/{name}");
            let request = match index % 3 {
                0 => server.client.request(Method::DELETE, &path),
                1 => patch(&server, &path, &json!({"roles": ["reader"]})),
                _ => patch(&server, &path, &json!({"disabled": true})),
            };
            request.user(by, PASSWORD).send()
        })
    });
    for answer in join_all(attempts).await {
        assert!([200, 204, 401, 403, 404, 409].contains(&answer.status.as_u16()), "{}", answer.text());
    }
    // Two who are left would each have been asked to go while the other was there.
    assert_eq!(left(&server, &names, "admin").await, 1);
}

async fn of_many_superadmins_who_demote_each_other_at_once_one_is_left(server: Arc<Server>) {
    let names = eight(&server, &["superadmin", "admin"]).await;
    let demotions = names.iter().flat_map(|by| {
        let server = Arc::clone(&server);
        names.iter().map(move |name| {
            let body = json!({"roles": ["admin"]});
            patch(&server, &format!("/users/{name}"), &body).user(by, PASSWORD).send()
        })
    });
    for answer in join_all(demotions).await {
        assert!([200, 403, 409].contains(&answer.status.as_u16()), "{}", answer.text());
    }
    assert_eq!(left(&server, &names, "superadmin").await, 1);
    assert_eq!(left(&server, &names, "admin").await, 8);
}
