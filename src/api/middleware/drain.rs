//! While the service shuts down it finishes what it accepted and refuses the rest.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result};
use tokio::sync::watch;

use crate::api::{API_PREFIX, problem::Problem};

pub(crate) async fn refuse<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    request: Request,
    draining: watch::Receiver<bool>,
) -> Result<Response> {
    // The health checks answer to the end: the process is alive, and `ready` tells for itself.
    let path = request.uri().path();
    let is_health = path.strip_prefix(API_PREFIX).unwrap_or(path).starts_with("/health/");
    if !*draining.borrow() || is_health {
        return next.call(request).await;
    }
    let mut response = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "shutting_down",
        "This instance is shutting down and did not look at the request. Send it again, on a new connection.",
    )
    .retry_after(2)
    .into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, endpoint::make_sync};

    use super::*;

    #[tokio::test]
    async fn draining_refuses_everything_but_the_health_checks() {
        let (drain, draining) = watch::channel(false);
        let endpoint = make_sync(|_| Response::default())
            .around(move |next, request| refuse(next, request, draining.clone()));
        let get = |path: &'static str| endpoint.get_response(Request::builder().uri_str(path).finish());

        assert_eq!(get("/events").await.status(), StatusCode::OK);
        drain.send(true).unwrap();
        let refused = get("/events").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[header::CONNECTION], "close");
        assert_eq!(get("/health/live").await.status(), StatusCode::OK);
    }
}
