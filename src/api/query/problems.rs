//! What goes wrong with reads, as the client is told.

use http::StatusCode;

use crate::api::problem::{Fault, Position, Problem};
use crate::query::cursor::CursorError;
use crate::query::{self, MAX_BODY_BYTES, Origin};
use crate::store::events::ReadError;

pub(in crate::api) fn invalid_query(faults: &[query::Fault]) -> Problem {
    let detail = match faults {
        [fault] => format!("The search was not understood: {fault}."),
        _ => format!("The search was not understood: {} faults, listed in `errors`.", faults.len()),
    };
    let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail);
    faults.iter().map(fault).fold(problem, Problem::with_fault)
}

fn fault(fault: &query::Fault) -> Fault {
    let position = fault.span.map(|span| Position {
        offset: span.start as u64,
        length: Some(span.length as u64),
        ..Position::default()
    });
    Fault { hint: fault.hint.clone(), position, ..located(&fault.origin, fault.detail.clone()) }
}

fn located(origin: &Origin, detail: String) -> Fault {
    match origin {
        Origin::Parameter(name) | Origin::Value(name) => Fault::parameter(name.as_str(), detail),
        Origin::Pointer(pointer) => Fault::at(pointer.as_str(), detail),
    }
}

pub(super) fn bad_cursor(error: CursorError, origin: Origin) -> Problem {
    let (status, code, reason) = match error {
        CursorError::NotOurs => (StatusCode::BAD_REQUEST, "bad_cursor", "not_ours"),
        CursorError::OtherTenant => (StatusCode::BAD_REQUEST, "bad_cursor", "other_tenant"),
        CursorError::OtherFilter => (StatusCode::BAD_REQUEST, "bad_cursor", "other_filter"),
        CursorError::OtherOrder => (StatusCode::BAD_REQUEST, "bad_cursor", "other_order"),
        CursorError::OtherEpoch => (StatusCode::CONFLICT, "cursor_of_other_epoch", "other_epoch"),
    };
    let detail =
        format!("The cursor cannot be used: {error}. Follow `next` as it is, or start without a cursor.");
    Problem::new(status, code, detail).with_fault(located(&origin, error.to_string())).with("reason", reason)
}

pub(super) fn body_too_large() -> Problem {
    let detail = format!("The body of a search is at most {MAX_BODY_BYTES} bytes.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).with("limit_bytes", MAX_BODY_BYTES)
}

pub(in crate::api) fn bad_id() -> Problem {
    let detail = "The id of an event is a UUID, such as the `id` of each event in a list.";
    Problem::new(StatusCode::BAD_REQUEST, "bad_id", detail)
}

/// The same whether the id is unknown or another tenant's.
pub(in crate::api) fn no_event() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no event with this id.")
}

pub(super) fn no_payload() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no event with this id, or it has no payload.")
}

/// Not a 404: the log says that there was something, and why it is gone.
pub(super) fn redacted() -> Problem {
    let detail = "The payload of this event was redacted; the event itself says when and why.";
    Problem::new(StatusCode::GONE, "redacted", detail)
}

pub(in crate::api) fn read(error: ReadError) -> Problem {
    match error {
        ReadError::Timeout => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "query_timeout",
            "The search took longer than it may and was stopped. Narrow it: give received_from and \
             received_to, or a condition on event_type or user_identity.",
        ),
        ReadError::Database(error) => Problem::database(&error),
    }
}
