//! What a search may cost: a walk goes on from page to page, and ends with the one who waits for it.

use std::sync::Arc;
use std::time::Duration;

use eventlogger::query::json;
use eventlogger::store::events;
use serde_json::Value;
use sqlx::{Connection, Executor};
use tokio::io::AsyncWriteExt;

use crate::auth::eventually;
use crate::harness::{Server, count, event, record, tests};
use crate::http::basic;

tests![what_is_rare_and_far_away_is_found_page_by_page, a_search_that_nobody_waits_for_ends_on_the_server,];

/// As many events as a walk takes several steps for, with 0, 1, 2… as `n`, behind those that are there.
async fn fill(server: &Server) {
    record(server, 1).await;
    let copies = "INSERT INTO events (tenant_id, seq, received_at, id, kind, envelope_v, projection_v, level, event_type,
            user_identity, \"timestamp\", recorded_by, entry, envelope_salt, payload_salt, lossy, payload, event_data)
        SELECT tenant_id, n + 1, received_at + n * interval '1 microsecond', gen_random_uuid(), kind, envelope_v, 1,
            level, event_type, user_identity, \"timestamp\" + (n % 7) * interval '1 day', recorded_by, entry,
            envelope_salt, envelope_salt, false, convert_to(format('{\"n\":%s}', n), 'UTF8'), jsonb_build_object('n', n)
        FROM events, generate_series(0, 59999) AS n";
    server.database.execute(copies).await.unwrap();
    server.database.execute("ANALYZE events").await.unwrap();
}

/// The `n` of all events on all pages, and how many pages there were.
async fn all(server: &Server, query: &str) -> (Vec<u64>, usize) {
    let (mut url, mut found, mut pages) = (format!("/events?limit=1000&{query}"), Vec::new(), 0);
    loop {
        let page = server.client.get(&url).send().await.json(200);
        pages += 1;
        let events = page["events"].as_array().unwrap();
        found.extend(events.iter().filter_map(|event| event["event_data"]["n"].as_u64()));
        let Some(next) = page["next"].as_str() else {
            assert_eq!(page["complete"], true, "{page}");
            return (found, pages);
        };
        // A page that is not full says that it is not, and how far it has looked.
        assert_eq!(page["complete"] == Value::Bool(false), events.len() < 1000, "{page}");
        assert_eq!(page["scanned_until"].is_string(), events.len() < 1000, "{page}");
        url = next.to_owned();
    }
}

async fn what_is_rare_and_far_away_is_found_page_by_page(server: Arc<Server>) {
    fill(&server).await;
    // The planner expects nearly all to match, so that each is a walk.
    let (found, _) = all(&server, "q=NOT%20n:%3E=10").await;
    assert_eq!(found, (0..10).rev().collect::<Vec<_>>());
    let (found, pages) = all(&server, "q=NOT%20n:%3C57000").await;
    assert_eq!(found, (57_000..60_000).rev().collect::<Vec<_>>());
    assert!(pages >= 3, "{pages}");
    let (mut found, _) = all(&server, "sort=timestamp&q=NOT%20n:%3C59000").await;
    found.sort_unstable();
    assert_eq!(found, (59_000..60_000).collect::<Vec<_>>());
    let (found, _) = all(&server, "q=NOT%20n:%3E=0").await;
    assert_eq!(found, [0_u64; 0]);
    // As exports go.
    let mut search =
        json::parse(br#"{"filter":{"not":{"field":"n","op":"lt","value":59000}},"limit":300}"#).unwrap();
    search.oldest_first = true;
    let (mut after, mut seqs) = (None, Vec::new());
    loop {
        let page = events::page(&server.store.query, 1, &search, after).await.unwrap();
        seqs.extend(page.events.iter().map(|event| event.seq));
        let last = page.events.last().and_then(|event| search.sort.position(event));
        after = page.walked_to.or(last);
        if !page.more {
            break;
        }
    }
    // The first event has no `n`, so it is not less than that either.
    assert_eq!(seqs, std::iter::once(0).chain(59_001..=60_000).collect::<Vec<_>>());
    server.database.execute("DELETE FROM events WHERE seq > 0 AND event_type = 't'").await.unwrap();
}

async fn a_search_that_nobody_waits_for_ends_on_the_server(server: Arc<Server>) {
    let patient =
        server.another_instance_with(|config| config.database.query_timeout = Duration::from_hours(1)).await;
    patient.client.post("/events").json(event("t")).send().await.json(201);
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'EXPLAIN SELECT seq FROM events%'";
    let mut blocker = server.database.acquire().await.unwrap();
    let mut blocking = blocker.begin().await.unwrap();
    blocking.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(patient.client.address()).await.unwrap();
    let login = basic(crate::harness::ADMIN, crate::harness::PASSWORD);
    let request = format!("GET /events?a=1 HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    eventually(async || count(&server.database, waiting).await == 1).await;
    drop(client);
    // Its own time would be an hour, and what it waits for is still locked.
    eventually(async || count(&server.database, waiting).await == 0).await;
    blocking.rollback().await.unwrap();
    patient.client.get("/events?a=1").send().await.json(200);
    patient.stop().await;
}
