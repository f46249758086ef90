//! The next epoch of a log: what it takes to write to a database again that is older than its last signed state.
//!
//! Nothing of the old epoch is touched. The new one has a name and a key of its own; its first entry holds the last
//! checkpoint of the old one, so that the loss is on record in the very log that had it.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::SERVICE;
use super::lane::check_clock;
use super::rebuild::{self, RebuildError};
use super::sequence::{LogState, sequence_control};
use crate::auth::Tenant;
use crate::event::{Invalid, Level, NewEvent, Outcome, Payload};
use crate::integrity::{Integrity, LogSigner, Refusal, SignedHead};
use crate::store::log::{self, Head};
use crate::store::{Store, append, checkpoints, log_keys};

const EPOCH_TYPE: &str = "eventlogger.epoch_opened";

/// Who begins an epoch, and why.
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
    pub last: Option<SignedHead>,
}

/// Why no epoch was begun. The texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    #[error(
        "as far as this machine knows, the log of {0} has all that was ever signed, so there is nothing to recover \
         from. Run this where the service refuses to write: it needs that instance's latch"
    )]
    NotNeeded(String),
    #[error("the database says that epoch {0} has a key already, which nobody should have registered")]
    Taken(i32),
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

impl From<RebuildError> for EpochError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Database(error) => Self::Database(error),
            RebuildError::Inconsistent(what) => Self::Inconsistent(what),
        }
    }
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
    let head = lock_head(&mut transaction, tenant).await?;
    let last = match integrity.admit(&mut transaction, tenant, &head).await {
        Ok(_) => return Err(EpochError::NotNeeded(tenant.name.clone())),
        Err(Refusal::Behind { .. } | Refusal::Contradicted { .. }) => {
            integrity.last_signed(&mut *transaction, tenant).await?
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let epoch = next_epoch(&mut transaction, tenant, &head, last.as_ref()).await?;
    let signer = integrity.signer(tenant, epoch)?;
    let event = declaration.event(EPOCH_TYPE, tenant, signer.epoch(), head.size, last.as_ref(), json!({}))?;
    let first = begin(&mut transaction, tenant, &head, signer, &event).await?;
    checkpoints::store_first(&mut transaction, tenant.id, first.epoch, first.size, &first.note).await?;
    transaction.commit().await?;
    integrity.remember(tenant, &first)?;
    Ok(Opened { head: first, restored_size: head.size, last })
}

pub(super) async fn lock_head(transaction: &mut PgConnection, tenant: &Tenant) -> Result<Head, EpochError> {
    let head = log::lock_head(transaction, tenant.id).await?;
    check_clock(&head).map_err(|_| EpochError::Clock)?;
    Ok(head)
}

/// Ends the present epoch. The next is one that has not been, as far as is known here.
pub(super) async fn next_epoch(
    transaction: &mut PgConnection,
    tenant: &Tenant,
    head: &Head,
    last: Option<&SignedHead>,
) -> Result<i32, EpochError> {
    let unregistered = log_keys::retire(transaction, tenant.id, head.size).await?;
    let known = last.map_or(0, |last| last.epoch).max(head.epoch);
    Ok(known.saturating_add(1).max(unregistered))
}

/// Lets the log go on in the signer's epoch, with this event. The head is signed before COMMIT, unlike all others, and
/// seen by nobody before it: with the entry its checkpoint is there, or neither.
pub(super) async fn begin(
    transaction: &mut PgConnection,
    tenant: &Tenant,
    head: &Head,
    signer: LogSigner,
    event: &NewEvent,
) -> Result<SignedHead, EpochError> {
    let (tree, tile_start) = rebuild::read(transaction, tenant.id, head).await?;
    let epoch = signer.epoch();
    let state = LogState { tree, signer: Arc::new(signer), tile_start };
    let mut sequenced = sequence_control(event, SERVICE, tenant.log_id, head, &state)?;
    sequenced.head.epoch = epoch;
    append::events(transaction, tenant.id, &sequenced.rows).await?;
    if !sequenced.tiles.is_empty() {
        append::tiles(transaction, tenant.id, &sequenced.tiles).await?;
    }
    append::head(transaction, tenant.id, &sequenced.head).await?;
    let vkey = state.signer.verifier().to_string();
    if !log_keys::register(transaction, tenant.id, epoch, &vkey, head.size).await? {
        return Err(EpochError::Taken(epoch));
    }
    Ok(state.signer.sign(sequenced.head.size, sequenced.head.root))
}

impl Declaration {
    /// The first entry of the epoch; `more` are members of its own.
    pub(super) fn event(
        &self,
        event_type: &str,
        tenant: &Tenant,
        epoch: i32,
        restored_size: u64,
        last: Option<&SignedHead>,
        more: Value,
    ) -> Result<NewEvent, EpochError> {
        let mut payload = json!({
            "epoch": epoch,
            "reason": self.reason,
            "restored_size": restored_size,
            "previous_checkpoint": last.map(|last| &*last.note),
        });
        if let (Value::Object(payload), Value::Object(more)) = (&mut payload, more) {
            payload.extend(more);
        }
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
            ..NewEvent::bare(event_type.to_owned(), self.user_identity.clone())
        })
    }
}
