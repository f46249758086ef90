//! Recording: what a 201 promises, and what happens to events that are odd, large, repeated or wrong.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Server, event, tests};

tests![
    a_recorded_event_is_found_again,
    a_receipt_opens_its_entry,
    the_receipt_is_left_out_on_request,
    simultaneous_events_get_gapless_seqs,
    the_same_key_and_content_is_recorded_once,
    the_same_key_with_other_content_is_a_conflict,
    keys_of_different_users_do_not_meet,
    simultaneous_retries_are_recorded_once,
    a_token_and_its_owner_share_their_keys,
    odd_json_is_recorded_byte_for_byte,
    a_misspelt_field_is_refused_with_the_nearest_name,
    the_services_own_types_are_refused,
    a_batch_answers_for_each_item,
    lines_are_a_batch_too,
    a_header_key_covers_each_item_of_a_batch,
    an_atomic_batch_is_all_or_nothing,
    an_atomic_batch_with_a_conflicting_key_is_not_recorded,
    a_large_batch_is_recorded_in_order,
    one_poisonous_event_hurts_only_itself,
    a_flat_record_keeps_unknown_members,
    a_second_instance_continues_the_same_log,
    a_missing_partition_is_made,
    a_tampered_head_stops_the_log,
    an_idle_service_drains_at_once_and_refuses_afterwards,
];

async fn a_recorded_event_is_found_again(server: Arc<Server>) {
    let event = json!({"event_type": "old_account", "user_identity": "Asad_Zaman",
                       "event_data": {"account_id": 1346, "email": "john.doe@example.com"}});
    let response = server.client.post("/events").json(event.to_string()).send().await;
    let recorded = response.json(201);
    assert_eq!(recorded["seq"], 0);
    let id = recorded["id"].as_str().unwrap();
    assert_eq!(response.header("location"), Some(format!("/events/{id}").as_str()));
    for query in ["user_identity=Asad_Zaman", "account_id=1346", "user=Asad_Zaman&data.account_id=1346"] {
        let found = server.client.get(&format!("/events/query?{query}")).send().await.json(200);
        assert_eq!(found["events"].as_array().unwrap().len(), 1, "{query}");
        assert_eq!(found["events"][0]["id"], id);
        assert_eq!(found["events"][0]["event_data"], event["event_data"]);
        assert_eq!(found["complete"], true);
    }
    let none = server.client.get("/events/query?account_id=1347").send().await.json(200);
    assert_eq!(none["events"], json!([]));
    let one = server.client.get(&format!("/events/{id}")).send().await.json(200);
    assert_eq!(one["recorded_by"], "user:admin");
    assert_eq!(one["level"], "INFO");
}

fn commitment(label: &str, salt: &Value, bytes: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let salt = STANDARD.decode(salt.as_str().unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&salt).unwrap();
    mac.update(label.as_bytes());
    mac.update(&[0]);
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

async fn a_receipt_opens_its_entry(server: Arc<Server>) {
    let payload = r#"{ "n" : 1e400, "s":"\u0000" }"#;
    let body = format!(
        r#"{{"event_type":"t","user_identity":"Ж","ip":"::ffff:10.0.0.1","timestamp":"2026-11-20T10:00:00.123456789+02:00","event_data":{payload}}}"#
    );
    let recorded = server.client.post("/events").json(body).send().await.json(201);
    let receipt = &recorded["receipt"];
    let entry = STANDARD.decode(receipt["entry"].as_str().unwrap()).unwrap();
    assert_eq!(entry.len(), 118);
    let envelope = receipt["envelope"].as_str().unwrap();
    assert_eq!(
        envelope,
        r#"{"event_type":"t","ip":"10.0.0.1","level":"INFO","recorded_by":"user:admin","timestamp":"2026-11-20T08:00:00.123456Z","user_identity":"Ж","v":1}"#
    );
    assert_eq!(
        entry[54..86],
        commitment("audit/envelope/v1", &receipt["envelope_salt"], envelope.as_bytes())
    );
    assert_eq!(entry[86..118], commitment("audit/payload/v1", &receipt["payload_salt"], payload.as_bytes()));
    let stored: Vec<u8> =
        sqlx::query_scalar("SELECT entry FROM events").fetch_one(&server.database).await.unwrap();
    assert_eq!(stored, entry);
    let root: Vec<u8> =
        sqlx::query_scalar("SELECT root FROM heads").fetch_one(&server.database).await.unwrap();
    assert_eq!(root, Sha256::new().chain_update([0]).chain_update(&entry).finalize().as_slice());
}

async fn the_receipt_is_left_out_on_request(server: Arc<Server>) {
    let recorded = server.client.post("/events?receipt=none").json(event("a")).send().await.json(201);
    assert!(recorded.get("receipt").is_none());
}

async fn simultaneous_events_get_gapless_seqs(server: Arc<Server>) {
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let client = server.client.clone();
            tokio::spawn(async move {
                let body =
                    json!({"event_type": "t", "user_identity": format!("u{n}"), "event_data": {"n": n}});
                client.post("/events").json(body.to_string()).send().await.json(201)["seq"].as_u64().unwrap()
            })
        })
        .collect();
    let mut seqs = Vec::new();
    for task in tasks {
        seqs.push(task.await.unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (0..300).collect::<Vec<_>>());
}

async fn the_same_key_and_content_is_recorded_once(server: Arc<Server>) {
    let body = r#"{"event_type":"t","user_identity":"u","idempotency_key":"k1","event_data":{"a":1}}"#;
    let first = server.client.post("/events").json(body).send().await.json(201);
    let second = server.client.post("/events").json(body).send().await.json(200);
    assert_eq!(second["duplicate"], true);
    for member in ["id", "seq", "timestamp", "received_at", "receipt"] {
        assert_eq!(first[member], second[member], "{member}");
    }
    // The header says the same as the member.
    let bare = r#"{"event_type":"t","user_identity":"u","event_data":{"a":1}}"#;
    let third =
        server.client.post("/events").header("idempotency-key", "k1").json(bare).send().await.json(200);
    assert_eq!(third["id"], first["id"]);
}

async fn the_same_key_with_other_content_is_a_conflict(server: Arc<Server>) {
    let with = |data: &str| {
        format!(r#"{{"event_type":"t","user_identity":"u","idempotency_key":"k1","event_data":{data}}}"#)
    };
    let first = server.client.post("/events").json(with("1")).send().await.json(201);
    // Equal as JSON, but not the same bytes.
    let response = server.client.post("/events").json(with("1.0")).send().await;
    let problem = response.problem(409, "idempotency_conflict");
    assert_eq!(problem["id"], first["id"]);
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&server.database).await.unwrap();
    assert_eq!(count, 1);
}

async fn keys_of_different_users_do_not_meet(server: Arc<Server>) {
    server.add_user("ann", "ann's long password", "writer").await;
    let body = r#"{"event_type":"t","user_identity":"u","idempotency_key":"k1"}"#;
    let first = server.client.post("/events").json(body).send().await.json(201);
    let second =
        server.client.post("/events").user("ann", "ann's long password").json(body).send().await.json(201);
    assert_ne!(first["id"], second["id"]);
}

async fn simultaneous_retries_are_recorded_once(server: Arc<Server>) {
    let other = server.another_instance().await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let client = if n % 2 == 0 { server.client.clone() } else { other.client.clone() };
            tokio::spawn(async move {
                let body = r#"{"event_type":"t","user_identity":"u","idempotency_key":"same"}"#;
                let response = client.post("/events").json(body).send().await;
                assert!(response.status.is_success(), "{}", response.text());
                (response.status.as_u16(), response.json(response.status.as_u16())["id"].clone())
            })
        })
        .collect();
    let mut created = 0;
    let mut ids = std::collections::HashSet::new();
    for task in tasks {
        let (status, id) = task.await.unwrap();
        created += usize::from(status == 201);
        ids.insert(id.to_string());
    }
    assert_eq!((created, ids.len()), (1, 1));
    other.stop().await;
}

async fn a_token_and_its_owner_share_their_keys(server: Arc<Server>) {
    let token = server.add_token("admin", "writer").await;
    let body = r#"{"event_type":"t","user_identity":"u","idempotency_key":"k"}"#;
    let first = server.client.post("/events").bearer(&token).json(body).send().await.json(201);
    let second = server.client.post("/events").json(body).send().await.json(200);
    assert_eq!(first["id"], second["id"]);
    assert_eq!(first["receipt"], second["receipt"]);
    let stored =
        server.client.get(&format!("/events/{}", first["id"].as_str().unwrap())).send().await.json(200);
    assert!(stored["recorded_by"].as_str().unwrap().starts_with("token:admin/"), "{stored}");
}

async fn odd_json_is_recorded_byte_for_byte(server: Arc<Server>) {
    let million = format!("[{}1]", "1,".repeat(400_000));
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let odd = [
        r#""\u0000""#,
        r#"{"a\u0000b":"\ud800"}"#,
        "1e400",
        "[1e131071, -1e131071]",
        r#"{"a":1,"a":2}"#,
        " { \"spaced\" :\t[ 1 , 2 ]\n} ",
        "9007199254740993",
        "1.000000000000000005",
        "-0",
        "1E2",
        "null",
        r#"{"key":"Ünïcödé 😀"}"#,
        deep.as_str(),
        million.as_str(),
    ];
    for data in odd {
        let body = format!(r#"{{"event_type":"odd","user_identity":"mallory","event_data":{data}}}"#);
        let recorded = server.client.post("/events").json(body).send().await.json(201);
        let path = format!("/events/{}/payload", recorded["id"].as_str().unwrap());
        let payload = server.client.get(&path).send().await;
        assert_eq!(payload.status, 200);
        assert!(payload.body == data.trim_ascii(), "{}: {}", &data[..data.len().min(60)], payload.text());
    }
    // Every list stays readable by a stock parser, with these events in it.
    let mut seen = 0;
    let mut next = Some("/events?limit=5".to_owned());
    while let Some(path) = next {
        let page = server.client.get(&path).send().await.json(200);
        seen += page["events"].as_array().unwrap().len();
        next = page.get("next").and_then(Value::as_str).map(str::to_owned);
    }
    assert_eq!(seen, odd.len());
}

async fn a_misspelt_field_is_refused_with_the_nearest_name(server: Arc<Server>) {
    let body = r#"{"event_type":"t","user_identiy":"u"}"#;
    let problem = server.client.post("/events").json(body).send().await;
    let problem = problem.json(422);
    let text = problem.to_string();
    assert!(text.contains("/user_identiy") && text.contains("user_identity"), "{problem:#}");
}

async fn the_services_own_types_are_refused(server: Arc<Server>) {
    let response = server.client.post("/events").json(event("eventlogger.redaction")).send().await;
    response.problem(422, "reserved_event_type");
}

async fn a_batch_answers_for_each_item(server: Arc<Server>) {
    let body = r#"[{"event_type":"a","user_identity":"u"}, {"event_type":"b"}, 7, {"event_type":"c","user_identity":"u"}]"#;
    let answer = server.client.post("/events/batch").json(body).send().await.json(207);
    assert_eq!((answer["stored"].as_u64(), answer["rejected"].as_u64()), (Some(2), Some(2)));
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 422, 422, 201]);
    assert_eq!(answer["results"][1]["problem"]["errors"][0]["pointer"], "/1/user_identity");
    assert_eq!((&answer["results"][0]["seq"], &answer["results"][3]["seq"]), (&json!(0), &json!(1)));
    let none = server.client.post("/events/batch").json(r#"[{"event_type":"b"}]"#).send().await;
    let none = none.problem(422, "batch_rejected");
    assert_eq!((&none["stored"], &none["results"][0]["status"]), (&json!(0), &json!(422)));
    assert_eq!(none["errors"][0]["pointer"], "/0/user_identity");
    server.client.post("/events/batch").json("[]").send().await.problem(422, "empty_batch");
    let torn =
        server.client.post("/events/batch").json(r#"[{"event_type":"a","user_identity":"u"},]"#).send().await;
    assert_eq!(torn.problem(400, "malformed_json")["errors"][0]["position"]["offset"], 40);
}

async fn lines_are_a_batch_too(server: Arc<Server>) {
    let body = format!("{}\n\n{{\"event_type\":\n{}\r\n", event("a"), event("b"));
    let answer = server.client.post("/events/batch").ndjson(body).send().await.json(207);
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 400, 201], "{answer:#}");
}

async fn a_header_key_covers_each_item_of_a_batch(server: Arc<Server>) {
    let body = format!("[{},{}]", event("a"), event("b"));
    let send =
        || server.client.post("/events/batch").header("idempotency-key", "K").json(body.clone()).send();
    let first = send().await.json(201);
    let second = send().await.json(201);
    for n in 0..2 {
        assert_eq!(first["results"][n]["id"], second["results"][n]["id"]);
        assert_eq!(second["results"][n]["duplicate"], true);
        assert_eq!(second["results"][n]["status"], 200);
    }
    let keys: Vec<String> = sqlx::query_scalar("SELECT key FROM idempotency ORDER BY key")
        .fetch_all(&server.database)
        .await
        .unwrap();
    assert_eq!(keys, ["K/0", "K/1"]);
}

async fn an_atomic_batch_is_all_or_nothing(server: Arc<Server>) {
    let bad = format!(r#"[{},{{"event_type":"b"}}]"#, event("a"));
    let answer = server.client.post("/events/batch?atomic=true").json(bad).send().await;
    let answer = answer.problem(422, "batch_rejected");
    assert_eq!(answer["results"][0]["problem"]["code"], "atomic_aborted");
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "only what is at fault: {answer:#}");
    assert_eq!(answer["errors"][0]["pointer"], "/1/user_identity");
    let good: Vec<String> = (0..2_500).map(|n| event(&format!("t{n}"))).collect();
    let answer = server
        .client
        .post("/events/batch?atomic=true&receipt=none")
        .json(format!("[{}]", good.join(",")))
        .send()
        .await;
    assert_eq!(answer.json(201)["stored"], 2_500);
    let times: i64 = sqlx::query_scalar("SELECT count(DISTINCT received_at) FROM events")
        .fetch_one(&server.database)
        .await
        .unwrap();
    assert_eq!(times, 1, "one transaction");
}

async fn an_atomic_batch_with_a_conflicting_key_is_not_recorded(server: Arc<Server>) {
    let keyed = |event_type: &str| {
        json!({"event_type": event_type, "user_identity": "u", "idempotency_key": "k"}).to_string()
    };
    server.client.post("/events").json(keyed("a")).send().await.json(201);
    let body = format!("[{},{}]", event("x"), keyed("other"));
    let answer = server.client.post("/events/batch?atomic=true").json(body).send().await;
    let answer = answer.problem(422, "batch_rejected");
    assert_eq!(answer["errors"][0]["pointer"], "/1");
    assert_eq!(answer["results"][0]["problem"]["code"], "atomic_aborted");
    assert_eq!(answer["results"][1]["problem"]["code"], "idempotency_conflict");
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&server.database).await.unwrap();
    assert_eq!(count, 1);
}

async fn a_large_batch_is_recorded_in_order(server: Arc<Server>) {
    let events: Vec<String> = (0..3_000).map(|n| event(&format!("t{n}"))).collect();
    let answer =
        server.client.post("/events/batch").json(format!("[{}]", events.join(","))).send().await.json(201);
    let seqs: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (0..3_000).collect::<Vec<_>>());
    let singles = server.client.post("/events").json(event("after")).send().await.json(201);
    assert_eq!(singles["seq"], 3_000);
}

async fn one_poisonous_event_hurts_only_itself(server: Arc<Server>) {
    sqlx::query("ALTER TABLE events ADD CONSTRAINT no_poison CHECK (message <> 'poison')")
        .execute(&server.database)
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for n in 0..100 {
        let client = server.client.clone();
        let message = if n == 42 { "poison" } else { "good" };
        tasks.push(tokio::spawn(async move {
            let body = json!({"event_type": "t", "user_identity": "u", "message": message});
            client.post("/events").json(body.to_string()).send().await.status.as_u16()
        }));
    }
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|&&status| status == 201).count(), 99);
    assert_eq!(statuses[42], 422);
    let batch: Vec<String> = (0..1_500)
        .map(|n| json!({"event_type": "t", "user_identity": "u", "message": if n == 700 { "poison" } else { "good" }}).to_string())
        .collect();
    let answer =
        server.client.post("/events/batch").json(format!("[{}]", batch.join(","))).send().await.json(207);
    assert_eq!((answer["stored"].as_u64(), answer["rejected"].as_u64()), (Some(1_499), Some(1)));
    assert_eq!(answer["results"][700]["problem"]["code"], "refused_by_database");
}

async fn a_flat_record_keeps_unknown_members(server: Arc<Server>) {
    let body =
        r#"{"level":"warning","app_name":"billing","message":"card declined","order":991,"odd\u0000":1e400}"#;
    let recorded = server.client.post("/log").json(body).send().await.json(201);
    let id = recorded["id"].as_str().unwrap();
    let stored = server.client.get(&format!("/events/{id}")).send().await.json(200);
    assert_eq!((&stored["event_type"], &stored["user_identity"]), (&json!("log"), &json!("anonymous")));
    assert_eq!((&stored["level"], &stored["source"]), (&json!("WARN"), &json!("billing")));
    assert_eq!(stored["event_data"]["order"], 991);
    let payload = server.client.get(&format!("/events/{id}/payload")).send().await;
    assert_eq!(payload.text(), r#"{"order":991,"odd\u0000":1e400}"#);
}

async fn a_second_instance_continues_the_same_log(server: Arc<Server>) {
    let other = server.another_instance().await;
    for n in 0..520 {
        let client = if n % 3 == 0 { &other.client } else { &server.client };
        assert_eq!(client.post("/events").json(event("t")).send().await.json(201)["seq"], n);
    }
    other.stop().await;
}

async fn a_missing_partition_is_made(server: Arc<Server>) {
    let now: String = sqlx::query_scalar("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
        .fetch_one(&server.database)
        .await
        .unwrap();
    let statement = format!("DROP TABLE events_{now}");
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&server.database).await.unwrap();
    let response = server.client.post("/events").json(event("t")).send().await;
    let problem = response.problem(503, "not_recorded");
    assert_eq!(problem["reason"], "partition");
    assert!(response.header("retry-after").is_some());
    server.client.post("/events").json(event("t")).send().await.json(201);
}

async fn a_tampered_head_stops_the_log(server: Arc<Server>) {
    server.client.post("/events").json(event("t")).send().await.json(201);
    let root: Vec<u8> =
        sqlx::query_scalar("SELECT root FROM heads").fetch_one(&server.database).await.unwrap();
    sqlx::query("UPDATE heads SET root = sha256(root)").execute(&server.database).await.unwrap();
    let response = server.client.post("/events").json(event("t")).send().await;
    assert_eq!(response.problem(503, "not_recorded")["reason"], "signed_state");
    server.client.get("/events").send().await.json(200);
    sqlx::query("UPDATE heads SET root = $1").bind(root).execute(&server.database).await.unwrap();
    server.client.post("/events").json(event("t")).send().await.json(201);
}

async fn an_idle_service_drains_at_once_and_refuses_afterwards(server: Arc<Server>) {
    server.client.post("/events").json(event("t")).send().await.json(201);
    server.stop().await;
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&server.database).await.unwrap();
    assert_eq!(count, 1);
}
