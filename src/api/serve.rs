//! The HTTP loop.

use std::io;
use std::time::Duration;

use poem::endpoint::BoxEndpoint;
use poem::listener::{AcceptorExt, BoxAcceptor, TcpAcceptor};
use poem::{Response, Server};

use crate::server::listen::{Listener, Socket};

/// Serves until `shutdown` completes; then lets requests under way finish for at most `grace`.
pub async fn serve(
    listeners: Vec<Listener>,
    endpoint: BoxEndpoint<'static, Response>,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> io::Result<()> {
    let mut acceptor: Option<BoxAcceptor> = None;
    for listener in listeners {
        let Socket::Tcp(listener) = listener.socket else { continue };
        let next = TcpAcceptor::from_std(listener)?;
        acceptor = Some(match acceptor {
            Some(others) => others.combine(next).boxed(),
            None => next.boxed(),
        });
    }
    let acceptor = acceptor.ok_or_else(|| io::Error::other("no address to listen on"))?;
    Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(endpoint, shutdown, Some(grace)).await
}
