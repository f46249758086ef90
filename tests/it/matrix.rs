//! Roles against operations: each operation of the document is called by each role, and succeeds or is refused
//! as the document says. A new operation needs a line in [`recipe`].

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use eventlogger::auth::DEFAULT_TENANT;
use eventlogger::store::principals::tokens;
use eventlogger::store::principals::users::StoredCredential;
use serde_json::json;

use crate::changes;
use crate::harness::{ADMIN, PASSWORD, Server, event, tests};
use crate::http::Request;
use crate::operations::{Operation, operations};

tests![each_operation_serves_the_roles_of_the_document_and_refuses_the_others];

const ROLES: [&str; 5] = ["writer", "reader", "auditor", "admin", "superadmin"];

/// What a call is about, new for each call: many destroy it.
struct Things {
    user: String,
    prefix: String,
    event: String,
}

impl Things {
    async fn new(server: &Server, number: usize) -> Self {
        let recorded = json!({"event_type": "t", "user_identity": "u", "event_data": 1}).to_string();
        let recorded = server.client.post("/events?receipt=none").json(recorded).send().await.json(201);
        let event = recorded["id"].as_str().unwrap().to_owned();
        let user = format!("target-{number}");
        let credential = StoredCredential::MachineSecret([0; 32]);
        let control = &server.store.control;
        changes::create_user(control, DEFAULT_TENANT, &user, &credential, &["writer"]).await.unwrap();
        server.add_token(&user, "writer").await;
        let tokens = tokens::page_of_tokens(control, DEFAULT_TENANT, Some(&user), "", 1).await.unwrap();
        Self { user, prefix: tokens[0].prefix.clone(), event }
    }
}

/// The body and the answer of a call that succeeds.
fn recipe(operation: &str, things: &Things) -> (Option<String>, u16) {
    let Things { user, .. } = things;
    let object = |value: serde_json::Value| Some(value.to_string());
    match operation {
        "list_events" | "query_events" | "get_event" | "get_event_payload" | "export_events" => (None, 200),
        "list_users" | "get_user" | "list_tokens" | "get_token" | "list_tenants" | "get_tenant" => {
            (None, 200)
        }
        "get_me" | "get_status" | "get_metrics" => (None, 200),
        "get_log_key" | "get_checkpoint" | "list_checkpoints" | "get_consistency" | "get_event_proof" => {
            (None, 200)
        }
        "get_tlog_checkpoint" | "get_tlog_epoch_checkpoint" | "get_tlog_tile" | "get_tlog_epoch_tile" => {
            (None, 200)
        }
        "record_event" => (Some(event("t")), 201),
        "record_batch" => (Some(format!("[{}]", event("t"))), 201),
        "record_flat" => (object(json!({})), 201),
        "search_events" => (object(json!({})), 200),
        "set_own_password" => (object(json!({"current_password": PASSWORD, "new_password": PASSWORD})), 204),
        "add_user" => {
            let (name, roles) = (format!("friend-of-{user}"), ["writer"]);
            (object(json!({"name": name, "roles": roles, "login": "machine_secret"})), 201)
        }
        "update_user" => (object(json!({"disabled": true, "roles": ["reader"]})), 200),
        "set_user_password" => (object(json!({"login": "machine_secret"})), 200),
        "create_token" => (object(json!({"owner": user, "roles": ["writer"]})), 201),
        "update_tenant" => (object(json!({"public_proofs": false})), 200),
        "add_tenant" => (object(json!({"name": format!("of-{user}")})), 201),
        "redact_event" => (None, 200),
        "start_log_check" => (None, 202),
        "get_log_check" => (None, 200),
        "reconcile_events" => {
            let kept = json!({"id": things.event, "leaf_hash": STANDARD.encode([0; 32])});
            (object(json!({"events": [kept]})), 200)
        }
        "remove_user" | "revoke_token" => (None, 204),
        _ => panic!("{operation} is new: say here how it is called, and what it answers whom it serves"),
    }
}

#[derive(Clone)]
enum Caller {
    User(&'static str),
    Token { role: &'static str, token: String },
}

impl Caller {
    fn role(&self) -> &'static str {
        match self {
            Self::User(role) | Self::Token { role, .. } => role,
        }
    }

    fn sign(&self, request: Request) -> Request {
        match self {
            Self::User(role) => request.user(&format!("a-{role}"), PASSWORD),
            Self::Token { token, .. } => request.bearer(token),
        }
    }
}

async fn callers(server: &Server) -> Vec<Caller> {
    let mut callers = Vec::new();
    for role in ROLES {
        server.add_user(&format!("a-{role}"), PASSWORD, role).await;
        callers.push(Caller::User(role));
        // Its owner has all roles; that must not matter.
        callers.push(Caller::Token { role, token: server.add_token(ADMIN, role).await });
    }
    callers
}

fn call(server: &Server, operation: &Operation, things: &Things) -> (Request, u16) {
    let name = if operation.template.starts_with("/tenants/") { DEFAULT_TENANT } else { &things.user };
    let filled = [
        ("{id}", things.event.as_str()),
        ("{name}", name),
        ("{prefix}", &things.prefix),
        ("{tenant}", DEFAULT_TENANT),
        ("{epoch}", "e0"),
        ("{path}", "entries/000.p/1"),
    ];
    let query = match operation.id.as_str() {
        "get_consistency" => "?first=0",
        "redact_event" => "?reason=test",
        _ => "",
    };
    let path = operation.path_to(&filled) + query;
    let request = server.client.request(operation.method.clone(), &path);
    match recipe(&operation.id, things) {
        (Some(body), status) => (request.json(body), status),
        (None, status) => (request, status),
    }
}

async fn each_operation_serves_the_roles_of_the_document_and_refuses_the_others(server: Arc<Server>) {
    let callers = callers(&server).await;
    // For what reads how it goes.
    server.client.post("/integrity/verify").send().await.json(202);
    let mut calls = 0;
    for operation in operations(&server).await {
        let Some(needed) = operation.role() else { continue };
        for caller in &callers {
            calls += 1;
            let things = Things::new(&server, calls).await;
            let (request, status) = call(&server, &operation, &things);
            let response = caller.sign(request).send().await;
            let context = format!("{} as {}", operation.id, caller.role());
            let is_token = matches!(caller, Caller::Token { .. });
            if needed != "any" && needed != caller.role() {
                let problem = response.problem(403, "role_missing");
                assert_eq!(problem["role"], needed, "{context}");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(&format!("role {needed}")), "{context}: {detail}");
            } else if operation.id == "set_own_password" && is_token {
                response.problem(403, "password_login_needed");
            } else if operation.id == "get_event_proof" && caller.role() != "reader" {
                // Also for whoever recorded the event, which these are not.
                response.problem(403, "role_missing");
            } else {
                assert_eq!(response.status, status, "{context}: {}", response.text());
            }
        }
        let things = Things::new(&server, 1_000 + calls).await;
        let (request, _) = call(&server, &operation, &things);
        request.anonymous().send().await.problem(401, "unauthenticated");
    }
}
