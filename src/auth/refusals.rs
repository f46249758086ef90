//! Whom this process refused, gathered here until it is recorded (see `access`): no request waits for that.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

use super::credential::Credential;
use super::tally::{Occurrences, Tally};
use super::{Principal, Role, Tenant};

/// A login that failed, as far as it may be told: never what was presented as the secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FailedLogin {
    /// As presented: it need not exist.
    pub tenant: String,
    /// As presented; a token has none.
    pub name: Option<String>,
    pub credential: &'static str,
    pub from: Option<IpAddr>,
}

impl FailedLogin {
    fn of(credential: &Credential, from: Option<IpAddr>) -> Self {
        let (tenant, name, kind) = match credential {
            Credential::Password { login, .. } => (&login.tenant, Some(&login.name), "password"),
            Credential::MachineSecret { login, .. } => (&login.tenant, Some(&login.name), "machine_secret"),
            Credential::Token { tenant, .. } => (tenant, None, "token"),
        };
        Self { tenant: tenant.clone(), name: name.cloned(), credential: kind, from }
    }
}

/// Something that a principal may not do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Denial {
    pub tenant: Arc<Tenant>,
    pub user: String,
    pub token_prefix: Option<String>,
    pub from: Option<IpAddr>,
    pub wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// An operation that needs this role; `None`: any role at all.
    Operation { operation: String, role: Option<Role> },
    /// To act in the tenant of this name.
    Tenant(String),
}

pub struct Refusals {
    logins: Tally<FailedLogin>,
    denials: Tally<Denial>,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { logins: Tally::new(), denials: Tally::new() }
    }

    pub(super) fn note_login(&self, credential: &Credential, from: Option<IpAddr>, reason: &'static str) {
        self.logins.note(FailedLogin::of(credential, from), reason, OffsetDateTime::now_utc());
    }

    pub(super) fn note_denial(&self, principal: &Principal, from: Option<IpAddr>, wanted: Wanted) {
        let reason = match wanted {
            Wanted::Operation { .. } => "role_missing",
            Wanted::Tenant(_) => "tenant_forbidden",
        };
        let denial = Denial {
            tenant: Arc::clone(&principal.tenant),
            user: principal.name_in(&principal.tenant.name),
            token_prefix: principal.token_prefix.clone(),
            from,
            wanted,
        };
        self.denials.note(denial, reason, OffsetDateTime::now_utc());
    }

    /// What is to be recorded now; whoever takes it sees to that.
    pub fn take_due(&self) -> (Vec<Occurrences<FailedLogin>>, Vec<Occurrences<Denial>>) {
        let now = Instant::now();
        (self.logins.take_due(now), self.denials.take_due(now))
    }

    /// All there is, before the process ends.
    pub fn take_all(&self) -> (Vec<Occurrences<FailedLogin>>, Vec<Occurrences<Denial>>) {
        let now = Instant::now();
        (self.logins.take_all(now), self.denials.take_all(now))
    }
}
