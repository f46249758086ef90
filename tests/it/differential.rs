//! Two tenants: whatever one asks about a thing of the other, the answer is that of a thing which does not exist,
//! down to its headers and the time it takes. A new operation with a parameter in its path, or with a cursor,
//! needs a line in [`probes`].

use std::sync::Arc;
use std::time::Instant;

use eventlogger::store::principals::tokens;
use serde_json::json;
use uuid::Uuid;

use crate::changes::create_tenant;
use crate::harness::{PASSWORD, Server, tests};
use crate::http::{Request, Response};
use crate::journal::Random;
use crate::operations::{Operation, operations};
use crate::statistics::mann_whitney_p;

tests![
    a_thing_of_another_tenant_is_answered_like_one_that_is_nowhere,
    how_long_the_answer_takes_does_not_tell_either,
];

/// Pairs of calls whose times are compared.
const PAIRS: usize = 300;
/// With a dozen operations and a second try, chance fails the test once in a hundred thousand runs.
const P_MIN: f64 = 0.001;

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Event,
    User,
    Token,
    Tenant,
    /// Of a page of events. Whoever holds one knows already that it is somebody's.
    Cursor,
}

/// One way to ask for a thing. `{}` stands for it, in the path or in the body.
struct Probe {
    kind: Kind,
    path: &'static str,
    body: Option<&'static str>,
    status: u16,
}

const fn probe(kind: Kind, path: &'static str, status: u16) -> Probe {
    Probe { kind, path, body: None, status }
}

const fn with_body(probe: Probe, body: &'static str) -> Probe {
    Probe { body: Some(body), ..probe }
}

fn probes(operation: &str) -> Vec<Probe> {
    use Kind::{Cursor, Event, Tenant, Token, User};
    match operation {
        "list_events" => {
            vec![probe(Cursor, "/events?limit=1&cursor={}", 400), probe(Event, "/events?id={}", 200)]
        }
        "query_events" => vec![
            probe(Cursor, "/events/query?limit=1&cursor={}", 400),
            probe(Event, "/events/query?id={}", 200),
        ],
        "export_events" => vec![probe(Event, "/events/export?format=csv&columns=seq&id={}", 200)],
        "search_events" => vec![
            with_body(probe(Cursor, "/events/query", 400), r#"{"limit": 1, "cursor": "{}"}"#),
            with_body(probe(Event, "/events/query", 200), r#"{"filter": {"field": "id", "value": "{}"}}"#),
        ],
        "get_event" => vec![probe(Event, "/events/{}", 404)],
        "get_event_payload" => vec![probe(Event, "/events/{}/payload", 404)],
        "redact_event" => vec![probe(Event, "/events/{}?reason=test", 404)],
        "list_checkpoints" => vec![probe(Event, "/integrity/checkpoints?after={}", 400)],
        "reconcile_events" => vec![with_body(
            probe(Event, "/integrity/reconcile", 200),
            r#"{"events": [{"id": "{}", "leaf_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}"#,
        )],
        "get_event_proof" => vec![probe(Event, "/events/{}/proof", 404)],
        "get_tlog_checkpoint" => vec![probe(Tenant, "/tlog/{}/checkpoint", 404)],
        "get_tlog_epoch_checkpoint" => vec![probe(Tenant, "/tlog/{}/e0/checkpoint", 404)],
        "get_tlog_tile" => vec![probe(Tenant, "/tlog/{}/tile/0/000.p/1", 404)],
        "get_tlog_epoch_tile" => vec![probe(Tenant, "/tlog/{}/e0/tile/0/000.p/1", 404)],
        "list_users" => vec![probe(User, "/users?after={}", 200)],
        "get_user" => vec![probe(User, "/users/{}", 404)],
        "update_user" => vec![with_body(probe(User, "/users/{}", 404), r#"{"disabled": true}"#)],
        "set_user_password" => {
            vec![with_body(probe(User, "/users/{}/password", 404), r#"{"password": "a new password"}"#)]
        }
        "remove_user" => vec![probe(User, "/users/{}", 404)],
        "list_tokens" => vec![probe(Token, "/tokens?after={}", 200), probe(User, "/tokens?owner={}", 200)],
        "get_token" | "revoke_token" => vec![probe(Token, "/tokens/{}", 404)],
        "create_token" => {
            vec![with_body(probe(User, "/tokens", 422), r#"{"owner": "{}", "roles": ["writer"]}"#)]
        }
        // Only superadmins, whom nothing is hidden from, get beyond the role.
        "list_tenants" => vec![probe(Tenant, "/tenants?after={}", 403)],
        "get_tenant" => vec![probe(Tenant, "/tenants/{}", 403)],
        "update_tenant" => {
            vec![with_body(probe(Tenant, "/tenants/{}", 403), r#"{"public_proofs": true}"#)]
        }
        _ => Vec::new(),
    }
}

/// What `acme` has, and who asks in `zeta`.
struct Scene {
    server: Arc<Server>,
    event: Uuid,
    token: String,
    cursor: String,
    random: Random,
}

const USER: &str = "francesca";
const TENANT: &str = "acme";

impl Scene {
    async fn new(server: Arc<Server>) -> Self {
        for (tenant, user) in [(TENANT, USER), ("zeta", "zoe")] {
            create_tenant(&server.store.control, tenant).await.unwrap();
            server.add_user_of(tenant, user, PASSWORD, &["writer", "reader", "auditor", "admin"]).await;
        }
        let acme = |request: Request| request.user("acme/francesca", PASSWORD);
        let body = json!({"event_type": "t", "user_identity": "u", "event_data": {"n": 1}}).to_string();
        acme(server.client.post("/events")).json(body.clone()).send().await.json(201);
        let event = acme(server.client.post("/events")).json(body).send().await.json(201);
        let page = acme(server.client.get("/events?limit=1")).send().await.json(200);
        let body = json!({"roles": ["writer"]}).to_string();
        let token = acme(server.client.post("/tokens")).json(body).send().await.json(201);
        Self {
            event: event["id"].as_str().unwrap().parse().unwrap(),
            token: token["prefix"].as_str().unwrap().to_owned(),
            cursor: page["next_cursor"].as_str().unwrap().to_owned(),
            random: Random::new(7),
            server,
        }
    }

    fn theirs(&self, kind: Kind) -> String {
        match kind {
            Kind::Event => self.event.to_string(),
            Kind::User => USER.to_owned(),
            Kind::Token => self.token.clone(),
            Kind::Tenant => TENANT.to_owned(),
            Kind::Cursor => self.cursor.clone(),
        }
    }

    /// Of the same form and length, and nobody's.
    fn nobodys(&mut self, kind: Kind) -> String {
        let random = &mut self.random;
        let mut letters = |count: usize| -> String {
            (0..count).map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap())).collect()
        };
        match kind {
            // Received in the same millisecond, as it tells everybody.
            Kind::Event => {
                let tail = u128::from(random.below(1 << 62));
                Uuid::from_u128(self.event.as_u128() & !((1 << 62) - 1) | tail).to_string()
            }
            Kind::User => letters(USER.len()),
            Kind::Token => letters(self.token.len()),
            Kind::Tenant => letters(TENANT.len()),
            Kind::Cursor => letters(self.cursor.len()),
        }
    }

    async fn ask(&self, operation: &Operation, probe: &Probe, thing: &str) -> Response {
        let path = probe.path.replace("{}", thing);
        let request = self.server.client.request(operation.method.clone(), &path);
        let request = request.user("zeta/zoe", PASSWORD);
        match probe.body {
            Some(body) => request.json(body.replace("{}", thing)).send().await,
            None => request.send().await,
        }
    }

    /// How many microseconds the answers take, about theirs and about nobody's.
    async fn times(&mut self, operation: &Operation, probe: &Probe) -> (Vec<f64>, Vec<f64>) {
        let (mut theirs, mut nobodys) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let things = [self.theirs(probe.kind), self.nobodys(probe.kind)];
            // Neither may always be the second.
            let first = usize::try_from(self.random.below(2)).unwrap();
            for index in [first, 1 - first] {
                let started = Instant::now();
                let response = self.ask(operation, probe, &things[index]).await;
                let took = started.elapsed().as_secs_f64() * 1e6;
                assert_eq!(response.status, probe.status, "{}", operation.id);
                if index == 0 { &mut theirs } else { &mut nobodys }.push(took);
            }
        }
        (theirs, nobodys)
    }
}

impl Scene {
    /// How likely it is that a read of one row and a list of it take equally long: they do not.
    async fn sees_one_statement_more(&self) -> f64 {
        let (mut own, mut unknown) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            // Who is unknown costs a second statement, which looks for a name like it.
            for (path, status, times) in [("/users/zoe", 200, &mut own), ("/users/zzzzz", 404, &mut unknown)]
            {
                let started = Instant::now();
                let response = self.server.client.get(path).user("zeta/zoe", PASSWORD).send().await;
                times.push(started.elapsed().as_secs_f64());
                assert_eq!(response.status, status, "{path}");
            }
        }
        mann_whitney_p(&own, &unknown)
    }
}

/// The probes of all operations that can be asked about a thing.
async fn all_probes(server: &Server) -> Vec<(Operation, Probe)> {
    let mut all = Vec::new();
    for operation in operations(server).await {
        let probes = probes(&operation.id);
        let needs_one =
            operation.template.contains('{') || operation.takes("cursor") || operation.takes("after");
        assert!(
            !probes.is_empty() || !needs_one,
            "{} is new: say here how it is asked about a thing of another tenant",
            operation.id
        );
        all.extend(probes.into_iter().map(|probe| (operation.clone(), probe)));
    }
    assert!(all.len() >= 18, "{} probes", all.len());
    all
}

fn header_names(response: &Response) -> Vec<&str> {
    let mut names: Vec<&str> = response.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

async fn a_thing_of_another_tenant_is_answered_like_one_that_is_nowhere(server: Arc<Server>) {
    let mut scene = Scene::new(Arc::clone(&server)).await;
    for (operation, probe) in all_probes(&server).await {
        let (theirs, nobodys) = (scene.theirs(probe.kind), scene.nobodys(probe.kind));
        let foreign = scene.ask(&operation, &probe, &theirs).await;
        let unknown = scene.ask(&operation, &probe, &nobodys).await;
        let context = format!("{} {}", operation.id, probe.path);
        assert_eq!(foreign.status, probe.status, "{context}: {}", foreign.text());
        assert_eq!(unknown.status, probe.status, "{context}: {}", unknown.text());
        assert_eq!(header_names(&foreign), header_names(&unknown), "{context}");
        match probe.kind {
            Kind::Cursor => {
                foreign.problem(400, "bad_cursor");
                unknown.problem(400, "bad_cursor");
            }
            // An answer may repeat what was asked for.
            _ => assert_eq!(foreign.text().replace(&theirs, &nobodys), unknown.text(), "{context}"),
        }
    }
    // Whether there is a tenant is nothing that others learn by naming it.
    for tenant in [TENANT, "nowhere"] {
        let request = server.client.get("/me").user("zeta/zoe", PASSWORD).header("x-tenant", tenant);
        request.send().await.problem(403, "tenant_forbidden");
    }
    // And nothing has happened to what is theirs.
    let acme = server.client.get("/users").user("acme/francesca", PASSWORD).send().await.json(200);
    assert_eq!((&acme["users"][0]["name"], &acme["users"][0]["disabled"]), (&json!(USER), &json!(false)));
    let tokens = tokens::page_of_tokens(&server.store.control, TENANT, None, "", 10).await.unwrap();
    assert!(tokens.len() == 1 && tokens[0].revoked_at.is_none(), "{tokens:?}");
}

async fn how_long_the_answer_takes_does_not_tell_either(server: Arc<Server>) {
    let mut scene = Scene::new(Arc::clone(&server)).await;
    assert!(scene.sees_one_statement_more().await < P_MIN, "this test would not see a difference");
    for (operation, probe) in all_probes(&server).await {
        if probe.status != 404 {
            continue;
        }
        // A machine at work on other things disturbs both alike; now and then it does not, also twice. What tells, tells always.
        let mut found = Vec::new();
        while found.len() < 4 && found.iter().all(|p| *p < P_MIN) {
            let (theirs, nobodys) = scene.times(&operation, &probe).await;
            found.push(mann_whitney_p(&theirs, &nobodys));
        }
        assert!(found.iter().any(|p| *p >= P_MIN), "{}: the time tells: p = {found:?}", operation.id);
    }
}
