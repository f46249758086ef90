//! Recording without serving, for a command.

use std::sync::Arc;

use super::AppError;
use super::database::open_integrity;
use super::service::ingest_limits;
use crate::config::Config;
use crate::ingest::Ingest;
use crate::integrity::Integrity;
use crate::metrics::Metrics;
use crate::store::Store;

/// The way into the logs; to be closed before the store is.
///
/// Beside a running service it is like another instance: the lock on a log's head puts both in order, and the service
/// finds out from the database what was added. What is signed here is given to nobody then, as the latch is the
/// service's.
pub struct Recording {
    pub ingest: Ingest,
    integrity: Arc<Integrity>,
}

pub async fn open_recording(store: &Store, config: &Config) -> Result<Recording, AppError> {
    let integrity = Arc::new(open_integrity(store, config).await?);
    let limits = ingest_limits(config);
    let ingest = Ingest::new(store.clone(), Arc::clone(&integrity), limits, Arc::new(Metrics::new()));
    Ok(Recording { ingest, integrity })
}

impl Recording {
    /// Waits for what is being recorded.
    pub async fn close(self) {
        self.ingest.drain().await;
        self.integrity.keep_all().await;
    }
}
