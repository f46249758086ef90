//! A name for each request, given by the client or made here, in the answer and in every log record.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over.
const ID_MAX_BYTES: usize = 128;

/// Visible ASCII only, so it is safe in headers and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// The client's id if it is usable and unambiguous, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(X_REQUEST_ID).iter();
        match (sent.next().and_then(|id| id.to_str().ok()), sent.next()) {
            (Some(id), None) if is_usable(id) => Self(id.into()),
            _ => Self(Uuid::now_v7().to_string().into()),
        }
    }

    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_usable(id: &str) -> bool {
    (1..=ID_MAX_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(X_REQUEST_ID, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        RequestId::of(&headers).to_string()
    }

    #[test]
    fn a_usable_id_is_taken_over() {
        assert_eq!(id_for(&["order-42"]), "order-42");
        let longest = "x".repeat(ID_MAX_BYTES);
        assert_eq!(id_for(&[&longest]), longest);
    }

    #[test]
    fn an_id_that_could_confuse_a_log_is_replaced() {
        let too_long = "x".repeat(ID_MAX_BYTES + 1);
        for sent in [&[][..], &[""], &["a b"], &["é"], &["tab\there"], &[&too_long], &["one", "two"]] {
            let id = id_for(sent);
            assert!(Uuid::parse_str(&id).is_ok(), "{sent:?} became {id}");
        }
    }
}
