//! Refused submissions as problems.

use http::StatusCode;

use super::problem::{Fault, Position, Problem};
use crate::event::{Invalid, InvalidKind};

/// Faults of one submission. The gravest decides: what is no JSON cannot be judged as an event.
impl From<Vec<Invalid>> for Problem {
    fn from(faults: Vec<Invalid>) -> Self {
        let gravest = faults
            .iter()
            .map(|fault| (fault.kind, fault.code))
            .reduce(|worst, next| if next.0 > worst.0 { next } else { worst });
        let (kind, code) = gravest.unwrap_or((InvalidKind::Invalid, "invalid_event"));
        let status = match kind {
            InvalidKind::Malformed => StatusCode::BAD_REQUEST,
            InvalidKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            InvalidKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let sentences: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let problem = Problem::new(status, code, sentences.join("; "));
        faults.into_iter().map(Fault::from).fold(problem, Problem::with_fault)
    }
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        let position = invalid.position.map(|at| Position {
            offset: at.offset as u64,
            length: None,
            line: Some(at.line as u64),
            column: Some(at.column as u64),
        });
        Self {
            pointer: Some(invalid.pointer),
            parameter: None,
            code: Some(invalid.code),
            detail: invalid.detail,
            hint: invalid.hint,
            position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::parse_event;

    fn refused(body: &str) -> Problem {
        Problem::from(parse_event(body.as_bytes()).unwrap_err())
    }

    #[test]
    fn text_that_is_no_json_is_400_with_its_place() {
        let problem = refused("{\n  \"event_type\": oops}");
        assert_eq!((problem.status.as_u16(), problem.code), (400, "malformed_json"));
        let position = problem.errors[0].position.unwrap();
        assert_eq!((position.line, position.column), (Some(2), Some(17)));
    }

    #[test]
    fn all_faults_of_an_event_are_reported_at_once() {
        let problem = refused(r#"{"user_identiy": "ann", "level": 7}"#);
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY);
        let pointers: Vec<_> = problem.errors.iter().filter_map(|fault| fault.pointer.as_deref()).collect();
        assert!(pointers.contains(&"/user_identiy") && pointers.contains(&"/level"), "{pointers:?}");
        assert!(problem.errors.iter().all(|fault| fault.code.is_some()));
    }

    #[test]
    fn an_oversized_payload_is_413() {
        let data = "x".repeat(crate::event::PAYLOAD_MAX_BYTES);
        let problem = refused(&format!(r#"{{"event_type":"a","user_identity":"b","event_data":"{data}"}}"#));
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
