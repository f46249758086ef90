//! What `verify` says when it is done.

use std::fmt::Write as _;

use serde_json::json;

use crate::cli::{Failure, print};
use crate::walk::{Report, Verdict};

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
