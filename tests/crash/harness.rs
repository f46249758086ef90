//! A service in a process of its own.

use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eventlogger::postgres::{SUPERUSER, Settings, connect_options};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;

use crate::auditor;
use crate::http::Client;

pub const ADMIN: &str = "admin";
pub const PASSWORD: &str = "correct horse battery staple";
const LOG_LINES_SHOWN: usize = 60;
const PAUSE: Duration = Duration::from_millis(10);

/// A data directory, and whatever runs on it. Dropping it ends all processes and removes all files.
pub struct Service {
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    process: Option<Child>,
    database: PgPool,
    pub client: Client,
}

impl Service {
    pub async fn start(environment: &[(&'static str, &str)]) -> Self {
        let mut service = Self::new(environment);
        service.restart().await;
        service
    }

    /// Nothing runs yet, and there is no cluster.
    pub fn new(environment: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("eventlogger-crash-").tempdir().unwrap();
        // As root, the cluster's user must be able to pass.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let data_dir = folder.path().join("data");
        fs::create_dir(&data_dir).unwrap();
        fs::set_permissions(&data_dir, Permissions::from_mode(0o711)).unwrap();
        let options = connect_options(&Settings::new(&data_dir), SUPERUSER, "eventlogger").unwrap();
        Self {
            folder,
            environment: environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            process: None,
            database: PgPoolOptions::new().max_connections(1).connect_lazy_with(options),
            client: Client::new(([127, 0, 0, 1], 1).into()),
        }
    }

    /// Starts the process, which must be dead, and waits until it listens.
    pub async fn restart(&mut self) {
        let said_before = self.launch();
        loop {
            if let Some(address) = self.address_since(said_before) {
                self.client = Client::new(address);
                return;
            }
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert_eq!(ended, None, "the service ended instead of starting");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Starts the process; returns the length of the log until then.
    pub fn launch(&mut self) -> usize {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let said_before = log.metadata().unwrap().len() as usize;
        let process = Command::new(binary())
            .arg("serve")
            .env("EVENTLOGGER_DATA_DIR", self.data_dir())
            .env("EVENTLOGGER_SERVER__LISTEN", "127.0.0.1:0")
            .env("EVENTLOGGER_ADMIN_USER", ADMIN)
            .env("EVENTLOGGER_ADMIN_PASSWORD", PASSWORD)
            .env("EVENTLOGGER_LOG__FORMAT", "json")
            // Tests count what they record.
            .env("EVENTLOGGER_ACCESS__RECORD", "")
            .env("EVENTLOGGER_DATABASE__CLUSTER_OPTIONS", "shared_buffers=32MB")
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        said_before
    }

    /// Where the process listens, if it has come so far.
    fn address_since(&self, said_before: usize) -> Option<SocketAddr> {
        let said = fs::read(self.log()).unwrap();
        let said = String::from_utf8_lossy(&said[said_before..]).into_owned();
        let (_, rest) = said.split_once("listening on http://")?;
        rest.split(['"', '\n']).next()?.parse().ok()
    }

    /// `kill -9`. Its cluster is told by the system to stop, and may still be at it.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// SIGTERM, and wait for a clean end.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        send(process.id(), Signal::TERM);
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            tokio::time::sleep(PAUSE).await;
        };
        assert!(status.success(), "{status}");
        assert_eq!(processes_in(self.folder.path()), Vec::<u32>::new(), "left behind");
    }

    /// The postmaster; it may be dead.
    pub fn postmaster(&self) -> Option<u32> {
        let file = fs::read_to_string(self.postmaster_file()).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// All processes of the cluster.
    pub fn cluster(&self) -> Vec<u32> {
        processes_in(&self.data_dir().join("pg"))
    }

    /// The auditor's and the journal's connection, which goes around the service.
    pub async fn database(&self) -> &PgPool {
        for _ in 0..1_000 {
            if sqlx::query("SELECT").execute(&self.database).await.is_ok() {
                return &self.database;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the database does not come back");
    }

    pub async fn audit(&self) {
        auditor::audit(self.database().await).await;
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The checkpoints that outlived the process.
    pub fn latched(&self) -> Vec<String> {
        let latch = fs::read(self.data_dir().join("latch/default")).unwrap_or_default();
        let places = latch.chunks(1024).map(|place| String::from_utf8_lossy(place).trim().to_owned());
        places.filter(|place| !place.is_empty()).collect()
    }

    /// For the starts to come.
    pub fn set(&mut self, name: &'static str, value: Option<String>) {
        self.environment.retain(|(known, _)| *known != name);
        self.environment.extend(value.map(|value| (name, value)));
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) {
        let mut process = self.process.take().unwrap();
        while process.try_wait().unwrap().is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub fn postmaster_file(&self) -> PathBuf {
        self.data_dir().join("pg/postmaster.pid")
    }

    /// What the process has said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            println!("{}", lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        // Thawed, a cluster ends by itself; if it does not, it is made to.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = processes_in(self.folder.path());
            if left.is_empty() {
                return;
            }
            let signal = if Instant::now() < deadline { Signal::CONT } else { Signal::KILL };
            left.into_iter().for_each(|pid| send(pid, signal));
            std::thread::sleep(PAUSE);
        }
    }
}

/// At run time the variable wins, so that a copy of this test can run elsewhere, as another user.
fn binary() -> PathBuf {
    const NAME: &str = "CARGO_BIN_EXE_eventlogger";
    std::env::var_os(NAME).unwrap_or_else(|| env!("CARGO_BIN_EXE_eventlogger").into()).into()
}

/// Processes that work in `folder`, as all of a cluster do.
fn processes_in(folder: &Path) -> Vec<u32> {
    let pids =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .collect()
}

/// One that is gone already is fine.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
