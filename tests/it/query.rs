//! Searches against a database.

mod given;

use eventlogger::event::Event;
use eventlogger::query::{Position, Search, params};
use eventlogger::store::events::{self, FoundPayload, Page};
use sqlx::PgPool;
use uuid::Uuid;

use self::given::{Given, OTHER_TENANT, TENANT, given, id_of, insert, store, with_payload};

crate::harness::database_tests![
    typed_columns_are_found_by_equality,
    values_in_the_data_are_found_at_any_depth,
    no_stored_value_makes_a_search_fail,
    times_are_bounded_inclusively_below_and_exclusively_above,
    pages_one_after_the_other_are_one_search,
    a_page_ends_at_its_size_with_at_least_one_event,
    another_tenants_events_do_not_exist,
    one_event_is_read_by_its_id_with_its_exact_payload,
    an_erased_event_keeps_its_place,
    a_search_beyond_its_time_is_stopped,
];

fn search(query: &str) -> Search {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<_> = pairs
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    params::parse(&pairs).unwrap_or_else(|faults| panic!("{query}: {faults:?}"))
}

async fn page(pool: &PgPool, query: &str, after: Option<Position>) -> Page {
    events::page(pool, TENANT, &search(query), after).await.unwrap()
}

/// The seqs of the first page.
async fn found(pool: &PgPool, query: &str) -> Vec<u64> {
    page(pool, query, None).await.events.iter().map(|event| event.seq).collect()
}

async fn typed_columns_are_found_by_equality(pool: PgPool) {
    let address = |seq, ip| Given { ip: Some(ip), ..given(seq) };
    let logout = Given { event_type: "logout", user_identity: "bob", message: Some("bye"), ..given(2) };

    store(&pool, &[given(1), logout, address(3, "10.0.0.7"), address(4, "2001:db8::1")]).await;
    for (query, expected) in [
        ("type=logout", vec![2]),
        ("user=ann&type=login", vec![4, 3, 1]),
        ("user=ann&type=logout", vec![]),
        ("message=bye", vec![2]),
        ("message=BYE", vec![]),
        ("level=warning&seq=3", vec![3]),
        ("level=info", vec![]),
        ("recorded_by=user:ann", vec![4, 3, 2, 1]),
        ("timestamp=2001-01-09T01:00:00+01:00", vec![4, 3, 2, 1]),
        ("received_at=2001-01-10T00:00:00.000001Z", vec![]),
        ("ip=10.0.0.7", vec![3]),
        ("ip=::ffff:10.0.0.7", vec![3]),
        ("ip=10.9.9.9/8", vec![3]),
        ("ip=0.0.0.0/0", vec![3]),
        ("ip=2001:db8::/32", vec![4]),
        ("outcome=success", vec![]),
    ] {
        assert_eq!(found(&pool, query).await, expected, "{query}");
    }
    let id = id_of(&given(3));
    assert_eq!(found(&pool, &format!("id={id}")).await, [3]);
    assert_eq!(found(&pool, "id=6ba7b810-9dad-41d1-80b4-00c04fd430c8").await, [0_u64; 0]);
}

async fn values_in_the_data_are_found_at_any_depth(pool: PgPool) {
    let documents = [
        (1, r#"{"account_id": 1346, "address": {"city": "Paris"}, "tags": ["vip", "new"]}"#),
        (2, r#"{"account_id": "1346", "address": {"city": "Lyon"}, "limit": 5}"#),
        (3, r#"{"account_id": 1346.0, "items": [{"sku": "X", "n": 9007199254740993}, {"sku": "Y"}]}"#),
        (4, r#"{"account_id": "01346", "ok": true, "gone": null, "a.b": {"c\"d": "\u00e9"}}"#),
        (5, r#"["top", 7]"#),
        (6, r#"7"#),
        (7, r#"{"ok": "true", "gone": "null", "nul": "a\u0000b", "": "empty", "neg": -5}"#),
    ];
    store(&pool, &documents.map(|(seq, json)| with_payload(seq, json))).await;
    insert(&pool, &given(8)).await;
    for (query, expected) in [
        ("account_id=1346", vec![3, 2, 1]),
        ("account_id=1346.0", vec![3, 1]),
        (r#"account_id="1346""#, vec![2]),
        ("account_id=01346", vec![4]),
        ("address.city=Paris", vec![1]),
        ("address.city=paris", vec![]),
        ("tags=vip", vec![1]),
        ("tags.1=new", vec![1]),
        ("tags.1=vip", vec![]),
        ("items.sku=Y", vec![3]),
        ("items.0.sku=Y", vec![]),
        ("items.n=9007199254740993", vec![3]),
        ("items.n=9007199254740992", vec![]),
        ("event_data.limit=5", vec![2]),
        ("ok=true", vec![7, 4]),
        (r#"ok="true""#, vec![7]),
        ("gone=null", vec![7, 4]),
        (r#""a.b"."c\"d"=é"#, vec![4]),
        ("event_data=7", vec![6, 5]),
        ("event_data.0=top", vec![5]),
        ("nul=a\0b", vec![7]),
        (r#"""=empty"#, vec![7]),
        ("neg=-5", vec![7]),
        ("neg=5", vec![]),
        ("account_id=1346&address.city=Lyon", vec![2]),
        ("missing=x", vec![]),
    ] {
        assert_eq!(found(&pool, query).await, expected, "{query}");
    }
}

async fn no_stored_value_makes_a_search_fail(pool: PgPool) {
    let documents = [
        "null",
        "true",
        "[]",
        "{}",
        "\"text\"",
        "1e400",
        "1e131071",
        "-0.0",
        r#""\ud800\u0000""#,
        r#"{"a": {"a": [[1]]}}"#,
        r#"{"a": 1, "a": "2"}"#,
        r#"{"a": "2001-01-01"}"#,
        r#"{"a": [null, {}, []]}"#,
    ];
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let documents = documents.iter().copied().chain([deep.as_str()]).enumerate();
    let stored: Vec<_> = documents.map(|(seq, json)| with_payload(seq as i64, json)).collect();
    store(&pool, &stored).await;
    for query in
        ["a=1", "a.a=1", "a.0=2", "a=2001-01-01", "a=null", "a=true", "event_data=1", "a=1e308", "a=-1e-308"]
    {
        found(&pool, query).await;
    }
    let everything = page(&pool, "", None).await;
    assert_eq!(everything.events.len(), stored.len());
    for (event, given) in everything.events.iter().rev().zip(&stored) {
        assert_eq!(event.payload, given.payload);
    }
}

async fn times_are_bounded_inclusively_below_and_exclusively_above(pool: PgPool) {
    let timed = |seq, timestamp, received_at| Given { timestamp, received_at, ..given(seq) };
    store(
        &pool,
        &[
            timed(1, "2001-01-01T00:00:00Z", "2001-01-20T00:00:00Z"),
            timed(2, "2001-01-02T00:00:00Z", "2001-02-10T00:00:00Z"),
            timed(3, "1999-12-31T00:00:00Z", "2001-02-10T00:00:00.000001Z"),
        ],
    )
    .await;
    for (query, expected) in [
        ("from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z", vec![1]),
        ("start_time=2001-01-02T00:00:00Z", vec![2]),
        ("end_time=2001-01-01T00:00:00Z", vec![3]),
        ("received_from=2001-02-10T00:00:00Z&received_to=2001-02-10T00:00:00.000001Z", vec![2]),
        ("received_from=2001-02-10T00:00:00Z", vec![3, 2]),
        ("sort=timestamp", vec![2, 1, 3]),
        ("from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", vec![3, 2, 1]),
    ] {
        assert_eq!(found(&pool, query).await, expected, "{query}");
    }
}

async fn pages_one_after_the_other_are_one_search(pool: PgPool) {
    // Few times for many events, so that pages end within ties and at the border of partitions.
    let times = ["2001-01-31T23:59:59.999999Z", "2001-02-01T00:00:00Z", "2001-02-01T00:00:00.000001Z"];
    let stored: Vec<_> = (0..60)
        .map(|seq| Given {
            received_at: times[seq as usize / 20],
            timestamp: times[seq as usize % 3],
            ..with_payload(seq, r#"{"k": 1}"#)
        })
        .collect();
    store(&pool, &stored).await;
    for query in
        ["", "k=1", "type=login", "sort=timestamp", "sort=timestamp&k=1", "received_to=2001-02-01T00:00:00Z"]
    {
        let whole: Vec<Event> = page(&pool, &format!("{query}&limit=1000"), None).await.events;
        for limit in [1, 7, 20, 59, 60] {
            assert_eq!(
                all_pages(&pool, &format!("{query}&limit={limit}")).await,
                whole,
                "{query} by {limit}"
            );
        }
    }
}

async fn all_pages(pool: &PgPool, query: &str) -> Vec<Event> {
    let sort = search(query).sort;
    let (mut all, mut after): (Vec<Event>, _) = (Vec::new(), None);
    loop {
        let page = page(pool, query, after).await;
        after = page.events.last().and_then(|event| sort.position(event));
        all.extend(page.events);
        if !page.more {
            return all;
        }
    }
}

async fn a_page_ends_at_its_size_with_at_least_one_event(pool: PgPool) {
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    let stored: Vec<_> = (0..20).map(|seq| with_payload(seq, &large)).collect();
    store(&pool, &stored).await;
    let first = page(&pool, "limit=1000", None).await;
    assert_eq!((first.events.len(), first.more), (8, true));
    assert_eq!(all_pages(&pool, "limit=1000").await.len(), 20);
    let one = page(&pool, "limit=1", None).await;
    assert_eq!((one.events.len(), one.more), (1, true));
}

async fn another_tenants_events_do_not_exist(pool: PgPool) {
    let theirs = Given { tenant_id: OTHER_TENANT, ..with_payload(1, r#"{"k": 1}"#) };
    store(&pool, &[theirs.clone(), with_payload(2, r#"{"k": 1}"#)]).await;
    for query in ["", "k=1", "type=login", "user=ann", "sort=timestamp"] {
        assert_eq!(found(&pool, query).await, [2], "{query}");
    }
    let id = id_of(&theirs);
    assert_eq!(found(&pool, &format!("id={id}")).await, [0_u64; 0]);
    assert_eq!(events::by_id(&pool, TENANT, id).await.unwrap(), None);
    assert_eq!(events::payload(&pool, TENANT, id).await.unwrap(), None);
    assert_eq!(events::by_id(&pool, OTHER_TENANT, id).await.unwrap().map(|event| event.seq), Some(1));
}

async fn one_event_is_read_by_its_id_with_its_exact_payload(pool: PgPool) {
    let odd = with_payload(1, "{ \"a\": 1.10,\n \"a\": 1e400 }");
    store(&pool, &[odd.clone(), given(2)]).await;
    let event = events::by_id(&pool, TENANT, id_of(&odd)).await.unwrap().unwrap();
    assert_eq!((event.seq, event.lossy, &event.payload), (1, true, &odd.payload));
    let payload = events::payload(&pool, TENANT, id_of(&odd)).await.unwrap();
    assert_eq!(payload, odd.payload.clone().map(FoundPayload::Bytes));
    let payload = events::payload(&pool, TENANT, id_of(&given(2))).await.unwrap();
    assert_eq!(payload, Some(FoundPayload::Absent));
    assert_eq!(events::by_id(&pool, TENANT, Uuid::nil()).await.unwrap(), None);
    assert_eq!(events::by_id(&pool, TENANT, Uuid::max()).await.unwrap(), None);
}

async fn an_erased_event_keeps_its_place(pool: PgPool) {
    store(&pool, &[given(1), with_payload(2, r#"{"k": 1}"#), given(3)]).await;
    sqlx::query(
        r#"UPDATE events SET redaction = 'all', event_type = NULL, user_identity = NULL, "timestamp" = NULL,
               level = NULL, recorded_by = NULL, envelope_salt = NULL, payload_salt = NULL, lossy = NULL,
               payload = NULL, event_data = NULL
           WHERE seq = 2"#,
    )
    .execute(&pool)
    .await
    .unwrap();
    let everything = page(&pool, "limit=2", None).await.events;
    assert_eq!(everything.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 2]);
    assert_eq!((&everything[1].envelope, &everything[1].payload), (&None, &None));
    assert_eq!(all_pages(&pool, "limit=1").await.len(), 3);
    assert_eq!(found(&pool, "sort=timestamp").await, [3, 1]);
    assert_eq!(found(&pool, "k=1").await, [0_u64; 0]);
}

async fn a_search_beyond_its_time_is_stopped(pool: PgPool) {
    store(&pool, &[given(1)]).await;
    let mut connection = pool.acquire().await.unwrap();
    sqlx::query("SET statement_timeout = '50ms'").execute(&mut *connection).await.unwrap();
    let error = sqlx::query("SELECT pg_sleep(5)").execute(&mut *connection).await.unwrap_err();
    assert!(matches!(events::ReadError::from(error), events::ReadError::Timeout));
    sqlx::query("RESET statement_timeout").execute(&mut *connection).await.unwrap();
}
