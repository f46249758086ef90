//! `eventlogger bench`

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::builder::RangedU64ValueParser;

use super::{Failure, block_on, print};
use crate::bench::{self, Options, Report, Workload};

/// Measure the service against PostgreSQL alone
///
/// Makes a throw-away service with its own PostgreSQL at full durability, and compares recording with
/// pgbench and COPY on a table with the same columns and indexes. Uses no configuration and no existing log.
/// Fails if an acknowledged event is missing or a receipt is wrong; a missed target is no failure.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eventlogger bench
  eventlogger bench --quick
  eventlogger bench --only single --only one --rounds 7 --json > bench.json

Keep the machine otherwise idle, and --dir on the disk that matters: most of what is measured is fsync.")]
pub struct Command {
    /// Where to keep everything while it runs [default: the system's folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Rows in each table before the first round
    #[arg(long, default_value_t = 1_000_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    rows: u64,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    rounds: usize,
    /// Length of each side of a round
    #[arg(long, default_value_t = 10, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    seconds: u64,
    /// Only this comparison, one of single, keyed, tenants, one, batch; may be given several times
    #[arg(long, value_name = "COMPARISON", value_parser = workload)]
    only: Vec<Workload>,
    /// See that everything works: few rows, one short round; the figures mean little
    #[arg(long, conflicts_with_all = ["rows", "rounds", "seconds"])]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        let json = self.json;
        let options = self.options();
        block_on(async {
            let begun = Instant::now();
            let progress = |next: &str| {
                // Not being able to tell is no reason to stop.
                let _ = writeln!(io::stderr(), "{:7.1} s  {next}", begun.elapsed().as_secs_f64());
            };
            let report = tokio::select! {
                report = bench::run(options, progress) => report?,
                // Leaving this way stops the service and removes its folder.
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    return Err(anyhow::anyhow!("interrupted").into());
                }
            };
            Ok(print(&shown(&report, json)?)?)
        })
    }

    fn options(self) -> Options {
        let workloads = if self.only.is_empty() { Workload::ALL.to_vec() } else { self.only };
        let dir = self.dir.unwrap_or_else(std::env::temp_dir);
        let (rows, rounds, seconds) =
            if self.quick { (2_000, 1, 1) } else { (self.rows, self.rounds, self.seconds) };
        Options { dir, rows, rounds, time: Duration::from_secs(seconds), workloads }
    }
}

fn workload(name: &str) -> Result<Workload, String> {
    let names = Workload::ALL.map(Workload::name);
    let known = Workload::ALL.into_iter().find(|workload| workload.name() == name);
    known.ok_or_else(|| format!("there are {}", names.join(", ")))
}

fn shown(report: &Report, json: bool) -> anyhow::Result<String> {
    Ok(if json { serde_json::to_string_pretty(report)? + "\n" } else { report.to_string() })
}
