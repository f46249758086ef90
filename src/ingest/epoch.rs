//! The next epoch of a log: what it takes to write to a database again that is older than its last signed state.
//!
//! Nothing of the old epoch is touched. The new one has a name and a key of its own; its first entry holds the last
//! checkpoint of the old one, so that the loss is on record in the very log that had it.

use std::sync::Arc;

use serde_json::json;
use sqlx::Connection;

use super::SERVICE;
use super::lane::check_clock;
use super::rebuild::{self, RebuildError};
use super::sequence::{LogState, sequence_control};
use crate::auth::Tenant;
use crate::event::{Invalid, Level, NewEvent, Outcome, Payload};
use crate::integrity::{Integrity, Refusal, SignedHead};
use crate::store::{Store, append, checkpoints, log, log_keys};

const EPOCH_TYPE: &str = "eventlogger.epoch_opened";

/// Who declares it, and why.
#[derive(Clone, Debug)]
pub struct Declaration {
    pub reason: String,
    pub user_identity: String,
}

/// An epoch that has begun.
#[derive(Clone, Debug)]
pub struct Opened {
    pub head: SignedHead,
    /// Entries that the log has kept.
    pub restored_size: u64,
    /// The furthest state of the epoch before that this machine knows of.
    pub lost: Option<SignedHead>,
}

/// Why no epoch was begun. The texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    #[error(
        "as far as this machine knows, the log of {0} has all that was ever signed, so there is nothing to recover \
         from. Run this where the service refuses to write: it needs that instance's latch"
    )]
    NotNeeded(String),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "the stored tree contradicts itself: {0}. An epoch cannot mend that; restore a sound backup first"
    )]
    Inconsistent(&'static str),
    #[error(
        "the clocks of the database and of this machine differ by more than five minutes; set them first"
    )]
    Clock,
    #[error("the reason cannot be recorded: {0}")]
    Invalid(String),
    #[error("the operating system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// Begins the next epoch of a log. Must not be cancelled.
pub async fn open_epoch(
    store: &Store,
    integrity: &Integrity,
    tenant: &Arc<Tenant>,
    declaration: Declaration,
) -> Result<Opened, EpochError> {
    let mut connection = store.control.acquire().await?;
    let mut transaction = connection.begin().await?;
    let head = log::lock_head(&mut transaction, tenant.id).await?;
    check_clock(&head).map_err(|_| EpochError::Clock)?;
    let lost = match integrity.admit(&mut transaction, tenant, &head).await {
        Ok(_) => return Err(EpochError::NotNeeded(tenant.name.clone())),
        Err(Refusal::Behind { .. } | Refusal::Contradicted { .. }) => integrity.last_signed(tenant)?,
        Err(refusal) => return Err(refusal.into()),
    };
    let (tree, tile_start) =
        rebuild::read(&mut transaction, tenant.id, &head).await.map_err(|error| match error {
            RebuildError::Database(error) => EpochError::Database(error),
            RebuildError::Inconsistent(what) => EpochError::Inconsistent(what),
        })?;
    let epoch = lost.as_ref().map_or(0, |lost| lost.epoch).max(head.epoch) + 1;
    let signer = Arc::new(integrity.signer(tenant, epoch)?);
    let vkey = signer.verifier().to_string();
    let state = LogState { tree, signer: Arc::clone(&signer), tile_start };
    let event = declaration.event(tenant, epoch, head.size, lost.as_ref())?;
    let mut sequenced = sequence_control(&event, SERVICE, tenant.log_id, &head, &state)?;
    sequenced.head.epoch = epoch;
    append::events(&mut transaction, tenant.id, &sequenced.rows).await?;
    if !sequenced.tiles.is_empty() {
        append::tiles(&mut transaction, tenant.id, &sequenced.tiles).await?;
    }
    append::head(&mut transaction, tenant.id, &sequenced.head).await?;
    log_keys::retire(&mut transaction, tenant.id, head.epoch, head.size).await?;
    log_keys::register(&mut transaction, tenant.id, epoch, &vkey, head.size).await?;
    // Signed before COMMIT, unlike all others, and seen by nobody before it: with the entry it is there, or neither.
    let first = signer.sign(sequenced.head.size, sequenced.head.root);
    checkpoints::store_first(&mut transaction, tenant.id, epoch, first.size, &first.note).await?;
    transaction.commit().await?;
    integrity.remember(tenant, &first)?;
    Ok(Opened { head: first, restored_size: head.size, lost })
}

impl Declaration {
    fn event(
        &self,
        tenant: &Tenant,
        epoch: i32,
        restored_size: u64,
        lost: Option<&SignedHead>,
    ) -> Result<NewEvent, EpochError> {
        let payload = json!({
            "epoch": epoch,
            "reason": self.reason,
            "restored_size": restored_size,
            "previous_checkpoint": lost.map(|lost| &*lost.note),
        });
        let payload = Payload::parse(payload.to_string().into_bytes());
        let invalid = |invalid: Invalid| EpochError::Invalid(invalid.detail);
        Ok(NewEvent {
            source: Some("eventlogger".to_owned()),
            level: Some(Level::Critical),
            outcome: Some(Outcome::Success),
            target: Some(format!("tenant/{}", tenant.name)),
            message: Some(format!(
                "Epoch {epoch} of the log began with the {restored_size} entries that the database has."
            )),
            payload: Some(payload.map_err(invalid)?),
            ..NewEvent::bare(EPOCH_TYPE.to_owned(), self.user_identity.clone())
        })
    }
}
