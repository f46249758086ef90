//! Heartbeats: entries that tell quiet from silence. A log that gets one every so often and then gets none was cut off,
//! or is not shown whole.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use super::events::{SOURCE, SYSTEM};
use crate::auth::Tenant;
use crate::event::{Level, NewEvent};
use crate::ingest::Ingest;
use crate::store::{Store, log};

const HEARTBEAT_TYPE: &str = "eventlogger.heartbeat";
/// How often it is looked for logs that have been quiet, as a part of how long they may be.
const LOOKS_PER_INTERVAL: u32 = 4;

/// Puts an entry into each log that has been quiet for `interval`, until `stop` completes. Zero: never.
pub async fn beat(store: Store, ingest: Arc<Ingest>, interval: Duration, stop: impl Future<Output = ()>) {
    let beats = async {
        while !interval.is_zero() {
            sleep(interval / LOOKS_PER_INTERVAL).await;
            beat_once(&store, &ingest, interval).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = beats => {}
        () = stop => {}
    }
}

async fn beat_once(store: &Store, ingest: &Ingest, interval: Duration) {
    let quiet = match log::quiet_for(&store.control, interval).await {
        Ok(quiet) => quiet,
        Err(error) => return warn!(%error, "no heartbeats: the database cannot be read"),
    };
    for tenant in quiet {
        // Submitting is all; the lane goes on with it when this is dropped.
        if let Err(error) = ingest.record_control(&Arc::new(Tenant::from(tenant)), heartbeat()).await {
            warn!(?error, "a heartbeat was not recorded");
        }
    }
}

fn heartbeat() -> NewEvent {
    NewEvent {
        source: Some(SOURCE.to_owned()),
        level: Some(Level::Debug),
        ..NewEvent::bare(HEARTBEAT_TYPE.to_owned(), SYSTEM.to_owned())
    }
}
