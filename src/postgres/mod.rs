//! The embedded PostgreSQL cluster: found, made, started, watched and stopped by the service itself.
//!
//! ```text
//! <data_dir>/            the service's (0711 as root, so that the cluster's user may pass)
//!   pg.lock              held by flock for as long as an instance runs the cluster
//!   pg_hba.conf          who may connect, written anew at every start
//!   pg_ident.conf
//!   pg/                  the cluster, the cluster user's, 0700
//!   run/                 its socket, the cluster user's, 0700; elsewhere if the path would be too long
//! ```
//!
//! Invariants
//! - At most one postmaster has the data directory: the lock keeps out other instances, `leftover` ends what
//!   an earlier one left behind, and PostgreSQL's own shared-memory check backs both.
//! - Nothing in `pg/` is ever written or removed but the pid file of a postmaster known to be gone.
//! - As root the service writes only where the cluster's user cannot plant a link.
//! - No TCP, no password: peer authentication over the socket, for two operating-system users.

mod account;
mod arguments;
mod binaries;
mod error;
mod initdb;
mod layout;
mod leftover;
mod process;
mod supervise;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::sync::oneshot;

pub use error::ClusterError;
use layout::Layout;

/// The bootstrap superuser of a new cluster, whose only database is `postgres`.
pub const SUPERUSER: &str = "eventlogger";
/// The roles the service logs in as; the store makes them.
pub const OWNER: &str = "eventlogger_owner";
pub const WRITER: &str = "eventlogger_writer";
pub const READER: &str = "eventlogger_reader";

#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's data directory; the cluster lives in its `pg`.
    pub data_dir: PathBuf,
    /// The only folder in which to look for PostgreSQL's binaries, if given.
    pub bin_dir: Option<PathBuf>,
    /// A folder that only this user can write (`XDG_RUNTIME_DIR`), for when the socket's path gets too long.
    pub runtime_dir: Option<PathBuf>,
    /// Further server settings, which win over our defaults but not over durability and isolation.
    pub options: Vec<(String, String)>,
}

impl Settings {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), bin_dir: None, runtime_dir: None, options: Vec::new() }
    }
}

/// A running cluster. It is stopped by `stop`, by dropping it and, on Linux, by the death of this process.
#[derive(Debug)]
pub struct Cluster {
    socket_dir: PathBuf,
    version: String,
    /// 0 while the postmaster is down; the supervisor's to write.
    pid: Arc<AtomicU32>,
    _supervisor: Supervisor,
}

impl Cluster {
    /// Makes the cluster if there is none, and returns once it takes connections. Crash recovery takes as
    /// long as it takes; dropping the future gives up and stops the postmaster.
    pub async fn start(settings: Settings) -> Result<Self, ClusterError> {
        let pid = Arc::new(AtomicU32::new(0));
        let (stop, stop_asked) = channel();
        let (report, outcome) = oneshot::channel();
        let pid_cell = Arc::clone(&pid);
        let thread = std::thread::Builder::new()
            .name("postgres".into())
            .spawn(move || supervise::run(&settings, &stop_asked, &pid_cell, report))
            .map_err(|e| ClusterError::io("start a thread for", "postgres", e))?;
        let supervisor = Supervisor { stop: Some(stop), thread: Some(thread) };
        let (socket_dir, version) = outcome.await.map_err(|_| ClusterError::Stopped)??;
        Ok(Self { socket_dir, version, pid, _supervisor: supervisor })
    }

    pub fn connect_options(&self, user: &str, database: &str) -> PgConnectOptions {
        over_socket(&self.socket_dir, user, database)
    }

    /// The postmaster's process id; none while it is being started again.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|&pid| pid != 0)
    }

    /// Such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Ends sessions, writes a checkpoint, and returns when the postmaster is gone. Dropping does the same,
    /// but blocks the thread meanwhile.
    pub async fn stop(self) {
        // A join error would mean that the supervisor panicked; its unwinding stopped the postmaster, too.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// How to reach the cluster that another process of the service runs on the same data directory.
pub fn connect_options(
    settings: &Settings,
    user: &str,
    database: &str,
) -> Result<PgConnectOptions, ClusterError> {
    let (layout, _) = Layout::of(settings)?;
    Ok(over_socket(&layout.sockets, user, database))
}

fn over_socket(folder: &std::path::Path, user: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(folder)
        .port(layout::PORT)
        .username(user)
        .database(database)
        .application_name("eventlogger")
        .ssl_mode(PgSslMode::Disable)
}

/// Closing the channel is the request to stop; the thread ends when the postmaster has.
#[derive(Debug)]
struct Supervisor {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
