//! One log record and one count per request, and its id in the answer.

use std::{sync::Arc, time::Instant};

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use poem::{Endpoint, Request, Response, Result, web::RemoteAddr};
use poem_openapi::OperationId;
use tracing::Instrument;

use super::{
    head::body_size,
    request_id::{RequestId, X_REQUEST_ID},
};
use crate::{
    api::caller::CallerSlot,
    auth::{
        Principal,
        secret::{MACHINE_SECRET_START, TOKEN_START},
    },
    metrics::{HttpRequest, Metrics, Operation},
};

pub(crate) async fn observe<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    mut request: Request,
    metrics: Arc<Metrics>,
) -> Result<Response> {
    let mut record = Record::of(&request, metrics);
    request.extensions_mut().insert(CallerSlot::clone(&record.caller));
    request.extensions_mut().insert(record.id.clone());
    let span = tracing::info_span!("request", request_id = %record.id);

    let mut response = next.get_response(request).instrument(span).await;
    if let Some(id) = record.id.to_header() {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    record.bytes = body_size(&mut response);
    record.operation = response.data::<OperationId>().map_or(OTHER, |operation| operation.0);
    record.status = Some(response.status());
    Ok(response)
}

/// The operation of requests that reach none.
const OTHER: &str = "other";

/// What is known of a request. Dropping it writes it down, so a request whose client left is not lost.
struct Record {
    id: RequestId,
    started: Instant,
    method: Method,
    path: String,
    remote: String,
    caller: CallerSlot,
    metrics: Arc<Metrics>,
    /// `None` until there is an answer.
    status: Option<StatusCode>,
    operation: &'static str,
    /// `None` for a stream.
    bytes: Option<u64>,
}

impl Record {
    fn of(request: &Request, metrics: Arc<Metrics>) -> Self {
        Self {
            id: RequestId::of(request.headers()),
            started: Instant::now(),
            method: request.method().clone(),
            path: shown(request.uri().path()),
            remote: remote(request.remote_addr()),
            caller: CallerSlot::default(),
            metrics,
            status: None,
            operation: OTHER,
            bytes: None,
        }
    }

    fn count(&self, seconds: f64) {
        let status = self.status.map_or("gone", class);
        let request = HttpRequest { method: known(&self.method), operation: self.operation, status };
        self.metrics.http_requests.get_or_create(&request).inc();
        let operation = Operation { operation: self.operation };
        self.metrics.http_duration.get_or_create(&operation).observe(seconds);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.count(elapsed.as_secs_f64());
        let principal = self.caller.get().map(|principal| name(principal));
        tracing::info!(
            target: "eventlogger::access",
            request_id = %self.id,
            method = %self.method,
            path = self.path,
            status = self.status.map(|status| status.as_u16()),
            duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            principal,
            bytes = self.bytes,
            remote = self.remote,
            "{} {} {}",
            self.method,
            self.path,
            self.status.as_ref().map_or("client left", StatusCode::as_str),
        );
    }
}

/// Without the query: it holds what people search for. Escaped: it goes into a log. A token that somebody puts
/// in the place of its prefix is not written down.
fn shown(path: &str) -> String {
    let shown = |segment: &str| match holds_secret(&percent_decode_str(segment).decode_utf8_lossy()) {
        true => "(secret)".to_owned(),
        false => segment.escape_default().to_string(),
    };
    path.split('/').map(shown).collect::<Vec<_>>().join("/")
}

fn holds_secret(segment: &str) -> bool {
    [TOKEN_START, MACHINE_SECRET_START].iter().any(|start| segment.contains(start))
}

/// The address alone where there is one; a Unix socket has none, and proxies do not tell the port.
fn remote(address: &RemoteAddr) -> String {
    match address.as_socket_addr() {
        Some(address) if address.port() == 0 => address.ip().to_string(),
        Some(address) => address.to_string(),
        None => address.to_string(),
    }
}

/// `tenant/user`, or `tenant/user/prefix` for one of the user's tokens.
fn name(principal: &Principal) -> String {
    let Principal { tenant, user, token_prefix, .. } = principal;
    match token_prefix {
        None => format!("{}/{user}", tenant.name),
        Some(prefix) => format!("{}/{user}/{prefix}", tenant.name),
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// Methods are whatever the client says; labels are not.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, endpoint::make};

    use super::*;

    async fn hello(_: Request) -> Result<Response> {
        Ok(Response::from("hello"))
    }

    #[tokio::test]
    async fn the_answer_carries_the_id_and_is_counted() {
        let metrics = Arc::new(Metrics::new());
        let counted = Arc::clone(&metrics);
        let endpoint = make(hello).around(move |next, request| observe(next, request, Arc::clone(&counted)));
        let request = Request::builder().header(X_REQUEST_ID, "order-42").finish();
        assert_eq!(endpoint.get_response(request).await.headers()[X_REQUEST_ID], "order-42");
        let line = "requests_total{method=\"GET\",operation=\"other\",status=\"2xx\"} 1";
        assert!(metrics.encode().contains(line), "{}", metrics.encode());
    }

    #[tokio::test]
    async fn a_request_whose_client_left_is_counted() {
        let metrics = Arc::new(Metrics::new());
        let counted = Arc::clone(&metrics);
        let endpoint = make(|_| std::future::pending::<Result<Response>>())
            .around(move |next, request| observe(next, request, Arc::clone(&counted)));
        let _ = futures_util::poll!(Box::pin(endpoint.get_response(Request::default())));
        assert!(metrics.encode().contains("status=\"gone\"} 1"), "{}", metrics.encode());
    }

    #[test]
    fn a_path_is_shown_without_line_ends_and_secrets() {
        assert_eq!(shown("/api/v1/tokens/Ab3dEf6h"), "/api/v1/tokens/Ab3dEf6h");
        assert_eq!(shown("/tokens/evl_acme_hunter2/x"), "/tokens/(secret)/x");
        assert_eq!(shown("/users/evls_hunter2"), "/users/(secret)");
        assert_eq!(shown("/a\r\nb"), "/a\\r\\nb");
    }

    #[test]
    fn an_invented_method_is_no_label() {
        assert_eq!(known(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
