//! Requests that the HTTP loop refused are answered like all others: counted, logged, as a problem.

use std::sync::Arc;

use http::StatusCode;
use poem::{Endpoint, Request, Response, Result};

use crate::{
    api::problem::{Problem, capitalised},
    server::Refusal,
};

pub(crate) async fn answer<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    request: Request,
) -> Result<Response> {
    match request.extensions().get::<Refusal>() {
        Some(refusal) => Err(explain(*refusal).into()),
        None => next.call(request).await,
    }
}

fn explain(refusal: Refusal) -> Problem {
    let bad_request = |code, fault: &str, advice| {
        Problem::new(StatusCode::BAD_REQUEST, code, format!("{}. {advice}", capitalised(fault)))
    };
    match refusal {
        Refusal::Malformed(fault) => bad_request(
            "malformed_request",
            fault,
            "Send an HTTP/1.1 or HTTP/2 request; behind TLS, an https URL.",
        ),
        Refusal::Framing(fault) => bad_request(
            "ambiguous_length",
            fault,
            "Say how long the body is in one way: a Content-Length, or Transfer-Encoding: chunked.",
        ),
        Refusal::Host(fault) => {
            bad_request("bad_host", fault, "Send one Host with the name and port of the URL.")
        }
        Refusal::Version => Problem::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "http_version",
            "This version of HTTP is not spoken here. Use HTTP/1.1 or HTTP/2.",
        ),
        Refusal::HeadTooLarge => {
            too_large("The URL and the header fields are too long together. Send fewer or shorter ones.")
        }
        Refusal::TooManyFields => too_large("The request has too many header fields. Send fewer."),
        Refusal::Slow => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "head_timeout",
            "The header fields did not arrive in time. Send the request again.",
        ),
    }
}

fn too_large(detail: &str) -> Problem {
    Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", detail)
}
