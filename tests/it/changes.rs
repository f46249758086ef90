//! Changes of users, tokens and tenants as the operator makes them, behind the service's back.

use eventlogger::store::principals::tokens::{self, NewToken};
use eventlogger::store::principals::users::{self, StoredCredential, UserUpdate};
use eventlogger::store::principals::{self, Author, ChangeError, TenantRow};
use sqlx::PgPool;

type Changed = Result<(), ChangeError>;

pub fn operator() -> Author {
    Author::operator("test")
}

pub async fn create_tenant(pool: &PgPool, name: &str) -> Result<TenantRow, ChangeError> {
    principals::create_tenant(pool, &operator(), name).await
}

pub async fn create_user(
    pool: &PgPool,
    tenant: &str,
    name: &str,
    credential: &StoredCredential,
    roles: &[&str],
) -> Changed {
    users::create_user(pool, &operator(), tenant, name, credential, roles).await.map(|_| ())
}

pub async fn set_credential(
    pool: &PgPool,
    tenant: &str,
    name: &str,
    credential: &StoredCredential,
) -> Changed {
    users::set_credential(pool, &operator(), tenant, name, credential).await.map(|_| ())
}

pub async fn set_roles(pool: &PgPool, tenant: &str, name: &str, roles: &[&str]) -> Changed {
    let update = UserUpdate { roles: Some(roles), disabled: None };
    users::update_user(pool, &operator(), tenant, name, update).await.map(|_| ())
}

pub async fn set_disabled(pool: &PgPool, tenant: &str, name: &str, disabled: bool) -> Changed {
    let update = UserUpdate { roles: None, disabled: Some(disabled) };
    users::update_user(pool, &operator(), tenant, name, update).await.map(|_| ())
}

pub async fn remove_user(pool: &PgPool, tenant: &str, name: &str) -> Changed {
    users::remove_user(pool, &operator(), tenant, name).await
}

pub async fn create_token(pool: &PgPool, tenant: &str, token: &NewToken<'_>) -> Changed {
    tokens::create_token(pool, &operator(), tenant, token).await.map(|_| ())
}

pub async fn revoke_token(pool: &PgPool, tenant: &str, prefix: &str) -> Changed {
    tokens::revoke_token(pool, &operator(), tenant, prefix).await
}
