//! What the service does on its own: partitions ahead of time, GIN pending lists before they stall an inserter.

mod scrubbing;

use std::time::Duration;

use tokio::time::{Instant, interval_at, sleep};
use tracing::{info, warn};

use crate::store::{Store, partitions};

pub use scrubbing::scrub;

const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// An inserter that fills a pending list (8 MB) must flush it itself, which takes 100 ms and more while its log
/// waits. A loaded service fills one in half a second.
const FLUSH_QUIET: Duration = Duration::from_secs(1);
const FLUSH_BUSY: Duration = Duration::from_millis(200);
/// A flush that finds this much (0.5 MB) is soon followed by the next: the more there is, the less each event costs.
const BUSY_PAGES: i64 = 64;

/// Runs until `shutdown` completes. Several instances may do so: each step finds the work done or does it.
pub async fn maintain(store: Store, partitions_ahead: i32, shutdown: impl Future<Output = ()>) {
    // At start they have just been made.
    let mut partitions_due = interval_at(Instant::now() + PARTITIONS_EVERY, PARTITIONS_EVERY);
    let mut pause = FLUSH_QUIET;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            _ = partitions_due.tick() => make_partitions(&store, partitions_ahead).await,
            () = sleep(pause) => pause = flush_pending(&store).await,
            () = &mut shutdown => return,
        }
    }
}

async fn make_partitions(store: &Store, ahead: i32) {
    match partitions::ensure(&store.control, ahead).await {
        Ok(made) if made.is_empty() => {}
        Ok(made) => info!(partitions = ?made, "made {} partitions", made.len()),
        Err(error) => {
            warn!(%error, "could not make the partitions of the months ahead; trying again in an hour")
        }
    }
}

/// Returns how long to wait before the next flush.
async fn flush_pending(store: &Store) -> Duration {
    match partitions::flush_pending(&store.control).await {
        Ok(BUSY_PAGES..) => FLUSH_BUSY,
        Ok(_) => FLUSH_QUIET,
        Err(error) => {
            warn!(%error, "could not flush the pending lists of the search indexes");
            FLUSH_QUIET
        }
    }
}
