//! HTTP: the only part that knows poem.

mod accounts;
mod batch;
pub mod body;
pub mod caller;
mod checking;
mod docs;
mod events;
mod export;
pub mod health;
mod integrity;
mod invalid;
mod links;
mod me;
mod members;
mod metrics;
mod middleware;
pub mod openapi;
pub mod problem;
pub mod query;
mod recorded;
mod redaction;
mod root;
mod route_table;
pub mod schemas;
pub mod serve;
mod tenants;
mod tlog;
mod tokens;
mod users;
mod wire;

use std::sync::Arc;

use http::HeaderValue;
use poem::{Endpoint, EndpointExt, Response, Route, endpoint::BoxEndpoint};
use poem_openapi::{OpenApi, OpenApiService, Tags};
use serde_json::Value;
use tokio::sync::watch;

use self::{
    batch::BatchApi,
    caller::Authenticator,
    checking::CheckingApi,
    events::EventsApi,
    export::ExportApi,
    health::{HealthApi, Probe},
    integrity::IntegrityApi,
    me::MeApi,
    metrics::MetricsApi,
    middleware::{
        budget::{self, Budget},
        cors, decompress, denials, drain, head, limits, linger, observe, panics, parameters, problems,
        refusals, security_headers,
    },
    query::QueryApi,
    recorded::Recording,
    redaction::RedactionApi,
    root::RootApi,
    route_table::RouteTable,
    tenants::TenantsApi,
    tlog::TlogApi,
    tokens::TokensApi,
    users::UsersApi,
};
use crate::{
    auth::Auth, checks::Checks, ingest::Ingest, integrity::Integrity, metrics::Metrics,
    query::cursor::CursorKey, store::Store,
};

pub use self::middleware::limits::Limits;

/// Every path is also served under this prefix, which a later, incompatible API would not share.
pub const API_PREFIX: &str = "/api/v1";

#[derive(Tags)]
enum Tag {
    /// Putting events into the log.
    Recording,
    /// Finding events again.
    Reading,
    /// Checking that nothing was changed or removed.
    Proving,
    /// Who may call: users, tokens, tenants.
    Accounts,
    /// Whether the service lives and how it is doing.
    Operations,
}

/// What handlers and the front door share. Cloning is cheap.
#[derive(Clone)]
pub struct ApiState {
    pub authenticator: Authenticator,
    pub probe: Arc<dyn Probe>,
    pub metrics: Arc<Metrics>,
    /// True once the service shuts down.
    pub draining: watch::Receiver<bool>,
    pub settings: Arc<Settings>,
}

/// What the operations on events work with.
pub struct Log {
    pub ingest: Arc<Ingest>,
    pub integrity: Arc<Integrity>,
    pub checks: Arc<Checks>,
    pub store: Store,
    /// Seals cursors; the same for all instances.
    pub cursors: CursorKey,
}

#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub limits: Limits,
    /// Most events in one batch.
    pub batch_events: usize,
    /// Origins whose pages may call, as `scheme://host[:port]`.
    pub cors_origins: Vec<HeaderValue>,
}

/// Every operation there is. One line each here and in [`operations`] adds a resource.
type Operations = (
    RootApi,
    EventsApi,
    BatchApi,
    QueryApi,
    ExportApi,
    RedactionApi,
    IntegrityApi,
    CheckingApi,
    TlogApi,
    UsersApi,
    TokensApi,
    TenantsApi,
    MeApi,
    HealthApi,
    MetricsApi,
);

fn operations(state: &ApiState, log: Log, auth: &Arc<Auth>) -> Operations {
    let recording = Recording::new(Arc::clone(&log.ingest), Arc::clone(&log.integrity));
    (
        RootApi,
        EventsApi { recording: recording.clone() },
        BatchApi { recording: recording.clone(), max_events: state.settings.batch_events },
        QueryApi::new(log.store.query.clone(), log.cursors),
        ExportApi::new(log.store.query.clone(), Arc::clone(&log.integrity), log.ingest),
        RedactionApi { recording, reads: log.store.query.clone() },
        IntegrityApi { integrity: Arc::clone(&log.integrity), reads: log.store.query.clone() },
        CheckingApi { checks: log.checks, reads: log.store.query.clone() },
        TlogApi::new(log.integrity, log.store),
        UsersApi { auth: Arc::clone(auth) },
        TokensApi { auth: Arc::clone(auth) },
        TenantsApi { auth: Arc::clone(auth) },
        MeApi { auth: Arc::clone(auth) },
        HealthApi::new(state.clone()),
        MetricsApi { state: state.clone() },
    )
}

/// The API document. Needs nothing that runs.
pub fn document() -> Value {
    openapi::document::<Operations>()
}

/// The whole service as one endpoint.
pub fn routes(state: &ApiState, log: Log, auth: &Arc<Auth>) -> BoxEndpoint<'static, Response> {
    front(operations(state, log, auth), state)
}

/// Routing, and around it what every request passes; the last layer here is the first to see a request.
fn front<A: OpenApi + 'static>(operations: A, state: &ApiState) -> BoxEndpoint<'static, Response> {
    let document = openapi::document::<A>();
    let routes = Arc::new(RouteTable::of(&document));
    let known = Arc::clone(&routes);
    let limits = Arc::new(state.settings.limits);
    let encoded = Arc::clone(&limits);
    let budget = Arc::new(Budget::new(limits.bodies_bytes));
    let origins: Arc<[HeaderValue]> = state.settings.cors_origins.clone().into();
    let draining = state.draining.clone();
    let metrics = Arc::clone(&state.metrics);

    paths(operations, &document)
        .around(denials::note)
        .data(Arc::clone(&state.authenticator))
        .around(move |next, request| parameters::check(next, request, Arc::clone(&known)))
        .around(move |next, request| budget::hold(next, request, Arc::clone(&budget)))
        .around(move |next, request| decompress::decode(next, request, Arc::clone(&encoded)))
        .around(move |next, request| limits::enforce(next, request, Arc::clone(&limits)))
        .around(move |next, request| drain::refuse(next, request, draining.clone()))
        .around(refusals::answer)
        .around(move |next, request| problems::convert(next, request, Arc::clone(&routes)))
        // The compiler gives up on a type as deep as all these layers.
        .boxed()
        .around(panics::catch)
        .around(move |next, request| cors::guard(next, request, Arc::clone(&origins)))
        .around(security_headers::set)
        .around(head::answer)
        .around(linger::read_out)
        .around(move |next, request| observe::observe(next, request, Arc::clone(&metrics)))
        .boxed()
}

/// The same paths under `/` and under the prefix.
fn paths<A: OpenApi + 'static>(operations: A, document: &Value) -> impl Endpoint<Output = Response> + use<A> {
    let service = OpenApiService::new(operations, openapi::TITLE, env!("CARGO_PKG_VERSION"));
    let root = Arc::new(docs::add(Route::new(), document).nest("/", service));
    Route::new().nest(API_PREFIX, Arc::clone(&root)).nest("/", root)
}

#[cfg(test)]
mod tests;
