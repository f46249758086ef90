//! Every error becomes a problem here, wherever it arose: path, method, parameter, body or handler.

use std::{io, sync::Arc};

use http::{HeaderValue, StatusCode, header};
use poem::{
    Endpoint, Error, IntoResponse, Request, Response, Result,
    error::{MethodNotAllowedError, NotFoundError, ReadBodyError},
};
use poem_openapi::{
    OperationId,
    error::{ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError},
};

use crate::api::{
    problem::{Fault, Problem},
    route_table::RouteTable,
};

pub(crate) async fn convert<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    request: Request,
    routes: Arc<RouteTable>,
) -> Result<Response> {
    let uri = request.uri().clone();
    let error = match next.call(request).await {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    let status = error.status();
    let is_answer = !status.is_client_error() && !status.is_server_error();
    if is_answer || !error.has_source() {
        // poem returns some answers as errors, 304 among them.
        return Ok(error.into_response());
    }
    let operation = error.data::<OperationId>().copied();
    let mut response = explain(&error, uri.path(), &routes).into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allow) = HeaderValue::from_str(&routes.allow(uri.path()))
    {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    if let Some(operation) = operation {
        response.set_data(operation);
    }
    Ok(response)
}

fn explain(error: &Error, path: &str, routes: &RouteTable) -> Problem {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return problem.clone();
    }
    if let Some(error) = error.downcast_ref::<ReadBodyError>() {
        return unreadable(error);
    }
    if let Some(error) = error.downcast_ref::<ContentTypeError>() {
        return wrong_content_type(error);
    }
    if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
        return invalid_parameter(name, reason);
    }
    if let Some(ParsePathError { name, reason }) = error.downcast_ref() {
        return invalid_parameter(routes.parameter(path, name).unwrap_or("path"), reason);
    }
    if let Some(ParseRequestPayloadError { reason }) = error.downcast_ref() {
        return Problem::new(StatusCode::BAD_REQUEST, "invalid_body", format!("The body: {reason}."));
    }
    if error.is::<NotFoundError>() {
        return no_such_path(path, routes);
    }
    if error.is::<MethodNotAllowedError>() {
        let detail = format!("This path takes only {}.", routes.allow(path));
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    }
    if error.status().is_server_error() {
        return Problem::internal(error);
    }
    Problem::new(error.status(), "bad_request", error.to_string())
}

fn no_such_path(path: &str, routes: &RouteTable) -> Problem {
    let near = routes.nearest(path).map(|near| format!(" Did you mean {near}?")).unwrap_or_default();
    let detail = format!("There is no such path.{near} The paths are listed under /docs and /openapi.json.");
    Problem::new(StatusCode::NOT_FOUND, "no_such_path", detail)
}

/// `reason` names types of ours around what is of use.
fn invalid_parameter(name: &str, reason: &str) -> Problem {
    let reason = reason.split(" (occurred while parsing").next().unwrap_or(reason);
    let reason = match reason.strip_prefix("failed to parse \"") {
        Some(rest) => rest.split_once("\": ").map_or(reason, |(_, reason)| reason),
        None => reason,
    };
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", format!("The parameter {name} is not valid."))
        .with_fault(Fault::parameter(name, reason))
}

fn unreadable(error: &ReadBodyError) -> Problem {
    match error {
        ReadBodyError::Io(error) => carried(error).cloned().unwrap_or_else(broken_off),
        ReadBodyError::Utf8(_) => {
            Problem::new(StatusCode::BAD_REQUEST, "malformed_utf8", "The body is not UTF-8.")
        }
        error @ (ReadBodyError::BodyHasBeenTaken | ReadBodyError::PayloadTooLarge) => {
            Problem::internal(error)
        }
    }
}

fn broken_off() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", "The body broke off before its end.")
}

/// The same error as one that carries a problem, so that those who read the body do not take it for theirs.
pub(super) fn unread(error: io::Error) -> io::Error {
    if carried(&error).is_some() { error } else { io::Error::other(broken_off()) }
}

/// The problem that `limits` and the like put into the body; poem wraps it once more.
pub(super) fn carried(error: &io::Error) -> Option<&Problem> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<Problem>().or_else(|| inner.downcast_ref::<io::Error>().and_then(carried))
}

fn wrong_content_type(error: &ContentTypeError) -> Problem {
    let sent = match error {
        ContentTypeError::ExpectContentType => "The body has no Content-Type.".to_owned(),
        ContentTypeError::NotSupported { content_type } if is_form(content_type) => {
            format!("The body was sent as `{content_type}`, which is what curl does unless told otherwise.")
        }
        ContentTypeError::NotSupported { content_type } => {
            format!("The body was sent as `{}`, which is not accepted here.", content_type.escape_default())
        }
    };
    let detail = format!(
        "{sent} Add the header `Content-Type: application/json` (curl: -H \"Content-Type: application/json\"); \
         /events/batch also takes `application/x-ndjson`."
    );
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", detail)
}

fn is_form(content_type: &str) -> bool {
    content_type == "application/x-www-form-urlencoded"
}
