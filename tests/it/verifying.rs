//! The verifier against a database that somebody wrote to behind the service's back.

use std::process::{Command, Output};
use std::sync::Arc;

use eventlogger::auth::Tenant;
use eventlogger::event::{Entry, Label, commitment};
use eventlogger::merkle::{Tree, leaf_hash};
use eventlogger::postgres::OWNER;
use eventlogger::store::principals::find_tenant;
use eventlogger::tlog::{Policy, SigningKey};
use eventlogger::verify::Culprit;
use eventlogger::walk::{Progress, Report, Trusted, database};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::harness::{Server, bring_back, event, keep, tests};

tests![
    a_log_as_it_was_recorded_is_verified,
    every_kind_of_tampering_is_found_where_it_is,
    a_null_where_none_can_be_is_a_finding_like_others,
    a_row_of_another_log_is_found,
    a_log_rebuilt_without_the_key_contradicts_what_was_signed,
    a_log_set_back_contradicts_what_was_signed,
    a_registered_key_is_held_against_the_pinned_one,
    without_a_pinned_key_it_is_said_that_signatures_prove_nothing,
    who_may_only_read_can_verify_and_changes_nothing,
];

const SIZE: usize = 601;
const TABLES: [&str; 6] = ["events", "tiles", "heads", "idempotency", "checkpoints", "log_keys"];

/// Seq 7 has every field. Others have what a projection cannot hold, or what only PostgreSQL writes in its way.
fn item(n: usize) -> String {
    let data = match n % 5 {
        0 => json!({"n": n, "amount": 12.50, "b": {"a": [1, null, "x"]}}).to_string(),
        1 => format!(r#"{{ "n": {n}, "small":1.5e-7, "big": 2E20,"zero":-0.0 }}"#),
        2 => format!(r#"{{"n":{n},"n":1,"text":"\u0000 \u00e9 \/ \ud83d\ude00","huge":1e400}}"#),
        3 => return event("bare"),
        _ => format!(r#"[{n},"Ж",9007199254740993,1.000000000000000005]"#),
    };
    format!(r#"{{"event_type":"t","user_identity":"u{n}","event_data":{data}}}"#)
}

fn full() -> String {
    json!({
        "event_type": "login", "user_identity": "ann", "timestamp": "2026-01-02T03:04:05.678Z", "source": "web",
        "level": "WARN", "outcome": "denied", "target": "account/1", "message": "m", "ip": "10.0.0.1",
        "correlation_id": "c", "idempotency_key": "k", "event_data": {"n": 7, "price": "1.50"},
    })
    .to_string()
    .replace("\"1.50\"", "1.50")
}

async fn record(server: &Server) {
    let mut items: Vec<_> = (0..SIZE - 1).map(item).collect();
    items[7] = full();
    server.client.post("/events/batch").json(format!("[{}]", items.join(","))).send().await.json(201);
    server.client.post("/events").json(event("last")).send().await.json(201);
    store_checkpoint(server).await;
    // The service may have stored one of fewer entries; for a minute it now stores none.
    server.database.execute("DELETE FROM checkpoints WHERE size < 601").await.unwrap();
}

/// As the service does once a minute.
async fn store_checkpoint(server: &Server) -> String {
    let head = server.client.get("/integrity/checkpoint").send().await.json(200);
    let note = head["checkpoint"].as_str().unwrap().to_owned();
    let statement = "INSERT INTO checkpoints (tenant_id, epoch, size, note)
                     SELECT tenant_id, 0, $1, $2 FROM tenants WHERE name = 'default' ON CONFLICT DO NOTHING";
    let size = head["size"].as_i64().unwrap();
    sqlx::query(statement).bind(size).bind(&note).execute(&server.database).await.unwrap();
    note
}

async fn policy(server: &Server) -> Policy {
    let key = server.client.get("/integrity/key").send().await.json(200);
    Policy::parse(key["policy"].as_str().unwrap().as_bytes()).unwrap()
}

async fn walk_of(server: &Server, tenant: &str, trusted: Trusted<'_>) -> Report {
    let tenant: Tenant = find_tenant(&server.store.control, tenant).await.unwrap().unwrap().into();
    database::walk(&server.store.control, &tenant, trusted, &Progress::default()).await.unwrap()
}

async fn walk(server: &Server, policy: &Policy) -> Report {
    walk_of(server, "default", Trusted { policy: Some(policy), seen: None }).await
}

async fn a_log_as_it_was_recorded_is_verified(server: Arc<Server>) {
    let empty = walk_of(&server, "default", Trusted::default()).await;
    assert!(empty.is_clean() && empty.unchecked.len() == 1, "nothing is signed by anybody known: {empty:?}");
    record(&server).await;
    let policy = policy(&server).await;
    let report = walk(&server, &policy).await;
    assert!(report.is_clean() && report.unchecked.is_empty(), "{report:?}");
    assert_eq!((report.size, report.entries_checked, report.signed_size), (601, 601, Some(601)));
    // What is recorded later is verified against what was seen.
    server.client.post("/events").json(event("later")).send().await.json(201);
    let seen = report.verified.as_deref();
    let later = walk_of(&server, "default", Trusted { policy: Some(&policy), seen }).await;
    assert!(later.is_clean(), "{later:?}");
    assert_eq!((later.size, later.signed_size, later.notes.len()), (602, Some(601), 1));
}

const ENVELOPE: &str = "the entry does not commit to the typed columns";
const PAYLOAD: &str = "the entry does not commit to the payload";
const PROJECTION: &str = "event_data is not what follows";
const UNACCOUNTED: &str = "no later entry says that it was redacted";

/// A change behind the service's back, where it is found, and in which words.
const TAMPERING: [(&str, Option<u64>, &str); 47] = [
    ("UPDATE events SET payload = payload || ' '::bytea WHERE seq = 7", Some(7), PAYLOAD),
    ("UPDATE events SET payload_salt = '\\x00112233445566778899aabbccddeeff' WHERE seq = 7", Some(7), PAYLOAD),
    ("UPDATE events SET envelope_salt = '\\x00112233445566778899aabbccddeeff' WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET event_type = 'x' WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET user_identity = 'x' WHERE seq = 7", Some(7), ENVELOPE),
    (
        "UPDATE events SET \"timestamp\" = \"timestamp\" + interval '1 microsecond' WHERE seq = 7",
        Some(7),
        ENVELOPE,
    ),
    ("UPDATE events SET source = NULL WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET level = 6 WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET outcome = 'success' WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET target = 'x' WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET message = 'never said' WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET ip = '10.0.0.2' WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET ip = '10.0.0.1/8' WHERE seq = 7", Some(7), "the column ip"),
    ("UPDATE events SET correlation_id = 'x' WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET recorded_by = 'user:default/eve' WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET idempotency_key = NULL WHERE seq = 7", Some(7), ENVELOPE),
    ("UPDATE events SET \"timestamp\" = 'infinity' WHERE seq = 7", Some(7), "the column timestamp"),
    ("UPDATE events SET event_data = '{\"n\": 8, \"price\": 1.50}' WHERE seq = 7", Some(7), PROJECTION),
    ("UPDATE events SET event_data = '{\"n\": 7, \"price\": 1.5}' WHERE seq = 7", Some(7), PROJECTION),
    ("UPDATE events SET event_data = event_data || '{\"big\": 1}' WHERE seq = 1", Some(1), PROJECTION),
    ("UPDATE events SET lossy = true WHERE seq = 7", Some(7), "the column lossy"),
    ("UPDATE events SET kind = 3 WHERE seq = 7", Some(7), "the column kind"),
    ("UPDATE events SET id = gen_random_uuid() WHERE seq = 7", Some(7), "the column id"),
    (
        "UPDATE events SET received_at = received_at + interval '1 microsecond' WHERE seq = 7",
        Some(7),
        "the column received_at",
    ),
    ("UPDATE events SET envelope_v = 2 WHERE seq = 7", Some(7), "envelope_v is 2"),
    ("UPDATE events SET projection_v = 2 WHERE seq = 7", Some(7), "projection_v is 2"),
    (
        "UPDATE events SET payload = NULL, payload_salt = NULL, event_data = NULL, lossy = NULL WHERE seq = 7",
        Some(7),
        "that the row does not say was redacted",
    ),
    (
        "UPDATE events SET redaction = 'payload', payload = NULL, payload_salt = NULL, event_data = NULL,
         lossy = NULL WHERE seq = 7",
        Some(7),
        UNACCOUNTED,
    ),
    (
        "UPDATE events SET redaction = 'all', payload = NULL, payload_salt = NULL, event_data = NULL, lossy = NULL,
         event_type = NULL, user_identity = NULL, \"timestamp\" = NULL, source = NULL, level = NULL, outcome = NULL,
         target = NULL, message = NULL, ip = NULL, correlation_id = NULL, recorded_by = NULL,
         idempotency_key = NULL, envelope_salt = NULL WHERE seq = 7",
        Some(7),
        UNACCOUNTED,
    ),
    ("UPDATE events SET redaction = 'payload' WHERE seq = 3", Some(3), UNACCOUNTED),
    (
        "UPDATE events SET entry = set_byte(entry, 59, get_byte(entry, 59) # 255) WHERE seq = 7",
        Some(7),
        "the entry is not the one that its tile has",
    ),
    ("UPDATE events SET entry = overlay(entry PLACING '\\x00'::bytea FROM 1) WHERE seq = 7", Some(7), "version 1"),
    ("DELETE FROM events WHERE seq = 7", Some(7), "the entry is missing"),
    ("DELETE FROM events WHERE seq BETWEEN 200 AND 299", Some(200), "up to seq 299 are missing"),
    ("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)", Some(600), "the entry is missing"),
    (
        "WITH bodies AS (SELECT seq, payload, payload_salt, event_data, lossy FROM events WHERE seq IN (4, 9))
         UPDATE events e SET payload = b.payload, payload_salt = b.payload_salt, event_data = b.event_data,
                             lossy = b.lossy FROM bodies b WHERE e.seq IN (4, 9) AND b.seq = 13 - e.seq",
        Some(4),
        PAYLOAD,
    ),
    (
        "WITH entries AS (SELECT seq, entry FROM events WHERE seq IN (4, 9))
         UPDATE events e SET entry = b.entry FROM entries b WHERE e.seq IN (4, 9) AND b.seq = 13 - e.seq",
        Some(9),
        "the row has the entry of seq 4",
    ),
    (
        "INSERT INTO events SELECT (jsonb_populate_record(e, jsonb_build_object('received_at',
             e.received_at - interval '1 microsecond'))).* FROM events e WHERE seq = 7",
        Some(7),
        "more than one row",
    ),
    (
        "INSERT INTO events SELECT (jsonb_populate_record(e, jsonb_build_object('seq', 601))).*
         FROM events e WHERE seq = 7",
        Some(601),
        "behind the head",
    ),
    ("UPDATE tiles SET data = set_byte(data, 32, get_byte(data, 32) # 255) WHERE index = 1", Some(257), "tile 0/1"),
    ("UPDATE tiles SET root = sha256(root) WHERE index = 1", Some(256), "tile 0/1"),
    ("DELETE FROM tiles WHERE index = 1", Some(256), "tile 0/1"),
    ("UPDATE tiles SET index = 2 WHERE index = 1", None, "there is a tile 0/2"),
    ("UPDATE heads SET root = sha256(root)", None, "the root of the head"),
    ("UPDATE heads SET last_id = gen_random_uuid()", None, "another last entry"),
    ("UPDATE checkpoints SET note = replace(note, 'default', 'defaulx')", None, "is not signed by the log's key"),
    ("DELETE FROM heads", None, "the log has no head"),
];

async fn every_kind_of_tampering_is_found_where_it_is(server: Arc<Server>) {
    record(&server).await;
    let policy = policy(&server).await;
    keep(&server, &TABLES).await;
    for (tampering, seq, words) in TAMPERING {
        let changed = server.database.execute(tampering).await.unwrap().rows_affected();
        assert!(changed > 0, "{tampering}");
        let report = walk(&server, &policy).await;
        let found = report.findings.iter().find(|it| it.seq == seq && it.what.contains(words));
        let found = found.unwrap_or_else(|| panic!("{tampering}: {report:#?}"));
        assert_eq!((found.culprit, found.log.as_deref()), (Culprit::DatabaseWriter, Some("default")));
        assert_eq!((report.signed_size, &report.verified), (None, &None), "{tampering}");
        // One change is one finding, or two that say the same of it; nothing else is accused.
        let elsewhere = |it: &&eventlogger::verify::Finding| it.seq.is_some_and(|at| Some(at) != seq);
        let others = report.findings.iter().filter(elsewhere).count();
        let pairs = tampering.contains("IN (4, 9)") || tampering.contains("index = 2");
        assert!(others == 0 || pairs, "{tampering}: {report:#?}");
        bring_back(&server, &TABLES).await;
    }
    assert!(walk(&server, &policy).await.is_clean());
}

/// Columns that are never NULL, and what is said of one that is.
const NULLS: [(&str, &str); 6] = [
    ("entry", "not one of version 1"),
    ("id", "the column id is NULL"),
    ("kind", "the column kind is NULL"),
    ("envelope_v", "envelope_v is NULL"),
    ("projection_v", "projection_v is NULL"),
    ("event_type", "the column event_type"),
];

async fn a_null_where_none_can_be_is_a_finding_like_others(server: Arc<Server>) {
    record(&server).await;
    let policy = policy(&server).await;
    keep(&server, &["events"]).await;
    server.database.execute("ALTER TABLE events DROP CONSTRAINT events_complete").await.unwrap();
    for (column, words) in NULLS {
        let nulled = format!(
            "ALTER TABLE events ALTER {column} DROP NOT NULL; UPDATE events SET {column} = NULL WHERE seq = 7"
        );
        sqlx::raw_sql(AssertSqlSafe(nulled)).execute(&server.database).await.unwrap();
        let report = walk(&server, &policy).await;
        assert!(report.findings.iter().any(|it| it.seq == Some(7) && it.what.contains(words)), "{report:#?}");
        bring_back(&server, &["events"]).await;
    }
    assert!(walk(&server, &policy).await.is_clean());
}

async fn a_row_of_another_log_is_found(server: Arc<Server>) {
    crate::changes::create_tenant(&server.store.control, "acme").await.unwrap();
    let to_acme = |body: String| server.client.post("/events").header("x-tenant", "acme").json(body).send();
    to_acme(event("a")).await.json(201);
    record(&server).await;
    let copy = "DELETE FROM events WHERE tenant_id = (SELECT tenant_id FROM tenants WHERE name = 'acme');
                INSERT INTO events SELECT (jsonb_populate_record(e, jsonb_build_object('tenant_id',
                    (SELECT tenant_id FROM tenants WHERE name = 'acme')))).* FROM events e WHERE seq = 0;";
    let kept = "CREATE TABLE kept AS TABLE events";
    server.database.execute(kept).await.unwrap();
    sqlx::raw_sql(copy).execute(&server.database).await.unwrap();
    let acme = walk_of(&server, "acme", Trusted::default()).await;
    assert!(acme.findings.iter().any(|it| it.seq == Some(0) && it.what.contains("another log")), "{acme:?}");
    assert!(walk(&server, &policy(&server).await).await.is_clean(), "one log says nothing of another");
    let restore = "TRUNCATE events; INSERT INTO events SELECT * FROM kept";
    sqlx::raw_sql(restore).execute(&server.database).await.unwrap();
}

/// Everything that needs no key is made to fit another payload of seq 7.
async fn rebuild(server: &Server) {
    let rows = sqlx::query("SELECT entry, payload_salt FROM events ORDER BY seq").fetch_all(&server.database);
    let mut tree = Tree::new();
    for (seq, row) in rows.await.unwrap().into_iter().enumerate() {
        let mut bytes: Vec<u8> = row.get("entry");
        if seq == 7 {
            let salt: Vec<u8> = row.get("payload_salt");
            let mut entry = Entry::parse(&bytes).unwrap();
            entry.payload = Some(commitment(Label::Payload, &salt.try_into().unwrap(), b"[0]"));
            bytes = entry.to_bytes().to_vec();
            sqlx::query("UPDATE events SET entry = $1, payload = '[0]', event_data = '[0]' WHERE seq = 7")
                .bind(&bytes)
                .execute(&server.database)
                .await
                .unwrap();
        }
        for tile in tree.append(leaf_hash(&bytes)) {
            sqlx::query("UPDATE tiles SET root = $1, data = $2 WHERE level = $3 AND index = $4")
                .bind(tile.root.as_slice())
                .bind(tile.data)
                .bind(i16::from(tile.level))
                .bind(tile.index as i64)
                .execute(&server.database)
                .await
                .unwrap();
        }
    }
    sqlx::query("UPDATE heads SET root = $1, frontier = $2")
        .bind(tree.root().as_slice())
        .bind(tree.frontier())
        .execute(&server.database)
        .await
        .unwrap();
}

async fn a_log_rebuilt_without_the_key_contradicts_what_was_signed(server: Arc<Server>) {
    record(&server).await;
    let policy = policy(&server).await;
    let seen = walk(&server, &policy).await.verified;
    keep(&server, &TABLES).await;
    rebuild(&server).await;
    let report = walk(&server, &policy).await;
    let [finding] = report.findings.as_slice() else { panic!("{report:#?}") };
    assert_eq!((finding.seq, finding.culprit), (Some(600), Culprit::DatabaseWriter));
    assert!(finding.what.contains("rewritten after it was signed"), "{finding}");
    // Without its stored checkpoints nothing in the database tells; what was kept elsewhere does.
    server.database.execute("DELETE FROM checkpoints").await.unwrap();
    let report = walk(&server, &policy).await;
    assert!(report.is_clean() && report.unchecked[0].contains("no checkpoint"), "{report:?}");
    let report = walk_of(&server, "default", Trusted { policy: Some(&policy), seen: seen.as_deref() }).await;
    assert!(report.findings[0].what.contains("verified last time"), "{report:?}");
    bring_back(&server, &TABLES).await;
}

async fn a_log_set_back_contradicts_what_was_signed(server: Arc<Server>) {
    record(&server).await;
    let policy = policy(&server).await;
    keep(&server, &TABLES).await;
    server.client.post("/events").json(event("later")).send().await.json(201);
    let seen = store_checkpoint(&server).await;
    bring_back(&server, &["heads", "events", "tiles", "idempotency"]).await;
    let report = walk(&server, &policy).await;
    assert!(report.findings[0].what.contains("its end was cut off"), "{report:?}");
    // A whole backup knows nothing of it.
    server.database.execute("DELETE FROM checkpoints WHERE size = 602").await.unwrap();
    assert!(walk(&server, &policy).await.is_clean());
    let report = walk_of(&server, "default", Trusted { policy: Some(&policy), seen: Some(&seen) }).await;
    assert!(report.findings[0].what.contains("its end was cut off"), "{report:?}");
}

async fn a_registered_key_is_held_against_the_pinned_one(server: Arc<Server>) {
    record(&server).await;
    let honest = policy(&server).await;
    let origin = honest.logs()[0].key.name().to_owned();
    let thief = SigningKey::from_seed(&origin, &[7; 32]).unwrap();
    let statement = "UPDATE log_keys SET vkey = $1";
    sqlx::query(statement).bind(thief.verifier().to_string()).execute(&server.database).await.unwrap();
    let report = walk(&server, &honest).await;
    assert!(report.findings[0].what.contains("is not the pinned one"), "{report:?}");
    // Pinned, it would be the stored checkpoints that are not by it.
    let pinned = Policy::parse(format!("log {}\nquorum none\n", thief.verifier()).as_bytes()).unwrap();
    let report = walk(&server, &pinned).await;
    assert!(report.findings[0].what.contains("is not signed by the log's key"), "{report:?}");
}

async fn without_a_pinned_key_it_is_said_that_signatures_prove_nothing(server: Arc<Server>) {
    record(&server).await;
    let report = walk_of(&server, "default", Trusted::default()).await;
    assert!(report.is_clean() && report.unchecked[0].contains("no key is pinned"), "{report:?}");
    assert_eq!((report.signed_size, report.verified, report.heads_compared), (None, None, 1));
}

/// The program itself, by a login that can do nothing but read.
async fn verify_as(server: &Server, role: &str) -> Output {
    let url = format!("{}&options=-c%20role%3D{role}", server.config.database.url.reveal());
    let state = tempfile::tempdir().unwrap();
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_eventlogger"))
            .args(["verify", "--database"])
            .env("EVENTLOGGER_DATABASE__URL", url)
            .env("XDG_STATE_HOME", state.path())
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn who_may_only_read_can_verify_and_changes_nothing(server: Arc<Server>) {
    record(&server).await;
    let role = format!("auditor_{}", server.database.connect_options().get_database().unwrap());
    for statement in [
        format!("CREATE ROLE {role}"),
        format!("GRANT pg_read_all_data TO {role}"),
        format!("GRANT {role} TO {OWNER}"),
    ] {
        server.database.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let verified = verify_as(&server, &role).await;
    let (out, told) = (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
    assert!(out.contains("601 entries"), "{out} {told}");
    assert_eq!(verified.status.code(), Some(7), "no key is pinned: {out} {told}");

    // As an older program left it.
    let migrations = "SELECT max(version) FROM _sqlx_migrations";
    let newest: i64 = sqlx::query_scalar(migrations).fetch_one(&server.database).await.unwrap();
    server
        .database
        .execute("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await
        .unwrap();
    let refused = verify_as(&server, &role).await;
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains(&format!("this program knows {newest}")), "{told}");
    assert!(!refused.status.success());
    let left: i64 = sqlx::query_scalar(migrations).fetch_one(&server.database).await.unwrap();
    assert_eq!(left, newest - 1, "nothing is migrated by looking");
}
