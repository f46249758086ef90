//! `kill -9` at random moments. The clients' journal and the auditor say what must be true afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::harness::{Service, send};
use crate::journal::{Journal, Random, send_until_recorded};

const WRITERS: usize = 6;
const LATEST_KILL_MILLISECONDS: u64 = 500;
/// After that many rounds a long run goes on with a new log: each round reads the whole of it.
const ROUNDS_OF_ONE_LOG: u64 = 20;

/// Who dies.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Server,
    /// The postmaster and all of its children; the service starts it again.
    Cluster,
    /// The postmaster alone: its children notice by themselves.
    Postmaster,
    /// One of the postmaster's children: it restarts the others.
    Backend,
    ServerAndCluster,
}

use Victim::{Backend, Cluster, Postmaster, Server, ServerAndCluster};

#[tokio::test]
async fn killing_the_server_loses_nothing_that_was_acknowledged() {
    rounds(&[Server], 6, seed()).await;
}

#[tokio::test]
async fn killing_the_cluster_loses_nothing_that_was_acknowledged() {
    rounds(&[Cluster, Postmaster, Backend], 6, seed()).await;
}

#[tokio::test]
async fn killing_server_and_cluster_at_once_loses_nothing_that_was_acknowledged() {
    rounds(&[ServerAndCluster], 3, seed()).await;
}

#[tokio::test]
async fn a_stop_while_the_cluster_is_gone_is_clean() {
    let mut random = Random::new(seed());
    let journal = Arc::new(Journal::new("stop", 1));
    let mut service = Service::start(&[]).await;
    for _ in 0..3 {
        let writing = keep_writing(&service, &journal, &Arc::default());
        tokio::time::sleep(Duration::from_millis(random.below(LATEST_KILL_MILLISECONDS))).await;
        kill(&mut service, Cluster);
        tokio::time::sleep(Duration::from_millis(random.below(LATEST_KILL_MILLISECONDS))).await;
        service.stop().await;
        writing.await.unwrap();
        service.restart().await;
        journal.repeat(&service.client).await;
        journal.check(service.database().await).await;
        service.audit().await;
    }
    service.stop().await;
}

/// Making the cluster, the roles, the schema, the first user: whatever it was at, the next start goes on.
#[tokio::test]
async fn a_first_start_that_is_killed_again_and_again_succeeds_in_the_end() {
    const LATEST_MILLISECONDS: u64 = 1_000;
    let mut random = Random::new(seed());
    let mut service = Service::new(&[]);
    for _ in 0..16 {
        service.launch();
        let milliseconds = random.below(LATEST_MILLISECONDS);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        assert!(service.is_running(), "it ended by itself within {milliseconds} ms");
        println!("killed after {milliseconds} ms");
        service.kill();
    }
    service.restart().await;
    send_until_recorded(&service.client, r#"{"event_type":"first","user_identity":"u"}"#).await;
    service.audit().await;
    service.stop().await;
}

#[tokio::test]
#[ignore = "takes many minutes; CRASH_ROUNDS says how many rounds, 200 if it does not"]
async fn killing_everything_again_and_again_loses_nothing_that_was_acknowledged() {
    let mut rounds_left = number("CRASH_ROUNDS").unwrap_or(200);
    let mut seed = seed();
    while rounds_left > 0 {
        let count = rounds_left.min(ROUNDS_OF_ONE_LOG);
        rounds(&[Server, Cluster, ServerAndCluster, Postmaster, Server, Backend], count, seed).await;
        rounds_left -= count;
        seed += 1;
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}

/// `CRASH_SEED`, or any: printed when the test fails.
fn seed() -> u64 {
    let seed = number("CRASH_SEED").unwrap_or_else(random_seed);
    println!("CRASH_SEED={seed}");
    seed
}

async fn rounds(victims: &[Victim], count: u64, seed: u64) {
    let mut random = Random::new(seed);
    let journal = Arc::new(Journal::new("crash", random.below(u64::MAX)));
    let mut service = Service::start(&[]).await;
    for round in 0..count {
        let victim = victims[(round % victims.len() as u64) as usize];
        println!("round {round}: {victim:?}");
        play(&mut service, &journal, victim, random.below(LATEST_KILL_MILLISECONDS)).await;
    }
    assert!(journal.recorded() > 0, "nothing was acknowledged");
    service.stop().await;
    println!("{} events acknowledged", journal.recorded());
}

fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    // A short number is easier to hand on.
    u64::from_le_bytes(bytes) % 1_000_000
}

async fn play(service: &mut Service, journal: &Arc<Journal>, victim: Victim, milliseconds: u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let writing = keep_writing(service, journal, &stop);
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    kill(service, victim);
    match victim {
        Server | ServerAndCluster => {
            writing.await.unwrap();
            service.restart().await;
        }
        Cluster | Postmaster | Backend => {
            // Under load, and by itself.
            send_until_recorded(&service.client, r#"{"event_type":"fresh","user_identity":"u"}"#).await;
            stop.store(true, Ordering::Relaxed);
            writing.await.unwrap();
            assert!(service.is_running(), "the service outlives its cluster");
        }
    }
    send_until_recorded(&service.client, r#"{"event_type":"fresh","user_identity":"u"}"#).await;
    journal.check(service.database().await).await;
    journal.repeat(&service.client).await;
    journal.check(service.database().await).await;
    service.audit().await;
}

fn keep_writing(service: &Service, journal: &Arc<Journal>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let clients = vec![service.client.clone(); WRITERS];
    let (journal, stop) = (Arc::clone(journal), Arc::clone(stop));
    tokio::spawn(async move { journal.write_until(&clients, || stop.load(Ordering::Relaxed)).await })
}

fn kill(service: &mut Service, victim: Victim) {
    let postmaster = service.postmaster();
    let cluster = service.cluster();
    match victim {
        Server => service.kill(),
        Cluster => cluster.into_iter().for_each(|pid| send(pid, Signal::KILL)),
        Postmaster => send(postmaster.unwrap(), Signal::KILL),
        // The children die youngest first, so this is a session and not a process that runs all the time.
        Backend => {
            send(cluster.into_iter().filter(|pid| Some(*pid) != postmaster).max().unwrap(), Signal::KILL)
        }
        ServerAndCluster => {
            service.kill();
            cluster.into_iter().for_each(|pid| send(pid, Signal::KILL));
        }
    }
}
