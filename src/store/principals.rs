//! Tenants, users and tokens: the control tables behind authentication.
//!
//! Every change raises `credential_revision` first, in the same transaction. The row lock that this takes
//! makes changes wait for one another, so checks such as "is this the last admin" cannot race; and whoever
//! sees a revision also sees the change that it counts.
//!
//! Changes are transactions: call them from a task that nothing cancels. Each names its author and leaves an
//! event behind (see `change`).

mod change;
pub mod tokens;
pub mod users;

use serde_json::json;
use sqlx::{PgConnection, PgPool, types::Uuid};
use time::OffsetDateTime;

use super::read::read;
pub use change::Author;
use change::{Change, Deed, changed};

/// The tenant of the installation's operators. Its users may leave it out of their login.
pub const DEFAULT_TENANT: &str = "default";

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("there is no tenant {0:?}")]
    NoTenant(String),
    #[error("there is no user {name:?} in tenant {tenant:?}")]
    NoUser { tenant: String, name: String },
    #[error("there is no token that begins with {0:?}")]
    NoToken(String),
    #[error("the token's owner {owner:?} does not have the role {role}; give it to the owner first")]
    OwnerLacks { owner: String, role: String },
    #[error("{0:?} exists already")]
    NameTaken(String),
    #[error("{0:?} is the last enabled admin of the tenant; make somebody else admin first")]
    LastAdmin(String),
    #[error("{0:?} is the last enabled superadmin of the installation; make somebody else superadmin first")]
    LastSuperadmin(String),
    #[error("only a superadmin may give the role superadmin or change a user who has it")]
    NeedsSuperadmin,
    #[error("only users of the tenant \"default\" can have the role superadmin")]
    SuperadminElsewhere,
    /// A password was replaced while somebody proved to know the one before.
    #[error("the password was changed by somebody else at the same time")]
    CredentialChanged,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl ChangeError {
    /// A duplicate key means that the name is taken.
    fn taken(name: &str) -> impl FnOnce(sqlx::Error) -> ChangeError {
        move |error| match error.as_database_error() {
            Some(database) if database.is_unique_violation() => ChangeError::NameTaken(name.to_owned()),
            _ => ChangeError::Database(error),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRow {
    pub tenant_id: i32,
    pub name: String,
    pub log_id: Uuid,
    pub created_at: OffsetDateTime,
    /// Whether anybody may read the log's tree.
    pub public_proofs: bool,
}

/// Grows with every change of a user, token or tenant.
pub async fn revision(pool: &PgPool) -> sqlx::Result<i64> {
    read(pool, || sqlx::query_scalar!("SELECT revision FROM credential_revision").fetch_one(pool)).await
}

pub async fn list_tenants(pool: &PgPool) -> sqlx::Result<Vec<TenantRow>> {
    page_of_tenants(pool, "", i64::MAX).await
}

/// Those whose names come after `after`, at most `limit`.
pub async fn page_of_tenants(pool: &PgPool, after: &str, limit: i64) -> sqlx::Result<Vec<TenantRow>> {
    let page = || {
        sqlx::query_as!(
            TenantRow,
            "SELECT tenant_id, name, log_id, created_at, public_proofs FROM tenants WHERE name > $1 ORDER BY name LIMIT $2",
            after,
            limit
        )
        .fetch_all(pool)
    };
    read(pool, page).await
}

pub async fn find_tenant(pool: &PgPool, name: &str) -> sqlx::Result<Option<TenantRow>> {
    let tenant = || {
        sqlx::query_as!(
            TenantRow,
            "SELECT tenant_id, name, log_id, created_at, public_proofs FROM tenants WHERE name = $1",
            name
        )
        .fetch_optional(pool)
    };
    read(pool, tenant).await
}

/// Makes a tenant together with the head of its empty log. Its event is for the installation's operators,
/// who alone add tenants: it goes into the log of the tenant `default`, if there is one yet.
pub async fn create_tenant(pool: &PgPool, author: &Author, name: &str) -> Result<TenantRow, ChangeError> {
    let mut change = Change::begin(pool).await?;
    let tenant = insert_tenant(&mut change, name).await.map_err(ChangeError::taken(name))?;
    let operators = find_tenant_id(&mut change, DEFAULT_TENANT).await?;
    let deed = Deed {
        event_type: "eventlogger.tenant_added",
        target: format!("tenant/{name}"),
        message: format!("Tenant {name} was added."),
        data: json!({"log_id": tenant.log_id.to_string()}),
        tenant_id: operators.unwrap_or(tenant.tenant_id),
        author,
    };
    deed.record(&mut change).await?;
    change.commit().await?;
    Ok(tenant)
}

/// Opens the log's tree to everybody, or closes it again. The change is told in the log that it concerns.
pub async fn set_public_proofs(
    pool: &PgPool,
    author: &Author,
    name: &str,
    public: bool,
) -> Result<TenantRow, ChangeError> {
    let mut change = Change::begin(pool).await?;
    let tenant_id = tenant_id(&mut change, name).await?;
    let before = sqlx::query_scalar!(
        "UPDATE tenants new SET public_proofs = $2 FROM tenants old
         WHERE new.tenant_id = $1 AND old.tenant_id = $1 RETURNING old.public_proofs",
        tenant_id,
        public
    )
    .fetch_one(&mut *change)
    .await?;
    if before != public {
        let done = if public { "opened to everybody" } else { "closed to strangers" };
        let deed = Deed {
            event_type: "eventlogger.tenant_proofs_set",
            target: format!("tenant/{name}"),
            message: format!("The proofs of tenant {name} were {done}."),
            data: changed("public_proofs", before, public),
            tenant_id,
            author,
        };
        deed.record(&mut change).await?;
    }
    change.commit().await?;
    find_tenant(pool, name).await?.ok_or_else(|| ChangeError::NoTenant(name.to_owned()))
}

async fn insert_tenant(change: &mut PgConnection, name: &str) -> sqlx::Result<TenantRow> {
    let tenant = sqlx::query_as!(
        TenantRow,
        "INSERT INTO tenants (name, log_id) VALUES ($1, gen_random_uuid())
         RETURNING tenant_id, name, log_id, created_at, public_proofs",
        name
    )
    .fetch_one(&mut *change)
    .await?;
    // The root of an empty tree is the hash of nothing; the first event is later than 1970.
    sqlx::query!(
        "INSERT INTO heads (tenant_id, size, root, frontier, epoch, last_received_at, last_id)
         VALUES ($1, 0, sha256(''), '', 0, 'epoch', '00000000-0000-0000-0000-000000000000')",
        tenant.tenant_id
    )
    .execute(change)
    .await?;
    Ok(tenant)
}

async fn find_tenant_id(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!("SELECT tenant_id FROM tenants WHERE name = $1", name)
        .fetch_optional(connection)
        .await
}

async fn tenant_id(connection: &mut PgConnection, name: &str) -> Result<i32, ChangeError> {
    find_tenant_id(connection, name).await?.ok_or_else(|| ChangeError::NoTenant(name.to_owned()))
}
