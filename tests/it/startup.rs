//! What the service makes sure of before it serves: one set of migrations, durability, least privilege.

use std::sync::Arc;

use eventlogger::app::{self, App};
use eventlogger::config::{Config, Secret};
use eventlogger::postgres::{OWNER, READER, SUPERUSER, WRITER};
use eventlogger::tlog::SigningKey;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgPool};

use crate::auditor;
use crate::harness::{Server, count, event, keyed, tests};
use crate::http::Client;

tests![
    eight_instances_start_at_once_on_an_empty_database,
    a_database_that_may_lose_commits_is_refused,
    what_was_signed_is_kept_by_one_instance_in_one_folder,
    the_services_identities_can_change_nothing_that_is_recorded,
];

/// A database without anything in it, beside the test's own.
async fn empty_database(server: &Server) -> (PgPool, String) {
    let options = server.database.connect_options();
    let (own, empty) =
        (options.get_database().unwrap(), format!("{}_empty", options.get_database().unwrap()));
    let create = format!("CREATE DATABASE {empty} TEMPLATE template0 OWNER {OWNER}");
    server.database.execute(AssertSqlSafe(create)).await.unwrap();
    let url = server.config.database.url.reveal().replace(&format!("/{own}?"), &format!("/{empty}?"));
    (PgPool::connect_lazy_with((*options).clone().database(&empty)), url)
}

async fn eight_instances_start_at_once_on_an_empty_database(server: Arc<Server>) {
    let (database, url) = empty_database(&server).await;
    // The key is one of all instances; each has it in its own way.
    let key = SigningKey::from_seed("example.org/audit", &[7; 32]).unwrap().private_text().to_string();
    let starts = (0..8).map(|n| {
        let mut config: Config = server.config.clone();
        config.database.url = Secret::new(url.clone());
        config.integrity.signing_key = Secret::new(key.clone());
        config.data_dir = config.data_dir.join(n.to_string());
        app::build(config)
    });
    let apps: Vec<App> = futures_util::future::try_join_all(starts).await.unwrap();
    let migrations = count(&database, "SELECT count(*) FROM _sqlx_migrations WHERE success").await;
    assert_eq!(migrations, count(&server.database, "SELECT count(*) FROM _sqlx_migrations").await);
    assert_eq!(count(&database, "SELECT count(*) FROM users").await, 1);
    assert_eq!(count(&database, "SELECT count(*) FROM tenants").await, 1);
    for app in &apps {
        assert_eq!(app.store().facts.privileges.to_string(), "separate");
    }
    let clients: Vec<_> = apps.iter().map(|app| Client::new(app.addresses()[0])).collect();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running: Vec<_> = apps
        .into_iter()
        .map(|app| {
            let mut stopped = stopped.clone();
            tokio::spawn(app.run(async move { drop(stopped.wait_for(|stopped| *stopped).await) }))
        })
        .collect();
    for (seq, client) in clients.iter().enumerate() {
        assert_eq!(client.post("/events").json(event("t")).send().await.json(201)["seq"], seq);
    }
    stop.send_replace(true);
    for instance in running {
        instance.await.unwrap().unwrap();
    }
    auditor::audit(&database).await;
    database.close().await;
}

async fn what_was_signed_is_kept_by_one_instance_in_one_folder(server: Arc<Server>) {
    let mut config: Config = server.config.clone();
    config.integrity.second_latch_dir = Some(config.data_dir.join("latch"));
    config.data_dir = config.data_dir.join("other");
    std::fs::create_dir_all(&config.data_dir).unwrap();
    std::fs::copy(server.config.data_dir.join("signing-key"), config.data_dir.join("signing-key")).unwrap();
    let Err(error) = app::build(config.clone()).await else { panic!("two instances share a latch") };
    let theirs = server.config.data_dir.join("latch").display().to_string();
    assert!(
        error.to_string().contains(&format!("another EventLogger keeps what it signs in {theirs}")),
        "{error}"
    );
    // A command reads it.
    app::open_integrity(&server.store, &config).await.unwrap();
    config.integrity.second_latch_dir = None;
    app::build(config).await.unwrap();
}

async fn a_database_that_may_lose_commits_is_refused(server: Arc<Server>) {
    let name = server.database.connect_options().get_database().unwrap().to_owned();
    let set = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    server.database.execute(AssertSqlSafe(set)).await.unwrap();
    let refusal = app::build(server.config.clone()).await.map(|_| "it started").unwrap_err().to_string();
    assert!(refusal.contains("synchronous_commit off"), "{refusal}");
    assert!(refusal.contains("database.unsafe_allow_volatile"), "{refusal}");

    let instance = server.another_instance_with(|config| config.database.unsafe_allow_volatile = true).await;
    let status = instance.client.get("/status").send().await.json(200);
    assert_eq!(status["unsafe_settings"], json!(["synchronous_commit"]));
    instance.client.post("/events").json(event("t")).send().await.json(201);
    instance.stop().await;
    assert_eq!(server.client.get("/status").send().await.json(200)["unsafe_settings"], json!([]));
}

/// What neither writer nor reader may do.
const FORBIDDEN: [&str; 26] = [
    "UPDATE events SET message = 'x'",
    "UPDATE events SET payload = NULL",
    "DELETE FROM events",
    "TRUNCATE events",
    "DROP TABLE events",
    "ALTER TABLE events DROP CONSTRAINT events_complete",
    "UPDATE tiles SET root = root",
    "DELETE FROM tiles",
    "TRUNCATE tiles",
    "DELETE FROM heads",
    "TRUNCATE heads",
    "INSERT INTO heads SELECT * FROM heads",
    "UPDATE idempotency SET seq = 0",
    "DELETE FROM idempotency",
    "INSERT INTO redactions SELECT * FROM redactions",
    "UPDATE redactions SET scrubbed_at = now()",
    "DELETE FROM redactions",
    "SET ROLE eventlogger_redactor",
    "SELECT FROM users",
    "UPDATE users SET disabled = true",
    "SELECT FROM tokens",
    "SELECT FROM settings",
    "UPDATE settings SET value = ''",
    "SELECT ensure_event_partitions(1)",
    "CREATE TABLE own (id int)",
    "SET ROLE eventlogger_owner",
];
const FORBIDDEN_TO_READERS: [&str; 6] = [
    "UPDATE heads SET size = 0",
    "INSERT INTO events SELECT * FROM events",
    "INSERT INTO tiles SELECT * FROM tiles",
    "SELECT FROM idempotency",
    "SELECT FROM heads FOR UPDATE",
    "SELECT redact_event(1, 1, now(), now())",
];

async fn login(server: &Server, role: &str) -> PgConnection {
    let options = (*server.database.connect_options()).clone();
    assert_eq!(options.get_username(), SUPERUSER);
    options.username(role).connect().await.unwrap()
}

async fn assert_forbidden(connection: &mut PgConnection, role: &str, statement: &str) {
    let error = connection.execute(AssertSqlSafe(statement)).await.expect_err(statement);
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    assert_eq!(code.as_deref(), Some("42501"), "{role}: {statement}: {error}");
}

async fn the_services_identities_can_change_nothing_that_is_recorded(server: Arc<Server>) {
    server.client.post("/events").json(keyed("k")).send().await.json(201);
    let partition: String = sqlx::query_scalar("SELECT tableoid::regclass::text FROM events")
        .fetch_one(&server.database)
        .await
        .unwrap();
    for role in [WRITER, READER] {
        let mut connection = login(&server, role).await;
        for statement in FORBIDDEN {
            assert_forbidden(&mut connection, role, statement).await;
        }
        for verb in ["DELETE FROM", "TRUNCATE", "DROP TABLE"] {
            assert_forbidden(&mut connection, role, &format!("{verb} {partition}")).await;
        }
        connection.close().await.unwrap();
    }
    let mut reader = login(&server, READER).await;
    for statement in FORBIDDEN_TO_READERS {
        assert_forbidden(&mut reader, READER, statement).await;
    }
    reader.close().await.unwrap();
}
