//! After redactions: what PostgreSQL itself keeps of the erased content is removed as well, in the background.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::store::Store;
use crate::store::scrub::{self, Scrubbed};

/// How soon after a redaction, if there was none shortly before.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two rounds that found something to do: redactions of that time are scrubbed after together. More often, and
/// somebody who redacts a thousand events would keep the tables busy with nothing else.
const REST: Duration = Duration::from_secs(20);
/// And a share of the time, if a round takes long.
const REST_FOR_EACH: u32 = 10;

/// Runs until `shutdown` completes; a round under way is given up then, and made again by whoever runs next. What is
/// left to do is in the database, so neither a crash nor another instance loses any of it.
pub async fn scrub(store: Store, shutdown: impl Future<Output = ()>) {
    tokio::pin!(shutdown);
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            next = round(&store, pause) => pause = next,
        }
    }
}

/// Waits, and scrubs what there is; returns how long to wait before the next round.
async fn round(store: &Store, pause: Duration) -> Duration {
    sleep(pause).await;
    let begun = Instant::now();
    match scrub::scrub(&store.control).await {
        Ok(Scrubbed { in_use, .. }) if !in_use.is_empty() => {
            info!(tables = ?in_use, "could not scrub tables in use after redactions; trying again soon");
            REST
        }
        Ok(Scrubbed { redactions: 0, .. }) => LOOK_EVERY,
        Ok(Scrubbed { redactions, large, .. }) => {
            info!(redactions, "scrubbed the tables after {redactions} redactions");
            if !large.is_empty() {
                info!(
                    tables = ?large,
                    "freed space of large tables keeps erased bytes until it is written to again; VACUUM (FULL) \
                     removes them, while the table cannot be used"
                );
            }
            REST.max(begun.elapsed() * REST_FOR_EACH)
        }
        Err(error) => {
            warn!(%error, "could not scrub the tables after redactions; trying again soon");
            REST
        }
    }
}
