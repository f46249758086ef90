//! Processes: how ours are started, and which of the others belong to the cluster.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::ClusterError;
use super::account::Account;
use super::layout::name_for;

/// A command that runs as `account`, inherits nothing of our environment, and on Linux is interrupted when
/// the *thread* that starts it ends: never start one from a runtime's worker.
pub(super) fn command(program: &Path, account: &Account) -> Command {
    let mut command = Command::new(program);
    // A group of its own, or the terminal's Ctrl-C would stop the database before the service has drained.
    command.env_clear().current_dir("/").stdin(Stdio::null()).process_group(0);
    if geteuid().is_root() {
        command.uid(account.uid).gid(account.gid); // drops the supplementary groups, too
    }
    end_with_parent(&mut command);
    command
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "pre_exec; the closure makes three system calls and allocates nothing")]
fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let interrupt_on_death = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::INT))?;
        // The parent may have died before the request.
        match rustix::process::getppid() {
            Some(now) if now == parent => Ok(()),
            _ => Err(ErrorKind::Interrupted.into()),
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl and getppid.
    unsafe {
        command.pre_exec(interrupt_on_death);
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_: &mut Command) {}

/// Whether `account` can get into `folder`, by letting it try; names the folder that stops it.
pub(super) fn check_entry(folder: &Path, account: &Account) -> Result<(), ClusterError> {
    let enters = |folder: &Path| {
        let tried = command(Path::new("/bin/sh"), account).args(["-c", ":"]).current_dir(folder).status();
        !tried.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
    };
    if enters(folder) {
        return Ok(());
    }
    let path: Vec<&Path> = folder.ancestors().collect();
    let closed = path.into_iter().rev().find(|ancestor| !enters(ancestor)).unwrap_or(folder);
    Err(ClusterError::Closed { folder: closed.to_owned(), user: account.name.clone() })
}

pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal); // gone already is fine
    }
}

/// Sends each signal and gives it its time to work.
pub(super) fn end(pid: u32, escalation: &[(Signal, Duration)], mut gone: impl FnMut() -> bool) -> bool {
    escalation.iter().any(|&(sig, patience)| {
        signal(pid, sig);
        let deadline = Instant::now() + patience;
        loop {
            if gone() {
                return true;
            }
            if Instant::now() > deadline {
                tracing::warn!(pid, signal = ?sig, "postgres did not stop within {} s", patience.as_secs());
                return false;
            }
            sleep(Duration::from_millis(10));
        }
    })
}

/// The running (not zombie) processes of the cluster. Without /proc none is ever found.
pub(super) fn of_cluster(pg: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_of_cluster(*pid, pg)).collect()
}

/// Whether the process is a live postmaster or backend of this cluster, and not one that got the same
/// number since.
pub(super) fn is_of_cluster(pid: u32, pg: &Path) -> bool {
    match works_in(pid, pg) {
        Some(known) => known && name(pid).as_deref() == Some("postgres"),
        // Not ours to see (root without CAP_SYS_PTRACE, or no /proc). A postmaster's arguments and a
        // backend's title are public.
        None => {
            let (arguments, title) = (arguments(pid), format!("postgres: {}: ", name_for(pg)));
            arguments.windows(2).any(|pair| pair[0] == "-D" && Path::new(&pair[1]) == pg)
                || arguments.first().is_some_and(|first| first.starts_with(&title))
        }
    }
}

/// All of PostgreSQL's processes work in the cluster's folder. None if that cannot be known.
fn works_in(pid: u32, pg: &Path) -> Option<bool> {
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(folder) => Some(folder == pg),
        Err(e) if e.kind() == ErrorKind::NotFound && cfg!(target_os = "linux") => Some(false),
        Err(_) => None,
    }
}

fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

fn arguments(pid: u32) -> Vec<String> {
    if cfg!(target_os = "linux") {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(); // empty for a zombie
        return line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
    }
    let output =
        Command::new(PathBuf::from("/bin/ps")).args(["-o", "args=", "-p", &pid.to_string()]).output();
    let line = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}
