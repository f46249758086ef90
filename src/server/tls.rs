//! TLS: the certificate in use, and how another one takes its place.
//!
//! Whatever happens to the files, the certificate that is in use stays until a better one has passed every
//! check. So a renewal that goes wrong costs a line in the log, not the service.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::Signal;
use tokio::sync::watch as slot;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{error, info, warn};

use super::certificate::{Certificate, CertificateError, Files, Standing, Validity};
use crate::metrics::{Metrics, ReloadOutcome};

/// How often the files are looked at: renewals that tell nobody are in use soon after.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("server.tls_certificate and server.tls_key: {0}")]
    Certificate(#[from] CertificateError),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What became of a reload.
#[derive(Clone, Copy, Debug)]
pub enum Reload {
    Replaced(Validity),
    /// The files hold what is in use already.
    Unchanged,
}

/// The certificate in use. Connections take it as it is when they begin.
pub struct Tls {
    files: Files,
    current: slot::Sender<Arc<InUse>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

struct InUse {
    config: Arc<ServerConfig>,
    validity: Validity,
    digest: [u8; 32],
}

impl Tls {
    /// A certificate whose time is not now is used all the same, as nothing better is at hand.
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let in_use = InUse::read(&files)?;
        in_use.validity.tell();
        Ok(Self { files, current: slot::Sender::new(Arc::new(in_use)) })
    }

    /// For the next connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.borrow().config)
    }

    /// Reads the files again, and uses what they hold if it is sound. Blocks as long as the disk does.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        let fresh = InUse::read(&self.files)?;
        let current = Arc::clone(&self.current.borrow());
        if fresh.digest == current.digest {
            return Ok(Reload::Unchanged);
        }
        let validity = fresh.validity;
        if !validity.holds() && current.validity.holds() {
            let Validity { from, until } = validity;
            let file = self.files.certificate.clone();
            return Err(CertificateError::OutOfDate { file, from, until }.into());
        }
        self.current.send_replace(Arc::new(fresh));
        Ok(Reload::Replaced(validity))
    }

    /// Shakes hands with a client that has so long for it.
    pub async fn accept<S>(&self, stream: S, within: Duration) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsAcceptor::from(self.current()).accept(stream);
        timeout(within, handshake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn standing(&self) -> Standing {
        self.current.borrow().validity.at(SystemTime::now())
    }
}

impl InUse {
    fn read(files: &Files) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = Certificate::read(files, &provider)?;
        let Certificate { key, validity, digest } = certificate;
        Ok(Self { config: Arc::new(server_config(provider, key.into())?), validity, digest })
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    certificate: SingleCertAndKey,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(config)
}

impl Validity {
    /// Says so when clients will refuse the certificate, or soon will.
    fn tell(&self) {
        let Self { from, until } = self;
        match self.at(SystemTime::now()) {
            Standing::NotYet => error!("THE CERTIFICATE IS NOT VALID YET: clients refuse it until {from}"),
            Standing::Over => error!("THE CERTIFICATE HAS EXPIRED: clients refuse it since {until}"),
            Standing::Ending => warn!("the certificate expires in less than a week, at {until}"),
            Standing::Good => info!("the certificate is valid until {until}"),
        }
    }
}

/// Reloads the certificate on SIGHUP and when its files change, until `stop` completes. Without TLS, SIGHUP
/// does nothing, which is better than its default: to end the process.
pub async fn watch(
    tls: Option<Arc<Tls>>,
    mut hangup: Signal,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watcher = tls.map(|tls| Watcher::new(tls, metrics));
    loop {
        let asked = tokio::select! {
            () = &mut stop => return,
            Some(()) = hangup.recv() => true,
            _ = looks.tick() => false,
        };
        match &mut watcher {
            Some(watcher) => watcher.look(asked).await,
            None if asked => {
                info!("SIGHUP: there is nothing to reload, as server.tls_certificate is not set")
            }
            None => {}
        }
    }
}

struct Watcher {
    tls: Arc<Tls>,
    metrics: Arc<Metrics>,
    standing: Standing,
    /// What was wrong with the files when they were last looked at, and whether the log says so.
    fault: Option<(String, bool)>,
}

impl Watcher {
    fn new(tls: Arc<Tls>, metrics: Arc<Metrics>) -> Self {
        let watcher = Self { standing: tls.standing(), tls, metrics, fault: None };
        watcher.measure();
        watcher
    }

    fn measure(&self) {
        let until = self.tls.current.borrow().validity.until.unix_duration();
        self.metrics.certificate_not_after.set(i64::try_from(until.as_secs()).unwrap_or(i64::MAX));
    }

    fn count(&self, outcome: &'static str) {
        self.metrics.certificate_reloads.get_or_create(&ReloadOutcome { outcome }).inc();
    }

    async fn look(&mut self, asked: bool) {
        let tls = Arc::clone(&self.tls);
        let Ok(outcome) = tokio::task::spawn_blocking(move || tls.reload()).await else { return };
        match outcome {
            Ok(Reload::Replaced(validity)) => {
                info!("the certificate is replaced; new connections get the new one");
                validity.tell();
                self.standing = self.tls.standing();
                self.fault = None;
                self.measure();
                self.count("replaced");
            }
            Ok(Reload::Unchanged) => {
                if asked {
                    info!("SIGHUP: the certificate in use is that of the files");
                }
                self.fault = None;
            }
            Err(error) => {
                self.complain(&error, asked);
                self.count("refused");
            }
        }
        self.tell_of_time();
    }

    /// The certificate in use grows old.
    fn tell_of_time(&mut self) {
        let standing = self.tls.standing();
        if standing != self.standing {
            self.standing = standing;
            self.tls.current.borrow().validity.tell();
        }
    }

    /// Once for each fault. One that nobody asked about is given until the next look to pass: a renewal writes
    /// two files, and between them they do not match.
    fn complain(&mut self, error: &TlsError, asked: bool) {
        let text = error.to_string();
        let (seen_before, told) = match &self.fault {
            Some((fault, told)) if *fault == text => (true, *told),
            _ => (false, false),
        };
        let tell = asked || (seen_before && !told);
        if tell {
            error!("the certificate in use stays, as the files cannot take its place: {text}");
        }
        self.fault = Some((text, told || tell));
    }
}

#[cfg(test)]
mod tests;
