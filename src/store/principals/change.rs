//! A change under way, and who makes it.
//!
//! Its event is written in the same transaction, so that neither can be without the other.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};

use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::{ChangeError, DEFAULT_TENANT};
use crate::store::service_events::{self, NewServiceEvent};

/// The role that reaches beyond its tenant.
const SUPERADMIN: &str = "superadmin";

/// Who makes a change: what its event says of them, and how far they may go.
#[derive(Clone, Debug)]
pub struct Author {
    pub user_identity: String,
    /// The prefix of the token that was used, if one was.
    pub token: Option<String>,
    pub ip: Option<IpAddr>,
    /// Whether it may give the role superadmin and change users who have it.
    pub is_superadmin: bool,
}

impl Author {
    /// Whoever holds the machine: the service itself, or a person at its command line.
    pub fn operator(user_identity: impl Into<String>) -> Author {
        Author { user_identity: user_identity.into(), token: None, ip: None, is_superadmin: true }
    }

    /// To be asked of the roles that a change gives and of those that its user has: nobody takes over an
    /// account that could do more than they could let it do.
    pub(super) fn require_power_over<S: AsRef<str>>(&self, roles: &[S]) -> Result<(), ChangeError> {
        let is_above = !self.is_superadmin && roles.iter().any(|role| role.as_ref() == SUPERADMIN);
        if is_above { Err(ChangeError::NeedsSuperadmin) } else { Ok(()) }
    }
}

/// A superadmin acts in all tenants, so it belongs to the one of the installation's operators.
pub(super) fn require_place(tenant: &str, roles: &[&str]) -> Result<(), ChangeError> {
    let is_misplaced = tenant != DEFAULT_TENANT && roles.contains(&SUPERADMIN);
    if is_misplaced { Err(ChangeError::SuperadminElsewhere) } else { Ok(()) }
}

/// What is done to what, as its event tells it.
pub(super) struct Deed<'a> {
    pub(super) event_type: &'static str,
    pub(super) target: String,
    pub(super) message: String,
    /// An object. Never holds a secret.
    pub(super) data: Value,
    /// Whose log it belongs to.
    pub(super) tenant_id: i32,
    pub(super) author: &'a Author,
}

impl Deed<'_> {
    /// To be called before the change is committed.
    pub(super) async fn record(mut self, change: &mut PgConnection) -> sqlx::Result<()> {
        if let Some(prefix) = &self.author.token {
            self.data["by_token"] = json!(prefix);
        }
        let event = NewServiceEvent {
            tenant_id: self.tenant_id,
            event_type: self.event_type,
            user_identity: &self.author.user_identity,
            target: Some(&self.target),
            message: &self.message,
            ip: self.author.ip,
            event_data: Some(&self.data.to_string()),
        };
        service_events::insert(change, &event).await
    }
}

/// A transaction that has raised the revision; it holds once it is committed.
pub(super) struct Change(Transaction<'static, Postgres>);

impl Change {
    pub(super) async fn begin(pool: &PgPool) -> sqlx::Result<Change> {
        let mut change = pool.begin().await?;
        sqlx::query!("UPDATE credential_revision SET revision = revision + 1").execute(&mut *change).await?;
        Ok(Change(change))
    }

    pub(super) async fn commit(self) -> Result<(), ChangeError> {
        Ok(self.0.commit().await?)
    }
}

impl Deref for Change {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// Values before and after, by the convention for `event_data`.
pub(super) fn changed(field: &str, from: impl Into<Value>, to: impl Into<Value>) -> Value {
    json!({"changes": {field: {"from": from.into(), "to": to.into()}}})
}
