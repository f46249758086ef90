//! The independent auditor. It shares no code with the service: what it recomputes is written down here again,
//! as naively as possible.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{PgPool, Row};
use uuid::Uuid;

pub type Hash = [u8; 32];

/// Re-reads every log and panics at the first thing that does not fit.
pub async fn audit(database: &PgPool) {
    let heads = sqlx::query(
        "SELECT h.tenant_id, h.size, h.root, h.frontier, h.last_id, t.log_id,
                (extract(epoch FROM h.last_received_at) * 1000000)::bigint AS last_micros
         FROM heads h JOIN tenants t USING (tenant_id) ORDER BY 1",
    )
    .fetch_all(database)
    .await
    .expect("heads");
    let tenants: i64 =
        sqlx::query_scalar("SELECT count(*) FROM tenants").fetch_one(database).await.expect("tenants");
    assert_eq!(heads.len() as i64, tenants, "every tenant has a head");
    for head in heads {
        let tenant: i32 = head.get("tenant_id");
        let leaves = audit_events(database, tenant, head.get("log_id"), head.get("last_micros")).await;
        assert_eq!(
            leaves.len() as i64,
            head.get::<i64, _>("size"),
            "tenant {tenant}: the head counts the events"
        );
        assert_eq!(tree_root(&leaves).as_slice(), head.get::<&[u8], _>("root"), "tenant {tenant}: root");
        let frontier: Vec<u8> = perfect_roots(&leaves).concat();
        assert!(frontier == head.get::<Vec<u8>, _>("frontier"), "tenant {tenant}: frontier");
        audit_tiles(database, tenant, &leaves).await;
        audit_keys(database, tenant, &leaves).await;
    }
}

/// Checks each event of a log against its entry; returns the leaf hashes.
async fn audit_events(database: &PgPool, tenant: i32, log_id: Uuid, last_micros: i64) -> Vec<Hash> {
    let rows = sqlx::query(
        r#"SELECT seq, id, kind, entry, redaction, envelope_salt, payload_salt, payload, event_data IS NULL AS no_data,
                  (extract(epoch FROM received_at) * 1000000)::bigint AS micros,
                  to_char("timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS happened,
                  event_type, user_identity, source, outcome, target, message, host(ip) AS ip, correlation_id,
                  recorded_by, idempotency_key,
                  (ARRAY['DEBUG', 'INFO', 'NOTICE', 'WARN', 'ERROR', 'CRITICAL'])[level] AS level
           FROM events WHERE tenant_id = $1 ORDER BY seq"#,
    )
    .bind(tenant)
    .fetch_all(database)
    .await
    .expect("events");
    for (expected, row) in rows.iter().enumerate() {
        assert_eq!(row.get::<i64, _>("seq"), expected as i64, "tenant {tenant}: seq is gapless");
    }
    let erased = redactions(&rows);
    audit_redactions(database, tenant, &erased).await;
    let mut leaves = Vec::new();
    let mut before = (0_i64, Uuid::nil());
    for row in &rows {
        let seq: i64 = row.get("seq");
        let id: Uuid = row.get("id");
        let micros: i64 = row.get("micros");
        assert!(micros >= before.0 && id > before.1, "tenant {tenant}, seq {seq}: time and id never go back");
        assert_eq!(
            (id.as_u128() >> 80) as i64,
            micros / 1000,
            "seq {seq}: the id carries the time of receipt"
        );
        before = (micros, id);
        let payload: Option<&[u8]> = row.get("payload");
        assert_eq!(
            payload.is_none(),
            row.get::<bool, _>("no_data"),
            "seq {seq}: projection goes with the payload"
        );

        // Without content nothing shows that the commitments are right; that it may be missing, a later entry must say.
        let scope = erased.get(&seq).map_or("none", |erased| if erased.all { "all" } else { "payload" });
        assert_eq!(
            row.get::<&str, _>("redaction"),
            scope,
            "tenant {tenant}, seq {seq}: erased as the log says"
        );
        let stored: &[u8] = row.get("entry");
        let is_erased = scope != "none";
        assert!(!is_erased || payload.is_none(), "tenant {tenant}, seq {seq}: what was redacted is gone");

        let mut entry = b"AUE1".to_vec();
        entry.push(row.get::<i16, _>("kind") as u8);
        entry.push(if is_erased { stored[5] & 1 } else { u8::from(payload.is_some()) });
        entry.extend(log_id.as_bytes());
        entry.extend(seq.to_be_bytes());
        entry.extend(micros.to_be_bytes());
        entry.extend(id.as_bytes());
        if scope == "all" {
            assert_eq!(envelope(row), r#"{"v":1}"#, "tenant {tenant}, seq {seq}: what was redacted is gone");
            entry.extend(&stored[54..86]);
        } else {
            entry.extend(commit("audit/envelope/v1", row.get("envelope_salt"), envelope(row).as_bytes()));
        }
        match payload {
            _ if is_erased => entry.extend(&stored[86..]),
            Some(payload) => entry.extend(commit("audit/payload/v1", row.get("payload_salt"), payload)),
            None => entry.extend([0; 32]),
        }
        assert!(entry == stored, "tenant {tenant}, seq {seq}: entry");
        leaves.push(leaf(&entry));
    }
    assert!(before.0 == 0 || before.0 == last_micros, "tenant {tenant}: the head knows the last time");
    leaves
}

/// What the log says was erased of an event.
struct Erased {
    all: bool,
    /// The entries that say so, and what scope.
    by: Vec<(i64, String)>,
}

/// By the seq of the event. The payload of an entry of kind 2 names exactly one earlier event.
fn redactions(rows: &[sqlx::postgres::PgRow]) -> BTreeMap<i64, Erased> {
    let mut erased = BTreeMap::new();
    for row in rows.iter().filter(|row| row.get::<i16, _>("kind") == 2) {
        let seq: i64 = row.get("seq");
        let said: Value = serde_json::from_slice(row.get("payload")).expect("what a redaction says is JSON");
        assert_eq!(said.as_object().map(|it| it.len()), Some(4), "seq {seq}: {said}");
        let target = said["seq"].as_i64().filter(|target| *target < seq).expect("an earlier event");
        let named = &rows[target as usize];
        assert_eq!(
            said["id"],
            named.get::<Uuid, _>("id").to_string(),
            "seq {seq} names an event by seq and id"
        );
        assert_eq!(named.get::<i16, _>("kind"), 1, "seq {seq} redacts an event, and nothing else");
        assert!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "seq {seq}: {said}");
        let scope =
            said["scope"].as_str().filter(|scope| ["payload", "all"].contains(scope)).expect("a scope");
        let erased = erased.entry(target).or_insert(Erased { all: false, by: Vec::new() });
        assert!(!erased.all, "seq {seq}: there was nothing left to redact of {target}");
        erased.all = scope == "all";
        erased.by.push((seq, scope.to_owned()));
    }
    erased
}

/// The table of redactions has those of the log, and the keys of redacted events tell nothing of their content.
async fn audit_redactions(database: &PgPool, tenant: i32, erased: &BTreeMap<i64, Erased>) {
    let noted: Vec<(i64, i64, String)> =
        sqlx::query_as("SELECT target_seq, seq, scope FROM redactions WHERE tenant_id = $1 ORDER BY 1, 2")
            .bind(tenant)
            .fetch_all(database)
            .await
            .expect("redactions");
    let said = erased.iter().flat_map(|(target, it)| it.by.iter().map(|(seq, s)| (*target, *seq, s.clone())));
    assert_eq!(
        noted,
        said.collect::<Vec<_>>(),
        "tenant {tenant}: the table of redactions is that of the log"
    );
    let targets: Vec<i64> = erased.keys().copied().collect();
    let telling: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM idempotency
         WHERE tenant_id = $1 AND (content_mac IS NULL) <> (seq = ANY ($2))",
    )
    .bind(tenant)
    .bind(targets)
    .fetch_one(database)
    .await
    .expect("keys");
    assert_eq!(telling, 0, "tenant {tenant}: the content's MAC goes with the content, and only then");
}

/// RFC 8785, which for an object of plain strings and one integer is: sorted keys, no blanks.
fn envelope(row: &sqlx::postgres::PgRow) -> String {
    let mut members = BTreeMap::from([("v", Value::from(1))]);
    let columns = [
        ("event_type", "event_type"),
        ("user_identity", "user_identity"),
        ("timestamp", "happened"),
        ("source", "source"),
        ("level", "level"),
        ("outcome", "outcome"),
        ("target", "target"),
        ("message", "message"),
        ("correlation_id", "correlation_id"),
        ("recorded_by", "recorded_by"),
        ("idempotency_key", "idempotency_key"),
    ];
    for (member, column) in columns {
        if let Some(text) = row.get::<Option<String>, _>(column) {
            members.insert(member, text.into());
        }
    }
    if let Some(ip) = row.get::<Option<String>, _>("ip") {
        members.insert("ip", ip.parse::<IpAddr>().expect("an address").to_string().into());
    }
    serde_json::to_string(&members).expect("JSON")
}

fn commit(label: &str, salt: &[u8], bytes: &[u8]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("any key");
    mac.update(label.as_bytes());
    mac.update(&[0]);
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// Every full tile is there, right, and no other.
async fn audit_tiles(database: &PgPool, tenant: i32, leaves: &[Hash]) {
    let mut expected = Vec::new();
    let mut hashes = leaves.to_vec();
    let mut level = 0_i16;
    while hashes.len() >= 256 {
        let mut roots = Vec::new();
        for (index, tile) in hashes.chunks_exact(256).enumerate() {
            roots.push(tree_root(tile));
            expected.push((level, index as i64, tree_root(tile).to_vec(), tile.concat()));
        }
        hashes = roots;
        level += 1;
    }
    let stored: Vec<(i16, i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT level, index, root, data FROM tiles WHERE tenant_id = $1 ORDER BY level, index",
    )
    .bind(tenant)
    .fetch_all(database)
    .await
    .expect("tiles");
    assert!(stored == expected, "tenant {tenant}: tiles");
    let misdated: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM tiles t
         WHERE tenant_id = $1 AND level = 0
           AND (first_received_at, last_received_at) IS DISTINCT FROM
               (SELECT (min(received_at), max(received_at)) FROM events e
                WHERE e.tenant_id = $1 AND e.seq / 256 = t.index)",
    )
    .bind(tenant)
    .fetch_one(database)
    .await
    .expect("tile times");
    assert_eq!(misdated, 0, "tenant {tenant}: tiles carry the times of their events");
}

/// Keys point at events that are there, and events with a key are pointed at.
async fn audit_keys(database: &PgPool, tenant: i32, leaves: &[Hash]) {
    let keys: Vec<(i64, Vec<u8>, bool)> = sqlx::query_as(
        "SELECT i.seq, i.leaf_hash, e.id IS NOT NULL FROM idempotency i
         LEFT JOIN events e ON e.tenant_id = i.tenant_id AND e.seq = i.seq AND e.id = i.event_id
                           AND e.received_at = i.received_at
                           AND (e.idempotency_key = i.key OR e.redaction = 'all')
         WHERE i.tenant_id = $1",
    )
    .bind(tenant)
    .fetch_all(database)
    .await
    .expect("keys");
    for (seq, hash, there) in keys {
        assert!(there, "tenant {tenant}: the key of seq {seq} points at its event");
        assert_eq!(hash, leaves[seq as usize], "tenant {tenant}: the key of seq {seq} has its leaf hash");
    }
    let forgotten: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM events e WHERE tenant_id = $1 AND idempotency_key IS NOT NULL
         AND NOT EXISTS (SELECT FROM idempotency i WHERE i.tenant_id = $1 AND i.seq = e.seq) LIMIT 1",
    )
    .bind(tenant)
    .fetch_optional(database)
    .await
    .expect("keyed events");
    if let Some(seq) = forgotten {
        panic!("tenant {tenant}: the key of seq {seq} is kept for ever, but it is not there");
    }
}

pub fn leaf(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// MTH of RFC 6962 over leaf hashes, by its recursive definition.
pub fn tree_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Sha256::new()
                .chain_update([1])
                .chain_update(tree_root(left))
                .chain_update(tree_root(right))
                .finalize()
                .into()
        }
    }
}

fn perfect_roots(leaves: &[Hash]) -> Vec<Hash> {
    if leaves.is_empty() {
        return Vec::new();
    }
    let largest = 1 << leaves.len().ilog2();
    let (perfect, rest) = leaves.split_at(largest);
    let mut roots = vec![tree_root(perfect)];
    roots.extend(perfect_roots(rest));
    roots
}
