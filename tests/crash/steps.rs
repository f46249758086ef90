//! `kill -9` of the service, or of its cluster, at each step of a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::Service;
use crate::journal::{Journal, Random, send_until_recorded};

/// As in src/ingest/fault.rs.
const STEPS: [&str; 9] = [
    "Locked",
    "Sequenced",
    "EventsInserted",
    "TilesInserted",
    "KeysInserted",
    "Committed",
    "Signed",
    "Latched",
    "Answered",
];
const WRITERS: usize = 4;
const FRESH: &str = r#"{"event_type":"fresh","user_identity":"u"}"#;

#[tokio::test]
async fn a_service_killed_at_any_step_signs_one_root_for_a_size_and_loses_nothing() {
    let mut random = Random::new(7);
    let journal = Arc::new(Journal::new("steps", 7));
    let mut service = Service::new(&[]);
    for step in STEPS {
        // Tiles are full once in 256 events.
        let passes = if step == "TilesInserted" { 0 } else { random.below(20) };
        service.set("EVL_FAULT", Some(format!("{step}:{passes}")));
        service.restart().await;
        let writing = write(&service, &journal, &Arc::default());
        service.ended().await;
        println!("died at {step}");
        writing.await.unwrap();
        service.latched().iter().for_each(|note| journal.note_checkpoint(note));
        service.set("EVL_FAULT", None);
        service.restart().await;
        check(&service, &journal).await;
        service.stop().await;
    }
}

#[tokio::test]
async fn a_cluster_killed_at_any_step_signs_one_root_for_a_size_and_loses_nothing() {
    let mut random = Random::new(11);
    let journal = Arc::new(Journal::new("steps", 11));
    let mut service = Service::new(&[]);
    for step in STEPS {
        let passes = if step == "TilesInserted" { 0 } else { random.below(20) };
        let file = service.postmaster_file();
        service.set("EVL_FAULT", Some(format!("{step}:{passes}:{}", file.display())));
        service.restart().await;
        let (stop, before) = (Arc::new(AtomicBool::new(false)), service.postmaster());
        let writing = write(&service, &journal, &stop);
        while service.postmaster() == before {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        println!("its cluster died at {step}");
        send_until_recorded(&service.client, FRESH).await;
        stop.store(true, Ordering::Relaxed);
        writing.await.unwrap();
        assert!(service.is_running(), "the service outlives its cluster");
        service.latched().iter().for_each(|note| journal.note_checkpoint(note));
        check(&service, &journal).await;
        service.stop().await;
    }
}

fn write(service: &Service, journal: &Arc<Journal>, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let clients = vec![service.client.clone(); WRITERS];
    let (journal, stop) = (Arc::clone(journal), Arc::clone(stop));
    tokio::spawn(async move { journal.write_until(&clients, || stop.load(Ordering::Relaxed)).await })
}

async fn check(service: &Service, journal: &Journal) {
    send_until_recorded(&service.client, FRESH).await;
    journal.check(service.database().await).await;
    journal.repeat(&service.client).await;
    journal.check(service.database().await).await;
    service.audit().await;
}
