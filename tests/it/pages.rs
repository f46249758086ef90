//! Pages over HTTP: whatever the filter and the page size, following `next` finds each event once and in
//! order, also while new events arrive.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::harness::{Server, tests};

tests![
    pages_one_after_the_other_are_one_query,
    pages_do_not_shift_while_new_events_arrive,
    both_spellings_find_the_same,
    newest_by_their_own_clock_come_first_when_asked,
    times_bound_inclusively_below_and_exclusively_above,
    every_page_size_ends_where_the_log_does,
    whatever_stands_in_an_event_its_neighbours_are_listed,
    a_page_that_is_full_of_bytes_ends_early_and_goes_on,
];

/// Small and repeatable: a failure is found again with the same events.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_of<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[usize::try_from(self.below(names.len() as u64)).unwrap()]
    }

    /// Few different values, so that filters match some and times are often equal.
    fn event(&mut self) -> Value {
        json!({
            "event_type": self.one_of(&["login", "logout", "transfer"]),
            "user_identity": self.one_of(&["ann", "bob", "Zoë & co=1"]),
            "level": self.one_of(&["INFO", "WARN"]),
            "timestamp": format!("2026-01-0{}T00:00:00Z", 1 + self.below(9)),
            "event_data": {"n": self.below(4), "deep": {"list": [self.below(3), "x"]}},
        })
    }
}

async fn record(server: &Server, events: &[Value]) {
    for chunk in events.chunks(200) {
        let batch = Value::from(chunk.to_vec()).to_string();
        server.client.post("/events/batch?receipt=none").json(batch).send().await.json(201);
    }
}

/// Records `count` events in batches, so that many share their time of receipt, and returns them by seq.
async fn recorded(server: &Server, seed: u64, count: usize) -> Vec<Value> {
    let mut random = Random(seed);
    let events: Vec<Value> = (0..count).map(|_| random.event()).collect();
    record(server, &events).await;
    events
}

async fn page(server: &Server, url: &str) -> Value {
    server.client.get(url).send().await.json(200)
}

fn seqs(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// The seqs of all pages from `url` on; after each page `between` is run.
async fn all_pages(server: &Server, url: &str, between: impl AsyncFn()) -> Vec<u64> {
    let mut url = url.to_owned();
    let mut found = Vec::new();
    loop {
        let response = server.client.get(&url).send().await;
        let link = response.header("link").map(str::to_owned);
        let page = response.json(200);
        assert_eq!(page["complete"], true, "{url}");
        found.extend(seqs(&page));
        between().await;
        let next = page["next"].as_str();
        assert_eq!(link, next.map(|next| format!("<{next}>; rel=\"next\"")), "{url}");
        match next {
            Some(next) => next.clone_into(&mut url),
            None => return found,
        }
    }
}

/// Filters as a query string, and the same said of an event in plain code.
type Filter = (&'static str, fn(&Value) -> bool);
const FILTERS: [Filter; 7] = [
    ("", |_| true),
    ("type=login", |event| event["event_type"] == "login"),
    ("user=Zo%C3%AB+%26+co%3D1", |event| event["user_identity"] == "Zoë & co=1"),
    ("level=warning&n=2", |event| event["level"] == "WARN" && event["event_data"]["n"] == 2),
    ("deep.list=1", |event| event["event_data"]["deep"]["list"][0] == 1),
    ("from=2026-01-03T00:00:00Z&to=2026-01-06T00:00:00Z", |event| {
        let day = event["timestamp"].as_str().unwrap();
        ("2026-01-03".."2026-01-06").contains(&&day[..10])
    }),
    ("type=nothing", |_| false),
];

/// The seqs of the events that a filter should find, newest first.
fn expected(events: &[Value], matches: fn(&Value) -> bool) -> Vec<u64> {
    let seqs = events.iter().zip(0..).filter(|(event, _)| matches(event)).map(|(_, seq)| seq);
    let mut seqs: Vec<u64> = seqs.collect();
    seqs.reverse();
    seqs
}

async fn pages_one_after_the_other_are_one_query(server: Arc<Server>) {
    let events = recorded(&server, 1, 600).await;
    for (filter, matches) in FILTERS {
        let expected = expected(&events, matches);
        let one = page(&server, &format!("/events?{filter}&limit=1000")).await;
        assert_eq!(seqs(&one), expected, "{filter}");
        assert_eq!(one.get("next"), None, "{filter}");
        for limit in [7, 50, 599, 600] {
            let url = format!("/events/query?limit={limit}&{filter}");
            assert_eq!(all_pages(&server, &url, async || ()).await, expected, "{url}");
        }
    }
}

async fn pages_do_not_shift_while_new_events_arrive(server: Arc<Server>) {
    let events = recorded(&server, 2, 300).await;
    let cursor = std::cell::Cell::new(100);
    for (filter, matches) in FILTERS {
        let before = page(&server, &format!("/events?{filter}&limit=1000")).await;
        let arriving = async || {
            cursor.set(cursor.get() + 1);
            let more: Vec<Value> = (0..5).map(|_| Random(cursor.get()).event()).collect();
            record(&server, &more).await;
        };
        let found = all_pages(&server, &format!("/events?{filter}&limit=13"), arriving).await;
        assert_eq!(found, seqs(&before), "{filter}: what came later is on no later page");
        let mut ours = expected(&events, matches);
        ours.retain(|seq| !found.contains(seq));
        assert_eq!(ours, [0_u64; 0], "{filter}: all that was there is found");
    }
}

async fn both_spellings_find_the_same(server: Arc<Server>) {
    recorded(&server, 3, 300).await;
    let equal = |field: &str, value: Value| json!({"field": field, "value": value});
    let cases = [
        ("", json!({})),
        ("type=login", json!({"filter": equal("event_type", json!("login"))})),
        ("event_data.n=3", json!({"filter": {"and": [equal("n", json!(3))]}})),
        (
            "user=ann&level=INFO&n=1",
            json!({"filter": {"and": [
                equal("user_identity", json!("ann")),
                {"and": [equal("level", json!("INFO")), equal("event_data.n", json!(1))]},
            ]}}),
        ),
        (
            "from=2026-01-03T00:00:00Z&to=2026-01-06T00:00:00Z&sort=timestamp",
            json!({"from": "2026-01-03T00:00:00Z", "to": "2026-01-06T00:00:00Z", "sort": "timestamp"}),
        ),
    ];
    for (query, mut body) in cases {
        let by_url = all_pages(&server, &format!("/events/query?limit=17&{query}"), async || ()).await;
        body["limit"] = json!(17);
        let mut by_body = Vec::new();
        loop {
            let page = server.client.post("/events/query").json(body.to_string()).send().await.json(200);
            by_body.extend(seqs(&page));
            assert_eq!(page.get("next"), None, "a URL cannot continue a body");
            match page.get("next_cursor") {
                Some(cursor) => body["cursor"] = cursor.clone(),
                None => break,
            }
        }
        assert!(!by_url.is_empty(), "{query}");
        assert_eq!(by_url, by_body, "{query}");
    }
}

async fn newest_by_their_own_clock_come_first_when_asked(server: Arc<Server>) {
    let events = recorded(&server, 4, 300).await;
    let mut expected: Vec<(String, u64)> =
        events.iter().zip(0..).map(|(event, seq)| (event["timestamp"].to_string(), seq)).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<u64> = expected.into_iter().map(|(_, seq)| seq).collect();
    for limit in [11, 1000] {
        let url = format!("/events?sort=timestamp&limit={limit}");
        assert_eq!(all_pages(&server, &url, async || ()).await, expected, "{url}");
    }
}

async fn times_bound_inclusively_below_and_exclusively_above(server: Arc<Server>) {
    let at = |time: &str| json!({"event_type": "t", "user_identity": "u", "timestamp": time});
    let times = [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000001Z",
        "2026-01-01T01:00:00.000001+01:00",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    record(&server, &times.map(at)).await;
    for (query, expected) in [
        ("from=2026-01-01T00:00:00Z", vec![4, 2, 1, 0]),
        ("from=2026-01-01T00:00:00.000001Z", vec![4, 2, 1]),
        ("to=2026-01-01T00:00:00.000001Z", vec![3, 0]),
        ("from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", vec![]),
        ("start_time=2026-01-01T01:00:00%2B01:00&end_time=2026-01-02T00:00:00", vec![2, 1, 0]),
        ("from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59.999999Z", vec![3, 2, 1, 0]),
        ("received_from=9999-01-01T00:00:00Z", vec![]),
        ("received_to=2001-01-01T00:00:00Z", vec![]),
        ("received_from=2001-01-01T00:00:00Z&received_to=9999-01-01T00:00:00Z", vec![4, 3, 2, 1, 0]),
    ] {
        assert_eq!(seqs(&page(&server, &format!("/events?{query}")).await), expected, "{query}");
    }
    let whole = page(&server, "/events?seq=2").await;
    let received = whole["events"][0]["received_at"].as_str().unwrap();
    assert!(seqs(&page(&server, &format!("/events?received_from={received}")).await).contains(&2));
    assert!(!seqs(&page(&server, &format!("/events?received_to={received}")).await).contains(&2));
}

async fn every_page_size_ends_where_the_log_does(server: Arc<Server>) {
    recorded(&server, 5, 12).await;
    let sizes = stream::iter(1..=13).map(async |limit| {
        let found = all_pages(&server, &format!("/events?limit={limit}"), async || ()).await;
        (limit, found)
    });
    for (limit, found) in sizes.buffer_unordered(4).collect::<Vec<_>>().await {
        assert_eq!(found, (0..12).rev().collect::<Vec<u64>>(), "limit={limit}");
    }
    let all = page(&server, "/events?limit=12").await;
    assert_eq!(all.get("next"), None, "a page that ends with the log has no next");
}

async fn whatever_stands_in_an_event_its_neighbours_are_listed(server: Arc<Server>) {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    let odd =
        [r#""\u0000""#, r#""\ud800""#, "1e131071", "[1e400]", r#"{"a":1,"a":2}"#, "null", &deep, &large];
    for _ in 0..2 {
        for data in odd {
            let body = format!(r#"{{"event_type":"odd","user_identity":"u","event_data":{data}}}"#);
            server.client.post("/events").json(body).send().await.json(201);
        }
    }
    let count = 2 * odd.len() as u64;
    for limit in [1, 3, 100] {
        let found = all_pages(&server, &format!("/events?limit={limit}&type=odd"), async || ()).await;
        assert_eq!(found, (0..count).rev().collect::<Vec<_>>(), "limit={limit}");
    }
}

async fn a_page_that_is_full_of_bytes_ends_early_and_goes_on(server: Arc<Server>) {
    let data = "x".repeat(1_000_000);
    for _ in 0..12 {
        let event = json!({"event_type": "t", "user_identity": "u", "event_data": data});
        server.client.post("/events?receipt=none").json(event.to_string()).send().await.json(201);
    }
    let mut url = "/events?limit=100".to_owned();
    let mut found = Vec::new();
    for complete in [false, true] {
        let response = server.client.get(&url).send().await;
        assert!(response.body.len() < 9 << 20, "{} bytes", response.body.len());
        let page = response.json(200);
        assert_eq!(page["complete"], complete, "{url}");
        found.extend(seqs(&page));
        page["next"].as_str().unwrap_or_default().clone_into(&mut url);
    }
    assert_eq!((found, url.as_str()), ((0..12).rev().collect(), ""));
}
