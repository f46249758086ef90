//! How many bytes of request bodies are in memory at once. A share grows as its body arrives, so nobody
//! holds more than was sent, and is given back when the request is done.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::StreamExt;
use http::StatusCode;
use poem::{Body, Endpoint, Request, Response, Result};

use crate::api::problem::Problem;

/// Of all requests together.
pub(crate) struct Budget {
    max: usize,
    held: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, held: AtomicUsize::new(0) }
    }
}

/// One request's bytes.
struct Share {
    budget: Arc<Budget>,
    held: AtomicUsize,
}

impl Share {
    fn grow(&self, bytes: usize) -> bool {
        let sum = |held: usize| held.checked_add(bytes).filter(|&sum| sum <= self.budget.max);
        let grown = self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok();
        if grown {
            self.held.fetch_add(bytes, Ordering::Relaxed);
        }
        grown
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(*self.held.get_mut(), Ordering::Relaxed);
    }
}

pub(crate) async fn hold<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    mut request: Request,
    budget: Arc<Budget>,
) -> Result<Response> {
    let body = request.take_body();
    if body.is_empty() {
        return next.call(request).await;
    }
    let share = Arc::new(Share { budget, held: AtomicUsize::new(0) });
    let growing = Arc::clone(&share);
    let chunks = body.into_bytes_stream().map(move |chunk| match chunk {
        Ok(chunk) if !growing.grow(chunk.len()) => Err(io::Error::other(overloaded())),
        chunk => chunk,
    });
    request.set_body(Body::from_bytes_stream(chunks));
    let answer = next.call(request).await;
    drop(share);
    answer
}

fn overloaded() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "The requests under way fill the memory set aside for bodies (limits.bodies_bytes). Nothing was \
         recorded; send the request again shortly.",
    )
    .retry_after(2)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use poem::{EndpointExt, IntoResponse, endpoint::make};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;
    use crate::api::middleware::problems;

    fn post(bytes: usize) -> Request {
        let chunks = std::iter::repeat_n(Bytes::from_static(b"x"), bytes).map(io::Result::Ok);
        Request::builder().body(Body::from_bytes_stream(stream::iter(chunks)))
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_shares_are_held_until_the_answer() {
        let budget = Arc::new(Budget::new(10));
        let seen = Arc::clone(&budget);
        let held = move || seen.held.load(Ordering::Relaxed);
        let gate = Arc::new(Semaphore::new(0));
        let (has_read, mut reads) = mpsc::unbounded_channel();
        let opened = Arc::clone(&gate);
        let endpoint = make(move |request: Request| {
            let (gate, has_read) = (Arc::clone(&gate), has_read.clone());
            async move {
                let bytes = request.into_body().into_bytes().await?;
                has_read.send(()).unwrap();
                let _open = gate.acquire().await.unwrap();
                Ok::<_, poem::Error>(bytes.len().to_string().into_response())
            }
        });
        let endpoint = endpoint
            .around(move |next, request| hold(next, request, Arc::clone(&budget)))
            .around(|next, request| problems::convert(next, request, Arc::default()));
        let endpoint = Arc::new(endpoint.boxed());
        let slow = Arc::clone(&endpoint);
        let slow = tokio::spawn(async move { slow.get_response(post(7)).await });
        reads.recv().await.unwrap();
        assert_eq!(held(), 7);

        let refused = endpoint.get_response(post(4)).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[http::header::RETRY_AFTER], "2");
        assert!(refused.into_body().into_string().await.unwrap().contains("\"overloaded\""));
        assert_eq!(held(), 7);

        opened.add_permits(1);
        assert_eq!(slow.await.unwrap().into_body().into_string().await.unwrap(), "7");
        assert_eq!(held(), 0);
        assert_eq!(endpoint.get_response(post(10)).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_client_that_leaves_gives_its_share_back() {
        let budget = Arc::new(Budget::new(10));
        let given = Arc::clone(&budget);
        let endpoint = make(async |request: Request| {
            Ok::<_, poem::Error>(request.into_body().into_bytes().await?.into_response())
        })
        .around(move |next, request| hold(next, request, Arc::clone(&given)));
        let chunks = stream::iter([io::Result::Ok(Bytes::from_static(b"1234"))]).chain(stream::pending());
        let request = Request::builder().body(Body::from_bytes_stream(chunks));
        let mut answer = Box::pin(endpoint.get_response(request));
        assert!(futures_util::poll!(&mut answer).is_pending());
        assert_eq!(budget.held.load(Ordering::Relaxed), 4);
        drop(answer);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}
