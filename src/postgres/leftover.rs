//! What an earlier run left behind. We hold the lock, so nobody else owns it: whatever still runs is stopped
//! rather than adopted, which leaves one way for a cluster to run, namely as our own child.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::layout::{Layout, PORT};
use super::{ClusterError, process};

/// Ends every process of the cluster, then removes the pid files that name none: PostgreSQL takes a zombie
/// or a foreign process with an old number for its postmaster, and would refuse to start.
pub(super) fn clear(layout: &Layout) -> Result<(), ClusterError> {
    let pg = &layout.pg;
    if let Some(pid) = postmaster_pid(pg).filter(|pid| process::is_of_cluster(*pid, pg)) {
        tracing::warn!(pid, "stopping the postgres that an earlier run left behind");
        let fast_then_immediate =
            [(Signal::INT, Duration::from_secs(60)), (Signal::QUIT, Duration::from_secs(15))];
        stop(pid, &fast_then_immediate, pg)?;
    }
    // Backends without a postmaster leave when they notice, which may be after hours of computing.
    for pid in process::of_cluster(pg) {
        stop(pid, &[(Signal::QUIT, Duration::from_secs(15))], pg)?;
    }
    let socket = layout.sockets.join(format!(".s.PGSQL.{PORT}"));
    for stale in [pg.join("postmaster.pid"), socket.with_added_extension("lock"), socket] {
        match fs::remove_file(&stale) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(ClusterError::io("remove", stale, e));
            }
            _ => {}
        }
    }
    Ok(())
}

fn stop(pid: u32, escalation: &[(Signal, Duration)], pg: &Path) -> Result<(), ClusterError> {
    let gone = process::end(pid, escalation, || !process::is_of_cluster(pid, pg));
    if gone { Ok(()) } else { Err(ClusterError::Leftover { pid, pg: pg.to_owned() }) }
}

/// The first line of `postmaster.pid`.
fn postmaster_pid(pg: &Path) -> Option<u32> {
    fs::read_to_string(pg.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// Whether the postmaster with this pid says that it takes connections (line 8).
pub(super) fn is_ready(pg: &Path, pid: u32) -> bool {
    let file = fs::read_to_string(pg.join("postmaster.pid")).unwrap_or_default();
    postmaster_pid(pg) == Some(pid) && file.lines().nth(7).is_some_and(|status| status.trim() == "ready")
}
