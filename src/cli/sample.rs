//! `eventlogger sample`: something to try queries on.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use time::OffsetDateTime;

use super::arguments::{author, explain};
use super::{Failure, on_the_store};
use crate::app::{self, Recording};
use crate::auth::Tenant;
use crate::config::{Config, Server};
use crate::event::{NewEvent, Timestamp};
use crate::ingest::{IngestError, OWN_ID, OWN_RECORDERS};
use crate::sample::{self, EVENTS_MAX, EVENTS_MIN, Example, Story, TENANT};
use crate::server::address::ListenAddress;
use crate::store::Store;
use crate::store::principals::{create_tenant, find_tenant};
use crate::store::samples::{has_event_of_others, timestamp_of};

/// As many as go into one transaction.
const TOGETHER: usize = 1_000;
/// After how many events those who wait are told.
const TELL_EVERY: usize = 100_000;

/// Fill the tenant `demo` with made-up events to try queries on
///
/// Two weeks of a small company: logins, payments, exports, jobs, and an incident two nights ago. Each event has
/// `"sample": true` in its event_data and `sample` as `recorded_by`. The tenant is made if it is missing; no other log
/// gets any of it, and a log `demo` with events of somebody else is left alone. The service may run.
///
/// Nothing is recorded twice: the same seed again adds only what is missing, up to --events.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eventlogger sample
  eventlogger sample --events 100000
  eventlogger sample --seed 2")]
pub struct Command {
    /// How many events there shall be of this seed, 100 to 1000000
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    #[arg(value_parser = RangedU64ValueParser::<u64>::new().range(EVENTS_MIN..=EVENTS_MAX))]
    events: u64,
    /// Which story is told
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Command {
    pub fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        on_the_store(file, async |store, config| self.fill(store, config).await)
    }

    async fn fill(self, store: &Store, config: &Config) -> Result<String, Failure> {
        let tenant = demo(store).await?;
        let known = timestamp_of(&store.control, tenant.id, OWN_ID, &sample::first_key(self.seed)).await;
        let begin = match known.map_err(anyhow::Error::from)? {
            // The rest of it, or nothing.
            Some(begin) => begin,
            None => sample::beginning_of_one_that_ends(now()?),
        };
        let story = Story { seed: self.seed, begin, events: self.events };
        let recording = app::open_recording(store, config).await?;
        let tally = record(&recording, &tenant, &story).await;
        recording.close().await;
        Ok(told(&story, &tally?, config))
    }
}

fn now() -> anyhow::Result<Timestamp> {
    Ok(Timestamp::try_from(OffsetDateTime::now_utc())?)
}

/// The tenant for made-up events, made if it is missing; an error if its log is somebody's.
async fn demo(store: &Store) -> Result<Arc<Tenant>, Failure> {
    let found = find_tenant(&store.control, TENANT).await.map_err(anyhow::Error::from)?;
    let row = match found {
        Some(row) => row,
        None => match create_tenant(&store.control, &author(), TENANT).await {
            Ok(row) => row,
            Err(error) => return Err(explain(&store.control, TENANT, error).await.into()),
        },
    };
    let is_used = has_event_of_others(&store.control, row.tenant_id, &OWN_RECORDERS).await;
    if is_used.map_err(anyhow::Error::from)? {
        return Err(anyhow!(
            "the log of the tenant {TENANT} has events that this command did not make; made-up ones are not mixed with \
             them. Nothing was recorded"
        )
        .into());
    }
    Ok(Arc::new(Tenant::from(row)))
}

/// What became of the events.
#[derive(Debug, Default)]
struct Tally {
    recorded: usize,
    known: usize,
    /// Of those that were there: redacted since, or made by another version of this program.
    differ: usize,
}

async fn record(recording: &Recording, tenant: &Arc<Tenant>, story: &Story) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut events = story.tell();
    loop {
        let group: Vec<NewEvent> = events.by_ref().take(TOGETHER).collect();
        if group.is_empty() {
            return Ok(tally);
        }
        for outcome in recording.ingest.record_samples(tenant, group).await {
            match outcome {
                Ok(recorded) if recorded.duplicate => tally.known += 1,
                Ok(_) => tally.recorded += 1,
                Err(IngestError::KeyConflict { .. }) => tally.differ += 1,
                Err(error) => {
                    let Tally { recorded, .. } = tally;
                    return Err(anyhow!(
                        "{recorded} events were recorded, the next was not ({}); the same command goes on from there",
                        error.code()
                    ));
                }
            }
        }
        tally.say_progress(story.events);
    }
}

impl Tally {
    fn there_already(&self) -> usize {
        self.known + self.differ
    }

    fn say_progress(&self, of: u64) {
        let done = self.recorded + self.there_already();
        if done.is_multiple_of(TELL_EVERY) {
            // Not being able to tell is no reason to stop.
            let _ = writeln!(io::stderr(), "{done} of {of} events");
        }
    }
}

fn told(story: &Story, tally: &Tally, config: &Config) -> String {
    let (seed, begin, end) = (story.seed, story.begin, story.end());
    let mut text = format!(
        "Recorded {} events of seed {seed} in the log of the tenant {TENANT}; {} were there already.\n",
        tally.recorded,
        tally.there_already()
    );
    if tally.differ > 0 {
        text += &format!(
            "Of those, {} were redacted since, or made by another version of this program.\n",
            tally.differ
        );
    }
    text += &format!("They happened, so they say, from {begin} to {end}.\n\n");
    text += "Searches to try (without ./deploy.sh, the password takes the place of its part):\n";
    let curl = curl(config);
    for Example { meaning, query, finds } in sample::examples(story) {
        let finds = finds.map(|finds| format!(" (in each story: {finds})")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(text, "\n# {meaning}{finds}\n{curl}/events/query?{query}\"\n");
    }
    text
}

/// The beginning of a command that asks this service about the log `demo`, as far as the path.
fn curl(config: &Config) -> String {
    let user = &config.admin_user;
    let login = format!("-u \"{user}:$(./deploy.sh password)\" -H \"X-Tenant: {TENANT}\"");
    match address(&config.server) {
        ListenAddress::Unix(path) => {
            format!("curl --unix-socket \"{}\" {login} \"http://localhost", path.display())
        }
        tcp @ ListenAddress::Tcp(..) => format!("curl {login} \"{tcp}"),
    }
}

/// The first address of the service, as a client on the same machine reaches it.
fn address(server: &Server) -> ListenAddress {
    let first = server.listen.first().map(|address| address.resolved(server.tls_certificate.is_some()));
    match first {
        Some(ListenAddress::Tcp(scheme, address)) => {
            let ip = match address.ip() {
                ip if !ip.is_unspecified() => ip,
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            ListenAddress::Tcp(scheme, SocketAddr::new(ip, address.port()))
        }
        Some(unix) => unix,
        None => unreachable!("a configuration has an address to listen on"),
    }
}
