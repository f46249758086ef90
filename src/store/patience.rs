//! Reads that end even if the database stands still.
//!
//! A session's `statement_timeout` is the server's to enforce. A server that is frozen, or behind a network
//! that swallows packets, sends neither rows nor an error, and a request would wait for as long as that lasts.

use std::io;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::timeout;

/// Waits for a session and for a statement as long as either may take, but no longer. Only for single statements
/// that read: one in a transaction, or one that writes, must never be dropped.
pub(super) async fn in_time<T>(
    pool: &PgPool,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match statement_timeout(pool) {
        None => statement.await,
        Some(limit) => timeout(pool.options().get_acquire_timeout() + limit, statement)
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))),
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
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use super::*;

    fn pool(settings: &[(&str, &str)]) -> PgPool {
        let options = PgConnectOptions::new_without_pgpass().options(settings.iter().copied());
        PgPoolOptions::new().acquire_timeout(Duration::from_millis(1)).connect_lazy_with(options)
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
        let error = in_time(&pool, std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert!(matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut));
    }
}
