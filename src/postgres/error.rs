use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "no PostgreSQL {needed} server that `{user}` can run was found (found: {found}; looked in {looked}). \
         Install the server, e.g. `apt install postgresql`, `dnf install postgresql-server`, \
         `brew install postgresql@17`, or set PG_BIN to the folder with `postgres` and `initdb`"
    )]
    NoBinaries { needed: String, user: String, found: String, looked: String },
    #[error(
        "the cluster in {} was made by PostgreSQL {made_by}, found only: {found}. Install PostgreSQL \
         {made_by}, set PG_BIN to the folder with its binaries, or upgrade the cluster with pg_upgrade",
        pg.display()
    )]
    OtherMajor { pg: PathBuf, made_by: String, found: String },
    #[error(
        "{} belongs to `{owner}` and this process runs as `{me}`: run it as `{owner}`, or choose another data directory \
         (EVENTLOGGER_DATA_DIR)",
        path.display()
    )]
    ForeignOwner { path: PathBuf, owner: String, me: String },
    #[error(
        "{path} belongs to root, as which PostgreSQL refuses to run: `chown -R postgres {path}`, if it is a cluster",
        path = pg.display()
    )]
    OwnedByRoot { pg: PathBuf },
    #[error(
        "PostgreSQL runs as `{user}`, which may not enter {closed}: choose another data directory \
         (EVENTLOGGER_DATA_DIR), such as /var/lib/eventlogger, or `chmod o+x {closed}`",
        closed = folder.display()
    )]
    Closed { folder: PathBuf, user: String },
    #[error("another instance{holder} runs the cluster in {}: stop it, or choose another data directory \
             (EVENTLOGGER_DATA_DIR)", data_dir.display())]
    InUse { data_dir: PathBuf, holder: String },
    #[error(
        "process {pid} is a postgres on {} and does not stop: end it, then start again",
        pg.display()
    )]
    Leftover { pid: u32, pg: PathBuf },
    #[error("user id {uid} has no name, which PostgreSQL needs: run as a user with an entry in /etc/passwd")]
    Nameless { uid: u32 },
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor a `nobody` for it: \
         `useradd --system postgres`"
    )]
    NoAccount,
    #[error("{} is not a PostgreSQL cluster (it has no PG_VERSION) and is not empty: move it away", pg.display())]
    NotACluster { pg: PathBuf },
    #[error("PostgreSQL setting `{name}`: {reason}")]
    Option { name: String, reason: &'static str },
    #[error("data directory {}: {reason}; choose another (EVENTLOGGER_DATA_DIR)", path.display())]
    Path { path: PathBuf, reason: &'static str },
    #[error("{program} failed ({status}): {output}")]
    Failed { program: &'static str, status: String, output: String },
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("PostgreSQL was stopped while it started")]
    Stopped,
}

impl ClusterError {
    pub(super) fn io(what: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { what, path: path.as_ref().to_owned(), source }
    }
}
