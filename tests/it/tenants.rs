//! Two tenants in one service: neither can see, count or guess what the other has.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::changes::create_tenant;
use crate::harness::{PASSWORD, Server, tests};
use crate::http::Response;

tests![
    lists_and_searches_hold_only_the_own_events,
    an_id_of_another_tenant_is_as_unknown_as_any,
    a_cursor_of_another_tenant_is_refused,
    idempotency_keys_and_seqs_are_counted_apart,
    names_and_passwords_of_one_tenant_mean_nothing_in_the_other,
    the_status_of_the_log_is_that_of_the_own_tenant,
];

const ROLES: [&str; 2] = ["reader", "writer"];

/// A user of one tenant.
struct Tenant {
    server: Arc<Server>,
    login: &'static str,
}

impl Tenant {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let request = self.server.client.request(method, path).user(self.login, PASSWORD);
        match body {
            Some(body) => request.json(body.to_string()).send().await,
            None => request.send().await,
        }
    }

    async fn record(&self, body: &Value) -> Response {
        self.call(Method::POST, "/events", Some(body)).await
    }

    async fn read(&self, path: &str) -> Response {
        self.call(Method::GET, path, None).await
    }

    /// The ids that a list or search shows.
    async fn ids(&self, path: &str) -> Vec<Value> {
        let page = self.read(path).await.json(200);
        page["events"].as_array().unwrap().iter().map(|event| event["id"].clone()).collect()
    }
}

/// Two tenants with a user called ann each.
async fn two(server: &Arc<Server>) -> (Tenant, Tenant) {
    for tenant in ["acme", "zeta"] {
        create_tenant(&server.store.control, tenant).await.unwrap();
        server.add_user_of(tenant, "ann", PASSWORD, &ROLES).await;
    }
    let tenant = |login| Tenant { server: Arc::clone(server), login };
    (tenant("acme/ann"), tenant("zeta/ann"))
}

fn event(n: u32) -> Value {
    json!({"event_type": "t", "user_identity": "u", "event_data": {"n": n}, "correlation_id": "c"})
}

async fn lists_and_searches_hold_only_the_own_events(server: Arc<Server>) {
    let (acme, zeta) = two(&server).await;
    let ours = acme.record(&event(1)).await.json(201)["id"].clone();
    let theirs = zeta.record(&event(1)).await.json(201)["id"].clone();
    let admin = server.client.post("/events").json(event(1).to_string()).send().await.json(201)["id"].clone();
    for path in ["/events", "/events/query?n=1", "/events?type=t&correlation_id=c", "/events?seq=0"] {
        assert_eq!(acme.ids(path).await, std::slice::from_ref(&ours), "{path}");
        assert_eq!(zeta.ids(path).await, std::slice::from_ref(&theirs), "{path}");
        let default = server.client.get(path).send().await.json(200);
        assert_eq!(
            default["events"][0]["id"], admin,
            "{path}: whoever has all roles sees only the own tenant"
        );
        assert_eq!(default["events"].as_array().unwrap().len(), 1, "{path}");
    }
    let filter = json!({"filter": {"field": "event_data.n", "value": 1}});
    let page = zeta.call(Method::POST, "/events/query", Some(&filter)).await.json(200);
    assert_eq!((page["events"].as_array().unwrap().len(), &page["events"][0]["id"]), (1, &theirs));
    let by_id = format!("/events?id={}", ours.as_str().unwrap());
    assert_eq!(zeta.ids(&by_id).await, [Value::Null; 0]);
}

async fn an_id_of_another_tenant_is_as_unknown_as_any(server: Arc<Server>) {
    let (acme, zeta) = two(&server).await;
    let recorded = acme.record(&event(1)).await.json(201);
    let theirs = recorded["id"].as_str().unwrap();
    let mut unknown = theirs.to_owned();
    unknown.replace_range(35.., if theirs.ends_with('0') { "1" } else { "0" });
    for path in ["", "/payload"] {
        acme.read(&format!("/events/{theirs}{path}")).await.json(200);
        let foreign = zeta.read(&format!("/events/{theirs}{path}")).await;
        let nobodys = zeta.read(&format!("/events/{unknown}{path}")).await;
        foreign.problem(404, "not_found");
        assert_eq!((foreign.status, foreign.text()), (nobodys.status, nobodys.text()));
        let mut names: Vec<_> = foreign.headers.keys().collect();
        let mut others: Vec<_> = nobodys.headers.keys().collect();
        names.sort_unstable_by_key(|name| name.as_str());
        others.sort_unstable_by_key(|name| name.as_str());
        assert_eq!(names, others);
    }
}

async fn a_cursor_of_another_tenant_is_refused(server: Arc<Server>) {
    let (acme, zeta) = two(&server).await;
    for n in 0..3 {
        acme.record(&event(n)).await.json(201);
        zeta.record(&event(n)).await.json(201);
    }
    let page = acme.read("/events?limit=1").await.json(200);
    let next = page["next"].as_str().unwrap();
    let problem = zeta.read(next).await.problem(400, "bad_cursor");
    assert_eq!(problem["reason"], "other_tenant");
    acme.read(next).await.json(200);
}

async fn idempotency_keys_and_seqs_are_counted_apart(server: Arc<Server>) {
    let (acme, zeta) = two(&server).await;
    let mut keyed = event(1);
    keyed["idempotency_key"] = json!("k");
    let first = acme.record(&keyed).await.json(201);
    let other = zeta.record(&keyed).await.json(201);
    assert_ne!(first["id"], other["id"]);
    assert_eq!((&first["seq"], &other["seq"]), (&json!(0), &json!(0)));
    keyed["event_data"]["n"] = json!(2);
    let conflict = zeta.record(&keyed).await.problem(409, "idempotency_conflict");
    assert_eq!(conflict["id"], other["id"], "the conflict names the own event");
    assert_eq!(acme.record(&event(2)).await.json(201)["seq"], 1);
}

async fn names_and_passwords_of_one_tenant_mean_nothing_in_the_other(server: Arc<Server>) {
    two(&server).await;
    server.add_user_of("acme", "eve", "only in acme", &ROLES).await;
    let get = |login, password| server.client.get("/events").user(login, password).send();
    get("acme/eve", "only in acme").await.json(200);
    for login in ["eve", "zeta/eve", "default/eve", "acme/acme/eve", "ACME/eve", "acme/", "/eve"] {
        let refused = get(login, "only in acme").await;
        assert_eq!(refused.status, 401, "{login}: {}", refused.text());
    }
    // The header that superadmins have for it opens no other tenant, and does not tell whether there is one.
    for tenant in ["zeta", "default", "nowhere"] {
        let request = server.client.get("/events").user("acme/eve", "only in acme");
        request.header("x-tenant", tenant).send().await.problem(403, "tenant_forbidden");
    }
}

async fn the_status_of_the_log_is_that_of_the_own_tenant(server: Arc<Server>) {
    let (acme, zeta) = two(&server).await;
    for n in 0..3 {
        acme.record(&event(n)).await.json(201);
    }
    let size = |status: Value| status["log"]["size"].as_u64().unwrap();
    assert_eq!(size(acme.read("/status").await.json(200)), 3);
    assert_eq!(size(zeta.read("/status").await.json(200)), 0);
    let theirs = zeta.read("/status").await.json(200).to_string();
    assert!(!theirs.contains("acme"), "{theirs}");
}
