//! Whoever guesses passwords is slowed down; nobody else is.

use std::sync::Arc;

use eventlogger::auth::DEFAULT_TENANT;
use eventlogger::auth::secret::generate_machine_secret;
use eventlogger::store::principals::users::StoredCredential;
use http::StatusCode;

use crate::auth::eventually;
use crate::changes::{create_tenant, create_user, set_credential, set_disabled};
use crate::harness::{ADMIN, PASSWORD, Server, tests};
use crate::http::{Client, Response};

tests![
    a_guesser_is_slowed_down_and_the_victim_comes_in_from_elsewhere,
    a_password_that_is_in_use_elsewhere_is_nothing_to_guess_at,
    who_was_right_is_not_stopped_by_a_guesser_at_the_same_address,
    a_password_that_is_no_longer_right_opens_no_way_around,
    being_slowed_down_tells_nothing_about_who_exists,
    an_address_that_tries_many_names_is_slowed_down,
    of_two_hundred_guesses_at_once_few_are_checked,
    tokens_and_machine_secrets_are_not_slowed_down,
];

/// Two addresses of this machine.
const GUESSER: [u8; 4] = [127, 2, 0, 1];
const ELSEWHERE: [u8; 4] = [127, 2, 0, 2];
/// From one address at one account; the last begins a pause.
const FREE: usize = 11;

async fn log_in(client: &Client, name: &str, password: &str) -> Response {
    client.get("/events?limit=1").user(name, password).send().await
}

/// Fails until it is told to wait.
async fn guess(client: &Client, name: &str) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for n in 0..=FREE {
        statuses.push(log_in(client, name, &format!("guess {n}")).await.status);
    }
    statuses
}

fn slowed_down() -> Vec<StatusCode> {
    let mut statuses = vec![StatusCode::UNAUTHORIZED; FREE];
    statuses.push(StatusCode::TOO_MANY_REQUESTS);
    statuses
}

/// A figure of `/metrics`.
async fn figure(server: &Server, name: &str) -> u64 {
    let text = server.client.get("/metrics").send().await.text();
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.trim().parse().unwrap()
}

async fn a_guesser_is_slowed_down_and_the_victim_comes_in_from_elsewhere(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "reader").await;
    let guesser = server.client.from(GUESSER);
    assert_eq!(guess(&guesser, "ann").await, slowed_down());

    let runs = figure(&server, "eventlogger_argon2_runs_total").await;
    let throttled = figure(&server, "eventlogger_logins_total{outcome=\"throttled\"}").await;
    let refused = log_in(&guesser, "ann", PASSWORD).await;
    let problem = refused.problem(429, "too_many_failures");
    assert!(problem["detail"].as_str().unwrap().contains("Retry-After"), "{problem:#}");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&wait), "{wait}");
    assert_eq!(figure(&server, "eventlogger_argon2_runs_total").await, runs, "nothing was checked");
    assert_eq!(figure(&server, "eventlogger_logins_total{outcome=\"throttled\"}").await, throttled + 1);
    assert_eq!(figure(&server, "eventlogger_login_failures_evicted_total").await, 0);

    log_in(&server.client.from(ELSEWHERE), "ann", PASSWORD).await.json(200);
    log_in(&guesser, ADMIN, PASSWORD).await.json(200);
}

async fn a_password_that_is_in_use_elsewhere_is_nothing_to_guess_at(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "reader").await;
    log_in(&server.client.from(ELSEWHERE), "ann", PASSWORD).await.json(200);
    let guesser = server.client.from(GUESSER);
    assert_eq!(guess(&guesser, "ann").await, slowed_down());
    log_in(&guesser, "ann", PASSWORD).await.problem(429, "too_many_failures");
    log_in(&server.client.from(ELSEWHERE), "ann", PASSWORD).await.json(200);
}

async fn who_was_right_is_not_stopped_by_a_guesser_at_the_same_address(server: Arc<Server>) {
    // Nothing stays admitted, so each login goes the whole way.
    let server = server.another_instance_with(|config| config.auth.cache = std::time::Duration::ZERO).await;
    server.add_user("ann", PASSWORD, "reader").await;
    let shared = server.client.from(GUESSER);
    log_in(&shared, "ann", PASSWORD).await.json(200);
    assert_eq!(guess(&shared, "ann").await, slowed_down());
    log_in(&shared, "ann", PASSWORD).await.json(200);
    log_in(&shared, "ann", "guess").await.problem(429, "too_many_failures");
    server.stop().await;
}

async fn a_password_that_is_no_longer_right_opens_no_way_around(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "reader").await;
    let client = server.client.from(GUESSER);
    log_in(&client, "ann", PASSWORD).await.json(200);
    let hash = eventlogger::auth::password::hash(eventlogger::auth::Cost::default(), "another").unwrap();
    set_credential(&server.store.control, DEFAULT_TENANT, "ann", &StoredCredential::Password(hash))
        .await
        .unwrap();
    eventually(async || log_in(&client, "ann", PASSWORD).await.status == 401).await;
    for _ in 0..FREE {
        log_in(&client, "ann", PASSWORD).await.problem(401, "invalid_credentials");
    }
    log_in(&client, "ann", PASSWORD).await.problem(429, "too_many_failures");
}

async fn being_slowed_down_tells_nothing_about_who_exists(server: Arc<Server>) {
    create_tenant(&server.store.control, "acme").await.unwrap();
    server.add_user_of("acme", "ann", PASSWORD, &["reader"]).await;
    server.add_user_of("acme", "off", PASSWORD, &["reader"]).await;
    set_disabled(&server.store.control, "acme", "off", true).await.unwrap();
    let mut answers = Vec::new();
    for (n, name) in (10..).zip(["acme/ann", "acme/off", "acme/nobody", "nowhere/ann", "ann"]) {
        let client = server.client.from([127, 2, 0, n]);
        assert_eq!(guess(&client, name).await, slowed_down(), "{name}");
        answers.push(log_in(&client, name, PASSWORD).await.problem(429, "too_many_failures"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

async fn an_address_that_tries_many_names_is_slowed_down(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "reader").await;
    let guesser = server.client.from(GUESSER);
    let mut failed = 0;
    loop {
        let answer = log_in(&guesser, &format!("nobody{failed}"), "guess").await;
        match answer.status {
            StatusCode::UNAUTHORIZED => failed += 1,
            _ => break drop(answer.problem(429, "too_many_failures")),
        }
    }
    // One more is forgiven each half minute.
    assert!((101..110).contains(&failed), "{failed}");
    log_in(&guesser, "ann", PASSWORD).await.problem(429, "too_many_failures");
    log_in(&server.client.from(ELSEWHERE), "ann", PASSWORD).await.json(200);
}

async fn of_two_hundred_guesses_at_once_few_are_checked(server: Arc<Server>) {
    server.add_user("ann", PASSWORD, "reader").await;
    let guesser = server.client.from(GUESSER);
    let runs = figure(&server, "eventlogger_argon2_runs_total").await;
    let guesses = (0..200).map(|n| {
        let guesser = guesser.clone();
        async move { log_in(&guesser, "ann", &format!("guess {n}")).await.status }
    });
    let answers = futures_util::future::join_all(guesses).await;
    let failed = answers.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count();
    // A pause may end before the last of them arrive; the next is twice as long.
    assert!((1..FREE + 6).contains(&failed), "{answers:?}");
    let runs = figure(&server, "eventlogger_argon2_runs_total").await - runs;
    assert_eq!(runs, failed as u64);
}

async fn tokens_and_machine_secrets_are_not_slowed_down(server: Arc<Server>) {
    let secret = generate_machine_secret().unwrap();
    let stored = StoredCredential::MachineSecret(secret.sha256());
    create_user(&server.store.control, DEFAULT_TENANT, "robot", &stored, &["reader"]).await.unwrap();
    let token = server.add_token(ADMIN, "reader").await;
    let client = server.client.from(GUESSER);
    let rejected = figure(&server, "eventlogger_logins_total{outcome=\"rejected\"}").await;
    for n in 0..=FREE {
        log_in(&client, "robot", &format!("evls_{n}")).await.problem(401, "invalid_credentials");
        let wrong = client.get("/events").bearer(&format!("evl_default_wrong{n}")).send().await;
        wrong.problem(401, "invalid_credentials");
    }
    log_in(&client, "robot", secret.reveal()).await.json(200);
    client.get("/events").bearer(&token).send().await.json(200);
    let now = figure(&server, "eventlogger_logins_total{outcome=\"rejected\"}").await;
    assert_eq!(now - rejected, 2 * (FREE as u64 + 1));
}
