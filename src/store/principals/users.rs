//! Users and what the database keeps of their passwords.

use sqlx::{PgConnection, PgPool, types::Uuid};
use time::OffsetDateTime;

use super::{ChangeError, begin_change, insert_tenant, tenant_id};
use crate::store::read::read;

/// What a login is checked against. No `Debug`: it holds the hash of a password.
pub struct LoginUser {
    /// Always, once it has left this module.
    exists: bool,
    pub tenant_id: i32,
    pub log_id: Uuid,
    pub user_id: i64,
    pub password_hash: Option<String>,
    pub secret_sha256: Option<Vec<u8>>,
    pub roles: Vec<String>,
    pub disabled: bool,
}

/// What lists show of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    pub tenant: String,
    pub user_id: i64,
    pub name: String,
    pub has_password: bool,
    pub has_machine_secret: bool,
    pub roles: Vec<String>,
    pub disabled: bool,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// A user has one of the two; setting one takes the other away.
pub enum StoredCredential {
    /// An argon2id PHC string.
    Password(String),
    /// SHA-256 of a generated secret.
    MachineSecret([u8; 32]),
}

impl StoredCredential {
    fn columns(&self) -> (Option<&str>, Option<&[u8]>) {
        match self {
            StoredCredential::Password(phc) => (Some(phc), None),
            StoredCredential::MachineSecret(sha256) => (None, Some(sha256)),
        }
    }
}

/// One statement that does the same whether or not tenant and user exist, and answers one row of the same
/// shape: even to read a row takes long enough to be measured from outside.
pub async fn find_login(pool: &PgPool, tenant: &str, name: &str) -> sqlx::Result<Option<LoginUser>> {
    let user = || {
        sqlx::query_as!(
            LoginUser,
            r#"SELECT u.user_id IS NOT NULL AS "exists!", coalesce(t.tenant_id, 0) AS "tenant_id!",
                      coalesce(t.log_id, '00000000-0000-0000-0000-000000000000') AS "log_id!",
                      coalesce(u.user_id, 0) AS "user_id!",
                      CASE WHEN u.user_id IS NULL THEN repeat('-', 97) ELSE u.password_hash END AS password_hash,
                      u.secret_sha256, coalesce(u.roles, '{reader}') AS "roles!",
                      coalesce(u.disabled, false) AS "disabled!"
               FROM (VALUES ($1::text, $2::text)) AS login (tenant, name)
                    LEFT JOIN tenants t ON t.name = login.tenant
                    LEFT JOIN users u ON u.tenant_id = coalesce(t.tenant_id, 0) AND u.name = login.name"#,
            tenant,
            name
        )
        .fetch_one(pool)
    };
    Ok(Some(read(pool, user).await?).filter(|user| user.exists))
}

/// The users of one tenant, or of all.
pub async fn list_users(pool: &PgPool, tenant: Option<&str>) -> sqlx::Result<Vec<UserRow>> {
    sqlx::query_as!(
        UserRow,
        r#"SELECT t.name AS tenant, u.user_id, u.name, u.password_hash IS NOT NULL AS "has_password!",
                  u.secret_sha256 IS NOT NULL AS "has_machine_secret!", u.roles, u.disabled,
                  u.created_at, u.updated_at
           FROM tenants t JOIN users u USING (tenant_id)
           WHERE $1::text IS NULL OR t.name = $1
           ORDER BY t.name, u.name"#,
        tenant
    )
    .fetch_all(pool)
    .await
}

pub async fn find_user(pool: &PgPool, tenant: &str, name: &str) -> sqlx::Result<Option<UserRow>> {
    sqlx::query_as!(
        UserRow,
        r#"SELECT t.name AS tenant, u.user_id, u.name, u.password_hash IS NOT NULL AS "has_password!",
                  u.secret_sha256 IS NOT NULL AS "has_machine_secret!", u.roles, u.disabled,
                  u.created_at, u.updated_at
           FROM tenants t JOIN users u USING (tenant_id)
           WHERE t.name = $1 AND u.name = $2"#,
        tenant,
        name
    )
    .fetch_optional(pool)
    .await
}

pub async fn any_user(pool: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM users) AS "exists!""#).fetch_one(pool).await
}

pub async fn create_user(
    pool: &PgPool,
    tenant: &str,
    name: &str,
    credential: &StoredCredential,
    roles: &[&str],
) -> Result<(), ChangeError> {
    let mut change = begin_change(pool).await?;
    let tenant_id = tenant_id(&mut change, tenant).await?;
    insert_user(&mut change, tenant_id, name, credential, roles).await.map_err(ChangeError::taken(name))?;
    change.commit().await?;
    Ok(())
}

/// Makes the tenant if it is missing, and its user if no user exists at all. Of several instances that
/// start at once exactly one creates the user: the others wait for its change, then see the user.
pub async fn create_first_user(
    pool: &PgPool,
    tenant: &str,
    name: &str,
    credential: &StoredCredential,
    roles: &[&str],
) -> Result<bool, ChangeError> {
    let mut change = begin_change(pool).await?;
    let exists = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM users) AS "exists!""#)
        .fetch_one(&mut *change)
        .await?;
    if exists {
        return Ok(false);
    }
    let tenant_id = match tenant_id(&mut change, tenant).await {
        Err(ChangeError::NoTenant(_)) => insert_tenant(&mut change, tenant).await?.tenant_id,
        found => found?,
    };
    insert_user(&mut change, tenant_id, name, credential, roles).await?;
    change.commit().await?;
    Ok(true)
}

async fn insert_user(
    change: &mut PgConnection,
    tenant_id: i32,
    name: &str,
    credential: &StoredCredential,
    roles: &[&str],
) -> sqlx::Result<()> {
    let (password_hash, secret_sha256) = credential.columns();
    sqlx::query!(
        "INSERT INTO users (tenant_id, name, password_hash, secret_sha256, roles) VALUES ($1, $2, $3, $4, $5)",
        tenant_id,
        name,
        password_hash,
        secret_sha256,
        roles as &[&str]
    )
    .execute(change)
    .await?;
    Ok(())
}

pub async fn set_credential(
    pool: &PgPool,
    tenant: &str,
    name: &str,
    credential: &StoredCredential,
) -> Result<(), ChangeError> {
    let mut change = begin_change(pool).await?;
    let user = locate(&mut change, tenant, name).await?;
    let (password_hash, secret_sha256) = credential.columns();
    sqlx::query!(
        "UPDATE users SET password_hash = $3, secret_sha256 = $4, updated_at = clock_timestamp()
         WHERE tenant_id = $1 AND user_id = $2",
        user.tenant_id,
        user.user_id,
        password_hash,
        secret_sha256
    )
    .execute(&mut *change)
    .await?;
    change.commit().await?;
    Ok(())
}

/// Replaces a hash by a stronger one of the same password, unless it was changed meanwhile. The credential
/// stays what it was, so the revision does too.
pub async fn strengthen_hash(
    pool: &PgPool,
    tenant_id: i32,
    user_id: i64,
    old: &str,
    new: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET password_hash = $4 WHERE tenant_id = $1 AND user_id = $2 AND password_hash = $3",
        tenant_id,
        user_id,
        old,
        new
    )
    .execute(pool)
    .await?;
    Ok(())
}

pub async fn set_roles(pool: &PgPool, tenant: &str, name: &str, roles: &[&str]) -> Result<(), ChangeError> {
    let mut change = begin_change(pool).await?;
    let user = locate(&mut change, tenant, name).await?;
    if !roles.contains(&"admin") {
        user.refuse_last_admin(name)?;
    }
    sqlx::query!(
        "UPDATE users SET roles = $3, updated_at = clock_timestamp() WHERE tenant_id = $1 AND user_id = $2",
        user.tenant_id,
        user.user_id,
        roles as &[&str]
    )
    .execute(&mut *change)
    .await?;
    change.commit().await?;
    Ok(())
}

pub async fn set_disabled(
    pool: &PgPool,
    tenant: &str,
    name: &str,
    disabled: bool,
) -> Result<(), ChangeError> {
    let mut change = begin_change(pool).await?;
    let user = locate(&mut change, tenant, name).await?;
    if disabled {
        user.refuse_last_admin(name)?;
    }
    sqlx::query!(
        "UPDATE users SET disabled = $3, updated_at = clock_timestamp() WHERE tenant_id = $1 AND user_id = $2",
        user.tenant_id,
        user.user_id,
        disabled
    )
    .execute(&mut *change)
    .await?;
    change.commit().await?;
    Ok(())
}

/// Removes a user and its tokens. The id is never given out again.
pub async fn remove_user(pool: &PgPool, tenant: &str, name: &str) -> Result<(), ChangeError> {
    let mut change = begin_change(pool).await?;
    let user = locate(&mut change, tenant, name).await?;
    user.refuse_last_admin(name)?;
    sqlx::query!("DELETE FROM users WHERE tenant_id = $1 AND user_id = $2", user.tenant_id, user.user_id)
        .execute(&mut *change)
        .await?;
    change.commit().await?;
    Ok(())
}

pub(super) struct Located {
    pub tenant_id: i32,
    pub user_id: i64,
    pub roles: Vec<String>,
    pub is_last_admin: bool,
}

impl Located {
    fn refuse_last_admin(&self, name: &str) -> Result<(), ChangeError> {
        if self.is_last_admin { Err(ChangeError::LastAdmin(name.to_owned())) } else { Ok(()) }
    }
}

/// The user that a change is about, as it is while the change holds the revision.
pub(super) async fn locate(
    change: &mut PgConnection,
    tenant: &str,
    name: &str,
) -> Result<Located, ChangeError> {
    let tenant_id = tenant_id(&mut *change, tenant).await?;
    sqlx::query_as!(
        Located,
        r#"SELECT u.tenant_id, u.user_id, u.roles,
                  NOT u.disabled AND 'admin' = ANY (u.roles) AND NOT EXISTS (
                      SELECT FROM users o
                      WHERE o.tenant_id = u.tenant_id AND o.user_id <> u.user_id
                        AND NOT o.disabled AND 'admin' = ANY (o.roles)
                  ) AS "is_last_admin!"
           FROM users u WHERE u.tenant_id = $1 AND u.name = $2"#,
        tenant_id,
        name
    )
    .fetch_optional(change)
    .await?
    .ok_or_else(|| ChangeError::NoUser { tenant: tenant.to_owned(), name: name.to_owned() })
}
