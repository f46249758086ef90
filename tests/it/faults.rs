//! Faults of the database and of clients. Whatever happens: what was acknowledged is there, what was said not to
//! be recorded is not, and the service recovers without a restart.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventlogger::auth;
use eventlogger::config::Secret;
use eventlogger::store::principals::users;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Executor, PgPool, Postgres, Transaction};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::changes::{self, create_tenant};
use crate::harness::{ADMIN, PASSWORD, Server, count, event, keyed, tests};
use crate::http::{Client, Response, basic};
use crate::journal::{Journal, Random, send_until_recorded};
use crate::proxy::{Fault, Proxy};

tests![
    killed_database_sessions_lose_nothing,
    reading_and_logging_in_go_on_when_all_sessions_were_killed,
    clients_that_leave_at_any_moment_harm_nobody,
    a_commit_whose_answer_is_lost_is_a_201,
    a_commit_that_is_lost_is_made_again,
    a_commit_in_doubt_names_the_id_to_look_up,
    a_commit_in_doubt_that_never_happened_can_be_repeated,
    a_locked_head_is_answered_in_time,
    an_atomic_batch_given_up_while_it_waits_is_not_recorded_in_part,
    an_atomic_batch_is_recorded_while_singles_keep_coming,
    a_full_queue_refuses_only_its_tenant,
    what_was_accepted_is_answered_before_the_service_ends,
    the_service_ends_although_the_database_never_answers,
    a_clock_that_is_off_keeps_events_out,
];

/// Looks until it is so. How long that takes is the machine's affair, but not for ever.
async fn wait_until(what: &str, reached: impl AsyncFn() -> bool) {
    look(6_000, what, reached).await;
}

async fn look(times: usize, what: &str, reached: impl AsyncFn() -> bool) {
    for _ in 0..times {
        if reached().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

const EVENTS: &str = "SELECT count(*) FROM events";
/// The service's sessions; the test's own are the superuser's.
const OPEN_TRANSACTIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                                 AND usename <> 'eventlogger' AND state LIKE 'idle in transaction%'";
const KILL_SESSIONS: &str = "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
                             WHERE datname = current_database() AND usename <> 'eventlogger'";

/// Journal and clients of a test under load.
fn load(server: &Server, name: &'static str) -> (Arc<Journal>, Vec<Client>) {
    (Arc::new(Journal::new(name, 1)), vec![server.client.clone(); 8])
}

fn keep_writing(journal: &Arc<Journal>, clients: Vec<Client>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (journal, stop) = (Arc::clone(journal), Arc::clone(stop));
    tokio::spawn(async move { journal.write_until(&clients, || stop.load(Ordering::Relaxed)).await })
}

async fn killed_database_sessions_lose_nothing(server: Arc<Server>) {
    let (journal, clients) = load(&server, "killed sessions");
    let stop = Arc::new(AtomicBool::new(false));
    let writing = keep_writing(&journal, clients, &stop);
    let mut killed = 0;
    for _ in 0..20 {
        let recorded = journal.recorded();
        wait_until("more is recorded", async || writing.is_finished() || journal.recorded() > recorded + 10)
            .await;
        killed += count(&server.database, KILL_SESSIONS).await;
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert!(killed >= 20, "{killed} sessions were killed");
    journal.repeat(&server.client).await;
    journal.check(&server.database).await;
}

async fn reading_and_logging_in_go_on_when_all_sessions_were_killed(server: Arc<Server>) {
    server.add_user("ann", "ann's long password", "reader").await;
    let recorded = server.client.post("/events").json(keyed("k")).send().await.json(201);
    let path = format!("/events/{}", recorded["id"].as_str().unwrap());
    for _ in 0..3 {
        let readers = (0..16).map(|_| server.client.get("/events").send());
        for answer in futures_util::future::join_all(readers).await {
            answer.json(200);
        }
        assert!(count(&server.database, KILL_SESSIONS).await > 1);
        server.client.get("/events?event_type=t").send().await.json(200);
        count(&server.database, KILL_SESSIONS).await;
        server.client.get(&path).send().await.json(200);
        count(&server.database, KILL_SESSIONS).await;
        let again = server.client.post("/events").json(keyed("k")).send().await.json(200);
        assert_eq!(again["receipt"], recorded["receipt"]);
    }
    count(&server.database, KILL_SESSIONS).await;
    server.client.get("/events").user("ann", "ann's long password").send().await.json(200);
}

/// What a client gets across before it leaves: all of its request, or a part.
async fn send_and_leave(server: &Server, request: &[u8], milliseconds: u64) {
    let address = server.client.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The service may close first, which is its right.
    let _ = stream.write_all(request).await;
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

fn raw_request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        basic(ADMIN, PASSWORD),
        body.len()
    )
    .into_bytes()
}

async fn clients_that_leave_at_any_moment_harm_nobody(server: Arc<Server>) {
    server.client.get("/events").send().await.json(200);
    let journal = Arc::new(Journal::new("leaving clients", 1));
    let clients = (0..16).map(|client| {
        let (server, journal) = (Arc::clone(&server), Arc::clone(&journal));
        tokio::spawn(async move {
            let mut random = Random::new(client);
            for _ in 0..40 {
                let index = journal.note(random.below(2) == 0, random.below(2_000), None);
                let mut request = match random.below(4) {
                    0 => raw_request("GET", "/events?limit=20", ""),
                    _ => raw_request("POST", "/events", &journal.body(index)),
                };
                if random.below(4) == 0 {
                    request.truncate(random.below(request.len() as u64) as usize);
                }
                send_and_leave(&server, &request, random.below(12)).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    wait_until("the queue is empty", async || {
        server.client.get("/status").send().await.json(200)["queue"]["events"] == 0
    })
    .await;
    // Much sooner than PostgreSQL would end an idle transaction by itself.
    look(200, "no transaction is left open", async || count(&server.database, OPEN_TRANSACTIONS).await == 0)
        .await;
    server.client.get("/health/ready").anonymous().send().await.json(200);
    assert!(count(&server.database, EVENTS).await > 0, "nobody stayed long enough");
    journal.repeat(&server.client).await;
    journal.check(&server.database).await;
}

/// An instance whose connections to the database go through a proxy.
pub async fn behind_proxy(server: &Server) -> (Proxy, Server) {
    let options = PgConnectOptions::from_str(server.config.database.url.reveal()).unwrap();
    let folder = options.get_socket().unwrap().clone();
    let proxy = Proxy::before(&folder, options.get_port());
    let instance = server
        .another_instance_with(|config| {
            let url = config.database.url.reveal().replace(path(&folder), path(proxy.folder()));
            config.database.url = Secret::new(url);
            config.ingest.answer_timeout = Duration::from_secs(1);
        })
        .await;
    // The first login is slow; what is tested shall not wait for it.
    instance.client.get("/events").send().await.json(200);
    (proxy, instance)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn a_commit_whose_answer_is_lost_is_a_201(server: Arc<Server>) {
    let (proxy, instance) = behind_proxy(&server).await;
    proxy.arm(Fault::LoseAnswer);
    let recorded = instance.client.post("/events").json(keyed("k")).send().await.json(201);
    assert_eq!(recorded["seq"], 0);
    let again = instance.client.post("/events").json(keyed("k")).send().await.json(200);
    assert_eq!((&again["id"], &again["receipt"]), (&recorded["id"], &recorded["receipt"]));
    assert_eq!(instance.client.post("/events").json(event("t")).send().await.json(201)["seq"], 1);
    instance.stop().await;
}

async fn a_commit_that_is_lost_is_made_again(server: Arc<Server>) {
    let (proxy, instance) = behind_proxy(&server).await;
    proxy.arm(Fault::LoseCommit);
    // The lane finds out that nothing was recorded, and records it: the submitter notices nothing.
    let recorded = instance.client.post("/events").json(keyed("k")).send().await.json(201);
    assert_eq!(recorded["seq"], 0);
    assert_eq!(count(&server.database, EVENTS).await, 1);
    instance.stop().await;
}

async fn a_commit_in_doubt_names_the_id_to_look_up(server: Arc<Server>) {
    let (proxy, instance) = behind_proxy(&server).await;
    proxy.arm(Fault::HoldAnswer);
    let response = instance.client.post("/events").json(keyed("k")).send().await;
    let id = response.problem(503, "unknown")["id"].as_str().unwrap().to_owned();
    assert!(response.header("retry-after").is_some());
    server.client.get(&format!("/events/{id}")).send().await.json(200);
    proxy.release();
    let (status, there) = send_until_recorded(&instance.client, &keyed("k")).await;
    assert_eq!((status, there.to_string()), (200, id));
    assert_eq!(count(&server.database, EVENTS).await, 1);
    instance.stop().await;
}

async fn a_commit_in_doubt_that_never_happened_can_be_repeated(server: Arc<Server>) {
    let (proxy, instance) = behind_proxy(&server).await;
    proxy.arm(Fault::HoldCommit);
    let response = instance.client.post("/events").json(keyed("k")).send().await;
    let id = response.problem(503, "unknown")["id"].as_str().unwrap().to_owned();
    proxy.release();
    let (status, there) = send_until_recorded(&instance.client, &keyed("k")).await;
    assert_eq!(status, 201);
    assert_ne!(there.to_string(), id);
    server.client.get(&format!("/events/{id}")).send().await.json(404);
    assert_eq!(count(&server.database, EVENTS).await, 1);
    instance.stop().await;
}

async fn lock_head(database: &PgPool) -> Transaction<'static, Postgres> {
    let mut transaction = database.begin().await.unwrap();
    transaction.execute("SELECT FROM heads WHERE tenant_id = 1 FOR UPDATE").await.unwrap();
    transaction
}

/// An instance that answers after a second at the latest.
async fn impatient(server: &Server) -> Server {
    let instance =
        server.another_instance_with(|config| config.ingest.answer_timeout = Duration::from_secs(1)).await;
    instance.client.get("/events").send().await.json(200);
    instance
}

async fn a_locked_head_is_answered_in_time(server: Arc<Server>) {
    let instance = impatient(&server).await;
    let lock = lock_head(&server.database).await;
    let batch = format!("[{},{}]", event("a"), event("b"));
    let requests = [("/events", event("t")), ("/events", keyed("k")), ("/events/batch", batch)];
    let requests = requests.map(|(path, body)| instance.client.post(path).json(body).send());
    for response in futures_util::future::join_all(requests).await {
        assert_eq!(response.problem(503, "not_recorded")["reason"], "timeout");
        assert!(response.header("retry-after").is_some());
    }
    lock.rollback().await.unwrap();
    let (status, _) = send_until_recorded(&instance.client, &keyed("k")).await;
    assert_eq!(status, 201);
    assert_eq!(count(&server.database, EVENTS).await, 1, "what was not recorded stays away");
    instance.stop().await;
}

/// The batch is given up while its events get their places; the moment is found by trying.
async fn an_atomic_batch_given_up_while_it_waits_is_not_recorded_in_part(server: Arc<Server>) {
    const EVENTS_OF_BATCH: usize = 2_000;
    let instance = impatient(&server).await;
    let timeout = server.config.ingest.answer_timeout.min(Duration::from_secs(1));
    let batch: Vec<_> = (0..EVENTS_OF_BATCH).map(|n| event(&format!("t{n}"))).collect();
    let batch = format!("[{}]", batch.join(","));
    for lead in [0, 5, 10, 15, 20, 30, 40, 60] {
        let lock = lock_head(&server.database).await;
        let client = instance.client.clone();
        let body = batch.clone();
        let answer = tokio::spawn(async move {
            client.post("/events/batch?atomic=true&receipt=none").json(body).send().await
        });
        tokio::time::sleep(timeout - Duration::from_millis(lead)).await;
        lock.rollback().await.unwrap();
        let answer = answer.await.unwrap();
        assert!([201, 207, 503].contains(&answer.status.as_u16()), "{}", answer.text());
        send_until_recorded(&instance.client, &event("after")).await;
        let recorded =
            count(&server.database, "SELECT count(*) FROM events WHERE event_type <> 'after'").await;
        assert_eq!(recorded as usize % EVENTS_OF_BATCH, 0, "lead {lead}: {}", answer.status);
    }
    instance.stop().await;
}

async fn an_atomic_batch_is_recorded_while_singles_keep_coming(server: Arc<Server>) {
    let stop = Arc::new(AtomicBool::new(false));
    // Each of these gets a transaction of its own, so that there are always some that wait.
    let large =
        json!({"event_type": "single", "user_identity": "u", "event_data": "x".repeat(70 << 10)}).to_string();
    let singles: Vec<_> = (0..12)
        .map(|_| {
            let (client, stop, large) = (server.client.clone(), Arc::clone(&stop), large.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.post("/events?receipt=none").json(large.clone()).send().await.json(201);
                }
            })
        })
        .collect();
    wait_until("singles keep coming", async || count(&server.database, EVENTS).await > 24).await;
    for _ in 0..3 {
        let before = count(&server.database, EVENTS).await;
        let batch = format!("[{},{}]", event("a"), event("b"));
        server.client.post("/events/batch?atomic=true").json(batch).send().await.json(201);
        let overtook = count(&server.database, EVENTS).await - before;
        assert!(overtook < 100, "{overtook} singles went first");
    }
    stop.store(true, Ordering::Relaxed);
    for single in singles {
        single.await.unwrap();
    }
}

async fn a_full_queue_refuses_only_its_tenant(server: Arc<Server>) {
    create_tenant(&server.store.control, "other").await.unwrap();
    let hash = auth::password::hash(auth::Cost::default(), PASSWORD).unwrap();
    let credential = users::StoredCredential::Password(hash);
    changes::create_user(&server.store.control, "other", "ann", &credential, &["writer"]).await.unwrap();
    let instance = server.another_instance_with(|config| config.ingest.queue_events_per_tenant = 10).await;
    let post = || instance.client.post("/events").json(event("t"));
    post().user("other/ann", PASSWORD).send().await.json(201);

    let lock = lock_head(&server.database).await;
    let (refused, mut refusals) = tokio::sync::mpsc::unbounded_channel();
    let requests: Vec<JoinHandle<Response>> = (0..30)
        .map(|_| {
            let (request, refused) = (post().send(), refused.clone());
            tokio::spawn(async move {
                let response = request.await;
                let _ = refused.send(response.status);
                response
            })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(refusals.recv().await.unwrap(), 429);
    }
    for _ in 0..20 {
        post().user("other/ann", PASSWORD).send().await.json(201);
    }
    lock.rollback().await.unwrap();
    let mut recorded = 0;
    for request in requests {
        let response = request.await.unwrap();
        if response.status == 429 {
            response.problem(429, "queue_full");
            assert!(response.header("retry-after").is_some());
        } else {
            response.json(201);
            recorded += 1;
        }
    }
    assert_eq!(recorded, 10);
    instance.stop().await;
}

async fn what_was_accepted_is_answered_before_the_service_ends(server: Arc<Server>) {
    let (journal, clients) = load(&server, "shutdown");
    let writing = keep_writing(&journal, clients, &Arc::default());
    wait_until("something is recorded", async || journal.recorded() > 50).await;
    server.stop().await;
    // The writers end by themselves: there is nobody to answer them.
    writing.await.unwrap();
    journal.check(&server.database).await;
    assert_eq!(
        count(&server.database, EVENTS).await as usize,
        journal.recorded(),
        "each event has its answer"
    );
}

async fn the_service_ends_although_the_database_never_answers(server: Arc<Server>) {
    let (proxy, instance) = behind_proxy(&server).await;
    proxy.arm(Fault::HoldAnswer);
    let response = instance.client.post("/events").json(keyed("k")).send().await;
    response.problem(503, "unknown");
    instance.stop().await;
    // Another instance goes on with the log.
    server.client.post("/events").json(keyed("k")).send().await.json(200);
}

async fn a_clock_that_is_off_keeps_events_out(server: Arc<Server>) {
    for statement in [
        "CREATE TABLE kept AS TABLE heads",
        "UPDATE heads SET last_received_at = clock_timestamp() + interval '10 minutes'",
    ] {
        server.database.execute(statement).await.unwrap();
    }
    let response = server.client.post("/events").json(event("t")).send().await;
    assert_eq!(response.problem(503, "not_recorded")["reason"], "clock");
    assert!(response.header("retry-after").is_some());
    server.client.get("/events").send().await.json(200);
    let restore = "UPDATE heads SET last_received_at = kept.last_received_at FROM kept";
    server.database.execute(restore).await.unwrap();
    server.client.post("/events").json(event("t")).send().await.json(201);
}
