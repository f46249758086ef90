//! A running service: built, then run until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::database::{integrity_to_serve, open_to_serve};
use super::probe::ServiceProbe;
use super::{AppError, Database, ensure_first_user};
use crate::access::{self, AccessEvents, Instance, Kinds, Sources};
use crate::api::serve::Front;
use crate::api::{self, ApiState};
use crate::auth::{self, Auth};
use crate::checks::Checks;
use crate::config::{self, AccessKind, Config};
use crate::ingest::{self, Ingest};
use crate::integrity::Integrity;
use crate::lifecycle;
use crate::metrics::Metrics;
use crate::query::cursor::CursorKey;
use crate::server::address::{ListenAddress, Scheme};
use crate::server::certificate::Files;
use crate::server::listen::{self, Listener};
use crate::server::tls::{self, Tls};
use crate::server::{self, Places};
use crate::store::{Store, settings};

/// Seals cursors; the same for all instances.
const CURSOR_KEY: &str = "cursor_key";

/// Everything that runs. Owns the database; its parts share clones of the store.
pub struct App {
    config: Config,
    database: Database,
    listeners: Vec<Listener>,
    /// Asks for the certificate to be read again.
    hangup: Signal,
    tls: Option<Arc<Tls>>,
    auth: Arc<Auth>,
    integrity: Arc<Integrity>,
    ingest: Arc<Ingest>,
    places: Arc<Places>,
    metrics: Arc<Metrics>,
    cursor_key: [u8; 32],
}

/// Opens the database and binds the addresses. Nothing is served yet.
pub async fn build(config: Config) -> Result<App, AppError> {
    // Taken over at once: the signal's default is to end the process.
    let hangup = signal(SignalKind::hangup()).map_err(AppError::Serve)?;
    // Next, as it fails fast and names whoever holds the port.
    let tls = load_certificate(&config.server)?;
    let listeners = listen::bind(&config.server.listen, tls.as_ref())?;
    warn_if_exposed(&listeners);
    let database = open_to_serve(&config).await?;
    let store = &database.store;
    ensure_first_user(store, &config).await?;
    let cursor_key = shared_key(store, CURSOR_KEY).await?;
    let metrics = Arc::new(Metrics::new());
    let auth = Auth::new(store.control.clone(), auth_settings(&config))?;
    let integrity = Arc::new(integrity_to_serve(store, &config).await?);
    let limits = ingest_limits(&config);
    let ingest = Ingest::new(store.clone(), Arc::clone(&integrity), limits, Arc::clone(&metrics));
    let ingest = Arc::new(ingest);
    let places = Places::new(
        server::connections_within_limits(config.server.connections),
        config.server.connections_per_address,
    );
    Ok(App { config, database, listeners, hangup, tls, auth, integrity, ingest, places, metrics, cursor_key })
}

impl App {
    /// The TCP addresses that are bound, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.address.tcp()).collect()
    }

    pub fn store(&self) -> &Store {
        &self.database.store
    }

    /// Serves until `stop` completes. What was accepted by then is finished, everything else refused.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), AppError> {
        for Listener { address, .. } in &self.listeners {
            info!(%address, "listening on {address}");
        }
        let (draining, stopping) = watch::channel(false);
        let store = self.database.store.clone();
        let maintenance = tokio::spawn(lifecycle::maintain(
            store.clone(),
            self.config.partitions.ahead,
            stopped(stopping.clone()),
        ));
        let scrubbing = tokio::spawn(lifecycle::scrub(store.clone(), stopped(stopping.clone())));
        let credentials = tokio::spawn(Arc::clone(&self.auth).watch(stopped(stopping.clone())));
        let integrity = tokio::spawn(Arc::clone(&self.integrity).keep(stopped(stopping.clone())));
        let heartbeats = tokio::spawn(access::beat(
            store.clone(),
            Arc::clone(&self.ingest),
            self.config.integrity.heartbeat,
            stopped(stopping.clone()),
        ));
        let (ended, serving_ended) = oneshot::channel::<()>();
        let access = tokio::spawn(self.access_events().run(async { drop(serving_ended.await) }));
        let certificate = tokio::spawn(tls::watch(
            self.tls.clone(),
            self.hangup,
            Arc::clone(&self.metrics),
            stopped(stopping.clone()),
        ));
        let state = ApiState {
            authenticator: Arc::new(Arc::clone(&self.auth)),
            probe: Arc::new(ServiceProbe::new(
                &self.database,
                &self.auth,
                &self.integrity,
                &self.ingest,
                &self.places,
            )),
            metrics: Arc::clone(&self.metrics),
            draining: stopping.clone(),
            settings: Arc::new(api_settings(&self.config)),
        };
        let (ingest, integrity_of) = (Arc::clone(&self.ingest), Arc::clone(&self.integrity));
        let checks = Checks::new(store.clone(), integrity_of, ingest, stopping);
        let log = api::Log {
            ingest: Arc::clone(&self.ingest),
            integrity: Arc::clone(&self.integrity),
            checks: Arc::new(checks),
            store: store.clone(),
            cursors: CursorKey::new(self.cursor_key),
        };
        let settings = server_settings(&self.config);
        let announce = async move {
            stop.await;
            info!("stopping: finishing what was accepted");
            // Nobody listens if all parts have ended already.
            let _ = draining.send(true);
        };
        let front = Arc::new(Front::new(api::routes(&state, log, &self.auth)));
        let served = server::serve(self.listeners, front, settings, self.places, announce).await;
        drop(ended);
        let rest = async {
            // Its last events go through the lanes, too.
            let _ = access.await;
            self.ingest.drain().await;
            for task in [maintenance, scrubbing, credentials, certificate, integrity, heartbeats] {
                // A part that panicked has been logged; there is nothing of it left to finish.
                let _ = task.await;
            }
            self.integrity.keep_all().await;
            store.close().await;
        };
        // By then all submitters have their answers; whoever still waits, waits for the database.
        if timeout(self.config.ingest.answer_timeout, rest).await.is_err() {
            warn!("the database does not answer; ending without it");
        }
        self.database.stop_cluster().await;
        info!("stopped");
        served.map_err(AppError::Serve)
    }

    fn access_events(&self) -> AccessEvents {
        let sources = Sources {
            store: self.database.store.clone(),
            auth: Arc::clone(&self.auth),
            ingest: Arc::clone(&self.ingest),
            metrics: Arc::clone(&self.metrics),
        };
        AccessEvents::new(sources, access_kinds(&self.config), Instance::new(&self.addresses()))
    }
}

/// Completes when the service is to stop, or is gone.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn load_certificate(server: &config::Server) -> Result<Option<Arc<Tls>>, AppError> {
    let (Some(certificate), Some(key)) = (server.tls_certificate.clone(), server.tls_key.clone()) else {
        return Ok(None);
    };
    Ok(Some(Arc::new(Tls::load(Files { certificate, key })?)))
}

fn warn_if_exposed(listeners: &[Listener]) {
    for listener in listeners {
        if let ListenAddress::Tcp(Some(Scheme::Http), address) = listener.address
            && !address.ip().is_loopback()
        {
            warn!(
                %address,
                "PASSWORDS TRAVEL IN THE CLEAR: {address} is reachable from other machines and has no TLS. \
                 Set server.tls_certificate and server.tls_key, put a TLS proxy in front, or listen on 127.0.0.1"
            );
        }
    }
}

/// A random key that all instances share; the first to start makes it.
async fn shared_key(store: &Store, name: &str) -> Result<[u8; 32], AppError> {
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh).map_err(AppError::Random)?;
    let key = settings::get_or_insert(&store.control, name, &fresh).await.map_err(AppError::Settings)?;
    key.try_into().map_err(|_| AppError::Settings(sqlx::Error::Decode("a key of other than 32 bytes".into())))
}

fn auth_settings(config: &Config) -> auth::Settings {
    let defaults = auth::Settings::default();
    auth::Settings {
        slots: match config.auth.argon2_slots {
            0 => defaults.slots,
            slots => slots,
        },
        queue: config.auth.argon2_queue,
        admitted_for: config.auth.cache,
        ..defaults
    }
}

fn access_kinds(config: &Config) -> Kinds {
    let is_recorded = |kind| config.access.record.contains(&kind);
    Kinds {
        changes: is_recorded(AccessKind::Changes),
        failures: is_recorded(AccessKind::Failures),
        denials: is_recorded(AccessKind::Denials),
        lifecycle: is_recorded(AccessKind::Lifecycle),
    }
}

pub(super) fn ingest_limits(config: &Config) -> ingest::Limits {
    ingest::Limits {
        tenant_events: config.ingest.queue_events_per_tenant,
        tenant_bytes: config.ingest.queue_bytes_per_tenant,
        total_bytes: config.ingest.queue_bytes,
        answer_timeout: config.ingest.answer_timeout,
        partitions_ahead: config.partitions.ahead,
    }
}

fn server_settings(config: &Config) -> server::Settings {
    let settings = &config.server;
    server::Settings {
        head_timeout: settings.head_timeout,
        idle_timeout: settings.idle_timeout,
        write_timeout: settings.write_timeout,
        shutdown_grace: settings.shutdown_grace,
        trusted_proxies: settings.trusted_proxies.iter().cloned().collect(),
    }
}

fn api_settings(config: &Config) -> api::Settings {
    let limits = &config.limits;
    api::Settings {
        limits: api::Limits {
            url_bytes: limits.url_bytes,
            event_body_bytes: limits.event_body_bytes as u64,
            batch_body_bytes: limits.batch_body_bytes as u64,
            query_body_bytes: limits.query_body_bytes as u64,
            bodies_bytes: limits.bodies_bytes,
            body_timeout: config.server.request_timeout,
            body_min_bytes_per_second: limits.body_min_bytes_per_second,
        },
        batch_events: limits.batch_events,
        cors_origins: config
            .server
            .cors_origins
            .iter()
            .filter_map(|origin| HeaderValue::from_str(origin).ok())
            .collect(),
    }
}
