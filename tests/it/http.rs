//! A small HTTP client: what a test says is what is sent.

use std::error::Error;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone)]
pub struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

pub struct Request {
    client: Client,
    request: http::request::Builder,
    authorization: Option<String>,
    body: Bytes,
}

#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { http: HyperClient::builder(TokioExecutor::new()).build_http(), address }
    }

    /// The same over HTTP/2, as if that were known beforehand.
    pub fn over_http2(&self) -> Self {
        let http = HyperClient::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { http, address: self.address }
    }

    /// The same service, as a client at another of this machine's addresses.
    pub fn from(&self, address: [u8; 4]) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address.into()));
        Self { http: HyperClient::builder(TokioExecutor::new()).build(connector), address: self.address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request as the administrator, who has all roles.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request {
            client: self.clone(),
            request: http::Request::builder().method(method).uri(format!("http://{}{path}", self.address)),
            authorization: Some(basic(super::harness::ADMIN, super::harness::PASSWORD)),
            body: Bytes::new(),
        }
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    /// Sends these bytes and nothing else, and reads until the server closes; for what no client would send.
    pub async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut connection = TcpStream::connect(self.address).await.expect("a connection");
        // The server may answer and close before it has read everything.
        let _ = connection.write_all(request.as_ref()).await;
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Request {
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.authorization = Some(basic(user, password));
        self
    }

    pub fn bearer(mut self, token: &str) -> Self {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    pub fn anonymous(mut self) -> Self {
        self.authorization = None;
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(self, body: impl Into<Bytes>) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub fn ndjson(self, body: impl Into<Bytes>) -> Self {
        self.header("content-type", "application/x-ndjson").body(body)
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Response {
        self.try_send().await.expect("an answer")
    }

    /// For tests in which the connection may break.
    pub async fn try_send(self) -> Result<Response, Box<dyn Error + Send + Sync>> {
        let request = match self.authorization {
            Some(authorization) => self.request.header("authorization", authorization),
            None => self.request,
        };
        let request = request.body(Full::new(self.body)).expect("a well-formed request");
        let (head, body) = self.client.http.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

impl Response {
    /// The body as JSON, after checking the status.
    #[track_caller]
    pub fn json(&self, expected: u16) -> Value {
        assert_eq!(self.status.as_u16(), expected, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as a problem with this `code`.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json(status);
        assert_eq!(problem["code"], code, "{problem:#}");
        assert_eq!(problem["status"], status, "{problem:#}");
        problem
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
