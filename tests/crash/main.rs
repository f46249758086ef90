//! The real binary with its own cluster, killed and frozen while clients write.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed step is a failed test, and says how to repeat it"
)]

#[path = "../it/auditor.rs"]
mod auditor;
mod harness;
#[path = "../it/http.rs"]
#[expect(dead_code, reason = "what only tests with all kinds of requests call")]
mod http;
#[path = "../it/journal.rs"]
mod journal;

mod files;
mod freeze;
mod kill;
mod steps;
