//! Logging in with a password.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use eventlogger::auth::password::hash;
use eventlogger::auth::secret::{Token, generate_machine_secret};
use eventlogger::auth::{Auth, AuthError, Cost, DEFAULT_TENANT, Principal, Role, Roles, Settings};
use eventlogger::store::principals::tokens::NewToken;
use eventlogger::store::principals::users::{StoredCredential, find_login};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::changes::{
    create_tenant, create_token, create_user, remove_user, set_credential, set_disabled, set_roles,
};

crate::harness::database_tests![
    a_user_is_known_by_name_tenant_and_roles,
    a_wrong_password_is_never_anonymous,
    whatever_is_wrong_costs_one_check_and_gives_the_same_answer,
    names_of_one_tenant_mean_nothing_in_another,
    two_hundred_cold_logins_at_once_are_one_check,
    a_flood_of_unknown_users_costs_a_bounded_number_of_checks,
    a_flood_turns_away_nobody_who_was_at_work,
    a_changed_password_is_dead_at_once,
    a_change_of_others_costs_no_second_check,
    another_instance_follows_every_change,
    without_the_database_only_what_is_cached_is_admitted,
    a_login_raises_a_weak_hash,
];

pub(crate) type Login = Result<Arc<Principal>, AuthError>;

/// Fast, where a test is not about the cost.
pub(crate) const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1, lanes: 1 };

/// Where logins come from that do not say otherwise.
const FROM: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

pub(crate) fn settings() -> Settings {
    Settings { cost: CHEAP, slots: 2, queue: 32, ..Settings::default() }
}

pub(crate) async fn auth_with_tenant(pool: &PgPool) -> Arc<Auth> {
    create_tenant(pool, DEFAULT_TENANT).await.unwrap();
    Auth::new(pool.clone(), settings()).unwrap()
}

pub(crate) async fn add_user(pool: &PgPool, tenant: &str, name: &str, password: &str, roles: &[&str]) {
    let stored = StoredCredential::Password(hash(CHEAP, password).unwrap());
    create_user(pool, tenant, name, &stored, roles).await.unwrap();
}

pub(crate) async fn add_token(
    pool: &PgPool,
    owner: &str,
    roles: &[&str],
    expires_at: Option<OffsetDateTime>,
) -> Token {
    let token = Token::generate(DEFAULT_TENANT).unwrap();
    let sha256 = token.text.sha256();
    let row = NewToken { owner, prefix: &token.prefix, sha256, label: "", roles, expires_at };
    create_token(pool, DEFAULT_TENANT, &row).await.unwrap();
    token
}

pub(crate) fn headers(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}

fn basic(login: &str, password: &str) -> HeaderMap {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{login}:{password}"));
    headers(&format!("Basic {encoded}"))
}

pub(crate) async fn log_in(auth: &Arc<Auth>, login: &str, password: &str) -> Login {
    auth.authenticate(&basic(login, password), FROM).await
}

pub(crate) async fn bear(auth: &Arc<Auth>, token: &Token) -> Login {
    auth.authenticate(&headers(&format!("Bearer {}", token.text.reveal())), FROM).await
}

/// Waits for a condition; the limit only keeps a broken build from waiting for ever.
pub(crate) async fn eventually(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.expect("it never came to be");
}

/// Sends all of them at once, each from an address of its own, and counts the outcomes.
async fn all_at_once(
    auth: &Arc<Auth>,
    requests: impl IntoIterator<Item = (HeaderMap, Option<IpAddr>)>,
) -> HashMap<Result<(), String>, usize> {
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|(request, from)| {
            let auth = Arc::clone(auth);
            tokio::spawn(async move { auth.authenticate(&request, from).await })
        })
        .collect();
    let mut outcomes = HashMap::new();
    for task in tasks {
        let outcome = task.await.unwrap().map(|_| ()).map_err(|error| format!("{error:?}"));
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

async fn a_user_is_known_by_name_tenant_and_roles(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    create_tenant(&pool, "acme").await.unwrap();
    add_user(&pool, "acme", "ann", "secret", &["reader", "writer"]).await;
    let ann = log_in(&auth, "acme/ann", "secret").await.unwrap();
    assert_eq!((ann.tenant.name.as_str(), ann.user.as_str()), ("acme", "ann"));
    assert_eq!(ann.roles, Roles::from_iter([Role::Reader, Role::Writer]));
    assert_eq!(ann.recorded_by(), "user:ann");
}

async fn a_wrong_password_is_never_anonymous(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    for password in ["Secret", "secret ", "", "s", "evl_default_x", "evls_x"] {
        assert_eq!(log_in(&auth, "ann", password).await, Err(AuthError::Rejected), "{password:?}");
    }
    let mut both = basic("ann", "secret");
    both.append(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
    assert_eq!(auth.authenticate(&both, FROM).await, Err(AuthError::Several));
    assert_eq!(auth.authenticate(&HeaderMap::new(), FROM).await, Err(AuthError::Missing));
}

async fn whatever_is_wrong_costs_one_check_and_gives_the_same_answer(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    create_tenant(&pool, "acme").await.unwrap();
    add_user(&pool, "acme", "ann", "secret", &["reader"]).await;
    add_user(&pool, "acme", "off", "secret", &["reader"]).await;
    set_disabled(&pool, "acme", "off", true).await.unwrap();
    let machine = StoredCredential::MachineSecret(generate_machine_secret().unwrap().sha256());
    create_user(&pool, "acme", "robot", &machine, &["writer"]).await.unwrap();
    let cases = [
        ("wrong password", "acme/ann", "wrong"),
        ("unknown user", "acme/nobody", "secret"),
        ("disabled user", "acme/off", "secret"),
        ("user without a password", "acme/robot", "secret"),
        ("unknown tenant", "nowhere/ann", "secret"),
        ("user of another tenant", "ann", "secret"),
    ];
    for (case, login, password) in cases {
        let before = auth.argon2_runs();
        assert_eq!(log_in(&auth, login, password).await, Err(AuthError::Rejected), "{case}");
        assert_eq!(auth.argon2_runs() - before, 1, "{case}");
    }
    assert_eq!(auth.counters().rejected.load(Ordering::Relaxed), cases.len() as u64);
}

async fn names_of_one_tenant_mean_nothing_in_another(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    create_tenant(&pool, "acme").await.unwrap();
    add_user(&pool, DEFAULT_TENANT, "ann", "of default", &["admin"]).await;
    add_user(&pool, "acme", "ann", "of acme", &["reader"]).await;
    let default = log_in(&auth, "ann", "of default").await.unwrap();
    let acme = log_in(&auth, "acme/ann", "of acme").await.unwrap();
    assert_ne!(default.user_id, acme.user_id);
    assert_ne!(default.tenant.log_id, acme.tenant.log_id);
    assert_eq!(log_in(&auth, "acme/ann", "of default").await, Err(AuthError::Rejected));
    assert_eq!(log_in(&auth, "ann", "of acme").await, Err(AuthError::Rejected));

    let token = add_token(&pool, "ann", &["admin"], None).await;
    let moved = token.text.reveal().replace("evl_default_", "evl_acme_");
    assert!(bear(&auth, &token).await.is_ok());
    let outcome = auth.authenticate(&headers(&format!("Bearer {moved}")), FROM).await;
    assert_eq!(outcome, Err(AuthError::Rejected));
}

async fn two_hundred_cold_logins_at_once_are_one_check(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    let outcomes = all_at_once(&auth, vec![(basic("ann", "secret"), FROM); 200]).await;
    assert_eq!(outcomes, HashMap::from([(Ok(()), 200)]));
    assert_eq!(auth.argon2_runs(), 1);
    log_in(&auth, "ann", "secret").await.unwrap();
    assert_eq!(auth.argon2_runs(), 1, "the next login is cached");
}

/// A thousand unknown users at once, with hashes slow enough that the flood is there before the first
/// checks end. Returns once somebody was turned away.
async fn flood(auth: &Arc<Auth>) -> tokio::task::JoinHandle<HashMap<Result<(), String>, usize>> {
    let address = |n: u32| Some(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + n).into());
    let requests: Vec<_> = (0..1_000).map(|n| (basic(&format!("nobody{n}"), "x"), address(n))).collect();
    let flood = tokio::spawn({
        let auth = Arc::clone(auth);
        async move { all_at_once(&auth, requests).await }
    });
    eventually(async || auth.counters().busy.load(Ordering::Relaxed) > 0).await;
    flood
}

async fn a_flood_of_unknown_users_costs_a_bounded_number_of_checks(pool: PgPool) {
    create_tenant(&pool, DEFAULT_TENANT).await.unwrap();
    let auth = Auth::new(pool, Settings { cost: Cost::default(), ..settings() }).unwrap();
    let outcomes = flood(&auth).await.await.unwrap();
    let rejected = outcomes[&Err("Rejected".to_owned())] as u64;
    let busy = outcomes[&Err("Busy { retry_after: 1 }".to_owned())] as u64;
    assert_eq!(rejected + busy, 1_000);
    assert_eq!(auth.argon2_runs(), rejected, "who is told to come back costs nothing");
    assert!(busy > rejected, "{rejected} were checked");
}

async fn a_flood_turns_away_nobody_who_was_at_work(pool: PgPool) {
    create_tenant(&pool, DEFAULT_TENANT).await.unwrap();
    // Nothing stays admitted: each login must get a slot.
    let admitted_for = std::time::Duration::ZERO;
    let settings = Settings { cost: Cost::default(), admitted_for, ..settings() };
    let auth = Auth::new(pool.clone(), settings).unwrap();
    let stored = StoredCredential::Password(hash(Cost::default(), "secret").unwrap());
    create_user(&pool, DEFAULT_TENANT, "ann", &stored, &["reader"]).await.unwrap();
    log_in(&auth, "ann", "secret").await.unwrap();
    let flood = flood(&auth).await;
    log_in(&auth, "ann", "secret").await.expect("ann was here before");
    flood.await.unwrap();
}

async fn a_changed_password_is_dead_at_once(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "old", &["reader"]).await;
    log_in(&auth, "ann", "old").await.unwrap();
    let new = StoredCredential::Password(hash(CHEAP, "new").unwrap());
    set_credential(&pool, DEFAULT_TENANT, "ann", &new).await.unwrap();
    auth.forget();
    assert_eq!(log_in(&auth, "ann", "old").await, Err(AuthError::Rejected));
    log_in(&auth, "ann", "new").await.unwrap();
}

async fn a_change_of_others_costs_no_second_check(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    log_in(&auth, "ann", "secret").await.unwrap();
    set_roles(&pool, DEFAULT_TENANT, "ann", &["auditor"]).await.unwrap();
    auth.forget();
    assert_eq!(log_in(&auth, "ann", "secret").await.unwrap().roles.names(), ["auditor"]);
    assert_eq!(auth.argon2_runs(), 1);
}

async fn wait_for(auth: &Arc<Auth>, login: &str, password: &str, expected: fn(&Login) -> bool) {
    eventually(async || expected(&log_in(auth, login, password).await)).await;
}

async fn another_instance_follows_every_change(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "root", "secret", &["admin"]).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watch = tokio::spawn(Arc::clone(&auth).watch(async { drop(stopped.await) }));
    log_in(&auth, "ann", "secret").await.unwrap();

    set_roles(&pool, DEFAULT_TENANT, "ann", &["writer"]).await.unwrap();
    wait_for(&auth, "ann", "secret", |l| l.as_ref().is_ok_and(|p| p.roles.contains(Role::Writer))).await;
    set_disabled(&pool, DEFAULT_TENANT, "ann", true).await.unwrap();
    wait_for(&auth, "ann", "secret", |l| *l == Err(AuthError::Rejected)).await;
    set_disabled(&pool, DEFAULT_TENANT, "ann", false).await.unwrap();
    wait_for(&auth, "ann", "secret", Result::is_ok).await;
    remove_user(&pool, DEFAULT_TENANT, "ann").await.unwrap();
    wait_for(&auth, "ann", "secret", |l| *l == Err(AuthError::Rejected)).await;

    stop.send(()).unwrap();
    watch.await.unwrap();
}

async fn without_the_database_only_what_is_cached_is_admitted(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    log_in(&auth, "ann", "secret").await.unwrap();
    pool.close().await;
    assert!(log_in(&auth, "ann", "secret").await.is_ok());
    assert_eq!(log_in(&auth, "ann", "wrong").await, Err(AuthError::Unavailable));
    assert_eq!(log_in(&auth, "bob", "secret").await, Err(AuthError::Unavailable));
}

async fn a_login_raises_a_weak_hash(pool: PgPool) {
    let stronger = Cost { memory_kib: 128, ..CHEAP };
    create_tenant(&pool, DEFAULT_TENANT).await.unwrap();
    let auth = Auth::new(pool.clone(), Settings { cost: stronger, ..settings() }).unwrap();
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    log_in(&auth, "ann", "secret").await.unwrap();
    eventually(async || {
        let user = find_login(&pool, DEFAULT_TENANT, "ann").await.unwrap().unwrap();
        user.password_hash.unwrap().contains("m=128,t=1,p=1")
    })
    .await;
    auth.forget();
    log_in(&auth, "ann", "secret").await.unwrap();
    assert_eq!(log_in(&auth, "ann", "wrong").await, Err(AuthError::Rejected));
}
