//! What `verify` says while it works and when it is done.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::cli::{Failure, print};
use crate::walk::{Progress, Report, Verdict};

const ON_A_TERMINAL_EVERY: Duration = Duration::from_millis(250);
const ELSEWHERE_EVERY: Duration = Duration::from_secs(10);

/// Tells on standard error how far a walk is.
pub(super) struct Watch {
    progress: Arc<Progress>,
    telling: JoinHandle<()>,
}

impl Watch {
    pub(super) fn begin(log: &str) -> Self {
        let progress = Arc::new(Progress::default());
        let telling = tokio::spawn(tell(log.to_owned(), Arc::clone(&progress)));
        Self { progress, telling }
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) async fn end(self) {
        self.telling.abort();
        let _ = self.telling.await;
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

async fn tell(log: String, progress: Arc<Progress>) {
    let on_terminal = io::stderr().is_terminal();
    let begun = Instant::now();
    loop {
        tokio::time::sleep(if on_terminal { ON_A_TERMINAL_EVERY } else { ELSEWHERE_EVERY }).await;
        let (done, total) = progress.get();
        let line = line(&log, done, total, begun.elapsed());
        // Not being able to tell is no reason to stop.
        let _ = match on_terminal {
            true => write!(io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }
}

fn line(log: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = format!("{log}: {done} of {total} entries");
    if done > 0 && total > 0 {
        let left = total.saturating_sub(done) as f64 / rate;
        let percent = done.saturating_mul(100) / total;
        let _ = write!(line, " ({percent} %), {rate:.0} a second, {left:.0} s left");
    }
    line
}

/// Prints the reports; the error says by its kind how they turned out.
pub(super) fn conclude(reports: &[Report], as_json: bool) -> Result<(), Failure> {
    let findings: u64 = reports.iter().map(Report::findings_count).sum();
    // Nothing is not verified.
    let worst = reports.iter().map(Report::verdict).max();
    let verdict =
        worst.ok_or_else(|| Failure::Failed(anyhow::anyhow!("there is no log in this database")))?;
    if as_json {
        let text = serde_json::to_string_pretty(&json!({"verdict": verdict, "logs": reports}));
        print(&(text.map_err(anyhow::Error::from)? + "\n"))?;
    } else {
        print(&reports.iter().map(text).collect::<String>())?;
    }
    match (verdict, findings) {
        (Verdict::Verified, _) => Ok(()),
        (Verdict::Incomplete, _) => {
            Err(Failure::Incomplete("nothing wrong was found, but not everything was checked".to_owned()))
        }
        (Verdict::Findings, 1) => {
            Err(Failure::Refuted(anyhow::anyhow!("1 finding: this is not what was recorded")))
        }
        (Verdict::Findings, n) => {
            Err(Failure::Refuted(anyhow::anyhow!("{n} findings: this is not what was recorded")))
        }
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let log = &report.log;
    let root = report.root.as_ref().map_or_else(String::new, |root| format!(", root {root}"));
    let verdict = match report.verdict() {
        Verdict::Findings => "NOT AS IT WAS RECORDED",
        Verdict::Incomplete => "nothing wrong found, not everything checked",
        Verdict::Verified => "verified",
    };
    let entries = match report.entries_checked {
        checked if checked == report.size => format!("{checked} entries"),
        checked => format!("{checked} of {} entries", report.size),
    };
    let _ = writeln!(text, "{log}: {verdict}: {entries}{root}");
    if let Some(size) = report.signed_size {
        let _ = writeln!(text, "{log}: signed by a pinned key up to {size} entries");
    }
    for finding in &report.findings {
        let _ = writeln!(text, "  found: {finding}");
    }
    if report.more_findings > 0 {
        let _ = writeln!(text, "  found: {} more", report.more_findings);
    }
    for what in &report.unchecked {
        let _ = writeln!(text, "  not checked: {what}");
    }
    for note in &report.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}
