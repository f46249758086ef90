//! Composition root: from a configuration to an open database, and to a running service.

mod database;
mod probe;
mod recording;
mod service;

pub use database::{Database, ensure_first_user, open_integrity, open_store, open_store_as_it_is};
pub use recording::{Recording, open_recording};
pub use service::{App, build};

use std::path::PathBuf;

use crate::auth::FirstUserError;
use crate::auth::password::PasswordError;
use crate::integrity::IntegrityError;
use crate::postgres::ClusterError;
use crate::server::listen::ListenError;
use crate::server::tls::TlsError;
use crate::store::StoreError;

/// Why the service cannot start. The texts say what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "database.url cannot be read: {0}. It looks like postgres://user@host:5432/name?sslmode=verify-full"
    )]
    Url(String),
    #[error("cannot read the settings of the installation: {0}")]
    Settings(#[source] sqlx::Error),
    #[error("the first user is made, but its password cannot be kept in {}: {source}. Set one: eventlogger user password NAME", file.display())]
    SecretFile { file: PathBuf, source: std::io::Error },
    #[error(transparent)]
    FirstUser(#[from] FirstUserError),
    #[error("the operating system gives no random numbers: {0}")]
    Random(#[source] getrandom::Error),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Integrity(#[from] IntegrityError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the HTTP server failed: {0}")]
    Serve(#[source] std::io::Error),
}
