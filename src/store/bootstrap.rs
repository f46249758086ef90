//! From an empty cluster to a usable store: roles, database, migrations, privileges, partitions.
//! Every step may be run again, and by several instances at once.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tracing::{info, warn};

use super::{Access, Facts, PoolSizes, Privileges, Store, StoreError, partitions};

/// Serialises the whole of [`open`]: roles and grants have no lock of their own.
const BOOTSTRAP_LOCK: i64 = 0x4155_4531_0001;
const OLDEST_SERVER: i32 = 150_000;

pub const DATABASE: &str = "eventlogger";

#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    pub pools: PoolSizes,
    pub partitions_ahead: i32,
    pub allow_volatile: bool,
}

/// Makes roles and database in a new embedded cluster. `superuser` connects to its `postgres` database.
pub async fn prepare_cluster(superuser: &PgConnectOptions) -> Result<(), StoreError> {
    let prepare = |step| move |source| StoreError::Prepare { step, source };
    let mut connection = superuser.connect().await.map_err(StoreError::Connect)?;
    create_roles(&mut connection).await.map_err(prepare("roles"))?;
    for statement in [
        "ALTER ROLE eventlogger_owner LOGIN",
        "ALTER ROLE eventlogger_writer LOGIN",
        "ALTER ROLE eventlogger_reader LOGIN",
        "GRANT eventlogger_writer, eventlogger_reader, eventlogger_redactor TO eventlogger_owner",
    ] {
        connection.execute(statement).await.map_err(prepare("roles"))?;
    }
    let exists = sqlx::query_scalar!("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
        .fetch_optional(&mut connection)
        .await
        .map_err(prepare("database"))?;
    if exists.is_none() {
        connection
            .execute("CREATE DATABASE eventlogger OWNER eventlogger_owner")
            .await
            .map_err(prepare("database"))?;
    }
    connection.close().await.map_err(StoreError::Connect)
}

/// Checks, migrates and opens the database.
pub async fn open(access: &Access, options: OpenOptions) -> Result<Store, StoreError> {
    let mut owner = access.owner().connect().await.map_err(StoreError::Connect)?;
    let server_version = check_server(&mut owner).await?;
    let volatile = check_durability(&mut owner, options.allow_volatile).await?;

    lock(&mut owner, "SELECT pg_advisory_lock($1)").await?;
    let prepared = prepare_database(&mut owner, options).await;
    lock(&mut owner, "SELECT pg_advisory_unlock($1)").await?;
    let privileges = prepared?;
    owner.close().await.map_err(StoreError::Connect)?;

    Ok(Store::new(access, options.pools, Facts { server_version, privileges, volatile }))
}

/// Opens a database without changing anything in it, by any login that may read. It must have the schema that this
/// program knows.
pub async fn open_as_it_is(access: &Access, options: OpenOptions) -> Result<Store, StoreError> {
    let mut reader = access.owner().connect().await.map_err(StoreError::Connect)?;
    let server_version = check_server(&mut reader).await?;
    check_schema(&mut reader).await?;
    reader.close().await.map_err(StoreError::Connect)?;
    Ok(Store::new(
        access,
        options.pools,
        Facts { server_version, privileges: Privileges::Single, volatile: Vec::new() },
    ))
}

async fn check_schema(connection: &mut PgConnection) -> Result<(), StoreError> {
    let known = sqlx::migrate!();
    let known: Vec<_> =
        known.iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect();
    // The table is made by sqlx, not by the migrations, so the compiler knows nothing of it.
    let found: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(connection)
            .await
            .map_err(|source| StoreError::Schemaless { source })?;
    let last = |schema: &[(i64, Vec<u8>)]| schema.last().map_or(0, |(version, _)| *version);
    match found == known {
        true => Ok(()),
        false => Err(StoreError::OtherSchema { found: last(&found), known: last(&known) }),
    }
}

async fn prepare_database(owner: &mut PgConnection, options: OpenOptions) -> Result<Privileges, StoreError> {
    sqlx::migrate!().run(&mut *owner).await?;
    let privileges = match grant(owner).await {
        Ok(()) => Privileges::Separate,
        Err(source) if !lacks_privilege(&source) => {
            return Err(StoreError::Prepare { step: "privileges", source });
        }
        Err(reason) => {
            warn!(
                %reason,
                "the database login may not make roles, so everything runs as the owner; \
                 give it CREATEROLE to separate writer and reader"
            );
            Privileges::Single
        }
    };
    let made = partitions::ensure(owner, options.partitions_ahead)
        .await
        .map_err(|source| StoreError::Prepare { step: "partitions", source })?;
    if !made.is_empty() {
        info!(partitions = ?made, "made {} partitions", made.len());
    }
    Ok(privileges)
}

/// Anything else, such as a connection that broke, is no reason to go on as the owner.
fn lacks_privilege(error: &sqlx::Error) -> bool {
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE))
}

async fn lock(owner: &mut PgConnection, statement: &'static str) -> Result<(), StoreError> {
    sqlx::query(statement)
        .bind(BOOTSTRAP_LOCK)
        .execute(owner)
        .await
        .map_err(|source| StoreError::Prepare { step: "lock", source })?;
    Ok(())
}

async fn check_server(owner: &mut PgConnection) -> Result<String, StoreError> {
    let row = sqlx::query!(
        r#"SELECT current_setting('server_version_num')::int AS "number!", current_setting('server_version') AS "version!",
                  'Ж' ILIKE 'ж' AS "folds!""#
    )
    .fetch_one(owner)
    .await
    .map_err(StoreError::Connect)?;
    if row.number < OLDEST_SERVER {
        return Err(StoreError::TooOld { found: row.version });
    }
    if !row.folds {
        return Err(StoreError::Ctype);
    }
    Ok(row.version)
}

/// A 201 is a fact only if COMMIT means "on disk".
async fn check_durability(owner: &mut PgConnection, allow_volatile: bool) -> Result<Vec<String>, StoreError> {
    let off = sqlx::query_scalar!(
        r#"SELECT name AS "name!" FROM pg_settings
           WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name"#
    )
    .fetch_all(owner)
    .await
    .map_err(StoreError::Connect)?;
    if !off.is_empty() {
        if !allow_volatile {
            return Err(StoreError::Volatile(off));
        }
        warn!(settings = ?off, "UNSAFE: acknowledged events can be lost: {} off", off.join(", "));
    }
    Ok(off)
}

async fn create_roles(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for (role, create) in [
        ("eventlogger_owner", "CREATE ROLE eventlogger_owner"),
        ("eventlogger_writer", "CREATE ROLE eventlogger_writer"),
        ("eventlogger_reader", "CREATE ROLE eventlogger_reader"),
        ("eventlogger_redactor", "CREATE ROLE eventlogger_redactor"),
    ] {
        let exists = sqlx::query_scalar!("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
            .fetch_optional(&mut *connection)
            .await?;
        if exists.is_none() {
            connection.execute(create).await?;
        }
    }
    Ok(())
}

/// What each identity may do. All or nothing: in a transaction.
async fn grant(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = owner.begin().await?;
    create_roles(&mut transaction).await?;
    // From version 16 on, whoever makes a role is its member and still may not SET ROLE.
    let member = sqlx::query_scalar!(
        r#"SELECT pg_has_role(current_user, 'eventlogger_writer', needed)
              AND pg_has_role(current_user, 'eventlogger_reader', needed)
              AND pg_has_role(current_user, 'eventlogger_redactor', needed) AS "member!"
           FROM (SELECT CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) AS v (needed)"#
    )
    .fetch_one(&mut *transaction)
    .await?;
    if !member {
        transaction
            .execute("GRANT eventlogger_writer, eventlogger_reader, eventlogger_redactor TO CURRENT_USER")
            .await?;
    }
    for statement in GRANTS {
        transaction.execute(statement).await?;
    }
    transaction.commit().await
}

const GRANTS: [&str; 16] = [
    "REVOKE ALL ON settings, tenants, users, tokens, credential_revision, service_events, heads, events, tiles, \
     idempotency, redactions, log_keys, checkpoints FROM PUBLIC, eventlogger_writer, eventlogger_reader, \
     eventlogger_redactor",
    "REVOKE ALL ON FUNCTION ensure_event_partitions(int) FROM PUBLIC",
    "GRANT USAGE ON SCHEMA public TO eventlogger_writer, eventlogger_reader",
    "GRANT SELECT, UPDATE ON heads TO eventlogger_writer",
    "GRANT SELECT, INSERT ON events, tiles, idempotency, log_keys TO eventlogger_writer",
    "GRANT SELECT ON checkpoints TO eventlogger_writer",
    "GRANT SELECT ON tenants, heads, events, tiles, redactions, log_keys, checkpoints TO eventlogger_reader",
    // The redactor is whom the function of redaction runs as, and nobody logs in as. It can change what a redaction
    // erases, and neither an entry nor where it is. To be given a function it must be able to make one, for a moment.
    "GRANT CREATE ON SCHEMA public TO eventlogger_redactor",
    "ALTER FUNCTION redact_event OWNER TO eventlogger_redactor",
    "REVOKE CREATE ON SCHEMA public FROM eventlogger_redactor",
    "GRANT USAGE ON SCHEMA public TO eventlogger_redactor",
    "GRANT SELECT (tenant_id, seq, received_at, id, kind, redaction, idempotency_key, event_data), \
     UPDATE (redaction, payload, payload_salt, event_data, lossy, level, event_type, user_identity, \"timestamp\", \
             source, outcome, target, message, ip, correlation_id, recorded_by, idempotency_key, envelope_salt) \
     ON events TO eventlogger_redactor",
    "GRANT SELECT (tenant_id, key, principal_id, seq), UPDATE (salt, content_mac) ON idempotency \
     TO eventlogger_redactor",
    "GRANT SELECT (tenant_id, service_event_id), DELETE ON service_events TO eventlogger_redactor",
    "GRANT INSERT ON redactions TO eventlogger_redactor",
    "GRANT EXECUTE ON FUNCTION redact_event TO eventlogger_writer",
];
