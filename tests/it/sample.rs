//! Made-up events for trying queries: `eventlogger sample`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::changes::create_tenant;
use crate::harness::{Server, assert_says, count, event, record, tests};

tests![
    a_sample_beside_the_service_is_recorded_once_and_in_no_other_log,
    the_searches_that_are_shown_find_what_they_say,
    a_sample_without_a_service_is_signed_and_remembered,
    a_log_of_somebody_else_is_left_alone,
    what_was_redacted_is_not_told_again,
];

const OF_DEMO: &str = "SELECT size FROM heads JOIN tenants USING (tenant_id) WHERE name = 'demo'";
const OF_DEFAULT: &str = "SELECT size FROM heads JOIN tenants USING (tenant_id) WHERE name = 'default'";

async fn sample(server: &Server, arguments: &[&str], says: &str) -> String {
    let output = server.command(&[&["sample"], arguments].concat()).await;
    assert_says(&output, 0, says);
    String::from_utf8(output.stdout).unwrap()
}

async fn read(server: &Server, path: &str) -> Value {
    server.client.get(path).header("x-tenant", "demo").send().await.json(200)
}

async fn a_sample_beside_the_service_is_recorded_once_and_in_no_other_log(server: Arc<Server>) {
    record(&server, 3).await;
    create_tenant(&server.store.control, "acme").await.unwrap();
    sample(&server, &[], "Recorded 2000 events of seed 1 in the log of the tenant demo; 0 were there").await;
    // The service's latch does not know of it yet.
    assert_eq!(count(&server.database, "SELECT count(*) FROM checkpoints WHERE size = 2000").await, 0);
    assert_eq!(read(&server, "/integrity/checkpoint").await["size"], 2000);
    sample(&server, &[], "Recorded 0 events of seed 1 in the log of the tenant demo; 2000 were there").await;
    sample(&server, &["--events", "2100"], "Recorded 100 events of seed 1").await;
    sample(&server, &["--seed", "2", "--events", "100"], "Recorded 100 events of seed 2").await;

    assert_eq!(count(&server.database, OF_DEMO).await, 2200);
    assert_eq!(count(&server.database, OF_DEFAULT).await, 3);
    assert_eq!(count(&server.database, "SELECT count(*) FROM events").await, 2203);
    let unlabelled = "SELECT count(*) FROM events JOIN tenants USING (tenant_id)
                      WHERE name = 'demo' AND (event_data->'sample' IS DISTINCT FROM 'true' OR recorded_by <> 'sample')";
    assert_eq!(count(&server.database, unlabelled).await, 0);
    assert_eq!(read(&server, "/integrity/checkpoint").await["size"], 2200);
}

async fn the_searches_that_are_shown_find_what_they_say(server: Arc<Server>) {
    let told = sample(&server, &[], "Recorded 2000").await;
    let mut meaning = "";
    let mut incident = None;
    for line in told.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            meaning = text;
        }
        let Some((_, path)) = line.split_once("http://127.0.0.1:5000") else { continue };
        let path = path.strip_suffix('"').unwrap();
        let found = read(&server, &format!("{path}&limit=1000")).await;
        let events = found["events"].as_array().unwrap();
        assert!(!events.is_empty(), "{line}");
        if let Some((_, number)) = meaning.rsplit_once(" (in each story: ") {
            assert_eq!(format!("{})", events.len()), number, "{line}");
        }
        incident.get_or_insert(events.clone());
    }
    // Newest first.
    let incident = incident.expect("searches are shown");
    let types: Vec<_> = incident.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!((types[0], types[10], types[42]), ("incident_closed", "login", "login"));
    assert_eq!((&incident[10]["outcome"], &incident[42]["outcome"]), (&json!("success"), &json!("failure")));
    let grant = incident.iter().find(|event| event["event_type"] == "role_granted").unwrap();
    assert_eq!(grant["event_data"]["changes"]["role"], json!({"from": "support", "to": "admin"}));
}

async fn a_sample_without_a_service_is_signed_and_remembered(server: Arc<Server>) {
    server.stop().await;
    sample(&server, &["--events", "300"], "Recorded 300 events").await;
    let latch = std::fs::read_to_string(server.config.data_dir.join("latch/demo")).unwrap();
    assert!(latch.contains("/demo\n300\n"), "{latch}");
    assert_eq!(count(&server.database, "SELECT count(*) FROM checkpoints WHERE size = 300").await, 1);
    let again = server.start_again().await;
    assert_eq!(read(&again, "/integrity/checkpoint").await["size"], 300);
    again.stop().await;
}

async fn a_log_of_somebody_else_is_left_alone(server: Arc<Server>) {
    create_tenant(&server.store.control, "demo").await.unwrap();
    sample(&server, &["--events", "100"], "Recorded 100 events").await;
    server.client.post("/events").header("x-tenant", "demo").json(event("t")).send().await.json(201);
    let refused = server.command(&["sample", "--seed", "5"]).await;
    assert_says(&refused, 1, "has events that this command did not make");
    assert_eq!(count(&server.database, OF_DEMO).await, 101);
}

async fn what_was_redacted_is_not_told_again(server: Arc<Server>) {
    sample(&server, &["--events", "100"], "Recorded 100 events").await;
    let found = read(&server, "/events/query?event_type=alert_raised").await;
    let path = format!("/events/{}?scope=all&reason=r", found["events"][0]["id"].as_str().unwrap());
    let redacted = server.client.request(http::Method::DELETE, &path).header("x-tenant", "demo");
    redacted.send().await.json(200);
    let told = sample(&server, &["--events", "100"], "Recorded 0 events").await;
    assert!(told.contains("100 were there already.\nOf those, 1 were redacted"), "{told}");
    assert_eq!(count(&server.database, OF_DEMO).await, 101);
}
