//! Other origins are strangers unless configured. Basic credentials are ambient in a browser, so a write
//! that a foreign page caused is refused, not merely made unreadable for that page.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use crate::api::problem::Problem;

/// Ten minutes.
const PREFLIGHT_MAX_AGE_SECONDS: u32 = 600;
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, X-Request-Id, X-Tenant";
const RESPONSE_HEADERS: &str = "ETag, Link, Location, Retry-After, X-Request-Id";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Origins whose pages may call, as `scheme://host[:port]`; compared as a whole, no wildcards.
pub(crate) async fn guard<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    request: Request,
    origins: Arc<[HeaderValue]>,
) -> Result<Response> {
    let origin = request.header(header::ORIGIN).and_then(|origin| HeaderValue::from_str(origin).ok());
    let allowed = origin.filter(|origin| origins.contains(origin));
    let mut response = match &allowed {
        Some(_) if is_preflight(&request) => preflight(),
        None if is_foreign_write(&request) => foreign_write(),
        _ => next.call(request).await?,
    };
    let headers = response.headers_mut();
    if !origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
    }
    Ok(response)
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Scripts of allowed origins set `Authorization` themselves, so `Allow-Credentials` is never sent.
fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_MAX_AGE_SECONDS));
    response
}

fn is_foreign_write(request: &Request) -> bool {
    let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    is_write && is_foreign(request.headers(), own_authority(request))
}

/// Whether a browser says that a page of another origin made the request. No browser, no such headers.
fn is_foreign(headers: &HeaderMap, own: Option<&str>) -> bool {
    match headers.get(header::ORIGIN).map(HeaderValue::to_str) {
        Some(Ok(origin)) => origin.split_once("://").map(|(_, authority)| authority) != own,
        Some(Err(_)) => true,
        None => headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site" || site == "same-site"),
    }
}

/// `Host` under HTTP/1.1, `:authority` under HTTP/2.
fn own_authority(request: &Request) -> Option<&str> {
    let from_uri = request.uri().authority().map(|authority| authority.as_str());
    from_uri.or_else(|| request.header(header::HOST))
}

fn foreign_write() -> Response {
    Problem::new(
        StatusCode::FORBIDDEN,
        "foreign_origin",
        "A page of another origin may not write here. List its origin in server.cors_origins to permit it.",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, endpoint::make_sync};

    use super::*;

    const FRIEND: &str = "https://audit.example.org";

    async fn answer(origins: &[&'static str], method: Method, headers: &[(&str, &str)]) -> Response {
        let origins: Arc<[HeaderValue]> = origins.iter().map(|o| HeaderValue::from_static(o)).collect();
        let endpoint = make_sync(|_| Response::default())
            .around(move |next, request| guard(next, request, Arc::clone(&origins)));
        let request = headers
            .iter()
            .fold(Request::builder().method(method).header("host", "log:5000"), |r, (k, v)| r.header(*k, *v));
        endpoint.get_response(request.finish()).await
    }

    #[tokio::test]
    async fn no_origin_is_allowed_unless_configured() {
        let read = answer(&[], Method::GET, &[("origin", FRIEND)]).await;
        assert_eq!(read.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN), None);
        let write = answer(&[], Method::POST, &[("origin", FRIEND)]).await;
        assert_eq!(write.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_configured_origin_is_named_and_never_a_wildcard() {
        let write = answer(&[FRIEND], Method::POST, &[("origin", FRIEND)]).await;
        assert_eq!(write.status(), StatusCode::OK);
        assert_eq!(write.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], FRIEND);
        assert_eq!(write.headers().get(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), None);
        assert_eq!(write.headers()[header::VARY], "Origin");

        let preflight = [("origin", FRIEND), ("access-control-request-method", "POST")];
        let preflight = answer(&[FRIEND], Method::OPTIONS, &preflight).await;
        assert_eq!(preflight.status(), StatusCode::NO_CONTENT);

        let stranger = answer(&[FRIEND], Method::POST, &[("origin", "https://audit.example.org.evil")]).await;
        assert_eq!(stranger.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn our_own_pages_and_programs_may_write() {
        for headers in [&[][..], &[("origin", "http://log:5000")], &[("sec-fetch-site", "same-origin")]] {
            assert_eq!(answer(&[], Method::POST, headers).await.status(), StatusCode::OK, "{headers:?}");
        }
        for headers in
            [[("origin", "null")], [("sec-fetch-site", "cross-site")], [("origin", "http://log:80")]]
        {
            assert_eq!(
                answer(&[], Method::POST, &headers).await.status(),
                StatusCode::FORBIDDEN,
                "{headers:?}"
            );
        }
    }
}
