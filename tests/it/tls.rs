//! HTTPS, and what happens to it when somebody changes the certificate.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use eventlogger::tlog::Policy;
use eventlogger::walk::client::Client as VerifyClient;
use eventlogger::walk::{self, Progress, Trusted};

use crate::harness::{ADMIN, PASSWORD, Server, event, tests};
use crate::http::basic;

tests![
    events_are_recorded_over_https_in_either_version_of_http,
    a_log_is_verified_over_https_by_who_knows_the_certificate,
    whoever_speaks_no_tls_is_cut_off_and_others_are_served,
    a_plain_address_stays_plain_beside_a_certificate,
    a_renewed_certificate_is_used_without_breaking_connections,
    files_that_are_not_sound_never_interrupt_the_service,
    a_service_without_tls_outlives_a_hangup,
];

/// A self-signed certificate for localhost.
struct Made {
    pem: String,
    key: String,
    der: CertificateDer<'static>,
}

fn certificate() -> Made {
    let now = OffsetDateTime::now_utc();
    certificate_of(now - Duration::DAY, now + Duration::DAY * 90)
}

fn certificate_of(from: OffsetDateTime, until: OffsetDateTime) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (from, until);
    let certificate = params.self_signed(&key).unwrap();
    Made { pem: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
}

/// An instance that speaks TLS, and the files of its certificate.
struct Secure {
    server: Server,
    folder: TempDir,
}

impl Secure {
    async fn start(other: &Server, made: &Made, listen: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        put(&folder, &made.pem, &made.key);
        let server = other
            .another_instance_with(|config| {
                config.server.listen = listen.iter().map(|address| address.parse().unwrap()).collect();
                config.server.tls_certificate = Some(certificate_file(&folder));
                config.server.tls_key = Some(key_file(&folder));
            })
            .await;
        Self { server, folder }
    }

    fn put(&self, certificate: &str, key: &str) {
        put(&self.folder, certificate, key);
    }

    fn address(&self) -> SocketAddr {
        self.server.client.address()
    }

    async fn connect(&self, trusted: &Made, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address()).await?;
        client(trusted, alpn).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// How often a certificate was refused, as the metrics say.
    async fn refusals(&self, trusted: &Made) -> u64 {
        let stream = self.connect(trusted, b"http/1.1").await.unwrap();
        let (status, metrics) = ask(stream, "GET", "/metrics", "").await;
        assert_eq!(status, StatusCode::OK);
        let name = "eventlogger_tls_certificate_reloads_total{outcome=\"refused\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

fn certificate_file(folder: &TempDir) -> PathBuf {
    folder.path().join("chain.pem")
}

fn key_file(folder: &TempDir) -> PathBuf {
    folder.path().join("key.pem")
}

fn put(folder: &TempDir, certificate: &str, key: &str) {
    fs::write(certificate_file(folder), certificate).unwrap();
    fs::write(key_file(folder), key).unwrap();
    fs::set_permissions(key_file(folder), Permissions::from_mode(0o600)).unwrap();
}

fn client(trusted: &Made, alpn: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn request(method: &str, uri: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri).header("authorization", basic(ADMIN, PASSWORD));
    let request = request.header("content-type", "application/json");
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

/// A request over HTTP/1.1, alone on its connection.
async fn ask(stream: TlsStream<TcpStream>, method: &str, path: &str, body: &str) -> (StatusCode, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send(&mut sender, method, path, body).await
}

async fn send(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    method: &str,
    path: &str,
    body: &str,
) -> (StatusCode, String) {
    let mut request = request(method, path, body);
    request.headers_mut().insert("host", "localhost".parse().unwrap());
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.into()).unwrap())
}

fn hang_up() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
}

async fn events_are_recorded_over_https_in_either_version_of_http(server: Arc<Server>) {
    let made = certificate();
    let secure = Secure::start(&server, &made, &["https://127.0.0.1:0"]).await;

    let stream = secure.connect(&made, b"http/1.1").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    assert_eq!(ask(stream, "POST", "/events", &event("one")).await.0, StatusCode::CREATED);

    let stream = secure.connect(&made, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer =
        sender.send_request(request("POST", "https://localhost/events", &event("two"))).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::CREATED, Version::HTTP_2));
    drop(sender);

    // A client that trusts another certificate does not get as far as sending its password.
    secure.connect(&certificate(), b"h2").await.unwrap_err();
    let page = server.client.get("/events").send().await.json(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 2);
    secure.server.stop().await;
}

async fn a_log_is_verified_over_https_by_who_knows_the_certificate(server: Arc<Server>) {
    let made = certificate();
    let secure = Secure::start(&server, &made, &["https://127.0.0.1:0"]).await;
    let stream = secure.connect(&made, b"http/1.1").await.unwrap();
    assert_eq!(ask(stream, "POST", "/events", &event("one")).await.0, StatusCode::CREATED);
    let stream = secure.connect(&made, b"http/1.1").await.unwrap();
    let (_, key) = ask(stream, "GET", "/integrity/key", "").await;
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let policy = Policy::parse(key["policy"].as_str().unwrap().as_bytes()).unwrap();
    let trusted = Trusted { policy: Some(&policy), seen: None };

    let url = format!("https://localhost:{}", secure.address().port());
    let knowing = Some(certificate_file(&secure.folder));
    let client = VerifyClient::new(&url, Some(&basic(ADMIN, PASSWORD)), knowing.as_deref()).unwrap();
    let report = walk::server::walk(&client, "default", trusted, &Progress::default()).await.unwrap();
    assert!(report.is_clean() && report.unchecked.is_empty(), "{report:?}");
    assert_eq!((report.entries_checked, report.signed_size), (1, Some(1)));

    // Who knows another certificate of that name, or only those of the system, is told, and shows no password.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = certificate();
    put(&elsewhere, &other.pem, &other.key);
    for roots in [Some(certificate_file(&elsewhere)), None] {
        let client = VerifyClient::new(&url, Some(&basic(ADMIN, PASSWORD)), roots.as_deref()).unwrap();
        let refused =
            walk::server::walk(&client, "default", trusted, &Progress::default()).await.unwrap_err();
        assert!(refused.to_string().contains("certificate"), "{refused}");
    }
}

async fn whoever_speaks_no_tls_is_cut_off_and_others_are_served(server: Arc<Server>) {
    let made = certificate();
    let secure = Secure::start(&server, &made, &["127.0.0.1:0"]).await;
    // One says nothing at all, and is still there in the end.
    let silent = TcpStream::connect(secure.address()).await.unwrap();
    let mut plain = TcpStream::connect(secure.address()).await.unwrap();
    plain.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let stream = secure.connect(&made, b"http/1.1").await.unwrap();
    assert_eq!(ask(stream, "GET", "/health/live", "").await.0, StatusCode::OK);
    // A stop does not wait for a handshake.
    secure.server.stop().await;
    drop(silent);
}

async fn a_plain_address_stays_plain_beside_a_certificate(server: Arc<Server>) {
    let secure = Secure::start(&server, &certificate(), &["http://127.0.0.1:0", "127.0.0.1:0"]).await;
    secure.server.client.get("/health/live").send().await.json(200);
    secure.server.stop().await;
}

async fn a_renewed_certificate_is_used_without_breaking_connections(server: Arc<Server>) {
    let (old, new) = (certificate(), certificate());
    let secure = Secure::start(&server, &old, &["127.0.0.1:0"]).await;
    let stream = secure.connect(&old, b"http/1.1").await.unwrap();
    let (mut before, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(send(&mut before, "POST", "/events", &event("one")).await.0, StatusCode::CREATED);

    secure.put(&new.pem, &new.key);
    hang_up();
    let stream = loop {
        if let Ok(stream) = secure.connect(&new, b"http/1.1").await {
            break stream;
        }
    };
    assert_eq!(ask(stream, "POST", "/events", &event("two")).await.0, StatusCode::CREATED);
    secure.connect(&old, b"http/1.1").await.unwrap_err();
    assert_eq!(send(&mut before, "POST", "/events", &event("three")).await.0, StatusCode::CREATED);
    drop(before);
    secure.server.stop().await;
}

async fn files_that_are_not_sound_never_interrupt_the_service(server: Arc<Server>) {
    let now = OffsetDateTime::now_utc();
    let (good, other) = (certificate(), certificate());
    let expired = certificate_of(now - Duration::DAY * 90, now - Duration::DAY);
    let secure = Secure::start(&server, &good, &["127.0.0.1:0"]).await;
    let bad = [
        ("\0garbage", good.key.as_str()),
        ("", ""),
        (&good.pem[..good.pem.len() / 2], &good.key),
        (&good.pem, &other.key),
        (&other.pem, &good.key),
        (&expired.pem, &expired.key),
    ];
    for (certificate, key) in bad {
        let before = secure.refusals(&good).await;
        secure.put(certificate, key);
        hang_up();
        while secure.refusals(&good).await == before {
            // Whatever the files hold meanwhile, each of these connections is served.
        }
    }
    fs::remove_file(key_file(&secure.folder)).unwrap();
    let before = secure.refusals(&good).await;
    hang_up();
    while secure.refusals(&good).await == before {}

    secure.put(&other.pem, &other.key);
    hang_up();
    while secure.connect(&other, b"http/1.1").await.is_err() {}
    secure.server.stop().await;
}

async fn a_service_without_tls_outlives_a_hangup(server: Arc<Server>) {
    hang_up();
    server.client.post("/events").json(event("t")).send().await.json(201);
}
