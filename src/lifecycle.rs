//! What the service does on its own: partitions ahead of time, GIN pending lists before they stall an inserter.

use std::time::Duration;

use tokio::time::interval;
use tracing::{info, warn};

use crate::store::{Store, partitions};

const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// An inserter that fills a pending list (1 MB) must flush it itself, which can take 100 ms and more.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// Runs until `shutdown` completes. Several instances may do so: each step finds the work done or does it.
pub async fn maintain(store: Store, partitions_ahead: i32, shutdown: impl Future<Output = ()>) {
    let mut partitions_due = interval(PARTITIONS_EVERY);
    let mut flush_due = interval(FLUSH_EVERY);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            _ = partitions_due.tick() => make_partitions(&store, partitions_ahead).await,
            _ = flush_due.tick() => flush_pending(&store).await,
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

async fn flush_pending(store: &Store) {
    if let Err(error) = partitions::flush_pending(&store.control).await {
        warn!(%error, "could not flush the pending lists of the search indexes");
    }
}
