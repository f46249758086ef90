//! The slow way: what is not cached is checked against the database.
//!
//! Unknown user, wrong password, disabled user and user without a password take one statement and one
//! argon2 computation each, and end in the same `Rejected`. Nothing of this is cached unless it was right.
//! Only passwords can be guessed, so only their failures are counted against the sender.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use subtle::ConstantTimeEq as _;

use super::cache::Fingerprint;
use super::credential::{Credential, Login};
use super::failures::network;
use super::secret::Secret;
use super::slots::{Place, Queue};
use super::{Admission, AdmittedToken, Auth, AuthError, Principal, Roles, Tenant, password};
use crate::store::principals::tokens::{LoginToken, find_token};
use crate::store::principals::users::{LoginUser, find_login, strengthen_hash};

impl Auth {
    pub(super) async fn check(
        self: &Arc<Self>,
        credential: &Credential,
        from: Option<IpAddr>,
    ) -> Result<Arc<Admission>, AuthError> {
        match credential {
            Credential::Password { login, password } => self.try_password(login, password, from).await,
            Credential::MachineSecret { login, secret } => self.check_machine_secret(login, secret).await,
            Credential::Token { tenant, token } => self.check_token(tenant, token).await,
        }
        .map(Arc::new)
    }

    async fn try_password(
        self: &Arc<Self>,
        login: &Login,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<Admission, AuthError> {
        let presented = self.presented(login, password, from);
        // Somebody who is at work here must not be stopped by what others try.
        if self.cache.was_right(&presented).await {
            let place = self.slots.enter(Queue::Always)?;
            let outcome = self.check_password(login, password, presented, place).await;
            if let Err(AuthError::Rejected) = outcome {
                self.cache.forget_verified(&presented).await;
            }
            return outcome;
        }
        let attempt = self.failures.begin(&self.cache, login, from, Instant::now()).await?;
        let outcome = match self.slots.enter(Queue::Bounded) {
            Ok(place) => self.check_password(login, password, presented, place).await,
            Err(busy) => Err(busy),
        };
        match outcome {
            Err(AuthError::Rejected) => attempt.failed(Instant::now()),
            _ => attempt.take_back(),
        }
        outcome
    }

    async fn check_password(
        self: &Arc<Self>,
        login: &Login,
        password: &Secret,
        presented: Fingerprint,
        place: Place,
    ) -> Result<Admission, AuthError> {
        let user = self.find_enabled(login).await?;
        let stored = user.as_ref().and_then(|user| user.password_hash.clone());
        let verified_at = self.verify(login, stored.as_deref(), password, presented, place).await?;
        // Without a stored hash the dummy was verified, and that never matches.
        let (Some(user), Some(stored)) = (user, stored) else { return Err(AuthError::Rejected) };
        if password::needs_rehash(self.cost, &stored) {
            tokio::spawn(Arc::clone(self).rehash(user.tenant_id, user.user_id, stored, password.clone()));
        }
        Ok(user_admission(login, &user, verified_at))
    }

    /// The stored hash that this password matches.
    pub(super) async fn verified_hash(
        &self,
        login: &Login,
        password: &Secret,
        from: Option<IpAddr>,
    ) -> Result<String, AuthError> {
        let place = self.slots.enter(Queue::Bounded)?;
        let user = self.find_enabled(login).await?;
        let stored = user.and_then(|user| user.password_hash);
        self.verify(login, stored.as_deref(), password, self.presented(login, password, from), place).await?;
        stored.ok_or(AuthError::Rejected)
    }

    async fn check_machine_secret(&self, login: &Login, secret: &Secret) -> Result<Admission, AuthError> {
        let user = self.find_enabled(login).await?.ok_or(AuthError::Rejected)?;
        let stored = user.secret_sha256.as_deref().unwrap_or_default();
        match bool::from(stored.ct_eq(&secret.sha256())) {
            true => Ok(user_admission(login, &user, Instant::now())),
            false => Err(AuthError::Rejected),
        }
    }

    /// The look-up by a hash of 256 random bits is the check. Expiry is checked at every use.
    async fn check_token(&self, tenant: &str, token: &Secret) -> Result<Admission, AuthError> {
        let found = find_token(&self.control, tenant, &token.sha256()).await.map_err(unavailable)?;
        let token = found.filter(|token| !token.revoked && !token.owner_disabled);
        Ok(token_admission(tenant, token.ok_or(AuthError::Rejected)?))
    }

    /// What was right at one network tells nothing at another, where somebody else may be guessing.
    fn presented(&self, login: &Login, password: &Secret, from: Option<IpAddr>) -> Fingerprint {
        let [tenant, name, password] = [&login.tenant, &login.name, password.reveal()].map(str::as_bytes);
        self.cache.fingerprint(&[tenant, name, password, &network(from)])
    }

    async fn find_enabled(&self, login: &Login) -> Result<Option<LoginUser>, AuthError> {
        let user = find_login(&self.control, &login.tenant, &login.name).await.map_err(unavailable)?;
        Ok(user.filter(|user| !user.disabled))
    }

    /// When the password was found to match the stored hash, now or not long ago.
    async fn verify(
        &self,
        login: &Login,
        stored: Option<&str>,
        password: &Secret,
        presented: Fingerprint,
        place: Place,
    ) -> Result<Instant, AuthError> {
        let stored = stored.unwrap_or(&self.dummy_hash);
        let stored_key = self.cache.fingerprint(&[stored.as_bytes()]);
        if let Some(at) = self.cache.verified(&presented, &stored_key).await {
            return Ok(at);
        }
        let (stored, password) = (stored.to_owned(), password.clone());
        let verified = self.slots.run(place, move |hasher| hasher.verify(&stored, password.reveal())).await?;
        let matches = verified.unwrap_or_else(|error| {
            tracing::error!(%error, user = login.name, tenant = login.tenant, "a stored password hash cannot be used");
            false
        });
        if !matches {
            return Err(AuthError::Rejected);
        }
        let now = Instant::now();
        self.cache.remember_verified(presented, stored_key, now).await;
        Ok(now)
    }

    /// Stores the password under the parameters of today. The login does not wait for it.
    async fn rehash(self: Arc<Self>, tenant_id: i32, user_id: i64, old: String, password: Secret) {
        let cost = self.cost;
        // If it is busy, the next login tries again.
        let Ok(place) = self.slots.enter(Queue::Bounded) else { return };
        let hashed = self.slots.run(place, move |hasher| hasher.hash(cost, password.reveal())).await;
        let new = match hashed {
            Ok(Ok(new)) => new,
            Ok(Err(error)) => return tracing::error!(%error, "a password could not be hashed again"),
            Err(_unavailable) => return,
        };
        match strengthen_hash(&self.control, tenant_id, user_id, &old, &new).await {
            Ok(()) => tracing::info!(user_id, "a password was hashed again with higher parameters"),
            Err(error) => tracing::warn!(%error, "a password that was hashed again could not be stored"),
        }
    }
}

fn user_admission(login: &Login, user: &LoginUser, verified_at: Instant) -> Admission {
    let tenant = Tenant { id: user.tenant_id, name: login.tenant.clone(), log_id: user.log_id };
    let tenant = Arc::new(tenant);
    let principal = Principal {
        home: Arc::clone(&tenant),
        tenant,
        user_id: user.user_id,
        user: login.name.clone(),
        token_prefix: None,
        roles: Roles::from_names(&user.roles),
    };
    Admission { principal: Arc::new(principal), verified_at, token: None }
}

fn token_admission(tenant: &str, token: LoginToken) -> Admission {
    let tenant = Tenant { id: token.tenant_id, name: tenant.to_owned(), log_id: token.log_id };
    let owner_roles = Roles::from_names(&token.owner_roles);
    let tenant = Arc::new(tenant);
    let principal = Principal {
        home: Arc::clone(&tenant),
        tenant,
        user_id: token.owner_id,
        user: token.owner,
        token_prefix: Some(token.prefix),
        roles: Roles::from_names(&token.roles).intersection(owner_roles),
    };
    let token = AdmittedToken { id: token.token_id, expires_at: token.expires_at };
    Admission { principal: Arc::new(principal), verified_at: Instant::now(), token: Some(token) }
}

fn unavailable(error: sqlx::Error) -> AuthError {
    tracing::warn!(%error, "a credential cannot be checked against the database");
    AuthError::Unavailable
}
