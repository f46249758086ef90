//! The answers of the operations that read, without a server around them.

use std::net::IpAddr;
use std::sync::Arc;

use eventlogger::api::caller::{Authenticate, Authenticator};
use eventlogger::api::query::QueryApi;
use eventlogger::auth::{AuthError, Principal, Roles, Tenant, Wanted};
use eventlogger::query::cursor::CursorKey;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use poem::{Endpoint, EndpointExt, Request, Response};
use poem_openapi::OpenApiService;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

crate::harness::database_tests![
    next_leads_through_all_pages_and_then_is_absent,
    the_json_spelling_pages_by_its_cursor,
    a_cursor_serves_nothing_but_its_own_search,
    an_event_and_its_exact_payload_are_read_by_id,
    an_id_of_another_tenant_is_as_unknown_as_any,
    what_is_not_understood_is_refused_without_asking_the_database,
];

/// Everybody is a reader of the tenant in the `tenant` header.
struct ByHeader;

impl Authenticate for ByHeader {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
        _: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Arc<Principal>, AuthError>> {
        Box::pin(async {
            let id = headers["tenant"].to_str().unwrap().parse().unwrap();
            let tenant = Arc::new(Tenant { id, name: "t".to_owned(), log_id: Uuid::nil() });
            let roles = Roles::from_names(["reader"]);
            let (home, user) = (Arc::clone(&tenant), "ann".to_owned());
            Ok(Arc::new(Principal { tenant, home, user_id: 1, user, token_prefix: None, roles }))
        })
    }

    fn note_denial(&self, _: &Principal, _: Option<IpAddr>, _: Wanted) {}
}

struct Reader(PgPool);

impl Reader {
    async fn call(&self, tenant: i32, method: Method, uri: &str, body: &str) -> Response {
        let api = QueryApi::new(self.0.clone(), CursorKey::new([7; 32]));
        let service = OpenApiService::new(api, "", "").data(Arc::new(ByHeader) as Authenticator);
        let request = Request::builder()
            .method(method)
            .uri(uri.parse().unwrap())
            .content_type("application/json")
            .header("tenant", tenant)
            .body(body.to_owned());
        service.get_response(request).await
    }

    async fn get(&self, uri: &str) -> (StatusCode, Value) {
        json(self.call(1, Method::GET, uri, "").await).await
    }

    async fn post(&self, body: &str) -> (StatusCode, Value) {
        json(self.call(1, Method::POST, "/events/query", body).await).await
    }
}

async fn json(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.into_body().into_vec().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn seqs(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// Five events of tenant 1, `{"k": seq % 2}` each, and one of tenant 2, whose ids end in the seq.
async fn reader(pool: PgPool) -> Reader {
    for statement in [
        "CREATE TABLE events_2001_01 PARTITION OF events FOR VALUES FROM ('2001-01-01Z') TO ('2001-02-01Z')",
        r#"INSERT INTO events (tenant_id, seq, received_at, id, kind, envelope_v, projection_v, level, event_type,
               user_identity, "timestamp", recorded_by, entry, envelope_salt, payload_salt, lossy, payload, event_data)
           SELECT CASE WHEN n = 6 THEN 2 ELSE 1 END, n, '2001-01-10Z', ('00e3f600-7000-7000-8000-00000000000' || n)::uuid,
               1, 1, 1, 2, 'login', 'ann', '2001-01-10Z', 'user:ann', decode(repeat('00', 118), 'hex'),
               decode(repeat('01', 16), 'hex'), decode(repeat('01', 16), 'hex'), false,
               convert_to('{ "k": ' || n % 2 || ' }', 'UTF8'), jsonb_build_object('k', n % 2)
           FROM generate_series(1, 6) n"#,
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    Reader(pool)
}

fn id(seq: u8) -> String {
    format!("00e3f600-7000-7000-8000-00000000000{seq}")
}

async fn next_leads_through_all_pages_and_then_is_absent(pool: PgPool) {
    let reader = reader(pool).await;
    let response = reader.call(1, Method::GET, "/events?type=login&limit=2", "").await;
    let link = response.headers()["link"].to_str().unwrap().to_owned();
    let (_, mut page) = json(response).await;
    let mut all = seqs(&page);
    assert_eq!(link, format!("<{}>; rel=\"next\"", page["next"].as_str().unwrap()));
    while let Some(next) = page["next"].as_str() {
        let query = next.split_once('?').unwrap().1;
        let (status, following) = reader.get(&format!("/events/query?{query}")).await;
        assert_eq!((status, &following["complete"]), (StatusCode::OK, &true.into()));
        all.extend(seqs(&following));
        page = following;
    }
    assert_eq!(all, [5, 4, 3, 2, 1]);
    assert_eq!(page.get("next_cursor"), None);
}

async fn the_json_spelling_pages_by_its_cursor(pool: PgPool) {
    let reader = reader(pool).await;
    let body = |cursor: &str| format!(r#"{{"filter": {{"field": "k", "value": 1}}, "limit": 2{cursor}}}"#);
    let (_, first) = reader.post(&body("")).await;
    assert_eq!((seqs(&first), first.get("next")), (vec![5, 3], None));
    let cursor = format!(r#", "cursor": {}"#, first["next_cursor"]);
    let (_, second) = reader.post(&body(&cursor)).await;
    assert_eq!((seqs(&second), second.get("next_cursor")), (vec![1], None));
    let (_, strings) = reader.post(r#"{"filter": {"field": "k", "value": "1"}}"#).await;
    assert_eq!(seqs(&strings), [0_u64; 0]);
}

async fn a_cursor_serves_nothing_but_its_own_search(pool: PgPool) {
    let reader = reader(pool).await;
    let (_, page) = reader.get("/events?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    for (tenant, query, reason) in [
        (2, "", "other_tenant"),
        (1, "&k=1", "other_filter"),
        (1, "&sort=timestamp", "other_order"),
        (1, "x", "not_ours"),
    ] {
        let uri = format!("/events?limit=1&cursor={cursor}{query}");
        let (status, problem) = json(reader.call(tenant, Method::GET, &uri, "").await).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &"bad_cursor".into()), "{problem}");
        assert_eq!(
            (&problem["reason"], &problem["errors"][0]["parameter"]),
            (&reason.into(), &"cursor".into())
        );
    }
    sqlx::query(
        "INSERT INTO heads VALUES (1, 5, decode(repeat('00', 32), 'hex'), '', 1, '2001-01-10Z', gen_random_uuid())",
    )
    .execute(&reader.0)
    .await
    .unwrap();
    let (status, problem) = reader.get(&format!("/events?limit=1&cursor={cursor}")).await;
    assert_eq!((status, &problem["reason"]), (StatusCode::CONFLICT, &"other_epoch".into()));
}

async fn an_event_and_its_exact_payload_are_read_by_id(pool: PgPool) {
    let reader = reader(pool).await;
    let (status, event) = reader.get(&format!("/events/{}", id(3))).await;
    assert_eq!((status, &event["seq"], &event["event_data"]["k"]), (StatusCode::OK, &3.into(), &1.into()));
    let payload = reader.call(1, Method::GET, &format!("/events/{}/payload", id(3)), "").await;
    assert_eq!(payload.headers()["content-type"], "application/json");
    assert_eq!(payload.headers()["etag"], format!("\"{}\"", id(3)));
    assert_eq!(payload.into_body().into_vec().await.unwrap(), br#"{ "k": 1 }"#);
}

async fn an_id_of_another_tenant_is_as_unknown_as_any(pool: PgPool) {
    let reader = reader(pool).await;
    for path in ["", "/payload"] {
        let (status, theirs) = reader.get(&format!("/events/{}{path}", id(6))).await;
        let unknown = reader.get(&format!("/events/{}{path}", id(7))).await;
        assert_eq!((status, &theirs["code"]), (StatusCode::NOT_FOUND, &"not_found".into()));
        assert_eq!((status, theirs), unknown);
        let (status, problem) = reader.get(&format!("/events/7{path}")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &"bad_id".into()));
    }
}

async fn what_is_not_understood_is_refused_without_asking_the_database(pool: PgPool) {
    pool.close().await;
    let reader = Reader(pool);
    let (status, problem) = reader.get("/events?limit=0&level=warnin&from=2001-01-01T00:00:00+01:00").await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &"invalid_query".into()));
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!(
        errors.iter().map(|error| &error["parameter"]).collect::<Vec<_>>(),
        ["limit", "level", "from"]
    );
    assert_eq!(errors[1]["hint"], "did you mean WARN?");
    let (status, problem) = reader.post(r#"{"filter": {"field": "a..b", "value": 1}}"#).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (StatusCode::BAD_REQUEST, &"/filter/field".into())
    );
    assert_eq!(problem["errors"][0]["position"], serde_json::json!({"offset": 2, "length": 1}));
    let (status, _) = reader.post(&" ".repeat(64 * 1024 + 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    // And what is understood says that the database is away.
    let (status, problem) = reader.get("/events").await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &"database_unavailable".into()));
}
