//! `eventlogger verify`

mod database;
mod server;
mod show;

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::arguments::tenant_name;
use crate::config::Client;
use crate::tlog::Policy;
use crate::verify::signed::Keys;
use crate::walk::state::State;
use crate::walk::{Report, Trusted};

const EXAMPLES: &str = "\
Examples:
  curl -u auditor https://audit.example.org/integrity/key | jq -r .policy > policy
  eventlogger verify --url https://audit.example.org --policy policy
  eventlogger verify --database --policy policy
  eventlogger verify --database --tenant default --json

What is checked:
  --database  every entry, what it commits to, the searchable copy of event_data, redactions, tiles, head,
              registered keys and stored checkpoints
  --url       every entry and tile against the signed checkpoint; content stays with the server

Pin the key once, over a way you trust. Without --policy everything but the signatures is checked, and the
exit code is 6. With it, the last verified checkpoint is kept, and a log that was set back is found out.

Credentials for --url come from the environment: EVENTLOGGER_USER with EVENTLOGGER_PASSWORD or
EVENTLOGGER_PASSWORD_FILE, or EVENTLOGGER_TOKEN or EVENTLOGGER_TOKEN_FILE.

Exit codes:
  0  verified
  1  something is not as it was recorded: the findings say what, and who could have done it
  2  wrong usage
  3  wrong configuration, or an unreadable policy or state file
  4  the database or the server cannot be reached
  6  nothing wrong was found, but not everything could be checked";

/// Check a whole log: in the database, or of a running server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// Check logs in the configured database; reads only
    #[arg(long, required_unless_present = "url", conflicts_with = "url")]
    database: bool,
    /// Check the log of a running server, such as https://audit.example.org
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct Options {
    /// The log of this tenant; may be given several times with --database [default: all tenants of the database, or
    /// `default` of a server]
    #[arg(long = "tenant", value_name = "NAME", value_parser = tenant_name)]
    tenants: Vec<String>,
    /// The keys to believe: a C2SP tlog-policy
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where to keep the last verified checkpoint [default: a file for each log in ~/.local/state/eventlogger/verify]
    #[arg(long, value_name = "FILE", requires = "policy")]
    state: Option<PathBuf>,
    /// PEM certificates to believe instead of the public ones, with an https URL
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    pub fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        match self.url {
            Some(url) => server::run(&url, &self.options),
            None => database::run(&self.options, file),
        }
    }
}

impl Options {
    fn policy(&self) -> Result<Option<Policy>, Failure> {
        let Some(file) = &self.policy else { return Ok(None) };
        let read = std::fs::read(file).map_err(|error| error.to_string());
        let policy = read.and_then(|text| Policy::parse(&text).map_err(|error| error.to_string()));
        policy.map(Some).map_err(|error| Failure::Input(anyhow::anyhow!("{}: {error}", file.display())))
    }

    /// The state of a tenant's log; none without a pinned key, as nothing would be verified.
    fn state(&self, client: &Client, policy: Option<&Policy>, tenant: &str) -> Option<State> {
        let keys = Keys::pinned(policy, tenant);
        let origin = *keys.origins(tenant).last()?;
        Some(self.state.as_ref().map_or_else(|| State::of_origin(&client.state_dir, origin), State::at))
    }
}

/// What was kept of a log.
struct Kept {
    state: Option<State>,
    note: Option<String>,
}

impl Kept {
    fn read(state: Option<State>) -> Result<Self, Failure> {
        let note = match &state {
            Some(state) => state.read().map_err(|error| unusable(state, &error))?,
            None => None,
        };
        Ok(Self { state, note })
    }

    fn trusted<'a>(&'a self, policy: Option<&'a Policy>) -> Trusted<'a> {
        Trusted { policy, seen: self.note.as_deref() }
    }

    /// Only what was verified without a finding takes its place.
    fn keep(&self, report: &Report) -> Result<(), Failure> {
        match (&self.state, &report.verified) {
            (Some(state), Some(note)) => state.write(note).map_err(|error| unusable(state, &error)),
            _ => Ok(()),
        }
    }
}

fn unusable(state: &State, error: &std::io::Error) -> Failure {
    Failure::Input(anyhow::anyhow!("the state in {}: {error}", state.file().display()))
}
