//! Changes of users, tokens and tenants while the service runs.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::timeout;

use super::password::PasswordError;
use super::secret::Secret;
use super::slots::Queue;
use super::{Auth, AuthError, IssuedLogin, Login, NewLogin};
use crate::store::principals::users::replace_password;
use crate::store::principals::{Author, ChangeError};

/// Longer than a change can wait for a session, for the changes before it, and for its statements.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("it is not known whether the change was made")]
    InDoubt,
}

impl Auth {
    /// For reading what there is.
    pub fn control(&self) -> &PgPool {
        &self.control
    }

    /// Makes a change in a task that nothing cancels. It takes effect here before this returns, and within
    /// about a second in other instances.
    pub async fn change<T, Changing>(
        self: &Arc<Self>,
        change: impl FnOnce(PgPool) -> Changing + Send + 'static,
    ) -> Result<T, AccountError>
    where
        T: Send + 'static,
        Changing: Future<Output = Result<T, ChangeError>> + Send,
    {
        let auth = Arc::clone(self);
        let task = tokio::spawn(async move {
            let outcome = change(auth.control.clone()).await;
            // A commit whose answer was lost may have happened.
            if matches!(outcome, Ok(_) | Err(ChangeError::Database(_))) {
                auth.forget();
            }
            outcome
        });
        match timeout(CHANGE_TIMEOUT, task).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(stopped)) => {
                tracing::error!(error = %stopped, "a change of users or tokens did not end");
                Err(AccountError::InDoubt)
            }
            Err(_) => Err(AccountError::InDoubt),
        }
    }

    /// Hashes a password where logins are checked, so that neither can take the machine.
    pub async fn issue(&self, login: NewLogin) -> Result<IssuedLogin, AccountError> {
        let cost = self.cost;
        match login {
            NewLogin::MachineSecret => Ok(login.issue(cost)?),
            _ => {
                let place = self.slots.enter(Queue::Bounded)?;
                Ok(self.slots.run(place, move |hasher| login.issue_with(cost, hasher)).await??)
            }
        }
    }

    /// For those who know the password of today. `Rejected` if it is another.
    pub async fn change_own_password(
        self: &Arc<Self>,
        author: &Author,
        login: &Login,
        current: &Secret,
        new: Secret,
    ) -> Result<(), AccountError> {
        self.verified_hash(login, current, author.ip).await?;
        let issued = Arc::new(self.issue(NewLogin::Password(new)).await?.stored);
        // The hash can be replaced meanwhile by a stronger one of the same password; that happens once.
        for _ in 0..2 {
            let hash = self.verified_hash(login, current, author.ip).await?;
            let (author, login, new) = (author.clone(), login.clone(), Arc::clone(&issued));
            let change = async move |pool: PgPool| {
                replace_password(&pool, &author, &login.tenant, &login.name, &hash, &new).await
            };
            match self.change(change).await {
                Err(AccountError::Change(ChangeError::CredentialChanged)) => {}
                ended => return ended,
            }
        }
        Err(ChangeError::CredentialChanged.into())
    }
}
