//! The first user and the last admin.

use eventlogger::auth::{Auth, AuthError, DEFAULT_TENANT, FirstUser, Roles, ensure_first_user};
use eventlogger::store::principals::ChangeError;
use sqlx::PgPool;

use crate::changes::{create_tenant, remove_user, set_disabled, set_roles};

use super::auth::{CHEAP, add_user, log_in, settings};

crate::harness::database_tests![
    eight_instances_that_start_at_once_make_one_first_user,
    the_first_user_has_a_random_password_unless_one_is_given,
    two_admins_cannot_remove_each_other,
];

async fn eight_instances_that_start_at_once_make_one_first_user(pool: PgPool) {
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

async fn the_first_user_has_a_random_password_unless_one_is_given(pool: PgPool) {
    let created = ensure_first_user(&pool, CHEAP, "admin", None).await.unwrap();
    let FirstUser::Created { generated: Some(password) } = created else { panic!("{created:?}") };
    let auth = Auth::new(pool.clone(), settings()).unwrap();
    log_in(&auth, "admin", password.reveal()).await.unwrap();
    let again = ensure_first_user(&pool, CHEAP, "other", Some("secret")).await.unwrap();
    assert!(matches!(again, FirstUser::Exists));
    assert_eq!(log_in(&auth, "other", "secret").await, Err(AuthError::Rejected));
}

async fn two_admins_cannot_remove_each_other(pool: PgPool) {
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
