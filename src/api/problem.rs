//! The one shape of an error answer: RFC 9457 problem details.
//!
//! `code` is the stable name that programs match on; `type` is the same name as a URN. A URN because
//! the identifier must not change with the address the service happens to be reached by, and because
//! nothing is served behind it. Sentences in `detail` say what to do and may be reworded at any time.

use std::{error::Error as StdError, fmt};

use http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response, error::ResponseError};
use poem_openapi::{
    ApiResponse,
    registry::{MetaResponses, Registry},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::auth::Role;

pub const PROBLEM_JSON: &str = "application/problem+json";

/// Both ways to log in, in the order a browser should prefer them.
const CHALLENGES: [&str; 2] =
    ["Basic realm=\"EventLogger\", charset=\"UTF-8\"", "Bearer realm=\"EventLogger\""];

/// An error as the client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub title: &'static str,
    pub detail: String,
    pub errors: Vec<Fault>,
    /// Seconds.
    pub retry_after: Option<u32>,
    /// Further members, such as the assigned id of an event in doubt.
    pub extra: Map<String, Value>,
    /// What the caller lacked. That goes on record, not into the answer.
    pub denied: Option<Denied>,
}

/// What somebody asked for without being allowed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// What takes this role; `None`: any role at all.
    Role(Option<Role>),
    /// Something of the tenant of this name.
    Tenant(String),
}

/// One thing wrong with a request, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer into the body; a batch starts it with the index of the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of the query, path or header parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The stable name of the fault, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What is wrong.
    pub detail: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the text it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// A place in a body or in a parameter's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Bytes before the fault.
    pub offset: u64,
    /// Bytes that are at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

impl Fault {
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), detail: detail.into(), ..Self::default() }
    }

    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { parameter: Some(name.into()), detail: detail.into(), ..Self::default() }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A text of ours that begins small, at the beginning of a sentence.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            extra: Map::new(),
            denied: None,
        }
    }

    /// Puts on record who was refused this, if that is known.
    #[must_use]
    pub fn denying(mut self, denied: Denied) -> Self {
        self.denied = Some(denied);
        self
    }

    /// For what is our fault: the cause goes to the log, once, and never to the client.
    pub fn internal(cause: &(dyn StdError + 'static)) -> Self {
        let chain: Vec<String> =
            std::iter::successors(Some(cause), |&error| error.source()).map(ToString::to_string).collect();
        tracing::error!(error = chain.join(": "), "a request failed for an internal reason");
        Self::unexplained()
    }

    /// A 500 whose cause is in the log already.
    pub fn unexplained() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The service failed. Its log has the cause under this answer's X-Request-Id.",
        )
    }

    /// For what a read failed of.
    pub fn database(error: &sqlx::Error) -> Self {
        if !is_outage(error) {
            return Self::internal(error);
        }
        tracing::warn!(%error, "the database cannot be read");
        Self::database_unavailable()
    }

    /// For reads; a failed write says more, see `recorded`.
    pub fn database_unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database_unavailable",
            "The database does not answer. Try again shortly.",
        )
        .retry_after(2)
    }

    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.errors.push(fault);
        self
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and `Value` always serialise; an empty body would still carry the status.
        serde_json::to_vec(&Wire::from(self)).unwrap_or_default()
    }
}

/// The database is away, starting, stopping or full, as opposed to a statement that is wrong.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            true
        }
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["08", "53", "57P"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

impl<'a> From<&'a Problem> for Wire<'a> {
    fn from(problem: &'a Problem) -> Self {
        Self {
            kind: format!("urn:eventlogger:problem:{}", problem.code),
            title: problem.title,
            status: problem.status.as_u16(),
            detail: &problem.detail,
            code: problem.code,
            errors: &problem.errors,
            extra: &problem.extra,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl StdError for Problem {}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn as_response(&self) -> Response {
        let mut response =
            Response::builder().status(self.status).content_type(PROBLEM_JSON).body(self.to_bytes());
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            for challenge in CHALLENGES {
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.as_response()
    }
}

/// Declares nothing itself: which errors an operation can answer follows from its shape, see `openapi`.
impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        MetaResponses { responses: Vec::new() }
    }

    fn register(_: &mut Registry) {}
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn json(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.to_bytes()).unwrap()
    }

    #[test]
    fn it_is_written_as_rfc_9457_with_our_members() {
        let problem =
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_event", "Two fields are wrong.")
                .with_fault(Fault::at("/user_identiy", "unknown field").hint("user_identity"))
                .with("item", 3);
        assert_eq!(
            json(&problem),
            json!({
                "type": "urn:eventlogger:problem:invalid_event",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "Two fields are wrong.",
                "code": "invalid_event",
                "errors": [{"pointer": "/user_identiy", "detail": "unknown field", "hint": "user_identity"}],
                "item": 3,
            })
        );
    }

    #[test]
    fn every_401_carries_both_challenges() {
        let response = Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Log in.").as_response();
        let challenges: Vec<_> = response.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
        assert_eq!(challenges, CHALLENGES);
        assert_eq!(response.content_type(), Some(PROBLEM_JSON));
    }

    #[test]
    fn retry_after_is_a_header_in_seconds() {
        let response =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Wait.").retry_after(2).as_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn the_cause_of_an_internal_error_is_never_sent() {
        let problem = Problem::internal(&std::io::Error::other("password=hunter2 at 10.0.0.7"));
        assert!(!json(&problem).to_string().contains("hunter2"));
    }
}
