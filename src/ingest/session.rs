//! A lane's connection to the database, for one transaction.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::time::timeout;

/// How long one step of a transaction may take. It bounds what a database host that has vanished, or is frozen,
/// can do to a lane; locks are given up earlier, by `lock_timeout`.
const STEP_TIMEOUT: Duration = Duration::from_mins(1);

/// Goes back to the pool only by [`Session::release`], once its transaction has ended. Whatever else happens
/// to it, its socket is closed: a connection whose operation was cut short may be in the middle of a transaction,
/// and what its next user writes would vanish with it.
pub(super) struct Session(Option<PoolConnection<Postgres>>);

impl Session {
    pub(super) async fn open(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    pub(super) fn release(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Session {
    type Target = PoolConnection<Postgres>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().unwrap_or_else(|| unreachable!("released sessions are consumed"))
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().unwrap_or_else(|| unreachable!("released sessions are consumed"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// One step of a transaction on a [`Session`], which must not be released if this fails.
pub(super) async fn step<T, E: From<sqlx::Error>>(
    operation: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(STEP_TIMEOUT, operation)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into()))
}
