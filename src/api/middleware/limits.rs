//! How much a request may send and how long that may take. Bodies are measured while a handler reads
//! them, whatever Content-Length says, so an unauthenticated body is never kept.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{StatusCode, header};
use poem::{Body, Endpoint, Request, Response, Result};
use tokio::time::{Instant, timeout_at};

use crate::api::{API_PREFIX, problem::Problem};

/// As configured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub url_bytes: usize,
    pub event_body_bytes: u64,
    pub batch_body_bytes: u64,
    /// Every body that holds no events.
    pub query_body_bytes: u64,
    /// Of all requests together.
    pub bodies_bytes: usize,
    /// From the request's headers to the last byte of its body.
    pub body_timeout: Duration,
    /// How fast a body must come. 0: at any pace.
    pub body_min_bytes_per_second: u64,
}

/// Waiting that costs a client nothing.
const WAIT_FREE: Duration = Duration::from_secs(10);

impl Default for Limits {
    fn default() -> Self {
        Self {
            url_bytes: 8 << 10,
            event_body_bytes: 2 << 20,
            batch_body_bytes: 32 << 20,
            query_body_bytes: 64 << 10,
            bodies_bytes: 256 << 20,
            body_timeout: Duration::from_secs(60),
            body_min_bytes_per_second: 1 << 10,
        }
    }
}

/// The limit on one request's body and the setting it comes from.
#[derive(Clone, Copy)]
pub(super) struct BodyLimit {
    pub(super) bytes: u64,
    setting: &'static str,
}

impl BodyLimit {
    /// `counted` says what of the body: as it was sent, or what it became.
    pub(super) fn exceeded_by(self, counted: &str) -> Problem {
        let Self { bytes, setting } = self;
        let detail = format!(
            "{counted} may have at most {bytes} bytes here ({setting}). Send less, or several requests."
        );
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).with("limit_bytes", bytes)
    }
}

impl Limits {
    pub(super) fn body(&self, path: &str) -> BodyLimit {
        match path.strip_prefix(API_PREFIX).unwrap_or(path) {
            "/events" | "/log" => {
                BodyLimit { bytes: self.event_body_bytes, setting: "limits.event_body_bytes" }
            }
            "/events/batch" | "/integrity/reconcile" => {
                BodyLimit { bytes: self.batch_body_bytes, setting: "limits.batch_body_bytes" }
            }
            _ => BodyLimit { bytes: self.query_body_bytes, setting: "limits.query_body_bytes" },
        }
    }

    /// How much longer a client may be waited for that has sent so many bytes in so much waiting.
    fn patience(&self, sent: u64, waited: Duration) -> Duration {
        match self.body_min_bytes_per_second {
            0 => self.body_timeout,
            rate => (WAIT_FREE + Duration::from_secs(sent / rate)).saturating_sub(waited),
        }
    }
}

pub(crate) async fn enforce<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    mut request: Request,
    limits: Arc<Limits>,
) -> Result<Response> {
    let url_bytes = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
    if url_bytes > limits.url_bytes {
        return Err(url_too_long(url_bytes, limits.url_bytes).into());
    }
    let limit = limits.body(request.uri().path());
    if announced_length(&request).is_some_and(|length| length > limit.bytes) {
        return Err(limit.exceeded_by(A_BODY).into());
    }
    let body = request.take_body();
    if !body.is_empty() {
        request.set_body(Body::from_bytes_stream(metered(body, limit, *limits)));
    }
    next.call(request).await
}

fn announced_length(request: &Request) -> Option<u64> {
    request.header(header::CONTENT_LENGTH)?.parse().ok()
}

/// What has come of a body.
#[derive(Default)]
struct Progress {
    bytes: u64,
    /// The time in which nothing was there to read. What the service takes for itself does not count.
    waited: Duration,
}

/// The body's bytes up to the limit, in time; what ends it early is a [`Problem`] in an `io::Error`, which is
/// all that a body can carry. `problems` takes it out again.
fn metered(
    body: Body,
    limit: BodyLimit,
    limits: Limits,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let chunks = Box::pin(body.into_bytes_stream());
    let deadline = Instant::now() + limits.body_timeout;
    stream::try_unfold((chunks, Progress::default()), move |(mut chunks, mut progress)| async move {
        let asked = Instant::now();
        let patience = asked + limits.patience(progress.bytes, progress.waited);
        let chunk = match timeout_at(deadline.min(patience), chunks.next()).await {
            Err(_) if patience < deadline => return Err(io::Error::other(too_slow(&limits))),
            Err(_) => return Err(io::Error::other(too_late())),
            Ok(None) => return Ok(None),
            Ok(Some(chunk)) => chunk?,
        };
        progress.waited += asked.elapsed();
        progress.bytes += chunk.len() as u64;
        if progress.bytes > limit.bytes {
            return Err(io::Error::other(limit.exceeded_by(A_BODY)));
        }
        Ok(Some((chunk, (chunks, progress))))
    })
}

const A_BODY: &str = "The body";

fn too_late() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_timeout",
        "The body did not arrive in time (server.request_timeout_seconds). Nothing was recorded; send the \
         request again.",
    )
}

fn too_slow(limits: &Limits) -> Problem {
    let detail = format!(
        "The body arrived at less than {} bytes per second (limits.body_min_bytes_per_second). Nothing was \
         recorded; send the request again.",
        limits.body_min_bytes_per_second
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
}

fn url_too_long(bytes: usize, limit: usize) -> Problem {
    Problem::new(
        StatusCode::URI_TOO_LONG,
        "url_too_long",
        format!(
            "The URL has {bytes} bytes; at most {limit} are accepted (limits.url_bytes). \
             Send long filters as a body: POST /events/query."
        ),
    )
    .with("limit_bytes", limit)
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, IntoResponse, endpoint::make};
    use tokio::time::sleep;

    use super::*;
    use crate::api::middleware::problems;

    fn small() -> Limits {
        Limits { event_body_bytes: 10, body_timeout: Duration::from_millis(50), ..Limits::default() }
    }

    /// Answers with the length of the body that it read.
    async fn read(request: Request) -> Result<Response> {
        Ok(request.into_body().into_bytes().await?.len().to_string().into_response())
    }

    async fn answer(request: Request) -> Response {
        answer_within(request, small()).await
    }

    async fn answer_within(request: Request, limits: Limits) -> Response {
        let reader = make(read);
        let limits = Arc::new(limits);
        let endpoint = reader
            .around(move |next, request| enforce(next, request, Arc::clone(&limits)))
            .around(|next, request| problems::convert(next, request, Arc::default()));
        endpoint.get_response(request).await
    }

    fn post(body: Body) -> Request {
        Request::builder().method(http::Method::POST).uri_str("/events").body(body)
    }

    fn chunked(chunks: &'static [&'static str]) -> Body {
        Body::from_bytes_stream(stream::iter(
            chunks.iter().map(|c| io::Result::Ok(Bytes::from_static(c.as_bytes()))),
        ))
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read() {
        let response = answer(post(chunked(&["12345", "67890"]))).await;
        assert_eq!(response.into_body().into_string().await.unwrap(), "10");
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_counted() {
        let response = answer(post(chunked(&["12345", "67890", "1"]))).await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let text = response.into_body().into_string().await.unwrap();
        assert!(text.contains("limits.event_body_bytes"), "{text}");
    }

    #[tokio::test]
    async fn an_announced_length_over_the_limit_is_refused_unread() {
        let mut request = post(Body::from_bytes_stream(stream::pending::<io::Result<Bytes>>()));
        request.headers_mut().insert(header::CONTENT_LENGTH, 11.into());
        assert_eq!(answer(request).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_length_that_lies_does_not_lift_the_limit() {
        let mut request = post(chunked(&["123456789012"]));
        request.headers_mut().insert(header::CONTENT_LENGTH, 3.into());
        assert_eq!(answer(request).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    /// The status of a request whose chunks come in these intervals.
    async fn paced(seconds: u64, bytes: &'static [u8], chunks: usize, limits: Limits) -> (u16, Duration) {
        let started = Instant::now();
        let chunks = stream::iter(0..chunks).then(move |_| async move {
            sleep(Duration::from_secs(seconds)).await;
            io::Result::Ok(Bytes::from_static(bytes))
        });
        let response = answer_within(post(Body::from_bytes_stream(chunks)), limits).await;
        (response.status().as_u16(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up() {
        let limits = Limits { body_min_bytes_per_second: 100, ..Limits::default() };
        let (status, took) = paced(1, b"x", 1000, limits).await;
        assert_eq!((status, took), (408, Duration::from_secs(10)));
        // Fast enough, but for the time in all.
        let (status, took) = paced(2, &[b'x'; 200], 1000, limits).await;
        assert_eq!((status, took), (408, Duration::from_secs(60)));
        assert_eq!(paced(2, &[b'x'; 200], 29, limits).await.0, 200);
        // What came early buys time later.
        assert_eq!(
            paced(15, &[b'x'; 2000], 3, Limits { body_min_bytes_per_second: 0, ..limits }).await.0,
            200
        );
        assert_eq!(paced(15, &[b'x'; 2000], 3, limits).await.0, 408);
        assert_eq!(paced(9, &[b'x'; 1000], 6, limits).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_services_own_time_is_not_held_against_the_client() {
        let limits = Limits { body_min_bytes_per_second: 1000, ..Limits::default() };
        let handler = make(async |request: Request| {
            let mut chunks = Box::pin(request.into_body().into_bytes_stream());
            while let Some(chunk) = chunks.next().await {
                chunk.map_err(poem::error::InternalServerError)?;
                sleep(Duration::from_secs(15)).await;
            }
            Ok::<_, poem::Error>(Response::default())
        });
        let endpoint = handler.around(move |next, request| enforce(next, request, Arc::new(limits)));
        assert_eq!(endpoint.get_response(post(chunked(&["1", "2", "3"]))).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_times_out() {
        let response = answer(post(Body::from_bytes_stream(stream::pending::<io::Result<Bytes>>()))).await;
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn a_long_url_is_refused_with_the_way_out() {
        let url = format!("/events/query?q={}", "x".repeat(8 << 10));
        let response = answer(Request::builder().uri_str(url).finish()).await;
        assert_eq!(response.status(), StatusCode::URI_TOO_LONG);
        assert!(response.into_body().into_string().await.unwrap().contains("POST /events/query"));
    }

    #[test]
    fn pinned_paths_have_the_same_limits() {
        let limits = Limits::default();
        assert_eq!(limits.body("/api/v1/events/batch").bytes, limits.batch_body_bytes);
        assert_eq!(limits.body("/events/query").bytes, limits.query_body_bytes);
    }
}
