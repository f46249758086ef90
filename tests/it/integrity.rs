//! Receipts, checkpoints, proofs and tiles, checked by other code than the service's; and what an instance refuses to
//! sign.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use eventlogger::merkle;
use eventlogger::tlog::{Checkpoint, Policy, Proof};
use serde_json::{Value, json};

use crate::auditor::{Hash, leaf, tree_root};
use crate::evidence::{base64, check_receipt, hash, open, root_of_path};
use crate::harness::{LOG_TABLES, Server, assert_contradicted, bring_back, event, keep, tests, vkey};

tests![
    a_receipt_can_be_checked_by_code_that_is_not_ours,
    every_receipt_of_every_batch_can_be_checked,
    a_repetition_gets_the_place_of_the_first_and_a_fresh_proof,
    each_of_a_repeated_batch_gets_its_place_and_proof,
    a_proof_is_for_readers_and_for_whoever_recorded,
    the_log_only_grows_between_any_two_sizes,
    tiles_and_entries_are_those_of_the_tree,
    what_is_no_tile_of_the_log_is_not_found,
    strangers_see_only_logs_that_are_open,
    the_current_checkpoint_follows_what_another_instance_wrote,
    an_instance_without_the_key_is_read_from_and_not_written_to,
    a_key_that_others_can_read_is_refused,
    a_database_that_was_set_back_is_not_written_to,
    a_database_that_was_rewritten_is_not_written_to,
    a_latch_that_cannot_be_written_refuses_what_comes_next,
    checkpoints_are_kept,
];

async fn key(server: &Server) -> Value {
    server.client.get("/integrity/key").send().await.json(200)
}

fn numbered(n: usize) -> String {
    json!({"event_type": "t", "user_identity": "u", "event_data": {"n": n}}).to_string()
}

async fn record_batch(server: &Server, events: usize) -> Vec<Value> {
    let items: Vec<_> = (0..events).map(numbered).collect();
    let answer = server.client.post("/events/batch").json(format!("[{}]", items.join(","))).send().await;
    answer.json(201)["results"].as_array().unwrap().clone()
}

async fn a_receipt_can_be_checked_by_code_that_is_not_ours(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    let payload = r#"{ "n": 1e400, "s":"\u0000" }"#;
    let body = format!(r#"{{"event_type":"t","user_identity":"Ж","event_data":{payload} }}"#);
    for size in 1..20 {
        let recorded = server.client.post("/events").json(body.clone()).send().await.json(201);
        let head = check_receipt(&recorded["receipt"], Some(payload.as_bytes()), &vkey);
        assert_eq!(head.size, size);
        assert!(head.origin.ends_with("/default"), "{}", head.origin);
    }
    let recorded = server.client.post("/events").json(event("bare")).send().await.json(201);
    check_receipt(&recorded["receipt"], None, &vkey);
}

async fn every_receipt_of_every_batch_can_be_checked(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    for events in [1, 2, 253, 1, 700, 1] {
        for (n, result) in record_batch(&server, events).await.iter().enumerate() {
            let payload = format!("{{\"n\":{n}}}");
            check_receipt(&result["receipt"], Some(payload.as_bytes()), &vkey);
        }
    }
}

async fn a_repetition_gets_the_place_of_the_first_and_a_fresh_proof(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    let send =
        async || server.client.post("/events").header("idempotency-key", "k").json(numbered(7)).send().await;
    let first = send().await.json(201);
    record_batch(&server, 300).await;
    let again = send().await.json(200);
    assert_eq!((&again["seq"], &again["duplicate"]), (&json!(0), &json!(true)));
    assert_eq!(first["receipt"]["entry"], again["receipt"]["entry"]);
    assert_eq!(check_receipt(&first["receipt"], Some(b"{\"n\":7}"), &vkey).size, 1);
    assert_eq!(check_receipt(&again["receipt"], Some(b"{\"n\":7}"), &vkey).size, 301);
    // Within one batch as well.
    let twice =
        format!("[{0},{0}]", json!({"event_type": "t", "user_identity": "u", "idempotency_key": "twice"}));
    let results = server.client.post("/events/batch").json(twice).send().await.json(201);
    for result in results["results"].as_array().unwrap() {
        assert_eq!(check_receipt(&result["receipt"], None, &vkey).size, 302);
    }
}

/// Its proofs come from many tiles, full ones and unfinished ones.
async fn each_of_a_repeated_batch_gets_its_place_and_proof(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    let items: Vec<_> = (0..1_500).map(numbered).collect();
    let batch = format!("[{}]", items.join(","));
    let send = async || {
        let request = server.client.post("/events/batch").header("idempotency-key", "k").json(batch.clone());
        request.send().await.json(201)["results"].as_array().unwrap().clone()
    };
    let (first, again) = (send().await, send().await);
    for (n, (first, again)) in first.iter().zip(&again).enumerate() {
        assert_eq!((&again["seq"], &again["duplicate"]), (&first["seq"], &json!(true)));
        assert_eq!(first["receipt"]["entry"], again["receipt"]["entry"]);
        let payload = format!("{{\"n\":{n}}}");
        assert_eq!(check_receipt(&again["receipt"], Some(payload.as_bytes()), &vkey).size, 1_500);
    }
}

async fn a_proof_is_for_readers_and_for_whoever_recorded(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    let recorded = record_batch(&server, 300).await;
    let id = |n: usize| recorded[n]["id"].as_str().unwrap().to_owned();
    for n in [0, 1, 255, 256, 299] {
        let answer = server.client.get(&format!("/events/{}/proof", id(n))).send().await;
        assert_eq!(answer.status, 200);
        let proof: Proof = answer.text().parse().unwrap();
        let head = open(&proof.checkpoint, &vkey);
        assert_eq!((proof.index, head.size), (n as u64, 300));
        assert_eq!(proof.extra, base64(recorded[n]["receipt"]["entry"].as_str().unwrap()));
        assert_eq!(root_of_path(leaf(&proof.extra), proof.index, head.size, &proof.hashes), head.root);
    }
    let writer = server.add_token(crate::harness::ADMIN, "writer").await;
    let own = server.client.post("/events").bearer(&writer).json(event("own")).send().await.json(201);
    let proof_of = |id: &str| server.client.get(&format!("/events/{id}/proof")).bearer(&writer).send();
    assert_eq!(proof_of(own["id"].as_str().unwrap()).await.status, 200);
    let others = proof_of(&id(0)).await.problem(403, "role_missing");
    let unknown = proof_of("01912345-0000-7000-8000-000000000000").await.problem(403, "role_missing");
    assert_eq!(others, unknown, "whether there is such an event is not told");
    let missing = server.client.get("/events/01912345-0000-7000-8000-000000000000/proof").send().await;
    missing.problem(404, "not_found");
}

async fn the_log_only_grows_between_any_two_sizes(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    record_batch(&server, 520).await;
    for (first, second) in
        [(0, 0), (0, 520), (1, 2), (255, 256), (256, 257), (257, 511), (512, 520), (520, 520)]
    {
        let url = format!("/integrity/consistency?first={first}&second={second}");
        let answer = server.client.get(&url).send().await.json(200);
        let proof: Vec<Hash> =
            answer["proof"].as_array().unwrap().iter().map(|it| hash(it.as_str().unwrap())).collect();
        let root = |which: &str| hash(answer[which]["root"].as_str().unwrap());
        merkle::verify_consistency(first, &root("first"), second, &root("second"), &proof).unwrap();
        if second == 520 {
            assert_eq!(open(answer["checkpoint"].as_str().unwrap(), &vkey).root, root("second"));
        }
    }
    for (query, parameter) in [("first=3&second=2", "first"), ("first=0&second=521", "second")] {
        let problem = server.client.get(&format!("/integrity/consistency?{query}")).send().await;
        assert_eq!(problem.problem(400, "invalid_parameter")["errors"][0]["parameter"], parameter);
    }
    server.client.get("/integrity/consistency?first=-1").send().await.problem(400, "invalid_parameter");
}

async fn tiles_and_entries_are_those_of_the_tree(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    record_batch(&server, 600).await;
    let get = async |path: &str| {
        let answer = server.client.get(&format!("/tlog/default/{path}")).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer
    };
    let checkpoint = get("checkpoint").await;
    assert_eq!(checkpoint.header("content-type"), Some("text/plain; charset=utf-8"));
    let head = open(&checkpoint.text(), &vkey);
    assert_eq!(head.size, 600);
    let mut leaves: Vec<Hash> = Vec::new();
    for path in ["entries/000", "entries/001", "entries/002.p/88"] {
        let bundle = get(&format!("tile/{path}")).await;
        assert_eq!(bundle.header("content-type"), Some("application/octet-stream"));
        let mut rest = &bundle.body[..];
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let (entry, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length)));
            leaves.push(leaf(entry));
            rest = tail;
        }
    }
    assert_eq!(tree_root(&leaves), head.root);
    for (path, expected) in [
        ("0/000", leaves[..256].concat()),
        ("0/001", leaves[256..512].concat()),
        ("0/001.p/3", leaves[256..259].concat()),
        ("0/002.p/88", leaves[512..].concat()),
        ("1/000.p/2", [tree_root(&leaves[..256]), tree_root(&leaves[256..512])].concat()),
    ] {
        let tile = get(&format!("tile/{path}")).await;
        assert_eq!(tile.body, expected, "{path}");
        assert!(tile.header("cache-control").unwrap().contains("immutable"));
        let etag = tile.header("etag").unwrap().to_owned();
        let url = format!("/tlog/default/tile/{path}");
        let again = server.client.get(&url).header("if-none-match", &etag).send().await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    }
}

async fn what_is_no_tile_of_the_log_is_not_found(server: Arc<Server>) {
    record_batch(&server, 300).await;
    for path in ["0/001", "0/001.p/45", "0/002.p/1", "1/001.p/1", "2/000.p/1", "63/000.p/1", "entries/001"] {
        let answer = server.client.get(&format!("/tlog/default/tile/{path}")).send().await;
        answer.problem(404, "beyond_the_log");
    }
    for path in
        ["64/000", "0/0", "0/0000", "0/x000/001", "0/000.p/0", "0/000.p/256", "0/000.p/01", "x/000", "0"]
    {
        let answer = server.client.get(&format!("/tlog/default/tile/{path}")).send().await;
        answer.problem(404, "no_such_tile");
    }
    server.client.get("/tlog/default/e1/checkpoint").send().await.problem(404, "other_epoch");
    assert_eq!(server.client.get("/tlog/default/e0/checkpoint").send().await.status, 200);
}

async fn strangers_see_only_logs_that_are_open(server: Arc<Server>) {
    record_batch(&server, 2).await;
    let get = async |tenant: &str| {
        server.client.get(&format!("/tlog/{tenant}/checkpoint")).anonymous().send().await
    };
    get("default").await.problem(401, "unauthenticated");
    get("nowhere").await.problem(401, "unauthenticated");
    let open = server.client.request(http::Method::PATCH, "/tenants/default");
    let opened = open.json(r#"{"public_proofs": true}"#).send().await.json(200);
    assert_eq!(opened["public_proofs"], true);
    let nowhere = server.client.request(http::Method::PATCH, "/tenants/nowhere");
    nowhere.json(r#"{"public_proofs": true}"#).send().await.problem(404, "no_such_tenant");
    let open = get("default").await;
    assert_eq!(open.status, 200);
    assert!(open.header("cache-control").unwrap().starts_with("public"));
    get("nowhere").await.problem(401, "unauthenticated");
    // A wrong password is never nobody.
    let wrong = server.client.get("/tlog/default/checkpoint").user("admin", "wrong").send().await;
    wrong.problem(401, "invalid_credentials");
    crate::changes::create_tenant(&server.store.control, "acme").await.unwrap();
    let reader = server.add_token(crate::harness::ADMIN, "reader").await;
    let others = server.client.get("/tlog/acme/checkpoint").bearer(&reader).send().await;
    let unknown = server.client.get("/tlog/nowhere/checkpoint").bearer(&reader).send().await;
    assert_eq!(others.problem(404, "no_such_log"), unknown.problem(404, "no_such_log"));
    assert_eq!(server.client.get("/tlog/acme/checkpoint").send().await.status, 200, "a superadmin sees all");
}

async fn the_current_checkpoint_follows_what_another_instance_wrote(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    let other = server.another_instance_elsewhere(true).await;
    for n in 0..3 {
        server.client.post("/events").json(numbered(n)).send().await.json(201);
        let here = server.client.get("/integrity/checkpoint").send().await.json(200);
        let there = other.client.get("/integrity/checkpoint").send().await.json(200);
        assert_eq!(here, there);
        assert_eq!(open(here["checkpoint"].as_str().unwrap(), &vkey).size, 2 * n as u64 + 1);
        let recorded = other.client.post("/events").json(numbered(n)).send().await.json(201);
        check_receipt(&recorded["receipt"], Some(format!("{{\"n\":{n}}}").as_bytes()), &vkey);
    }
    other.stop().await;
}

async fn an_instance_without_the_key_is_read_from_and_not_written_to(server: Arc<Server>) {
    let recorded = server.client.post("/events").json(event("a")).send().await.json(201);
    let other = server.another_instance_elsewhere(false).await;
    let refused = other.client.post("/events").json(event("b")).send().await.problem(503, "not_recorded");
    assert_eq!(refused["reason"], "signing_key");
    let found = other.client.get("/events").send().await.json(200);
    assert_eq!(found["events"][0]["id"], recorded["id"]);
    other.client.get("/integrity/checkpoint").send().await.problem(503, "signing_key");
    assert!(
        !other.config.data_dir.join("signing-key").exists(),
        "a key is never made where one is registered"
    );
    other.stop().await;
}

async fn a_key_that_others_can_read_is_refused(server: Arc<Server>) {
    let file = server.config.data_dir.join("signing-key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    server.stop().await;
    let start =
        async || eventlogger::app::build(server.config.clone()).await.err().map(|error| error.to_string());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(start().await.unwrap().contains("chmod 600"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "no key\n").unwrap();
    assert!(start().await.unwrap().contains("PRIVATE+KEY+"));
}

async fn a_database_that_was_set_back_is_not_written_to(server: Arc<Server>) {
    record_batch(&server, 300).await;
    keep(&server, &LOG_TABLES).await;
    record_batch(&server, 1).await;
    bring_back(&server, &LOG_TABLES).await;
    assert_contradicted(&server).await;
    server.client.get("/integrity/checkpoint").send().await.problem(503, "database_behind");
    // After a restart, what was signed is known from the latch.
    server.stop().await;
    let restarted = server.start_again().await;
    assert_contradicted(&restarted).await;
    restarted.stop().await;
}

async fn a_database_that_was_rewritten_is_not_written_to(server: Arc<Server>) {
    record_batch(&server, 300).await;
    keep(&server, &LOG_TABLES).await;
    let other = server.another_instance_elsewhere(true).await;
    record_batch(&server, 3).await;
    bring_back(&server, &LOG_TABLES).await;
    // The other instance has seen nothing of it and goes on: a fork, with the same key, and longer.
    record_batch(&other, 5).await;
    other.stop().await;
    assert_contradicted(&server).await;
    server.client.get("/integrity/checkpoint").send().await.problem(503, "database_contradicted");
}

async fn a_latch_that_cannot_be_written_refuses_what_comes_next(server: Arc<Server>) {
    record_batch(&server, 1).await;
    let folder = server.config.data_dir.join("latch");
    let aside = folder.with_extension("aside");
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "a file where a folder was").unwrap();
    // That one is in the log before its signature can be remembered, and that is what it is told.
    server.client.post("/events").json(event("a")).send().await.json(201);
    let refused = server.client.post("/events").json(event("b")).send().await.problem(503, "not_recorded");
    assert_eq!(refused["reason"], "latch");
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    server.client.post("/events").json(event("c")).send().await.json(201);
}

async fn checkpoints_are_kept(server: Arc<Server>) {
    let vkey = vkey(&server).await;
    record_batch(&server, 3).await;
    server.stop().await;
    let restarted = server.start_again().await;
    let page = restarted.client.get("/integrity/checkpoints?limit=1").send().await.json(200);
    let kept: HashMap<u64, &Value> =
        page["checkpoints"].as_array().unwrap().iter().map(|it| (it["size"].as_u64().unwrap(), it)).collect();
    assert_eq!(
        open(kept[&3]["checkpoint"].as_str().unwrap(), &vkey).root,
        hash(kept[&3]["root"].as_str().unwrap())
    );
    restarted.client.get("/integrity/checkpoints?after=x").send().await.problem(400, "invalid_parameter");
    // The policy that the service hands out is one that its checkpoints satisfy.
    let policy = key(&restarted).await["policy"].as_str().unwrap().to_owned();
    let checkpoint = restarted.client.get("/tlog/default/checkpoint").send().await.text();
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let Checkpoint { size, .. } = policy.check(checkpoint.as_str()).unwrap().checkpoint;
    assert_eq!(size, 3);
    restarted.stop().await;
}
