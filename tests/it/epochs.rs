//! Going on after a loss that cannot be undone: `eventlogger epoch open`.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use sqlx::Executor;

use crate::evidence::{check_receipt, open};
use crate::harness::{
    LOG_TABLES, Server, assert_contradicted, assert_says, bring_back, count, event, keep, record, tests, vkey,
};

tests![
    a_declared_loss_begins_an_epoch_that_every_instance_goes_on_with,
    an_epoch_that_nobody_declared_is_not_written_to,
    nothing_is_declared_lost_where_nothing_is,
    an_epoch_can_follow_an_epoch,
    a_quiet_log_gets_a_heartbeat,
];

async fn open_epoch(server: &Server, arguments: &[&str]) -> Output {
    server.command(&[&["epoch", "open"], arguments].concat()).await
}

async fn a_declared_loss_begins_an_epoch_that_every_instance_goes_on_with(server: Arc<Server>) {
    let old_key = vkey(&server).await;
    record(&server, 255).await;
    let page = server.client.get("/events?limit=1").send().await.json(200);
    keep(&server, &LOG_TABLES).await;
    let lost = record(&server, 10).await.swap_remove(0);
    let other = server.another_instance_elsewhere(true).await;
    assert_eq!(other.client.get("/integrity/checkpoint").send().await.json(200)["size"], 265);
    bring_back(&server, &LOG_TABLES).await;
    assert_contradicted(&server).await;
    assert_contradicted(&other).await;

    let opened = open_epoch(&server, &["--reason", "a disk was lost"]).await;
    assert_says(&opened, 0, "Epoch 1 begins");
    assert_says(&opened, 0, "with the 255 entries that the database has. 265 entries had been signed.");
    let new_key = vkey(&server).await;
    assert_ne!(old_key, new_key);
    for (instance, size) in [(&*server, 257), (&other, 258), (&*server, 259)] {
        let recorded = instance.client.post("/events").json(event("t")).send().await.json(201);
        let head = check_receipt(&recorded["receipt"], None, &new_key);
        assert_eq!(head.size, size);
        assert!(head.origin.ends_with("/default/e1"), "{}", head.origin);
    }
    // What was lost can still be shown to have been there.
    check_receipt(&lost["receipt"], None, &old_key);

    let found = server.client.get("/events?event_type=eventlogger.epoch_opened").send().await.json(200);
    let entry = &found["events"][0];
    assert_eq!((&entry["seq"], &entry["event_data"]["reason"]), (&json!(255), &json!("a disk was lost")));
    let last = open(entry["event_data"]["previous_checkpoint"].as_str().unwrap(), &old_key);
    assert_eq!((last.size, &entry["event_data"]["restored_size"]), (265, &json!(255)));

    server.client.get(page["next"].as_str().unwrap()).send().await.problem(409, "cursor_of_other_epoch");
    let prefix = server.client.get("/tlog/default/checkpoint").send().await.problem(404, "other_epoch");
    let checkpoint =
        server.client.get(&format!("{}/checkpoint", prefix["prefix"].as_str().unwrap())).send().await;
    assert_eq!((checkpoint.status, open(&checkpoint.text(), &new_key).size), (StatusCode::OK, 259));
    let keys = server.client.get("/integrity/key").send().await.json(200);
    assert_eq!(keys["keys"][0]["retired_at_size"], 255);
    // After a restart as well.
    server.stop().await;
    let restarted = server.start_again().await;
    check_receipt(&record(&restarted, 1).await[0]["receipt"], None, &new_key);
    restarted.stop().await;
    other.stop().await;
}

async fn an_epoch_that_nobody_declared_is_not_written_to(server: Arc<Server>) {
    record(&server, 3).await;
    server.database.execute("UPDATE heads SET epoch = 1").await.unwrap();
    assert_contradicted(&server).await;
    server.client.get("/integrity/checkpoint").send().await.problem(503, "database_contradicted");
    // Nor with a checkpoint that somebody without the key has made up, or taken from the epoch before.
    server
        .database
        .execute(
            "INSERT INTO checkpoints (tenant_id, epoch, size, note)
             SELECT tenant_id, 1, 3, E'eventlogger.local/0/default/e1\n3\nAAAA\n\n— x y\n' FROM heads",
        )
        .await
        .unwrap();
    assert_contradicted(&server).await;
    server.database.execute("UPDATE heads SET epoch = 0").await.unwrap();
    record(&server, 1).await;
}

async fn nothing_is_declared_lost_where_nothing_is(server: Arc<Server>) {
    record(&server, 3).await;
    assert_says(&open_epoch(&server, &["--reason", "none"]).await, 1, "nothing to recover from");
    assert_says(&open_epoch(&server, &[]).await, 2, "--reason");
    assert_says(&open_epoch(&server, &["--reason", " "]).await, 2, "say why");
    let unknown = open_epoch(&server, &["--reason", "x", "--tenant", "defualt"]).await;
    assert_says(&unknown, 1, "did you mean");
    assert_eq!(record(&server, 1).await[0]["seq"], 3);
}

async fn an_epoch_can_follow_an_epoch(server: Arc<Server>) {
    record(&server, 2).await;
    keep(&server, &LOG_TABLES).await;
    for epoch in 1..=3 {
        record(&server, 300).await;
        bring_back(&server, &LOG_TABLES).await;
        assert_contradicted(&server).await;
        let opened = open_epoch(&server, &["--reason", "again"]).await;
        assert_says(&opened, 0, &format!("Epoch {epoch} begins"));
        let recorded = record(&server, 1).await;
        assert_eq!(check_receipt(&recorded[0]["receipt"], None, &vkey(&server).await).size, 4);
    }
}

async fn a_quiet_log_gets_a_heartbeat(server: Arc<Server>) {
    record(&server, 1).await;
    let beating =
        server.another_instance_with(|config| config.integrity.heartbeat = Duration::from_millis(200)).await;
    let found = async || {
        let page = server.client.get("/events?event_type=eventlogger.heartbeat").send().await.json(200);
        page["events"].as_array().unwrap().clone()
    };
    while found().await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let beat = &found().await[0];
    assert_eq!((&beat["recorded_by"], &beat["level"]), (&json!("service"), &json!("DEBUG")));
    let kinds = count(&server.database, "SELECT count(*) FROM events WHERE kind = 3").await;
    assert!(kinds >= 2, "{kinds} control entries");
    beating.stop().await;
}
