//! Load over keep-alive connections: each sends its next request when it has the answer to the last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::sample::{Sample, scatter};

/// Of a hundred requests, one has its receipts checked.
const CHECKED_OF: u64 = 100;

pub(super) struct Client(SendRequest<Full<Bytes>>);

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its end shows as a failed request.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    pub(super) async fn get(
        &mut self,
        path: &str,
        authorization: Option<&HeaderValue>,
    ) -> anyhow::Result<StatusCode> {
        let mut request = Request::get(path).header(HOST, "localhost");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        Ok(self.send(request.body(Full::default())?).await?.0)
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request).await?.into_parts();
        Ok((head.status, body.collect().await?.to_bytes()))
    }
}

pub(super) fn basic(user: &str, password: &str) -> anyhow::Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a request records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Single,
    /// With an idempotency key that is new.
    Keyed,
    /// As many events at once.
    Batch(u64),
}

impl Work {
    pub(super) fn events(self) -> u64 {
        match self {
            Self::Single | Self::Keyed => 1,
            Self::Batch(events) => events,
        }
    }

    /// A request of the samples from `n` on.
    fn request(
        self,
        n: u64,
        receipts: bool,
        authorization: &HeaderValue,
    ) -> http::Result<Request<Full<Bytes>>> {
        let path = match (self, receipts) {
            (Self::Batch(_), true) => "/events/batch",
            (Self::Batch(_), false) => "/events/batch?receipt=none",
            _ => "/events",
        };
        let mut request =
            Request::post(path).header(HOST, "localhost").header(AUTHORIZATION, authorization.clone());
        if self == Self::Keyed {
            request = request.header("idempotency-key", key_of(n));
        }
        let (content_type, body) = match self {
            Self::Single | Self::Keyed => ("application/json", Sample::of(n).to_json()),
            Self::Batch(events) => {
                let lines = (n..n + events).map(|n| Sample::of(n).to_json() + "\n");
                ("application/x-ndjson", lines.collect())
            }
        };
        request.header(CONTENT_TYPE, content_type).body(Full::from(body))
    }
}

pub(super) fn key_of(n: u64) -> String {
    format!("bench-{n}")
}

#[derive(Clone)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    /// Given to the connections in turn.
    pub(super) authorizations: Arc<[HeaderValue]>,
    pub(super) connections: usize,
    pub(super) work: Work,
    pub(super) receipts: bool,
    /// The next sample. None is sent twice.
    pub(super) next_sample: Arc<AtomicU64>,
    pub(super) until: Until,
}

#[derive(Clone, Copy)]
pub(super) enum Until {
    Elapsed(Duration),
    /// This sample and those after it are not sent.
    Sample(u64),
}

/// What a load did. Every request was answered with 201, or there would be none.
#[derive(Default)]
pub(super) struct Done {
    pub(super) seconds: f64,
    pub(super) latencies_us: Vec<u64>,
    /// Requests chosen at random, and their answers.
    pub(super) checked: Vec<Answered>,
}

pub(super) struct Answered {
    pub(super) first_sample: u64,
    pub(super) body: Bytes,
}

impl Load {
    pub(super) async fn run(self) -> anyhow::Result<Done> {
        let mut clients = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            clients.push(Client::connect(self.address).await.context("cannot connect to the service")?);
        }
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for (worker, client) in clients.into_iter().enumerate() {
            let authorization = self.authorizations[worker % self.authorizations.len()].clone();
            workers.spawn(self.clone().work(client, authorization, begun));
        }
        let mut all = Done::default();
        while let Some(done) = workers.join_next().await {
            let mut done = done??;
            all.latencies_us.append(&mut done.latencies_us);
            all.checked.append(&mut done.checked);
        }
        all.seconds = begun.elapsed().as_secs_f64();
        Ok(all)
    }

    async fn work(
        self,
        mut client: Client,
        authorization: HeaderValue,
        begun: Instant,
    ) -> anyhow::Result<Done> {
        let mut done = Done::default();
        while let Some(n) = self.next_request(begun) {
            let request = self.work.request(n, self.receipts, &authorization)?;
            let sent = Instant::now();
            let (status, body) = client.send(request).await?;
            done.latencies_us.push(u64::try_from(sent.elapsed().as_micros())?);
            ensure!(
                status == StatusCode::CREATED,
                "the service answers {status}: {}",
                String::from_utf8_lossy(&body)
            );
            if self.receipts && is_checked(n) {
                done.checked.push(Answered { first_sample: n, body });
            }
        }
        Ok(done)
    }

    fn next_request(&self, begun: Instant) -> Option<u64> {
        if matches!(self.until, Until::Elapsed(time) if begun.elapsed() >= time) {
            return None;
        }
        let n = self.next_sample.fetch_add(self.work.events(), Ordering::Relaxed);
        (!matches!(self.until, Until::Sample(end) if n >= end)).then_some(n)
    }
}

/// Chosen by number, which neither the generator nor the service knows anything about.
fn is_checked(n: u64) -> bool {
    scatter(!n).is_multiple_of(CHECKED_OF)
}

/// A request with each credential, so that no login falls into the measurement.
pub(super) async fn log_in(load: &Load) -> anyhow::Result<Vec<Answered>> {
    let mut client = Client::connect(load.address).await?;
    let mut answered = Vec::with_capacity(load.authorizations.len());
    for authorization in load.authorizations.iter() {
        let n = load.next_sample.fetch_add(load.work.events(), Ordering::Relaxed);
        let (status, body) = client.send(load.work.request(n, true, authorization)?).await?;
        ensure!(
            status == StatusCode::CREATED,
            "the service answers {status}: {}",
            String::from_utf8_lossy(&body)
        );
        answered.push(Answered { first_sample: n, body });
    }
    Ok(answered)
}
