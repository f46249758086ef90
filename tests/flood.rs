//! Floods of wrong logins against the real binary: what they cost everybody else, and in memory. A file of its
//! own, as Cargo runs nothing else meanwhile, and one test at a time.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed step is a failed test, and the figures are what it is about, also where it passes"
)]

#[path = "it/auditor.rs"]
mod auditor;
#[path = "crash/harness.rs"]
#[expect(dead_code, reason = "what only tests that kill call")]
mod harness;
#[path = "it/http.rs"]
#[expect(dead_code, reason = "what only tests with all kinds of requests call")]
mod http;
#[path = "it/journal.rs"]
mod journal;
#[path = "it/statistics.rs"]
mod statistics;

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use futures_util::future::join_all;

use harness::Service;
use http::Client;
use journal::Journal;
use statistics::quantile;
use tokio::sync::Mutex;

static ALONE: Mutex<()> = Mutex::const_new(());

/// Of the service's process at its worst, with everything that 2,000 connections need; of that, one check of a
/// password takes 19 MiB. Built without optimisation, too.
const MEMORY_MAX_KIB: u64 = 256 << 10;
const FLOOD: u32 = 2_000;

/// One of 250 × 250 clients of this machine's own network.
fn client(service: &Service, n: u32) -> Client {
    let [_, _, c, d] = Ipv4Addr::from(n).octets();
    service.client.from([127, 6, c, d])
}

async fn guess(client: &Client, n: u32) -> StatusCode {
    let request = client.get("/events").user(&format!("nobody{n}"), "a guess");
    request.send().await.status
}

/// The largest that the process ever was.
fn peak_kib(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_wrong_logins_at_once_stop_nobody_and_take_bounded_memory() {
    let _alone = ALONE.lock().await;
    // Two thousand clients of a busy machine may take long to say something, and here many have one address.
    let service = Service::start(&[
        ("EVENTLOGGER_SERVER__HEAD_TIMEOUT_SECONDS", "120"),
        ("EVENTLOGGER_SERVER__CONNECTIONS_PER_ADDRESS", "10000"),
    ])
    .await;
    let journal = Arc::new(Journal::new("login flood", 1));
    let is_over = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (journal, is_over) = (Arc::clone(&journal), Arc::clone(&is_over));
        let clients = vec![service.client.clone(); 2];
        async move { journal.write_until(&clients, || is_over.load(Ordering::Relaxed)).await }
    });
    let quiet = peak_kib(&service);
    let mut answers = Vec::new();
    // From as many addresses at first, then all from one, which is soon slowed down.
    for distinct in [FLOOD, 1, 1] {
        let before = journal.recorded();
        let clients: Vec<Client> = (0..distinct).map(|n| client(&service, n)).collect();
        let guesses = (0..FLOOD).map(|n| guess(&clients[(n % distinct) as usize], n));
        answers.extend(join_all(guesses).await);
        assert!(journal.recorded() > before, "a well-behaved client went on recording");
    }
    is_over.store(true, Ordering::Relaxed);
    writing.await.unwrap();

    let count = |status: StatusCode| answers.iter().filter(|answer| **answer == status).count();
    let [checked, throttled, busy] =
        [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].map(count);
    println!("{checked} checked, {throttled} slowed down, {busy} told to come back");
    assert_eq!(checked + throttled + busy, 3 * FLOOD as usize);
    assert!(checked > 0 && throttled > 1_000 && busy > 0);
    let peak = peak_kib(&service);
    println!("{} MiB before, {} MiB at most", quiet >> 10, peak >> 10);
    assert!(peak < MEMORY_MAX_KIB, "{} MiB", peak >> 10);
    journal.repeat(&service.client).await;
    journal.check(service.database().await).await;
    service.audit().await;
}

const GUESSERS: u32 = 200;
/// How many of them are checked or wait for it.
const PLACES: u32 = 70;
/// Alternately with and without the flood, so that whatever else the machine does is in both.
const REQUESTS_PER_TURN: usize = 100;
/// One run on a busy machine says little; a service that cannot do it fails every time.
const RUNS: usize = 4;

/// Whatever else the machine does at the time: a client that is at work does not wait behind the guessers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_wrong_logins_at_once_do_not_queue_before_a_client() {
    const MEDIAN_RATIO_MAX: f64 = 4.0;
    assert_ratio(0.5, MEDIAN_RATIO_MAX, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the slowest of a hundred requests say something only on a machine that does nothing else"]
async fn two_hundred_wrong_logins_at_once_hardly_slow_a_client_down() {
    const P99_RATIO_MAX: f64 = 2.0;
    assert_ratio(0.99, P99_RATIO_MAX, 6).await;
}

async fn assert_ratio(share: f64, max: f64, turns: usize) {
    let _alone = ALONE.lock().await;
    let service = Arc::new(Service::start(&[]).await);
    let mut ratios = Vec::new();
    for _ in 0..RUNS {
        let (mut without, mut under) = (Vec::new(), Vec::new());
        for _ in 0..turns {
            without.extend(healthy(&service.client).await);
            let flood = Flood::begin(&service).await;
            under.extend(healthy(&service.client).await);
            flood.end().await;
        }
        for share in [0.5, 0.99] {
            let [without, under] = [&without, &under].map(|sample| quantile(sample, share) * 1e3);
            println!("p{:.0} {without:.2} → {under:.2} ms: × {:.2}", share * 100.0, under / without);
        }
        ratios.push(quantile(&under, share) / quantile(&without, share));
        if ratios.last().is_some_and(|ratio| *ratio <= max) {
            return;
        }
    }
    panic!("p{:.0} under the flood, as a multiple of that without: {ratios:.2?}", share * 100.0);
}

/// How long requests took, in seconds.
async fn healthy(client: &Client) -> Vec<f64> {
    let mut seconds = Vec::new();
    for _ in 0..REQUESTS_PER_TURN {
        let event = r#"{"event_type":"t","user_identity":"u"}"#;
        let begun = Instant::now();
        client.post("/events?receipt=none").json(event).send().await.json(201);
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds
}

/// Two hundred who guess: each sends its next guess when it has an answer, or when it was told to.
struct Flood {
    is_over: Arc<AtomicBool>,
    guessers: Vec<tokio::task::JoinHandle<()>>,
}

/// No name and no address is used twice by chance.
static GUESSES: AtomicU32 = AtomicU32::new(0);

impl Flood {
    async fn begin(service: &Arc<Service>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let guessers = (0..GUESSERS)
            .map(|n| {
                let client = client(service, n);
                let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
                tokio::spawn(async move {
                    while !is_over.load(Ordering::Relaxed) {
                        let guess = guess(&client, GUESSES.fetch_add(1, Ordering::Relaxed)).await;
                        answered.fetch_add(1, Ordering::Relaxed);
                        if guess != StatusCode::UNAUTHORIZED {
                            // As they were told, not all at the same moment.
                            tokio::time::sleep(Duration::from_millis(1_000 + 10 * u64::from(n))).await;
                        }
                    }
                })
            })
            .collect();
        // All that find no place in the queue have been told so: from here on it is full.
        while answered.load(Ordering::Relaxed) < u64::from(GUESSERS - PLACES) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Self { is_over, guessers }
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        join_all(self.guessers).await;
    }
}
