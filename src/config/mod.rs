//! Configuration: compiled-in defaults, then a file, then the environment.
//!
//! Every value is checked where it enters, so that a fault names the file or variable it came from. What
//! [`Config::load`] returns needs no further checking.

mod client;
mod layers;
mod print;
mod rules;
mod secret;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::server::address::ListenAddress;
use crate::server::forwarded::TrustedProxy;
pub use client::Client;
use layers::{Environment, Setting};
pub use secret::Secret;

/// Documents every key; `layers` and `rules` take the known keys and their types from it.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The configuration in effect. Fields are documented in `config/default.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Config {
    pub data_dir: PathBuf,
    pub admin_user: String,
    pub admin_password: Secret,
    pub server: Server,
    pub database: Database,
    pub ingest: Ingest,
    pub integrity: Integrity,
    pub limits: Limits,
    pub auth: Auth,
    pub access: Access,
    pub log: Log,
    pub partitions: Partitions,
    /// A folder of this user alone, from `XDG_RUNTIME_DIR`.
    #[serde(skip)]
    pub runtime_dir: Option<PathBuf>,
    #[serde(skip)]
    origins: BTreeMap<String, Origin>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Server {
    pub listen: Vec<ListenAddress>,
    #[serde(with = "optional_path")]
    pub tls_certificate: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub tls_key: Option<PathBuf>,
    pub trusted_proxies: Vec<TrustedProxy>,
    pub cors_origins: Vec<String>,
    #[serde(rename = "head_timeout_seconds", with = "seconds")]
    pub head_timeout: Duration,
    #[serde(rename = "request_timeout_seconds", with = "seconds")]
    pub request_timeout: Duration,
    #[serde(rename = "write_timeout_seconds", with = "seconds")]
    pub write_timeout: Duration,
    #[serde(rename = "idle_timeout_seconds", with = "seconds")]
    pub idle_timeout: Duration,
    pub connections: usize,
    pub connections_per_address: usize,
    #[serde(rename = "shutdown_grace_seconds", with = "seconds")]
    pub shutdown_grace: Duration,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Database {
    /// Empty: the service runs its own cluster.
    pub url: Secret,
    /// Empty: the one in `url`, if any.
    pub password: Secret,
    #[serde(with = "optional_path")]
    pub pg_bin: Option<PathBuf>,
    /// `name=value` pairs; both sides are non-empty.
    pub cluster_options: Vec<String>,
    pub ingest_connections: u32,
    pub query_connections: u32,
    pub control_connections: u32,
    #[serde(rename = "connect_timeout_seconds", with = "seconds")]
    pub connect_timeout: Duration,
    #[serde(rename = "query_timeout_seconds", with = "seconds")]
    pub query_timeout: Duration,
    pub unsafe_allow_volatile: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Ingest {
    pub queue_events_per_tenant: usize,
    pub queue_bytes_per_tenant: usize,
    pub queue_bytes: usize,
    #[serde(rename = "answer_timeout_seconds", with = "seconds")]
    pub answer_timeout: Duration,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Integrity {
    /// Empty: the one that the database has, or a random one.
    pub origin: String,
    /// Empty: the one in `<data_dir>/signing-key`.
    pub signing_key: Secret,
    #[serde(with = "optional_path")]
    pub second_latch_dir: Option<PathBuf>,
    /// Zero: none.
    #[serde(rename = "heartbeat_seconds", with = "seconds")]
    pub heartbeat: Duration,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Limits {
    pub event_body_bytes: usize,
    pub batch_body_bytes: usize,
    pub query_body_bytes: usize,
    pub bodies_bytes: usize,
    pub body_min_bytes_per_second: u64,
    pub batch_events: usize,
    pub url_bytes: usize,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Auth {
    #[serde(rename = "cache_seconds", with = "seconds")]
    pub cache: Duration,
    /// 0: half of the cores, at least one.
    pub argon2_slots: usize,
    pub argon2_queue: usize,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Access {
    pub record: Vec<AccessKind>,
}

/// Events of the service itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessKind {
    Changes,
    Denials,
    Failures,
    Lifecycle,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Json,
    Pretty,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Partitions {
    pub ahead: i32,
}

/// Where a value that is not the default came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    Variable(String),
    /// A secret's file, and the variable that named it.
    SecretFile(PathBuf, String),
    /// Chosen for the user who runs the program.
    User,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::SecretFile(path, variable) => {
                write!(f, "file {} (environment variable {variable})", path.display())
            }
            Self::User => f.write_str("default for this user"),
        }
    }
}

/// Something wrong with the configuration, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    origin: Option<Origin>,
    detail: String,
}

/// All faults found, so that one round of corrections is enough.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl Config {
    /// Defaults, then `file`, then this process's environment.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_from(file, std::env::vars_os())
    }

    /// As [`Config::load`], with the environment given.
    pub fn load_from(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let known = layers::known()?;
        let environment = Environment::new(environment);
        let mut faults = Vec::new();
        let mut settings = Vec::new();
        if let Some(path) = file {
            layers::file(path, &known, &mut settings, &mut faults);
        }
        environment.settings(&known, &mut settings, &mut faults);
        if !faults.is_empty() {
            return Err(ConfigError(faults));
        }
        let mut config = Self::merge(settings)?;
        config.complete(&environment)?;
        rules::check_together(&config)?;
        Ok(config)
    }

    /// Where the value of `key` (such as `server.listen`) came from; `None` for a compiled-in default.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    fn merge(settings: Vec<Setting>) -> Result<Self, ConfigError> {
        let mut builder =
            config::Config::builder().add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
        let mut origins = BTreeMap::new();
        for Setting { key, value, origin } in settings {
            builder = builder.set_override(&key, value).map_err(unexpected)?;
            origins.insert(key, origin);
        }
        let config: Self = builder.build().and_then(config::Config::try_deserialize).map_err(unexpected)?;
        Ok(Self { origins, ..config })
    }

    /// Fills in what depends on the machine and the user.
    fn complete(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            self.data_dir = environment.data_dir().ok_or_else(|| {
                fault(None, "there is no home folder to keep data in; set data_dir or EVENTLOGGER_DATA_DIR")
            })?;
            self.origins.insert("data_dir".into(), Origin::User);
        }
        let absolute = std::path::absolute(&self.data_dir);
        self.data_dir = absolute.map_err(|error| {
            fault(self.origin("data_dir").cloned(), format!("data_dir cannot be resolved: {error}"))
        })?;
        self.runtime_dir = environment.runtime_dir();
        if self.database.pg_bin.is_none()
            && let Some(folder) = environment.pg_bin()
        {
            self.database.pg_bin = Some(folder);
            self.origins.insert("database.pg_bin".into(), Origin::Variable("PG_BIN".into()));
        }
        Ok(())
    }
}

fn fault(origin: Option<Origin>, detail: impl Into<String>) -> ConfigError {
    ConfigError(vec![Fault { origin, detail: detail.into() }])
}

/// The layers have been checked against the defaults' types; what is left is a mistake of ours.
fn unexpected(error: config::ConfigError) -> ConfigError {
    fault(None, error.to_string())
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

mod optional_path {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.clone().unwrap_or_default().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }
}

#[cfg(test)]
mod tests;
