//! A panic in a handler is our fault and nobody else's problem: a 500, a log record, and the next request.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use crate::api::problem::Problem;

pub(crate) async fn catch<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    request: Request,
) -> Result<Response> {
    // A request's state dies with it; what requests share guards itself.
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => {
            tracing::error!(panic = message(&*panic), "a request handler panicked");
            Ok(Problem::unexplained().into_response())
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match panic.downcast_ref::<String>() {
        Some(message) => message,
        None => panic.downcast_ref::<&str>().copied().unwrap_or("(no message)"),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use poem::{EndpointExt, endpoint::make_sync};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_500_that_keeps_its_message_to_itself() {
        let broken = make_sync(|_| -> Response { panic!("index 7 of [secret]") });
        let response = broken.around(catch).get_response(Request::default()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().into_string().await.unwrap();
        assert!(body.contains("\"code\":\"internal\"") && !body.contains("secret"), "{body}");
    }

    #[test]
    fn both_kinds_of_panic_messages_are_found() {
        assert_eq!(message(&"plain"), "plain");
        assert_eq!(message(&"formatted".to_owned()), "formatted");
        assert_eq!(message(&7), "(no message)");
    }
}
