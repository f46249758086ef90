//! API tokens. A token acts for its owner; it goes when the owner is removed.

use serde_json::json;
use sqlx::{PgConnection, PgPool, types::Uuid};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::change::{Author, Change, Deed, changed};
use super::{ChangeError, tenant_id, users::locate};
use crate::store::read::read;

/// What a presented token is checked against. Roles are those of the token; the owner's limit them.
pub struct LoginToken {
    pub tenant_id: i32,
    pub log_id: Uuid,
    pub token_id: i64,
    pub prefix: String,
    pub roles: Vec<String>,
    pub expires_at: Option<OffsetDateTime>,
    pub revoked: bool,
    pub owner_id: i64,
    pub owner: String,
    pub owner_roles: Vec<String>,
    pub owner_disabled: bool,
}

/// What lists show of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    pub tenant: String,
    pub prefix: String,
    pub owner: String,
    pub label: String,
    pub roles: Vec<String>,
    pub created_at: OffsetDateTime,
    pub expires_at: Option<OffsetDateTime>,
    pub revoked_at: Option<OffsetDateTime>,
    pub last_used_at: Option<OffsetDateTime>,
}

/// Whether a token can still be used, as far as it depends on the token alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    Valid,
    Expired,
    Revoked,
}

impl TokenRow {
    pub fn state(&self) -> TokenState {
        let is_expired = self.expires_at.is_some_and(|expiry| expiry <= OffsetDateTime::now_utc());
        match (self.revoked_at, is_expired) {
            (Some(_), _) => TokenState::Revoked,
            (None, true) => TokenState::Expired,
            (None, false) => TokenState::Valid,
        }
    }
}

/// A token to be made; of the secret only its hash comes here.
pub struct NewToken<'a> {
    pub owner: &'a str,
    pub prefix: &'a str,
    pub sha256: [u8; 32],
    pub label: &'a str,
    pub roles: &'a [&'a str],
    pub expires_at: Option<OffsetDateTime>,
}

/// When a token was used last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUse {
    pub tenant_id: i32,
    pub token_id: i64,
    pub at: OffsetDateTime,
}

pub async fn find_token(pool: &PgPool, tenant: &str, sha256: &[u8; 32]) -> sqlx::Result<Option<LoginToken>> {
    let token = || {
        sqlx::query_as!(
            LoginToken,
            r#"SELECT t.tenant_id, t.log_id, k.token_id, k.prefix, k.roles, k.expires_at,
                  k.revoked_at IS NOT NULL AS "revoked!", u.user_id AS owner_id, u.name AS owner,
                  u.roles AS owner_roles, u.disabled AS owner_disabled
           FROM tenants t
           JOIN tokens k USING (tenant_id)
           JOIN users u USING (tenant_id, user_id)
           WHERE t.name = $1 AND k.secret_sha256 = $2"#,
            tenant,
            sha256
        )
        .fetch_optional(pool)
    };
    read(pool, token).await
}

/// The tokens of one tenant, or of all, newest first.
pub async fn list_tokens(pool: &PgPool, tenant: Option<&str>) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as!(
        TokenRow,
        "SELECT t.name AS tenant, k.prefix, u.name AS owner, k.label, k.roles, k.created_at, k.expires_at,
                k.revoked_at, k.last_used_at
         FROM tenants t
         JOIN tokens k USING (tenant_id)
         JOIN users u USING (tenant_id, user_id)
         WHERE $1::text IS NULL OR t.name = $1
         ORDER BY t.name, k.token_id DESC",
        tenant
    )
    .fetch_all(pool)
    .await
}

/// The tokens of a tenant, or of one user there, whose prefixes come after `after`.
pub async fn page_of_tokens(
    pool: &PgPool,
    tenant: &str,
    owner: Option<&str>,
    after: &str,
    limit: i64,
) -> sqlx::Result<Vec<TokenRow>> {
    let page = || {
        sqlx::query_as!(
            TokenRow,
            "SELECT t.name AS tenant, k.prefix, u.name AS owner, k.label, k.roles, k.created_at, k.expires_at,
                    k.revoked_at, k.last_used_at
             FROM tenants t
             JOIN tokens k USING (tenant_id)
             JOIN users u USING (tenant_id, user_id)
             WHERE t.name = $1 AND k.prefix > $2 AND ($3::text IS NULL OR u.name = $3)
             ORDER BY k.prefix LIMIT $4",
            tenant,
            after,
            owner,
            limit
        )
        .fetch_all(pool)
    };
    read(pool, page).await
}

pub async fn token_by_prefix(pool: &PgPool, tenant: &str, prefix: &str) -> sqlx::Result<Option<TokenRow>> {
    read(pool, async || token_row(&mut *pool.acquire().await?, tenant, prefix).await).await
}

async fn token_row(
    connection: &mut PgConnection,
    tenant: &str,
    prefix: &str,
) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as!(
        TokenRow,
        "SELECT t.name AS tenant, k.prefix, u.name AS owner, k.label, k.roles, k.created_at, k.expires_at,
                k.revoked_at, k.last_used_at
         FROM tenants t
         JOIN tokens k USING (tenant_id)
         JOIN users u USING (tenant_id, user_id)
         WHERE t.name = $1 AND k.prefix = $2",
        tenant,
        prefix
    )
    .fetch_optional(connection)
    .await
}

/// Makes a token. A role that its owner lacks is refused, as it would have no effect.
pub async fn create_token(
    pool: &PgPool,
    author: &Author,
    tenant: &str,
    token: &NewToken<'_>,
) -> Result<TokenRow, ChangeError> {
    let mut change = Change::begin(pool).await?;
    let owner = locate(&mut change, tenant, token.owner).await?;
    author.require_power_over(&owner.roles)?;
    if let Some(role) = token.roles.iter().find(|role| !owner.roles.iter().any(|has| has == *role)) {
        return Err(ChangeError::OwnerLacks { owner: token.owner.to_owned(), role: (*role).to_owned() });
    }
    sqlx::query!(
        "INSERT INTO tokens (tenant_id, user_id, prefix, secret_sha256, label, roles, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        owner.tenant_id,
        owner.user_id,
        token.prefix,
        &token.sha256,
        token.label,
        token.roles as &[&str],
        token.expires_at
    )
    .execute(&mut *change)
    .await
    .map_err(ChangeError::taken(token.prefix))?;
    let mut data = changed("roles", json!([]), token.roles);
    data["owner"] = json!(token.owner);
    data["label"] = json!(token.label);
    data["expires_at"] = json!(token.expires_at.and_then(|expiry| expiry.format(&Rfc3339).ok()));
    let deed = Deed {
        event_type: "eventlogger.token_created",
        target: format!("token/{}", token.prefix),
        message: format!("A token of {} was created.", token.owner),
        data,
        tenant_id: owner.tenant_id,
        author,
    };
    deed.record(&mut change).await?;
    let row = token_row(&mut change, tenant, token.prefix).await?;
    change.commit().await?;
    row.ok_or_else(|| ChangeError::NoToken(token.prefix.to_owned()))
}

/// Revokes a token for good. Revoking it again changes nothing.
pub async fn revoke_token(
    pool: &PgPool,
    author: &Author,
    tenant: &str,
    prefix: &str,
) -> Result<(), ChangeError> {
    let mut change = Change::begin(pool).await?;
    let tenant_id = tenant_id(&mut change, tenant).await?;
    let token = sqlx::query!(
        r#"SELECT k.token_id, k.revoked_at IS NOT NULL AS "is_revoked!", u.name AS owner, u.roles AS owner_roles
           FROM tokens k JOIN users u USING (tenant_id, user_id)
           WHERE k.tenant_id = $1 AND k.prefix = $2"#,
        tenant_id,
        prefix
    )
    .fetch_optional(&mut *change)
    .await?
    .ok_or_else(|| ChangeError::NoToken(prefix.to_owned()))?;
    author.require_power_over(&token.owner_roles)?;
    if token.is_revoked {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE tokens SET revoked_at = clock_timestamp() WHERE tenant_id = $1 AND token_id = $2",
        tenant_id,
        token.token_id
    )
    .execute(&mut *change)
    .await?;
    let deed = Deed {
        event_type: "eventlogger.token_revoked",
        target: format!("token/{prefix}"),
        message: format!("A token of {} was revoked.", token.owner),
        data: json!({"owner": token.owner}),
        tenant_id,
        author,
    };
    deed.record(&mut change).await?;
    change.commit().await
}

/// Notes when tokens were used. Several instances write, so a time never goes back.
pub async fn note_token_uses(pool: &PgPool, uses: &[TokenUse]) -> sqlx::Result<()> {
    let tenants: Vec<i32> = uses.iter().map(|used| used.tenant_id).collect();
    let tokens: Vec<i64> = uses.iter().map(|used| used.token_id).collect();
    let times: Vec<OffsetDateTime> = uses.iter().map(|used| used.at).collect();
    sqlx::query!(
        "UPDATE tokens k SET last_used_at = used.at
         FROM unnest($1::int[], $2::bigint[], $3::timestamptz[]) AS used (tenant_id, token_id, at)
         WHERE k.tenant_id = used.tenant_id AND k.token_id = used.token_id
           AND (k.last_used_at IS NULL OR k.last_used_at < used.at)",
        &tenants,
        &tokens,
        &times
    )
    .execute(pool)
    .await?;
    Ok(())
}
