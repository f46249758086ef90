//! What an instance signs goes on from what it signed or saw, whatever somebody made of the database meanwhile.

use std::sync::Arc;

use eventlogger::merkle::node_hash;
use serde_json::json;
use sqlx::Executor;

use crate::auditor::{Hash, leaf, tree_root};
use crate::changes::create_tenant;
use crate::harness::{
    LOG_TABLES, Server, assert_contradicted, bring_back, count, event, keep, record, tests,
};

tests![
    what_a_reader_has_seen_binds_the_lane,
    a_tile_that_does_not_go_on_from_what_was_signed_is_not_signed,
    a_key_is_registered_by_the_first_transaction_that_holds,
    of_instances_with_keys_of_their_own_one_signs,
    readers_of_a_busy_log_see_no_false_alarm,
];

async fn what_a_reader_has_seen_binds_the_lane(server: Arc<Server>) {
    record(&server, 3).await;
    keep(&server, &LOG_TABLES).await;
    let other = server.another_instance_elsewhere(true).await;
    record(&other, 10).await;
    // Signed here as well, by a request that only reads.
    assert_eq!(server.client.get("/integrity/checkpoint").send().await.json(200)["size"], 13);
    // The database is set back to exactly what this instance's lane remembers.
    bring_back(&server, &LOG_TABLES).await;
    assert_contradicted(&server).await;
    other.stop().await;
}

async fn a_tile_that_does_not_go_on_from_what_was_signed_is_not_signed(server: Arc<Server>) {
    record(&server, 300).await;
    keep(&server, &LOG_TABLES).await;
    let other = server.another_instance_elsewhere(true).await;
    record(&other, 300).await;
    other.stop().await;
    // The entries stay, and with them the root over the first 300; the root of their tile, and the head, do not.
    let entries: Vec<Vec<u8>> = sqlx::query_scalar("SELECT entry FROM events ORDER BY seq")
        .fetch_all(&server.database)
        .await
        .unwrap();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf(entry)).collect();
    let forged = leaf(b"forged");
    let mut frontier = vec![node_hash(&tree_root(&leaves[..256]), &forged)];
    frontier.extend([512..576, 576..592, 592..600].map(|range| tree_root(&leaves[range])));
    let root = frontier.iter().rev().copied().reduce(|right, left| node_hash(&left, &right)).unwrap();
    let mut database = server.database.begin().await.unwrap();
    sqlx::query("UPDATE tiles SET root = $1 WHERE level = 0 AND index = 1")
        .bind(&forged[..])
        .execute(&mut *database)
        .await
        .unwrap();
    sqlx::query("UPDATE heads SET root = $1, frontier = $2")
        .bind(&root[..])
        .bind(frontier.concat())
        .execute(&mut *database)
        .await
        .unwrap();
    database.commit().await.unwrap();
    assert_contradicted(&server).await;
    server.client.get("/integrity/checkpoint").send().await.problem(503, "database_contradicted");
    bring_back(&server, &LOG_TABLES).await;
    record(&server, 1).await;
}

async fn a_key_is_registered_by_the_first_transaction_that_holds(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    server
        .database
        .execute("ALTER TABLE events ADD CONSTRAINT poison CHECK (event_type <> 'poison') NOT VALID")
        .await
        .unwrap();
    let to_acme = |event: String| server.client.post("/events").header("x-tenant", "acme").json(event).send();
    to_acme(event("poison")).await.problem(422, "refused_by_database");
    to_acme(event("t")).await.json(201);
    let keys = "SELECT count(*) FROM log_keys JOIN tenants USING (tenant_id) WHERE name = 'acme'";
    assert_eq!(count(&server.database, keys).await, 1);
    server.database.execute("ALTER TABLE events DROP CONSTRAINT poison").await.unwrap();
}

async fn of_instances_with_keys_of_their_own_one_signs(server: Arc<Server>) {
    server.database.execute("DELETE FROM log_keys").await.unwrap();
    // Nothing is registered, so each start makes a key; the first to be done registers its own.
    let others = [0, 1].map(|n| {
        let folder = server.config.data_dir.join(n.to_string());
        server.another_instance_with(move |config| config.data_dir = folder)
    });
    let [a, b] = futures_util::future::join_all(others).await.try_into().ok().unwrap();
    let mut signing = 0;
    for instance in [&a, &b] {
        let checkpoint = instance.client.get("/integrity/checkpoint").send().await;
        let key = instance.client.get("/integrity/key").send().await;
        assert_eq!(checkpoint.status, key.status);
        match checkpoint.status.as_u16() {
            200 => signing += 1,
            _ => assert_eq!(key.problem(503, "signing_key"), checkpoint.problem(503, "signing_key")),
        }
    }
    assert_eq!(signing, 1);
    a.stop().await;
    b.stop().await;
}

async fn readers_of_a_busy_log_see_no_false_alarm(server: Arc<Server>) {
    let busy = async {
        for n in 0..200 {
            let numbered = json!({"event_type": "t", "user_identity": "u", "event_data": n}).to_string();
            server.client.post("/events?receipt=none").json(numbered).send().await.json(201);
        }
    };
    let reading = async {
        for _ in 0..200 {
            server.client.get("/integrity/checkpoint").send().await.json(200);
            let status = server.client.get("/status").send().await.json(200);
            assert!(status["log"].get("refused").is_none(), "{status}");
        }
    };
    tokio::join!(busy, reading);
}
