//! Users and what the database keeps of their passwords.

use serde_json::json;
use sqlx::{PgConnection, PgPool, types::Uuid};
use time::OffsetDateTime;

use super::change::{Author, Change, Deed, changed, require_place};
use super::{ChangeError, insert_tenant, tenant_id};
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

impl UserRow {
    pub fn login(&self) -> LoginKind {
        match (self.has_password, self.has_machine_secret) {
            (true, _) => LoginKind::Password,
            (false, true) => LoginKind::MachineSecret,
            (false, false) => LoginKind::None,
        }
    }
}

/// What a user logs in with, apart from tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    Password,
    MachineSecret,
    None,
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

    /// As events name it.
    fn kind(&self) -> &'static str {
        match self {
            StoredCredential::Password(_) => "password",
            StoredCredential::MachineSecret(_) => "machine_secret",
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
    page_of_users(pool, tenant, "", i64::MAX).await
}

/// Those whose names come after `after`, at most `limit`.
pub async fn page_of_users(
    pool: &PgPool,
    tenant: Option<&str>,
    after: &str,
    limit: i64,
) -> sqlx::Result<Vec<UserRow>> {
    let page = || {
        sqlx::query_as!(
            UserRow,
            r#"SELECT t.name AS tenant, u.user_id, u.name, u.password_hash IS NOT NULL AS "has_password!",
                      u.secret_sha256 IS NOT NULL AS "has_machine_secret!", u.roles, u.disabled,
                      u.created_at, u.updated_at
               FROM tenants t JOIN users u USING (tenant_id)
               WHERE ($1::text IS NULL OR t.name = $1) AND u.name > $2
               ORDER BY t.name, u.name LIMIT $3"#,
            tenant,
            after,
            limit
        )
        .fetch_all(pool)
    };
    read(pool, page).await
}

pub async fn find_user(pool: &PgPool, tenant: &str, name: &str) -> sqlx::Result<Option<UserRow>> {
    read(pool, async || user_row(&mut *pool.acquire().await?, tenant, name).await).await
}

async fn user_row(connection: &mut PgConnection, tenant: &str, name: &str) -> sqlx::Result<Option<UserRow>> {
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
    .fetch_optional(connection)
    .await
}

/// The user as a change leaves it, read before the commit: its answer must not depend on another statement.
async fn changed_row(change: &mut PgConnection, tenant: &str, name: &str) -> Result<UserRow, ChangeError> {
    let row = user_row(change, tenant, name).await?;
    row.ok_or_else(|| ChangeError::NoUser { tenant: tenant.to_owned(), name: name.to_owned() })
}

pub async fn any_user(pool: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM users) AS "exists!""#).fetch_one(pool).await
}

pub async fn create_user(
    pool: &PgPool,
    author: &Author,
    tenant: &str,
    name: &str,
    credential: &StoredCredential,
    roles: &[&str],
) -> Result<UserRow, ChangeError> {
    author.require_power_over(roles)?;
    require_place(tenant, roles)?;
    let mut change = Change::begin(pool).await?;
    let tenant_id = tenant_id(&mut change, tenant).await?;
    let user = NewUser { tenant_id, name, credential, roles };
    user.insert(&mut change, author).await.map_err(ChangeError::taken(name))?;
    let row = changed_row(&mut change, tenant, name).await?;
    change.commit().await?;
    Ok(row)
}

/// Makes the tenant if it is missing, and its user if no user exists at all. Of several instances that
/// start at once exactly one creates the user: the others wait for its change, then see the user.
pub async fn create_first_user(
    pool: &PgPool,
    author: &Author,
    tenant: &str,
    name: &str,
    credential: &StoredCredential,
    roles: &[&str],
) -> Result<bool, ChangeError> {
    let mut change = Change::begin(pool).await?;
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
    NewUser { tenant_id, name, credential, roles }.insert(&mut change, author).await?;
    change.commit().await?;
    Ok(true)
}

struct NewUser<'a> {
    tenant_id: i32,
    name: &'a str,
    credential: &'a StoredCredential,
    roles: &'a [&'a str],
}

impl NewUser<'_> {
    async fn insert(&self, change: &mut PgConnection, author: &Author) -> sqlx::Result<()> {
        let (password_hash, secret_sha256) = self.credential.columns();
        sqlx::query!(
            "INSERT INTO users (tenant_id, name, password_hash, secret_sha256, roles) VALUES ($1, $2, $3, $4, $5)",
            self.tenant_id,
            self.name,
            password_hash,
            secret_sha256,
            self.roles as &[&str]
        )
        .execute(&mut *change)
        .await?;
        let mut data = changed("roles", json!([]), self.roles);
        data["login"] = json!(self.credential.kind());
        let deed = Deed {
            event_type: "eventlogger.user_added",
            target: target(self.name),
            message: format!("User {} was added.", self.name),
            data,
            tenant_id: self.tenant_id,
            author,
        };
        deed.record(change).await
    }
}

pub async fn set_credential(
    pool: &PgPool,
    author: &Author,
    tenant: &str,
    name: &str,
    credential: &StoredCredential,
) -> Result<UserRow, ChangeError> {
    let mut change = Change::begin(pool).await?;
    let user = locate(&mut change, tenant, name).await?;
    author.require_power_over(&user.roles)?;
    user.set_credential(&mut change, author, credential).await?;
    let row = changed_row(&mut change, tenant, name).await?;
    change.commit().await?;
    Ok(row)
}

/// For those who know their password: sets a new one if `current` is still what is stored, so that a change
/// made meanwhile, perhaps against whoever knows the old one, stands.
pub async fn replace_password(
    pool: &PgPool,
    author: &Author,
    tenant: &str,
    name: &str,
    current: &str,
    new: &StoredCredential,
) -> Result<(), ChangeError> {
    let mut change = Change::begin(pool).await?;
    let user = locate(&mut change, tenant, name).await?;
    if user.password_hash.as_deref() != Some(current) {
        return Err(ChangeError::CredentialChanged);
    }
    user.set_credential(&mut change, author, new).await?;
    change.commit().await
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

/// What of a user is to be changed.
#[derive(Clone, Copy, Default)]
pub struct UserUpdate<'a> {
    pub roles: Option<&'a [&'a str]>,
    pub disabled: Option<bool>,
}

/// Sets roles, disables, enables. What is so already is no change.
pub async fn update_user(
    pool: &PgPool,
    author: &Author,
    tenant: &str,
    name: &str,
    update: UserUpdate<'_>,
) -> Result<UserRow, ChangeError> {
    let mut change = Change::begin(pool).await?;
    let user = locate(&mut change, tenant, name).await?;
    let own = user.role_names();
    let roles = update.roles.unwrap_or(&own);
    let disabled = update.disabled.unwrap_or(user.disabled);
    author.require_power_over(&user.roles)?;
    author.require_power_over(roles)?;
    require_place(tenant, update.roles.unwrap_or_default())?;
    user.refuse_last(if disabled { &[] } else { roles })?;
    let has_other_roles = !is_same_set(&own, roles);
    if !has_other_roles && disabled == user.disabled {
        return changed_row(&mut change, tenant, name).await;
    }
    sqlx::query!(
        "UPDATE users SET roles = $3, disabled = $4, updated_at = clock_timestamp()
         WHERE tenant_id = $1 AND user_id = $2",
        user.tenant_id,
        user.user_id,
        roles as &[&str],
        disabled
    )
    .execute(&mut *change)
    .await?;
    if has_other_roles {
        let message = format!("The roles of user {name} were set.");
        let data = changed("roles", own.as_slice(), roles);
        user.deed("eventlogger.user_roles_set", message, data, author).record(&mut change).await?;
    }
    if disabled != user.disabled {
        let (event_type, done) = match disabled {
            true => ("eventlogger.user_disabled", "disabled"),
            false => ("eventlogger.user_enabled", "enabled"),
        };
        let data = changed("disabled", user.disabled, disabled);
        user.deed(event_type, format!("User {name} was {done}."), data, author).record(&mut change).await?;
    }
    let row = changed_row(&mut change, tenant, name).await?;
    change.commit().await?;
    Ok(row)
}

/// Removes a user and its tokens. The id is never given out again.
pub async fn remove_user(
    pool: &PgPool,
    author: &Author,
    tenant: &str,
    name: &str,
) -> Result<(), ChangeError> {
    let mut change = Change::begin(pool).await?;
    let user = locate(&mut change, tenant, name).await?;
    author.require_power_over(&user.roles)?;
    user.refuse_last(&[])?;
    sqlx::query!("DELETE FROM users WHERE tenant_id = $1 AND user_id = $2", user.tenant_id, user.user_id)
        .execute(&mut *change)
        .await?;
    let message = format!("User {name} was removed.");
    let data = changed("roles", user.role_names(), json!([]));
    user.deed("eventlogger.user_removed", message, data, author).record(&mut change).await?;
    change.commit().await
}

/// A user that a change is about.
pub(super) struct Located {
    pub tenant_id: i32,
    pub user_id: i64,
    pub name: String,
    pub roles: Vec<String>,
    pub disabled: bool,
    pub password_hash: Option<String>,
    pub has_other_admin: bool,
    pub has_other_superadmin: bool,
}

impl Located {
    fn role_names(&self) -> Vec<&str> {
        self.roles.iter().map(String::as_str).collect()
    }

    /// A tenant keeps an admin who can log in, and the installation a superadmin. `left` are the roles that
    /// the user can still use after the change.
    fn refuse_last(&self, left: &[&str]) -> Result<(), ChangeError> {
        let loses = |role| !self.disabled && self.role_names().contains(&role) && !left.contains(&role);
        if loses("admin") && !self.has_other_admin {
            Err(ChangeError::LastAdmin(self.name.clone()))
        } else if loses("superadmin") && !self.has_other_superadmin {
            Err(ChangeError::LastSuperadmin(self.name.clone()))
        } else {
            Ok(())
        }
    }

    async fn set_credential(
        &self,
        change: &mut PgConnection,
        author: &Author,
        credential: &StoredCredential,
    ) -> sqlx::Result<()> {
        let (password_hash, secret_sha256) = credential.columns();
        sqlx::query!(
            "UPDATE users SET password_hash = $3, secret_sha256 = $4, updated_at = clock_timestamp()
             WHERE tenant_id = $1 AND user_id = $2",
            self.tenant_id,
            self.user_id,
            password_hash,
            secret_sha256
        )
        .execute(&mut *change)
        .await?;
        let message = format!("User {} was given a new password.", self.name);
        let data = json!({"login": credential.kind()});
        self.deed("eventlogger.user_password_set", message, data, author).record(change).await
    }

    fn deed<'a>(
        &self,
        event_type: &'static str,
        message: String,
        data: serde_json::Value,
        author: &'a Author,
    ) -> Deed<'a> {
        Deed { event_type, target: target(&self.name), message, data, tenant_id: self.tenant_id, author }
    }
}

fn target(name: &str) -> String {
    format!("user/{name}")
}

fn is_same_set(one: &[&str], other: &[&str]) -> bool {
    one.iter().all(|role| other.contains(role)) && other.iter().all(|role| one.contains(role))
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
        r#"SELECT u.tenant_id, u.user_id, u.name, u.roles, u.disabled, u.password_hash,
                  EXISTS (SELECT FROM users o
                          WHERE o.tenant_id = u.tenant_id AND o.user_id <> u.user_id
                            AND NOT o.disabled AND 'admin' = ANY (o.roles)) AS "has_other_admin!",
                  EXISTS (SELECT FROM users o
                          WHERE (o.tenant_id, o.user_id) <> (u.tenant_id, u.user_id)
                            AND NOT o.disabled AND 'superadmin' = ANY (o.roles)) AS "has_other_superadmin!"
           FROM users u WHERE u.tenant_id = $1 AND u.name = $2"#,
        tenant_id,
        name
    )
    .fetch_optional(change)
    .await?
    .ok_or_else(|| ChangeError::NoUser { tenant: tenant.to_owned(), name: name.to_owned() })
}
