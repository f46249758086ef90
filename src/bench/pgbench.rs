//! PostgreSQL alone: prepared one-row inserts by pgbench, over the Unix socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sqlx::postgres::PgConnectOptions;

use super::comparison::{ROWS_PER_RUN, Timing};
use super::load::Work;
use super::scratch::Scratch;

pub(super) struct Pgbench {
    program: PathBuf,
    folder: PathBuf,
    socket: PathBuf,
    user: String,
    database: String,
}

impl Pgbench {
    pub(super) fn find(
        binaries: &Path,
        database: &PgConnectOptions,
        scratch: &Scratch,
    ) -> anyhow::Result<Self> {
        let program = binaries.join("pgbench");
        ensure!(
            program.is_file(),
            "there is no pgbench in {}, and without it nothing to compare with; it comes with PostgreSQL's server \
             on Debian, elsewhere with postgresql-contrib",
            binaries.display()
        );
        let folder = scratch.join("pgbench");
        fs::create_dir(&folder)?;
        fs::write(folder.join("single.sql"), include_str!("pgbench_single.sql"))?;
        fs::write(folder.join("keyed.sql"), include_str!("pgbench_keyed.sql"))?;
        Ok(Self {
            program,
            folder,
            socket: database.get_socket().cloned().context("the cluster has no socket")?,
            user: database.get_username().to_owned(),
            database: database.get_database().unwrap_or_default().to_owned(),
        })
    }

    /// `run` tells runs apart, so that no two write the same row.
    pub(super) async fn run(
        &self,
        work: Work,
        clients: usize,
        tenants: usize,
        time: Duration,
        run: u64,
    ) -> anyhow::Result<Timing> {
        let script = if work == Work::Keyed { "keyed.sql" } else { "single.sql" };
        let log = self.folder.join(format!("log-{run}"));
        let output = tokio::process::Command::new(&self.program)
            .args(["--no-vacuum", "--protocol=prepared", "--log"])
            .arg(format!("--log-prefix={}", log.display()))
            .arg(format!("--file={}", self.folder.join(script).display()))
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--time={}", time.as_secs().max(1)))
            .arg(format!("--define=base={}", run * ROWS_PER_RUN))
            .arg(format!("--define=tenants={tenants}"))
            .arg("--define=n=0")
            .arg(format!("--host={}", self.socket.display()))
            .arg(format!("--username={}", self.user))
            .arg(&self.database)
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run pgbench")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("pgbench failed: {}", errors.lines().next().unwrap_or_default());
        }
        read_logs(&self.folder, &format!("log-{run}."))
    }
}

/// Reads and removes a run's logs, one per thread of pgbench.
fn read_logs(folder: &Path, prefix: &str) -> anyhow::Result<Timing> {
    let mut transactions = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            let log = fs::read_to_string(&path)?;
            for line in log.lines() {
                transactions.push(parse(line).with_context(|| format!("pgbench logged {line:?}"))?);
            }
            fs::remove_file(path)?;
        }
    }
    let begun = transactions.iter().map(|&(latency, end)| end - latency).min().unwrap_or_default();
    let ended = transactions.iter().map(|&(_, end)| end).max().unwrap_or_default();
    ensure!(ended > begun, "pgbench did nothing");
    Ok(Timing {
        seconds: (ended - begun) as f64 / 1e6,
        latencies_us: transactions.into_iter().map(|(latency, _)| latency).collect(),
    })
}

/// From `client transaction latency script seconds micros`: latency and end in microseconds.
fn parse(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split(' ').map(|field| field.parse::<u64>().ok());
    let latency = fields.nth(2)??;
    let (seconds, micros) = (fields.nth(1)??, fields.next()??);
    Some((latency, seconds * 1_000_000 + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_read_from_the_log() {
        assert_eq!(parse("31 18 2710 0 1795132800 000042"), Some((2710, 1_795_132_800_000_042)));
        assert_eq!(parse("0 1 failed 0 1 2"), None);
    }
}
