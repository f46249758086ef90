//! Between the HTTP loop and poem.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use poem::endpoint::BoxEndpoint;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};

use super::problem::{PROBLEM_JSON, Problem};
use crate::server::{Body, Handler, Peer};

/// Everything that is served.
pub struct Front(BoxEndpoint<'static, poem::Response>);

impl Front {
    pub fn new(endpoint: BoxEndpoint<'static, poem::Response>) -> Self {
        Self(endpoint)
    }
}

impl Handler for Front {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let remote = RemoteAddr(peer.client.map_or_else(|| Addr::custom("unix", ""), Addr::from));
        let scheme = if peer.is_tls { Scheme::HTTPS } else { Scheme::HTTP };
        self.0.get_response((request, LocalAddr::default(), remote, scheme).into()).await.into()
    }

    fn turn_away(&self) -> Bytes {
        let body = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_connections",
            "There are too many connections, from your address or from all. Close some, or use one for many requests.",
        )
        .to_bytes();
        let head = format!(
            "HTTP/1.1 503 Service Unavailable\r\n{}: {PROBLEM_JSON}\r\n{}: {}\r\n{}: 1\r\n{}: close\r\n\r\n",
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH,
            body.len(),
            header::RETRY_AFTER,
            header::CONNECTION,
        );
        [head.into_bytes(), body].concat().into()
    }
}
