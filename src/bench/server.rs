//! The service under test: this program's own `serve`, as a process of its own, with its own cluster.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnectOptions;

use super::load::Client;
use super::scratch::Scratch;
use crate::auth::secret::{Secret, generate_password};
use crate::postgres::{self, SUPERUSER};
use crate::store::bootstrap::DATABASE;

pub(super) const USER: &str = "admin";
/// A new cluster takes seconds, crash recovery longer.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
const READY_POLL: Duration = Duration::from_millis(5);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How to start the service, again and again.
pub(super) struct Installation {
    pub(super) data_dir: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) password: Secret,
    password_file: PathBuf,
    log: PathBuf,
}

impl Installation {
    pub(super) fn create(scratch: &Scratch) -> anyhow::Result<Self> {
        let password = generate_password()?;
        let password_file = scratch.join("password");
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&password_file)?;
        file.write_all(password.reveal().as_bytes())?;
        // Free now, and nobody else asks for this very port.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self {
            data_dir: scratch.join("data"),
            address,
            password,
            password_file,
            log: scratch.join("server.log"),
        })
    }

    /// Starts the service and waits until it is ready; says how long that took.
    pub(super) async fn start(&self) -> anyhow::Result<(Server, Duration)> {
        let begun = Instant::now();
        let log = File::options().append(true).create(true).open(&self.log)?;
        let child = self.command()?.stderr(log).spawn().context("cannot start the service")?;
        let mut server = Server(child);
        while !is_ready(self.address).await {
            if let Some(status) = server.0.try_wait()? {
                bail!("the service ended with {status}:\n{}", self.last_words());
            }
            if begun.elapsed() > READY_TIMEOUT {
                bail!("the service is not ready after {READY_TIMEOUT:?}:\n{}", self.last_words());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok((server, begun.elapsed()))
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        // Above all not the URL of a database that somebody uses.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EVENTLOGGER_"))
        {
            command.env_remove(name);
        }
        command
            .arg("serve")
            .env("EVENTLOGGER_DATA_DIR", &self.data_dir)
            .env("EVENTLOGGER_SERVER__LISTEN", self.address.to_string())
            .env("EVENTLOGGER_ADMIN_USER", USER)
            .env("EVENTLOGGER_ADMIN_PASSWORD_FILE", &self.password_file)
            // The log holds what the bench records, and nothing else.
            .env("EVENTLOGGER_ACCESS__RECORD", "")
            // As pgbench writes no line per transaction either.
            .env("EVENTLOGGER_LOG__FILTER", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(command)
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(10).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// To the service's database, past the service.
    pub(super) fn database(&self) -> anyhow::Result<PgConnectOptions> {
        Ok(postgres::connect_options(&postgres::Settings::new(&self.data_dir), SUPERUSER, DATABASE)?)
    }

    pub(super) fn postmaster(&self) -> anyhow::Result<u32> {
        let file = self.data_dir.join("pg/postmaster.pid");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        text.lines()
            .next()
            .and_then(|line| line.parse().ok())
            .ok_or_else(|| anyhow!("{} has no pid", file.display()))
    }

    /// The folder of the PostgreSQL that runs.
    pub(super) fn postgres_binaries(&self) -> anyhow::Result<PathBuf> {
        let command_line = fs::read_to_string(self.data_dir.join("pg/postmaster.opts"))?;
        let program = command_line.split(" \"").next().unwrap_or_default();
        Path::new(program)
            .parent()
            .map(Path::to_owned)
            .ok_or_else(|| anyhow!("cannot tell where {program:?} is"))
    }
}

async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut client) = Client::connect(address).await else { return false };
    client.get("/health/ready", None).await.is_ok_and(|status| status == http::StatusCode::OK)
}

/// A running service. Dropping it stops it and its cluster.
pub(super) struct Server(Child);

impl Server {
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let begun = Instant::now();
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // Gone already is fine.
            let _ = kill_process(pid, Signal::TERM);
        }
        while matches!(self.0.try_wait(), Ok(None)) {
            if begun.elapsed() > STOP_TIMEOUT {
                let _ = self.0.kill();
            }
            sleep(Duration::from_millis(10));
        }
    }
}
