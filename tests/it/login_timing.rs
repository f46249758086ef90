//! How long a refusal takes tells nothing about what is stored.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventlogger::auth::{Auth, AuthError, Settings};
use libtest_mimic::Trial;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::auth::{CHEAP, add_user, headers, settings};
use crate::changes::{create_tenant, set_disabled};
use crate::harness::{Server, World};
use crate::http::basic;
use crate::journal::Random;
use crate::statistics::{mann_whitney_p, quantile};

pub fn trials(world: &Arc<World>) -> Vec<Trial> {
    let name = |name: &str| format!("login_timing::{name}");
    vec![
        world.database_trial(
            &name("whatever_is_wrong_takes_the_same_time"),
            whatever_is_wrong_takes_the_same_time,
        ),
        world.trial(&name("whatever_is_wrong_takes_the_same_time_over_http"), |server| over_http(server, 50)),
        world
            .trial(&name("whatever_is_wrong_takes_the_same_time_over_http_in_2000_samples"), |server| {
                over_http(server, 400)
            })
            .with_ignored_flag(true),
    ]
}

/// A refusal that is told apart from another in two independent series is.
const P_MIN: f64 = 0.001;
const SERIES: usize = 2;
const RIGHT: &str = "the right password";

/// What can be wrong, and how it is presented.
const CASES: [(&str, &str, &str); 5] = [
    ("unknown user", "acme/nobody", RIGHT),
    ("wrong password", "acme/ann", "a wrong one"),
    ("disabled user", "acme/off", RIGHT),
    ("user of a foreign tenant", "acme/zoe", RIGHT),
    ("unknown tenant", "nowhere/ann", RIGHT),
];

async fn prepare(pool: &PgPool) {
    for (tenant, user) in [("acme", "ann"), ("acme", "off"), ("zeta", "zoe")] {
        // `acme` is there already for its second user.
        let _ = create_tenant(pool, tenant).await;
        add_user(pool, tenant, user, RIGHT, &["reader"]).await;
    }
    set_disabled(pool, "acme", "off", true).await.unwrap();
}

/// Measures all cases in turns, each round from an address of its own and in an order of its own, so that
/// nobody is slowed down and nothing but the case makes a difference.
async fn assert_same_time(
    rounds: u32,
    mut round: impl AsyncFnMut(u32, [usize; CASES.len()]) -> [f64; CASES.len()],
) {
    let mut suspects: Option<Vec<(usize, usize)>> = None;
    for series in 0..SERIES as u32 {
        let mut random = Random::new(u64::from(series));
        let mut samples: [Vec<f64>; CASES.len()] = Default::default();
        // The first rounds warm up what is lazy.
        for n in 0..rounds + 5 {
            let mut order = [0, 1, 2, 3, 4];
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last as u64 + 1) as usize);
            }
            let seconds = round(series * (rounds + 5) + n, order).await;
            if n >= 5 {
                samples.iter_mut().zip(seconds).for_each(|(sample, seconds)| sample.push(seconds));
            }
        }
        let told_apart = told_apart(&samples);
        suspects = Some(match suspects {
            None => told_apart,
            Some(before) => before.into_iter().filter(|pair| told_apart.contains(pair)).collect(),
        });
        if suspects.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
    }
    panic!("told apart by their time: {:?}", suspects.unwrap_or_default());
}

#[expect(clippy::print_stdout, reason = "the figures are what the test is about, also where it passes")]
fn told_apart(samples: &[Vec<f64>; CASES.len()]) -> Vec<(usize, usize)> {
    let mut told_apart = Vec::new();
    for one in 0..samples.len() {
        println!("{:>9.1} µs {}", quantile(&samples[one], 0.5) * 1e6, CASES[one].0);
        for other in one + 1..samples.len() {
            let p = mann_whitney_p(&samples[one], &samples[other]);
            println!("{:>16} {p:.4} {}", "", CASES[other].0);
            if p < P_MIN {
                told_apart.push((one, other));
            }
        }
    }
    told_apart
}

/// The code that is the same for every cost, with hardly any cost to hide behind.
async fn whatever_is_wrong_takes_the_same_time(pool: PgPool) {
    prepare(&pool).await;
    let auth = Auth::new(pool.clone(), Settings { cost: CHEAP, ..settings() }).unwrap();
    let requests = CASES.map(|(_, name, password)| headers(&basic(name, password)));
    assert_same_time(2_000, async |n, order| {
        let from = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n));
        let mut seconds = [0.0; CASES.len()];
        for case in order {
            let begun = Instant::now();
            let outcome = auth.authenticate(&requests[case], Some(from)).await;
            seconds[case] = begun.elapsed().as_secs_f64();
            assert_eq!(outcome, Err(AuthError::Rejected), "{}", CASES[case].0);
        }
        seconds
    })
    .await;
}

/// The whole way, at the cost of production.
async fn over_http(server: Arc<Server>, rounds: u32) {
    prepare_at_full_cost(&server).await;
    let address = server.client.address();
    let requests = CASES.map(|(_, name, password)| {
        let login = STANDARD.encode(format!("{name}:{password}"));
        format!("GET /events HTTP/1.1\r\nhost: log\r\nauthorization: Basic {login}\r\n\r\n")
    });
    assert_same_time(rounds, async |n, order| {
        let mut connection = connect(Ipv4Addr::from(0x7f05_0001 + n), address).await;
        let mut seconds = [0.0; CASES.len()];
        for case in order {
            let begun = Instant::now();
            connection.write_all(requests[case].as_bytes()).await.unwrap();
            let answer = read_answer(&mut connection).await;
            seconds[case] = begun.elapsed().as_secs_f64();
            assert!(answer.starts_with("HTTP/1.1 401 "), "{}: {answer}", CASES[case].0);
        }
        seconds
    })
    .await;
}

async fn prepare_at_full_cost(server: &Server) {
    for (tenant, user) in [("acme", "ann"), ("acme", "off"), ("zeta", "zoe")] {
        let _ = create_tenant(&server.store.control, tenant).await;
        server.add_user_of(tenant, user, RIGHT, &["reader"]).await;
    }
    set_disabled(&server.store.control, "acme", "off", true).await.unwrap();
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let connection = socket.connect(to).await.unwrap();
    connection.set_nodelay(true).unwrap();
    connection
}

/// Head and body of an answer that says how long it is.
async fn read_answer(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        assert_ne!(connection.read_buf(&mut answer).await.unwrap(), 0, "the service closed the connection");
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if length.is_some_and(|length: usize| body.len() >= length) {
            return text.into_owned();
        }
    }
}
