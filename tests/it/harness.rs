//! One cluster per run, one database and one server per test.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventlogger::app::{self, App};
use eventlogger::auth;
use eventlogger::config::{Config, Secret};
use eventlogger::postgres::{Cluster, OWNER, SUPERUSER, Settings};
use eventlogger::store::Store;
use eventlogger::store::principals::{tokens, users};
use libtest_mimic::Trial;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgPool};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::http::Client;
use crate::{auditor, changes};

pub const ADMIN: &str = "admin";
pub const PASSWORD: &str = "correct horse battery staple";
/// Migrated, with nobody in it.
const EMPTY: &str = "eventlogger";
/// With the administrator in it.
const TEMPLATE: &str = "with_admin";

/// What all tests share. `None` inside when tests are only listed.
pub struct World {
    cluster: Option<SharedCluster>,
}

struct SharedCluster {
    runtime: Runtime,
    cluster: Mutex<Option<Cluster>>,
    superuser: PgConnectOptions,
    owner: PgConnectOptions,
    databases: AtomicU32,
    folder: TempDir,
}

impl World {
    pub fn start(only_listing: bool) -> Arc<Self> {
        let cluster = (!only_listing).then(SharedCluster::start);
        Arc::new(Self { cluster })
    }

    pub fn stop(&self) {
        let Some(shared) = &self.cluster else { return };
        let cluster = shared.cluster.lock().unwrap().take().expect("stopped once");
        shared.runtime.block_on(cluster.stop());
    }

    /// A test that gets a server of its own. When it has passed, its log is audited.
    pub fn trial<F, Test>(self: &Arc<Self>, name: &str, test: F) -> Trial
    where
        F: FnOnce(Arc<Server>) -> Test + Send + 'static,
        Test: Future<Output = ()>,
    {
        let world = Arc::clone(self);
        Trial::test(name.trim_start_matches("it::"), move || {
            runtime().block_on(async {
                let server = Arc::new(Server::start(&world, &[]).await);
                test(Arc::clone(&server)).await;
                server.finish().await;
            });
            Ok(())
        })
    }

    /// A test of the library on a migrated database with no tenant and no user in it.
    pub fn database_trial<F, Test>(self: &Arc<Self>, name: &str, test: F) -> Trial
    where
        F: FnOnce(PgPool) -> Test + Send + 'static,
        Test: Future<Output = ()>,
    {
        let world = Arc::clone(self);
        Trial::test(name.trim_start_matches("it::"), move || {
            runtime().block_on(async {
                let name = world.new_database(EMPTY).await;
                let pool = PgPool::connect_lazy_with(world.shared().owner.clone().database(&name));
                test(pool.clone()).await;
                pool.close().await;
            });
            Ok(())
        })
    }

    async fn new_database(&self, template: &str) -> String {
        let shared = self.shared();
        let name = format!("it_{}", shared.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = shared.superuser.connect().await.expect("the cluster");
        clone_database(&mut connection, template, &name).await;
        connection.close().await.expect("closing");
        name
    }

    fn shared(&self) -> &SharedCluster {
        self.cluster.as_ref().expect("tests run only when not listing")
    }
}

impl SharedCluster {
    fn start() -> Self {
        let folder =
            tempfile::Builder::new().prefix("eventlogger-it-").tempdir_in(fast_folder()).expect("a folder");
        // The cluster's user must be able to pass when the tests run as root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let runtime = runtime();
        let mut settings = Settings::new(folder.path().join("data"));
        settings.options = vec![("max_connections".into(), "300".into())];
        let (cluster, owner) = runtime.block_on(async {
            let cluster = Cluster::start(settings).await.expect("a cluster");
            let superuser = cluster.connect_options(SUPERUSER, "postgres");
            eventlogger::store::bootstrap::prepare_cluster(&superuser).await.expect("roles and database");
            let owner = cluster.connect_options(OWNER, EMPTY);
            make_templates(&superuser, &owner).await;
            (cluster, owner)
        });
        let superuser = cluster.connect_options(SUPERUSER, "postgres");
        Self {
            runtime,
            cluster: Mutex::new(Some(cluster)),
            superuser,
            owner,
            databases: AtomicU32::new(0),
            folder,
        }
    }
}

/// Migrates and makes the first user once, so that no test has to.
async fn make_templates(superuser: &PgConnectOptions, owner: &PgConnectOptions) {
    let folder = std::env::temp_dir();
    let database = app::open_store(&config(owner, EMPTY, &folder, &[])).await.expect("a migrated database");
    database.close().await;
    let mut connection = superuser.connect().await.expect("the cluster");
    clone_database(&mut connection, EMPTY, TEMPLATE).await;
    connection.close().await.expect("closing");
    let config = config(owner, TEMPLATE, &folder, &[]);
    let database = app::open_store(&config).await.expect("a migrated database");
    app::ensure_first_user(&database.store, &config).await.expect("a first user");
    // What making it left to be recorded would come into the log of each test that records changes.
    database.store.control.execute("TRUNCATE service_events").await.expect("an empty table");
    database.close().await;
}

/// Memory, if there is plenty: a database per test is a thousand files to sync, and no test here cuts the power.
fn fast_folder() -> PathBuf {
    const PLENTY_BYTES: u64 = 4 << 30;
    let memory = PathBuf::from("/dev/shm");
    match rustix::fs::statvfs(&memory) {
        Ok(found) if found.f_bavail * found.f_frsize >= PLENTY_BYTES => memory,
        _ => std::env::temp_dir(),
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// The configuration of a test's server; `extra` are environment variables.
fn config(
    owner: &PgConnectOptions,
    database: &str,
    data_dir: &std::path::Path,
    extra: &[(&str, &str)],
) -> Config {
    let url = format!(
        "postgres:///{database}?host={}&port={}&user={OWNER}",
        owner.get_socket().expect("a socket").display(),
        owner.get_port()
    );
    let environment = [
        ("EVENTLOGGER_DATABASE__URL", url.as_str()),
        ("EVENTLOGGER_DATA_DIR", data_dir.to_str().expect("UTF-8")),
        ("EVENTLOGGER_SERVER__LISTEN", "127.0.0.1:0"),
        ("EVENTLOGGER_ADMIN_USER", ADMIN),
        ("EVENTLOGGER_ADMIN_PASSWORD", PASSWORD),
        // Tests count what they record; those of the service's own events switch them on.
        ("EVENTLOGGER_ACCESS__RECORD", ""),
        ("EVENTLOGGER_DATABASE__QUERY_CONNECTIONS", "4"),
        ("EVENTLOGGER_DATABASE__INGEST_CONNECTIONS", "4"),
    ];
    let environment =
        environment.iter().chain(extra).map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load_from(None, environment).expect("a valid configuration")
}

/// A running service with a database of its own.
pub struct Server {
    pub client: Client,
    pub store: Store,
    /// As superuser, on this test's database: to look behind the service's back, or to break things.
    pub database: PgPool,
    pub config: Config,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    running: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Server {
    pub async fn start(world: &World, extra: &[(&str, &str)]) -> Self {
        let name = world.new_database(TEMPLATE).await;
        let shared = world.shared();
        let config = config(&shared.owner, &name, &shared.folder.path().join(&name), extra);
        let database = PgPool::connect_lazy_with(shared.superuser.clone().database(&name));
        Self::run(config, database).await
    }

    /// Another instance over the same database.
    pub async fn another_instance(&self) -> Self {
        self.another_instance_with(|_| {}).await
    }

    /// The same, configured otherwise. It has a data folder of its own with a copy of the key.
    pub async fn another_instance_with(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.config.clone();
        config.data_dir = self.folder_for_another();
        change(&mut config);
        Self::run(config, self.database.clone()).await
    }

    /// The same instance again, after it was stopped.
    pub async fn start_again(&self) -> Self {
        Self::run(self.config.clone(), self.database.clone()).await
    }

    /// A data folder with a copy of the key.
    pub fn folder_for_another(&self) -> PathBuf {
        let own = &self.config.data_dir;
        let folder = own.join(Uuid::now_v7().to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::copy(own.join("signing-key"), folder.join("signing-key")).expect("a key");
        folder
    }

    /// The same with a latch of its own, as on another machine; and with the signing key if it was copied there.
    pub async fn another_instance_elsewhere(&self, with_key: bool) -> Self {
        let folder = self.config.data_dir.with_extension("elsewhere");
        std::fs::create_dir_all(&folder).expect("a folder");
        if with_key {
            let key = self.config.data_dir.join("signing-key");
            std::fs::copy(key, folder.join("signing-key")).expect("a key");
        }
        self.another_instance_with(|config| config.data_dir = folder).await
    }

    /// The same with its key from the configuration.
    pub async fn another_instance_given(&self, key: &str) -> Self {
        let folder = self.config.data_dir.with_extension("given");
        let key = Secret::new(key.trim());
        self.another_instance_with(|config| {
            config.data_dir = folder;
            config.integrity.signing_key = key;
        })
        .await
    }

    async fn run(config: Config, database: PgPool) -> Self {
        let app: App = app::build(config.clone()).await.expect("a service");
        let client = Client::new(app.addresses()[0]);
        let store = app.store().clone();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            app.run(async { drop(stopped.await) }).await.expect("a clean end");
        });
        Self {
            client,
            store,
            database,
            config,
            stop: Mutex::new(Some(stop)),
            running: Mutex::new(Some(running)),
        }
    }

    /// A user of the tenant `default`.
    pub async fn add_user(&self, name: &str, password: &str, role: &str) {
        self.add_user_of(auth::DEFAULT_TENANT, name, password, &[role]).await;
    }

    pub async fn add_user_of(&self, tenant: &str, name: &str, password: &str, roles: &[&str]) {
        let hash = auth::password::hash(auth::Cost::default(), password).expect("a hash");
        let credential = users::StoredCredential::Password(hash);
        changes::create_user(&self.store.control, tenant, name, &credential, roles)
            .await
            .expect("a new user");
    }

    /// A token of the tenant `default`.
    pub async fn add_token(&self, owner: &str, role: &str) -> String {
        let token = auth::secret::Token::generate(auth::DEFAULT_TENANT).expect("a token");
        let new = tokens::NewToken {
            owner,
            prefix: &token.prefix,
            sha256: token.text.sha256(),
            label: "test",
            roles: &[role],
            expires_at: None,
        };
        changes::create_token(&self.store.control, auth::DEFAULT_TENANT, &new).await.expect("a new token");
        token.text.reveal().to_owned()
    }

    /// Runs the program as an operator would, on the machine of this instance.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventlogger"));
        command
            .args(arguments)
            .env("EVENTLOGGER_DATABASE__URL", self.config.database.url.reveal())
            .env("EVENTLOGGER_DATA_DIR", &self.config.data_dir)
            .env("EVENTLOGGER_INTEGRITY__SIGNING_KEY", self.config.integrity.signing_key.reveal());
        tokio::task::spawn_blocking(move || command.output().expect("the program")).await.expect("its end")
    }

    /// Stops the service as SIGTERM would.
    pub async fn stop(&self) {
        let stop = self.stop.lock().unwrap().take();
        let running = self.running.lock().unwrap().take();
        if let (Some(stop), Some(running)) = (stop, running) {
            let _ = stop.send(());
            tokio::time::timeout(Duration::from_secs(60), running)
                .await
                .expect("the service stops")
                .expect("the service does not panic");
        }
    }

    async fn finish(&self) {
        self.stop().await;
        auditor::audit(&self.database).await;
        self.database.close().await;
    }
}

pub const LOG_TABLES: [&str; 5] = ["heads", "events", "tiles", "idempotency", "redactions"];

/// As a backup would.
pub async fn keep(server: &Server, tables: &[&str]) {
    for table in tables {
        let keep = format!("CREATE TABLE kept_{table} AS TABLE {table}");
        server.database.execute(AssertSqlSafe(keep)).await.unwrap();
    }
}

/// The tables as they were kept.
pub async fn bring_back(server: &Server, tables: &[&str]) {
    for table in tables {
        let restore = format!("TRUNCATE {table}; INSERT INTO {table} SELECT * FROM kept_{table}");
        sqlx::raw_sql(AssertSqlSafe(restore)).execute(&server.database).await.unwrap();
    }
}

/// CREATE DATABASE fails while anybody is connected to the template; a closing session may linger a moment.
async fn clone_database(connection: &mut PgConnection, template: &str, name: &str) {
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER}");
    for _ in 0..100 {
        match connection.execute(AssertSqlSafe(statement.clone())).await {
            Ok(_) => return,
            Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some("55006") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("cannot clone the template: {error}"),
        }
    }
    panic!("the template stays in use");
}

/// The least event there is.
pub fn event(event_type: &str) -> String {
    serde_json::json!({"event_type": event_type, "user_identity": "u"}).to_string()
}

/// The same with an idempotency key.
pub fn keyed(key: &str) -> String {
    serde_json::json!({"event_type": "t", "user_identity": "u", "idempotency_key": key}).to_string()
}

/// Records so many of the least events, as a batch; the results of its items.
pub async fn record(server: &Server, events: usize) -> Vec<Value> {
    let items: Vec<_> = (0..events).map(|_| event("t")).collect();
    let answer = server.client.post("/events/batch").json(format!("[{}]", items.join(","))).send().await;
    answer.json(201)["results"].as_array().expect("results").clone()
}

/// The public key of the log of `default`.
pub async fn vkey(server: &Server) -> String {
    server.client.get("/integrity/key").send().await.json(200)["vkey"].as_str().expect("a key").to_owned()
}

/// The database is not what was signed last: it is read, and not written to.
pub async fn assert_contradicted(server: &Server) {
    let status = server.client.get("/status").send().await.json(200);
    assert!(status["log"]["refused"].as_str().expect("a reason").starts_with("database_"), "{status}");
    let refused = server.client.post("/events").json(event("t")).send().await.problem(503, "not_recorded");
    assert_eq!(refused["reason"], "signed_state");
    assert_eq!(server.client.get("/events").send().await.status, 200, "it is read all the same");
}

#[track_caller]
pub fn assert_says(output: &Output, code: i32, says: &str) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(says), "{text}");
}

pub async fn count(database: &PgPool, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(database).await.expect("a count")
}

/// Lists a module's tests. One that is not listed is dead code, which the build refuses.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => { crate::harness::list!(trial, $($name),+); };
}

/// The same for tests that take a database instead of a service.
macro_rules! database_tests {
    ($($name:ident),+ $(,)?) => { crate::harness::list!(database_trial, $($name),+); };
}

macro_rules! list {
    ($kind:ident, $($name:ident),+) => {
        pub fn trials(world: &std::sync::Arc<crate::harness::World>) -> Vec<libtest_mimic::Trial> {
            vec![$(world.$kind(concat!(module_path!(), "::", stringify!($name)), $name)),+]
        }
    };
}
pub(crate) use {database_tests, list, tests};
