//! A cluster that stands still: neither answers nor errors come from it.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Service, send};
use crate::http::{Client, Request};
use crate::journal::{Journal, send_until_recorded};

const TIMEOUT_SECONDS: u32 = 2;
/// The machine may be busy, so the bound is a multiple of what is configured.
const PATIENCE: Duration = Duration::from_secs(3 * TIMEOUT_SECONDS as u64);

#[tokio::test]
async fn a_frozen_cluster_is_answered_for_in_time_and_goes_on_where_it_was() {
    let seconds = TIMEOUT_SECONDS.to_string();
    let mut service = Service::start(&[
        ("EVENTLOGGER_INGEST__ANSWER_TIMEOUT_SECONDS", &seconds),
        ("EVENTLOGGER_DATABASE__CONNECT_TIMEOUT_SECONDS", &seconds),
        ("EVENTLOGGER_DATABASE__QUERY_TIMEOUT_SECONDS", &seconds),
    ])
    .await;
    let journal = Arc::new(Journal::new("freeze", 1));
    send_until_recorded(&service.client, r#"{"event_type":"fresh","user_identity":"u"}"#).await;
    // Reading shall find an open session, which is what gets stuck.
    service.client.get("/events").send().await.json(200);
    // Each writer stops after the first answer that took long.
    let writing: Vec<_> = (0..8)
        .map(|_| {
            let (journal, client) = (Arc::clone(&journal), service.client.clone());
            tokio::spawn(async move { write_until_slow(&journal, &client).await })
        })
        .collect();
    while journal.recorded() < 20 {
        tokio::task::yield_now().await;
    }
    freeze(&service, Signal::STOP);
    let get = |path| service.client.get(path);
    assert_answered(get("/health/live"), 200).await;
    assert_answered(get("/health/ready"), 503).await;
    assert_answered(get("/events"), 503).await;
    assert_answered(get("/status"), 503).await;
    assert_answered(get("/events").user("ann", "somebody's password"), 503).await;
    for writer in writing {
        let longest = writer.await.unwrap();
        assert!(longest < PATIENCE, "{longest:?} for an answer that is due after {TIMEOUT_SECONDS} s");
    }
    freeze(&service, Signal::CONT);
    send_until_recorded(&service.client, r#"{"event_type":"fresh","user_identity":"u"}"#).await;
    journal.check(service.database().await).await;
    journal.repeat(&service.client).await;
    journal.check(service.database().await).await;
    service.audit().await;
    service.stop().await;
}

/// How long the last answer took.
async fn write_until_slow(journal: &Journal, client: &Client) -> Duration {
    loop {
        let begun = Instant::now();
        journal.write(client).await.unwrap();
        if begun.elapsed() > Duration::from_secs(1) {
            return begun.elapsed();
        }
    }
}

#[track_caller]
fn assert_answered(request: Request, status: u16) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let answer = tokio::time::timeout(PATIENCE, request.send()).await;
        let answer =
            answer.unwrap_or_else(|_| panic!("no answer to {caller} while the database stands still"));
        assert_eq!(answer.status, status, "{caller}: {}", answer.text());
    }
}

fn freeze(service: &Service, signal: Signal) {
    service.cluster().into_iter().for_each(|pid| send(pid, signal));
}
