//! Authentication against a database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use eventlogger::auth::password::hash;
use eventlogger::auth::secret::{Token, generate_machine_secret};
use eventlogger::auth::{
    Auth, AuthError, Cost, DEFAULT_TENANT, FirstUser, Principal, Role, Roles, Settings, ensure_first_user,
};
use eventlogger::store::principals::tokens::{NewToken, create_token, list_tokens, revoke_token};
use eventlogger::store::principals::users::{
    StoredCredential, create_user, find_login, remove_user, set_credential, set_disabled, set_roles,
};
use eventlogger::store::principals::{ChangeError, create_tenant};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

type Login = Result<Arc<Principal>, AuthError>;

/// Fast, where a test is not about the cost.
const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1, lanes: 1 };

fn settings() -> Settings {
    Settings { cost: CHEAP, slots: 2, queue: 32, cache_entries: 1_000 }
}

async fn auth_with_tenant(pool: &PgPool) -> Arc<Auth> {
    create_tenant(pool, DEFAULT_TENANT).await.unwrap();
    Auth::new(pool.clone(), settings()).unwrap()
}

async fn add_user(pool: &PgPool, tenant: &str, name: &str, password: &str, roles: &[&str]) {
    let stored = StoredCredential::Password(hash(CHEAP, password).unwrap());
    create_user(pool, tenant, name, &stored, roles).await.unwrap();
}

async fn add_token(pool: &PgPool, owner: &str, roles: &[&str], expires_at: Option<OffsetDateTime>) -> Token {
    let token = Token::generate(DEFAULT_TENANT).unwrap();
    let sha256 = token.text.sha256();
    let row = NewToken { owner, prefix: &token.prefix, sha256, label: "", roles, expires_at };
    create_token(pool, DEFAULT_TENANT, &row).await.unwrap();
    token
}

fn headers(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}

fn basic(login: &str, password: &str) -> HeaderMap {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{login}:{password}"));
    headers(&format!("Basic {encoded}"))
}

async fn log_in(auth: &Arc<Auth>, login: &str, password: &str) -> Login {
    auth.authenticate(&basic(login, password)).await
}

async fn bear(auth: &Arc<Auth>, token: &Token) -> Login {
    auth.authenticate(&headers(&format!("Bearer {}", token.text.reveal()))).await
}

/// Sends all of them at once and counts the outcomes.
async fn all_at_once(auth: &Arc<Auth>, requests: Vec<HeaderMap>) -> HashMap<Result<(), String>, usize> {
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let auth = Arc::clone(auth);
            tokio::spawn(async move { auth.authenticate(&request).await })
        })
        .collect();
    let mut outcomes = HashMap::new();
    for task in tasks {
        let outcome = task.await.unwrap().map(|_| ()).map_err(|error| format!("{error:?}"));
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

pub(crate) async fn a_user_is_known_by_name_tenant_and_roles(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    create_tenant(&pool, "acme").await.unwrap();
    add_user(&pool, "acme", "ann", "secret", &["reader", "writer"]).await;
    let ann = log_in(&auth, "acme/ann", "secret").await.unwrap();
    assert_eq!((ann.tenant.name.as_str(), ann.user.as_str()), ("acme", "ann"));
    assert_eq!(ann.roles, Roles::from_iter([Role::Reader, Role::Writer]));
    assert_eq!(ann.recorded_by(), "user:ann");
}

pub(crate) async fn a_wrong_password_is_never_anonymous(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    for password in ["Secret", "secret ", "", "s", "evl_default_x", "evls_x"] {
        assert_eq!(log_in(&auth, "ann", password).await, Err(AuthError::Rejected), "{password:?}");
    }
    let mut both = basic("ann", "secret");
    both.append(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
    assert_eq!(auth.authenticate(&both).await, Err(AuthError::Several));
    assert_eq!(auth.authenticate(&HeaderMap::new()).await, Err(AuthError::Missing));
}

pub(crate) async fn whatever_is_wrong_costs_one_check_and_gives_the_same_answer(pool: PgPool) {
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

pub(crate) async fn names_of_one_tenant_mean_nothing_in_another(pool: PgPool) {
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
    let outcome = auth.authenticate(&headers(&format!("Bearer {moved}"))).await;
    assert_eq!(outcome, Err(AuthError::Rejected));
}

pub(crate) async fn two_hundred_cold_logins_at_once_are_one_check(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    let outcomes = all_at_once(&auth, vec![basic("ann", "secret"); 200]).await;
    assert_eq!(outcomes, HashMap::from([(Ok(()), 200)]));
    assert_eq!(auth.argon2_runs(), 1);
    log_in(&auth, "ann", "secret").await.unwrap();
    assert_eq!(auth.argon2_runs(), 1, "the next login is cached");
}

pub(crate) async fn a_flood_of_unknown_users_is_bounded_and_hurts_nobody_at_work(pool: PgPool) {
    create_tenant(&pool, DEFAULT_TENANT).await.unwrap();
    // Slow enough that the flood is there before the first checks end.
    let auth = Auth::new(pool.clone(), Settings { cost: Cost::default(), ..settings() }).unwrap();
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    log_in(&auth, "ann", "secret").await.unwrap();
    let before = auth.argon2_runs();
    let flood = (0..1_000).map(|i| basic(&format!("nobody{i}"), "x")).collect();
    let flood = tokio::spawn({
        let auth = Arc::clone(&auth);
        async move { all_at_once(&auth, flood).await }
    });
    while auth.counters().busy.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    log_in(&auth, "ann", "secret").await.expect("a cached login needs no slot");

    let outcomes = flood.await.unwrap();
    let rejected = outcomes[&Err("Rejected".to_owned())] as u64;
    let busy = outcomes[&Err("Busy { retry_after: 1 }".to_owned())] as u64;
    assert_eq!(rejected + busy, 1_000);
    assert_eq!(auth.argon2_runs() - before, rejected, "who is told to come back costs nothing");
    assert!(busy > rejected, "{rejected} were checked");
}

pub(crate) async fn a_changed_password_is_dead_at_once(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "old", &["reader"]).await;
    log_in(&auth, "ann", "old").await.unwrap();
    let new = StoredCredential::Password(hash(CHEAP, "new").unwrap());
    set_credential(&pool, DEFAULT_TENANT, "ann", &new).await.unwrap();
    auth.forget();
    assert_eq!(log_in(&auth, "ann", "old").await, Err(AuthError::Rejected));
    log_in(&auth, "ann", "new").await.unwrap();
}

pub(crate) async fn a_change_of_others_costs_no_second_check(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    log_in(&auth, "ann", "secret").await.unwrap();
    set_roles(&pool, DEFAULT_TENANT, "ann", &["auditor"]).await.unwrap();
    auth.forget();
    assert_eq!(log_in(&auth, "ann", "secret").await.unwrap().roles.names(), ["auditor"]);
    assert_eq!(auth.argon2_runs(), 1);
}

/// Waits until the login ends as expected; the harness ends a test that waits for ever.
async fn wait_for(auth: &Arc<Auth>, login: &str, password: &str, expected: fn(&Login) -> bool) {
    while !expected(&log_in(auth, login, password).await) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

pub(crate) async fn another_instance_follows_every_change(pool: PgPool) {
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

pub(crate) async fn without_the_database_only_what_is_cached_is_admitted(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    log_in(&auth, "ann", "secret").await.unwrap();
    pool.close().await;
    assert!(log_in(&auth, "ann", "secret").await.is_ok());
    assert_eq!(log_in(&auth, "ann", "wrong").await, Err(AuthError::Unavailable));
    assert_eq!(log_in(&auth, "bob", "secret").await, Err(AuthError::Unavailable));
}

pub(crate) async fn a_login_raises_a_weak_hash(pool: PgPool) {
    let stronger = Cost { memory_kib: 128, ..CHEAP };
    create_tenant(&pool, DEFAULT_TENANT).await.unwrap();
    let auth = Auth::new(pool.clone(), Settings { cost: stronger, ..settings() }).unwrap();
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    log_in(&auth, "ann", "secret").await.unwrap();
    loop {
        let user = find_login(&pool, DEFAULT_TENANT, "ann").await.unwrap().unwrap();
        if user.password_hash.unwrap().contains("m=128,t=1,p=1") {
            break;
        }
        tokio::task::yield_now().await;
    }
    auth.forget();
    log_in(&auth, "ann", "secret").await.unwrap();
    assert_eq!(log_in(&auth, "ann", "wrong").await, Err(AuthError::Rejected));
}

pub(crate) async fn a_machine_secret_is_never_checked_by_argon2(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    let secret = generate_machine_secret().unwrap();
    let stored = StoredCredential::MachineSecret(secret.sha256());
    create_user(&pool, DEFAULT_TENANT, "robot", &stored, &["writer"]).await.unwrap();
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    assert_eq!(log_in(&auth, "robot", secret.reveal()).await.unwrap().recorded_by(), "user:robot");
    let other = generate_machine_secret().unwrap();
    for login in ["robot", "ann", "nobody"] {
        assert_eq!(log_in(&auth, login, other.reveal()).await, Err(AuthError::Rejected), "{login}");
        assert_eq!(log_in(&auth, login, "evls_").await, Err(AuthError::Rejected), "{login}");
    }
    assert_eq!(auth.argon2_runs(), 0);
}

pub(crate) async fn a_token_has_at_most_the_roles_of_its_owner(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader", "writer"]).await;
    let token = add_token(&pool, "ann", &["reader", "writer"], None).await;
    let principal = bear(&auth, &token).await.unwrap();
    assert_eq!(principal.recorded_by(), format!("token:ann/{}", token.prefix));
    assert_eq!(principal.user_id, log_in(&auth, "ann", "secret").await.unwrap().user_id);

    set_roles(&pool, DEFAULT_TENANT, "ann", &["reader", "auditor"]).await.unwrap();
    auth.forget();
    assert_eq!(bear(&auth, &token).await.unwrap().roles.names(), ["reader"]);

    set_disabled(&pool, DEFAULT_TENANT, "ann", true).await.unwrap();
    auth.forget();
    assert_eq!(bear(&auth, &token).await, Err(AuthError::Rejected));
}

pub(crate) async fn a_revoked_token_is_dead_at_once(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    let token = add_token(&pool, "ann", &["reader"], None).await;
    bear(&auth, &token).await.unwrap();
    revoke_token(&pool, DEFAULT_TENANT, &token.prefix).await.unwrap();
    auth.forget();
    assert_eq!(bear(&auth, &token).await, Err(AuthError::Rejected));
}

pub(crate) async fn a_token_expires_even_while_it_is_cached(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    let past = OffsetDateTime::now_utc() - Duration::SECOND;
    let expired = add_token(&pool, "ann", &["reader"], Some(past)).await;
    assert_eq!(bear(&auth, &expired).await, Err(AuthError::Rejected));

    let soon = OffsetDateTime::now_utc() + Duration::seconds(3);
    let expiring = add_token(&pool, "ann", &["reader"], Some(soon)).await;
    bear(&auth, &expiring).await.unwrap();
    // With the database gone, only the cached admission can answer; nothing tells it of the expiry.
    pool.close().await;
    while bear(&auth, &expiring).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(OffsetDateTime::now_utc() >= soon);
    assert_eq!(bear(&auth, &expiring).await, Err(AuthError::Rejected));
}

pub(crate) async fn the_last_use_of_a_token_is_written_in_the_background(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    let token = add_token(&pool, "ann", &["reader"], None).await;
    add_token(&pool, "ann", &["reader"], None).await;
    for _ in 0..100 {
        bear(&auth, &token).await.unwrap();
    }
    let used = |rows: Vec<eventlogger::store::principals::tokens::TokenRow>| -> Vec<String> {
        rows.into_iter().filter(|row| row.last_used_at.is_some()).map(|row| row.prefix).collect()
    };
    assert!(used(list_tokens(&pool, None).await.unwrap()).is_empty(), "no request writes");
    auth.watch(async {}).await;
    assert_eq!(used(list_tokens(&pool, None).await.unwrap()), [token.prefix]);
}

pub(crate) async fn eight_instances_that_start_at_once_make_one_first_user(pool: PgPool) {
    let starts: Vec<_> = (0..8)
        .map(|i| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let password = format!("secret{i}");
                (ensure_first_user(&pool, CHEAP, "admin", Some(&password)).await.unwrap(), password)
            })
        })
        .collect();
    let mut created = Vec::new();
    for start in starts {
        if let (FirstUser::Created { generated: None }, password) = start.await.unwrap() {
            created.push(password);
        }
    }
    let [password] = created.as_slice() else { panic!("{} created", created.len()) };
    let auth = Auth::new(pool, settings()).unwrap();
    assert_eq!(log_in(&auth, "admin", password).await.unwrap().roles, Roles::ALL);
}

pub(crate) async fn the_first_user_has_a_random_password_unless_one_is_given(pool: PgPool) {
    let created = ensure_first_user(&pool, CHEAP, "admin", None).await.unwrap();
    let FirstUser::Created { generated: Some(password) } = created else { panic!("{created:?}") };
    let auth = Auth::new(pool.clone(), settings()).unwrap();
    log_in(&auth, "admin", password.reveal()).await.unwrap();
    let again = ensure_first_user(&pool, CHEAP, "other", Some("secret")).await.unwrap();
    assert!(matches!(again, FirstUser::Exists));
    assert_eq!(log_in(&auth, "other", "secret").await, Err(AuthError::Rejected));
}

pub(crate) async fn two_admins_cannot_remove_each_other(pool: PgPool) {
    create_tenant(&pool, DEFAULT_TENANT).await.unwrap();
    for name in ["ann", "bob"] {
        add_user(&pool, DEFAULT_TENANT, name, "secret", &["admin"]).await;
    }
    let (ann, bob) =
        tokio::join!(remove_user(&pool, DEFAULT_TENANT, "ann"), remove_user(&pool, DEFAULT_TENANT, "bob"));
    assert!(ann.is_ok() != bob.is_ok(), "{ann:?} {bob:?}");
    let left = if ann.is_ok() { "bob" } else { "ann" };
    let refused = |result| assert!(matches!(result, Err(ChangeError::LastAdmin(_))));
    refused(set_disabled(&pool, DEFAULT_TENANT, left, true).await);
    refused(set_roles(&pool, DEFAULT_TENANT, left, &["reader"]).await);
    refused(remove_user(&pool, DEFAULT_TENANT, left).await);
    set_roles(&pool, DEFAULT_TENANT, left, &["reader", "admin"]).await.unwrap();
}
