//! A process that may open no more files.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::net::TcpStream;

use crate::harness::Service;

const EVENT: &str = r#"{"event_type":"t","user_identity":"u"}"#;

#[tokio::test]
async fn without_files_it_waits_for_some_and_does_not_spin() {
    let mut service = Service::start(&[]).await;
    service.client.post("/events").json(EVENT).send().await.json(201);
    let pid = Pid::from_raw(service.pid() as i32);
    let open = fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap().count() as u64;
    let few = Rlimit { current: Some(open + 5), ..getrlimit(Resource::Nofile) };
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    let mut held = Vec::new();
    for _ in 0..50 {
        // The kernel takes them in; the process cannot.
        held.push(TcpStream::connect(service.client.address()).await.unwrap());
    }
    until(|| service.said().contains("connections cannot be accepted")).await;
    let (busy, begun) = (cpu_time(&service), Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let share = (cpu_time(&service) - busy).as_secs_f64() / begun.elapsed().as_secs_f64();
    assert!(share < 0.5, "it is busy for {share:.2} of the time");
    assert_eq!(service.said().matches("connections cannot be accepted").count(), 1);

    drop(held);
    prlimit(pid, Resource::Nofile, before).unwrap();
    service.client.post("/events").json(EVENT).send().await.json(201);
    until(|| service.said().contains("connections are accepted again")).await;
    service.stop().await;
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Of the process itself, without its cluster.
fn cpu_time(service: &Service) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(1000 * ticks / rustix::param::clock_ticks_per_second())
}
