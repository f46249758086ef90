//! A small HTTP client for reading from a server that may be hostile: bounded in time and in bytes, and it follows
//! nothing that it is told.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyDataStream, BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest explanation that is read.
const PROBLEM_MAX_BYTES: usize = 1 << 16;
/// How often something is asked for that is refused for the moment, or whose connection broke.
const TRIES: u32 = 4;
const WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url:?} is no address of a server: expected something like https://audit.example.org")]
    Url { url: String },
    #[error("the certificates in {file}: {reason}")]
    Roots { file: String, reason: String },
    #[error("the credentials have a character that no header can carry")]
    Credentials,
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{server} cannot be reached: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("{server} does not answer {path} properly: {reason}")]
    Broken { server: String, path: String, reason: String },
    #[error("{detail}")]
    Answered { detail: String },
    #[error("{server} answers {status} to {path}{hint}")]
    Refused { server: String, path: String, status: StatusCode, hint: &'static str },
}

/// An answer that is about what was asked for: it is there, or it is not.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

pub struct Client {
    /// As it was given, without a slash at its end.
    server: String,
    /// The part of the path that comes before everything.
    prefix: String,
    host: String,
    port: u16,
    authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authorization: Option<HeaderValue>,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Client {
    pub fn new(url: &str, authorization: Option<&str>, roots: Option<&Path>) -> Result<Self, ClientError> {
        let bad = || ClientError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(bad()) };
        // A user in the URL would end up in the list of processes.
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (tls, port) = match scheme {
            "https" => {
                let name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
                (Some((connector(roots)?, name)), 443)
            }
            "http" => (None, 80),
            _ => return Err(bad()),
        };
        let header = |text: &str| HeaderValue::from_str(text).map_err(|_| ClientError::Credentials);
        let mut authorization = authorization.map(header).transpose()?;
        if let Some(authorization) = &mut authorization {
            authorization.set_sensitive(true);
        }
        Ok(Self {
            server: url.trim_end_matches('/').to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            host,
            port: authority.port_u16().unwrap_or(port),
            authority: authority.to_string(),
            tls,
            authorization,
            idle: Mutex::default(),
        })
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    /// Reads at most `limit` bytes. What is not there is an answer too; everything else but success is an error.
    pub async fn get(&self, path: &str, limit: usize) -> Result<Answer, ClientError> {
        let mut tries = 1;
        loop {
            let got = self.try_get(path, limit).await;
            let passing = match &got {
                Ok(answer) => {
                    matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                }
                Err(ClientError::Broken { .. }) => true,
                Err(_) => false,
            };
            if !passing || tries == TRIES {
                return self.judged(path, got?);
            }
            sleep(WAIT * tries).await;
            tries += 1;
        }
    }

    /// The body of a success, however long, in the pieces in which it comes. It is asked for once.
    pub async fn stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        let mut sender = self.connect().await?;
        let answered = timeout(ANSWER_TIMEOUT, self.send(&mut sender, path)).await;
        let late = || self.broken(path, "it takes too long".to_owned());
        let (head, body) = answered.unwrap_or_else(|_| Err(late()))?.into_parts();
        if head.status != StatusCode::OK {
            let body = timeout(ANSWER_TIMEOUT, Limited::new(body, PROBLEM_MAX_BYTES).collect()).await;
            let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
            return Err(self.unanswered(path, head.status, &body));
        }
        let (server, path) = (self.server.clone(), path.to_owned());
        let broken =
            move |reason: String| ClientError::Broken { server: server.clone(), path: path.clone(), reason };
        Ok(BodyDataStream::new(body).map_err(move |error| broken(error.to_string())))
    }

    fn judged(&self, path: &str, answer: Answer) -> Result<Answer, ClientError> {
        let hint = match answer.status {
            StatusCode::OK | StatusCode::NOT_FOUND => return Ok(answer),
            StatusCode::UNAUTHORIZED => {
                ": give credentials in EVENTLOGGER_USER and EVENTLOGGER_PASSWORD, or in EVENTLOGGER_TOKEN"
            }
            _ => "",
        };
        let (server, path) = (self.server.clone(), path.to_owned());
        Err(ClientError::Refused { server, path, status: answer.status, hint })
    }

    async fn try_get(&self, path: &str, limit: usize) -> Result<Answer, ClientError> {
        let reused = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut sender = match reused.filter(SendRequest::is_ready) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let exchange = async {
            let (head, body) = self.send(&mut sender, path).await?.into_parts();
            let body = Limited::new(body, limit).collect().await;
            let body = body.map_err(|error| self.broken(path, error.to_string()))?;
            Ok(Answer { status: head.status, body: body.to_bytes() })
        };
        let answer = timeout(ANSWER_TIMEOUT, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(self.broken(path, "it takes too long".to_owned())))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok(answer)
    }

    async fn send(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        path: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request =
            Request::get(format!("{}{path}", self.prefix)).header(header::HOST, &self.authority);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::new()).map_err(|error| self.broken(path, error.to_string()))?;
        sender.send_request(request).await.map_err(|error| self.broken(path, error.to_string()))
    }

    fn broken(&self, path: &str, reason: String) -> ClientError {
        ClientError::Broken { server: self.server.clone(), path: path.to_owned(), reason }
    }

    /// With what the server says about it.
    fn unanswered(&self, path: &str, status: StatusCode, body: &[u8]) -> ClientError {
        let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        match problem.as_ref().and_then(|problem| problem["detail"].as_str()) {
            Some(detail) if status.is_client_error() && status != StatusCode::UNAUTHORIZED => {
                ClientError::Answered { detail: detail.to_owned() }
            }
            _ => match self.judged(path, Answer { status, body: Bytes::new() }) {
                Err(error) => error,
                Ok(_) => self.broken(path, format!("it answers {status}")),
            },
        }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, ClientError> {
        let unreachable = |reason: String| ClientError::Unreachable { server: self.server.clone(), reason };
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            match &self.tls {
                None => handshake(stream).await,
                Some((connector, name)) => handshake(connector.connect(name.clone(), stream).await?).await,
            }
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| unreachable(error.to_string()))
    }
}

async fn handshake<S>(stream: S) -> io::Result<SendRequest<Empty<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends with the sender; what goes wrong, the sender hears of as well.
    tokio::spawn(connection);
    Ok(sender)
}

fn connector(roots: Option<&Path>) -> Result<TlsConnector, ClientError> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let fault = |reason: String| ClientError::Roots { file: file.display().to_string(), reason };
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| fault(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| fault(error.to_string()))?;
                store.add(certificate).map_err(|error| fault(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(fault("there is none in it".to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server_and_carries_no_credentials() {
        for url in ["https://audit.example.org", "http://[::1]:5000/", "https://host/behind/a/proxy/"] {
            assert!(Client::new(url, Some("Bearer x"), None).is_ok(), "{url}");
        }
        for url in
            ["audit.example.org", "ftp://host", "/path", "http://user:word@host", "http://host/?a=b", ""]
        {
            assert!(matches!(Client::new(url, None, None), Err(ClientError::Url { .. })), "{url}");
        }
        assert!(matches!(Client::new("http://host", Some("a\nb"), None), Err(ClientError::Credentials)));
    }
}
