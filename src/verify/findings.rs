//! What was found in a log. A log that was tampered with all over must not fill the memory of who checks it.

use super::{Culprit, Finding};

/// Findings that are kept; the rest is counted.
const KEPT_MAX: usize = 1_000;

#[derive(Clone, Debug)]
pub struct Findings {
    log: String,
    pub kept: Vec<Finding>,
    /// How many more there were.
    pub more: u64,
}

impl Findings {
    pub fn new(log: &str) -> Self {
        Self { log: log.to_owned(), kept: Vec::new(), more: 0 }
    }

    pub fn add(&mut self, seq: Option<u64>, culprit: Culprit, what: impl Into<String>) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(Finding { log: Some(self.log.clone()), seq, what: what.into(), culprit });
        } else {
            self.more += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}
