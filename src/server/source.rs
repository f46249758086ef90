//! Where connections come from: TCP or a Unix socket, plain or to be wrapped in TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::listen::{Listener, Socket, SocketFile};
use super::tls::Tls;

pub(super) type Stream = Either<TcpStream, UnixStream>;

/// A listener that waits for connections; dropping it closes the socket and removes its file.
pub(super) struct Source {
    socket: Waiting,
    /// Whoever connects must speak TLS.
    pub(super) tls: Option<Arc<Tls>>,
}

enum Waiting {
    Tcp(TcpListener),
    Unix { _file: SocketFile, listener: UnixListener },
}

impl Source {
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        let socket = match listener.socket {
            Socket::Tcp(listener) => Waiting::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(file, listener) => {
                Waiting::Unix { _file: file, listener: UnixListener::from_std(listener)? }
            }
        };
        Ok(Self { socket, tls: listener.tls })
    }

    /// The next connection and, unless it comes through a Unix socket, its other end.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Waiting::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                // Answers are written whole; waiting for more only delays them. A socket that refuses is as
                // good as gone.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), Some(remote)))
            }
            Waiting::Unix { listener, .. } => {
                let (stream, _nameless) = listener.accept().await?;
                Ok((Either::Right(stream), None))
            }
        }
    }
}
