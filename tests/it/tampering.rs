//! That the auditor, who has the last word in all other tests, can say no.

use std::sync::Arc;

use serde_json::json;
use sqlx::Executor;

use crate::auditor;
use crate::harness::{LOG_TABLES, Server, bring_back, keep, keyed, tests};

tests![the_auditor_notices_every_kind_of_tampering];

/// A change behind the service's back, and how the auditor words it.
const TAMPERING: [(&str, &str); 18] = [
    ("UPDATE events SET payload = payload || ' '::bytea WHERE seq = 7", "seq 7: entry"),
    ("UPDATE events SET user_identity = 'somebody else' WHERE seq = 7", "seq 7: entry"),
    ("UPDATE events SET message = 'never said' WHERE seq = 7", "seq 7: entry"),
    (
        "UPDATE events SET \"timestamp\" = \"timestamp\" - interval '1 microsecond' WHERE seq = 7",
        "seq 7: entry",
    ),
    ("UPDATE events SET level = 6 WHERE seq = 7", "seq 7: entry"),
    ("UPDATE events SET idempotency_key = NULL WHERE seq = 0", "seq 0: entry"),
    (
        "UPDATE events SET payload = NULL, payload_salt = NULL, event_data = NULL, lossy = NULL WHERE seq = 7",
        "seq 7: entry",
    ),
    (
        "UPDATE events SET redaction = 'payload', payload = NULL, payload_salt = NULL, event_data = NULL, lossy = NULL
         WHERE seq = 7",
        "seq 7: erased as the log says",
    ),
    ("UPDATE events SET entry = set_byte(entry, 59, get_byte(entry, 59) # 255) WHERE seq = 8", "seq 8: entry"),
    ("UPDATE events SET redaction = 'none' WHERE seq = 9", "seq 9: erased as the log says"),
    ("DELETE FROM redactions", "the table of redactions"),
    ("UPDATE events SET entry = set_byte(entry, 59, get_byte(entry, 59) # 255) WHERE seq = 7", "seq 7: entry"),
    ("DELETE FROM events WHERE seq = 7", "seq is gapless"),
    ("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)", "the head knows the last time"),
    ("UPDATE tiles SET data = set_byte(data, 32, get_byte(data, 32) # 255)", "tiles"),
    ("DELETE FROM tiles", "tiles"),
    ("UPDATE heads SET root = sha256(root)", "root"),
    ("DELETE FROM idempotency", "the key of seq 0 is kept"),
];

async fn the_auditor_notices_every_kind_of_tampering(server: Arc<Server>) {
    server.client.post("/events").json(keyed("k")).send().await.json(201);
    let events: Vec<_> = (0..300)
        .map(|n| json!({"event_type": "t", "user_identity": "u", "event_data": {"n": n}}).to_string())
        .collect();
    let path = "/events/batch?receipt=none";
    let batch = server.client.post(path).json(format!("[{}]", events.join(","))).send().await.json(201);
    let redacted = batch["results"][8]["id"].as_str().unwrap();
    let redact = server.client.request(http::Method::DELETE, &format!("/events/{redacted}?reason=test"));
    redact.send().await.json(200);
    server.client.post("/events").json(keyed("last")).send().await.json(201);
    auditor::audit(&server.database).await;
    keep(&server, &LOG_TABLES).await;
    for (tampering, finding) in TAMPERING {
        let changed = server.database.execute(tampering).await.unwrap().rows_affected();
        assert!(changed > 0, "{tampering}");
        let database = server.database.clone();
        let audit = tokio::spawn(async move { auditor::audit(&database).await });
        let panic = audit.await.expect_err(tampering).into_panic();
        let words = panic.downcast_ref::<String>().expect("a message");
        assert!(words.contains(finding), "{tampering}: {words}");
        bring_back(&server, &LOG_TABLES).await;
    }
}
