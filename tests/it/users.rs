//! Users over HTTP: added, changed, removed, and what each of them may do with their own account.

use std::sync::Arc;

use eventlogger::auth::DEFAULT_TENANT;
use eventlogger::store::principals::ChangeError;
use eventlogger::store::principals::users::{StoredCredential, replace_password};
use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::auth::eventually;
use crate::changes;
use crate::harness::{ADMIN, PASSWORD, Server, count, tests};
use crate::http::{Request, Response, basic};

tests![
    who_was_added_can_log_in_with_what_was_shown_once,
    a_change_counts_from_its_answer_on,
    a_new_password_ends_the_old_one,
    a_list_goes_on_page_by_page_to_its_end,
    names_of_any_script_are_addressed_in_a_path,
    a_misspelt_name_is_told_its_neighbour,
    what_is_wrong_with_a_body_is_told_in_its_place,
    the_same_name_twice_is_a_conflict,
    whoever_asks_learns_what_they_may_do,
    the_own_password_is_changed_by_who_knows_it,
    a_password_that_an_admin_reset_meanwhile_stays,
    a_flood_of_new_passwords_is_told_to_come_back,
    a_client_that_leaves_does_not_stop_its_change,
    a_change_that_waits_too_long_is_given_up_and_can_be_repeated,
    a_change_whose_session_is_lost_is_in_doubt,
];

pub fn put(server: &Server, path: &str, body: &Value) -> Request {
    server.client.request(Method::PUT, path).json(body.to_string())
}

pub fn patch(server: &Server, path: &str, body: &Value) -> Request {
    server.client.request(Method::PATCH, path).json(body.to_string())
}

pub fn post(server: &Server, path: &str, body: &Value) -> Request {
    server.client.post(path).json(body.to_string())
}

async fn status_as(server: &Server, user: &str, password: &str) -> Response {
    server.client.get("/me").user(user, password).send().await
}

async fn who_was_added_can_log_in_with_what_was_shown_once(server: Arc<Server>) {
    let given = json!({"name": "ann", "roles": ["reader", "auditor"], "password": "long enough"});
    let added = post(&server, "/users", &given).send().await;
    assert_eq!(added.header("location"), Some("/users/ann"));
    assert_eq!(added.header("cache-control"), Some("no-store"));
    let ann = added.json(201);
    assert_eq!(ann["roles"], json!(["reader", "auditor"]));
    assert!(ann.get("secret").is_none() && !added.text().contains("long enough"), "{ann}");
    status_as(&server, "ann", "long enough").await.json(200);

    for (login, start) in [(json!(null), ""), (json!("password"), ""), (json!("machine_secret"), "evls_")] {
        let name = format!("robot-{login}").replace('"', "");
        let body = json!({"name": name, "roles": ["writer"], "login": login});
        let added = post(&server, "/api/v1/users", &body).send().await;
        assert_eq!(added.header("location"), Some(format!("/api/v1/users/{name}").as_str()));
        let secret = added.json(201)["secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with(start) && secret.len() >= 24, "{login}");
        status_as(&server, &name, &secret).await.json(200);
        let shown = server.client.get(added.header("location").unwrap()).send().await;
        let kind = if start.is_empty() { "password" } else { "machine_secret" };
        assert_eq!(shown.json(200)["login"], kind);
        assert!(!shown.text().contains(&secret));
    }
}

async fn a_change_counts_from_its_answer_on(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "writer").await;
    let token = server.add_token("ann", "writer").await;
    let may = async |path: &str| server.client.get(path).user("ann", PASSWORD).send().await.status.as_u16();
    let by_token = async || server.client.get("/me").bearer(&token).send().await.status.as_u16();
    assert_eq!((may("/events").await, by_token().await), (403, 200));

    let ann = patch(&server, "/users/ann", &json!({"roles": ["reader", "writer"]})).send().await.json(200);
    assert_eq!(ann["roles"], json!(["writer", "reader"]));
    assert_eq!(may("/events").await, 200);
    let ann = patch(&server, "/users/ann", &json!({"disabled": true})).send().await.json(200);
    assert_eq!((&ann["disabled"], &ann["roles"]), (&json!(true), &json!(["writer", "reader"])));
    assert_eq!((may("/me").await, by_token().await), (401, 401));
    patch(&server, "/users/ann", &json!({"disabled": false, "roles": ["auditor"]})).send().await.json(200);
    assert_eq!((may("/me").await, may("/events").await, by_token().await), (200, 403, 403));

    let removed = server.client.request(Method::DELETE, "/users/ann").send().await;
    assert_eq!((removed.status.as_u16(), removed.body.len()), (204, 0));
    assert_eq!((may("/me").await, by_token().await), (401, 401));
    server.client.get("/users/ann").send().await.problem(404, "no_such_user");
    server.client.request(Method::DELETE, "/users/ann").send().await.problem(404, "no_such_user");
}

async fn a_new_password_ends_the_old_one(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "writer").await;
    status_as(&server, "ann", PASSWORD).await.json(200);
    let set = put(&server, "/users/ann/password", &json!({"password": "the second"})).send().await;
    assert!(set.json(200).get("secret").is_none());
    assert_eq!(status_as(&server, "ann", PASSWORD).await.status, 401);
    status_as(&server, "ann", "the second").await.json(200);

    let set = put(&server, "/users/ann/password", &json!({})).send().await.json(200);
    let generated = set["secret"].as_str().unwrap();
    status_as(&server, "ann", generated).await.json(200);
    let set = put(&server, "/users/ann/password", &json!({"login": "machine_secret"})).send().await.json(200);
    assert_eq!(set["login"], "machine_secret");
    assert_eq!(status_as(&server, "ann", generated).await.status, 401);
    status_as(&server, "ann", set["secret"].as_str().unwrap()).await.json(200);
}

async fn a_list_goes_on_page_by_page_to_its_end(server: Arc<Server>) {
    let mut expected = vec![ADMIN.to_owned()];
    for name in ["Jane Doe", "ann", "b&c=d", "Жанна", "x?y#z", "a+b"] {
        let credential = StoredCredential::MachineSecret([0; 32]);
        changes::create_user(&server.store.control, DEFAULT_TENANT, name, &credential, &["writer"])
            .await
            .unwrap();
        expected.push(name.to_owned());
    }
    expected.sort_unstable();
    for limit in 1..=8 {
        let mut found = Vec::new();
        let mut next = Some(format!("/api/v1/users?limit={limit}"));
        while let Some(url) = next {
            let response = server.client.get(&url).send().await;
            let page = response.json(200);
            let users = page["users"].as_array().unwrap();
            assert!(users.len() <= limit && !users.is_empty(), "{url}");
            found.extend(users.iter().map(|user| user["name"].as_str().unwrap().to_owned()));
            next = page["next"].as_str().map(str::to_owned);
            let link = next.as_ref().map(|next| format!("<{next}>; rel=\"next\""));
            assert_eq!(response.header("link").map(str::to_owned), link);
            assert!(next.as_ref().is_none_or(|next| next.starts_with("/api/v1/users?limit=")), "{next:?}");
        }
        assert_eq!(found, expected, "limit={limit}");
    }
    for (query, parameter) in
        [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("afer=x", "afer")]
    {
        let problem =
            server.client.get(&format!("/users?{query}")).send().await.problem(400, "invalid_parameter");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}");
    }
    for none in ["%00", "%0A", "a/b", ""] {
        for (list, parameter) in
            [("users", "after"), ("tokens", "after"), ("tokens", "owner"), ("tenants", "after")]
        {
            let response = server.client.get(&format!("/{list}?{parameter}={none}")).send().await;
            let problem = response.problem(400, "invalid_parameter");
            assert_eq!(problem["errors"][0]["parameter"], parameter, "{list} {none}");
        }
    }
}

async fn names_of_any_script_are_addressed_in_a_path(server: Arc<Server>) {
    for (name, path) in
        [("Jane Doe", "Jane%20Doe"), ("Жанна", "%D0%96%D0%B0%D0%BD%D0%BD%D0%B0"), ("a?b", "a%3Fb")]
    {
        let added = post(&server, "/users", &json!({"name": name, "roles": ["writer"]})).send().await;
        assert_eq!(added.header("location"), Some(format!("/users/{path}").as_str()));
        assert_eq!(server.client.get(&format!("/users/{path}")).send().await.json(200)["name"], name);
        patch(&server, &format!("/users/{path}"), &json!({"disabled": true})).send().await.json(200);
        server.client.request(Method::DELETE, &format!("/users/{path}")).send().await;
        server.client.get(&format!("/users/{path}")).send().await.problem(404, "no_such_user");
    }
    for none in ["%00", "a%2Fb", "a%3Ab", "%0D%0A", "%1B[31m", &"x".repeat(300)] {
        server.client.get(&format!("/users/{none}")).send().await.problem(404, "no_such_user");
        let body = json!({"disabled": true});
        patch(&server, &format!("/users/{none}"), &body).send().await.problem(404, "no_such_user");
    }
}

async fn a_misspelt_name_is_told_its_neighbour(server: Arc<Server>) {
    server.add_user("billing", PASSWORD, "writer").await;
    let problem = server.client.get("/users/biling").send().await.problem(404, "no_such_user");
    assert_eq!(problem["errors"][0]["parameter"], "name");
    assert_eq!(problem["errors"][0]["hint"], "did you mean `billing`?");
    // Only out of the own tenant.
    changes::create_tenant(&server.store.control, "acme").await.unwrap();
    let elsewhere = server.client.get("/users/biling").header("x-tenant", "acme").send().await;
    let problem = elsewhere.problem(404, "no_such_user");
    assert!(!problem.to_string().contains("billing"), "{problem}");
}

async fn what_is_wrong_with_a_body_is_told_in_its_place(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "writer").await;
    let roles = json!(["writer"]);
    let cases = [
        (json!({}), vec![("/name", "required"), ("/roles", "required")]),
        (json!({"nmae": "x", "name": "x", "roles": roles}), vec![("/nmae", "did you mean `name`?")]),
        (json!({"name": "x", "roles": ["reader", "writr"]}), vec![("/roles/1", "did you mean `writer`?")]),
        (json!({"name": "x", "roles": []}), vec![("/roles", "array of roles")]),
        (json!({"name": "x", "roles": "writer"}), vec![("/roles", "array of roles")]),
        (json!({"name": "a/b", "roles": roles}), vec![("/name", "'/'")]),
        (json!({"name": "a\u{1b}[31mb", "roles": roles}), vec![("/name", "control")]),
        (json!({"name": 7, "roles": roles}), vec![("/name", "expected a string")]),
        (json!({"name": "x", "roles": roles, "password": "short"}), vec![("/password", "at least 8")]),
        (json!({"name": "x", "roles": roles, "password": "evls_12345678"}), vec![("/password", "evls_")]),
        (json!({"name": "x", "roles": roles, "login": "machine"}), vec![("/login", "machine_secret")]),
        (
            json!({"name": "x", "roles": roles, "login": "machine_secret", "password": "long enough"}),
            vec![("/password", "leave out")],
        ),
    ];
    for (body, expected) in cases {
        let problem = post(&server, "/users", &body).send().await.problem(422, "invalid_body");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), expected.len(), "{body}: {problem:#}");
        for (error, (pointer, text)) in errors.iter().zip(expected) {
            assert_eq!(error["pointer"], pointer, "{body}");
            assert!(error.to_string().contains(text), "{body}: {error}");
        }
    }
    let send = |body: &str| server.client.post("/users").json(body.to_owned()).send();
    send("{\"name\": oops").await.problem(400, "malformed_json");
    send("[]").await.problem(422, "invalid_body");
    send(r#"{"name": "x", "name": "y", "roles": ["writer"]}"#).await.problem(422, "invalid_body");
    send(&" ".repeat(70_000)).await.problem(413, "body_too_large");
    let nothing = patch(&server, "/users/ann", &json!({"roles": null})).send().await;
    assert!(nothing.problem(422, "invalid_body")["detail"].as_str().unwrap().contains("nothing to change"));
    patch(&server, "/users/ann", &json!({"disabled": "yes"})).send().await.problem(422, "invalid_body");
}

async fn the_same_name_twice_is_a_conflict(server: Arc<Server>) {
    let body = json!({"name": "ann", "roles": ["writer"], "login": "machine_secret"});
    let (one, other) =
        tokio::join!(post(&server, "/users", &body).send(), post(&server, "/users", &body).send());
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let refused = if one.status == 409 { one } else { other };
    assert_eq!(refused.problem(409, "user_exists")["errors"][0]["pointer"], "/name");
}

async fn whoever_asks_learns_what_they_may_do(server: Arc<Server>) {
    let me = server.client.get("/me").send().await.json(200);
    let all = json!(["writer", "reader", "auditor", "admin", "superadmin"]);
    let expected = json!({"user": ADMIN, "user_tenant": "default", "tenant": "default", "roles": all,
                          "via": "password"});
    assert_eq!(me, expected);

    let body = json!({"roles": ["reader", "writer"], "expires_in": "1d", "label": "invoices"});
    let token = post(&server, "/tokens", &body).send().await.json(201);
    let me = server.client.get("/me").bearer(token["token"].as_str().unwrap()).send().await.json(200);
    assert_eq!((&me["via"], &me["roles"]), (&json!("token"), &json!(["writer", "reader"])));
    assert_eq!((&me["token"]["prefix"], &me["token"]["label"]), (&token["prefix"], &json!("invoices")));
    assert_eq!(me["token"]["expires_at"], token["expires_at"]);

    changes::create_tenant(&server.store.control, "acme").await.unwrap();
    let body = json!({"name": "robot", "roles": ["writer"], "login": "machine_secret"});
    let robot = post(&server, "/users", &body).header("x-tenant", "acme").send().await.json(201);
    let me = status_as(&server, "acme/robot", robot["secret"].as_str().unwrap()).await.json(200);
    assert_eq!((&me["via"], &me["tenant"]), (&json!("machine_secret"), &json!("acme")));
    let me = server.client.get("/me").header("x-tenant", "acme").send().await.json(200);
    assert_eq!((&me["user_tenant"], &me["tenant"]), (&json!("default"), &json!("acme")));
}

async fn the_own_password_is_changed_by_who_knows_it(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "writer").await;
    let change = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let as_ann = |body: &Value| put(&server, "/me/password", body).user("ann", PASSWORD).send();

    let wrong = as_ann(&change("a guess", "something new")).await.problem(422, "wrong_password");
    assert_eq!(wrong["errors"][0]["pointer"], "/current_password");
    let short = as_ann(&change(PASSWORD, "short")).await.problem(422, "invalid_body");
    assert_eq!(short["errors"][0]["pointer"], "/new_password");
    as_ann(&json!({"new_password": "something new"})).await.problem(422, "invalid_body");
    status_as(&server, "ann", PASSWORD).await.json(200);

    let token = server.add_token("ann", "writer").await;
    let by_token = put(&server, "/me/password", &change(PASSWORD, "something new")).bearer(&token);
    by_token.send().await.problem(403, "password_login_needed");
    let body = json!({"name": "robot", "roles": ["writer"], "login": "machine_secret"});
    let robot = post(&server, "/users", &body).send().await.json(201);
    let secret = robot["secret"].as_str().unwrap();
    let by_robot = put(&server, "/me/password", &change("anything", "something new")).user("robot", secret);
    by_robot.send().await.problem(403, "password_login_needed");

    let changed = as_ann(&change(PASSWORD, "something new")).await;
    assert_eq!((changed.status.as_u16(), changed.body.len()), (204, 0));
    assert_eq!(status_as(&server, "ann", PASSWORD).await.status, 401);
    status_as(&server, "ann", "something new").await.json(200);
    server.client.get("/me").bearer(&token).send().await.json(200);
}

/// Who knows an old password must not win a race against the admin who takes the account away from them.
async fn a_password_that_an_admin_reset_meanwhile_stays(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "writer").await;
    let control = &server.store.control;
    let find = async || {
        let found = eventlogger::store::principals::users::find_login(control, DEFAULT_TENANT, "ann").await;
        found.unwrap().unwrap().password_hash.unwrap()
    };
    let known = find().await;
    put(&server, "/users/ann/password", &json!({"password": "set by the admin"})).send().await.json(200);
    let new = StoredCredential::Password(known.clone());
    let late = replace_password(control, &changes::operator(), DEFAULT_TENANT, "ann", &known, &new).await;
    assert!(matches!(late, Err(ChangeError::CredentialChanged)), "{late:?}");
    assert_ne!(find().await, known);
    status_as(&server, "ann", "set by the admin").await.json(200);
}

async fn a_flood_of_new_passwords_is_told_to_come_back(server: Arc<Server>) {
    let small = server
        .another_instance_with(|config| {
            config.auth.argon2_slots = 1;
            config.auth.argon2_queue = 2;
        })
        .await;
    // Logged in before the flood, which would otherwise take its slot.
    small.client.get("/me").send().await.json(200);
    let add = |n: usize| {
        let body = json!({"name": format!("u{n}"), "roles": ["writer"], "password": "long enough"});
        post(&small, "/users", &body).send()
    };
    let answers = futures_util::future::join_all((0..40).map(add)).await;
    let mut added = 0;
    for answer in &answers {
        if answer.status == 201 {
            added += 1;
        } else {
            answer.problem(503, "login_busy");
            assert!(answer.header("retry-after").is_some());
        }
    }
    assert!((1..40).contains(&added), "{added} of 40 were added");
    let listed = small.client.get("/users").send().await.json(200);
    assert_eq!(listed["users"].as_array().unwrap().len(), added + 1, "who was refused is not there");
    small.stop().await;
}

/// Holds up all changes until it is rolled back.
async fn hold_up_changes(server: &Server) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut lock = server.database.begin().await.unwrap();
    sqlx::query("SELECT FROM credential_revision FOR UPDATE").execute(&mut *lock).await.unwrap();
    lock
}

async fn wait_until_a_change_waits(server: &Server) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(async || count(&server.database, waiting).await > 0).await;
}

async fn user_exists(server: &Server, name: &str) -> bool {
    server.client.get(&format!("/users/{name}")).send().await.status == 200
}

async fn a_client_that_leaves_does_not_stop_its_change(server: Arc<Server>) {
    let lock = hold_up_changes(&server).await;
    let body = r#"{"name": "ann", "roles": ["writer"], "login": "machine_secret"}"#;
    let request = format!(
        "POST /users HTTP/1.1\r\nhost: log\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        basic(ADMIN, PASSWORD),
        body.len()
    );
    let mut connection = TcpStream::connect(server.client.address()).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    wait_until_a_change_waits(&server).await;
    drop(connection);
    lock.rollback().await.unwrap();
    eventually(async || user_exists(&server, "ann").await).await;
    let told = "SELECT count(*) FROM service_events WHERE target = 'user/ann'";
    assert_eq!(count(&server.database, told).await, 1);
}

async fn a_change_that_waits_too_long_is_given_up_and_can_be_repeated(server: Arc<Server>) {
    let lock = hold_up_changes(&server).await;
    let body = json!({"name": "ann", "roles": ["writer"], "login": "machine_secret"});
    let refused = post(&server, "/users", &body).send().await;
    refused.problem(503, "changes_busy");
    assert!(refused.header("retry-after").is_some());
    assert!(!user_exists(&server, "ann").await, "reading needs no lock");
    lock.rollback().await.unwrap();
    post(&server, "/users", &body).send().await.json(201);
}

async fn a_change_whose_session_is_lost_is_in_doubt(server: Arc<Server>) {
    let lock = hold_up_changes(&server).await;
    let body = json!({"name": "ann", "roles": ["writer"], "login": "machine_secret"});
    let change = tokio::spawn(post(&server, "/users", &body).send());
    wait_until_a_change_waits(&server).await;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
    sqlx::query(kill).execute(&server.database).await.unwrap();
    let problem = change.await.unwrap().problem(503, "change_in_doubt");
    assert!(problem["detail"].as_str().unwrap().contains("before you repeat it"), "{problem}");
    lock.rollback().await.unwrap();
    assert!(!user_exists(&server, "ann").await);
    post(&server, "/users", &body).send().await.json(201);
}
