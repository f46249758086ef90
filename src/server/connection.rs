//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::activity::{Activity, Answering};
use super::forwarded::TrustedProxies;
use super::guard::{Guard, Timeouts};
use super::head::{self, HEAD_MAX_BYTES};
use super::{Handler, Peer, Phase, Refusal};

/// Longest pieces in which a body is read and an answer written.
const BUFFER_MAX_BYTES: usize = 64 << 10;
const HTTP2_STREAMS_MAX: u32 = 64;
/// What a client may send before anybody reads it.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 << 10;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// A client that does not answer a ping in the time for taking some of an answer is gone.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(30);

pub(super) struct Protocol {
    builder: Builder<TokioExecutor>,
    timeouts: Timeouts,
    proxies: TrustedProxies,
}

/// Where a connection comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// `None` is a Unix socket.
    pub(super) remote: Option<SocketAddr>,
    pub(super) is_tls: bool,
}

impl Protocol {
    pub(super) fn new(timeouts: Timeouts, proxies: TrustedProxies) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // The guard has better ones.
        builder.http1().header_read_timeout(None).max_buf_size(BUFFER_MAX_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(HEAD_MAX_BYTES as u32)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(HTTP2_PING_EVERY)
            .keep_alive_timeout(timeouts.write);
        Self { builder, timeouts, proxies }
    }

    /// The address that a connection counts under. Behind a proxy or a Unix socket stand many clients, so
    /// such a one only counts among all.
    pub(super) fn counted_under(&self, origin: Origin) -> Option<IpAddr> {
        origin.remote.filter(|_| !self.proxies.trusts(origin.remote)).map(|remote| remote.ip())
    }

    /// Serves until the client leaves. When the service stops, requests under way are finished first.
    pub(super) async fn serve<T, H>(
        &self,
        transport: T,
        origin: Origin,
        handler: Arc<H>,
        mut phase: watch::Receiver<Phase>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Handler,
    {
        let activity = Activity::new();
        let guard = Guard::new(transport, Arc::clone(&activity), self.timeouts);
        let service = service_fn(|request: Request<Incoming>| {
            let client = self.proxies.client(origin.remote, request.headers());
            let peer = Peer { client, is_tls: origin.is_tls };
            answer(Arc::clone(&activity), Arc::clone(&handler), request, peer)
        });
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(guard), service);
        tokio::pin!(connection);
        loop {
            tokio::select! {
                // What went wrong is the client's: it left, or was too slow.
                _ended = &mut connection => return,
                changed = phase.changed() => match *phase.borrow() {
                    Phase::Serving if changed.is_ok() => {}
                    Phase::Draining if changed.is_ok() => connection.as_mut().graceful_shutdown(),
                    Phase::Serving | Phase::Draining | Phase::Closing => return,
                },
            }
        }
    }
}

fn answer<H: Handler>(
    activity: Arc<Activity>,
    handler: Arc<H>,
    mut request: Request<Incoming>,
    peer: Peer,
) -> impl Future<Output = Result<http::Response<Answering>, Infallible>> + Send + use<H> {
    let in_flight = activity.begin();
    let refusal = match request.version() {
        Version::HTTP_2 => misplaced_authority(&request),
        _ => activity.next_request(),
    };
    if let Some(refusal) = refusal {
        request.extensions_mut().insert(refusal);
    }
    async move {
        let answer = handler.answer(request, &peer).await;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            activity.set_upgraded();
        }
        Ok(answer.map(|body| Answering { body, _in_flight: in_flight }))
    }
}

/// The guard does not see the requests of HTTP/2, which cannot be framed wrongly but can name two hosts.
fn misplaced_authority<B>(request: &Request<B>) -> Option<Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (request.uri().authority(), hosts.next(), hosts.next()) {
        (_, Some(_), Some(_)) => Some(Refusal::Host("the request has more than one Host")),
        (None, None, _) => Some(Refusal::Host("the request has neither an :authority nor a Host")),
        (authority, Some(host), None) => head::check_authority(host.as_bytes(), authority).err(),
        (Some(_), None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(target: &str, hosts: &[&str]) -> bool {
        let request = hosts.iter().fold(Request::builder().uri(target), |r, host| r.header("host", *host));
        misplaced_authority(&request.body(()).unwrap()).is_some()
    }

    #[test]
    fn a_request_over_http_2_names_one_host() {
        assert!(!refused("https://log/events", &[]));
        assert!(!refused("https://log/events", &["LOG"]));
        assert!(!refused("/events", &["log"]));
        assert!(refused("/events", &[]));
        assert!(refused("https://log/events", &["other"]));
        assert!(refused("https://log/events", &["log", "log"]));
    }
}
