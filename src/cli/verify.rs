//! `eventlogger verify`: checking, and believing nothing that a pinned key has not signed.

mod bundle;
mod database;
mod receipt;
mod server;
mod show;

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::Failure;
use super::arguments::tenant_name;
use crate::config::Client;
use crate::tlog::{Policy, VerifierKey};
use crate::verify::signed::Keys;
use crate::walk::state::State;
use crate::walk::{Report, Trusted};

/// How compressed files begin.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

const EXAMPLES: &str = "\
Examples:
  curl -su admin https://audit.example.org/integrity/key | jq -r .policy > policy
  eventlogger verify answer.json --event event.json --policy policy
  eventlogger verify r.json --payload p.json --policy policy
  eventlogger verify march.bundle --policy policy
  eventlogger verify --url https://audit.example.org --policy policy
  eventlogger verify --database --policy policy
  eventlogger verify --database --tenant default --json

What is checked:
  RECEIPT     what was recorded, where in the log, and that the log's key has signed it; the service may be gone
  BUNDLE      the same of every event of an export with format=bundle; not that nothing was left out
  --database  every entry, what it commits to, the searchable copy of event_data, redactions, tiles, head,
              registered keys and stored checkpoints
  --url       every entry and tile against the signed checkpoint; content stays with the server

Pin the key once, over a way you trust. Without --policy or --key everything but the signatures is checked, and
the exit code is 7. With it, the last verified checkpoint of a log is kept, and one that was set back is found out.

Credentials for --url come from the environment: EVENTLOGGER_USER with EVENTLOGGER_PASSWORD or
EVENTLOGGER_PASSWORD_FILE, or EVENTLOGGER_TOKEN or EVENTLOGGER_TOKEN_FILE.

Exit codes:
  0  verified
  2  wrong usage
  3  wrong configuration, or a file that was given cannot be used
  4  the database or the server cannot be reached
  6  something is not as it was recorded: the findings say what, and who could have done it
  7  nothing wrong was found, but not everything could be checked";

/// Check a receipt, an exported bundle, a whole log in the database, or that of a running server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A receipt, the whole answer with it, or an exported bundle; - for standard input
    receipt: Option<PathBuf>,
    /// Check logs in the configured database; changes nothing that is recorded
    #[arg(long)]
    database: bool,
    /// Check the log of a running server, such as `https://audit.example.org`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Debug, Args)]
struct Options {
    /// The event of the receipt as it was sent: every field of it is compared
    #[arg(long, value_name = "FILE", requires = "receipt")]
    event: Option<PathBuf>,
    /// The event_data of the receipt as it was sent, byte for byte
    #[arg(long, value_name = "FILE", requires = "receipt", conflicts_with = "event")]
    payload: Option<PathBuf>,
    /// Whom to believe: a C2SP trust policy with the keys of logs
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Whom to believe: the public key of a log, as `vkey` of GET /integrity/key
    #[arg(long, value_name = "VKEY", conflicts_with = "policy", value_parser = policy_of)]
    key: Option<Policy>,
    /// The log of this tenant; may be given several times with --database [default: all tenants of the database, or
    /// `default` of a server]
    #[arg(long = "tenant", value_name = "NAME", value_parser = tenant_name, conflicts_with = "receipt")]
    tenants: Vec<String>,
    /// Where to keep the last verified checkpoint [default: a file for each log in ~/.local/state/eventlogger/verify]
    #[arg(long, value_name = "FILE", conflicts_with = "receipt")]
    state: Option<PathBuf>,
    /// PEM certificates to believe instead of the public ones, with an https URL
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "receipt")]
    json: bool,
}

impl Command {
    pub fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        match self.what {
            What { receipt: Some(file), .. } => offline(&file, &self.options),
            What { url: Some(url), .. } => server::run(&url, &self.options),
            _ => database::run(&self.options, file),
        }
    }
}

/// A receipt or a bundle: the first line tells.
fn offline(file: &Path, options: &Options) -> Result<(), Failure> {
    let unreadable = |error: io::Error| Failure::Input(anyhow!("cannot read {}: {error}", file.display()));
    let mut input: Box<dyn BufRead> = match file == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(fs::File::open(file).map_err(unreadable)?)),
    };
    let mut first = Vec::new();
    input.read_until(b'\n', &mut first).map_err(unreadable)?;
    if first.starts_with(&GZIP) || first.starts_with(&ZSTD) {
        let file = file.display();
        return Err(Failure::Input(anyhow!("{file} is compressed: unpack it into `eventlogger verify -`")));
    }
    let line = std::str::from_utf8(&first);
    if let Some(verified) = line.ok().and_then(|line| bundle::run(file, line, &mut input, options)) {
        return verified;
    }
    input.read_to_end(&mut first).map_err(unreadable)?;
    receipt::run(file, first, options)
}

fn policy_of(vkey: &str) -> Result<Policy, String> {
    vkey.parse::<VerifierKey>().map_err(|error| error.to_string())?;
    Policy::parse(format!("log {vkey}\nquorum none\n").as_bytes()).map_err(|error| error.to_string())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    bytes.map_err(|error| Failure::Input(anyhow!("cannot read {}: {error}", file.display())))
}

impl Options {
    fn policy(&self) -> Result<Option<Policy>, Failure> {
        let Some(file) = &self.policy else { return Ok(self.key.clone()) };
        let unusable = |error| Failure::Input(anyhow!("{}: {error}", file.display()));
        Policy::parse(&read(file)?).map(Some).map_err(unusable)
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
    Failure::Input(anyhow!("the state in {}: {error}", state.file().display()))
}
