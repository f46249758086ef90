//! The front door as a whole, around operations made for the purpose, with neither users nor database.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{HeaderMap, Method, StatusCode, header};
use poem::{Body, Endpoint, Request, RequestBuilder, Response, endpoint::BoxEndpoint};
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
    payload::PlainText,
};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    ApiState, Settings,
    body::{BatchFormat, RawBatch, RawJson},
    caller::{Admin, Authenticate, Caller, Reader, Writer},
    front,
    health::{
        Condition, DatabaseHost, DatabaseStatus, HealthApi, LogStatus, Obstacle, Privileges, Probe,
        QueueStatus,
    },
    metrics::MetricsApi,
    problem::Problem,
    root::RootApi,
    schemas::NewEvent,
};
use crate::{
    auth::{AuthError, Principal, Role, Roles, Tenant, Wanted},
    metrics::Metrics,
};

/// Knows one bearer token for each answer that it can give; its principal writes and reads.
struct Doorman;

impl Authenticate for Doorman {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
        _: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Arc<Principal>, AuthError>> {
        Box::pin(async move {
            match headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
                None => Err(AuthError::Missing),
                Some("Bearer good") => Ok(principal([Role::Writer, Role::Reader])),
                Some("Bearer powerless") => Ok(principal([])),
                Some("Bearer busy") => Err(AuthError::Busy { retry_after: 3 }),
                Some("Bearer throttled") => Err(AuthError::TooManyFailures { retry_after: 7 }),
                Some("Bearer dark") => Err(AuthError::Unavailable),
                Some("Bearer two") => Err(AuthError::Several),
                Some(_) => Err(AuthError::Rejected),
            }
        })
    }

    fn note_denial(&self, _: &Principal, _: Option<IpAddr>, _: Wanted) {}
}

fn principal(roles: impl IntoIterator<Item = Role>) -> Arc<Principal> {
    let tenant = Arc::new(Tenant { id: 1, name: "default".to_owned(), log_id: Uuid::nil() });
    Arc::new(Principal {
        home: Arc::clone(&tenant),
        tenant,
        user_id: 1,
        user: "ann".to_owned(),
        token_prefix: None,
        roles: roles.into_iter().collect::<Roles>(),
    })
}

/// Has as many obstacles as it is told.
struct Idle {
    obstacles: AtomicUsize,
}

impl Probe for Idle {
    fn obstacles(&self) -> BoxFuture<'_, Vec<Obstacle>> {
        let obstacle = Obstacle { check: "database", reason: "it does not answer".to_owned() };
        let obstacles = vec![obstacle; self.obstacles.load(Ordering::Relaxed)];
        Box::pin(async { obstacles })
    }

    fn condition<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Condition, Problem>> {
        Box::pin(async {
            Ok(Condition {
                database: DatabaseStatus {
                    version: "15.6".to_owned(),
                    host: DatabaseHost::Embedded,
                    privileges: Privileges::Separate,
                },
                queue: Some(QueueStatus { events: 0, bytes: 0 }),
                seconds_since_commit: None,
                log: LogStatus { tenant: tenant.name.clone(), size: 7, signed_size: Some(7), refused: None },
                unsafe_settings: Vec::new(),
            })
        })
    }

    fn measure(&self, metrics: &Metrics) {
        metrics.queue_events.set(5);
    }
}

/// Shares a path with [`Shapes`].
struct Lister;

#[OpenApi]
impl Lister {
    /// List
    #[oai(path = "/events", method = "get", operation_id = "list")]
    async fn list(&self, _caller: Caller<Reader>) -> PlainText<String> {
        PlainText(String::new())
    }
}

/// Operations of every shape.
struct Shapes;

#[OpenApi]
impl Shapes {
    /// Record
    #[oai(path = "/events", method = "post", operation_id = "record")]
    async fn record(&self, _caller: Caller<Writer>, body: RawJson<NewEvent>) -> PlainText<String> {
        PlainText(body.bytes.len().to_string())
    }

    /// Record many
    #[oai(path = "/events/batch", method = "post", operation_id = "record_batch")]
    async fn batch(&self, _caller: Caller<Writer>, body: RawBatch<NewEvent>) -> PlainText<String> {
        PlainText(if body.format == BatchFormat::Lines { "lines" } else { "array" }.to_owned())
    }

    /// Read one
    #[oai(path = "/events/:id", method = "get", operation_id = "get_event")]
    async fn read(
        &self,
        _caller: Caller<Reader>,
        id: Path<Uuid>,
        limit: Query<Option<u8>>,
    ) -> PlainText<String> {
        PlainText(format!("{} {:?}", id.0, limit.0))
    }

    /// Redact
    #[oai(path = "/events/:id", method = "delete", operation_id = "redact")]
    async fn redact(&self, _caller: Caller<Admin>, id: Path<Uuid>) -> PlainText<String> {
        panic!("reached without the role: {}", id.0)
    }

    /// Break
    #[oai(path = "/broken", method = "get", operation_id = "break")]
    async fn broken(&self) -> PlainText<String> {
        panic!("a secret")
    }
}

struct Door {
    endpoint: BoxEndpoint<'static, Response>,
    probe: Arc<Idle>,
    metrics: Arc<Metrics>,
    drain: watch::Sender<bool>,
}

impl Door {
    fn new() -> Self {
        let (drain, draining) = watch::channel(false);
        let probe = Arc::new(Idle { obstacles: AtomicUsize::new(0) });
        let metrics = Arc::new(Metrics::new());
        let state = ApiState {
            authenticator: Arc::new(Doorman),
            probe: Arc::clone(&probe) as Arc<dyn Probe>,
            metrics: Arc::clone(&metrics),
            draining,
            settings: Arc::new(Settings::default()),
        };
        let operations =
            (RootApi, HealthApi::new(state.clone()), MetricsApi { state: state.clone() }, Shapes, Lister);
        Self { endpoint: front(operations, &state), probe, metrics, drain }
    }

    async fn send(&self, request: Request) -> Response {
        self.endpoint.get_response(request).await
    }

    /// Status and body of an answer; problems as their JSON.
    async fn ask(&self, request: Request) -> (u16, Value) {
        let response = self.send(request).await;
        let status = response.status().as_u16();
        if status >= 400 {
            assert_eq!(response.content_type(), Some("application/problem+json"));
        }
        let text = response.into_body().into_string().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

fn request(method: Method, path: &str) -> RequestBuilder {
    Request::builder().method(method).uri_str(path)
}

fn good(method: Method, path: &str) -> RequestBuilder {
    request(method, path).header(header::AUTHORIZATION, "Bearer good")
}

fn body_that_must_not_be_read() -> Body {
    let touched = stream::once(async { panic!("the body was read") });
    Body::from_bytes_stream::<_, Bytes, io::Error>(touched)
}

#[tokio::test]
async fn credentials_are_checked_before_the_body_is_read() {
    let door = Door::new();
    for (token, status) in
        [("wrong", 401), ("powerless", 403), ("busy", 503), ("throttled", 429), ("dark", 503), ("two", 400)]
    {
        let request = request(Method::POST, "/events")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        assert_eq!(door.ask(request.body(body_that_must_not_be_read())).await.0, status, "{token}");
    }
}

#[tokio::test]
async fn a_request_without_login_is_challenged() {
    let response = Door::new().send(request(Method::GET, "/status").finish()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let challenges: Vec<_> = response.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
    assert_eq!(challenges[0], "Basic realm=\"EventLogger\", charset=\"UTF-8\"");
    assert_eq!(challenges.len(), 2);
}

#[tokio::test]
async fn a_wrong_role_is_forbidden_and_the_needed_one_named() {
    let path = format!("/events/{}", Uuid::nil());
    let (status, problem) = Door::new().ask(good(Method::DELETE, &path).finish()).await;
    assert_eq!((status, &problem["role"]), (403, &Value::from("admin")));
}

#[tokio::test]
async fn busy_and_unavailable_say_when_to_come_back() {
    let door = Door::new();
    for (token, seconds) in [("busy", "3"), ("throttled", "7"), ("dark", "2")] {
        let request =
            request(Method::GET, "/status").header(header::AUTHORIZATION, format!("Bearer {token}")).finish();
        assert_eq!(door.send(request).await.headers()[header::RETRY_AFTER], seconds);
    }
}

#[tokio::test]
async fn curls_default_content_type_is_answered_with_the_header_to_add() {
    let door = Door::new();
    for content_type in [Some("application/x-www-form-urlencoded"), Some("text/plain"), None] {
        let request = good(Method::POST, "/events");
        let request = match content_type {
            Some(content_type) => request.header(header::CONTENT_TYPE, content_type),
            None => request,
        };
        let (status, problem) = door.ask(request.body("{}")).await;
        assert_eq!(status, 415, "{content_type:?}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("-H \"Content-Type: application/json\""), "{detail}");
    }
}

#[tokio::test]
async fn a_batch_is_an_array_or_lines_by_its_content_type() {
    let door = Door::new();
    for (content_type, format) in
        [("application/json; charset=utf-8", "array"), ("Application/X-NDJSON", "lines")]
    {
        let request = good(Method::POST, "/api/v1/events/batch").header(header::CONTENT_TYPE, content_type);
        assert_eq!(door.ask(request.body("[]")).await, (200, Value::from(format)));
    }
}

#[tokio::test]
async fn a_body_without_length_is_measured_while_it_is_read() {
    let megabyte = || io::Result::Ok(Bytes::from(vec![b' '; 1 << 20]));
    let body = Body::from_bytes_stream(stream::iter([megabyte(), megabyte(), megabyte()]));
    let request = good(Method::POST, "/events").header(header::CONTENT_TYPE, "application/json").body(body);
    let (status, problem) = Door::new().ask(request).await;
    assert_eq!((status, &problem["limit_bytes"]), (413, &Value::from(2 << 20)));
}

#[tokio::test]
async fn another_method_is_answered_with_those_that_work() {
    let door = Door::new();
    for (path, allow) in [
        ("/events/batch", "POST"),
        ("/events", "GET, HEAD, POST"),
        ("/api/v1/events/x", "DELETE, GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/docs/start.js", "GET, HEAD"),
    ] {
        let response = door.send(good(Method::PUT, path).finish()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()[header::ALLOW], allow, "{path}");
    }
}

#[tokio::test]
async fn a_bad_parameter_is_named_as_in_the_document() {
    let door = Door::new();
    let (status, problem) = door.ask(good(Method::GET, "/events/not-a-uuid").finish()).await;
    assert_eq!((status, &problem["errors"][0]["parameter"]), (400, &Value::from("id")));
    let path = format!("/events/{}?limit=many", Uuid::nil());
    let (status, problem) = door.ask(good(Method::GET, &path).finish()).await;
    assert_eq!((status, &problem["errors"][0]["parameter"]), (400, &Value::from("limit")));
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_with_the_nearest_name() {
    let path = format!("/api/v1/events/{}?limt=5", Uuid::nil());
    let (status, problem) = Door::new().ask(good(Method::GET, &path).finish()).await;
    assert_eq!((status, &problem["errors"][0]["hint"]), (400, &Value::from("limit")));
}

#[tokio::test]
async fn a_wrong_path_is_answered_with_the_likely_one() {
    let (status, problem) = Door::new().ask(good(Method::GET, "/event/batch").finish()).await;
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().unwrap().contains("/events/batch?"), "{problem}");
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_next_request_works() {
    let door = Door::new();
    let (status, problem) = door.ask(request(Method::GET, "/broken").finish()).await;
    assert_eq!((status, &problem["code"]), (500, &Value::from("internal")));
    assert_eq!(door.ask(request(Method::GET, "/health/live").finish()).await.0, 200);
}

#[tokio::test]
async fn every_answer_has_an_id_and_the_safe_headers() {
    let door = Door::new();
    for path in ["/", "/nowhere", "/broken", "/status", "/docs", "/api/v1/openapi.json"] {
        let response = door.send(request(Method::GET, path).finish()).await;
        for name in ["x-request-id", "x-content-type-options", "referrer-policy", "content-security-policy"] {
            assert!(response.headers().contains_key(name), "{path} lacks {name}");
        }
        assert_eq!(response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN), None);
    }
}

#[tokio::test]
async fn every_path_is_served_under_the_prefix_too() {
    let door = Door::new();
    for path in ["", "/", "/health/live", "/docs", "/docs/swagger-ui.js", "/openapi.json"] {
        let response = door.send(request(Method::GET, &format!("/api/v1{path}")).finish()).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
    let response = door.send(request(Method::GET, "/docs/").finish()).await;
    assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
}

#[tokio::test]
async fn head_works_where_get_does() {
    let response = Door::new().send(request(Method::HEAD, "/health/live").finish()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "15");
}

#[tokio::test]
async fn readiness_tells_what_is_in_the_way() {
    let door = Door::new();
    let ready = || request(Method::GET, "/health/ready").finish();
    assert_eq!(door.ask(ready()).await.0, 200);
    door.probe.obstacles.store(1, Ordering::Relaxed);
    let (status, problem) = door.ask(ready()).await;
    assert_eq!((status, &problem["errors"][0]["detail"]), (503, &"database: it does not answer".into()));
    door.probe.obstacles.store(0, Ordering::Relaxed);
    door.drain.send(true).unwrap();
    assert_eq!(door.ask(ready()).await.0, 503);
    assert_eq!(door.ask(request(Method::GET, "/health/live").finish()).await.0, 200);
    assert_eq!(door.ask(good(Method::GET, "/status").finish()).await.1["code"], "shutting_down");
}

#[tokio::test]
async fn status_is_about_the_callers_log() {
    let (status, answer) = Door::new().ask(good(Method::GET, "/status").finish()).await;
    assert_eq!(status, 200);
    assert_eq!(answer["log"]["tenant"], "default");
    assert_eq!(answer["database"]["host"], "embedded");
    assert_eq!(answer["draining"], false);
}

#[tokio::test]
async fn metrics_count_by_operation_and_mirror_the_gauges() {
    let door = Door::new();
    door.send(good(Method::GET, "/events/x").finish()).await;
    let (_, text) = door.ask(good(Method::GET, "/metrics").finish()).await;
    let text = text.as_str().unwrap();
    assert!(text.contains("operation=\"get_event\",status=\"4xx\"} 1"), "{text}");
    assert!(text.contains("eventlogger_queue_events 5"), "{text}");
    assert_eq!(door.metrics.queue_events.get(), 5);
}

#[tokio::test]
async fn the_served_document_is_finished() {
    let (_, document) = Door::new().ask(request(Method::GET, "/openapi.json").finish()).await;
    assert_eq!(document["paths"]["/events"]["get"]["operationId"], "list");
    let record = &document["paths"]["/events"]["post"];
    assert_eq!(record["x-role"], "writer");
    let schemes: Vec<_> = record["security"].as_array().unwrap().iter().collect();
    assert_eq!(schemes, [&serde_json::json!({"basic": []}), &serde_json::json!({"bearer": []})]);
    assert_eq!(document["paths"]["/health/live"]["get"]["security"], serde_json::json!([]));
    for status in ["400", "401", "403", "409", "413", "415", "422", "429", "503"] {
        let content = &record["responses"][status]["content"]["application/problem+json"];
        assert_eq!(content["schema"]["$ref"], "#/components/schemas/Problem", "{status}");
    }
    for name in ["NewEvent", "Problem", "Fault", "Position"] {
        assert!(document["components"]["schemas"][name]["properties"].is_object(), "{name}");
    }
    assert!(!document.to_string().contains("charset"), "a media type kept its charset");
    assert!(!document.to_string().contains("role:"), "a role marker was left");
}
