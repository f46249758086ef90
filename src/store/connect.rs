//! Who connects, with which session settings.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};

use super::Privileges;

/// Where the database is and how to become its three identities.
#[derive(Clone, Debug)]
pub struct Access {
    pub options: PgConnectOptions,
    pub login: Login,
}

/// How a session becomes owner, writer or reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Each identity has a login of its own (the embedded cluster, by peer authentication).
    PerRole,
    /// One login, which takes on a role by `SET ROLE` (a database given by URL).
    SetRole,
}

#[derive(Clone, Copy, Debug)]
pub struct PoolSizes {
    pub ingest: u32,
    pub query: u32,
    pub control: u32,
    /// How long a request may wait for a free connection before it is told that the database is busy.
    pub connect_timeout: Duration,
    pub query_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Owner,
    Writer,
    Reader,
}

impl Identity {
    const fn role(self) -> &'static str {
        match self {
            Self::Owner => "eventlogger_owner",
            Self::Writer => "eventlogger_writer",
            Self::Reader => "eventlogger_reader",
        }
    }

    const fn set_role(self) -> Option<&'static str> {
        match self {
            Self::Owner => None,
            Self::Writer => Some("SET ROLE eventlogger_writer"),
            Self::Reader => Some("SET ROLE eventlogger_reader"),
        }
    }
}

/// A pinged connection may have died since; a younger one is trusted, which saves a round trip.
const PING_AFTER_IDLE: Duration = Duration::from_secs(30);

impl Access {
    pub(super) fn owner(&self) -> PgConnectOptions {
        self.as_identity(Identity::Owner)
    }

    fn as_identity(&self, identity: Identity) -> PgConnectOptions {
        let options = self.options.clone().options([
            ("application_name", "eventlogger"),
            ("TimeZone", "UTC"),
            ("idle_in_transaction_session_timeout", "30s"),
            ("tcp_keepalives_idle", "30"),
            ("tcp_user_timeout", "30000"),
        ]);
        match self.login {
            Login::PerRole => options.username(identity.role()),
            Login::SetRole => options,
        }
    }

    pub(super) fn ingest_pool(&self, privileges: Privileges, sizes: PoolSizes) -> PgPool {
        let options = self.as_identity(Identity::Writer).options([
            ("synchronous_commit", "on"),
            ("lock_timeout", "10s"),
            // Whoever waited for the head must see the newest one; the stricter levels fail instead.
            ("default_transaction_isolation", "read committed"),
            ("jit", "off"),
        ]);
        self.pool(Identity::Writer, privileges, sizes.ingest, sizes, options)
    }

    pub(super) fn query_pool(&self, privileges: Privileges, sizes: PoolSizes) -> PgPool {
        let options = self.reader(sizes).options([
            // Generic plans cannot see how common a value is, nor prune partitions while planning.
            ("plan_cache_mode", "force_custom_plan"),
            ("work_mem", "32MB"),
            // An index gives the order. Of a log that has just grown the planner knows nothing yet, and would read and
            // sort all of it for each page.
            ("enable_sort", "off"),
            ("enable_incremental_sort", "off"),
        ]);
        self.pool(Identity::Reader, privileges, sizes.query, sizes, options)
    }

    /// For checks of whole logs, one at a time: a session that reads, and one that settles doubts meanwhile.
    pub(super) fn check_pool(&self, privileges: Privileges, sizes: PoolSizes) -> PgPool {
        self.pool(Identity::Reader, privileges, 2, sizes, self.reader(sizes))
    }

    fn reader(&self, sizes: PoolSizes) -> PgConnectOptions {
        let timeout = sizes.query_timeout.as_millis().to_string();
        self.as_identity(Identity::Reader).options([
            ("default_transaction_read_only", "on"),
            ("statement_timeout", timeout.as_str()),
            ("jit", "off"),
        ])
    }

    pub(super) fn control_pool(&self, privileges: Privileges, sizes: PoolSizes) -> PgPool {
        let timeout = sizes.query_timeout.as_millis().to_string();
        let options = self.owner().options([
            ("statement_timeout", timeout.as_str()),
            ("lock_timeout", "2s"),
            // Here, too, whoever waited for a lock must see what it waited for.
            ("default_transaction_isolation", "read committed"),
        ]);
        self.pool(Identity::Owner, privileges, sizes.control, sizes, options)
    }

    fn pool(
        &self,
        identity: Identity,
        privileges: Privileges,
        size: u32,
        sizes: PoolSizes,
        options: PgConnectOptions,
    ) -> PgPool {
        let role = match (self.login, privileges) {
            (Login::SetRole, Privileges::Separate) => identity.set_role(),
            _ => None,
        };
        PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(sizes.connect_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > PING_AFTER_IDLE {
                        sqlx::Connection::ping(connection).await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if let Some(statement) = role {
                        connection.execute(statement).await?;
                    }
                    if identity == Identity::Writer {
                        connection.execute(super::turn::PREPARE).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(options)
    }
}
