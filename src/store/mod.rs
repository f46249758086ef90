//! All SQL of the service: one statement, one function. The only exception is `query::compile`.

pub mod append;
pub mod bootstrap;
pub mod checkpoints;
mod connect;
pub mod events;
pub mod evidence;
pub mod idempotency;
pub mod log;
pub mod log_keys;
pub mod partitions;
pub mod principals;
mod read;
pub mod redactions;
pub mod samples;
pub mod scrub;
mod search;
pub mod service_events;
pub mod settings;
pub mod tree;
pub mod turn;
mod values;
pub mod verify;

use std::fmt;

use sqlx::PgPool;

pub use connect::{Access, Login, PoolSizes};
pub use read::{bounded, living_session};
pub use values::POSTGRES_EPOCH_MICROS;

/// Small pools, so that neither a slow query nor a flood of writes can starve the others.
#[derive(Clone, Debug)]
pub struct Store {
    /// As the writer: INSERT events and tiles, UPDATE heads.
    pub ingest: PgPool,
    /// As the reader: SELECT only, read-only transactions, bounded statements.
    pub query: PgPool,
    /// As the reader, for checks of whole logs, which go on for long; connected only while there are some.
    pub checks: PgPool,
    /// As the owner: users, tokens, settings, partitions, maintenance.
    pub control: PgPool,
    pub facts: Facts,
}

/// What start-up found out about the database.
#[derive(Clone, Debug)]
pub struct Facts {
    pub server_version: String,
    pub privileges: Privileges,
    /// Durability settings that are off; empty unless start-up was told to accept that.
    pub volatile: Vec<String>,
}

/// How the three identities are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileges {
    /// Owner, writer and reader are different roles.
    Separate,
    /// Everything runs as the owner, because the login may not make roles.
    Single,
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Separate => "separate",
            Self::Single => "single",
        })
    }
}

/// Why the database cannot be used. The texts are for operators and say what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot connect to PostgreSQL: {0}")]
    Connect(#[source] sqlx::Error),
    #[error(
        "PostgreSQL {found} is too old: EventLogger needs version 15 or newer. Upgrade the server, or leave database.url empty to use an embedded cluster"
    )]
    TooOld { found: String },
    #[error(
        "{} off in the database: an acknowledged event could be lost. Switch it on, or accept the risk with database.unsafe_allow_volatile = true",
        .0.join(", ")
    )]
    Volatile(Vec<String>),
    #[error(
        "the database folds case only in ASCII ('Ж' ILIKE 'ж' is false), so searches would miss matches. Create it with LC_CTYPE 'C.UTF-8' or another UTF-8 locale: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8' LC_CTYPE 'C.UTF-8'"
    )]
    Ctype,
    #[error(
        "this database holds no logs, or this login may not read them (pg_read_all_data lets it): {source}"
    )]
    Schemaless { source: sqlx::Error },
    #[error(
        "the database has version {found} of the schema, and this program knows {known}. Use the program that serves \
         it, or bring the database up to date first: eventlogger migrate"
    )]
    OtherSchema { found: i64, known: i64 },
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("cannot prepare the database ({step}): {source}")]
    Prepare { step: &'static str, source: sqlx::Error },
}

impl Store {
    fn new(access: &Access, pools: PoolSizes, facts: Facts) -> Self {
        Self {
            ingest: access.ingest_pool(facts.privileges, pools),
            query: access.query_pool(facts.privileges, pools),
            checks: access.check_pool(facts.privileges, pools),
            control: access.control_pool(facts.privileges, pools),
            facts,
        }
    }

    /// Closes all connections, after the statements under way.
    pub async fn close(&self) {
        tokio::join!(self.ingest.close(), self.query.close(), self.checks.close(), self.control.close());
    }
}
