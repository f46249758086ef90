//! Machine secrets and API tokens.

use eventlogger::auth::secret::generate_machine_secret;
use eventlogger::auth::{AuthError, DEFAULT_TENANT};
use eventlogger::store::principals::tokens::{TokenRow, list_tokens};
use eventlogger::store::principals::users::StoredCredential;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use crate::changes::{create_user, revoke_token, set_disabled, set_roles};

use super::auth::{add_token, add_user, auth_with_tenant, bear, eventually, log_in};

crate::harness::database_tests![
    a_machine_secret_is_never_checked_by_argon2,
    a_token_has_at_most_the_roles_of_its_owner,
    a_revoked_token_is_dead_at_once,
    a_token_expires_even_while_it_is_cached,
    the_last_use_of_a_token_is_written_in_the_background,
];

async fn a_machine_secret_is_never_checked_by_argon2(pool: PgPool) {
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

async fn a_token_has_at_most_the_roles_of_its_owner(pool: PgPool) {
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

async fn a_revoked_token_is_dead_at_once(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    let token = add_token(&pool, "ann", &["reader"], None).await;
    bear(&auth, &token).await.unwrap();
    revoke_token(&pool, DEFAULT_TENANT, &token.prefix).await.unwrap();
    auth.forget();
    assert_eq!(bear(&auth, &token).await, Err(AuthError::Rejected));
}

async fn a_token_expires_even_while_it_is_cached(pool: PgPool) {
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
    eventually(async || bear(&auth, &expiring).await.is_err()).await;
    assert!(OffsetDateTime::now_utc() >= soon);
    assert_eq!(bear(&auth, &expiring).await, Err(AuthError::Rejected));
}

async fn the_last_use_of_a_token_is_written_in_the_background(pool: PgPool) {
    let auth = auth_with_tenant(&pool).await;
    add_user(&pool, DEFAULT_TENANT, "ann", "secret", &["reader"]).await;
    let token = add_token(&pool, "ann", &["reader"], None).await;
    add_token(&pool, "ann", &["reader"], None).await;
    for _ in 0..100 {
        bear(&auth, &token).await.unwrap();
    }
    let used = |rows: Vec<TokenRow>| -> Vec<String> {
        rows.into_iter().filter(|row| row.last_used_at.is_some()).map(|row| row.prefix).collect()
    };
    assert!(used(list_tokens(&pool, None).await.unwrap()).is_empty(), "no request writes");
    auth.watch(async {}).await;
    assert_eq!(used(list_tokens(&pool, None).await.unwrap()), [token.prefix]);
}
