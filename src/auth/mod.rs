//! Who is calling: Basic and Bearer credentials to a `Principal`.
//!
//! A request that presents what was right less than a minute ago costs one HMAC and a look-up. Everything
//! else goes the slow way (`check`): one statement, then argon2id on a bounded number of slots. Changes of
//! users and tokens take effect at once in the process that makes them (`Auth::forget`) and within about a
//! second in the others (`watch`). Whoever guesses is slowed down (`failures`).

mod accounts;
mod cache;
mod check;
mod credential;
mod error;
mod failures;
mod first_user;
mod lifetime;
pub mod name;
mod new_login;
pub mod password;
mod principal;
mod refusals;
mod role;
pub mod secret;
mod slots;
mod tally;
mod uses;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use sqlx::PgPool;
use time::OffsetDateTime;

pub use accounts::AccountError;
pub use credential::{Credential, DEFAULT_TENANT, Login};
pub use error::AuthError;
pub use first_user::{FirstUser, FirstUserError, ensure_first_user};
pub use lifetime::parse_lifetime;
pub use new_login::{IssuedLogin, NewLogin};
pub use password::Cost;
pub use principal::{Principal, Tenant};
pub use refusals::{Denial, FailedLogin, Refusals, Wanted};
pub use role::{Role, Roles};
pub use tally::{Occurrences, Times};

use crate::store::principals::find_tenant;
use cache::{Cache, Fingerprint};
use failures::Failures;
use slots::Slots;
use uses::TokenUses;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub cost: Cost,
    /// How many password checks run at a time; each takes a core and `cost.memory_kib`.
    pub slots: usize,
    /// How many more may wait: with the default cost about a second's worth per slot.
    pub queue: usize,
    /// How many credentials are remembered.
    pub cache_entries: u64,
    /// How long a credential that was right is not checked again; at most a minute.
    pub admitted_for: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Settings {
            cost: Cost::default(),
            slots: (cores / 2).max(1),
            queue: 64,
            cache_entries: 10_000,
            admitted_for: Duration::from_secs(60),
        }
    }
}

/// How logins ended, counted since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    pub accepted: AtomicU64,
    pub rejected: AtomicU64,
    pub throttled: AtomicU64,
    pub busy: AtomicU64,
    pub unavailable: AtomicU64,
}

/// In which tenant a superadmin wants to act.
const TENANT_HEADER: &str = "x-tenant";

/// Authenticates requests. One per process.
pub struct Auth {
    control: PgPool,
    cost: Cost,
    /// Checked in the place of a hash that does not exist.
    dummy_hash: String,
    slots: Slots,
    cache: Cache,
    failures: Failures,
    /// Part of every admission's key. What is read from the database after a change became known is
    /// filed under a later generation, so a slow look-up can never bring an old row back.
    generation: AtomicU64,
    /// Written by requests, read by `watch`.
    uses: TokenUses,
    /// Written by requests, read by `access`.
    refusals: Refusals,
    counters: Counters,
}

/// Somebody whose credential was right.
struct Admission {
    principal: Arc<Principal>,
    verified_at: Instant,
    token: Option<AdmittedToken>,
}

struct AdmittedToken {
    id: i64,
    expires_at: Option<OffsetDateTime>,
}

impl Auth {
    pub fn new(control: PgPool, settings: Settings) -> Result<Arc<Auth>, password::PasswordError> {
        Ok(Arc::new(Auth {
            control,
            cost: settings.cost,
            dummy_hash: password::dummy(settings.cost)?,
            slots: Slots::new(settings.slots, settings.queue),
            cache: Cache::new(settings.cache_entries, settings.admitted_for)
                .map_err(password::PasswordError::Random)?,
            failures: Failures::new(),
            generation: AtomicU64::new(0),
            uses: TokenUses::default(),
            refusals: Refusals::new(),
            counters: Counters::default(),
        }))
    }

    /// Finds out who sent a request, and from which address (a Unix socket has none). Exactly one credential
    /// is accepted; a wrong one is never anonymous.
    pub async fn authenticate(
        self: &Arc<Self>,
        headers: &HeaderMap,
        from: Option<IpAddr>,
    ) -> Result<Arc<Principal>, AuthError> {
        let outcome = match Credential::from_headers(headers) {
            Ok(credential) => self.admit(Arc::new(credential), from).await,
            Err(unreadable) => return Err(unreadable),
        };
        let counter = match outcome {
            Ok(_) => Some(&self.counters.accepted),
            Err(AuthError::Rejected) => Some(&self.counters.rejected),
            Err(AuthError::TooManyFailures { .. }) => Some(&self.counters.throttled),
            Err(AuthError::Busy { .. }) => Some(&self.counters.busy),
            Err(AuthError::Unavailable) => Some(&self.counters.unavailable),
            Err(_) => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.enter_tenant(outcome?, headers, from).await
    }

    /// Notes that somebody who is logged in was not let through.
    pub fn note_denial(&self, principal: &Principal, from: Option<IpAddr>, wanted: Wanted) {
        self.refusals.note_denial(principal, from, wanted);
    }

    /// Who was refused, to be recorded.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Drops what is cached. To be called after a change of users, tokens or tenants was committed.
    pub fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.cache.drop_admissions();
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many argon2 computations were started.
    pub fn argon2_runs(&self) -> u64 {
        self.slots.runs()
    }

    /// Accounts and addresses whose failed logins are remembered, and how many had to give way to others.
    pub fn failures_remembered(&self) -> (u64, u64) {
        (self.failures.remembered(), self.failures.evicted())
    }

    async fn admit(
        self: &Arc<Self>,
        credential: Arc<Credential>,
        from: Option<IpAddr>,
    ) -> Result<Arc<Principal>, AuthError> {
        let key = self.fingerprint(&credential, from);
        let admitted = match self.cache.admission(&key).await {
            Some(admission) => Ok(admission),
            None => self.check_once(key, Arc::clone(&credential), from).await,
        };
        let outcome = admitted.and_then(|admission| self.use_admission(&admission));
        match outcome {
            Err(AuthError::Rejected) => self.refusals.note_login(&credential, from, "invalid_credentials"),
            Err(AuthError::TooManyFailures { .. }) => {
                self.refusals.note_login(&credential, from, "too_many_failures");
            }
            _ => {}
        }
        outcome
    }

    /// A token can expire while it is cached.
    fn use_admission(&self, admission: &Admission) -> Result<Arc<Principal>, AuthError> {
        if let Some(token) = &admission.token {
            let now = OffsetDateTime::now_utc();
            if token.expires_at.is_some_and(|expiry| expiry <= now) {
                return Err(AuthError::Rejected);
            }
            self.uses.note(admission.principal.tenant.id, token.id, now);
        }
        Ok(Arc::clone(&admission.principal))
    }

    /// A superadmin acts in the tenant that `X-Tenant` names. Others may name only their own: a request
    /// meant for one log must never end up in another.
    async fn enter_tenant(
        self: &Arc<Self>,
        principal: Arc<Principal>,
        headers: &HeaderMap,
        from: Option<IpAddr>,
    ) -> Result<Arc<Principal>, AuthError> {
        let mut named = headers.get_all(TENANT_HEADER).iter();
        let name = match (named.next(), named.next()) {
            (None, _) => return Ok(principal),
            (Some(name), None) => name.to_str().map_err(|_| AuthError::NoSuchTenant)?.to_owned(),
            (Some(_), Some(_)) => return Err(AuthError::SeveralTenants),
        };
        if name == principal.tenant.name {
            return Ok(principal);
        }
        let is_possible = name::check_tenant_name(&name).is_ok();
        if !principal.roles.contains(Role::Superadmin) {
            // What no tenant can be called is not repeated: it can be long.
            let wanted = if is_possible { name } else { String::new() };
            self.refusals.note_denial(&principal, from, Wanted::Tenant(wanted));
            return Err(AuthError::OtherTenant);
        }
        if !is_possible {
            return Err(AuthError::NoSuchTenant);
        }
        let control = self.control.clone();
        let found = tokio::spawn(async move { find_tenant(&control, &name).await });
        let tenant = match found.await {
            Ok(Ok(found)) => found.ok_or(AuthError::NoSuchTenant)?,
            Ok(Err(_)) | Err(_) => return Err(AuthError::Unavailable),
        };
        Ok(Arc::new(Principal { tenant: Arc::new(Tenant::from(tenant)), ..Principal::clone(&principal) }))
    }

    /// Checks what is not cached, once for all requests that present it at this time. In a task of its
    /// own: a client that goes away cancels neither a database operation nor the check for the others.
    async fn check_once(
        self: &Arc<Self>,
        key: Fingerprint,
        credential: Arc<Credential>,
        from: Option<IpAddr>,
    ) -> Result<Arc<Admission>, AuthError> {
        let auth = Arc::clone(self);
        let task = tokio::spawn(async move {
            loop {
                let mut is_own = false;
                let check = async {
                    is_own = true;
                    auth.check(&credential, from).await
                };
                match auth.cache.admit(key, check).await {
                    // Another address, which has failed too often, presented the same at the same time.
                    Err(AuthError::TooManyFailures { .. }) if !is_own => {}
                    outcome => return outcome,
                }
            }
        });
        task.await.unwrap_or_else(|stopped| {
            tracing::error!(error = %stopped, "the check of a credential did not end");
            Err(AuthError::Unavailable)
        })
    }

    /// A password is admitted at the network where it was checked, and nowhere else without being counted:
    /// otherwise whoever is slowed down could go on guessing here.
    fn fingerprint(&self, credential: &Credential, from: Option<IpAddr>) -> Fingerprint {
        let generation = self.generation.load(Ordering::Acquire).to_be_bytes();
        let (parts, network) = match credential {
            Credential::Password { login, password } => {
                ([&login.tenant, &login.name, password.reveal()], failures::network(from))
            }
            Credential::MachineSecret { login, secret } => {
                ([&login.tenant, &login.name, secret.reveal()], Vec::new())
            }
            Credential::Token { tenant, token } => ([tenant, "", token.reveal()], Vec::new()),
        };
        let [tenant, name, secret] = parts.map(str::as_bytes);
        self.cache.fingerprint(&[&generation, tenant, name, secret, &network])
    }
}
