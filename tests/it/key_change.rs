//! Another key for all logs: `eventlogger key change`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use eventlogger::tlog::{Checkpoint, SigningKey};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};

use crate::changes::create_tenant;
use crate::checking;
use crate::evidence::{check_receipt, open};
use crate::harness::{
    LOG_TABLES, Server, assert_contradicted, assert_says, bring_back, count, event, keep, record, tests, vkey,
};

tests![
    every_log_goes_on_with_the_new_key,
    whoever_pinned_a_key_can_follow_to_the_next,
    a_lost_key_is_replaced,
    a_change_that_broke_off_goes_on,
    a_key_from_the_configuration_is_exchanged_there,
    a_loss_is_declared_or_the_key_stays,
    a_log_that_no_key_signed_has_nothing_to_change,
    a_change_from_before_a_restored_backup_is_followed_by_another,
    an_epoch_that_somebody_planted_does_not_hide_a_loss,
    an_instance_with_the_old_key_raises_no_false_alarm,
    a_former_key_that_the_log_never_had_is_found,
];

const CHANGE: [&str; 4] = ["key", "change", "--reason", "yearly"];

fn key_file(server: &Server) -> PathBuf {
    server.config.data_dir.join("signing-key")
}

fn next_file(server: &Server) -> PathBuf {
    server.config.data_dir.join("signing-key.next")
}

async fn assert_has_no_key(server: &Server) {
    let refused = server.client.post("/events").json(event("t")).send().await.problem(503, "not_recorded");
    assert_eq!(refused["reason"], "signing_key");
    assert_eq!(server.client.get("/events").send().await.status, 200, "it is read all the same");
}

async fn change_of(server: &Server) -> Value {
    let found = server.client.get("/events?event_type=eventlogger.key_changed").send().await.json(200);
    found["events"][0].clone()
}

async fn every_log_goes_on_with_the_new_key(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    create_tenant(&server.store.control, "quiet").await.unwrap();
    let of_acme =
        |server: &Server| server.client.post("/events").header("x-tenant", "acme").json(event("t")).send();
    of_acme(&server).await.json(201);
    let earlier = record(&server, 300).await.swap_remove(299);
    let (old_key, old_file) = (vkey(&server).await, fs::read(key_file(&server)).unwrap());
    let other = server.another_instance_elsewhere(true).await;
    record(&other, 1).await;

    let changed = server.command(&CHANGE).await;
    assert_says(&changed, 0, "/default/e1");
    assert_says(&changed, 0, "/acme/e1");
    assert!(!String::from_utf8_lossy(&changed.stdout).contains("quiet"), "what has no key gets none");
    assert_says(&changed, 0, "restart all of them");
    assert!(!next_file(&server).exists());
    assert_ne!(fs::read(key_file(&server)).unwrap(), old_file);
    assert_eq!(fs::metadata(key_file(&server)).unwrap().permissions().mode() & 0o777, 0o600);
    // Neither signs with the old one any more.
    assert_has_no_key(&server).await;
    assert_says(&other.command(&CHANGE).await, 1, "changed on another machine");
    assert_has_no_key(&other).await;

    server.stop().await;
    other.stop().await;
    let server = server.start_again().await;
    // The latch of this one knows the old key's checkpoints only.
    let latched = fs::read_to_string(other.config.data_dir.join("latch/default")).unwrap();
    assert!(!latched.contains("/e1\n"), "{latched}");
    let other = server.another_instance_elsewhere(true).await;
    let new_key = vkey(&server).await;
    for (instance, size) in [(&server, 303), (&other, 304), (&server, 305)] {
        let recorded = instance.client.post("/events").json(event("t")).send().await.json(201);
        let head = check_receipt(&recorded["receipt"], None, &new_key);
        assert_eq!((head.size, head.origin.ends_with("/default/e1")), (size, true), "{head:?}");
    }
    check_receipt(&earlier["receipt"], None, &old_key);
    of_acme(&server).await.json(201);
    let quiet = server.client.post("/events").header("x-tenant", "quiet").json(event("t")).send().await;
    assert_eq!(quiet.json(201)["seq"], 0);
    let active = "SELECT count(*) FROM log_keys WHERE retired_at_size IS NULL";
    assert_eq!(count(&server.database, active).await, 3);

    let entry = change_of(&server).await;
    let data = &entry["event_data"];
    assert_eq!((&data["reason"], &data["key"]), (&json!("yearly"), &json!(new_key)));
    assert_eq!((&entry["seq"], &data["previous_key"]), (&json!(301), &json!(old_key)));
    assert_eq!(open(data["previous_checkpoint"].as_str().unwrap(), &old_key).size, 301);
    // And the service finds its log sound, without anything left open.
    checking::start(&server).await;
    let check = checking::finished(&server).await;
    assert_eq!(check["result"]["verdict"], "verified", "{check:#}");
    server.stop().await;
    other.stop().await;
}

/// `eventlogger verify --database` with a policy of these keys.
async fn verify(server: &Server, keys: &[&str]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy");
    let lines: String = keys.iter().map(|key| format!("log {key}\n")).collect();
    fs::write(&policy, lines + "quorum none\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventlogger"));
    command.args(["verify", "--database", "--policy"]).arg(&policy);
    command.env("EVENTLOGGER_DATABASE__URL", server.config.database.url.reveal());
    command.env("XDG_STATE_HOME", folder.path());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn whoever_pinned_a_key_can_follow_to_the_next(server: Arc<Server>) {
    record(&server, 3).await;
    let old_key = vkey(&server).await;
    server.stop().await;
    assert_says(&server.command(&CHANGE).await, 0, "is changed");
    let server = server.start_again().await;
    let new_key = vkey(&server).await;
    let stored = server.client.get("/integrity/checkpoints").send().await.json(200);
    let stored: Vec<_> = stored["checkpoints"].as_array().unwrap().iter().collect();
    let first = stored.iter().find(|stored| stored["epoch"] == 1).unwrap()["checkpoint"].as_str().unwrap();
    assert_eq!(open(first, &new_key).size, 4);
    // It has the old key's signature as well.
    let as_old = old_key.parse().unwrap();
    let signed = eventlogger::tlog::note::open(first, std::slice::from_ref(&as_old)).unwrap();
    assert_eq!(signed.signers.len(), 1);
    assert!(signed.text.ends_with(&format!("\n{}\n", first.lines().nth(2).unwrap())), "{first}");

    let verified = verify(&server, &[&new_key]).await;
    assert_says(&verified, 0, "a pinned key signed all that they did");
    assert_says(&verify(&server, &[&old_key, &new_key]).await, 0, "verified");
    assert_says(&verify(&server, &[&old_key]).await, 7, "keys that are not pinned");
    server.stop().await;
}

async fn a_lost_key_is_replaced(server: Arc<Server>) {
    record(&server, 300).await;
    server.stop().await;
    fs::remove_file(key_file(&server)).unwrap();
    let restarted = server.start_again().await;
    assert_has_no_key(&restarted).await;
    assert_says(&restarted.command(&["epoch", "open", "--reason", "x"]).await, 1, "eventlogger key change");
    restarted.stop().await;

    assert_says(&server.command(&CHANGE).await, 0, "/default/e1");
    let server = server.start_again().await;
    check_receipt(&record(&server, 1).await[0]["receipt"], None, &vkey(&server).await);
    let data = change_of(&server).await["event_data"].clone();
    // What the latch knew of the old key is on record all the same.
    assert_eq!(
        open(data["previous_checkpoint"].as_str().unwrap(), data["previous_key"].as_str().unwrap()).size,
        300
    );
    server.stop().await;
}

async fn a_change_that_broke_off_goes_on(server: Arc<Server>) {
    record(&server, 3).await;
    server.stop().await;
    let old = fs::read(key_file(&server)).unwrap();
    fs::write(next_file(&server), "what somebody left there").unwrap();
    fs::set_permissions(next_file(&server), fs::Permissions::from_mode(0o600)).unwrap();
    assert_says(&server.command(&CHANGE).await, 1, "is not a signing key");
    fs::remove_file(next_file(&server)).unwrap();
    assert_says(&server.command(&CHANGE).await, 0, "/default/e1");
    // After that, but before it was in its place.
    let new = fs::read(key_file(&server)).unwrap();
    fs::rename(key_file(&server), next_file(&server)).unwrap();
    fs::write(key_file(&server), &old).unwrap();
    fs::set_permissions(key_file(&server), fs::Permissions::from_mode(0o600)).unwrap();
    let restarted = server.start_again().await;
    assert_has_no_key(&restarted).await;
    restarted.stop().await;
    assert_says(&server.command(&CHANGE).await, 0, "have this key already");
    assert_eq!(fs::read(key_file(&server)).unwrap(), new);
    assert!(!next_file(&server).exists());
    // Before the logs had the new key: nobody needs that one.
    fs::write(next_file(&server), &old).unwrap();
    fs::set_permissions(next_file(&server), fs::Permissions::from_mode(0o600)).unwrap();
    assert_says(&server.command(&CHANGE).await, 0, "/default/e2");
    assert_ne!(fs::read(key_file(&server)).unwrap(), old);
    let server = server.start_again().await;
    assert_eq!(record(&server, 1).await[0]["seq"], 5);
    server.stop().await;
}

async fn a_key_from_the_configuration_is_exchanged_there(server: Arc<Server>) {
    record(&server, 3).await;
    let key = fs::read_to_string(key_file(&server)).unwrap();
    server.stop().await;
    let given = server.another_instance_given(&key).await;
    record(&given, 1).await;
    let changed = given.command(&CHANGE).await;
    assert_says(&changed, 0, "in the place of integrity.signing_key");
    assert_has_no_key(&given).await;
    given.stop().await;
    assert!(!key_file(&given).exists(), "the configuration has it");
    assert_says(&given.command(&CHANGE).await, 0, "have this key already");
    let new = fs::read_to_string(next_file(&given)).unwrap();
    assert!(!String::from_utf8_lossy(&changed.stdout).contains(new.trim()), "a secret is not printed");
    let given = server.another_instance_given(&new).await;
    check_receipt(&record(&given, 1).await[0]["receipt"], None, &vkey(&given).await);
    // What was not removed after that change is not mistaken for one that broke off.
    assert_says(&given.command(&CHANGE).await, 0, "/default/e2");
    assert_ne!(fs::read_to_string(next_file(&given)).unwrap(), new);
    given.stop().await;
}

async fn a_loss_is_declared_or_the_key_stays(server: Arc<Server>) {
    record(&server, 3).await;
    keep(&server, &LOG_TABLES).await;
    record(&server, 300).await;
    bring_back(&server, &LOG_TABLES).await;
    assert_contradicted(&server).await;
    let before = fs::read(key_file(&server)).unwrap();
    assert_says(&server.command(&CHANGE).await, 1, "--declare-loss");
    assert_eq!(fs::read(key_file(&server)).unwrap(), before);
    assert_says(&server.command(&[&CHANGE[..], &["--declare-loss"]].concat()).await, 0, "/default/e1");
    server.stop().await;
    let server = server.start_again().await;
    assert_eq!(record(&server, 1).await[0]["seq"], 4);
    let data = change_of(&server).await["event_data"].clone();
    let last = open(data["previous_checkpoint"].as_str().unwrap(), data["previous_key"].as_str().unwrap());
    assert_eq!((last.size, &data["restored_size"]), (303, &json!(3)));
    server.stop().await;
}

async fn a_log_that_no_key_signed_has_nothing_to_change(server: Arc<Server>) {
    server.stop().await;
    server.database.execute("DELETE FROM log_keys").await.unwrap();
    fs::remove_file(key_file(&server)).unwrap();
    // Opening the installation makes the first key, as a start of the service would.
    assert_says(&server.command(&CHANGE).await, 0, "/default/e1");
    assert_says(&server.command(&["key", "change"]).await, 2, "--reason");
    assert_says(&server.command(&["key", "change", "--reason", ""]).await, 2, "say why");
}

/// The backup has the old key registered, and the old key is gone.
async fn a_change_from_before_a_restored_backup_is_followed_by_another(server: Arc<Server>) {
    let tables = [&LOG_TABLES[..], &["log_keys", "checkpoints"]].concat();
    record(&server, 3).await;
    keep(&server, &tables).await;
    server.stop().await;
    assert_says(&server.command(&CHANGE).await, 0, "/default/e1");
    let restarted = server.start_again().await;
    record(&restarted, 300).await;
    restarted.stop().await;
    bring_back(&server, &tables).await;
    let restarted = server.start_again().await;
    assert_has_no_key(&restarted).await;
    restarted.stop().await;
    assert_says(&server.command(&CHANGE).await, 1, "--declare-loss");
    assert_says(&server.command(&[&CHANGE[..], &["--declare-loss"]].concat()).await, 0, "/default/e2");
    let server = server.start_again().await;
    check_receipt(&record(&server, 1).await[0]["receipt"], None, &vkey(&server).await);
    server.stop().await;
}

/// Somebody who can write to the database alone sets it back, and declares an epoch in which that is all there was.
async fn an_epoch_that_somebody_planted_does_not_hide_a_loss(server: Arc<Server>) {
    record(&server, 3).await;
    keep(&server, &LOG_TABLES).await;
    record(&server, 300).await;
    server.stop().await;
    bring_back(&server, &LOG_TABLES).await;
    let old_key: String =
        sqlx::query_scalar("SELECT vkey FROM log_keys").fetch_one(&server.database).await.unwrap();
    let origin = format!("{}/e1", old_key.split_once('+').unwrap().0);
    let key = SigningKey::from_seed(&origin, &[7; 32]).unwrap();
    let root: Vec<u8> =
        sqlx::query_scalar("SELECT root FROM heads").fetch_one(&server.database).await.unwrap();
    let forged = Checkpoint { origin, size: 3, root: root.try_into().unwrap() }.sign(&key).unwrap();
    for statement in [
        "UPDATE log_keys SET retired_at_size = 3".to_owned(),
        "UPDATE heads SET epoch = 1".to_owned(),
        format!("INSERT INTO log_keys SELECT tenant_id, 1, '{}', 3, NULL FROM heads", key.verifier()),
        format!("INSERT INTO checkpoints SELECT tenant_id, 1, 3, '{forged}' FROM heads"),
    ] {
        server.database.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    fs::remove_file(key_file(&server)).unwrap();
    assert_says(&server.command(&CHANGE).await, 1, "--declare-loss");
    bring_back(&server, &["heads"]).await;
}

async fn an_instance_with_the_old_key_raises_no_false_alarm(server: Arc<Server>) {
    record(&server, 3).await;
    let other = server.another_instance_elsewhere(true).await;
    record(&other, 1).await;
    server.stop().await;
    assert_says(&server.command(&CHANGE).await, 0, "/default/e1");
    checking::start(&other).await;
    let check = checking::finished(&other).await;
    assert_eq!(check["result"]["findings"], json!([]), "{check:#}");
    assert_eq!(check["result"]["verdict"], "incomplete", "{check:#}");
    other.stop().await;
}

async fn a_former_key_that_the_log_never_had_is_found(server: Arc<Server>) {
    record(&server, 3).await;
    let old_key = vkey(&server).await;
    server.stop().await;
    assert_says(&server.command(&CHANGE).await, 0, "/default/e1");
    let server = server.start_again().await;
    record(&server, 1).await;
    let (origin, _) = old_key.split_once('+').unwrap();
    let forged = SigningKey::from_seed(origin, &[7; 32]).unwrap().verifier().to_string();
    let forge = format!("UPDATE log_keys SET vkey = '{forged}' WHERE epoch = 0");
    server.database.execute(AssertSqlSafe(forge)).await.unwrap();
    server.database.execute("DELETE FROM checkpoints WHERE epoch = 0").await.unwrap();
    checking::start(&server).await;
    let check = checking::finished(&server).await;
    assert_eq!(check["result"]["verdict"], "findings", "{check:#}");
    let found = check["result"]["findings"].to_string();
    assert!(found.contains("is not the pinned one"), "{check:#}");
    let restore = format!("UPDATE log_keys SET vkey = '{old_key}' WHERE epoch = 0");
    server.database.execute(AssertSqlSafe(restore)).await.unwrap();
    server.stop().await;
}
