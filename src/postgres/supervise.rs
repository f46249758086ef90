//! The supervisor's thread: it starts the postmaster, starts it again whenever it dies, and stops it.
//!
//! It lives as long as the cluster. It has to: the death signal that ties the postmaster to us (see
//! `process::command`) fires when the thread that started it ends.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::account::Account;
use super::arguments::arguments;
use super::binaries::Binaries;
use super::layout::Layout;
use super::{ClusterError, Settings, initdb, leftover, process};

/// How often the postmaster is looked after; a system call each.
const WATCH_EVERY: Duration = Duration::from_millis(200);
const READY_POLL: Duration = Duration::from_millis(5);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A postmaster that ran this long was healthy: its death is the first of a new series.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// How long the first start waits for backends that we could not see to leave the shared memory.
const ORPHANS_LEAVE_WITHIN: Duration = Duration::from_secs(30);
const LOG_LINES_KEPT: usize = 8;

/// `stop` never carries a message: the other end is dropped.
pub(super) fn run(
    settings: &Settings,
    stop: &Receiver<()>,
    pid: &AtomicU32,
    report: oneshot::Sender<Result<(PathBuf, String), ClusterError>>,
) {
    let started = Instance::prepare(settings).and_then(|instance| {
        let postmaster = instance.first_start(stop)?;
        Ok((instance, postmaster))
    });
    match started {
        Err(error) => drop(report.send(Err(error))),
        Ok((instance, postmaster)) => {
            pid.store(postmaster.pid(), Ordering::Relaxed);
            let _ = report.send(Ok((instance.layout.sockets.clone(), instance.binaries.version.clone())));
            instance.keep_alive(postmaster, stop, pid);
            instance.tidy();
        }
    }
}

/// True when asked to stop before the time is over.
fn stop_within(time: Duration, stop: &Receiver<()>) -> bool {
    stop.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
}

/// All that it takes to start the postmaster.
struct Instance {
    layout: Layout,
    account: Account,
    binaries: Binaries,
    arguments: Vec<OsString>,
    _lock: File,
}

impl Instance {
    fn prepare(settings: &Settings) -> Result<Self, ClusterError> {
        let (layout, account, lock) = Layout::prepare(settings)?;
        let arguments = arguments(&layout, settings)?;
        let binaries = Binaries::find(settings, &layout.pg, &account)?;
        if layout.pg.join("PG_VERSION").exists() {
            process::check_entry(&layout.pg, &account)?;
        } else {
            tracing::info!(version = binaries.version, folder = %layout.pg.display(), "making a PostgreSQL cluster");
            initdb::make(&layout, &binaries, &account)?;
        }
        Ok(Self { layout, account, binaries, arguments, _lock: lock })
    }

    fn first_start(&self, stop: &Receiver<()>) -> Result<Postmaster, ClusterError> {
        let deadline = Instant::now() + ORPHANS_LEAVE_WITHIN;
        loop {
            match self.start(stop) {
                Err(ClusterError::Failed { output, .. })
                    if output.contains("shared memory block") && Instant::now() < deadline =>
                {
                    if stop_within(BACKOFF_MIN, stop) {
                        return Err(ClusterError::Stopped);
                    }
                }
                done => return done,
            }
        }
    }

    /// Returns when the postmaster takes connections.
    fn start(&self, stop: &Receiver<()>) -> Result<Postmaster, ClusterError> {
        let begun = Instant::now();
        leftover::clear(&self.layout)?;
        let mut postmaster = Postmaster::spawn(self)?;
        while !leftover::is_ready(&self.layout.pg, postmaster.pid()) {
            if let Some(status) = postmaster.exited() {
                let output = postmaster.log.last_lines();
                return Err(ClusterError::Failed { program: "postgres", status: status.to_string(), output });
            }
            if stop_within(READY_POLL, stop) {
                return Err(ClusterError::Stopped);
            }
        }
        let (pid, ms) = (postmaster.pid(), begun.elapsed().as_millis());
        tracing::info!(pid, ms, "PostgreSQL {} is ready", self.binaries.version);
        Ok(postmaster)
    }

    /// Returns when asked to stop; dropping the postmaster then stops it.
    fn keep_alive(&self, mut postmaster: Postmaster, stop: &Receiver<()>, pid: &AtomicU32) {
        let mut delay = BACKOFF_MIN;
        loop {
            let begun = Instant::now();
            let Some(status) = postmaster.wait(stop) else { return };
            pid.store(0, Ordering::Relaxed);
            tracing::error!(%status, "postgres ended by itself; starting it again");
            if begun.elapsed() > HEALTHY_AFTER {
                delay = BACKOFF_MIN;
            }
            postmaster = loop {
                if stop_within(delay, stop) {
                    return;
                }
                delay = BACKOFF_MAX.min(delay * 2);
                match self.start(stop) {
                    Ok(started) => break started,
                    Err(ClusterError::Stopped) => return,
                    Err(error) => tracing::error!(%error, "postgres does not start; trying again"),
                }
            };
            pid.store(postmaster.pid(), Ordering::Relaxed);
        }
    }

    /// A socket folder outside the data directory would be litter.
    fn tidy(&self) {
        if !self.layout.sockets.starts_with(&self.layout.data_dir) {
            let _ = fs::remove_dir(&self.layout.sockets); // only ever an empty one
        }
    }
}

/// Our child. It does not outlive this value.
struct Postmaster {
    child: Child,
    log: Log,
}

impl Postmaster {
    fn spawn(instance: &Instance) -> Result<Self, ClusterError> {
        let program = instance.binaries.folder.join("postgres");
        let failed = |e| ClusterError::io("run", &program, e);
        let mut command = process::command(&program, &instance.account);
        let mut child = command
            .args(&instance.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stderr = child.stderr.take();
        let mut postmaster = Self { child, log: Log::default() };
        if let Some(stderr) = stderr {
            postmaster.log.follow(stderr).map_err(failed)?;
        }
        Ok(postmaster)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Once it has, its number may become another process's: it is not to be signalled any more.
    fn exited(&mut self) -> Option<ExitStatus> {
        // An error means that it was reaped without us, as it is where SIGCHLD is ignored.
        self.child.try_wait().unwrap_or_else(|_| Some(ExitStatus::default()))
    }

    /// Its status when it ends by itself, none when asked to stop.
    fn wait(&mut self, stop: &Receiver<()>) -> Option<ExitStatus> {
        while !stop_within(WATCH_EVERY, stop) {
            if let Some(status) = self.exited() {
                return Some(status);
            }
        }
        None
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if self.exited().is_some() {
            return;
        }
        let fast_immediate_kill = [(Signal::INT, 30), (Signal::QUIT, 10), (Signal::KILL, 5)];
        let escalation = fast_immediate_kill.map(|(signal, seconds)| (signal, Duration::from_secs(seconds)));
        let pid = self.pid();
        if process::end(pid, &escalation, || self.exited().is_some()) {
            tracing::info!(pid, "PostgreSQL is stopped");
        }
    }
}

/// The server's messages, passed on to ours; the last few are kept to explain a failed start.
#[derive(Default)]
struct Log {
    last: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Log {
    fn follow(&mut self, stderr: ChildStderr) -> std::io::Result<()> {
        let last = Arc::clone(&self.last);
        let read = move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                pass_on(&line);
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                last.push_back(line);
                if last.len() > LOG_LINES_KEPT {
                    last.pop_front();
                }
            }
        };
        self.reader = Some(std::thread::Builder::new().name("postgres-log".into()).spawn(read)?);
        Ok(())
    }

    /// Of a postmaster that is gone. Its children may hold the pipe a little longer, but have little to say.
    fn last_lines(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(READY_POLL);
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

fn pass_on(line: &str) {
    let (severity, message) = line.split_once(":  ").unwrap_or(("", line));
    match severity {
        "ERROR" | "PANIC" => tracing::error!(target: "postgres", "{message}"),
        // Also what a client hears that comes too early or is sent away.
        "FATAL" | "WARNING" => tracing::warn!(target: "postgres", "{message}"),
        _ => tracing::info!(target: "postgres", "{message}"),
    }
}
