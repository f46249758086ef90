//! Walks through a log, from wherever it lies, with the verifier (`verify`) looking at each entry.

pub mod client;
pub mod database;
pub mod reconcile;
pub mod server;
pub mod state;

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::store::verify::StoredRow;
use crate::tlog::Policy;
use crate::verify::Finding;
use crate::verify::log::Outcome;
use crate::verify::row::{Opened, Opener};

/// What is said where no key is pinned.
const UNPINNED: &str =
    "whose signatures these are: no key is pinned, and a log's own word for its key proves nothing";

/// How far a walk is; others may look while it goes on.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Entries checked, and how many there are.
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    pub fn begin(&self, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }
}

/// What is believed beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trusted<'a> {
    pub policy: Option<&'a Policy>,
    /// A checkpoint of the log that was verified once.
    pub seen: Option<&'a str>,
}

/// How a walk turned out; the worse the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Verified,
    /// Nothing is wrong, as far as could be seen, and not everything could be.
    Incomplete,
    Findings,
}

/// Opens rows on a thread that may be busy.
async fn open(rows: Vec<StoredRow>) -> Result<Vec<Opened>, sqlx::Error> {
    let opened = tokio::task::spawn_blocking(|| {
        let mut opener = Opener::default();
        rows.into_iter().map(|row| Ok(opener.open(row.decode()?))).collect()
    });
    opened.await.map_err(|error| sqlx::Error::Io(error.into()))?
}

/// What a walk through one log came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub log: String,
    /// Entries by its head.
    pub size: u64,
    pub entries_checked: u64,
    /// The root recomputed from all entries, base64; absent if some are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Signed tree heads whose roots were compared.
    pub heads_compared: u64,
    /// Whether a pinned key vouches for the log, and up to which size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_size: Option<u64>,
    pub findings: Vec<Finding>,
    /// Findings that were counted but not kept.
    pub more_findings: u64,
    /// What was not checked, and why.
    pub unchecked: Vec<String>,
    /// What is worth knowing and changes nothing.
    pub notes: Vec<String>,
    /// The newest checkpoint that a pinned key signed and the log bore out.
    #[serde(skip)]
    pub verified: Option<String>,
}

impl Report {
    fn new(log: &str, size: u64, outcome: Outcome) -> Self {
        let root = outcome.tree.map(|(_, root)| STANDARD.encode(root));
        Self {
            log: log.to_owned(),
            size,
            entries_checked: outcome.entries,
            root,
            heads_compared: outcome.heads_compared,
            signed_size: None,
            findings: outcome.findings.kept,
            more_findings: outcome.findings.more,
            unchecked: outcome.unchecked,
            notes: Vec::new(),
            verified: None,
        }
    }

    pub fn verdict(&self) -> Verdict {
        match (self.is_clean(), self.unchecked.is_empty()) {
            (false, _) => Verdict::Findings,
            (true, false) => Verdict::Incomplete,
            (true, true) => Verdict::Verified,
        }
    }

    /// How many there were, kept or not.
    pub fn findings_count(&self) -> u64 {
        self.findings.len() as u64 + self.more_findings
    }

    /// Nothing is wrong, as far as could be seen.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}
