//! Redaction: content goes, the proof stays, and the log says who did it and why.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventlogger::config::{AccessKind, Config, Secret};
use eventlogger::postgres::{OWNER, READER, SUPERUSER, WRITER};
use eventlogger::store::scrub;
use http::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgPool};

use crate::auditor::{self, leaf};
use crate::changes::create_tenant;
use crate::evidence::{check_receipt, open, root_of_path};
use crate::faults::behind_proxy;
use crate::harness::{ADMIN, PASSWORD, Server, count, event, keyed, tests, vkey};
use crate::http::{Request, Response};
use crate::proxy::Fault;

tests![
    the_payload_goes_and_the_typed_fields_stay,
    everything_goes_but_the_place_in_the_log,
    the_rest_can_follow_the_payload_and_nothing_is_redacted_twice,
    what_the_log_says_of_itself_is_never_redacted,
    an_event_of_another_tenant_cannot_be_redacted,
    a_redaction_says_why_and_of_what,
    former_content_is_for_readers,
    lists_have_no_gaps_and_searches_find_nothing_erased,
    a_retry_of_a_redacted_event_is_a_conflict,
    a_change_that_waits_to_be_recorded_is_forgotten_with_its_event,
    of_redactions_at_once_one_wins,
    a_redaction_whose_commit_is_lost_is_done_once,
    the_writer_erases_nothing_that_no_entry_says,
    one_identity_for_all_can_redact,
    scrubbing_waits_for_whoever_still_sees_it,
    nothing_of_it_stays_in_the_files,
];

const CANARY: &str = "canary-7d1f9a63";

fn redact(server: &Server, id: &str, query: &str) -> Request {
    server.client.request(Method::DELETE, &format!("/events/{id}?{query}"))
}

fn full() -> Value {
    json!({
        "event_type": "login", "user_identity": "ann", "source": "app", "level": "WARN", "outcome": "denied",
        "target": "account/1", "message": "a message", "ip": "192.0.2.7", "correlation_id": "c",
        "event_data": {"k": "v"},
    })
}

async fn record(server: &Server, event: impl ToString) -> (String, Value) {
    let recorded = server.client.post("/events").json(event.to_string()).send().await.json(201);
    (recorded["id"].as_str().unwrap().to_owned(), recorded)
}

async fn read(server: &Server, id: &str) -> Value {
    server.client.get(&format!("/events/{id}")).send().await.json(200)
}

fn members(event: &Value) -> HashSet<&str> {
    event.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn the_payload_goes_and_the_typed_fields_stay(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    let (id, recorded) = record(&server, full()).await;
    let before = read(&server, &id).await;
    let answer = redact(&server, &id, "reason=Art.%2017%20GDPR").send().await.json(200);

    let redaction = &answer["redaction"];
    assert_eq!(redaction["seq"], 1);
    let payload = format!(r#"{{"seq":0,"id":"{id}","scope":"payload","reason":"Art. 17 GDPR"}}"#);
    assert_eq!(check_receipt(&redaction["receipt"], Some(payload.as_bytes()), &vkey).size, 2);
    let entry = read(&server, redaction["id"].as_str().unwrap()).await;
    assert_eq!(entry["event_type"], "eventlogger.redaction");
    assert_eq!((&entry["user_identity"], &entry["recorded_by"]), (&json!("admin"), &json!("user:admin")));
    assert_eq!(entry["target"], format!("event/{id}"));
    assert_eq!(entry["ip"], "127.0.0.1");
    assert_eq!(entry["event_data"], serde_json::from_str::<Value>(&payload).unwrap());

    let after = read(&server, &id).await;
    let at = &entry["received_at"];
    assert_eq!(
        after["redacted"],
        json!({"scope": "payload", "reason": "Art. 17 GDPR", "at": at, "by": "admin", "seq": 1})
    );
    let mut expected = before.clone();
    expected.as_object_mut().unwrap().remove("event_data");
    expected["redacted"] = after["redacted"].clone();
    assert_eq!(after, expected);
    assert_eq!((&answer["event"], &answer["former"]), (&after, &before));
    let gone = server.client.get(&format!("/events/{id}/payload")).send().await;
    gone.problem(410, "redacted");
    proof_holds(&server, &id, &recorded, &vkey).await;
    // The submitter kept what is needed to show what was recorded.
    check_receipt(&recorded["receipt"], Some(br#"{"k":"v"}"#), &vkey);
}

async fn proof_holds(server: &Server, id: &str, recorded: &Value, vkey: &str) {
    let proof = server.client.get(&format!("/events/{id}/proof")).send().await;
    assert_eq!(proof.status, 200, "{}", proof.text());
    let proof: eventlogger::tlog::Proof = proof.text().parse().unwrap();
    let head = open(&proof.checkpoint, vkey);
    assert_eq!(root_of_path(leaf(&proof.extra), proof.index, head.size, &proof.hashes), head.root);
    assert_eq!(proof.extra, crate::evidence::base64(recorded["receipt"]["entry"].as_str().unwrap()));
}

async fn everything_goes_but_the_place_in_the_log(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    let (id, recorded) = record(&server, full()).await;
    let answer = redact(&server, &id, "reason=r&scope=all").send().await.json(200);
    let after = read(&server, &id).await;
    assert_eq!(members(&after), HashSet::from(["id", "seq", "received_at", "redacted"]));
    assert_eq!((&after["redacted"]["scope"], &after["redacted"]["seq"]), (&json!("all"), &json!(1)));
    assert_eq!(answer["event"], after);
    server.client.get(&format!("/events/{id}/payload")).send().await.problem(410, "redacted");
    proof_holds(&server, &id, &recorded, &vkey).await;
    let left = "SELECT count(*) FROM events WHERE seq = 0 AND num_nonnulls(level, event_type, user_identity,
        timestamp, source, outcome, target, message, ip, correlation_id, recorded_by, idempotency_key, envelope_salt,
        payload_salt, lossy, payload, event_data) > 0";
    assert_eq!(count(&server.database, left).await, 0);
}

async fn the_rest_can_follow_the_payload_and_nothing_is_redacted_twice(server: Arc<Server>) {
    let (id, _) = record(&server, full()).await;
    redact(&server, &id, "reason=first&scope=payload").send().await.json(200);
    let again = redact(&server, &id, "reason=again").send().await.problem(409, "already_redacted");
    assert_eq!(again["scope"], "payload");
    let answer = redact(&server, &id, "reason=second&scope=all").send().await.json(200);
    assert_eq!(answer["redaction"]["seq"], 2);
    assert_eq!(read(&server, &id).await["redacted"]["reason"], "second");
    for scope in ["payload", "all"] {
        let query = format!("reason=third&scope={scope}");
        redact(&server, &id, &query).send().await.problem(409, "already_redacted");
    }
    // An event without a payload has no less to be redacted: nobody learns from this that it had none.
    let (bare, _) = record(&server, event("bare")).await;
    redact(&server, &bare, "reason=r").send().await.json(200);
    server.client.get(&format!("/events/{bare}/payload")).send().await.problem(410, "redacted");
}

async fn what_the_log_says_of_itself_is_never_redacted(server: Arc<Server>) {
    let (id, _) = record(&server, full()).await;
    let answer = redact(&server, &id, "reason=r").send().await.json(200);
    let redaction = answer["redaction"]["id"].as_str().unwrap();
    for scope in ["payload", "all"] {
        let query = format!("reason=r&scope={scope}");
        redact(&server, redaction, &query).send().await.problem(409, "not_redactable");
    }
    assert_eq!(server.client.get("/events").send().await.json(200)["events"].as_array().unwrap().len(), 2);
}

async fn an_event_of_another_tenant_cannot_be_redacted(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    server.add_user_of("acme", "eve", PASSWORD, &["admin", "reader", "writer"]).await;
    let (id, _) = record(&server, full()).await;
    let as_eve = |request: Request| request.user("acme/eve", PASSWORD);
    let foreign = as_eve(redact(&server, &id, "reason=r")).send().await;
    let unknown = as_eve(redact(&server, "01912345-0000-7000-8000-000000000000", "reason=r")).send().await;
    assert_eq!(foreign.problem(404, "not_found"), unknown.problem(404, "not_found"));
    assert_eq!(read(&server, &id).await.get("redacted"), None);
    // A superadmin acts in it, and is named as a guest there.
    let theirs = as_eve(server.client.post("/events")).json(event("t")).send().await.json(201);
    let theirs = theirs["id"].as_str().unwrap();
    redact(&server, theirs, "reason=r").header("x-tenant", "acme").send().await.json(200);
    let seen = as_eve(server.client.get(&format!("/events/{theirs}"))).send().await.json(200);
    assert_eq!(seen["redacted"]["by"], "default/admin");
}

async fn a_redaction_says_why_and_of_what(server: Arc<Server>) {
    let (id, _) = record(&server, full()).await;
    let refused = |response: Response, parameter: &str| {
        let problem = response.problem(400, "invalid_parameter");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{problem:#}");
    };
    refused(redact(&server, &id, "").send().await, "reason");
    refused(redact(&server, &id, "reason=").send().await, "reason");
    refused(redact(&server, &id, &format!("reason={}", "x".repeat(1001))).send().await, "reason");
    let other = redact(&server, &id, "reason=r&scope=al").send().await.problem(400, "invalid_parameter");
    assert_eq!(
        other["errors"],
        json!([{"parameter": "scope", "detail": "expected one of: payload, all", "hint": "all"}])
    );
    refused(redact(&server, &id, "reason=r&reasn=s").send().await, "reasn");
    redact(&server, "17", "reason=r").send().await.problem(400, "bad_id");
    redact(&server, "6ba7b810-9dad-41d1-80b4-00c04fd430c8", "reason=r")
        .send()
        .await
        .problem(404, "not_found");
    assert_eq!(read(&server, &id).await["event_data"], json!({"k": "v"}), "nothing has happened");
    // Characters count, not bytes; and what no column can hold is replaced.
    let reason = format!("{}%00%22", "%D0%96".repeat(998));
    redact(&server, &id, &format!("reason={reason}")).send().await.json(200);
    let shown = read(&server, &id).await["redacted"]["reason"].as_str().unwrap().to_owned();
    assert_eq!(shown, format!("{}\u{fffd}\"", "Ж".repeat(998)));
}

async fn former_content_is_for_readers(server: Arc<Server>) {
    let (id, _) = record(&server, full()).await;
    for role in ["writer", "reader", "auditor", "superadmin"] {
        let token = server.add_token(ADMIN, role).await;
        redact(&server, &id, "reason=r").bearer(&token).send().await.problem(403, "role_missing");
    }
    let admin = server.add_token(ADMIN, "admin").await;
    let answer = redact(&server, &id, "reason=r").bearer(&admin).send().await.json(200);
    assert_eq!(members(&answer), HashSet::from(["redaction", "event"]));
    assert_eq!(members(&answer["event"]), HashSet::from(["id", "seq", "received_at", "redacted"]));
    assert_eq!(read(&server, &id).await["event_type"], "login", "a reader sees what is left");
    let by = read(&server, answer["redaction"]["id"].as_str().unwrap()).await;
    assert!(by["recorded_by"].as_str().unwrap().starts_with("token:admin/"), "{by}");
}

async fn lists_have_no_gaps_and_searches_find_nothing_erased(server: Arc<Server>) {
    let mut ids = Vec::new();
    for n in 0..4 {
        let mut event = full();
        event["event_data"] = json!({"n": n, "k": "v"});
        ids.push(record(&server, event).await.0);
    }
    redact(&server, &ids[1], "reason=a&scope=payload").send().await.json(200);
    redact(&server, &ids[2], "reason=b&scope=all").send().await.json(200);
    let mut listed = Vec::new();
    let mut next = "/events?limit=2".to_owned();
    loop {
        let page = server.client.get(&next).send().await.json(200);
        listed.extend(page["events"].as_array().unwrap().clone());
        let Some(url) = page["next"].as_str() else { break };
        next = url.to_owned();
    }
    let seqs: Vec<_> = listed.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [5, 4, 3, 2, 1, 0]);
    for (event, id) in [(&listed[4], &ids[1]), (&listed[3], &ids[2])] {
        assert_eq!(event, &read(&server, id).await);
    }
    let found = async |query: &str| -> Vec<u64> {
        let page = server.client.get(&format!("/events/query?{query}")).send().await.json(200);
        page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
    };
    for (query, expected) in [
        ("k=v", &[3, 0][..]),
        ("n=1", &[]),
        ("user_identity=ann", &[3, 1, 0]),
        ("type=login&level=WARN&outcome=denied&ip=192.0.2.0/24", &[3, 1, 0]),
        ("message=a%20message", &[3, 1, 0]),
        ("seq=2", &[2]),
        ("type=eventlogger.redaction&reason=b", &[5]),
        ("sort=timestamp&source=app", &[3, 1, 0]),
    ] {
        assert_eq!(found(query).await, expected, "{query}");
    }
}

async fn a_retry_of_a_redacted_event_is_a_conflict(server: Arc<Server>) {
    for scope in ["payload", "all"] {
        let (id, _) = record(&server, keyed(scope)).await;
        redact(&server, &id, &format!("reason=r&scope={scope}")).send().await.json(200);
        let retry = server.client.post("/events").json(keyed(scope)).send().await;
        assert_eq!(retry.problem(409, "idempotency_conflict")["id"], id.as_str());
    }
    let macs = "SELECT count(*) FROM idempotency WHERE content_mac IS NOT NULL OR salt IS NOT NULL";
    assert_eq!(count(&server.database, macs).await, 0);
    // Of another principal's event under the same key it stays.
    server.add_user("bob", PASSWORD, "writer").await;
    let bobs = server.client.post("/events").user("bob", PASSWORD).json(keyed("all")).send().await.json(201);
    let (id, _) = record(&server, keyed("mine")).await;
    redact(&server, &id, "reason=r").send().await.json(200);
    let retry = server.client.post("/events").user("bob", PASSWORD).json(keyed("all")).send().await.json(200);
    assert_eq!(retry["id"], bobs["id"]);
}

/// As when an instance died between recording a change and forgetting that it waits.
async fn a_change_that_waits_to_be_recorded_is_forgotten_with_its_event(server: Arc<Server>) {
    let changes = |config: &mut Config| config.access.record = vec![AccessKind::Changes];
    let server = server.another_instance_with(changes).await;
    server.add_user("bob", PASSWORD, "writer").await;
    let page = wait_for(async || {
        let page = server.client.get("/events?type=eventlogger.user_added").send().await.json(200);
        (page["events"].as_array().unwrap().len() == 1).then_some(page)
    })
    .await;
    let added = page["events"][0].clone();
    let key = added["idempotency_key"].as_str().unwrap().strip_prefix("eventlogger/").unwrap();
    let number: i64 = key.parse().unwrap();
    server.stop().await;
    let restore = format!(
        "INSERT INTO service_events (service_event_id, tenant_id, event_type, user_identity, message)
         OVERRIDING SYSTEM VALUE SELECT {number}, tenant_id, 'eventlogger.user_added', 'x', 'left behind' FROM tenants
         ON CONFLICT DO NOTHING"
    );
    server.database.execute(AssertSqlSafe(restore)).await.unwrap();
    // This one records no changes, so it leaves those alone that wait.
    let other = server.another_instance_with(|config| config.access.record = Vec::new()).await;
    redact(&other, added["id"].as_str().unwrap(), "reason=r&scope=all").send().await.json(200);
    assert_eq!(count(&server.database, "SELECT count(*) FROM service_events").await, 0);
    other.stop().await;
}

async fn of_redactions_at_once_one_wins(server: Arc<Server>) {
    let other = server.another_instance().await;
    for scope in ["payload", "all"] {
        let (id, _) = record(&server, full()).await;
        let tries = (0..12).map(|n| {
            let instance = if n % 2 == 0 { &*server } else { &other };
            redact(instance, &id, &format!("reason=r{n}&scope={scope}")).send()
        });
        let answers = futures_util::future::join_all(tries).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 11));
        for answer in lost {
            answer.problem(409, "already_redacted");
        }
        let seq = &won[0].json(200)["redaction"]["seq"];
        assert_eq!(&read(&server, &id).await["redacted"]["seq"], seq);
    }
    // Both scopes at once: the wider one is never lost.
    let (id, _) = record(&server, full()).await;
    let tries =
        ["payload", "all"].map(|scope| redact(&server, &id, &format!("reason=r&scope={scope}")).send());
    futures_util::future::join_all(tries).await;
    assert_eq!(read(&server, &id).await["redacted"]["scope"], "all");
    other.stop().await;
}

async fn a_redaction_whose_commit_is_lost_is_done_once(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    let (proxy, instance) = behind_proxy(&server).await;
    for (seq, fault) in [(1, Fault::LoseAnswer), (3, Fault::LoseCommit)] {
        let (id, _) = record(&server, full()).await;
        proxy.arm(fault);
        let answer = redact(&instance, &id, "reason=r&scope=all").send().await.json(200);
        assert_eq!(answer["redaction"]["seq"], seq, "{fault:?}");
        assert_eq!(read(&server, &id).await["redacted"]["seq"], seq, "{fault:?}");
        let payload = format!(r#"{{"seq":{},"id":"{id}","scope":"all","reason":"r"}}"#, seq - 1);
        check_receipt(&answer["redaction"]["receipt"], Some(payload.as_bytes()), &vkey);
    }
    instance.stop().await;
}

async fn the_writer_erases_nothing_that_no_entry_says(server: Arc<Server>) {
    let (id, _) = record(&server, full()).await;
    record(&server, full()).await;
    redact(&server, &id, "reason=r").send().await.json(200);
    let options = (*server.database.connect_options()).clone();
    assert_eq!(options.get_username(), SUPERUSER);
    let mut writer = options.username(WRITER).connect().await.unwrap();
    let times: Vec<time::OffsetDateTime> = sqlx::query_scalar("SELECT received_at FROM events ORDER BY seq")
        .fetch_all(&server.database)
        .await
        .unwrap();
    // By an event, by a redaction that was done, by one that is not there, and of another event than the entry says.
    for (entry, target) in [(1, 0), (2, 0), (3, 0), (2, 1)] {
        let call = sqlx::query("SELECT redact_event(1, $1, $2, $3)").bind(i64::from(entry));
        let at = *times.get(usize::try_from(entry).unwrap()).unwrap_or(&times[2]);
        let error = call.bind(at).bind(times[target]).execute(&mut writer).await.unwrap_err();
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "22023", "{entry} {target}: {error}");
    }
    writer.close().await.unwrap();
    let owner: String =
        sqlx::query_scalar("SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'redact_event'")
            .fetch_one(&server.database)
            .await
            .unwrap();
    assert_eq!(owner, "eventlogger_redactor");
}

/// A login that owns its database and may make no roles.
async fn one_identity_for_all_can_redact(server: Arc<Server>) {
    let own = server.database.connect_options().get_database().unwrap().to_owned();
    let (database, role) = (format!("{own}_single"), format!("plain_{own}"));
    for statement in [
        format!("CREATE ROLE {role}"),
        format!("GRANT {role} TO {OWNER}"),
        format!("CREATE DATABASE {database} TEMPLATE template0 OWNER {role}"),
    ] {
        server.database.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let url = server.config.database.url.reveal().replace(&format!("/{own}?"), &format!("/{database}?"));
    let single = server
        .another_instance_with(|config| {
            config.database.url = Secret::new(format!("{url}&options=-c%20role%3D{role}"));
            config.data_dir = config.data_dir.join("single");
        })
        .await;
    assert_eq!(single.store.facts.privileges.to_string(), "single");
    let (id, _) = record(&single, full()).await;
    redact(&single, &id, "reason=r&scope=all").send().await.json(200);
    assert_eq!(members(&read(&single, &id).await).len(), 4);
    let options = (*server.database.connect_options()).clone().database(&database);
    let pool = PgPool::connect_lazy_with(options);
    wait_for_scrubbing(&pool).await;
    single.stop().await;
    auditor::audit(&pool).await;
    pool.close().await;
}

async fn wait_for<T>(found: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(180), "waited too long");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn wait_for_scrubbing(database: &PgPool) {
    let left = "SELECT count(*) FROM redactions WHERE scrubbed_at IS NULL";
    wait_for(async || (count(database, left).await == 0).then_some(())).await;
}

async fn scrubbing_waits_for_whoever_still_sees_it(server: Arc<Server>) {
    let (id, _) = record(&server, full()).await;
    let options = (*server.database.connect_options()).clone();
    let mut reader = options.username(READER).connect().await.unwrap();
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    reader.execute("SELECT FROM events").await.unwrap();
    redact(&server, &id, "reason=r&scope=all").send().await.json(200);
    let sees = "SELECT count(*) FROM events WHERE message = 'a message'";
    let left = "SELECT count(*) FROM redactions WHERE scrubbed_at IS NULL";
    for _ in 0..3 {
        assert_eq!(scrub::scrub(&server.store.control).await.unwrap(), scrub::Scrubbed::default());
        assert_eq!(sqlx::query_scalar::<_, i64>(sees).fetch_one(&mut reader).await.unwrap(), 1);
        assert_eq!(count(&server.database, left).await, 1);
    }
    reader.close().await.unwrap();
    wait_for_scrubbing(&server.database).await;
}

/// The files of the test's own database in which the text stands.
async fn files_with_canary(server: &Server) -> Vec<PathBuf> {
    server.database.execute("CHECKPOINT").await.unwrap();
    let query = "SELECT current_setting('data_directory') || '/base/' || oid FROM pg_database
                 WHERE datname = current_database()";
    let folder: String = sqlx::query_scalar(query).fetch_one(&server.database).await.unwrap();
    let files = std::fs::read_dir(Path::new(&folder)).unwrap().map(|entry| entry.unwrap().path());
    // One may be removed meanwhile.
    let holds = |file: &PathBuf| std::fs::read(file).is_ok_and(|bytes| contains(&bytes, CANARY.as_bytes()));
    files.filter(holds).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

async fn nothing_of_it_stays_in_the_files(server: Arc<Server>) {
    let mut event = full();
    for field in ["event_type", "user_identity", "source", "target", "message", "correlation_id"] {
        event[field] = json!(format!("{field} {CANARY}"));
    }
    event["event_data"] =
        json!({CANARY: CANARY, "long": (0..4000).map(|n| format!("{n}{CANARY}")).collect::<String>()});
    let mut ids = Vec::new();
    // As many as it takes to be among the common values, on pages of their own and on pages with others.
    for _ in 0..20 {
        ids.push(record(&server, &event).await.0);
        record(&server, full()).await;
    }
    let long = "x".repeat(100) + CANARY + &"y".repeat(100);
    for _ in 0..20 {
        ids.push(record(&server, json!({"event_type": "t", "user_identity": long})).await.0);
    }
    server.database.execute("ANALYZE").await.unwrap();
    let common = "SELECT count(*) FROM pg_stats WHERE most_common_vals::text LIKE '%canary%'";
    assert!(count(&server.database, common).await > 0);
    assert!(files_with_canary(&server).await.len() > 3, "in table, TOAST, indexes and statistics");
    for id in &ids {
        redact(&server, id, "reason=r&scope=all").send().await.json(200);
    }
    wait_for_scrubbing(&server.database).await;
    let left = files_with_canary(&server).await;
    let names: Vec<(String, i64)> =
        sqlx::query_as("SELECT relname::text, pg_relation_filenode(oid)::bigint FROM pg_class WHERE relfilenode > 0 OR relkind = 'r'")
            .fetch_all(&server.database)
            .await
            .unwrap();
    let name_of = |file: &PathBuf| {
        let node: i64 = file.file_name()?.to_str()?.parse().ok()?;
        names.iter().find(|(_, known)| *known == node).map(|(name, _)| name.clone())
    };
    assert!(left.is_empty(), "{left:?}: {:?}", left.iter().map(name_of).collect::<Vec<_>>());
    assert_eq!(
        server.client.get("/events?limit=100").send().await.json(200)["events"].as_array().unwrap().len(),
        100
    );
}
