//! Follows the changes that other instances and the command line make.
//!
//! The revision in the database is a level, not a signal: however many changes happened between two
//! looks, or while the database was away, the next look sees that it is not the same any more. Should no
//! look succeed, admissions still end by themselves within a minute.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::Auth;
use crate::store::principals::{self, tokens};

const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Auth {
    /// Runs until `shutdown` resolves. No look is cut short: only the pause between two is.
    pub async fn watch(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut seen = None;
        let mut reachable = true;
        loop {
            let looked = self.look(&mut seen).await;
            if reachable != looked.is_ok() {
                reachable = looked.is_ok();
                match &looked {
                    Ok(()) => tracing::info!("changes of users and tokens are visible again"),
                    Err(error) => tracing::warn!(%error, "changes of users and tokens cannot be seen"),
                }
            }
            if looked.is_ok() {
                self.write_token_uses(self.uses.take_due(OffsetDateTime::now_utc())).await;
            }
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        self.write_token_uses(self.uses.take_all(OffsetDateTime::now_utc())).await;
    }

    async fn look(&self, seen: &mut Option<i64>) -> sqlx::Result<()> {
        let revision = Some(principals::revision(&self.control).await?);
        if *seen != revision {
            self.forget();
            *seen = revision;
        }
        Ok(())
    }

    async fn write_token_uses(&self, uses: Vec<tokens::TokenUse>) {
        if uses.is_empty() {
            return;
        }
        if let Err(error) = tokens::note_token_uses(&self.control, &uses).await {
            tracing::warn!(%error, tokens = uses.len(), "the last use of tokens was not written");
        }
    }
}
