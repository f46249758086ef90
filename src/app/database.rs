//! Opening the database that the configuration means.

use std::fs;
use std::io::{self, Write};
use std::iter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use tracing::info;

use super::AppError;
use crate::auth::{self, Cost, FirstUser};
use crate::config::Config;
use crate::integrity::{self, Integrity, KeySource};
use crate::postgres::{self, Cluster, ClusterError, OWNER, SUPERUSER};
use crate::store::bootstrap::{self, DATABASE, OpenOptions};
use crate::store::{Access, Login, PoolSizes, Store};

/// An open store, and the cluster under it if this process runs one.
pub struct Database {
    pub store: Store,
    pub cluster: Option<Cluster>,
}

impl Database {
    /// Closes connections, then stops the cluster.
    pub async fn close(self) {
        self.store.close().await;
        self.stop_cluster().await;
    }

    /// Ends whatever sessions are left.
    pub async fn stop_cluster(self) {
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
    }
}

/// What a database is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The service's cluster must be its own: another service's would stop with that.
    Serving,
    Command,
    /// Nothing is to be changed by looking at it.
    Looking,
}

/// For commands: the database by URL; else the embedded cluster, a running service's or one started here.
pub async fn open_store(config: &Config) -> Result<Database, AppError> {
    open(config, Purpose::Command).await
}

/// The same for commands that only read: a database of another version is refused, not migrated.
pub async fn open_store_as_it_is(config: &Config) -> Result<Database, AppError> {
    open(config, Purpose::Looking).await
}

pub(super) async fn open_to_serve(config: &Config) -> Result<Database, AppError> {
    open(config, Purpose::Serving).await
}

async fn open(config: &Config, purpose: Purpose) -> Result<Database, AppError> {
    let (access, cluster) = reach(config, purpose).await?;
    let store = match purpose {
        Purpose::Looking => bootstrap::open_as_it_is(&access, open_options(config)).await?,
        Purpose::Serving | Purpose::Command => bootstrap::open(&access, open_options(config)).await?,
    };
    Ok(Database { store, cluster })
}

/// The way to the database, and the cluster if it was started for that.
async fn reach(config: &Config, purpose: Purpose) -> Result<(Access, Option<Cluster>), AppError> {
    if !config.database.url.is_empty() {
        return Ok((Access { options: external(config)?, login: Login::SetRole }, None));
    }
    let settings = cluster_settings(config);
    let (cluster, options) = match Cluster::start(settings.clone()).await {
        Ok(cluster) => {
            if purpose != Purpose::Looking {
                bootstrap::prepare_cluster(&cluster.connect_options(SUPERUSER, "postgres")).await?;
            }
            let options = cluster.connect_options(OWNER, DATABASE);
            info!(version = cluster.version(), pid = cluster.pid(), "the embedded PostgreSQL runs");
            (Some(cluster), options)
        }
        Err(ClusterError::InUse { .. }) if purpose != Purpose::Serving => {
            (None, postgres::connect_options(&settings, OWNER, DATABASE)?)
        }
        Err(error) => return Err(error.into()),
    };
    Ok((Access { options, login: Login::PerRole }, cluster))
}

/// For commands: what signs the logs of the database. Beside a running service its latch is only read.
pub async fn open_integrity(store: &Store, config: &Config) -> Result<Integrity, AppError> {
    integrity(store, config, true).await
}

pub(super) async fn integrity_to_serve(store: &Store, config: &Config) -> Result<Integrity, AppError> {
    integrity(store, config, false).await
}

async fn integrity(store: &Store, config: &Config, may_join: bool) -> Result<Integrity, AppError> {
    let key = match config.integrity.signing_key.is_empty() {
        true => KeySource::File(config.data_dir.join("signing-key")),
        false => KeySource::Given(config.integrity.signing_key.reveal().to_owned().into()),
    };
    let own_folder = config.data_dir.join("latch");
    let settings = integrity::Settings {
        origin: config.integrity.origin.clone(),
        key,
        next_key: config.data_dir.join("signing-key.next"),
        latch_folders: iter::once(own_folder).chain(config.integrity.second_latch_dir.clone()).collect(),
        may_join,
    };
    Ok(Integrity::open(store.clone(), settings).await?)
}

/// Makes the first user if there is none. A generated password goes into `<data_dir>/admin-password`.
pub async fn ensure_first_user(store: &Store, config: &Config) -> Result<(), AppError> {
    let password = Some(config.admin_password.reveal()).filter(|password| !password.is_empty());
    match auth::ensure_first_user(&store.control, Cost::default(), &config.admin_user, password).await? {
        FirstUser::Exists => {
            if password.is_some() {
                info!("there are users already; the configured admin password is ignored");
            }
        }
        FirstUser::Created { generated: None } => info!(user = config.admin_user, "made the first user"),
        FirstUser::Created { generated: Some(secret) } => {
            let file = config.data_dir.join("admin-password");
            write_secret(&file, secret.reveal())
                .map_err(|source| AppError::SecretFile { file: file.clone(), source })?;
            info!(user = config.admin_user, file = %file.display(), "made the first user; its password is in {}", file.display());
        }
    }
    Ok(())
}

/// Into a file of its own under another name first: an older file could be open to others, or be half of one.
fn write_secret(file: &Path, secret: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = file.with_extension("new");
    if let Err(error) = fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut output = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(output, "{secret}")?;
    output.sync_all()?;
    fs::rename(unfinished, file)
}

fn external(config: &Config) -> Result<PgConnectOptions, AppError> {
    let options = PgConnectOptions::from_str(config.database.url.reveal())
        .map_err(|error| AppError::Url(error.to_string()))?;
    Ok(match config.database.password.reveal() {
        "" => options,
        password => options.password(password),
    })
}

fn cluster_settings(config: &Config) -> postgres::Settings {
    let mut settings = postgres::Settings::new(&config.data_dir);
    settings.bin_dir.clone_from(&config.database.pg_bin);
    settings.runtime_dir.clone_from(&config.runtime_dir);
    settings.options = config
        .database
        .cluster_options
        .iter()
        .filter_map(|option| option.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    settings
}

fn open_options(config: &Config) -> OpenOptions {
    let database = &config.database;
    OpenOptions {
        pools: PoolSizes {
            ingest: database.ingest_connections,
            query: database.query_connections,
            control: database.control_connections,
            connect_timeout: database.connect_timeout,
            query_timeout: database.query_timeout,
        },
        partitions_ahead: config.partitions.ahead,
        allow_volatile: database.unsafe_allow_volatile,
    }
}
