//! `eventlogger verify`: checking, and believing nothing that a pinned key has not signed.

mod receipt;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::Failure;
use crate::tlog::{Policy, VerifierKey};

/// Check a receipt, with the service gone if need be
///
/// A receipt is the member `receipt` of the answer to a recording. It proves what was recorded, where in the log, and
/// that the log's key has signed it. Whose key that is must be known from elsewhere: pin it, with --policy or --key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  curl -su admin:PASSWORD http://localhost:5000/integrity/key | jq -r .policy > policy
  curl -su admin:PASSWORD http://localhost:5000/events -H 'Content-Type: application/json' -d @event.json > answer.json
  jq .receipt answer.json > r.json
  eventlogger verify r.json --event event.json --policy policy
  eventlogger verify r.json --payload p.json --policy policy

Exit codes:
  0  everything holds
  6  something does not hold
  7  what could be checked holds, but not everything could be: no key is pinned, say")]
pub struct Command {
    /// The receipt, or the whole answer with it; - for standard input
    receipt: PathBuf,
    /// The event as it was sent: every field of it is compared
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
    /// The event_data as it was sent, byte for byte
    #[arg(long, value_name = "FILE", conflicts_with = "event")]
    payload: Option<PathBuf>,
    /// Whom to believe: a C2SP trust policy with the key of the log
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Whom to believe: the public key of the log, as `vkey` of GET /integrity/key
    #[arg(long, value_name = "VKEY", conflicts_with = "policy", value_parser = policy_of)]
    key: Option<Policy>,
}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        let policy = self.policy.as_deref().map(read_policy).transpose()?.or_else(|| self.key.clone());
        receipt::run(&self, policy.as_ref())
    }
}

fn policy_of(vkey: &str) -> Result<Policy, String> {
    vkey.parse::<VerifierKey>().map_err(|error| error.to_string())?;
    Policy::parse(format!("log {vkey}\nquorum none\n").as_bytes()).map_err(|error| error.to_string())
}

fn read_policy(file: &Path) -> Result<Policy, Failure> {
    let policy = Policy::parse(&read(file)?).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    Ok(policy)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    Ok(bytes.with_context(|| format!("cannot read {}", file.display()))?)
}
