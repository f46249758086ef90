//! The HTTP loop: from listening sockets to requests, for a handler that it does not know.
//!
//! hyper speaks the protocol. What it leaves to others is here: how many connections, how slow, how
//! strict, and how they end.

mod accept;
mod activity;
pub mod address;
pub mod certificate;
mod chunks;
mod connection;
mod files;
pub mod forwarded;
mod framing;
mod guard;
mod head;
pub mod listen;
mod places;
mod refusal;
mod source;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use accept::Accept;
use connection::Protocol;
pub use files::connections_within_limits;
use forwarded::TrustedProxies;
use guard::Timeouts;
use listen::Listener;
pub use places::Places;
pub use refusal::Refusal;
use source::Source;

/// The body of an answer.
pub type Body = BoxBody<Bytes, io::Error>;

/// Answers requests. Written by those who know what the requests mean.
pub trait Handler: Send + Sync + 'static {
    /// A request with a [`Refusal`] among its extensions stands for one that was refused; the answer is to
    /// say so.
    fn answer(&self, request: Request<Incoming>, peer: &Peer) -> impl Future<Output = Response<Body>> + Send;

    /// The whole HTTP/1.1 answer, head and body, to a client for whom there is no place.
    fn turn_away(&self) -> Bytes;
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end of the connection, or whom a trusted proxy there speaks for, without the port. `None` is
    /// a Unix socket.
    pub client: Option<SocketAddr>,
    pub is_tls: bool,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// From the first byte of a request, or from the start of a connection, to the end of the header fields;
    /// and for the TLS handshake.
    pub head_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// How long requests may take that are under way when the service stops.
    pub shutdown_grace: Duration,
    pub trusted_proxies: TrustedProxies,
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Nothing new comes in, what is under way is finished.
    Draining,
    /// The rest is cut off.
    Closing,
}

/// Serves until `shutdown` completes and all connections have ended, which takes at most the grace.
pub async fn serve<H: Handler>(
    listeners: Vec<Listener>,
    handler: Arc<H>,
    settings: Settings,
    places: Arc<Places>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stop, phase) = watch::channel(Phase::Serving);
    let timeouts =
        Timeouts { head: settings.head_timeout, idle: settings.idle_timeout, write: settings.write_timeout };
    let accept = Arc::new(Accept {
        handler,
        protocol: Protocol::new(timeouts, settings.trusted_proxies),
        handshake_timeout: settings.head_timeout,
        places,
        turning_away: Accept::<H>::turning_away(),
        phase,
    });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(Arc::clone(&accept).run(Source::new(listener)?));
    }
    drop(accept);
    shutdown.await;
    let _ = stop.send(Phase::Draining);
    accepting.join_all().await;
    // Each connection holds a receiver.
    if timeout(settings.shutdown_grace, stop.closed()).await.is_err() {
        let _ = stop.send(Phase::Closing);
        stop.closed().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
