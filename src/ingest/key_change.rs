//! Another signing key for all logs of the installation.
//!
//! Each log goes on in its next epoch, which begins with an entry that names the old key and the new one. Where the old
//! key is at hand it signs that beginning too, so that whoever has pinned it can follow to the new one.

use std::path::PathBuf;

use serde_json::json;
use sqlx::{Connection, PgConnection};
use tracing::warn;

use super::epoch::{self, Declaration, EpochError, Opened};
use crate::auth::Tenant;
use crate::integrity::{Integrity, KeyError, NextKey, Refusal};
use crate::store::{Store, checkpoints, log_keys};

const KEY_TYPE: &str = "eventlogger.key_changed";

/// A key that all logs have now.
#[derive(Debug)]
pub struct KeyChange {
    /// The logs by their new names; none if an earlier run had done all but put the key in its place.
    pub logs: Vec<(String, Opened)>,
    /// Where the key is.
    pub file: PathBuf,
}

/// Why the key is not changed, or the change not finished. The texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    #[error("no log has a key yet: the first start of the service makes one")]
    NoKey,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the logs have the new key, but it is not in its place yet: {0}. Then run this again")]
    Unplaced(KeyError),
    #[error(
        "the logs of this database are signed by the key {0}, and this instance has another: if it was changed on another \
         machine, copy its key from there. If the database is from before an earlier change, whose key this is: \
         --declare-loss"
    )]
    Elsewhere(String),
    #[error("the log of {tenant}: {refusal}. Or declare the loss together with the change: --declare-loss")]
    Loss { tenant: String, refusal: Refusal },
    #[error("the log of {tenant}: {error}")]
    Log { tenant: String, error: EpochError },
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// Gives all logs the next key, or none. Must not be cancelled.
pub async fn change_key(
    store: &Store,
    integrity: &Integrity,
    declaration: &Declaration,
    may_lose: bool,
) -> Result<KeyChange, KeyChangeError> {
    let mut connection = store.control.acquire().await?;
    let mut transaction = connection.begin().await?;
    // Who waits for this lock has a head's whose log has no key yet; here are locked those that have one.
    log_keys::lock(&mut transaction).await?;
    let registered = log_keys::any_active(&mut transaction).await?.ok_or(KeyChangeError::NoKey)?;
    let next = integrity.next_key(&registered)?;
    // Somebody changed it elsewhere, perhaps; then this would lock them out.
    if integrity.has_another_key() && !next.is_registered && !may_lose {
        return Err(KeyChangeError::Elsewhere(registered));
    }
    let mut changed = Vec::new();
    if !next.is_registered {
        for tenant in log_keys::signed_tenants(&mut transaction).await? {
            let tenant = Tenant::from(tenant);
            let change = Change { integrity, next: &next, declaration, may_lose, tenant: &tenant };
            let opened = change.begin_epoch(&mut transaction).await?;
            changed.push((tenant, opened));
        }
    }
    transaction.commit().await?;
    let file = integrity.put_in_place(&next).map_err(KeyChangeError::Unplaced)?.to_owned();
    let mut logs = Vec::with_capacity(changed.len());
    for (tenant, opened) in changed {
        // If it cannot be remembered, the next start of the service finds it in the database, signed.
        if let Err(refusal) = integrity.remember(&tenant, &opened.head) {
            warn!(tenant = tenant.name, "{refusal}");
        }
        logs.push((integrity.origin(&tenant.name, opened.head.epoch), opened));
    }
    Ok(KeyChange { logs, file })
}

/// The change of one log.
struct Change<'a> {
    integrity: &'a Integrity,
    next: &'a NextKey,
    declaration: &'a Declaration,
    may_lose: bool,
    tenant: &'a Tenant,
}

impl Change<'_> {
    async fn begin_epoch(&self, transaction: &mut PgConnection) -> Result<Opened, KeyChangeError> {
        let Self { integrity, tenant, .. } = self;
        let failed = |error| failed(tenant, error);
        let head = epoch::lock_head(transaction, tenant).await.map_err(failed)?;
        let standing = integrity.standing(transaction, tenant, &head).await;
        let (mut last, goes_on) = standing.map_err(|refusal| failed(refusal.into()))?;
        let registered = log_keys::active(transaction, tenant.id, head.epoch).await?;
        let former = integrity.signer(tenant, head.epoch).ok();
        let former = former.filter(|former| registered == Some(former.verifier().to_string()));
        match goes_on {
            Err(Refusal::Behind { .. } | Refusal::Contradicted { .. }) if self.may_lose => {}
            Err(refusal @ (Refusal::Behind { .. } | Refusal::Contradicted { .. })) => {
                return Err(KeyChangeError::Loss { tenant: tenant.name.clone(), refusal });
            }
            Err(refusal) => return Err(failed(refusal.into())),
            // The last word of the old key is about all there is.
            Ok(()) => last = former.as_ref().map(|former| former.sign(head.size, head.root)).or(last),
        }
        let epoch = epoch::next_epoch(transaction, tenant, &head, last.as_ref()).await.map_err(failed)?;
        let signer = integrity.next_signer(self.next, tenant, epoch)?;
        let keys = json!({ "previous_key": registered, "key": signer.verifier().to_string() });
        let event = self.declaration.event(KEY_TYPE, tenant, signer.epoch(), head.size, last.as_ref(), keys);
        let event = event.map_err(failed)?;
        let first = epoch::begin(transaction, tenant, &head, signer, &event).await.map_err(failed)?;
        let note = former.map_or_else(|| first.note.to_string(), |former| former.countersign(&first));
        checkpoints::store_first(transaction, tenant.id, first.epoch, first.size, &note).await?;
        Ok(Opened { head: first, restored_size: head.size, last })
    }
}

fn failed(tenant: &Tenant, error: EpochError) -> KeyChangeError {
    KeyChangeError::Log { tenant: tenant.name.clone(), error }
}
