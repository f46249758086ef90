//! Reads that get along with a database that was away, and that end even if it stands still.
//!
//! After a restart of the database every idle session of a pool is dead, and each is found out by the statement
//! that it fails. And a session's `statement_timeout` is the server's to enforce: one that is frozen, or behind
//! a network that swallows packets, sends neither rows nor an error.

use std::io;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgPool, Postgres};
use tokio::time::timeout;

/// Runs a statement, again if its session turns out to be dead, and waits as long as getting a session and the
/// statement may take. Only for single statements that read: one that writes must be neither repeated nor dropped.
pub(super) async fn read<T, Statement>(
    pool: &PgPool,
    statement: impl Fn() -> Statement,
) -> Result<T, sqlx::Error>
where
    Statement: Future<Output = Result<T, sqlx::Error>>,
{
    bounded(pool, on_a_living_session(pool.options().get_max_connections(), statement)).await
}

/// A session for several statements in a row, which answered just now.
pub async fn living_session(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    read(pool, async || {
        let mut session = pool.acquire().await?;
        session.ping().await?;
        Ok(session)
    })
    .await
}

/// Waits for reads as long as getting a session and one statement may take.
pub async fn bounded<T, E: From<sqlx::Error>>(
    pool: &PgPool,
    reads: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match statement_timeout(pool) {
        None => reads.await,
        Some(limit) => timeout(pool.options().get_acquire_timeout() + limit, reads)
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into())),
    }
}

/// A session that failed leaves its pool, so at most `sessions` of them can be dead.
async fn on_a_living_session<T, Statement>(
    sessions: u32,
    statement: impl Fn() -> Statement,
) -> Result<T, sqlx::Error>
where
    Statement: Future<Output = Result<T, sqlx::Error>>,
{
    for _ in 0..sessions {
        match statement().await {
            Err(error) if is_dead_session(&error) => {}
            done => return done,
        }
    }
    statement().await
}

fn is_dead_session(error: &sqlx::Error) -> bool {
    const ADMIN_SHUTDOWN: &str = "57P01";
    const CRASH_SHUTDOWN: &str = "57P02";
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some(ADMIN_SHUTDOWN | CRASH_SHUTDOWN))
        }
        _ => false,
    }
}

/// What `connect` gave the pool's sessions, in milliseconds.
fn statement_timeout(pool: &PgPool) -> Option<Duration> {
    let options = pool.connect_options();
    let (_, rest) = options.get_options()?.split_once("statement_timeout=")?;
    let milliseconds = rest.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use super::*;

    fn pool(settings: &[(&str, &str)]) -> PgPool {
        let options = PgConnectOptions::new_without_pgpass().options(settings.iter().copied());
        PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_millis(1))
            .connect_lazy_with(options)
    }

    fn broken() -> sqlx::Error {
        sqlx::Error::Io(io::ErrorKind::BrokenPipe.into())
    }

    #[tokio::test]
    async fn the_sessions_own_limit_is_found_among_their_settings() {
        let settings = [("jit", "off"), ("statement_timeout", "2500"), ("work_mem", "32MB")];
        assert_eq!(statement_timeout(&pool(&settings)), Some(Duration::from_millis(2500)));
        assert_eq!(statement_timeout(&pool(&[("jit", "off")])), None);
    }

    #[tokio::test]
    async fn a_statement_that_is_never_answered_ends_as_a_broken_connection() {
        let pool = pool(&[("statement_timeout", "1")]);
        let error = read(&pool, std::future::pending::<Result<(), _>>).await.unwrap_err();
        assert!(matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn all_sessions_may_be_dead_but_not_the_one_after_them() {
        let tries = Cell::new(0);
        let alive_after = async |dead| {
            tries.set(0);
            read(&pool(&[]), async || {
                tries.set(tries.get() + 1);
                if tries.get() > dead { Ok(()) } else { Err(broken()) }
            })
            .await
        };
        assert!(alive_after(2).await.is_ok());
        assert!(alive_after(3).await.is_err());
        assert_eq!(tries.get(), 3);
    }

    #[tokio::test]
    async fn a_statement_at_fault_is_not_repeated() {
        let tries = Cell::new(0);
        let result: Result<(), _> = read(&pool(&[]), async || {
            tries.set(tries.get() + 1);
            Err(sqlx::Error::RowNotFound)
        })
        .await;
        assert!(result.is_err());
        assert_eq!(tries.get(), 1);
    }
}
